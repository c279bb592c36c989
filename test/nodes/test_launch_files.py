"""The launch files, where ROS's launch is installed."""

import importlib.util

import pytest

from armlet.bringup import GRAPHS, SUPERVISOR_VARIABLE, BringupError, share_directory

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
        names = {name[0].text for name, _ in process.process_description.additional_env}
        assert (SUPERVISOR_VARIABLE in names) is (not prefix)
