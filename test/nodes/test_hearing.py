"""A driver that hears nothing any more: found out, made safe, and ended."""

import dataclasses
import os
import signal
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from driver_timeouts import Timeouts, with_timeouts
from node_processes import follower, running
from simulated_bench import torque
from stopped_threads import stopped, threads

from armlet.bringup import FASTDDS_VARIABLE
from armlet.control.liveness import DEAD_S, Liveness, Verdict
from armlet.nodes.fastdds import hear_own_messages_as_others
from armlet.nodes.hearing import EVENTS, TOPICS, URGENT, Hearing
from armlet.nodes.servo_bus import CYCLE, RELEASE_S, ServoBus
from armlet.robots import SO101_JOINTS
from armlet.sim import Bench

END_S = 120.0
"""By the wall clock, and only so that a broken test ends."""


@pytest.fixture
def bench(tmp_path):
    with Bench(paced=False, links=tmp_path) as bench:
        yield bench


@contextmanager
def driver(tmp_path, **limits):
    """A servo_bus that holds, with limits as of `Timeouts`."""
    popen = with_timeouts(Timeouts(**limits))
    with running([follower(tmp_path / "follower")], popen=popen, shared_memory=True) as bus:
        bus.wait_for_status("servo_bus: bus", "holding")
        yield bus


def wait_for_torque(bench, wanted):
    end_s = time.monotonic() + END_S
    while torque(bench) != wanted:
        assert time.monotonic() < end_s
        time.sleep(0.01)


@pytest.mark.thorough
@pytest.mark.wall_clock(seconds=12)
@pytest.mark.parametrize(
    ("hangs", "silent"),
    [
        ("dds.ev", "the middleware's events for"),  # as in Fast DDS's issue 6502
        ("dds.shm", "topics for"),
    ],
)
def test_a_driver_whose_middleware_hangs_takes_the_torque_off_and_ends(
    bench, tmp_path, hangs, silent
):
    """It held the arm for good, and no stop reached it."""
    with driver(tmp_path, dead_s=DEAD_S) as bus:
        process = bus.processes["servo_bus"]
        assert torque(bench) == [1] * 6
        with stopped(process.pid, lambda thread, name: name.startswith(hangs)) as held:
            assert held.names
            held.reap()
            assert process.wait(END_S) == 1
        assert torque(bench) == [0] * 6
        bus.supervisor.stop()  # all that it said has been read then
        said = bus.said()
        assert said.count("no sign of life from") == 1
        assert silent in said
        assert "the driver ends; torque is off: every servo was read back" in said
        assert silent in bus.supervisor.trouble()


@pytest.mark.thorough
@pytest.mark.wall_clock(seconds=12)
def test_a_driver_whose_control_cycle_stands_still_ends_and_torque_goes_off(bench, tmp_path):
    """It stands with the bus locked, or even with Python's own lock, and both take the torque."""
    with driver(tmp_path, dead_s=DEAD_S, release_s=RELEASE_S) as bus:
        process = bus.processes["servo_bus"]
        cycle = [
            thread
            for thread in threads(process.pid)
            if os.sched_getscheduler(thread) & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR
        ]
        if not cycle:
            pytest.skip("without real-time priority nothing tells which thread it is")
        with stopped(process.pid, lambda thread, name: thread in cycle) as held:
            held.reap()
            assert process.wait(END_S) in (1, -signal.SIGKILL)
        wait_for_torque(bench, [0] * 6)


@pytest.mark.wall_clock(seconds=12)
def test_an_arm_holds_while_its_driver_may_not_hear_and_follows_again_when_it_does(bench, tmp_path):
    """It does not end meanwhile, however late this test sees that it holds: see `Timeouts`."""
    with driver(tmp_path) as bus:
        process = bus.processes["servo_bus"]
        follow(bus)
        with stopped(process.pid, lambda thread, name: name.startswith("dds.shm")):
            bus.wait_for_status("servo_bus: bus", "no sign of life from topics")
            bus.wait("a hold", lambda: "holding" in bus.seen.messages()["servo_bus: bus"])
            assert torque(bench) == [1] * 6
        bus.wait("life", lambda: "no sign" not in bus.seen.messages()["servo_bus: bus"])
        assert process.poll() is None
        assert torque(bench) == [1] * 6
        follow(bus)
        bus.director.stop()
        assert torque(bench) == [0] * 6


def follow(bus):
    """Have the arm follow a trajectory."""

    def follows():
        bus.director.follow(SO101_JOINTS, 60.0, [[0.0] * 6, [0.3] * 6])
        return "following joint_trajectory" in bus.seen.messages()["servo_bus: bus"]

    bus.wait("an arm that follows", follows)


_DEAF = """<?xml version="1.0" encoding="UTF-8"?>
<dds xmlns="http://www.eprosima.com">
  <profiles>
    <participant profile_name="mine" is_default_profile="true"><rtps><propertiesPolicy><properties>
      <property><name>fastdds.ignore_local_endpoints</name><value>true</value></property>
    </properties></propertiesPolicy></rtps></participant>
  </profiles>
</dds>
"""


@pytest.mark.thorough
def test_a_driver_that_never_hears_itself_keeps_torque_off_and_says_why(bench, tmp_path):
    """It armed, took that for a deadlock, and let the arm go ten seconds later."""
    profile = tmp_path / "mine.xml"
    profile.write_text(_DEAF)
    driver = dataclasses.replace(
        follower(tmp_path / "follower"), environment={FASTDDS_VARIABLE: str(profile)}
    )
    with running([driver], shared_memory=True) as bus:
        bus.wait("a refusal", lambda: "does not hear what it says to itself" in bus.said())
        assert bus.processes["servo_bus"].poll() is None
        assert torque(bench) == [0] * 6


def test_no_two_drivers_have_the_topic_of_one():
    """Another's messages, one of a bag, say, kept the deadline that must be missed."""
    names = {Hearing(None)._topic for _ in range(50)}
    assert len(names) == 50
    assert all("/_" in name for name in names), "hidden, so that no bag has it"


def test_a_profile_that_a_person_has_chosen_stays(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(FASTDDS_VARIABLE, "mine.xml")
    hear_own_messages_as_others()
    assert os.environ[FASTDDS_VARIABLE] == "mine.xml"
    monkeypatch.delenv(FASTDDS_VARIABLE)
    hear_own_messages_as_others()
    assert Path(os.environ[FASTDDS_VARIABLE]).is_file()


@pytest.mark.parametrize("in_lockstep", [True, False])
def test_in_lockstep_time_waits_for_a_driver_that_is_not_run(in_lockstep):
    """A demo's driver ended when its middleware had stood still for ten seconds."""
    clock = SimpleNamespace(simulated=in_lockstep)
    driver = SimpleNamespace(in_lockstep=in_lockstep, changing_state=False, clock=clock)
    liveness = Liveness([TOPICS, URGENT, EVENTS, CYCLE], 0.0)
    for second in range(1, 100):
        verdict = liveness.look(float(second), ServoBus._excused(driver))
    assert verdict is (Verdict.ALIVE if in_lockstep else Verdict.DEAD)
