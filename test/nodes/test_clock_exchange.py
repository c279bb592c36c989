"""Nodes of two computers say how far their clocks differ, as soon as they meet."""

import json
import time
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import rclpy
from driver_timeouts import with_timeouts
from node_processes import follower, running
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from armlet.bringup import NodeSpec
from armlet.nodes.clock_exchange import TOPIC, ClockExchange, this_computer
from armlet.nodes.inbox import GuardedInbox
from armlet.nodes.messages import joint_state
from armlet.nodes.node import make_executor
from armlet.nodes.reception import UNKNOWN, Reception
from armlet.nodes.servo_bus import FRAME_S, shifted_by_clock
from armlet.nodes.teardown import destroy
from armlet.robots import SO101_JOINTS
from armlet.sim import Bench

END_S = 120.0
FRAME = 1 / 30


class Node(GuardedInbox, LifecycleNode):
    """A node of a computer whose clock is ahead by offset_s."""

    def __init__(self, name, computer, offset_s=0.0, simulated=False, context=None):
        super().__init__(name, context=context)
        self.clock = SimpleNamespace(simulated=simulated)
        self.offset_ns = round(offset_s * 1e9)
        self.clocks = ClockExchange(self, lambda: computer)

    def now_ns(self):
        return time.time_ns() + self.offset_ns


@contextmanager
def nodes(*given):
    """Nodes in contexts of their own, and how to spin them all once."""
    with ExitStack() as stack:
        made, executors = [], []
        for arguments in given:
            context = rclpy.Context()
            rclpy.init(context=context)
            stack.callback(context.try_shutdown)
            node = Node(*arguments, context=context)
            stack.callback(destroy, node)
            executor = make_executor(context)
            stack.callback(executor.shutdown)
            executor.add_node(node)
            made.append(node)
            executors.append(executor)
        yield made, lambda: [executor.spin_once(timeout_sec=0.02) for executor in executors]


def spin_until(spin, ready):
    end_s = time.monotonic() + END_S
    while not ready():
        assert time.monotonic() < end_s
        spin()


def test_both_say_which_clock_is_off(private_domain):
    with nodes(("aligner", "robot"), ("policy", "gpu", 1.0)) as ((aligner, policy), spin):
        spin_until(
            spin,
            lambda: (
                policy.clocks.trouble(["/aligner"], FRAME)
                and aligner.clocks.trouble(["/policy"], FRAME)
            ),
        )
        assert " s behind this computer's" in policy.clocks.trouble(["/aligner"], FRAME)
        assert " s ahead of this computer's" in aligner.clocks.trouble(["/policy"], FRAME)
        assert policy.clocks.trouble(["/other/aligner"], FRAME) == "", "another graph's"
        policy.offset_ns = 0

        def agree():
            # Of a round trip in which a clock was set nothing is known.
            known = policy.clocks.offsets(["/aligner"])
            return known and not policy.clocks.trouble(["/aligner"], FRAME)

        spin_until(spin, agree)


def test_of_one_computer_nothing_is_measured(private_domain):
    """However its processes are scheduled."""
    given = (("aligner", "robot"), ("policy", "robot", 1.0), ("watcher", "gpu", 1.0))
    with nodes(*given) as ((_, policy, watcher), spin):
        spin_until(spin, lambda: len(watcher.clocks.offsets(["/aligner", "/policy"])) == 2)
        assert policy.clocks.offsets(["/aligner"]) == {}


def test_in_simulated_time_nothing_is_said(private_domain):
    with nodes(("aligner", "robot", 0.0, True)) as ((aligner,), _):
        assert aligner.clocks.trouble(["/policy"], FRAME) == ""
        assert TOPIC not in dict(aligner.get_topic_names_and_types())


def test_what_no_node_says_is_dropped_and_counted(private_domain):
    with nodes(("aligner", "robot"), ("stranger", "gpu")) as ((aligner, stranger), spin):
        said = json.dumps({"version": 1, "node": 3})

        def dropped():
            stranger.clocks._publisher.publish(String(data=said))
            return aligner.dropped[TOPIC]

        spin_until(spin, dropped)


def test_a_computer_is_the_same_for_all_its_processes():
    assert this_computer() == this_computer() and len(this_computer()) == 12


AT_NS = 1_700_000_000 * 10**9


def way(ahead_s):
    return Reception(AT_NS, AT_NS + round(ahead_s * 1e9))


@pytest.mark.parametrize(
    ("step_s", "ahead_s", "refused"),
    [
        (FRAME, 0.5, True),
        (FRAME, 0.035, True),
        (FRAME, 0.03, False),
        (0.1, 0.09, False),
        (0.1, 0.11, True),
        (0.01, 0.03, False),  # nobody's clocks agree so well
        (FRAME, -5.0, False),  # a slow network
    ],
)
def test_a_motion_that_comes_before_it_was_sent_is_refused(step_s, ahead_s, refused):
    said = shifted_by_clock(np.arange(5) * step_s, way(ahead_s))
    assert bool(said) is refused
    assert not refused or f"{ahead_s:.3f} s before it was sent" in said


def test_a_middleware_that_does_not_say_when_refuses_nothing():
    assert shifted_by_clock(np.array([0.0]), UNKNOWN) == ""
    assert shifted_by_clock(np.array([0.0]), way(2 * FRAME_S))


@pytest.mark.thorough
@pytest.mark.wall_clock(seconds=12)
def test_a_driver_refuses_the_chunks_of_a_computer_whose_clock_is_ahead(tmp_path):
    another = """
class Another(Driver):
    def _on_trajectory(self, message, way):
        super()._on_trajectory(message, way._replace(sent_ns=way.sent_ns + 500_000_000))
servo_bus.ServoBus = Another
"""
    with (
        Bench(paced=False, links=tmp_path),
        running([follower(tmp_path / "follower")], popen=with_timeouts(more=another)) as bus,
    ):
        bus.wait_for_status("servo_bus: bus", "holding")

        def refused():
            bus.director.follow(SO101_JOINTS, 2.0, [[0.3] * 6] * 60)
            said = bus.seen.status()["servo_bus: bus"]
            return "arm.chunk-shifted" in said.get("codes", "")

        bus.wait("a refusal", refused)
        assert "following" not in bus.seen.messages()["servo_bus: bus"]
        bus.wait_for_words("so the clock of its sender's computer is ahead")


@pytest.mark.thorough
@pytest.mark.wall_clock(seconds=12)
def test_an_aligner_makes_no_frame_of_what_another_clock_stamped():
    """Less than 0.1 s ahead, it went into rows of another time, without a word."""
    spec = NodeSpec("aligner", "aligner", {"streams": ["state"]})
    with (
        running([spec]) as graph,
        nodes(("driver", "gpu", 0.25)) as ((driver,), spin),
    ):
        states = driver.create_publisher(JointState, "joint_states", 10)

        def says(*words):
            said = graph.seen.messages().get("aligner: state", "")
            return all(word in said for word in words)

        def step():
            spin()
            states.publish(joint_state(SO101_JOINTS, driver.now_ns(), np.zeros(6)))

        spin_until(step, lambda: says("the clock of", "(/driver)", "s ahead of this computer's"))
        status = graph.seen.status()["aligner: state"]
        assert status["codes"] == "computer.clock-offset"
        driver.offset_ns = 0
        spin_until(step, lambda: "codes" not in graph.seen.status()["aligner: state"])
        before = graph.seen.count("observation/state")
        spin_until(step, lambda: graph.seen.count("observation/state") > before)
