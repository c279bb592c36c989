"""Directs a running graph the way a person would: services, topics, nothing else."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PointStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64, Float64MultiArray
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

from armlet.enclaves import init_arguments
from armlet.nodes.clock import RosClock
from armlet.nodes.computer import ComputerCause
from armlet.nodes.lockstep import InLockstep
from armlet.nodes.messages import joint_state, to_ns
from armlet.nodes.node import COMMAND_QOS, SPIN_S, STATE_QOS
from armlet.nodes.trajectories import joint_trajectory, trajectory
from armlet.robots.joints import in_namespace
from armlet.sim.lockstep import DIRECTOR, Turn

from .measurements import Measurements
from .recording import sides
from .spinning import Spinning

# Answers are waited for by the wall clock: a busy computer may take long to give them.
ANSWER_S = 120.0

# Services that most who hold a Director call. Their clients are made at its start, long before the
# first call: a server that has not found a client yet sends its answer to nobody.
_STOP = "servo_bus/stop"
_USUAL_SERVICES = (
    (SetBool, "servo_bus/set_torque"),
    (Trigger, _STOP),
    (Trigger, "recorder/start_recording"),
    (Trigger, "recorder/stop_recording"),
    (Trigger, "recorder/discard_episode"),
    (Trigger, "sim_bench/reset"),
    (Trigger, "sim_bench/demonstrate"),
)
# In simulated time conditions are looked at this often.
LOOK_S = 0.05
DRIVE_S = 10.0
STOP_TRY_S = 5.0
"""After this long without an answer a stop is asked for again."""

ASK_AGAIN_S = 15.0
"""As of a stop, of other requests that change nothing the second time: DDS may lose an answer."""

COMMAND_S = 0.02

CLIENT = "client"
"""The name of a director's node, for which simulated time waits."""

Progress = Callable[[float], None]
"""Is given the share of a wait that is over, 0..1."""


class GraphError(Exception):
    """The graph does not go on; the message says which part did not answer."""


class NoAnswerError(GraphError):
    """A service is there and has not answered."""


class _DirectorNode(InLockstep, Node):  # type: ignore[misc]
    """The director's node, in simulated time or not."""

    def __init__(self, name: str, simulated: bool, lockstep: Path | None) -> None:
        super().__init__(name, parameter_overrides=[Parameter("use_sim_time", value=simulated)])
        self.clock = RosClock(self)
        if lockstep is not None:
            self.join_lockstep(lockstep)

    def fail(self, error: Exception) -> None:
        raise error


class Director:
    """Calls the graph's services and listens to its topics from a thread of its own.

    In lockstep nothing happens but by the director: time stands still while it acts, and goes on
    only in `let_pass`, `wait_for` and `drive_to`.

    simulated: its time is that of /clock. lockstep: the bench's socket; implies simulated. name:
    of its node, which the bench expects among the participants. trouble: asked now and then while
    something is waited for; what it answers, in words, ends the wait.
    """

    def __init__(
        self,
        simulated: bool = False,
        lockstep: Path | None = None,
        name: str = CLIENT,
        trouble: Callable[[], str] = lambda: "",
    ) -> None:
        # The program's own arguments are none of ROS's. Signals are Python's: where a shell has a
        # program in the background ignore Ctrl-C, rclpy ended under it, and it waited for ever.
        rclpy.init(args=init_arguments(""), signal_handler_options=SignalHandlerOptions.NO)
        self._said_trouble = trouble
        self._node = _DirectorNode(name, simulated or lockstep is not None, lockstep)
        self._clients: dict[str, Any] = {}
        for kind, service in _USUAL_SERVICES:
            self._client(kind, service)
        self._turn: Turn | None = None
        if lockstep is not None:
            self._turn = self._node.take_turns("director", DIRECTOR)
            self._turn.busy()
        self.seen = Measurements()
        self._commands = self._node.create_publisher(JointState, "joint_commands", COMMAND_QOS)
        self._chunks = self._node.create_publisher(JointTrajectory, "joint_trajectory", COMMAND_QOS)
        self.computer = ComputerCause(self._node)
        self._listen()
        self._spinning = Spinning(self._node)
        self._spinning.start()
        self._node.ready()
        if self._turn is not None:
            try:
                self._wait_for_the_clock()
            except GraphError:
                self.close()
                raise
        self._begun_ns, self._begun_s = self.now_ns, time.monotonic()

    def _wait_for_the_clock(self) -> None:
        """Before the bench has said what time it is, there is none to count from."""
        end_s = time.monotonic() + ANSWER_S
        while not self.now_ns:
            if trouble := self._trouble():
                raise GraphError(trouble)
            if time.monotonic() > end_s:
                raise GraphError(f"the bench did not start within {ANSWER_S:.0f} s")
            time.sleep(LOOK_S)

    def close(self) -> None:
        self._node.leave_lockstep()
        self._spinning.close()

    @property
    def now_ns(self) -> int:
        """The time of the graph, ns."""
        return self._node.clock.now_ns()

    def _listen(self) -> None:
        def joints_of(topic: str) -> Callable[[Any], None]:
            return lambda m: seen.joints(topic, to_ns(m.header.stamp), m)

        seen = self.seen
        for topic in ("joint_states", "applied_joint_commands", "observation/state", "action"):
            self.listen(JointState, topic, joints_of(topic))
        # The bench sends both at once; the target's stamp is that of the error as well.
        self.listen(Float64, "sim_bench/reach_error", lambda m: seen.error(m.data))
        self.listen(
            PointStamped,
            "sim_bench/target",
            lambda m: seen.target(to_ns(m.header.stamp), m.point.x, m.point.y),
        )
        self.listen(JointTrajectory, "joint_trajectory", self._on_trajectory)
        self.listen(Float64MultiArray, "policy/latency", lambda m: seen.latency(list(m.data)))
        self.listen(DiagnosticArray, "/diagnostics", lambda m: seen.diagnostics(m.status))

    def listen(self, kind: type, topic: str, handler: Callable[[Any], None]) -> None:
        """Have a topic's messages handled, in the director's thread, as long as it is open."""
        self._node.create_subscription(kind, topic, handler, STATE_QOS)

    def _on_trajectory(self, message: JointTrajectory) -> None:
        with contextlib.suppress(ValueError):  # a hold, or what the bus will refuse
            self.seen.chunk(trajectory(message, 0))

    @property
    def elapsed_s(self) -> float:
        """How much of the graph's time has passed since this director began."""
        return (self.now_ns - self._begun_ns) * 1e-9

    @property
    def wall_s(self) -> float:
        """How much of this computer's time that took."""
        return time.monotonic() - self._begun_s

    def _trouble(self) -> str:
        return self._spinning.failure or self._said_trouble()

    def let_pass(self, duration_s: float, progress: Progress = lambda share: None) -> None:
        """Let time pass: the graph's. Raises GraphError if there is trouble meanwhile."""
        begun_ns = self.now_ns
        due_ns = begun_ns + round(1e9 * duration_s)
        if self._turn is not None:
            self._turn.ask(due_ns)
        while not self._is_due(due_ns):
            if trouble := self._trouble():
                raise GraphError(trouble)
            progress(min(1.0, (self.now_ns - begun_ns) * 1e-9 / duration_s))

    def _is_due(self, due_ns: int) -> bool:
        if self._turn is not None:
            return self._turn.came(SPIN_S)
        left_s = (due_ns - self.now_ns) * 1e-9
        time.sleep(max(0.0, min(left_s, SPIN_S)))
        return self.now_ns >= due_ns

    def trigger(self, service: str, timeout_s: float = ANSWER_S) -> str:
        """Call a Trigger service; its message. Raises GraphError if it fails or does not answer."""
        return self._answer(service, self.call(Trigger, service, Trigger.Request(), timeout_s))

    def stop(self, timeout_s: float = ANSWER_S) -> str:
        """Stop every arm of the graph, at the same time; the drivers' messages.

        A graph of two pairs has a driver in the namespace of each side. DDS may lose an answer; a
        second request changes nothing, so it is asked for again. Raises GraphError if one fails or
        does not answer.
        """
        for _ in range(max(1, round(timeout_s / STOP_TRY_S))):
            services = self._stop_services()
            clients = [self._client(Trigger, service) for service in services]
            responses = self._spinning.answers(clients, Trigger.Request(), STOP_TRY_S)
            if None not in responses:
                break
        silent = [name for name, said in zip(services, responses, strict=True) if said is None]
        if silent:
            raise NoAnswerError(
                f"service {', '.join(silent)} did not answer within {timeout_s:.0f} s"
            )
        return "; ".join(map(self._answer, services, responses))

    def _stop_services(self) -> list[str]:
        """Of every driver found; of one in the graph's own namespace even if only that is."""
        nodes = self._node.get_node_names_and_namespaces()
        found = {*sides(nodes, self._node.get_namespace())}
        if not found or self._client(Trigger, _STOP).service_is_ready():
            found.add("")
        return [in_namespace(side, _STOP) for side in sorted(found)]

    def set(self, service: str, value: bool) -> str:
        """Call a SetBool service; its message. Raises GraphError likewise."""
        request = SetBool.Request(data=value)
        return self._answer(service, self.call(SetBool, service, request, again_s=ASK_AGAIN_S))

    def change_state(self, node: str, transition: str) -> None:
        """Put a lifecycle node through a transition by its name. Raises GraphError if it fails."""
        number = getattr(Transition, f"TRANSITION_{transition.upper()}")
        request = ChangeState.Request(transition=Transition(id=number))
        if not self.call(ChangeState, f"{node}/change_state", request).success:
            raise GraphError(f"{node} could not {transition}")

    def set_parameters(self, node: str, **values: Any) -> None:
        """Change parameters of a running node: all, or none. Raises GraphError with the reason."""
        parameters = [Parameter(name, value=to).to_parameter_msg() for name, to in values.items()]
        service = f"{node}/set_parameters_atomically"
        request = SetParametersAtomically.Request(parameters=parameters)
        result = self.call(SetParametersAtomically, service, request, again_s=ASK_AGAIN_S).result
        if not result.successful:
            raise GraphError(f"{node}: {result.reason}")

    def wait_for(self, what: str, ready: Callable[[], bool], timeout_s: float) -> None:
        """Wait until something has been seen. Raises GraphError naming what did not come.

        timeout_s: of the graph's time in lockstep, else of the wall clock.
        """
        if self._turn is None:
            came = self.seen.wait_until(ready, timeout_s)
        else:
            end_ns = self.now_ns + round(1e9 * timeout_s)
            while not (came := ready()) and self.now_ns < end_ns:
                self.let_pass(LOOK_S)
        if not came:
            raise GraphError(f"{what} did not arrive within {timeout_s:.0f} s")

    def command(self, joints: Sequence[str], goal: Any) -> None:
        """Publish one joint command, radians, stamped now."""
        self._commands.publish(joint_state(joints, self.now_ns, np.asarray(goal)))

    def follow(self, joints: Sequence[str], duration_s: float, rows: Any) -> None:
        """Publish a trajectory of evenly spaced rows (k, n), radians, from now on."""
        step_s = duration_s / max(1, len(rows) - 1)
        self._chunks.publish(joint_trajectory(joints, self.now_ns, step_s, np.asarray(rows)))

    def cancel(self) -> None:
        """Publish an empty trajectory: the arm stops following."""
        self._chunks.publish(JointTrajectory())

    def drive_to(self, joints: Sequence[str], goal: Any, tolerance_rad: float = 0.05) -> None:
        """Command the arm to a pose (radians) until it is there. Raises GraphError after 10 s."""
        end_ns = self.now_ns + round(1e9 * DRIVE_S)
        while self.seen.distance(goal) > tolerance_rad:
            if self.now_ns > end_ns:
                raise GraphError(
                    f"the arm did not reach its start; {self.seen.distance(goal):.2f} rad off"
                )
            self.command(joints, goal)
            self.let_pass(COMMAND_S)

    def call(
        self,
        kind: Any,
        service: str,
        request: Any,
        timeout_s: float = ANSWER_S,
        again_s: float | None = None,
    ) -> Any:
        """Call a service of any kind; its response. Raises GraphError if there is none.

        again_s: after so long without an answer it is asked again: for a request that changes
        nothing the second time.
        """
        client = self._client(kind, service)
        if not client.wait_for_service(timeout_s):
            raise GraphError(f"service {service} is not available")
        end_s = time.monotonic() + timeout_s
        while True:
            response = self._spinning.answer(client, request, again_s or timeout_s)
            if response is not None:
                return response
            if again_s is None or time.monotonic() >= end_s:
                raise NoAnswerError(f"service {service} did not answer within {timeout_s:.0f} s")

    def _client(self, kind: Any, service: str) -> Any:
        """A service's client, kept: an answer is lost if the server has not found it yet."""
        if service not in self._clients:
            self._clients[service] = self._node.create_client(kind, service)
        return self._clients[service]

    @staticmethod
    def _answer(service: str, response: Any) -> str:
        if not response.success:
            raise GraphError(f"{service}: {response.message}")
        return str(response.message)
