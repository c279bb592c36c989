"""What a node takes for its time."""

import threading
import time

import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.time import Time

from armlet.nodes import clock as clocks
from armlet.nodes.clock import ClockPacer, RosClock
from armlet.nodes.teardown import destroy
from armlet.unix_clock import UnixClock

GUARD_S = 20.0


@pytest.fixture
def node():
    context = Context()
    rclpy.init(context=context)
    made = Node("clock", context=context)
    yield made
    destroy(made)
    rclpy.shutdown(context=context)


def test_it_follows_use_sim_time_as_that_is_set(node):
    clock = RosClock(node)
    assert not clock.simulated
    assert abs(clock.now_ns() - time.time_ns()) < 60e9
    for simulated in (True, False, True):
        node.set_parameters([Parameter("use_sim_time", value=simulated)])
        assert clock.simulated is simulated
        assert clock.simulated is node.get_clock().ros_time_is_active
        if simulated:
            assert clock.now_ns() == clock.steady_ns() == 0, "nobody publishes /clock"
    assert RosClock(node).simulated, "what it is at the beginning"


def test_it_says_how_far_it_was_set_back(node, monkeypatch):
    """By steady time, on which cycles run, a chunk of the old time was played once more."""
    offset = [0]
    monkeypatch.setattr(
        clocks, "UnixClock", lambda: UnixClock(unix_ns=lambda: time.time_ns() + offset[0])
    )
    clock = RosClock(node)
    assert clock.set_back_ns() < 1e6
    for step_s, back_s in ((-5, 5), (3, 5), (-0.3, 5.3)):
        offset[0] += round(1e9 * step_s)
        assert clock.set_back_ns() == pytest.approx(1e9 * back_s, abs=1e7)


def test_simulated_time_that_is_set_back_is_counted_alike(node):
    node.set_parameters([Parameter("use_sim_time", value=True)])
    clock, simulated = RosClock(node), node.get_clock()
    for now_s, back_s in ((100, 0), (101, 0), (96, 5), (97, 5), (96, 6)):
        simulated.set_ros_time_override(Time(seconds=now_s, clock_type=simulated.clock_type))
        assert clock.set_back_ns() == round(1e9 * back_s)


@pytest.mark.parametrize("wait_s", [0.005, 0.05])
def test_a_pacer_waits_until_the_time_and_says_when_it_is_to_end(node, wait_s):
    pacer, ending = ClockPacer(RosClock(node)), threading.Event()
    due_ns = time.monotonic_ns() + round(wait_s * 1e9)
    assert pacer.wait_until(due_ns, ending)
    assert time.monotonic_ns() >= due_ns
    assert pacer.wait_until(0, ending), "what is past is not waited for"
    ending.set()
    assert not pacer.wait_until(time.monotonic_ns() + round(wait_s * 1e9), ending)


def test_a_clock_set_back_while_nobody_waited_ends_the_next_wait(node):
    """In a control cycle, and the arm stood still for as long as the clock had been set back."""
    node.set_parameters([Parameter("use_sim_time", value=True)])
    clock, simulated = RosClock(node), node.get_clock()

    def set_to(seconds):
        simulated.set_ros_time_override(Time(seconds=seconds, clock_type=simulated.clock_type))

    set_to(1000)
    pacer, ending = ClockPacer(clock), threading.Event()
    assert pacer.wait_until(clock.steady_ns(), ending)
    due_ns = clock.steady_ns() + 10_000_000
    set_to(400)
    in_vain = threading.Timer(GUARD_S, ending.set)
    in_vain.start()
    assert pacer.wait_until(due_ns, ending), "it waited for the time of before"
    in_vain.cancel()
    woken = threading.Timer(0.05, set_to, (400.02,))
    woken.start()
    assert pacer.wait_until(clock.steady_ns() + 10_000_000, ending)
    assert clock.steady_ns() == 400_020_000_000, "only once"
    woken.join()
