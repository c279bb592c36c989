"""Cameras and kinds of arms of other packages: the examples, installed as packages are."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from armlet.camera import CameraError, SchemeError, jpeg, open_source
from armlet.camera.registry import schemes, split
from armlet.files import FileError
from armlet.motors.emulation import EmulatedBus
from armlet.motors.feetech import REGISTERS
from armlet.robots import JointCalibration, robot_model
from armlet.robots.calibration import save

EXAMPLES = Path(__file__).parents[1] / "examples"
GUARD_S = 120


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with both examples, put there by pip without a network."""
    folder = tmp_path_factory.mktemp("site")
    copies = tmp_path_factory.mktemp("sources")
    for name in ("armlet_camera_example", "armlet_robot_example"):
        source = copies / name
        source.mkdir()
        for file in (EXAMPLES / name).iterdir():
            if file.is_file():
                (source / file.name).write_bytes(file.read_bytes())
        command = ["-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps"]
        command += ["--no-index", "--disable-pip-version-check", "--target", str(folder)]
        subprocess.run([sys.executable, *command, str(source)], check=True)
    return folder


@pytest.fixture
def here(installed, monkeypatch):
    monkeypatch.syspath_prepend(str(installed))
    robot_model.find.cache_clear()
    yield installed
    robot_model.find.cache_clear()


def broken(folder, group, name, raised="RuntimeError('no driver')"):
    """A package whose entry point leads to a module that raises."""
    info = folder / "broken_thing-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-thing\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = broken_thing:source\n")
    (folder / "broken_thing.py").write_text(f"raise {raised}\n")


@pytest.mark.thorough
def test_a_camera_of_another_package(here):
    assert "plain" in schemes()
    with open_source("plain:255,128,0", 128, 96, 30) as camera:
        picture = camera.read(1.0)
    assert picture.rgb.shape == (96, 128, 3)
    assert np.array_equal(picture.rgb[5, 7], (255, 128, 0))


def test_what_a_plug_in_raises_is_its_own(here):
    with pytest.raises(CameraError, match=r"'plain' of the package armlet-camera-example .*Error"):
        open_source("plain:red", 128, 96, 30)


def test_an_unknown_scheme_is_answered_with_what_may_be_meant(here):
    with pytest.raises(SchemeError, match=r"did you mean plain\? no camera scheme 'plane'"):
        open_source("plane:1,2,3", 128, 96, 30)


def test_a_broken_plug_in_is_named_and_blocks_nothing(here, tmp_path, monkeypatch):
    broken(tmp_path, "armlet.cameras", "lidar")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SchemeError, match=r"'lidar' of the package broken-thing .*no driver"):
        open_source("lidar:0", 128, 96, 30)
    for uri in ("pattern", "plain:1,2,3"):
        with open_source(uri, 128, 96, 30) as camera:
            assert camera.read(1.0).rgb is not None


def test_a_plug_in_that_ends_the_program_is_named(tmp_path, monkeypatch):
    broken(tmp_path, "armlet.robots", "crane", "SystemExit(0)")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(FileError, match=r"'crane' of the package broken-thing .*SystemExit"):
        robot_model.find("crane")


def test_a_broken_kind_of_arm_is_named_and_blocks_nothing(here, tmp_path, monkeypatch):
    broken(tmp_path, "armlet.robots", "crane")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(FileError, match=r"'crane' of the package broken-thing .*no driver"):
        robot_model.find("crane")
    assert robot_model.find("four_joints").full_turn == ("wrist",)
    assert set(robot_model.names()) >= {"so101", "four_joints", "crane"}


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("pattern", ("pattern", "")),
        ("0", ("v4l2", "0")),
        ("v4l2:/dev/video2", ("v4l2", "/dev/video2")),
        ("/dev/v4l/by-path/pci-0000:00", ("v4l2", "/dev/v4l/by-path/pci-0000:00")),
        ("file:a.mp4?loop", ("file", "a.mp4?loop")),
        ("clips/a:b.mp4", ("file", "clips/a:b.mp4")),
        ("realsense:1234", ("realsense", "1234")),
    ],
)
def test_a_source_is_a_scheme_and_an_address(uri, expected):
    assert split(uri) == expected


def test_a_graph_of_another_packages_arm(installed, tmp_path):
    """`armlet up follower` arms it, and lets it go: four servos by their own calibration."""
    environment = {**os.environ, "PYTHONPATH": f"{installed}:{os.environ.get('PYTHONPATH', '')}"}
    joints = {"base": 1, "shoulder": 2, "wrist": 3, "gripper": 4}
    entries = {name: JointCalibration(id, 0, 0, 1000, 3000) for name, id in joints.items()}
    save(entries, tmp_path / "arm.json")
    robot = tmp_path / "robot.yaml"
    robot.write_text(
        f"arms: {{arm: {{port: {tmp_path}/arm, calibration: arm.json, model: four_joints}}}}"
    )
    with EmulatedBus(range(1, 5), link=tmp_path / "arm") as bus:
        for servo in bus.servos.values():
            for name, value in (("Min_Position_Limit", 1000), ("Max_Position_Limit", 3000)):
                servo.poke(REGISTERS[name], value)
        process = subprocess.Popen(
            [sys.executable, "-m", "armlet.cli.main", "up", "follower", f"robot:={robot}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        said = []
        for line in process.stdout:
            said.append(line)
            if re.search(r"follower on .* is active", line):
                break
        torque = [servo.peek(REGISTERS["Torque_Enable"]) for servo in bus.servos.values()]
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=GUARD_S)
        assert torque == [1] * 4, "".join(said)
        assert process.returncode == 0, rest
        assert not any(s.peek(REGISTERS["Torque_Enable"]) for s in bus.servos.values())


def test_a_camera_node_of_another_packages_camera(installed):
    """The node publishes its pictures; with an unknown scheme it ends and says why."""
    environment = {**os.environ, "PYTHONPATH": f"{installed}:{os.environ.get('PYTHONPATH', '')}"}
    node = [sys.executable, "-m", "armlet.nodes.program", "camera", "--ros-args"]
    size = ["-p", "width:=128", "-p", "height:=96"]

    ended = subprocess.run(
        [*node, *size, "-p", "source:=plane:1,2,3"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=GUARD_S,
        check=False,
    )
    assert ended.returncode == 1 and "did you mean plain?" in ended.stderr + ended.stdout

    process = subprocess.Popen([*node, *size, "-p", "source:=plain:255,128,0"], env=environment)
    try:
        picture = jpeg.decode(bytes(one_picture(process).data))
        assert picture.shape == (96, 128, 3)
        assert np.abs(picture[48, 64].astype(int) - (255, 128, 0)).max() < 5
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(GUARD_S) == 0


def one_picture(process):
    """The first that a running process publishes."""
    import rclpy
    from rclpy.qos import qos_profile_sensor_data
    from rclpy.wait_for_message import wait_for_message
    from sensor_msgs.msg import CompressedImage

    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("listener", context=context)
    try:
        came, message = False, None
        while not came:
            assert process.poll() is None, "it has ended; what it said is above"
            came, message = wait_for_message(
                CompressedImage,
                node,
                "image_raw/compressed",
                qos_profile=qos_profile_sensor_data,
                time_to_wait=1.0,
            )
        return message
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)
