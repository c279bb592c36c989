"""The servo_bus process against the emulator's registers: what the arm would really do."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from node_processes import follower, running

from armlet.arm import SO101_JOINTS
from armlet.arm.units import limits_radians
from armlet.demo.director import DemoError
from armlet.feetech import REGISTERS
from armlet.priority import autogroup_enabled, realtime_limit
from armlet.sim import FOLLOWER, Bench

TORQUE = REGISTERS["Torque_Enable"]
GOAL = REGISTERS["Goal_Position"]


@pytest.fixture
def bench(tmp_path):
    with Bench(paced=False, links=tmp_path) as bench:
        yield bench


def torque(bench):
    return [servo.peek(TORQUE) for servo in bench.follower.servos.values()]


def goals(bench):
    return [servo.peek(GOAL) for servo in bench.follower.servos.values()]


@pytest.fixture
def bus(bench, tmp_path):
    with running([follower(tmp_path / "follower")]) as bus:
        topics = ("joint_states", "applied_joint_commands")
        bus.wait("states and commands", lambda: all(bus.seen.count(topic) > 3 for topic in topics))
        yield bus


def test_it_goes_before_other_programs_where_it_may(bus):
    process = bus.processes["servo_bus"]
    threads = [int(each.name) for each in Path(f"/proc/{process.pid}/task").iterdir()]
    nice = {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads}
    assert nice == ({-10} if os.geteuid() == 0 else {os.getpriority(os.PRIO_PROCESS, 0)})
    if autogroup_enabled():
        group = Path(f"/proc/{process.pid}/autogroup").read_text().split()[-1]
        assert group == ("-10" if os.geteuid() == 0 else "0")


def test_its_control_thread_alone_is_real_time_where_it_may(bus):
    if not realtime_limit():
        pytest.skip("this user may not run real-time threads")
    process = bus.processes["servo_bus"]
    threads = [int(each.name) for each in Path(f"/proc/{process.pid}/task").iterdir()]
    policies = [os.sched_getscheduler(thread) & ~os.SCHED_RESET_ON_FORK for thread in threads]
    assert policies.count(os.SCHED_RR) == 1
    assert set(policies) == {os.SCHED_RR, os.SCHED_OTHER}


def test_it_arms_where_the_arm_is_and_follows_commands(bench, bus):
    start = bus.seen.latest("joint_states")
    np.testing.assert_allclose(bus.seen.latest("applied_joint_commands"), start, atol=0.01)
    assert torque(bench) == [1] * 6
    goal = start + np.array([0.2, 0.1, -0.1, 0.1, 0.2, 0.3])
    bus.director.drive_to(SO101_JOINTS, goal)
    np.testing.assert_allclose(bench.follower_joints, goal, atol=0.06)


def test_partial_names_move_only_what_they_name(bench, bus):
    start = bus.seen.latest("joint_states")
    for _ in range(100):
        bus.director.command(["wrist_roll"], [start[4] + 0.3])
        if abs(bus.seen.latest("joint_states")[4] - start[4] - 0.3) < 0.05:
            break
        seen = bus.seen.count("joint_states")
        bus.wait("more states", lambda seen=seen: bus.seen.count("joint_states") > seen + 3)
    moved = bus.seen.latest("joint_states") - start
    assert moved[4] == pytest.approx(0.3, abs=0.05)
    np.testing.assert_allclose(np.delete(moved, 4), 0, atol=0.01)


@pytest.mark.parametrize(
    ("names", "goal"),
    [(["elbow_flex"], [float("nan")]), (["elbow"], [0.0]), (["elbow_flex"], [0.0, 1.0])],
)
def test_what_is_no_command_is_refused_and_counted(bench, bus, names, goal):
    before = goals(bench)
    bus.wait_for_status("servo_bus: bus", "holding")
    bus.director.command(names, goal)
    bus.wait(
        "a counted refusal",
        lambda: int(bus.seen.status().get("servo_bus: bus", {}).get("refused", 0)) > 0,
    )
    assert goals(bench) == before


def test_commands_past_the_limits_stop_at_the_limits(bench, bus):
    upper = limits_radians(FOLLOWER)[1]
    beyond = bus.seen.latest("joint_states")
    beyond[5] = 9.0
    for _ in range(200):
        bus.director.command(SO101_JOINTS, beyond)
        seen = bus.seen.count("joint_states")
        bus.wait("more states", lambda seen=seen: bus.seen.count("joint_states") > seen)
        if upper[5] - bus.seen.latest("joint_states")[5] < 0.02:
            break
    assert bus.seen.latest("applied_joint_commands")[5] <= upper[5] + 1e-6
    assert upper[5] - bus.seen.latest("joint_states")[5] < 0.05


def test_an_empty_trajectory_cancels_the_one_in_play(bench, bus):
    start = bus.seen.latest("joint_states")
    far = start + np.array([0.8, 0, 0, 0, 0, 0])
    bus.director.follow(SO101_JOINTS, 20.0, np.stack([start, far]))
    bus.wait_for_status("servo_bus: bus", "following joint_trajectory")
    bus.director.cancel()
    bus.wait_for_status("servo_bus: bus", "holding")
    assert abs(bus.seen.latest("joint_states") - start).max() < 0.5


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_trajectory_that_is_not_finite_is_refused_and_counted(bench, bus, bad):
    before = goals(bench)
    bus.wait_for_status("servo_bus: bus", "holding")
    rows = np.tile(bus.seen.latest("joint_states"), (2, 1))
    rows[1, 2] = bad
    bus.director.follow(SO101_JOINTS, 1.0, rows)
    bus.wait(
        "a counted refusal",
        lambda: int(bus.seen.status()["servo_bus: bus"]["refused"]) > 0,
    )
    assert goals(bench) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_torque_is_off_after_a_signal(bench, bus, number):
    process = bus.processes["servo_bus"]
    assert torque(bench) == [1] * 6
    process.send_signal(number)
    assert process.wait(20) == 0, bus.said()
    assert torque(bench) == [0] * 6


def test_stop_cuts_torque_and_set_torque_arms_again(bench, bus):
    bus.director.trigger("servo_bus/stop")
    assert torque(bench) == [0] * 6
    count = bus.seen.count("applied_joint_commands")
    states = bus.seen.count("joint_states")
    bus.wait("states go on", lambda: bus.seen.count("joint_states") > states + 20)
    assert bus.seen.count("applied_joint_commands") <= count + 2, "nothing is sent while limp"
    bus.director.set("servo_bus/set_torque", True)
    assert torque(bench) == [1] * 6


def test_unplugged_and_plugged_back_it_reports_and_does_not_move_until_armed(bench, bus):
    bus.wait_for_status("servo_bus: bus", "holding")
    bench.follower.hang_up()
    bus.wait_for_status("servo_bus: bus", "bus lost")
    with pytest.raises(DemoError, match="lost"):
        bus.director.set("servo_bus/set_torque", True)
    states, before = bus.seen.count("joint_states"), goals(bench)
    bench.follower.plug()
    bus.wait("states again", lambda: bus.seen.count("joint_states") > states + 10)
    bus.wait_for_status("servo_bus: bus", "not armed")
    elsewhere = bus.seen.latest("joint_states") + 0.3
    for _ in range(10):
        bus.director.command(SO101_JOINTS, elsewhere)
        seen = bus.seen.count("joint_states")
        bus.wait("more states", lambda seen=seen: bus.seen.count("joint_states") > seen + 2)
    assert goals(bench) == before, "no motion until re-armed"
    assert bus.processes["servo_bus"].poll() is None
    bus.director.set("servo_bus/set_torque", True)
    goal = bus.seen.latest("joint_states") + np.array([0.1, 0, 0, 0, 0, 0])
    bus.director.drive_to(SO101_JOINTS, goal)


def test_a_dead_servo_stops_commands_and_is_reported(bench, bus):
    bus.wait_for_status("servo_bus: bus", "holding")
    bench.follower.faults.dead.add(3)
    bus.wait(
        "unread cycles",
        lambda: int(bus.seen.status().get("servo_bus: bus", {}).get("unread", 0)) > 20,
    )
    applied = bus.seen.count("applied_joint_commands")
    bus.director.command(SO101_JOINTS, bus.seen.latest("joint_states") + 0.2)
    unread = int(bus.seen.status()["servo_bus: bus"]["unread"])
    bus.wait(
        "more unread cycles",
        lambda: int(bus.seen.status()["servo_bus: bus"]["unread"]) > unread + 5,
    )
    assert bus.seen.count("applied_joint_commands") == applied, "no goal from an unread state"


def test_a_wrong_parameter_name_is_an_error_at_start(bench, tmp_path):
    with running([follower(tmp_path / "follower", max_velocity=1.0)]) as bus:
        assert bus.processes["servo_bus"].wait(30) == 1
        bus.supervisor.stop()
        assert "max_velocity_rad_s" in bus.said()
        assert "unknown parameters ['max_velocity']" in bus.said()
    assert torque(bench) == [0] * 6


def test_another_arms_calibration_is_refused_before_torque(bench, tmp_path):
    with running([follower(tmp_path / "leader")]) as bus:
        bus.wait("the refusal", lambda: "the calibration file says" in bus.said(), 30)
    assert [servo.peek(TORQUE) for servo in bench.leader.servos.values()] == [0] * 6


def test_a_stop_asked_for_while_the_bus_is_lost_happens_on_its_return(bench, bus):
    bench.follower.hang_up()
    bus.wait_for_status("servo_bus: bus", "bus lost")
    with pytest.raises(DemoError, match="lost"):
        bus.director.trigger("servo_bus/stop")
    bench.follower.plug()
    bus.wait_for_status("servo_bus: bus", "not armed")
    assert torque(bench) == [0] * 6


def test_servos_that_fall_silent_must_be_armed_again(bench, bus):
    bus.wait_for_status("servo_bus: bus", "holding")
    bench.follower.faults.dead.update(range(1, 7))
    bus.wait_for_status("servo_bus: bus", "servos do not answer")
    bench.follower.faults.dead.clear()
    bus.wait_for_status("servo_bus: bus", "not armed")
    bus.director.set("servo_bus/set_torque", True)
    bus.wait_for_status("servo_bus: bus", "holding")


def test_its_lifecycle_means_something(bench, tmp_path):
    spec = follower(tmp_path / "follower", autostart=False)
    with running([spec]) as bus:
        for _ in range(2):
            bus.director.change_state("servo_bus", "configure")
            states = bus.seen.count("joint_states")
            bus.wait("states", lambda states=states: bus.seen.count("joint_states") > states + 3)
            assert torque(bench) == [0] * 6, "configured is not armed"
            with pytest.raises(DemoError, match="not active"):
                bus.director.set("servo_bus/set_torque", True)
            bus.director.change_state("servo_bus", "activate")
            assert torque(bench) == [1] * 6
            bus.director.change_state("servo_bus", "deactivate")
            assert torque(bench) == [0] * 6
            bus.director.change_state("servo_bus", "cleanup")
        assert bus.processes["servo_bus"].poll() is None
