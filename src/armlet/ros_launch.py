"""A graph as a launch description, for `ros2 launch`; needs ROS's `launch`, nothing more.

The nodes are started by the very command lines `armlet up` uses, so both ways run the same graph.
A namespace pushed by an including launch file (launch_ros's PushRosNamespace) is honoured.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import os
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction, Shutdown

from armlet.bringup import SUPERVISOR_VARIABLE, Graph, NodeSpec, command, graph
from armlet.files import scratch_folder
from armlet.start_check import check


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
    return LaunchDescription([*arguments, OpaqueFunction(function=_processes, args=[described])])


def _processes(context: LaunchContext, described: Graph) -> list[ExecuteProcess]:
    given = context.launch_configurations
    values = {argument.name: given[argument.name] for argument in described.arguments}
    pushed = given.get("ros_namespace", "").strip("/")
    nodes = [_within(spec, pushed) for spec in described.nodes(values)]
    check(nodes)
    scratch = contextlib.ExitStack()
    directory = scratch.enter_context(scratch_folder())
    # The nodes read their files at their start; launch itself has ended after all of them.
    atexit.register(scratch.close)
    # A person's prefix (gdb, say) stands between launch and the node.
    ending = {} if given.get("launch-prefix") else {SUPERVISOR_VARIABLE: str(os.getpid())}
    return [_process(spec, directory, ending) for spec in nodes]


def _within(spec: NodeSpec, namespace: str) -> NodeSpec:
    return dataclasses.replace(spec, namespace=f"{namespace}/{spec.namespace}".strip("/"))


def _process(spec: NodeSpec, directory: Path, ending: dict[str, str]) -> ExecuteProcess:
    """A node that ends with launch, however that ends: launch leaves its processes at a SIGTERM."""
    return ExecuteProcess(
        cmd=command(spec, directory),
        name=spec.label.replace("/", "-"),
        additional_env={**spec.environment, **ending},
        output="screen",
        on_exit=[Shutdown(reason=f"{spec.label} ended")] if spec.required else None,
    )
