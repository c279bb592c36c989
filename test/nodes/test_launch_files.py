"""The launch files, where ROS's launch is installed."""

import importlib.util
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from armlet.bringup import (
    GRAPHS,
    RESPAWNED_VARIABLE,
    SUPERVISOR_VARIABLE,
    BringupError,
    share_directory,
)

# The repository's own launch/ folder imports as an empty package, hence the submodule.
pytest.importorskip("launch.actions", reason="ROS's launch is not installed")

SHARE = share_directory()
CALIBRATIONS = SHARE / "config" / "calibration"
GIVEN = {
    "root": "dataset",
    "checkpoint": str(SHARE / "checkpoints" / "reach"),
    "follower_calibration": str(CALIBRATIONS / "emulated_follower.json"),
    "leader_calibration": str(CALIBRATIONS / "emulated_leader.json"),
}


def variables(process):
    return {name[0].text for name, _ in process.process_description.additional_env}


def described(name):
    """A launch file's context with its arguments, and the function that makes its processes."""
    from launch import LaunchContext
    from launch.actions import DeclareLaunchArgument, OpaqueFunction

    path = SHARE / "launch" / f"{name}.launch.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    context = LaunchContext()
    entities = module.generate_launch_description().entities
    arguments = [e for e in entities if isinstance(e, DeclareLaunchArgument)]
    assert [a.name for a in arguments] == [a.name for a in GRAPHS[name].arguments]
    for argument in arguments:
        default = "".join(part.perform(context) for part in argument.default_value)
        context.launch_configurations[argument.name] = GIVEN.get(argument.name, default)
    (function,) = (e for e in entities if isinstance(e, OpaqueFunction))
    return context, function


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_each_loads_and_names_its_arguments_and_nodes(name):
    context, function = described(name)
    assert len(function.execute(context)) >= (1 if name in ("follower", "brain") else 3)


def test_what_a_node_would_refuse_is_refused_before_anything_starts():
    context, function = described("record")
    context.launch_configurations["follower_calibration"] = "none.json"
    with pytest.raises(BringupError, match=r"no calibration file none\.json"):
        function.execute(context)


@pytest.mark.parametrize("prefix", ["", "gdb --args"])
def test_nodes_end_with_launch_unless_a_prefix_stands_between(prefix):
    context, function = described("record")
    context.launch_configurations["launch-prefix"] = prefix
    for process in function.execute(context):
        assert (SUPERVISOR_VARIABLE in variables(process)) is (not prefix)


# --- what an including launch file sets around a graph, by the real actions ---------------------


def entered(context, entity):
    """Carry out what launch would, except for processes, which are returned."""
    from launch.actions import ExecuteProcess

    if isinstance(entity, ExecuteProcess):
        return [entity]
    within = entity.visit(context) or []
    return [process for each in within for process in entered(context, each)]


def processes_within(*around, name="follower", **given):
    """The processes of a graph that is included in a group after these actions, by node."""
    from launch import LaunchContext
    from launch.actions import GroupAction, IncludeLaunchDescription
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    path = str(SHARE / "launch" / f"{name}.launch.py")
    arguments = {**{k: v for k, v in GIVEN.items() if k in NAMES[name]}, "robot": "none", **given}
    source = PythonLaunchDescriptionSource(path)
    include = IncludeLaunchDescription(source, launch_arguments=arguments.items())
    context = LaunchContext()
    found = entered(context, GroupAction([*around, include]))
    return {process.process_description.cmd[3][0].text: process for process in found}


NAMES = {name: [argument.name for argument in each.arguments] for name, each in GRAPHS.items()}


def words(process):
    return ["".join(part.text for part in word) for word in process.process_description.cmd]


def parameters_of(process):
    """What a node reads, file after file, without the shipped defaults."""
    line = words(process)
    files = [word for before, word in itertools.pairwise(line) if before == "--params-file"]
    return [yaml.safe_load(Path(file).read_text())["/**"]["ros__parameters"] for file in files[1:]]


@pytest.fixture
def ros_actions():
    return pytest.importorskip("launch_ros.actions", reason="launch_ros is not installed")


def test_parameters_set_around_an_include_reach_the_nodes_that_have_them(ros_actions, tmp_path):
    """They were ignored without a word."""
    file = tmp_path / "around.yaml"
    file.write_text("/**: {ros__parameters: {rate_hz: 50.0, of_another_package: 1}}\n")
    found = processes_within(
        ros_actions.SetParameter("max_velocity_rad_s", 2),
        ros_actions.SetParametersFromFile(str(file)),
        ros_actions.SetParameter("load_limit", 1.5),
    )
    scoped, own = parameters_of(found["servo_bus"])
    assert scoped == {"max_velocity_rad_s": 2.0, "rate_hz": 50.0}
    assert own["mode"] == "follower"
    assert len(parameters_of(found["computer"])) == 1


def test_a_remap_and_a_namespace_around_an_include_reach_every_node(ros_actions):
    found = processes_within(
        ros_actions.PushRosNamespace("lab"),
        ros_actions.SetRemap("joint_states", "arm/joint_states"),
        namespace="left",
        log_level="debug",
    )
    assert set(found) == {"servo_bus", "computer"}
    for process in found.values():
        line = words(process)
        assert "__ns:=/lab/left" in line and "joint_states:=arm/joint_states" in line
        assert line[line.index("--log-level") + 1] == "debug"


def test_what_is_set_around_one_include_is_not_set_around_the_next(ros_actions):
    from launch.actions import GroupAction

    apart = GroupAction([ros_actions.SetRemap("a", "b"), ros_actions.SetParameter("rate_hz", 50.0)])
    found = processes_within(apart)
    assert "a:=b" not in words(found["servo_bus"])
    assert len(parameters_of(found["servo_bus"])) == 1


# --- respawn ------------------------------------------------------------------------------------


def ended(process, status, is_shutdown=False):
    """What launch does when a process has ended."""
    context = SimpleNamespace(is_shutdown=is_shutdown)
    (handler,) = [value for name, value in vars(process).items() if name.endswith("__on_exit")]
    return handler(SimpleNamespace(returncode=status), context)


def test_a_node_that_died_comes_back_at_rest():
    from launch.actions import Shutdown, TimerAction

    driver = processes_within(respawn="true")["servo_bus"]
    _, timer = ended(driver, -9)
    assert isinstance(timer, TimerAction)
    (start,) = timer.actions
    (again,) = start.execute(None)
    assert RESPAWNED_VARIABLE in variables(again) and RESPAWNED_VARIABLE not in variables(driver)
    assert words(again) == words(driver)
    assert ended(again, -9, is_shutdown=True) == []
    (end,) = ended(again, 0)
    assert isinstance(end, Shutdown)


def test_without_respawn_a_required_node_ends_the_graph_and_another_does_not():
    from launch.actions import Shutdown

    found = processes_within()
    (end,) = ended(found["servo_bus"], -9)
    assert isinstance(end, Shutdown) and ended(found["computer"], -9) == []


# --- a graph as `ros2 launch` runs it ------------------------------------------------------------

LAUNCH = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription, SetLaunchConfiguration
from launch.launch_description_sources import PythonLaunchDescriptionSource
source = PythonLaunchDescriptionSource(sys.argv[1])
given = [word.split(":=", 1) for word in sys.argv[2:]]
service = LaunchService()
included = IncludeLaunchDescription(source, launch_arguments=given)
# However busy the computer is: launch calls it an error that a process takes longer to end.
patient = SetLaunchConfiguration("sigterm_timeout", "150")
service.include_launch_description(LaunchDescription([patient, included]))
sys.exit(service.run())
"""
# By the wall clock, and only so that a broken test ends.
GUARD_S = 180


@pytest.mark.thorough
def test_a_graph_starts_without_an_error_and_ends_by_a_key_with_torque_off(
    tmp_path, private_domain
):
    path = str(SHARE / "launch" / "teleop.launch.py")
    given = ["emulated:=true", f"bench_directory:={tmp_path}"]
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, path, *given],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # Its logs would be in the home of whoever runs the test.
        env={**os.environ, "ROS_LOG_DIR": str(tmp_path / "log")},
    )
    said = []
    for line in process.stdout:
        said.append(line)
        if "simulated time begins" in line:
            break
    # Ctrl-C reaches the whole group of processes, as launch expects it.
    os.killpg(process.pid, signal.SIGINT)
    rest, _ = process.communicate(timeout=GUARD_S)
    whole = "".join(said) + rest
    assert process.returncode == 0, whole
    assert "[ERROR]" not in whole and "Traceback" not in whole
    assert "torque is off: every servo was read back" in rest
