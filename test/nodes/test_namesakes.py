"""Two drivers of one name, which no mark of one computer can tell of each other."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from awaited import wait_until
from driver_timeouts import arm, with_timeouts
from node_processes import follower, running

from armlet.bringup import command
from armlet.client.graph import GraphError
from armlet.nodes import namesakes
from armlet.robots import SO101_JOINTS
from armlet.sim import Bench

FOREIGN = Path(__file__).with_name("foreign_driver.py")
"""By the wall clock, and only so that a broken test ends."""


@pytest.fixture
def benches(tmp_path):
    """Two arms, each on a computer of its own."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    with (
        Bench(paced=False, links=tmp_path / "here") as here,
        Bench(paced=False, links=tmp_path / "there") as there,
    ):
        yield here, there


@pytest.fixture
def bus(benches, tmp_path):
    with running([follower(tmp_path / "here" / "follower")], popen=with_timeouts()) as bus:
        bus.wait_for_status("servo_bus: bus", "holding")
        yield bus


@contextmanager
def foreign(tmp_path, *words):
    """The driver of the other computer; yields its process, and where it writes.

    words: for `foreign_driver`.
    """
    log = tmp_path / "foreign.log"
    line = command(follower(tmp_path / "there" / "follower"), tmp_path)
    line = [sys.executable, str(FOREIGN), *words, *line[line.index("--ros-args") :]]
    with log.open("w") as output, subprocess.Popen(line, stdout=output, stderr=output) as process:
        try:
            yield process, log
        finally:
            process.send_signal(signal.SIGINT)


def has_torque(bench):
    return [
        bool(servo.peek(bench.follower.model.torque_enable))
        for servo in bench.follower.servos.values()
    ]


@pytest.mark.wall_clock(seconds=12)
def test_the_second_driver_of_a_name_is_refused(benches, bus, tmp_path):
    """Both armed, and each command moved two arms."""
    with foreign(tmp_path) as (process, log):
        wait_until(lambda: process.poll() is not None, said=log.read_text)
        said = log.read_text()
    assert process.returncode == 1, said
    assert said.count("another driver is called /servo_bus and holds an arm: process") == 1, said
    assert "Traceback" not in said
    assert not any(servo.torque_log for servo in benches[1].follower.servos.values())
    assert bus.processes["servo_bus"].poll() is None
    assert "another driver" not in bus.said()


@pytest.mark.thorough
@pytest.mark.wall_clock(seconds=12)
def test_two_that_find_each_other_later_hold_say_so_and_stop(benches, bus, tmp_path):
    """Both drove on, and their positions went into one topic."""
    one_network = tmp_path / "one network"
    with foreign(tmp_path, "--late", str(one_network)) as (process, log):
        wait_until(lambda: has_torque(benches[1]) == [True] * 6, "torque", process, log.read_text)
        one_network.touch()
        for said in (log.read_text, bus.said):
            wait_until(
                lambda said=said: "another driver is called /servo_bus" in said(),
                said=log.read_text,
            )
        bus.wait_for_status("servo_bus: bus", "another driver has this name")
        bus.director.follow(SO101_JOINTS, 60.0, [[0.0] * 6, [0.3] * 6])
        with pytest.raises(GraphError, match="torque stays off: another driver is called"):
            bus.director.set("servo_bus/set_torque", True)
        both_know_ns = time.time_ns()
        for _ in range(2):
            bus.seen.forget_diagnostics()
            bus.wait_for_status("servo_bus: bus", "another driver has this name")
            assert "following" not in bus.seen.messages()["servo_bus: bus"]
        stamps = bus.seen.stamps("joint_states")
        assert max(stamps) <= both_know_ns, "positions of two arms would be mixed"
        bus.director.stop()
        wait_until(
            lambda: not any(has_torque(benches[0]) + has_torque(benches[1])),
            "no torque",
            process,
            log.read_text,
        )
        assert process.poll() is None
    bus.wait("it is alone", lambda: "another" not in bus.seen.messages()["servo_bus: bus"])
    assert bus.said().count("another driver is called") == 1
    arm(bus)
    assert has_torque(benches[0]) == [True] * 6


def test_who_is_gone_from_this_computer_is_known_at_once():
    """ROS's graph knows a killed process for 20 s: no driver would start again so soon."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = namesakes._started(child.pid)
    of_child = namesakes.Process("here", namesakes._boot(), child.pid, started)
    assert not namesakes._has_ended(of_child)
    assert namesakes._has_ended(of_child._replace(started=started + 1)), "its number is another's"
    elsewhere = of_child._replace(boot="0" * 12)
    child.communicate()
    assert namesakes._has_ended(of_child)
    assert not namesakes._has_ended(elsewhere), "of another computer nobody can tell"


def test_a_claim_is_read_as_it_was_written():
    own = namesakes._this_process()
    assert own.pid == os.getpid()
    assert namesakes._process(namesakes._claim(own)) == own


@pytest.mark.parametrize("claim", ["", "c_x/b_0/p_1_2", "c_x/b_0123456789ab/p_1", "p_1_2", "c_\n/"])
def test_what_is_no_claim_is_nobody(claim):
    assert namesakes._process(claim) is None
