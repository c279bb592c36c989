"""A policy process whose network a test replaces, and an observer of what it does, with times."""

import bisect
import threading
import time
from contextlib import contextmanager

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from forked_nodes import Popen
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, String
from trajectory_msgs.msg import JointTrajectory

from armlet.bringup import command
from armlet.nodes.lockstep import InLockstep
from armlet.nodes.messages import parse_skew, to_ns
from armlet.nodes.node import LATCHED_QOS
from armlet.nodes.teardown import destroy

# Swings all joints but the gripper around the middle pose, as its frame's rows are due; the file
# says what it does instead: sleep SECONDS before each chunk, nan, or hang.
STAND_IN = """
import sys, time
from pathlib import Path
import numpy as np
from armlet.nodes.node import run
from armlet.nodes.policy import PolicyNode

ORDERS = Path(sys.argv.pop(1))
FPS, DEGREES, HZ = 30, 12.0, 0.4

class StandIn:
    def __init__(self, policy, clock):
        self._policy, self._clock = policy, clock

    def __getattr__(self, name):
        return getattr(self._policy, name)

    def predict_chunk(self, observation, leftover=None):
        begun = self._clock.now_ns() * 1e-9
        rows = self._policy.predict_chunk(observation).copy()
        (ORDERS.parent / "task").write_text(observation.task)
        order, *arguments = ORDERS.read_text().split() or [""]
        due = begun + np.arange(len(rows)) / FPS
        rows[:, :5] = DEGREES * np.sin(2 * np.pi * HZ * due)[:, None]
        rows[:, 5] = 50
        if order == "sleep":
            time.sleep(float(arguments[0]))
        if order == "hang":
            (ORDERS.parent / "hangs").touch()
        while order == "hang" and ORDERS.read_text() == "hang":
            time.sleep(0.01)
        return np.full_like(rows, np.nan) if order == "nan" else rows

class StandInNode(PolicyNode):
    def load(self):
        return StandIn(super().load(), self.clock)

run(StandInNode)
"""


@contextmanager
def stand_in(spec, directory, orders, output=None, script=STAND_IN):
    """The policy node of a spec, run by a script such as `STAND_IN`; yields the process."""
    line = command(spec, directory)
    module = line.index("-m")
    line[module : module + 3] = ["-c", script, str(orders)]
    process = Popen(line, stdout=output, stderr=output, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


class WitnessNode(InLockstep, Node):
    """Simulated time waits until it has heard what was sent."""

    def __init__(self, context, lockstep):
        given = [Parameter("use_sim_time", value=lockstep is not None)]
        super().__init__("observer", context=context, parameter_overrides=given)
        if lockstep is not None:
            self.join_lockstep(lockstep)


class Observer:
    """What bus and policy say, each with its own time (ns), through a node of its own.

    lockstep: the socket of the bench; None for the wall clock. graph: waits, in its own time.
    """

    def __init__(self, graph, lockstep=None):
        self._graph = graph
        self.chunks = []  # (stamp, end), ns; holds are (0, 0)
        self.policy = []  # (stamp, level, message, values)
        self.bus = []  # what ~/status says
        self.applied = []  # (stamp, positions)
        # When DDS was given each of them, ns.
        self._sent = {"bus": [], "applied": [], "chunks": []}
        self.latencies = []  # values by name
        self._changed = threading.Condition()
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = WitnessNode(self._context, lockstep)
        listen = self._node.create_subscription
        listen(JointTrajectory, "joint_trajectory", self._on_chunk, 50)
        listen(DiagnosticArray, "/diagnostics", self._note(self.policy, _policy), 50)
        listen(JointState, "applied_joint_commands", self._on_applied, 500)
        listen(String, "servo_bus/status", self._on_bus, LATCHED_QOS)
        listen(
            Float64MultiArray,
            "policy/latency",
            self._note(self.latencies, lambda m: parse_skew(m)[1]),
            50,
        )
        self._task = self._node.create_publisher(String, "policy/task", 10)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()
        self._node.ready()

    def close(self):
        self._node.leave_lockstep()
        self._executor.shutdown()
        self._thread.join()
        destroy(self._node)
        rclpy.shutdown(context=self._context)

    def _note(self, rows, read):
        def receive(message):
            row = read(message)
            with self._changed:
                if row is not None:
                    rows.append(row)
                self._changed.notify_all()

        return receive

    def _on_chunk(self, message, info=None):
        with self._changed:
            self.chunks.append(_chunk(message))
            self._sent["chunks"].append(_sent_ns(info))
            self._changed.notify_all()

    def _on_applied(self, message, info=None):
        with self._changed:
            self.applied.append(_applied(message))
            self._sent["applied"].append(_sent_ns(info))
            self._changed.notify_all()

    def _on_bus(self, message, info=None):
        with self._changed:
            self.bus.append(message.data)
            self._sent["bus"].append(_sent_ns(info))
            self._changed.notify_all()

    @property
    def heard(self):
        """When the bus said each, as stamped by the last control cycle that had sent goals, ns.

        By the order in which they were sent: two topics may come in another one.
        """
        stamps = [0, *(stamp for stamp, _ in self.applied)]
        before = [bisect.bisect(self._sent["applied"], sent) for sent in self._sent["bus"]]
        return [stamps[count] for count in before]

    @property
    def said_ns(self):
        """When the bus gave DDS each of them, by the wall clock, ns."""
        return self._sent["bus"]

    def chunks_sent(self, since=0):
        """(when DDS was given it, its end), ns, of each chunk from number `since` on; no holds."""
        with self._changed:
            chunks = list(zip(self._sent["chunks"], self.chunks, strict=True))
        return [(sent, end) for sent, (_, end) in chunks[since:] if end]

    def wait(self, what, ready, timeout_s=120.0):
        try:
            self._graph.wait(what, ready, timeout_s)
        except AssertionError as error:
            heard = f"bus: {self.bus[-3:]}, policy: {self.policy[-1:]}"
            raise AssertionError(f"{what} did not come; {heard}; {error}") from error

    def wait_for_chunks(self, more):
        count = len(self.horizons()) + more
        self.wait("chunks", lambda: len(self.horizons()) >= count)

    def wait_for_drive(self):
        """Wait until the arm follows, and has joined the swing at the ramp's velocity."""
        self.wait("drive", lambda: "following joint_trajectory" in "".join(self.bus[-1:]))
        self.wait_for_chunks(9)

    def say_task(self, text):
        self._task.publish(String(data=text))

    def wait_for_policy(self, text, since=0):
        """Wait until diagnostics from number `since` on say something; that entry."""
        found = []

        def said():
            found[:] = [row for row in self.policy[since:] if text in row[2]]
            return bool(found)

        self.wait(text, said)
        return found[0]

    def horizons(self):
        return [end for stamp, end in self.chunks if end]

    def settled_after(self, horizon_ns):
        """s from a horizon's end to the first goal from which on none differs (0: before)."""
        stamps = [stamp for stamp, _ in self.applied]
        goals = [goal for _, goal in self.applied]
        moving = [i for i, goal in enumerate(goals) if goal != goals[-1]]
        assert moving, "the arm never moved"
        return max(0.0, (stamps[moving[-1] + 1] - horizon_ns) * 1e-9)

    def cycles_to_rest(self, horizon_ns):
        """Control cycles after a horizon's end up to the goal from which on none differs."""
        rest_ns = horizon_ns + round(self.settled_after(horizon_ns) * 1e9)
        return sum(horizon_ns < stamp <= rest_ns for stamp, _ in self.applied)


def _sent_ns(info):
    """When DDS was given a message; in lockstep, where no message overtakes another, now."""
    return time.time_ns() if info is None else info["source_timestamp"]


def _chunk(message):
    if not message.points:
        return (0, 0)
    stamp, last = to_ns(message.header.stamp), message.points[-1].time_from_start
    return (stamp, stamp + last.sec * 10**9 + last.nanosec)


def _policy(message):
    for status in message.status:
        if status.name.endswith("policy: inference"):
            values = {pair.key: pair.value for pair in status.values}
            level = ord(status.level) if isinstance(status.level, bytes) else status.level
            return (to_ns(message.header.stamp), level, status.message, values)
    return None


def _applied(message):
    return (to_ns(message.header.stamp), tuple(round(p, 9) for p in message.position))
