"""The launch files, where ROS's launch is installed."""

import importlib.util

import pytest

from armlet.bringup import GRAPHS, share_directory

# The repository's own launch/ folder imports as an empty package, hence the submodule.
pytest.importorskip("launch.actions", reason="ROS's launch is not installed")

GIVEN = {
    "root": "dataset",
    "checkpoint": "checkpoint",
    "follower_calibration": "follower.json",
    "leader_calibration": "leader.json",
}


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_each_loads_and_names_its_arguments_and_nodes(name):
    from launch import LaunchContext
    from launch.actions import DeclareLaunchArgument, OpaqueFunction

    path = share_directory() / "launch" / f"{name}.launch.py"
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
    assert len(function.execute(context)) >= 3
