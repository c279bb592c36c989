"""Directs a running graph the way a person would: services, topics, nothing else."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PointStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64, Float64MultiArray
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

from armlet.nodes.messages import joint_state, joint_trajectory, to_ns, trajectory
from armlet.nodes.node import COMMAND_QOS, STATE_QOS

from .measurements import Measurements


class DemoError(Exception):
    """The demo cannot go on; the message says which part did not answer."""


class Director:
    """Calls the graph's services and listens to its topics from a thread of its own."""

    def __init__(self) -> None:
        rclpy.init()
        self._node = Node("demo")
        self.seen = Measurements()
        self._commands = self._node.create_publisher(JointState, "joint_commands", COMMAND_QOS)
        self._chunks = self._node.create_publisher(JointTrajectory, "joint_trajectory", COMMAND_QOS)
        self._listen()
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._executor.spin, name="director", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join()
        self._node.destroy_node()
        rclpy.try_shutdown()

    def _listen(self) -> None:
        def on(kind: type, topic: str, handler: Callable[[Any], None]) -> None:
            self._node.create_subscription(kind, topic, handler, STATE_QOS)

        seen = self.seen
        for topic in ("joint_states", "applied_joint_commands", "observation/state", "action"):
            on(JointState, topic, lambda m, t=topic: seen.joints(t, to_ns(m.header.stamp), m))
        on(Float64, "sim_bench/reach_error", lambda m: seen.reach(time.time_ns(), m.data))
        on(PointStamped, "sim_bench/target", lambda m: seen.target(m.point.x, m.point.y))
        on(JointTrajectory, "joint_trajectory", self._on_trajectory)
        on(Float64MultiArray, "policy/latency", lambda m: seen.latency(list(m.data)))
        on(DiagnosticArray, "/diagnostics", lambda m: seen.diagnostics(m.status))

    def _on_trajectory(self, message: JointTrajectory) -> None:
        with contextlib.suppress(ValueError):  # a hold, or what the bus will refuse
            self.seen.chunk(trajectory(message, 0))

    def trigger(self, service: str, timeout_s: float = 30.0) -> str:
        """Call a Trigger service; its message. Raises DemoError if it fails or does not answer."""
        return self._answer(service, self.call(Trigger, service, Trigger.Request(), timeout_s))

    def set(self, service: str, value: bool) -> str:
        """Call a SetBool service; its message. Raises DemoError likewise."""
        return self._answer(service, self.call(SetBool, service, SetBool.Request(data=value)))

    def change_state(self, node: str, transition: str) -> None:
        """Put a lifecycle node through a transition by its name. Raises DemoError if it fails."""
        number = getattr(Transition, f"TRANSITION_{transition.upper()}")
        request = ChangeState.Request(transition=Transition(id=number))
        if not self.call(ChangeState, f"{node}/change_state", request).success:
            raise DemoError(f"{node} could not {transition}")

    def wait_for(self, what: str, ready: Callable[[], bool], timeout_s: float) -> None:
        """Wait until something has been seen. Raises DemoError naming what did not come."""
        if not self.seen.wait_until(ready, timeout_s):
            raise DemoError(f"{what} did not come within {timeout_s:.0f} s")

    def command(self, joints: Sequence[str], goal: Any) -> None:
        """Publish one joint command, radians, stamped now."""
        self._commands.publish(joint_state(joints, time.time_ns(), np.asarray(goal)))

    def follow(self, joints: Sequence[str], duration_s: float, rows: Any) -> None:
        """Publish a trajectory of evenly spaced rows (k, n), radians, from now on."""
        step_s = duration_s / max(1, len(rows) - 1)
        self._chunks.publish(joint_trajectory(joints, time.time_ns(), step_s, np.asarray(rows)))

    def cancel(self) -> None:
        """Publish an empty trajectory: the arm stops following."""
        self._chunks.publish(JointTrajectory())

    def drive_to(self, joints: Sequence[str], goal: Any, tolerance_rad: float = 0.05) -> None:
        """Command the arm to a pose (radians) until it is there. Raises DemoError after 10 s."""
        deadline = time.monotonic() + 10.0
        while self.seen.distance(goal) > tolerance_rad:
            if time.monotonic() > deadline:
                raise DemoError(
                    f"the arm did not reach its start; {self.seen.distance(goal):.2f} rad off"
                )
            self.command(joints, goal)
            time.sleep(0.02)

    def call(self, kind: Any, service: str, request: Any, timeout_s: float = 30.0) -> Any:
        """Call a service of any kind; its response. Raises DemoError if there is none."""
        client = self._node.create_client(kind, service)
        try:
            if not client.wait_for_service(timeout_s):
                raise DemoError(f"service {service} is not there")
            done = threading.Event()
            future = client.call_async(request)
            future.add_done_callback(lambda _: done.set())
            if not done.wait(timeout_s):
                raise DemoError(f"service {service} did not answer within {timeout_s:.0f} s")
            return future.result()
        finally:
            self._node.destroy_client(client)

    @staticmethod
    def _answer(service: str, response: Any) -> str:
        if not response.success:
            raise DemoError(f"{service}: {response.message}")
        return str(response.message)
