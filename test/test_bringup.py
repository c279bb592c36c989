"""The graphs as data."""

import dataclasses
import importlib.machinery
import itertools
import sys
import types
from pathlib import Path

import pytest
import yaml

from armlet.bringup import (
    FASTDDS_VARIABLE,
    GRAPHS,
    BringupError,
    NodeSpec,
    command,
    discovery,
    fastdds_profile,
    graph,
    parameter_file,
    share_directory,
)
from armlet.files import read_yaml
from armlet.robots import SO101_JOINTS
from armlet.robots import calibration as calibrations
from armlet.sim import FOLLOWER, LEADER
from armlet.start_check import ros_scalar

HARDWARE = {"follower_calibration": "follower.json", "leader_calibration": "leader.json"}


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    """Nobody's robot file."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return folder


def specs():
    given = {
        "sim": {"root": "data"},
        "teleop": HARDWARE,
        "record": HARDWARE | {"root": "data", "cameras": "front=0,wrist=1"},
        "policy": {"follower_calibration": "f.json", "checkpoint": "c", "root": "data"},
    }
    return {name: graph(name).nodes(values) for name, values in given.items()}


def test_every_node_has_an_executable_and_shipped_parameters():
    for spec in itertools.chain(*specs().values()):
        assert (share_directory() / "executables" / spec.executable).stat().st_mode & 0o111
        document = yaml.safe_load(parameter_file(spec).read_text())
        assert list(document["/**"]) == ["ros__parameters"]


def jogs(name, **given):
    return [s for s in graph(name).nodes(HARDWARE | given) if s.executable == "jog"]


def test_a_joystick_takes_the_leaders_place():
    (spec,) = jogs("record", input="spacemouse", root="data", cameras="front=0")
    assert spec.parameters == {
        "calibration_file": "follower.json",
        "kinematics": "so101",
        "device": "spacemouse",
    }
    record = graph("record").nodes(HARDWARE | {"input": "gamepad", "root": "d", "cameras": "a=0"})
    assert not {"leader/servo_bus", "teleop"} & {each.label for each in record}
    assert not jogs("record", root="data", cameras="front=0")
    given = {"follower_calibration": "follower.json"}
    assert [s.label for s in graph("jog").nodes(given)] == ["servo_bus", "jog", "computer"]


def test_an_arm_of_unknown_geometry_is_jogged_by_joint(tmp_path):
    file = tmp_path / "robot.yaml"
    file.write_text("arms: {arm: {port: /dev/a, calibration: arm.json, model: koch}}\n")
    (spec,) = [s for s in graph("jog").nodes({"robot": str(file)}) if s.executable == "jog"]
    assert spec.parameters["kinematics"] == ""


def test_actions_are_served_where_their_messages_are(monkeypatch):
    given = {"follower_calibration": "follower.json", "actions": "true"}
    monkeypatch.setitem(sys.modules, "control_msgs", None)
    with pytest.raises(
        BringupError, match=r"actions: .*control_msgs is not installed.*apt install"
    ):
        graph("follower").nodes(given)
    module = types.ModuleType("control_msgs")
    module.__spec__ = importlib.machinery.ModuleSpec("control_msgs", None)
    monkeypatch.setitem(sys.modules, "control_msgs", module)
    labels = [spec.label for spec in graph("follower").nodes(given)]
    assert labels == ["servo_bus", "trajectory_actions", "computer"]


def test_labels_are_unique_and_namespaces_nest():
    for nodes in specs().values():
        labels = [spec.label for spec in nodes]
        assert len(set(labels)) == len(labels)
    placed = graph("teleop").nodes({**HARDWARE, "namespace": "left"})
    assert {spec.label for spec in placed} == {
        "left/servo_bus",
        "left/leader/servo_bus",
        "left/teleop",
        "left/computer",
    }


def test_cameras_and_streams_agree():
    record = {spec.label: spec for spec in specs()["record"]}
    assert record["front/camera"].parameters["source"] == "0"
    aligner = record["aligner"].parameters
    assert aligner["streams"] == ["state", "action", "front", "wrist"]
    assert aligner["wrist.topic"] == "wrist/image_raw/compressed"


def test_the_computer_is_watched_where_time_does_not_wait_for_it():
    def watched(name, **given):
        return [spec.label for spec in graph(name).nodes(given) if spec.executable == "computer"]

    assert watched("teleop", **HARDWARE) == ["computer"]
    assert watched("sim", use_sim_time="false") == ["computer"]
    assert watched("sim") == []


def test_raw_pictures_bring_their_fast_dds_profile(monkeypatch):
    monkeypatch.delenv(FASTDDS_VARIABLE, raising=False)
    assert all(not spec.environment for spec in graph("sim").nodes({}))
    nodes = graph("sim").nodes({"raw": "true"})
    theirs = {spec.executable: spec.environment.get(FASTDDS_VARIABLE) for spec in nodes}
    # No pictures come to it, and it has a profile of its own.
    assert theirs.pop("servo_bus") is None
    assert set(theirs.values()) == {str(fastdds_profile())}
    assert fastdds_profile().is_file()
    (aligner,) = [spec.parameters for spec in nodes if spec.executable == "aligner"]
    assert (aligner["front.topic"], aligner["front.type"]) == ("front/image_raw", "raw")
    monkeypatch.setenv(FASTDDS_VARIABLE, "mine.xml")
    assert all(not spec.environment for spec in graph("sim").nodes({"raw": "true"}))


@pytest.mark.parametrize(
    "chosen",
    [
        {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"},
        {"ROS_LOCALHOST_ONLY": "0"},
        {"ROS_STATIC_PEERS": "192.0.2.7"},
        {"ROS_DISCOVERY_SERVER": "192.0.2.7:11811"},
    ],
)
def test_nodes_are_found_from_this_computer_only_unless_somebody_chose(chosen):
    assert discovery({}) == {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    assert discovery(dict.fromkeys(chosen, "")) == discovery({})
    assert discovery(chosen) == {}


def policy(name="policy", **given):
    """The policy's parameters in a graph, and those of the others by executable."""
    required = {"follower_calibration": "f.json", "checkpoint": "c", "root": "data"}
    nodes = graph(name).nodes((required if name == "policy" else {"root": "data"}) | given)
    found = {spec.executable: spec.parameters for spec in nodes}
    return found.pop("policy"), found


@pytest.mark.parametrize("name", ["policy", "sim"])
def test_what_a_policy_may_be_given_is_an_argument_of_the_graphs_that_run_one(name):
    given = {
        "embodiment": "so101",
        "lerobot_version": "0.5.1",
        "transformers_version": "5.3",
        "strategy": "rtc",
        "device": "cuda",
        "backend": "openvino",
        "precision": "bfloat16",
        "joint_units": "range_m100_100",
        "task": "lift",
    }
    others = {"base_checkpoint": "models/base", "without_cameras": "wrist,top"}
    parameters, _ = policy(name, vlm="models/vlm", **others, **given)
    assert parameters["without"] == "wrist,top"
    assert parameters["base_checkpoint"] == str(Path("models/base").absolute())
    assert {name: parameters[name] for name in given} == given
    assert parameters["vlm"] == str(Path("models/vlm").absolute())
    unsaid, _ = policy(name)
    assert (unsaid["vlm"], unsaid["strategy"], unsaid["backend"]) == ("", "auto", "torch")


def test_units_of_a_policy_are_not_guessed_but_data_has_its_usual_ones():
    unsaid, others = policy()
    assert unsaid["joint_units"] == ""
    assert others["recorder"]["joint_units"] == "degrees"
    _, others = policy(joint_units="range_m100_100")
    assert others["recorder"]["joint_units"] == "range_m100_100"
    _, others = policy("sim", teleop="true")
    assert others["teleop"]["joint_units"] == "degrees"


def test_beside_a_policy_the_leader_waits_until_a_person_takes_over(tmp_path):
    file = tmp_path / "robot.yaml"
    file.write_text(
        "arms:\n"
        "  follower: {port: /dev/f, calibration: /f.json}\n"
        "  leader: {port: /dev/l, calibration: /l.json, teleoperates: follower}\n"
    )
    given = {"robot": str(file), "checkpoint": "c"}
    alone, both = (
        {spec.label: spec for spec in graph("policy").nodes({**given, **more})}
        for more in ({}, {"teleop": "true"})
    )
    assert set(both) - set(alone) == {"leader/servo_bus", "teleop"}
    assert all(both[label] == spec for label, spec in alone.items()), "the rest is as without it"
    assert both["leader/servo_bus"].parameters["port"] == "/dev/l"
    assert both["leader/servo_bus"].parameters["mode"] == "leader"
    assert both["teleop"].parameters["engaged"] is False
    engaged = {
        name: {spec.executable: spec.parameters for spec in graph(name).nodes(more)}["teleop"]
        for name, more in (
            ("teleop", {"robot": str(file)}),
            ("sim", {"teleop": "true", "policy": "false"}),
            ("policy", {**given, "teleop": "true", "running": "false"}),
        )
    }
    assert [each["engaged"] for each in engaged.values()] == [True, True, True]
    with pytest.raises(BringupError, match="leader_calibration:=FILE"):
        graph("policy").nodes({"follower_calibration": "f", "checkpoint": "c", "teleop": "true"})


def test_a_repository_is_no_path():
    name = "hub:owner/name@v1/2"
    assert policy(checkpoint=name)[0]["checkpoint"] == name
    assert policy(checkpoint="c")[0]["checkpoint"] == str(Path("c").absolute())


def test_choices_are_those_of_the_policies():
    pytest.importorskip("torch", reason="the policy extra is not installed")
    from armlet.policies.execution import planner
    from armlet.policies.runtime import backends

    choices = {argument.name: argument.choices for argument in GRAPHS["policy"].arguments}
    assert set(choices["strategy"]) == {planner.AUTO, *planner.STRATEGIES}
    assert choices["backend"] == backends.BACKENDS
    assert choices["precision"] == backends.PRECISIONS


def test_a_dead_policy_does_not_stop_the_graph():
    required = {spec.executable: spec.required for spec in specs()["policy"]}
    assert not required.pop("policy") and not required.pop("computer")
    assert all(required.values())


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("nothing", {}, "no graph"),
        ("sim", {"camera": "x"}, "no argument camera"),
        ("sim", {"policy": "yes"}, "must be one of"),
        ("record", HARDWARE, "root:="),
        ("teleop", {}, "armlet setup.*(leader_calibration|follower_calibration)"),
        ("policy", {"follower_calibration": "f"}, "checkpoint:="),
        ("policy", {"strategy": "fastest"}, "strategy must be one of"),
        ("policy", {"joint_units": "radians"}, "joint_units must be one of"),
        ("record", HARDWARE | {"root": "d", "cameras": "front"}, "name=source"),
    ],
)
def test_what_cannot_be_started_is_refused_by_argument(name, given, message):
    with pytest.raises(BringupError, match=message):
        graph(name).nodes(given)


def test_the_command_line_carries_name_namespace_and_parameters(tmp_path):
    spec = NodeSpec("teleop", "teleop", {"joint_units": "degrees"}, "left")
    line = command(spec, tmp_path)
    assert "__node:=teleop" in line
    assert "__ns:=/left" in line
    written = yaml.safe_load((tmp_path / "left.teleop.yaml").read_text())
    assert written == {"/**": {"ros__parameters": {"joint_units": "degrees"}}}


def test_what_is_set_around_a_graph_comes_before_the_nodes_own(tmp_path):
    spec = NodeSpec(
        *("teleop", "teleop", {"joint_units": "degrees"}, "left"),
        scoped={"max_leader_age_s": 0.4},
        remaps=(("joint_states", "arm/states"),),
        log_level="debug",
    )
    line = command(spec, tmp_path)
    files = [word for before, word in itertools.pairwise(line) if before == "--params-file"]
    written = [yaml.safe_load(Path(file).read_text()) for file in files]
    assert written[1:] == [
        {"/**": {"ros__parameters": {"max_leader_age_s": 0.4}}},
        {"/**": {"ros__parameters": {"joint_units": "degrees"}}},
    ]
    assert line[-2:] == ["-r", "joint_states:=arm/states"]
    assert line[line.index("--log-level") + 1] == "debug"


PART = {"follower_calibration": "f.json", "cameras": "front=/dev/v0,wrist=/dev/v1"}


@pytest.mark.parametrize(
    ("given", "labels"),
    [
        ({"only": "servo_bus,aligner"}, ["servo_bus", "aligner"]),
        ({"only": "camera"}, ["front/camera", "wrist/camera"]),
        ({"without": "camera, computer"}, ["servo_bus", "aligner"]),
        ({"without": "wrist,computer"}, ["servo_bus", "front/camera", "aligner"]),
        ({"only": "camera", "without": "wrist/camera"}, ["front/camera"]),
        ({"only": "lab/front", "namespace": "lab"}, ["lab/front/camera"]),
        ({"only": "front", "namespace": "/lab/"}, ["lab/front/camera"]),
    ],
)
def test_a_part_of_a_graph(given, labels):
    assert [spec.label for spec in graph("robot").nodes(PART | given)] == labels


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("robot", {"only": "camra"}, r"only: .*no node camra; did you mean camera\?"),
        ("robot", {"without": "fron/camera"}, r"did you mean front/camera\?"),
        ("policy", {"without": "top", "checkpoint": "c"}, "without_cameras:="),
        ("robot", {"only": "camera", "without": "front,wrist"}, "leave no node"),
        ("robot", {"only": ","}, "only: expected nodes' names, found ','"),
        ("robot", {"without": "\x1b[2J"}, r"no node \\x1b\[2J;"),
    ],
)
def test_a_part_that_a_graph_does_not_have_is_refused(name, given, message):
    with pytest.raises(BringupError, match=message):
        graph(name).nodes(PART | given)


def test_simulated_time_waits_for_the_part_that_is_run_and_for_who_is_named():
    nodes = graph("sim").nodes({"without": "policy", "participants": "lab/policy"})
    bench = next(spec for spec in nodes if spec.executable == "sim_bench")
    assert bench.parameters["participants"] == ["servo_bus", "aligner", "lab/policy"]


def test_every_node_that_can_comes_back_but_not_the_world():
    nodes = graph("sim").nodes({"respawn": "true", "teleop": "true"})
    assert {spec.executable for spec in nodes if not spec.respawn} == {"sim_bench"}
    assert not any(spec.respawn for spec in graph("sim").nodes({}))


def test_the_emulated_arms_calibrations_are_the_shipped_files():
    directory = share_directory() / "config" / "calibration"
    assert calibrations.load(directory / "emulated_follower.json") == FOLLOWER
    assert calibrations.load(directory / "emulated_leader.json") == LEADER


def test_the_graphs():
    names = ["brain", "follower", "jog", "policy", "record", "robot", "sim", "teleop"]
    assert sorted(GRAPHS) == names


BRAIN = {"robot": "none", "follower_calibration": "f.json", "checkpoint": "c"}


def test_a_brain_is_the_policy_of_a_robot_elsewhere():
    whole = {spec.executable: spec for spec in graph("policy").nodes(BRAIN)}
    policy, watcher = graph("brain").nodes({**BRAIN, "task": "lift"})
    parameters = {**whole["policy"].parameters, "task": "lift"}
    assert policy == dataclasses.replace(whole["policy"], parameters=parameters, required=True)
    robot = {spec.label for spec in graph("robot").nodes({"robot": "none", **ROBOT_ONLY})}
    assert watcher.executable == "computer" and not robot & {policy.label, watcher.label}


ROBOT_ONLY = {"follower_calibration": "f.json"}


def test_a_brain_waits_for_the_robots_recorder_if_asked_to():
    given = {**BRAIN, "requires_recorder": "true", "use_sim_time": "true"}
    (policy,) = graph("brain").nodes(given)
    assert policy.parameters["requires_recorder"] and policy.parameters["use_sim_time"]
    assert "lockstep" not in policy.parameters


def test_both_parts_of_a_graph_may_run_on_one_computer():
    def marks(name, namespace=""):
        chosen, given = graph(name), BRAIN if name != "robot" else {"robot": "none", **ROBOT_ONLY}
        return chosen.marks(namespace, chosen.nodes(given))

    assert marks("robot", "/left/") == ["left"] and marks("robot") == [""]
    assert marks("brain", "left") == ["left/brain"] and marks("brain") == ["brain"]
    assert marks("policy") == ["", "brain"], "no brain beside a policy"


@pytest.mark.parametrize(("name", "given"), [("robot", ROBOT_ONLY), ("brain", BRAIN)])
def test_one_option_of_both_parts_says_which_computers_find_the_nodes(name, given):
    given = {"robot": "none", **given}
    assert not any(spec.environment for spec in graph(name).nodes(given))
    for reach in ("subnet", "localhost"):
        nodes = graph(name).nodes({**given, "discovery": reach})
        found = [spec.environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] for spec in nodes]
        assert set(found) == {reach.upper()} and len(found) > 1


def test_a_policy_that_is_to_be_recorded_requires_the_recorder(tmp_path):
    for root, required in ((str(tmp_path), True), ("", False)):
        nodes = graph("sim").nodes({"root": root})
        policy = next(spec for spec in nodes if spec.executable == "policy")
        assert policy.parameters["requires_recorder"] is required


@pytest.mark.parametrize(
    ("given", "meant"), [("on_hole", "on_gap"), ("on_gaps", "on_gap"), ("epsiodes", "episodes")]
)
def test_an_argument_that_is_not_known_is_answered_with_what_may_be_meant(given, meant):
    with pytest.raises(BringupError, match=rf"did you mean {meant}\?"):
        graph("record").nodes({"root": "x", given: "split"})


def test_the_choice_at_a_gap_reaches_the_recorder():
    nodes = graph("record").nodes({"root": "x", "emulated": "true", "on_gap": "split"})
    recorder = next(spec for spec in nodes if spec.executable == "recorder")
    assert recorder.parameters["on_gap"] == "split"
    assert recorder.parameters["min_episode_s"] == 1.0


ROBOT = """
arms:
  follower: {port: /dev/f, calibration: f.json}
  leader: {port: /dev/l, calibration: l.json, teleoperates: follower}
cameras:
  front: {source: /dev/v0, width: 320, height: 240, fps: 15}
  wrist: {source: /dev/v2}
joint_units: range_m100_100
parameters:
  servo_bus: {max_velocity_rad_s: 2.0}
  leader/servo_bus: {rate_hz: 50.0}
"""


@pytest.fixture
def robot(home):
    path = home / ".config/armlet/robot.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(ROBOT)
    return path


@pytest.mark.parametrize("named", [False, True])
def test_a_robot_file_stands_for_arguments(robot, tmp_path, named):
    given = {"root": "data"}
    if named:
        given["robot"] = str(robot.rename(tmp_path / "mine.yaml"))
    folder = tmp_path if named else robot.parent
    nodes = {spec.label: spec.parameters for spec in graph("record").nodes(given)}
    assert nodes["servo_bus"]["port"] == "/dev/f"
    assert nodes["servo_bus"]["calibration_file"] == str(folder / "f.json")
    assert nodes["leader/servo_bus"]["calibration_file"] == str(folder / "l.json")
    assert nodes["recorder"]["joint_units"] == "range_m100_100"
    assert nodes["aligner"]["streams"] == ["state", "action", "front", "wrist"]
    front, wrist = nodes["front/camera"], nodes["wrist/camera"]
    assert (front["width"], front["height"], front["fps"]) == (320, 240, 15.0)
    assert (wrist["width"], wrist["height"], wrist["fps"]) == (640, 480, 30.0)
    assert nodes["aligner"]["front.tolerance_s"] == 0.08  # a period of the slower camera
    assert nodes["servo_bus"]["max_velocity_rad_s"] == 2.0
    assert "rate_hz" not in nodes["servo_bus"] and nodes["leader/servo_bus"]["rate_hz"] == 50.0


def test_what_is_given_goes_before_the_robot_file(robot):
    given = {"root": "data", "follower_port": "/dev/other", "joint_units": "degrees"}
    nodes = graph("record").nodes({**given, "cameras": "top=7"})
    named = {spec.label: spec.parameters for spec in nodes}
    assert named["servo_bus"]["port"] == "/dev/other"
    assert named["recorder"]["joint_units"] == "degrees"
    assert named["top/camera"]["source"] == "7" and "front/camera" not in named


def test_the_emulated_bench_takes_no_robot_file(robot):
    robot.write_text("not: a robot file")
    assert graph("record").nodes({"root": "data", "emulated": "true"})
    with pytest.raises(BringupError, match="robot:=none"):
        graph("teleop").nodes({})
    assert graph("teleop").nodes({**HARDWARE, "robot": "none"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"robot": "/nowhere/robot.yaml"}, "there is no file /nowhere"),
        ({"params_file": "/nowhere/p.yaml"}, "params_file: there is no file"),
    ],
)
def test_a_file_that_was_named_must_be_there(given, message):
    with pytest.raises(BringupError, match=message):
        graph("teleop").nodes({**HARDWARE, **given})


def test_parameters_of_no_node_are_refused(robot):
    robot.write_text("parameters: {servobus: {port: x}}")
    with pytest.raises(BringupError, match="did you mean servo_bus"):
        graph("teleop").nodes(HARDWARE)


def test_a_parameter_file_is_read_last(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("/**:\n  ros__parameters: {}\n")
    for spec in graph("follower").nodes(
        {"follower_calibration": "f.json", "params_file": str(file)}
    ):
        assert command(spec, tmp_path)[-2:] == ["--params-file", str(file)]


PAIRS = """
arms:
  left_follower: {port: /dev/lf, calibration: /lf.json}
  left_leader: {port: /dev/ll, calibration: /ll.json, teleoperates: left_follower}
  right_follower: {port: /dev/rf, calibration: /rf.json}
  right_leader: {port: /dev/rl, calibration: /rl.json, teleoperates: right_follower}
parameters:
  left/servo_bus: {max_velocity_rad_s: 2.0}
"""


def test_two_pairs_of_one_robot_file_make_one_graph(robot):
    robot.write_text(PAIRS)
    specs = graph("record").nodes({"root": "data", "namespace": "cell"})
    nodes = {spec.label: spec.parameters for spec in specs}
    for side, ports in (("left", "/dev/l"), ("right", "/dev/r")):
        follower, leader = nodes[f"cell/{side}/servo_bus"], nodes[f"cell/{side}/leader/servo_bus"]
        assert (follower["port"], follower["mode"]) == (f"{ports}f", "follower")
        assert follower["graph"] == "/cell"
        assert (leader["port"], leader["mode"]) == (f"{ports}l", "leader")
        teleop = nodes[f"cell/{side}/teleop"]
        assert teleop["leader_calibration_file"] == f"/{side[0]}l.json"
        assert teleop["follower_calibration_file"] == f"/{side[0]}f.json"
    aligner = nodes["cell/aligner"]
    assert aligner["joints"] == [f"{s}_{j}" for s in ("left", "right") for j in SO101_JOINTS]
    assert aligner["state.topics"] == ["left/joint_states", "right/joint_states"]
    assert aligner["action.prefixes"] == ["left_", "right_"]
    assert nodes["cell/recorder"]["calibration_file"] == "left_=/lf.json,right_=/rf.json"


def test_what_is_of_one_pair_is_refused_of_two(robot):
    robot.write_text(PAIRS)
    with pytest.raises(BringupError, match="follower_port is of one follower"):
        graph("teleop").nodes({"follower_port": "/dev/x"})


def test_a_policy_drives_both_followers(robot):
    robot.write_text(PAIRS)
    nodes = {spec.label: spec.parameters for spec in graph("policy").nodes({"checkpoint": "c"})}
    assert nodes["policy"]["calibration_file"] == "left_=/lf.json,right_=/rf.json"
    assert {"left/servo_bus", "right/servo_bus"} <= {*nodes}


def test_a_follower_without_a_leader_is_said(robot):
    robot.write_text(PAIRS.replace("  right_leader", "  # right_leader"))
    assert {spec.label for spec in graph("follower").nodes({})} >= {"left/servo_bus"}
    with pytest.raises(BringupError, match="no arm teleoperates the right follower"):
        graph("teleop").nodes({})


def test_another_kind_of_arm_gives_the_aligner_its_joints(robot):
    (robot.parent / "small.yaml").write_text(
        "joints: {lift: {id: 3}, gripper: {id: 4, role: gripper}}"
    )
    robot.write_text("arms: {a: {port: /dev/a, calibration: /a.json, model: small.yaml}}")
    nodes = graph("policy").nodes({"checkpoint": "c", "root": "r"})
    named = {spec.label: spec.parameters for spec in nodes}
    assert named["aligner"]["joints"] == ["lift", "gripper"]
    assert named["recorder"]["robot_type"] == "small_follower"


def test_servos_of_another_family_are_named_by_joint(robot):
    robot.write_text(
        "arms: {a: {port: /dev/a, calibration: /a.json, model: koch}, "
        "b: {port: /dev/b, calibration: /b.json, model: koch_leader, teleoperates: a}}"
    )
    named = {spec.label: spec.parameters for spec in graph("teleop").nodes({})}
    motors = dict(word.split("=") for word in named["servo_bus"]["motors"].split(","))
    assert motors["shoulder_lift"] == "xl430-w250" and motors["gripper"] == "xl330-m288"
    assert set(motors) == set(SO101_JOINTS)
    assert "xl330-m077" in named["leader/servo_bus"]["motors"]


def test_a_robot_is_the_graph_of_a_policy_without_the_policy():
    given = {"root": "data", "emulated": "true", "use_sim_time": "false"}
    robot = GRAPHS["robot"].nodes(given)
    policy = GRAPHS["policy"].nodes({**given, "checkpoint": "checkpoint"})
    assert robot == [spec for spec in policy if spec.executable != "policy"]
    assert {"servo_bus", "aligner", "recorder"} < {spec.executable for spec in robot}


def test_text_stays_text_in_the_file_of_a_node(tmp_path):
    """ROS takes y without quotation marks for a bool, 1e3 and nan for numbers."""
    texts = ("y", "on", "1e3", "0x1p1", "09", "nan", "~", "", "é\n🦾")
    spec = NodeSpec("recorder", "recorder", {"task": "", "a_list": list(texts)})
    for text in texts:
        written = dataclasses.replace(spec, parameters={**spec.parameters, "task": text})
        command(written, tmp_path)
        found = read_yaml(tmp_path / "recorder.yaml", scalar=ros_scalar)
        assert found == {"/**": {"ros__parameters": {"a_list": list(texts), "task": text}}}


@pytest.mark.parametrize(
    "name", [n for n in GRAPHS if "emulated" in {a.name for a in GRAPHS[n].arguments}]
)
@pytest.mark.parametrize(
    "given",
    [{"physics": "mujoco"}, {"bench_task": "pick_place"}, {"seed": "3", "real_time_factor": "0"}],
    ids=lambda given: next(iter(given)),
)
def test_what_only_the_bench_has_starts_no_real_arm(name, given):
    with pytest.raises(BringupError, match=f"{next(iter(given))}.*emulated:=true"):
        graph(name).nodes({"robot": "none", **given})


def test_rows_say_that_a_person_commanded_them_where_a_policy_may_drive_or_it_is_asked_for():
    def flagged(nodes):
        return [s.parameters["intervention"] for s in nodes if s.executable == "recorder"]

    assert {name: flagged(nodes) for name, nodes in specs().items()} == {
        "sim": [True],
        "teleop": [],
        "record": [False],
        "policy": [True],
    }
    given = HARDWARE | {"root": "data", "cameras": "front=0", "intervention": "true"}
    assert flagged(graph("record").nodes(given)) == [True]
