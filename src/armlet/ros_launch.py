"""A graph as a launch description, for `ros2 launch`; needs ROS's `launch`, nothing more.

The nodes are started by the very command lines `armlet up` uses, so both ways run the same graph.
What an including launch file sets around it (launch_ros's PushRosNamespace, SetParameter,
SetParametersFromFile, SetRemap) is honoured as launch_ros's own Node does.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from launch import Action, LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    LogInfo,
    OpaqueFunction,
    Shutdown,
    TimerAction,
)
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration

from armlet.bringup import (
    RESPAWNED_VARIABLE,
    STOP_GRACE_S,
    SUPERVISOR_VARIABLE,
    Graph,
    NodeSpec,
    command,
    graph,
    recording,
)
from armlet.enclaves import warning
from armlet.files import scratch_folder
from armlet.launch_scope import Scope
from armlet.respawn import DELAY_S, Starts
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


def _processes(context: LaunchContext, described: Graph) -> list[Action]:
    configurations = context.launch_configurations
    scope = Scope.of(configurations)
    given = {argument.name: configurations[argument.name] for argument in described.arguments}
    nodes, notes = scope.around(described.nodes(scope.arguments(given)))
    nodes = recording(nodes)  # topics may have other names in this scope
    check(nodes)
    notes += filter(None, [warning(os.environ)])
    scratch = contextlib.ExitStack()
    directory = scratch.enter_context(scratch_folder())
    # The nodes read their files at their start; launch itself has ended after all of them.
    atexit.register(scratch.close)
    # A person's prefix (gdb, say) stands between launch and the node.
    prefixed = bool(configurations.get("launch-prefix"))
    ending = {} if prefixed else {SUPERVISOR_VARIABLE: str(os.getpid())}
    nodes_here = [_Node(spec, directory, ending, Starts(spec.respawn)) for spec in nodes]
    return [LogInfo(msg=note) for note in notes] + [node.process() for node in nodes_here]


@dataclass
class _Node:
    """A node that ends with launch, however that ends: launch leaves its processes at a SIGTERM."""

    spec: NodeSpec
    directory: Path
    ending: dict[str, str]
    starts: Starts

    def process(self, again: bool = False) -> ExecuteProcess:
        """Its process; again: one has died, and this one comes back at rest."""
        self.starts.started(time.monotonic())
        respawned = {RESPAWNED_VARIABLE: "1"} if again else {}
        return ExecuteProcess(
            cmd=command(self.spec, self.directory),
            name=self.spec.label.replace("/", "-"),
            additional_env={**self.spec.environment, **self.ending, **respawned},
            output="screen",
            on_exit=self._ended,
            # SIGTERM is to a node what SIGINT is; SIGKILL comes some seconds after it.
            sigterm_timeout=LaunchConfiguration("sigterm_timeout", default=str(STOP_GRACE_S)),
        )

    def _ended(self, event: ProcessExited, context: LaunchContext) -> list[Action]:
        if context.is_shutdown:
            return []
        label, status = self.spec.label, event.returncode
        if self.starts.again(status, time.monotonic()):
            said = f"{label} ended with status {status}; it starts again in {DELAY_S:.0f} s"
            return [LogInfo(msg=said), TimerAction(period=DELAY_S, actions=[self._again()])]
        if self.spec.required:
            return [Shutdown(reason=self.starts.consequence(f"{label} ended"))]
        return []

    def _again(self) -> OpaqueFunction:
        def start(_: LaunchContext) -> list[Action]:
            return [self.process(again=True)]

        return OpaqueFunction(function=start)
