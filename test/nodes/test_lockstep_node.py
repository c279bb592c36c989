"""A node in lockstep: what it reports of its timers, messages and services."""

import json
import socket
import threading
from contextlib import contextmanager

import pytest
import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import String

from armlet.nodes.lockstep import InLockstep
from armlet.nodes.node import LATCHED_QOS, make_executor
from armlet.nodes.teardown import destroy
from armlet.sim.lockstep import Report

GUARD_S = 180.0
TOPICS = {"standing": LATCHED_QOS, "chatter": 10}
START_NS = 1_000_000_000


class Ticking(InLockstep, Node):
    """A node with a timer, which a test holds up."""

    def __init__(self, path):
        given = [Parameter("use_sim_time", value=True)]
        super().__init__("ticking", parameter_overrides=given)
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.join_lockstep(path)
        self.create_timer(1.0, self._on_timer)

    def _on_timer(self):
        self.entered.set()
        assert self.go_on.wait(GUARD_S), "the test did not let the timer go on"

    def fail(self, error):
        raise error


class Bench:
    """The bench's end of a node's socket."""

    def __init__(self, server):
        self._connection, _ = server.accept()
        self._connection.settimeout(GUARD_S)

    def set_clock(self, now_ns):
        self._connection.send(json.dumps(["", now_ns]).encode())

    def report(self):
        return Report.decode(self._connection.recv(1 << 16))

    def reports_until(self, clock_ns):
        """The clock readings reported as worked off up to one."""
        readings = []
        while not readings or readings[-1] != clock_ns:
            readings.append(self.report().clock_ns)
        return readings


@pytest.fixture
def ticking(tmp_path):
    """The node, and the bench's end."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.settimeout(GUARD_S)
    server.bind(str(tmp_path / "lockstep"))
    server.listen()
    rclpy.init()
    node = Ticking(tmp_path / "lockstep")
    bench = Bench(server)
    try:
        with spinning(node):
            yield node, bench
    finally:
        node.go_on.set()
        node.leave_lockstep()
        destroy(node)
        rclpy.try_shutdown()
        server.close()


@contextmanager
def spinning(node):
    executor, ending = make_executor(), threading.Event()
    executor.add_node(node)

    def spin():
        while not ending.is_set():
            executor.spin_once(timeout_sec=0.05)

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    yield
    node.go_on.set()
    ending.set()
    thread.join()
    executor.shutdown()


def test_an_instant_is_not_reported_after_a_later_one(ticking):
    """A bench that has not waited for a timer would wait for ever for an instant gone by."""
    node, bench = ticking
    due_ns = 2 * START_NS
    bench.set_clock(START_NS)
    bench.set_clock(due_ns)
    assert node.entered.wait(GUARD_S)
    bench.set_clock(due_ns + 1)
    node.go_on.set()
    assert bench.reports_until(due_ns + 1)[-2:] == [due_ns, due_ns + 1]


def test_a_timer_counts_from_the_first_reading_of_the_clock(ticking):
    """It is made before the bench has said what time it is."""
    node, bench = ticking
    bench.set_clock(START_NS)
    bench.reports_until(START_NS)
    assert not node.entered.is_set()
    bench.set_clock(2 * START_NS)
    assert node.entered.wait(GUARD_S)


def test_how_things_stand_is_counted_like_data(ticking):
    """A policy that learned late of what is in a frame would see other first frames."""
    node, bench = ticking
    standing, chatter = (node.create_publisher(String, n, q) for n, q in TOPICS.items())
    for name, qos in TOPICS.items():
        node.create_subscription(String, name, lambda message: None, qos)
    for text in ("one", "two"):
        standing.publish(String(data=text))
        chatter.publish(String(data=text))
    report, last = bench.report(), {}
    while not last or last != {report.sent["/standing"].last}:
        change = bench.report()
        if change.name:
            report = change
        else:
            report.update(change)
        last = {m.last for n, m in report.received.items() if n == "/standing" and m.count}
    assert report.sent.keys() == report.received.keys() == {"/standing"}
    assert report.sent["/standing"].count == 2
