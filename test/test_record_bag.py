"""`record_bag:=true`: which topics of a graph are recorded, and how `ros2 bag record` is run."""

import io
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import yaml

from armlet.bringup import (
    FASTDDS_VARIABLE,
    GRAPHS,
    BringupError,
    command,
    graph,
    recording,
    share_directory,
)
from armlet.enclaves import ENABLED, OVERRIDE
from armlet.launch_scope import Scope
from armlet.security import enclaves
from armlet.security.rights import Use
from armlet.start_check import check
from armlet.supervisor import Supervisor

CALIBRATION = share_directory() / "config" / "calibration" / "emulated_follower.json"
CHECKPOINT = str(share_directory() / "checkpoints" / "reach")
REAL = {"robot": "none", "follower_calibration": str(CALIBRATION), "root": "/nowhere/cube"}
JPEG = "image_raw/compressed"

# What `ros2 bag record` is to its supervisor: it writes the last of the bag when it is told to end.
PROGRAM = """#!{python}
import signal, sys, time
from pathlib import Path
given = dict(zip(sys.argv, sys.argv[1:]))
def end(number, frame):
    Path(given["--output"], "metadata.yaml").write_text(signal.Signals(number).name)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, end)
Path(given["--output"]).mkdir()
time.sleep(600)
"""


@pytest.fixture
def ros(tmp_path, monkeypatch):
    """An installed `ros2 bag`, as far as can be seen from outside."""
    for package in ("ros2bag", "rosbag2_storage_mcap"):
        (tmp_path / "ros/share" / package).mkdir(parents=True)
        (tmp_path / "ros/share" / package / "package.xml").touch()
    program = tmp_path / "ros/bin/ros2"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path / "ros"))
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return program


def recorder(name, **given):
    """The recorder of a graph's bag; and the graph's nodes."""
    nodes = graph(name).nodes({"record_bag": "true", **given})
    check(nodes)
    (found,) = [spec for spec in nodes if spec.recorded is not None]
    return found, nodes


def test_the_topics_that_rows_are_made_of_are_recorded_and_no_command(ros):
    bag, nodes = recorder("policy", **REAL, checkpoint=CHECKPOINT, cameras="front=/dev/video0")
    assert nodes[0] is bag, "it hears all"
    assert not bag.required and not bag.respawn
    assert set(bag.recorded) == {
        "/diagnostics",
        "/joint_states",
        "/applied_joint_commands",
        "/servo_bus/status",
        "/robot_description",
        f"/front/{JPEG}",
        "/front/camera_info",
        "/policy/provenance",
        "/policy/latency",
    }


def test_every_graph_has_topics_to_record(ros):
    leader = {"leader_calibration": str(CALIBRATION)}
    for name in GRAPHS:
        known = {argument.name for argument in graph(name).arguments}
        given = {**REAL, **leader, "checkpoint": CHECKPOINT}
        bag, _ = recorder(name, **{key: value for key, value in given.items() if key in known})
        expected = "/policy/provenance" if name == "brain" else "/joint_states"
        assert expected in bag.recorded, name


def test_the_command_line_is_that_of_ros2_bag_with_quality_of_service(ros, tmp_path):
    bag, _ = recorder("record", emulated="true", root="/nowhere", namespace="cell", bag="fold")
    line = command(bag, tmp_path)
    words = line[line.index(str(ros)) + 1 :]
    assert words[:2] == ["bag", "record"]
    assert words[words.index("--storage") + 1] == "mcap"
    assert words[words.index("--output") + 1] == str(Path("fold").absolute())
    assert words[words.index("--node-name") + 1] == "cell_bag_recorder"
    assert {"--use-sim-time", "--disable-keyboard-controls"} <= set(words)
    assert "--ros-args" not in words
    assert words[words.index("--topics") + 1 :] == list(bag.recorded)
    assert all(topic.startswith("/cell/") for topic in set(bag.recorded) - {"/diagnostics"})
    qos = yaml.safe_load(Path(words[words.index("--qos-profile-overrides-path") + 1]).read_text())
    kinds = {topic: (each["reliability"], each["durability"]) for topic, each in qos.items()}
    assert kinds == {
        "/cell/joint_states": ("reliable", "volatile"),
        "/cell/applied_joint_commands": ("reliable", "volatile"),
        f"/cell/front/{JPEG}": ("reliable", "volatile"),
        f"/cell/wrist/{JPEG}": ("reliable", "volatile"),
        "/cell/leader/joint_states": ("reliable", "volatile"),
        "/cell/servo_bus/status": ("reliable", "transient_local"),
        "/cell/robot_description": ("reliable", "transient_local"),
    }


def test_quality_of_service_is_not_asked_of_publishers_elsewhere(ros):
    given = {**REAL, "cameras": "front=/dev/video0"}
    bag, _ = recorder("robot", **given, without="camera")
    assert bag.recorded[f"/front/{JPEG}"] is None
    bag, _ = recorder("robot", **given, only="camera", raw="true")
    assert bag.recorded[f"/front/{JPEG}"] and "/joint_states" not in bag.recorded
    bag, _ = recorder("robot", **given, raw="true")
    assert "/front/image_raw" in bag.recorded and f"/front/{JPEG}" not in bag.recorded


def test_names_that_a_launch_file_changes_are_those_recorded(ros):
    _, nodes = recorder("follower", **{key: REAL[key] for key in list(REAL)[:2]})
    placed, _ = Scope(remaps=(("joint_states", "arm/states"),)).around(nodes)
    (bag,) = [spec for spec in recording(placed) if spec.recorded is not None]
    assert "/arm/states" in bag.recorded and "/joint_states" not in bag.recorded


@pytest.mark.parametrize(
    ("package", "message"),
    [
        ("ros2bag", r"ros2bag not installed; sudo apt install ros-\S+-ros2bag, and source"),
        ("rosbag2_storage_mcap", r"sudo apt install ros-\S+-rosbag2-storage-mcap,"),
    ],
)
def test_what_is_not_installed_is_named_with_what_to_type(ros, package, message):
    (ros.parents[1] / "share" / package / "package.xml").unlink()
    with pytest.raises(BringupError, match=message):
        recorder("sim")


def test_a_bag_that_is_there_and_one_that_nobody_records_are_refused(ros, tmp_path):
    with pytest.raises(BringupError, match="exists already; name another folder"):
        recorder("sim", bag=str(tmp_path))
    with pytest.raises(BringupError, match="no bag is recorded; add record_bag:=true"):
        recorder("sim", bag="fold", record_bag="false")


def test_a_bag_that_cannot_be_written_is_refused_before_anything_starts(ros, tmp_path):
    """`ros2 bag record` ended at once, and the graph went on without a bag."""
    (tmp_path / "file").touch()
    for bag, message in (
        (tmp_path / "file" / "bag", "nothing can be written to .*file is a file"),
        ("hub:owner/name", "expected a path here, found a repository of the Hub"),
        ("~nobody_of_this_name/bag", "bag: ~nobody_of_this_name/bag: there is no such user"),
    ):
        with pytest.raises(BringupError, match=message):
            recorder("sim", bag=str(bag))


def test_the_home_directory_is_meant_where_no_shell_says_so(ros, tmp_path, monkeypatch):
    """root:=~/cube made a folder ~ in the current one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    bag, nodes = recorder("record", emulated="true", root="~/cube", bag="~/fold")
    assert bag.arguments[bag.arguments.index("--output") + 1] == str(tmp_path / "fold")
    (root,) = [spec.parameters["root"] for spec in nodes if "root" in spec.parameters]
    assert root == str(tmp_path / "cube")


def test_parts_of_a_graph_on_two_computers_have_recorders_of_two_names(ros):
    given = {"follower_calibration": str(CALIBRATION), "checkpoint": CHECKPOINT, "robot": "none"}
    bag, _ = recorder("brain", **given)
    other, _ = recorder("robot", **{key: REAL[key] for key in ("robot", "follower_calibration")})
    names = [each.arguments[each.arguments.index("--node-name") + 1] for each in (bag, other)]
    assert names == ["brain_bag_recorder", "bag_recorder"]


def test_without_it_nothing_is_recorded(ros):
    assert not any(spec.program for spec in graph("sim").nodes({}))


def test_the_bag_is_ended_by_a_signal_that_ros2_bag_heeds(ros, tmp_path):
    bag, _ = recorder("sim", bag=str(tmp_path / "fold"))
    supervisor = Supervisor([bag], io.StringIO())
    supervisor.start(tmp_path)
    end_s = time.monotonic() + 60
    while not (tmp_path / "fold").is_dir():
        assert time.monotonic() < end_s
        time.sleep(0.01)
    assert supervisor.stop(), "it ended well"
    ended_by = (tmp_path / "fold/metadata.yaml").read_text()
    assert ended_by in (signal.SIGINT.name, signal.SIGTERM.name)


def test_it_stays_in_its_enclave_where_pictures_are_raw(ros, monkeypatch):
    """The profile for raw pictures took the place of what else was in its environment."""
    monkeypatch.setenv(ENABLED, "true")
    monkeypatch.delenv(FASTDDS_VARIABLE, raising=False)
    bag, _ = recorder("robot", **REAL, cameras="front=/dev/video0", raw="true")
    assert bag.environment[OVERRIDE] == "/bag_recorder"
    assert bag.environment[FASTDDS_VARIABLE].endswith("fastdds.xml")


def test_it_is_in_an_enclave_that_may_hear_what_is_recorded(ros, monkeypatch):
    monkeypatch.setenv(ENABLED, "true")
    bag, nodes = recorder("record", emulated="true", root="/nowhere", namespace="cell")
    assert bag.environment[OVERRIDE] == "/cell/bag_recorder"
    found = {enclave.path: enclave for enclave in enclaves(nodes, "cell")}
    (profile,) = found["/cell/bag_recorder"].profiles
    assert (profile.namespace, profile.node) == ("/", "cell_bag_recorder")
    heard = {right.name for right in profile.rights if right.use is Use.SUBSCRIBE}
    assert set(bag.recorded) <= heard
    said = {right.name for right in profile.rights if right.use is Use.PUBLISH}
    assert said == {"/events/write_split", "/parameter_events", "/rosout"}
