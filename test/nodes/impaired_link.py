"""Two ROS domains, as two computers, and a link between them that a test impairs.

It carries messages as bytes, each way those that go that way between a robot and its brain. What a
network does to packets is done to messages: delay, loss, another order, a cut.
"""

import heapq
import itertools
import json
import random
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from driver_timeouts import running_program
from rclpy.executors import SingleThreadedExecutor
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, JointState
from std_msgs.msg import Float64MultiArray, String
from trajectory_msgs.msg import JointTrajectory

from armlet.nodes.clock_exchange import TOPIC as CLOCKS
from armlet.nodes.node import COMMAND_QOS, LATCHED_QOS, RECORDING_QOS, SENSOR_QOS
from armlet.nodes.teardown import destroy

BRAIN = "b" * 12
CAMERAS = ("front", "wrist")
TO_BRAIN = (
    (String, "observation/contract", LATCHED_QOS),
    (JointState, "observation/state", RECORDING_QOS),
    (Float64MultiArray, "observation/skew", RECORDING_QOS),
    *(
        (CompressedImage, f"observation/images/{camera}/compressed", RECORDING_QOS)
        for camera in CAMERAS
    ),
    (String, CLOCKS, SENSOR_QOS),
)
TO_ROBOT = (
    (JointTrajectory, "joint_trajectory", COMMAND_QOS),
    (String, CLOCKS, SENSOR_QOS),
)
# What the test hears of the brain goes another way.
ASIDE = ((DiagnosticArray, "/diagnostics", RECORDING_QOS),)


@dataclass(frozen=True)
class Impairment:
    """Of both directions. delay_s: of every message; jitter_s: at most so much more, by chance, so
    that they come in another order; loss: the share that never comes; cut: all of them; stalled:
    all that comes now waits until it is no more."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    cut: bool = False
    stalled: bool = False


class Link:
    """Carries messages between two domains until closed; `impairment` may be set at any time."""

    def __init__(self, robot_domain, brain_domain):
        self.impairment = Impairment()
        self.carried = dict.fromkeys(("brain", "robot"), 0)
        self._chance = random.Random(0)
        self._due, self._numbers = [], itertools.count()
        self._changed = threading.Condition()
        self._ending = threading.Event()
        self._sides = {}
        for name, domain in (("robot", robot_domain), ("brain", brain_domain)):
            context = rclpy.Context()
            rclpy.init(args=[], context=context, domain_id=domain)
            node = rclpy.create_node(f"link_at_{name}", context=context)
            executor = SingleThreadedExecutor(context=context)
            executor.add_node(node)
            self._sides[name] = context, node, executor
        for topics, to, aside in (
            (TO_BRAIN, "brain", False),
            (TO_ROBOT, "robot", False),
            (ASIDE, "robot", True),
        ):
            for kind, topic, qos in topics:
                self._carry(kind, topic, qos, to, aside)
        self._threads = [
            threading.Thread(target=self._spin, args=(executor,))
            for _, _, executor in self._sides.values()
        ] + [threading.Thread(target=self._deliver)]
        for thread in self._threads:
            thread.start()

    def close(self):
        self._ending.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        for context, node, executor in self._sides.values():
            executor.shutdown()
            destroy(node)
            rclpy.shutdown(context=context)

    def _carry(self, kind, topic, qos, to, aside):
        source = "robot" if to == "brain" else "brain"
        publisher = self._sides[to][1].create_publisher(kind, topic, qos)

        def take(data):
            if topic == CLOCKS and _is_brains(data) is not (source == "brain"):
                return  # what this link itself has brought here
            if aside:
                publisher.publish(data)
                return
            # Who comes late asks for it until it has it, as DDS does.
            self._send(publisher, data, to, lossless=qos is LATCHED_QOS)

        self._sides[source][1].create_subscription(kind, topic, take, qos, raw=True)

    def _send(self, publisher, data, to, lossless):
        with self._changed:
            now = self.impairment
            if not lossless and (now.cut or self._chance.random() < now.loss):
                return
            due_s = time.monotonic() + now.delay_s + self._chance.uniform(0, now.jitter_s)
            heapq.heappush(self._due, (due_s, next(self._numbers), publisher, data, to))
            self._changed.notify_all()

    def _deliver(self):
        while not self._ending.is_set():
            with self._changed:
                wait_s = self._due[0][0] - time.monotonic() if self._due else 1.0
                if wait_s > 0 or self.impairment.stalled:
                    self._changed.wait(min(max(wait_s, 0.01), 0.1))
                    continue
                _, _, publisher, data, to = heapq.heappop(self._due)
                self.carried[to] += 1
            publisher.publish(data)

    def _spin(self, executor):
        while not self._ending.is_set():
            executor.spin_once(timeout_sec=0.05)


def _is_brains(data):
    return json.loads(deserialize_message(data, String).data)["computer"] == BRAIN


@contextmanager
def link(robot_domain, brain_domain):
    made = Link(robot_domain, brain_domain)
    try:
        yield made
    finally:
        made.close()


_POLICY = """
from armlet.nodes import clock_exchange, policy
from armlet.nodes.clock import RosClock
clock_exchange.this_computer = lambda: {computer!r}
now_ns = RosClock.now_ns
RosClock.now_ns = lambda self: now_ns(self) + {offset_ns}
policy.main()
"""


def on_another_computer(line, offset_s):
    """A policy's command line, as if on a computer whose clock is ahead by offset_s."""
    program = _POLICY.format(computer=BRAIN, offset_ns=round(offset_s * 1e9))
    return running_program(line, program)
