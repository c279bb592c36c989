"""A driver that hears nothing any more: found out, made safe, and ended."""

import pytest
from node_processes import follower, running
from stopped_threads import stopped

from armlet.robots import SO101_JOINTS
from armlet.sim import Bench


@pytest.fixture
def bench(tmp_path):
    with Bench(paced=False, links=tmp_path) as bench:
        yield bench


@pytest.fixture
def bus(bench, tmp_path):
    with running([follower(tmp_path / "follower")]) as bus:
        bus.wait_for_status("servo_bus: bus", "holding")
        yield bus


def torque(bench):
    return [
        servo.peek(bench.follower.model.torque_enable) for servo in bench.follower.servos.values()
    ]


@pytest.mark.wall_clock
@pytest.mark.parametrize(
    ("hangs", "silent"),
    [
        ("dds.ev", "the middleware's events for"),  # as in Fast DDS's issue 6502
        ("dds.shm", "topics for"),
    ],
)
def test_a_driver_whose_middleware_hangs_takes_the_torque_off_and_ends(bench, bus, hangs, silent):
    """It held the arm for good, and no stop reached it."""
    process = bus.processes["servo_bus"]
    assert torque(bench) == [1] * 6
    with stopped(process.pid, hangs) as held:
        assert held.names
        held.reap()
        assert process.wait(60) == 1
    assert torque(bench) == [0] * 6
    bus.supervisor.stop()  # all that it said has been read then
    said = bus.said()
    assert said.count("no sign of life from") == 1
    assert silent in said
    assert "the driver ends; torque is off: every servo was read back" in said
    assert silent in bus.supervisor.trouble()


@pytest.mark.wall_clock
def test_an_arm_holds_while_its_driver_may_not_hear_and_follows_again_when_it_does(bench, bus):
    process = bus.processes["servo_bus"]
    bus.director.follow(SO101_JOINTS, 60.0, [[0.0] * 6, [0.3] * 6])
    bus.wait_for_status("servo_bus: bus", "following joint_trajectory")
    with stopped(process.pid, "dds.shm"):
        bus.wait_for_status("servo_bus: bus", "no sign of life from topics")
        bus.wait("a hold", lambda: "holding" in bus.seen.messages()["servo_bus: bus"])
        assert torque(bench) == [1] * 6
    bus.wait("life", lambda: "no sign" not in bus.seen.messages()["servo_bus: bus"])
    assert process.poll() is None
    assert torque(bench) == [1] * 6
    bus.director.stop()
    assert torque(bench) == [0] * 6
