"""The servo_bus process against the emulator's registers: what the arm would really do."""

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from families import FIRST_FAMILY
from rcl_interfaces.srv import GetParameters
from rclpy.parameter import parameter_value_to_python
from simulated_bench import armed, bench_and_follower, torque

from armlet.client.graph import GraphError
from armlet.priority import autogroup_enabled
from armlet.robots import SO101_JOINTS
from armlet.robots.units import limits_radians
from armlet.sim import FOLLOWER


@pytest.fixture(scope="module", params=FIRST_FAMILY)
def shared(tmp_path_factory, private_domain, request):
    """A bench in simulated time and the servo_bus on it, for all tests that leave both as found."""
    folder = tmp_path_factory.mktemp("bench")
    with bench_and_follower(folder, request.param) as (bench, bus):
        bus.wait_for_status("servo_bus: bus", "holding")
        yield bench, bus


@pytest.fixture
def bench(shared):
    return shared[0]


@pytest.fixture
def node(shared):
    """The servo_bus, whatever it does."""
    return shared[1]


@pytest.fixture
def bus(shared):
    """The servo_bus, armed and holding; what it has said before is forgotten."""
    return armed(shared[1])


def goals(bench):
    return [
        servo.peek(bench.follower.model.goal_position) for servo in bench.follower.servos.values()
    ]


def refused(bus):
    return int(bus.seen.status()["servo_bus: bus"]["refused"])


def test_it_goes_before_other_programs_where_it_may(node):
    process = node.processes["servo_bus"]
    nice = set()
    for each in Path(f"/proc/{process.pid}/task").iterdir():
        with suppress(ProcessLookupError):  # it has ended
            nice.add(os.getpriority(os.PRIO_PROCESS, int(each.name)))
    assert nice == ({-10} if os.geteuid() == 0 else {os.getpriority(os.PRIO_PROCESS, 0)})
    if autogroup_enabled():
        group = Path(f"/proc/{process.pid}/autogroup").read_text().split()[-1]
        assert group == ("-10" if os.geteuid() == 0 else "0")


def test_it_arms_where_the_arm_is_and_follows_commands(bench, bus):
    start = bus.seen.latest("joint_states")
    np.testing.assert_allclose(bus.seen.latest("applied_joint_commands"), start, atol=0.01)
    assert torque(bench) == [1] * 6
    goal = start + np.array([0.2, 0.1, -0.1, 0.1, 0.2, 0.3])
    bus.director.drive_to(SO101_JOINTS, goal)
    np.testing.assert_allclose(bench.follower_joints, goal, atol=0.06)


def test_what_it_does_is_reported_when_it_changes_not_at_the_next_second(bus):
    begun_ns = bus.director.now_ns
    for wanted, text in ((False, "not armed"), (True, "holding"), (False, "not armed")):
        bus.director.set("servo_bus/set_torque", wanted)
        bus.wait_for_status("servo_bus: bus", text)
    assert bus.director.now_ns - begun_ns < 10**9


def test_partial_names_move_only_what_they_name(bench, bus):
    start = bus.seen.latest("joint_states")
    for _ in range(20):
        bus.director.command(["wrist_roll"], [start[4] + 0.3])
        bus.let_pass(0.05)
    moved = bus.seen.latest("joint_states") - start
    assert moved[4] == pytest.approx(0.3, abs=0.05)
    np.testing.assert_allclose(np.delete(moved, 4), 0, atol=0.01)


@pytest.mark.parametrize(
    ("names", "goal"),
    [(["elbow_flex"], [float("nan")]), (["elbow"], [0.0]), (["elbow_flex"], [0.0, 1.0])],
)
def test_what_is_no_command_is_refused_and_counted(bench, bus, names, goal):
    before, count = goals(bench), refused(bus)
    bus.director.command(names, goal)
    bus.wait("a counted refusal", lambda: refused(bus) == count + 1)
    assert goals(bench) == before


def test_commands_past_the_limits_stop_at_the_limits(bench, bus):
    upper = limits_radians(FOLLOWER)[1]
    beyond = bus.seen.latest("joint_states")
    beyond[5] = 9.0
    for _ in range(60):
        bus.director.command(SO101_JOINTS, beyond)
        bus.let_pass(0.05)
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


def test_the_diagnostics_of_the_bus_and_of_each_servo_are_complete(bench, bus):
    bus.wait("telemetry", lambda: "V" in bus.seen.messages().get("servo_bus: gripper", ""))
    status = bus.seen.status()
    bus_keys = {"rate_hz", "cycle_p50_ms", "cycle_p99_ms", "wire_utilisation", "reconnects"}
    assert bus_keys <= set(status["servo_bus: bus"])
    assert 0 < float(status["servo_bus: bus"]["wire_utilisation"]) < 1
    firmware = ".".join(str(part.default) for part in bench.follower.model.firmware)
    servo_keys = {"voltage_v", "temperature_c", "load", "torque_enabled", "firmware"}
    for joint in SO101_JOINTS:
        assert servo_keys <= set(status[f"servo_bus: {joint}"])
        assert status[f"servo_bus: {joint}"]["firmware"] == firmware


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_trajectory_that_is_not_finite_is_refused_and_counted(bench, bus, bad):
    before, count = goals(bench), refused(bus)
    rows = np.tile(bus.seen.latest("joint_states"), (2, 1))
    rows[1, 2] = bad
    bus.director.follow(SO101_JOINTS, 1.0, rows)
    bus.wait("a counted refusal", lambda: refused(bus) == count + 1)
    assert goals(bench) == before


def test_stop_cuts_torque_and_set_torque_arms_again(bench, bus):
    bus.director.stop()
    assert torque(bench) == [0] * 6
    count = bus.seen.count("applied_joint_commands")
    states = bus.seen.count("joint_states")
    bus.wait("states go on", lambda: bus.seen.count("joint_states") > states + 20)
    assert bus.seen.count("applied_joint_commands") == count, "nothing is sent while torque_off"
    bus.director.set("servo_bus/set_torque", True)
    assert torque(bench) == [1] * 6


def applied_speed(bus, since_ns):
    """The fastest joint of what was sent since then, rad/s, over 0.1 s: goals are whole ticks."""
    times, rows = bus.seen.joint_rows("applied_joint_commands", since_ns, 2**62)
    return float((np.abs(rows[10:] - rows[:-10]).max(axis=1) / (times[10:] - times[:-10])).max())


def test_a_limit_that_is_lowered_holds_at_once_and_is_raised_back_to_what_was_configured(bus):
    start = bus.seen.latest("joint_states")
    there = start + np.array([0.6, 0, 0, 0, 0, 0])
    speeds = []
    for limit in (0.4, 5.0):
        bus.director.set_parameters("servo_bus", max_velocity_rad_s=limit)
        since_ns = bus.director.now_ns
        bus.director.drive_to(SO101_JOINTS, there)
        speeds.append(applied_speed(bus, since_ns))
        there = start
    assert speeds[0] == pytest.approx(0.4, rel=0.05)
    assert 2.0 < speeds[1] <= 5.0 * 1.01
    for change in ("5.0 -> 0.4", "0.4 -> 5.0"):
        said = f"parameter max_velocity_rad_s: {change}"
        # What a node says takes its own way here.
        bus.wait(said, lambda said=said: said in bus.said())
        assert bus.said().count(said) == 1


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"max_velocity_rad_s": 6.0}, "raised back up to the configured 5.0, found 6.0"),
        ({"max_acceleration_rad_s2": 101.0}, "the configured 100.0"),
        ({"relaxed_torque": 0.3}, "the configured 0.2"),
        ({"hot_c": 70.0}, "the configured 65.0"),
        ({"low_voltage_v": 4.0}, "lowered back down to the configured 4.5"),
        ({"elbow_flex.max_velocity_rad_s": 5.5}, "the configured 5.0, found 5.5"),
        ({"max_velocity_rad_s": 0.0}, "must be 0.01 to 10, found 0.0"),
        ({"max_velocity_rad_s": float("nan")}, "must be a finite number"),
        ({"max_velocity_rad_s": 1}, "must be a number, found 1; write 1.0"),
        ({"port": "/dev/other"}, "read-only: the bus is opened"),
        ({"on_hot": "warn"}, "read-only: what protects the servos"),
        ({"use_sim_time": False}, "read-only: the node reads it when it starts"),
        ({"max_velocity": 1.0}, "has no parameter max_velocity; did you mean max_velocity_rad_s?"),
        ({"telemetry_hz": 4.0, "max_velocity_rad_s": 6.0}, "found 6.0"),
    ],
)
def test_a_change_that_is_refused_says_why_and_changes_nothing(node, values, reason):
    known = {name: value for name, value in asked(node).items() if name in values}
    with pytest.raises(GraphError) as refused:
        node.director.set_parameters("servo_bus", **values)
    assert reason in str(refused.value)
    assert {name: value for name, value in asked(node).items() if name in values} == known


def asked(node):
    """Some of the parameters as the node has them now."""
    names = ["max_velocity_rad_s", "telemetry_hz", "hot_c", "elbow_flex.max_velocity_rad_s", "port"]
    request = GetParameters.Request(names=names)
    answer = node.director.call(GetParameters, "servo_bus/get_parameters", request)
    return dict(zip(names, map(parameter_value_to_python, answer.values), strict=True))
