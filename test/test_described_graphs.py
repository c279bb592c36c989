"""What a graph says of its arms to ROS's tools: robot_description, TF and RViz."""

import dataclasses
import json
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

from armlet.bringup import BringupError, command, graph, share_directory
from armlet.client.preloaded import Preloaded
from armlet.launch_scope import Scope
from armlet.start_check import check

CALIBRATION = share_directory() / "config" / "calibration" / "emulated_follower.json"
ONE = {"follower_calibration": str(CALIBRATION), "robot": "none"}
TWO = f"""
arms:
  left_follower: {{port: /dev/l, calibration: {CALIBRATION}}}
  right_follower: {{port: /dev/r, calibration: {CALIBRATION}}}
cameras:
  top: {{source: pattern, mount: {{link: right_base_link, xyz: [0, 0, 0.5], rpy: [0, 1.5, 0]}}}}
  wrist: {{source: pattern}}
"""


@pytest.fixture
def robot(tmp_path):
    """The argument for a robot file with this text."""

    def write(text):
        (tmp_path / "robot.yaml").write_text(text)
        return {"robot": str(tmp_path / "robot.yaml")}

    return write


@pytest.fixture
def ros(tmp_path, monkeypatch):
    """A ROS installation with nothing but these packages' programs."""

    def install(*packages):
        for package in packages:
            program = tmp_path / "ros" / "lib" / package / package
            program.parent.mkdir(parents=True)
            program.touch(0o755)
        monkeypatch.setenv("AMENT_PREFIX_PATH", f"/nowhere:{tmp_path / 'ros'}")
        return tmp_path / "ros" / "lib"

    install()
    return install


def drivers(nodes):
    """The description of each driver: its links by the driver's label."""
    texts = {
        spec.label: spec.parameters.get("robot_description")
        for spec in nodes
        if spec.executable == "servo_bus"
    }
    return {label: text and links(text) for label, text in texts.items()}


def links(text):
    return [link.get("name") for link in ElementTree.fromstring(text).findall("link")]


def test_each_follower_is_described_with_frames_of_its_own(robot):
    nodes = graph("robot").nodes({**robot(TWO), "namespace": "cell"})
    check(nodes)
    found = drivers(nodes)
    assert list(found) == ["cell/left/servo_bus", "cell/right/servo_bus"]
    left, right = found.values()
    assert left[0] == "cell_left_base_link" and right[0] == "cell_right_base_link"
    assert right[-2:] == ["cell_top_link", "cell_top_optical_frame"]
    assert all(name.startswith("cell_left_") for name in left), "the camera is the right arm's"
    frames = {
        spec.label: spec.parameters["frame_id"] for spec in nodes if "source" in spec.parameters
    }
    assert frames == {
        "cell/top/camera": "cell_top_optical_frame",
        "cell/wrist/camera": "cell_wrist_optical_frame",
    }
    assert not any("mount" in spec.parameters for spec in nodes)


def test_a_leader_is_not_described():
    found = drivers(graph("teleop").nodes({**ONE, "leader_calibration": str(CALIBRATION)}))
    assert found["servo_bus"][0] == "base_link" and found["leader/servo_bus"] is None


@pytest.mark.parametrize("model", ["koch", "arm.yaml"])
def test_an_arm_without_a_urdf_is_not_described(robot, tmp_path, model):
    (tmp_path / "arm.yaml").write_text("joints: {lift: {id: 1}}")
    arm = f"arms: {{follower: {{port: /dev/l, calibration: {CALIBRATION}, model: {model}}}}}"
    assert drivers(graph("follower").nodes(robot(arm))) == {"servo_bus": None}


def test_another_arms_calibration_is_given_no_urdf_that_does_not_fit_it(tmp_path):
    joints = json.loads(CALIBRATION.read_text())
    joints["lift"] = joints.pop("shoulder_lift")
    (tmp_path / "arm.json").write_text(json.dumps(joints))
    nodes = graph("follower").nodes({**ONE, "follower_calibration": str(tmp_path / "arm.json")})
    assert drivers(nodes) == {"servo_bus": None}


@pytest.mark.parametrize(("model", "axis"), [("so101", "0 -1 0"), ("dynamixel.yaml", "0 1 0")])
def test_a_servo_that_cannot_turn_round_itself_turns_the_models_joint_round(
    robot, tmp_path, model, axis
):
    joints = json.loads(CALIBRATION.read_text())
    joints["elbow_flex"]["drive_mode"] = 1
    (tmp_path / "arm.json").write_text(json.dumps(joints))
    own = Path(__file__).parents[1] / "src" / "armlet" / "robots" / "models"
    text = (own / "so101.yaml").read_text().replace("sts3215", "xl430-w250")
    (tmp_path / "dynamixel.yaml").write_text(text.replace("urdf: ", f"urdf: {own}/"))
    arm = f"arms: {{follower: {{port: /dev/l, calibration: arm.json, model: {model}}}}}"
    (driver, *_) = graph("follower").nodes(robot(arm))
    urdf = ElementTree.fromstring(driver.parameters["robot_description"])
    assert urdf.find("joint[@name='elbow_flex']/axis").get("xyz") == axis


def test_a_camera_on_a_link_that_no_arm_has_is_refused(robot):
    text = TWO.replace("link: right_base_link", "link: hand")
    with pytest.raises(BringupError, match=r"cameras\.top\.mount\.link: expected one of left_base"):
        graph("robot").nodes(robot(text))


@pytest.mark.parametrize(
    ("mount", "message"),
    [
        ("{xyz: [0, 0, 1]}", r"cameras\.top\.mount: expected link"),
        ("{link: pan, xyz: [0, 1]}", r"cameras\.top\.mount\.xyz: expected three numbers, found"),
        ("{link: pan, rpy: [a, 0, 0]}", r"mount\.rpy\[0\]: expected a finite number, found 'a'"),
    ],
)
def test_a_mount_that_is_none_is_refused_with_its_place(robot, mount, message):
    with pytest.raises(BringupError, match=message):
        graph("robot").nodes(robot(f"cameras: {{top: {{source: pattern, mount: {mount}}}}}"))


def test_nothing_of_ros_is_started_where_it_is_not_installed(ros):
    assert {spec.program for spec in graph("follower").nodes(ONE)} == {""}


def test_tf_is_published_where_robot_state_publisher_is_installed(ros, robot, tmp_path):
    lib = ros("robot_state_publisher")
    nodes = graph("robot").nodes(robot(TWO))
    check(nodes)
    programs = {spec.label: spec for spec in nodes if spec.program}
    assert list(programs) == ["left/robot_state_publisher", "right/robot_state_publisher"]
    drivers = {spec.namespace: spec for spec in nodes if spec.executable == "servo_bus"}
    for spec in programs.values():
        assert not spec.required, "an arm that nobody shows goes on"
        line = command(spec, tmp_path)
        assert str(lib / "robot_state_publisher/robot_state_publisher") in line
        assert f"__ns:=/{spec.namespace}" in line
        # One says what the arm is: who is there with and without this program.
        assert "robot_description:=robot_state_publisher/robot_description" in line
        given = yaml.safe_load(Path(line[line.index("--params-file") + 1]).read_text())
        own = drivers[spec.namespace].parameters["robot_description"]
        assert given["/**"]["ros__parameters"] == {"robot_description": own, "use_sim_time": False}


def test_what_a_launch_file_sets_around_a_graph_leaves_ros_programs_their_own_rules(ros):
    ros("robot_state_publisher")
    scope = Scope(parameters=(("max_velocity_rad_s", 1.0),), remaps=(("tf", "cell/tf"),))
    placed, notes = scope.around(graph("follower").nodes(ONE))
    (publisher,) = [spec for spec in placed if spec.program]
    own = ("robot_description", "robot_state_publisher/robot_description")
    assert (publisher.remaps, notes) == ((own, ("tf", "cell/tf")), [])


def test_no_simulated_time_waits_for_programs_that_know_no_lockstep(ros):
    ros("robot_state_publisher")
    nodes = graph("sim").nodes({})
    (publisher,) = [spec for spec in nodes if spec.program]
    assert publisher.parameters["use_sim_time"] is True and "lockstep" not in publisher.parameters
    (bench,) = [spec for spec in nodes if spec.executable == "sim_bench"]
    assert publisher.label not in bench.parameters["participants"]


def test_rviz_shows_the_arm_from_its_base(ros, tmp_path):
    ros("robot_state_publisher", "rviz2")
    nodes = graph("follower").nodes({**ONE, "rviz": "true", "namespace": "cell"})
    check(nodes)
    labels = [spec.label for spec in nodes]
    # Ended in the reverse order: the arm is released before a window that hangs is waited for.
    assert labels[:3] == ["cell/robot_state_publisher", "cell/rviz", "cell/servo_bus"]
    rviz = nodes[1]
    assert not rviz.required
    config = rviz.arguments[rviz.arguments.index("-d") + 1]
    displays = yaml.safe_load(Path(config).read_text())["Visualization Manager"]["Displays"]
    assert "rviz_default_plugins/RobotModel" in [display["Class"] for display in displays]
    assert rviz.arguments[-2:] == ("-f", "cell_base_link")
    line = command(dataclasses.replace(rviz, program="/opt/rviz2"), tmp_path)
    assert line.index("/opt/rviz2") < line.index("-d") < line.index("--ros-args")


def test_rviz_that_is_not_installed_is_named_with_what_to_type(ros):
    ros("robot_state_publisher")
    with pytest.raises(BringupError, match=r"rviz2 not installed; sudo apt install ros-\S+-rviz2"):
        graph("follower").nodes({**ONE, "rviz": "true"})


def test_rviz_of_an_arm_without_a_model_is_refused(ros, robot):
    ros("robot_state_publisher", "rviz2")
    arm = f"arms: {{follower: {{port: /dev/l, calibration: {CALIBRATION}, model: koch}}}}"
    with pytest.raises(BringupError, match="no arm whose model has a URDF"):
        graph("follower").nodes({**robot(arm), "rviz": "true"})


def test_what_forks_nodes_starts_other_programs_as_ever():
    """`armlet eval` forks its nodes, where robot_state_publisher may be installed, too."""
    preloaded = Preloaded.__new__(Preloaded)  # without the process that forks
    process = preloaded.popen(["/bin/echo", "shown"], {}, stdout=subprocess.PIPE, text=True)
    assert process.communicate()[0] == "shown\n"
