"""`armlet calibrate-camera CAMERA --mount LINK`: from painted boards to the robot file's mount."""

import dataclasses
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from armlet.camera import CameraError, hand_eye, intrinsics_text
from armlet.cli.data import camera_mount
from armlet.cli.main import main
from armlet.robots import SO101_JOINTS
from armlet.robots.calibration import save
from armlet.robots.description import describe
from armlet.robots.joint_table import joint_table, read_joint_table
from armlet.robots.link_poses import LinkPoses
from armlet.robots.robot_file import read
from armlet.robots.robot_model import find
from armlet.sim.calibrations import FOLLOWER

sys.path.append(str(Path(__file__).parents[1] / "camera"))

if not hasattr(getattr(cv2, "aruco", None), "CharucoDetector"):
    pytest.skip("this OpenCV knows no ChArUco boards", allow_module_level=True)

from arm_and_board import INTRINSICS, OUTSIDE, WRIST, off

POSES = 10
ROBOT = """# my robot
arms:
  follower: {port: /dev/ttyACM0, calibration: follower.json}
cameras:
  wrist: {source: pattern, camera_info_file: lens.yaml}
  front: {source: pattern}
joint_units: degrees  # as trained
"""
TWO_ARMS = ROBOT.replace("  follower:", "  left_follower:").replace(
    "cameras:", "  right_follower: {port: /dev/ttyACM1, calibration: follower.json}\ncameras:"
)


@pytest.fixture(scope="module")
def shots():
    """How the arm stood, and a picture of each pose; joints are read to 0.2 degrees."""
    joints, dice = WRIST.poses(POSES), np.random.default_rng(3)
    pictures = {f"{n}.png": WRIST.picture(row) for n, row in enumerate(joints)}
    rows = joints + dice.normal(0, 0.003, joints.shape)
    angles = (dict(zip(SO101_JOINTS, map(float, row), strict=True)) for row in rows)
    return pictures, dict(zip(pictures, angles, strict=True))


@pytest.fixture
def robot(tmp_path):
    save(FOLLOWER, tmp_path / "follower.json")
    (tmp_path / "lens.yaml").write_text(intrinsics_text(INTRINSICS))
    path = tmp_path / "robot.yaml"
    path.write_text(ROBOT)
    return path


@pytest.fixture
def folder(tmp_path, shots):
    place = tmp_path / "poses"
    place.mkdir()
    pictures, rows = shots
    for name, rgb in pictures.items():
        cv2.imwrite(str(place / name), rgb)
    (place / "joints.csv").write_text(joint_table(rows))
    return place


def command(robot, *words):
    return main(["calibrate-camera", *map(str, words), "--robot", str(robot)])


def where(robot, camera):
    """The optical frame in the mount's link, by the URDF that the graph publishes of the file."""
    mount = read(robot).mounts[camera]
    mount = dataclasses.replace(mount, link=mount.link.removeprefix("left_"))
    links = LinkPoses(describe(find("so101"), FOLLOWER, cameras={camera: mount}))
    angles = dict.fromkeys(SO101_JOINTS, 0.2)
    link = links.pose(mount.link, angles)
    return np.linalg.inv(link) @ links.pose(f"{camera}_optical_frame", angles)


def test_pictures_and_joints_become_the_mount_of_the_robot_file(robot, folder, capsys):
    """Painted boards, detected corners, joints read to 0.2 degrees: within 2 mm and 0.3 degrees."""
    (folder / "blank.png").write_bytes(cv2.imencode(".png", np.zeros((480, 640, 3), np.uint8))[1])
    table = folder / "joints.csv"
    table.write_text(f"{table.read_text()}blank.png,0,0,0,0,0,0\n")
    assert command(robot, "wrist", "--mount", "gripper", "--pictures", folder) == 0
    mm, deg = off(where(robot, "wrist"), WRIST.camera)
    assert mm < 2.0 and deg < 0.3
    said = capsys.readouterr().out
    assert f"wrist: {POSES} poses" in said and "no board in blank.png" in said
    assert "held out are off by" in said and "mount is known to ±" in said
    # What is not about the cameras stays as it was, and the file of before is beside it.
    assert (
        "# my robot" in robot.read_text()
        and "joint_units: degrees  # as trained" in robot.read_text()
    )
    assert read(robot).cameras["wrist"]["camera_info_file"] == "lens.yaml"
    assert (robot.parent / "robot.yaml.bak").read_text() == ROBOT


def test_what_is_not_good_enough_is_not_written(robot, tmp_path, monkeypatch, capsys):
    here, far = np.eye(4), hand_eye.Off(30.0, 20.0, 4.0)
    found = hand_eye.Mounted(here, here, 9, 0.3, 1.0, far, 1.0, 0.1, (("a.png", far),))
    monkeypatch.setattr(hand_eye, "mounted", lambda *_: found)
    monkeypatch.setattr(camera_mount, "_stations", lambda *_: ([], None))
    words = ["--mount", "gripper", "--pictures", tmp_path]
    assert command(robot, "wrist", *words) == 1
    said = capsys.readouterr()
    assert "a.png is left out: it is off by 30.0 px, 20.0 mm, 4.00°" in said.out
    assert "nothing is written: poses held out are off by 30.0 px, 20.0 mm, 4.00°" in said.err
    assert robot.read_text() == ROBOT and not [*robot.parent.glob("*.bak")]


def one_picture(folder, **changes):
    """A table of one picture of no board, and what is changed in it."""
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.zeros(changes.pop("shape", (480, 640, 3)), np.uint8))
    angles = {**dict.fromkeys(SO101_JOINTS, 0.0), **changes}
    (folder / "joints.csv").write_text(joint_table({"a.png": angles}))


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({}, 1, "expected pictures of the board, found none"),
        ({"shape": (240, 320, 3)}, 1, "calibration for 640x480 pictures, the camera gives 320x240"),
        ({"elbow_flex": 45.0}, 2, "elbow_flex: expected radians from -1.68 to 1.68"),
        ({"elbow_flex": float("nan")}, 2, "elbow_flex: expected a finite number, found 'nan'"),
    ],
)
def test_what_is_wrong_in_a_folder_is_said(robot, tmp_path, capsys, changes, status, message):
    one_picture(tmp_path / "poses", **changes)
    words = ["--mount", "gripper", "--pictures", tmp_path / "poses"]
    assert command(robot, "wrist", *words) == status
    assert message in capsys.readouterr().err
    assert robot.read_text() == ROBOT


@pytest.mark.parametrize(
    ("picture", "message"), [("gone.png", "No such file"), ("../lens.yaml", "..")]
)
def test_a_table_names_pictures_of_its_folder(robot, tmp_path, capsys, picture, message):
    one_picture(tmp_path / "poses")
    table = tmp_path / "poses" / "joints.csv"
    table.write_text(table.read_text().replace("a.png", picture))
    words = ["--mount", "gripper", "--pictures", tmp_path / "poses"]
    assert command(robot, "wrist", *words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["wrist", "--mount", "elbow"], "expected a link of the robot's model, found elbow: base_"),
        (["front", "--mount", "gripper"], "front has no intrinsics (camera_info_file); measure"),
        (["side", "--mount", "gripper"], "expected a camera of the robot file, found side; camera"),
        (["--mount", "gripper"], "expected a camera of the robot file, found none"),
        (["wrist", "--mount", "gripper", "--source", "pattern"], "leave out --source"),
        (
            ["wrist", "--mount", "gripper", "--square-mm", "nan"],
            "--square-mm: expected more than 0",
        ),
        (["wrist", "--mount", "gripper", "--pictures", ".", "--keep", "."], "leave out --keep or"),
        (["wrist", "--keep", "."], "give --mount LINK, or leave it out"),
        (["wrist", "--mount", "gripper", "--views", "0"], "--views: expected at least 1, found 0"),
        (["wrist", "--mount", "gripper", "--pictures", "."], "no table of joints joints.csv"),
    ],
)
def test_what_cannot_be_done_is_said(robot, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert command(robot, *words) == 2
    assert message in capsys.readouterr().err


class Frames:
    """What a running graph sends: the arm moves from pose to pose, and stands still at each."""

    def __init__(self, shots, names, cameras=("wrist",)):
        self.shots, self.names, self.cameras = shots, names, cameras

    def __call__(self, name, namespace, timeout_s):
        pictures, rows = self.shots
        stamp = 0
        for picture, angles in rows.items():
            for count in range(9):
                stamp += 100_000_000
                # A picture that is looked at while the arm moves ends the test, a broken one
                # does not end the calibration.
                rgb = pictures[picture] if count > 6 else CameraError("torn") if count > 4 else None
                yield self.frame(stamp, angles, rgb)

    def frame(self, stamp, angles, rgb):
        cameras = [SimpleNamespace(name=each) for each in self.cameras]
        return SimpleNamespace(
            stamp_ns=stamp,
            contract=SimpleNamespace(state_names=self.names, cameras=cameras),
            state=lambda: np.array([*angles.values()]),
            image=lambda camera: self.image(rgb),
        )

    def image(self, rgb):
        assert rgb is not None
        if isinstance(rgb, CameraError):
            raise rgb
        return rgb


def test_a_running_graphs_poses_are_taken_by_themselves_and_kept(
    robot, shots, tmp_path, monkeypatch, capsys
):
    """Without ROS: frames of two arms as the client gives them; none of a moving arm is used."""
    robot.write_text(TWO_ARMS)
    frames = pytest.importorskip("armlet.client.newest_frames", reason="ROS 2 is not installed")
    names = [f"left_{joint}" for joint in SO101_JOINTS]
    monkeypatch.setattr(frames, "newest_frames", Frames(shots, names))
    words = ["wrist", "--mount", "left_gripper", "--views", 8, "--keep", tmp_path / "kept"]
    assert command(robot, *words) == 0
    assert off(where(robot, "wrist"), WRIST.camera)[0] < 2.0
    assert read(robot).mounts["wrist"].link == "left_gripper"
    said = capsys.readouterr().out
    assert "board is to be fixed beside the arm" in said and "pose 8 of 8" in said
    limits = dict.fromkeys(SO101_JOINTS[:5], (-4.0, 4.0))
    kept = read_joint_table(tmp_path / "kept" / "joints.csv", limits)
    assert command(robot, *words) == 2 and "folder of no other poses" in capsys.readouterr().err
    assert len(kept) == 8 and all((tmp_path / "kept" / name).exists() for name in kept)
    stood = [[angles[joint] for joint in limits] for angles in shots[1].values()]
    for row in kept.values():
        assert min(np.abs(np.subtract(each, [*row.values()])).max() for each in stood) < 1e-5


@pytest.mark.parametrize(
    ("names", "cameras", "message"),
    [
        (["a", *SO101_JOINTS[1:]], ["wrist"], "the running graph has no joints shoulder_pan, it"),
        (SO101_JOINTS, ["front"], "the running graph has no camera wrist, it has front"),
    ],
)
def test_a_graph_of_another_robot_is_refused(
    robot, shots, monkeypatch, capsys, names, cameras, message
):
    frames = pytest.importorskip("armlet.client.newest_frames", reason="ROS 2 is not installed")
    monkeypatch.setattr(frames, "newest_frames", Frames(shots, names, cameras))
    assert command(robot, "wrist", "--mount", "gripper") == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["joints.csv", "pose_01.png", ""])
def test_nothing_is_written_over_where_poses_are_kept(robot, shots, monkeypatch, capsys, name):
    """Pictures without their table were replaced; a file was found out after the first pose."""
    frames = pytest.importorskip("armlet.client.newest_frames", reason="ROS 2 is not installed")
    monkeypatch.setattr(frames, "newest_frames", Frames(shots, SO101_JOINTS))
    folder = robot.parent / "kept"
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("mine")
    words = ["wrist", "--mount", "gripper", "--views", 1, "--keep", folder]
    assert command(robot, *words) == 2
    said = capsys.readouterr()
    assert f"expected a folder of no other poses, found {file}" in said.err
    assert "pose 1" not in said.out and file.read_text() == "mine"


def test_a_graph_that_is_not_there_or_ends_is_said(robot, shots, monkeypatch, capsys):
    frames = pytest.importorskip("armlet.client.newest_frames", reason="ROS 2 is not installed")
    monkeypatch.setattr(frames, "newest_frames", lambda *_: (each for each in ()))
    assert command(robot, "wrist", "--mount", "gripper") == 1
    said = capsys.readouterr().err
    assert "expected frames of a running graph within 15 s, found none: start one" in said
    one = tuple({"0.png": part["0.png"]} for part in shots)
    monkeypatch.setattr(frames, "newest_frames", Frames(one, SO101_JOINTS))
    assert command(robot, "wrist", "--mount", "gripper") == 1
    assert "ended after 1 of 20 poses" in capsys.readouterr().err
    assert robot.read_text() == ROBOT


@pytest.mark.thorough
def test_a_camera_beside_the_arm_is_found_from_an_aligners_frames(private_domain, robot, capsys):
    """Real topics: contract, joints and JPEG pictures of a board that the gripper holds."""
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    sys.path.append(str(Path(__file__).parents[1] / "nodes"))
    from published_frames import PublishedFrames, contract

    from armlet.camera import jpeg

    robot.write_text(
        ROBOT.replace(
            "front: {source: pattern}", "front: {source: pattern, camera_info_file: lens.yaml}"
        )
    )
    joints = OUTSIDE.poses(POSES)
    cameras = tuple(dataclasses.replace(each, height=480, width=640) for each in contract().cameras)
    ended, done = threading.Event(), []
    with PublishedFrames(dataclasses.replace(contract(), cameras=cameras), joints[0]) as frames:
        pictures = [jpeg.encode(OUTSIDE.picture(row)) for row in joints]

        blank = jpeg.encode(np.zeros((480, 640, 3), np.uint8))

        def move():
            """To the next pose, again and again, with no board in the picture on the way."""
            while not ended.is_set():
                for row, picture in zip(joints, pictures, strict=True):
                    frames._jpegs["front"] = blank
                    ended.wait(0.2)
                    frames.radians = row
                    ended.wait(0.2)
                    frames._jpegs["front"] = picture
                    ended.wait(3.0)

        arm = threading.Thread(target=move)
        arm.start()
        try:
            words = ["front", "--mount", "base_link", "--views", 8]
            done.append(command(robot, *words))
        finally:
            ended.set()
            arm.join()
    assert done == [0], capsys.readouterr()
    mm, deg = off(where(robot, "front"), OUTSIDE.camera)
    assert mm < 6.0 and deg < 0.5
