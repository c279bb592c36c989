"""One node says that the computer does not keep up, with figures; the others repeat it first.

What the processes did is given; no computer is loaded for this.
"""

import threading

import pytest
import rclpy
from announcer import SENTENCE, Announcer, other
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from armlet.client.graph import GraphError
from armlet.demo import demo
from armlet.load import Rate, Times, Watcher
from armlet.nodes.clock_exchange import this_computer
from armlet.nodes.computer import SILENCE_S, STATUS, Computer, ComputerCause
from armlet.nodes.messages import diagnostic
from armlet.nodes.node import LATCHED_QOS, STATE_QOS, make_executor

# By the wall clock, and only so that a broken test ends.
GUARD_S = 180.0


class Starved:
    """Two processes that wait more than they run, and their cycles, on a clock that is stepped."""

    def __init__(self):
        self.now_s, self.share = 0.0, 1.0

    def times(self, pid):
        return Times(0.3 * self.now_s, self.share * (0.3, 0.9)[pid] * self.now_s)

    def watcher(self):
        return Watcher(self.times, load=lambda: 13.2, cpus=2)


def cycles(bus_level):
    def of(name, level, rate_hz, wanted_hz):
        return diagnostic(name, level, "", {"rate_hz": rate_hz, "wanted_hz": wanted_hz})

    ok = DiagnosticStatus.OK
    return DiagnosticArray(
        status=[
            of("servo_bus: bus", bus_level, "38.1", "100.0"),
            of("aligner: frames of state/front", ok, "12.4", "30.0"),
            of("aligner: frames of action", ok, "30.0", "30.0"),
            of("camera_front: camera", ok, "many", "30.0"),
        ]
    )


@pytest.fixture
def computer():
    """The node, in this process, with what it looks at."""
    machine = Starved()
    rclpy.init(args=["--ros-args", "-p", "grace_s:=0.0"])
    pids = {"servo_bus": 0, "aligner": 1}
    node = Computer(machine.watcher(), lambda: pids, lambda: machine.now_s)
    executor = make_executor()
    executor.add_node(node)
    yield machine, node, executor
    node.close()
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()


def spin_until(executor, ready):
    end = threading.Event()
    timer = threading.Timer(GUARD_S, end.set)
    timer.start()
    while not ready():
        assert not end.is_set(), f"what is awaited did not come within {GUARD_S:.0f} s"
        executor.spin_once(timeout_sec=0.05)
    timer.cancel()


def looks(machine, node, count):
    for _ in range(count):
        machine.now_s += 1.0
        node.look()


def test_the_sentence_has_the_rates_and_goes_to_whoever_listens(computer):
    machine, node, executor = computer
    with other("listener") as listener:
        heard, cause = [], ComputerCause(listener, lambda: machine.now_s)
        listener.create_subscription(DiagnosticArray, "/diagnostics", heard.append, STATE_QOS)
        sender = listener.create_publisher(DiagnosticArray, "/diagnostics", STATE_QOS)
        sender.publish(cycles(DiagnosticStatus.OK))
        spin_until(executor, lambda: sender.get_subscription_count() > 1)
        sender.publish(cycles(DiagnosticStatus.OK))
        spin_until(executor, lambda: len(node._rates) == 2)
        looks(machine, node, 8)
        spin_until(executor, lambda: cause.before("a gap") != "a gap")
        assert cause.before("a gap") == f"{SENTENCE}; so a gap"
        assert cause.before(cause.before("a gap")) == cause.before("a gap"), "said once"
        assert cause.before("") == ""
        spin_until(executor, lambda: any(s.message == SENTENCE for m in heard for s in m.status))
        machine.now_s += SILENCE_S + 1
        assert cause.before("a gap") == "a gap", "who is silent knows nothing of now"


def test_what_another_computer_of_the_graph_says_is_no_cause_here(computer):
    """A policy's computer that was slow was named before what the robot's reported."""
    machine, _, executor = computer
    with other("listener") as listener:
        cause = ComputerCause(listener, lambda: machine.now_s)
        publisher = listener.create_publisher(DiagnosticStatus, STATUS, LATCHED_QOS)
        spin_until(executor, lambda: publisher.get_subscription_count() > 0)
        warning = diagnostic("a: load of this computer", DiagnosticStatus.WARN, SENTENCE, {})
        warning.hardware_id = "another"
        heard = []
        listener.create_subscription(DiagnosticStatus, STATUS, heard.append, LATCHED_QOS)
        publisher.publish(warning)
        spin_until(executor, lambda: warning in heard)
        own = diagnostic("b: load of this computer", DiagnosticStatus.WARN, "slow", {})
        own.hardware_id = this_computer()
        publisher.publish(own)
        spin_until(executor, lambda: cause.before("a gap") != "a gap")
        assert cause.before("a gap") == "slow; so a gap"
        publisher.publish(warning)
        spin_until(executor, lambda: heard.count(warning) > 1)
        assert cause.before("a gap") == "slow; so a gap"


def test_of_a_lost_bus_the_rate_is_no_sign(computer):
    machine, node, executor = computer
    with other("sender") as sender:
        publisher = sender.create_publisher(DiagnosticArray, "/diagnostics", STATE_QOS)
        spin_until(executor, lambda: publisher.get_subscription_count() > 0)
        publisher.publish(cycles(DiagnosticStatus.ERROR))
        spin_until(executor, lambda: node._rates)
        looks(machine, node, 8)
    assert "servo_bus at" not in node.diagnostics()[0].message
    assert "aligner at 12 of 30 Hz" in node.diagnostics()[0].message


def test_one_slow_second_is_no_sign(computer):
    """An arm that is stopped sends no goals, so there are no frames of them."""
    machine, node, executor = computer
    with other("sender") as sender:
        publisher = sender.create_publisher(DiagnosticArray, "/diagnostics", STATE_QOS)
        spin_until(executor, lambda: publisher.get_subscription_count() > 0)
        for rate_hz in ("30.0", "14.0", "13.0"):
            values = {"rate_hz": rate_hz, "wanted_hz": "30.0"}
            status = diagnostic("aligner: frames of action", DiagnosticStatus.OK, "", values)
            publisher.publish(DiagnosticArray(status=[status]))
            spin_until(
                executor, lambda now=float(rate_hz): node._last.get("aligner") == Rate(now, 30.0)
            )
            looks(machine, node, 4)
            slow = "aligner at 14 of 30 Hz" in node.diagnostics()[0].message
            assert slow is (rate_hz == "13.0")


@pytest.mark.thorough
def test_a_demo_that_fails_says_the_cause_first(tmp_path):
    """By the wall clock, on a real graph; the failure is the test's own."""
    plan = demo.DemoPlan(tmp_path / "out", simulated=False)
    plan.output.mkdir()
    with (
        other("announcer") as announcer,
        pytest.raises(GraphError) as failed,
        demo.running_graph(plan, plan.dataset, policy="false", width="64", height="48") as director,
    ):
        Announcer(announcer)
        director.wait_for("it", lambda: director.computer.before("x") != "x", GUARD_S)
        raise GraphError("the arm did not reach its start")
    assert str(failed.value) == f"{SENTENCE}; so the arm did not reach its start"
