"""What `armlet up` refuses before any process starts."""

import re
import subprocess
import sys

import pytest
import rclpy
from rclpy.exceptions import InvalidParameterTypeException
from rclpy.node import Node

from armlet.bringup import BringupError, NodeSpec, graph, share_directory
from armlet.files import read_yaml
from armlet.robots import calibration as calibrations
from armlet.sim import FOLLOWER
from armlet.start_check import check, ros_scalar

ROBOT = """
arms:
  follower: {{port: /dev/f, calibration: {file}}}
cameras:
  front: {{source: /dev/v0, {camera}}}
parameters:
  {parameters}
"""


@pytest.fixture
def follower_file(tmp_path):
    path = tmp_path / "follower.json"
    calibrations.save(FOLLOWER, path)
    return path


@pytest.fixture
def nodes(tmp_path, follower_file):
    """The nodes of a graph by a robot file."""

    def made(parameters="{}", camera="fps: 30", file=follower_file, name="robot", **given):
        robot = tmp_path / "robot.yaml"
        robot.write_text(ROBOT.format(file=file, camera=camera, parameters=parameters))
        return graph(name).nodes({"robot": str(robot), "root": str(tmp_path / "set"), **given})

    return made


def said_of(nodes):
    with pytest.raises(BringupError) as refused:
        check(nodes)
    (line,) = str(refused.value).splitlines()
    return line


def test_a_checkpoint_that_is_nowhere_is_refused():
    line = said_of(graph("policy").nodes({"emulated": "true", "checkpoint": "check/nosuch"}))
    assert line.startswith("policy: checkpoint: expected the folder of a checkpoint")
    assert re.search("found nothing at .*/check/nosuch; ", line)


def test_shipped_and_usual_graphs_are_fine(nodes, tmp_path):
    check(nodes("servo_bus: {max_velocity_rad_s: 2.0, elbow_flex.on_hot: release}"))
    check(nodes("aligner: {front.frozen_s: 3.0, action.reorder_s: 0.01}", "exposure: 156"))
    emulated = {"emulated": "true"}
    for name, given in (
        ("sim", {"teleop": "true", "root": "x"}),
        ("teleop", emulated),
        ("record", {**emulated, "root": "x"}),
        ("policy", {**emulated, "checkpoint": str(tmp_path), "teleop": "true"}),
        ("policy", {**emulated, "checkpoint": "hub:owner/name@main"}),
    ):
        check(graph(name).nodes(given))


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        (
            "servo_bus: {max_velocity_rad_s: 12.0}",
            "parameters.servo_bus: max_velocity_rad_s must be 0.01 to 10, found 12.0",
        ),
        (
            "servo_bus: {max_velocity_rad_s: 2}",
            "max_velocity_rad_s must be a number, found 2; write 2.0",
        ),
        ("recorder: {episodes: many}", "parameters.recorder: episodes must be a whole number"),
        (
            "servo_bus: {elbow_flex.max_velocity_rad_s: -1.0}",
            "elbow_flex.max_velocity_rad_s must be 0 (as max_velocity_rad_s) or 0.01 to 10",
        ),
        (
            "servo_bus: {elbow.max_velocity_rad_s: 1.0}",
            "elbow.max_velocity_rad_s: no parameter of servo_bus, nor of its joints; "
            "did you mean elbow_flex.max_velocity_rad_s?",
        ),
        ("recorder: {on_hole: split}", "no parameter of recorder; did you mean on_gap?"),
        ("computer: {zzz: 1}", "no parameter of computer; docs/reference/parameters.md"),
    ],
)
def test_a_parameter_of_the_robot_file_is_refused_with_its_place(nodes, tmp_path, parameters, said):
    line = said_of(nodes(parameters))
    assert line.startswith(f"{tmp_path}/robot.yaml: parameters.")
    assert said in line


def test_a_parameter_of_one_node_goes_before_that_of_its_kind(nodes):
    both = "servo_bus: {rate_hz: 50.0}\n  left/servo_bus: {rate_hz: 500.0}"
    check(nodes(both))
    line = said_of(nodes(both, namespace="left"))
    assert "parameters.left/servo_bus: rate_hz must be 1 to 400, found 500.0" in line


def test_a_camera_of_the_robot_file_is_refused_with_its_place(nodes):
    line = said_of(nodes(camera="width: wide"))
    assert "robot.yaml: cameras.front: width must be a whole number, found 'wide'" in line
    assert "exposure must be a whole number or" in said_of(nodes(camera="exposure: bright"))
    line = said_of(nodes(width="9000"))
    assert line == "front/camera: width must be 1 to 8192, found 9000"


@pytest.mark.parametrize("name", ["follower", "robot"])
def test_a_calibration_file_that_is_not_there_is_refused_with_what_to_do(tmp_path, name):
    robot = tmp_path / "robot.yaml"
    robot.write_text(ROBOT.format(file="gone.json", camera="fps: 30", parameters="{}"))
    chosen = {"robot": str(robot)} | ({"root": "x"} if name == "robot" else {})
    line = said_of(graph(name).nodes(chosen))
    assert line.startswith(f"servo_bus: calibration_file: no calibration file {tmp_path}/gone.json")
    assert "`armlet calibrate`" in line


def test_a_calibration_file_that_cannot_be_read_is_refused(nodes, follower_file):
    made = nodes()
    follower_file.write_bytes(follower_file.read_bytes()[:100])
    assert "follower.json" in said_of(made)
    follower_file.unlink()
    follower_file.mkdir()
    assert "follower.json" in said_of(made)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/**: {ros__parameters: {rate_hz: 500.0}}", "/**: rate_hz must be 1 to 400"),
        ("servo_bus: {ros__parameters: {rate_hz: 50}}", "write 50.0"),
        (
            "left: {servo_bus: {ros__parameters: {elbow_flex: {relaxed_push_rad: 2.0}}}}",
            "/left/servo_bus: elbow_flex.relaxed_push_rad must be 0 to 1",
        ),
        ("/*/servo_bus: {ros__parameters: {rate: 1.0}}", "did you mean rate_hz?"),
        ("[1, 2]", "expected node names with ros__parameters below"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_parameter_file_is_judged_as_ros_reads_it(tmp_path, follower_file, text, said):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    given = {"follower_calibration": str(follower_file), "params_file": str(file)}
    nodes = graph("follower").nodes({**given, "robot": "none", "namespace": "left"})
    if text.startswith("servo_bus"):  # of a node without a namespace
        check(nodes)
        nodes = graph("follower").nodes({**given, "robot": "none"})
    assert said in said_of([spec for spec in nodes if spec.executable == "servo_bus"])


def test_a_parameter_file_may_be_written_as_ros_writes_numbers(tmp_path, follower_file):
    file = tmp_path / "mine.yaml"
    file.write_text("/**/servo_bus: {ros__parameters: {max_acceleration_rad_s2: 1e2}}")
    given = {"follower_calibration": str(follower_file), "params_file": str(file)}
    check(graph("follower").nodes({**given, "robot": "none"}))


def test_a_dataset_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    given = {"emulated": "true", "root": str(tmp_path / "file/set")}
    said = said_of(graph("record").nodes(given))
    assert said.startswith("recorder: root: nothing can be written to ")
    assert f"{tmp_path / 'file'} is a file" in said


@pytest.mark.parametrize("namespace", ["a b", "1arm", "left-arm", "a//b"])
def test_a_namespace_that_ros_would_refuse_is_refused(nodes, namespace):
    assert said_of(nodes(namespace=namespace)).startswith("namespace: expected letters, digits")
    check(nodes(namespace="/left_arm/"))
    check(nodes(namespace="lab/left_arm2"))


def test_up_says_it_in_one_line_and_starts_nothing(tmp_path):
    calibration = share_directory() / "config" / "calibration" / "emulated_follower.json"
    robot = tmp_path / "robot.yaml"
    robot.write_text(
        ROBOT.format(file=calibration, camera="fps: 30", parameters="servo_bus: {rate_hz: 0.5}")
    )
    words = ["armlet.cli.main", "up", "follower", f"robot:={robot}"]
    ended = subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line == (
        f"armlet up: {robot}: parameters.servo_bus: rate_hz must be 1 to 400, found 0.5"
    )


def as_ros_has_it(file, default):
    """The value that a node has of its parameter `value`; None if ROS refuses it."""
    context = rclpy.Context()
    words = ["--ros-args", "--params-file", str(file)]
    try:
        rclpy.init(context=context, args=words)
    except RuntimeError:
        return None
    node = Node("servo_bus", context=context, start_parameter_services=False)
    try:
        return node.declare_parameter("value", default).value
    except InvalidParameterTypeException:
        return None
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)


SPELLINGS = (
    (False, ("y", "N", "yes", "Off", "TRUE", "tRue", '"true"', "1", "!!str true", "!!bool on")),
    (0, ("7", "0xF4", "0364", "0o364", "09", "1_000", "1e3", "+7", "0b1", "2:46:40", '"7"')),
    (0, ("99999999999999999999", "!!int 7", "-0", "7L")),
    (0.0, ("2.0", "2", "2.", ".5", "1e0", "1.0e-3", "0x1p1", "2_0.0", "1:30.0", '"2.0"')),
    (0.0, ("!!float 2", "!!float 2.0", "1e0_0", "2.0f", "1e400", "٣.٠", "infinity", ".inf")),
    ("", ("clamp", '"y"', "y", "no", "2001-01-01", "1:30", "1e3", ".5", "=", "<<", "é", "0o17")),
)


@pytest.mark.parametrize(
    ("default", "text"), [(kind, text) for kind, texts in SPELLINGS for text in texts]
)
def test_a_value_is_read_as_ros_reads_it(tmp_path, default, text):
    """YAML 1.1 has other bools, numbers and dates: what the node refuses would start a graph."""
    file = tmp_path / "mine.yaml"
    file.write_text(f"servo_bus:\n  ros__parameters:\n    value: {text}\n", encoding="utf-8")
    value = read_yaml(file, scalar=ros_scalar)["servo_bus"]["ros__parameters"]["value"]
    of_kind = type(value) is type(default)
    assert (value if of_kind else None) == as_ros_has_it(file, default)


def test_an_empty_list_is_refused_as_ros_cannot_read_it(tmp_path, follower_file):
    file = tmp_path / "mine.yaml"
    file.write_text("servo_bus: {ros__parameters: {other_calibrations: []}}")
    given = {"follower_calibration": str(follower_file), "params_file": str(file)}
    line = said_of(graph("follower").nodes({**given, "robot": "none"}))
    assert "other_calibrations must have an entry, as ROS cannot read []" in line


@pytest.mark.parametrize("streams", ["5", "", "[[a]]", "{a: 1}"])
def test_streams_that_are_no_names_are_refused(tmp_path, streams):
    file = tmp_path / "mine.yaml"
    file.write_text(f"aligner: {{ros__parameters: {{streams: {streams}}}}}")
    line = said_of(graph("robot").nodes({"emulated": "true", "params_file": str(file)}))
    assert "/aligner: streams" in line


def test_names_of_parameters_are_text(tmp_path, follower_file):
    file = tmp_path / "mine.yaml"
    file.write_text("servo_bus: {ros__parameters: {on: 1}}")
    given = {"follower_calibration": str(follower_file), "params_file": str(file)}
    line = said_of(graph("follower").nodes({**given, "robot": "none"}))
    assert "/servo_bus: on: no parameter of servo_bus" in line


@pytest.mark.parametrize("topic", ["/*", "state*", "a b", "../x", "/", "{node}/x", "<x>", "a//b"])
def test_a_topic_that_is_no_name_is_refused(tmp_path, topic):
    """In a policy of SROS 2 an asterisk gave the aligner every topic there is."""
    file = tmp_path / "mine.yaml"
    file.write_text(f"aligner: {{ros__parameters: {{state: {{topic: '{topic}'}}}}}}")
    line = said_of(graph("robot").nodes({"emulated": "true", "params_file": str(file)}))
    assert line.startswith("aligner: state.topic: ") and repr(topic) in line


@pytest.mark.parametrize("name", ["*", "a b", "a/b", "1"])
def test_a_stream_that_is_no_name_is_refused(name):
    streams = {f"{name}.topic": "x", f"{name}.type": "compressed", f"{name}.policy": "nearest"}
    line = said_of([NodeSpec("aligner", "aligner", {"streams": [name], **streams})])
    assert line.startswith("aligner: streams: ") and repr(name) in line
