"""A graph as a launch description, for `ros2 launch`; needs ROS's own launch and launch_ros."""

from __future__ import annotations

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch_ros.actions import LifecycleNode

from armlet.bringup import Graph, NodeSpec, graph, parameter_file


def launch_description(name: str) -> LaunchDescription:
    """Arguments and nodes of a graph of `armlet.bringup`."""
    described = graph(name)
    arguments = [
        DeclareLaunchArgument(
            argument.name,
            default_value=argument.default,
            description=argument.description,
            choices=list(argument.choices) or None,
        )
        for argument in described.arguments
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=_nodes, args=[described])])


def _nodes(context: LaunchContext, described: Graph) -> list[LifecycleNode]:
    values = {
        argument.name: context.launch_configurations[argument.name]
        for argument in described.arguments
    }
    return [_node(spec) for spec in described.nodes(values)]


def _node(spec: NodeSpec) -> LifecycleNode:
    return LifecycleNode(
        package="armlet",
        executable=spec.executable,
        name=spec.name,
        namespace=spec.namespace,
        parameters=[str(parameter_file(spec)), dict(spec.parameters)],
        output="screen",
        on_exit=[Shutdown(reason=f"{spec.name} ended")] if spec.required else None,
    )
