"""The control cycle on an emulated bus, with a clock the test holds."""

import numpy as np
import pytest

from armlet.arm import (
    Arm,
    ArmError,
    CommandRefused,
    Control,
    ControlSettings,
    Guard,
    JointCalibration,
    State,
    Trajectory,
)
from armlet.feetech import REGISTERS, Bus, EmulatedBus, ErrorBit

MS = 1_000_000
CALIBRATION = {
    "shoulder_pan": JointCalibration(1, 0, 100, 1000, 3000),
    "gripper": JointCalibration(2, 0, -50, 1500, 2500),
}
JOINTS = tuple(CALIBRATION)
MAX_VELOCITY, RAMP_VELOCITY = 4.0, 1.0


@pytest.fixture
def emulated():
    with EmulatedBus(ids=(1, 2)) as emulated:
        for joint in CALIBRATION.values():
            servo = emulated.servos[joint.id]
            servo.poke(REGISTERS["Homing_Offset"], joint.homing_offset)
            servo.poke(REGISTERS["Min_Position_Limit"], joint.range_min)
            servo.poke(REGISTERS["Max_Position_Limit"], joint.range_max)
            servo.position = (joint.range_min + joint.range_max) / 2
        yield emulated


class Driven:
    """A control whose time is `now_ns`; `cycles` steps it at 100 Hz, each cycle freshly read."""

    def __init__(self, emulated):
        self.emulated = emulated
        self.arm = Arm(Bus(emulated.port), CALIBRATION)
        self.arm.connect()
        self.arm.configure()
        guard = Guard.from_calibration(CALIBRATION, MAX_VELOCITY)
        settings = ControlSettings(ramp_velocity=RAMP_VELOCITY, max_state_age_s=3600.0)
        self.control = Control(self.arm, guard, settings)
        self.now_ns = self.control.cycle(0).sample.stamp_ns

    def cycles(self, count):
        """Goals sent, NaN where none was."""
        goals = []
        for _ in range(count):
            self.now_ns += 10 * MS
            applied = self.control.cycle(self.now_ns).applied
            goals.append(np.full(2, np.nan) if applied is None else applied)
        return np.array(goals)

    def command(self, *positions, names=JOINTS, stamp_ns=None):
        stamp_ns = self.now_ns if stamp_ns is None else stamp_ns
        self.control.command(names, positions, stamp_ns, self.now_ns)

    def follow(self, times_s, rows, names=JOINTS, stamp_ns=None):
        stamp_ns = self.now_ns if stamp_ns is None else stamp_ns
        motion = Trajectory(stamp_ns, np.array(times_s, float), np.array(rows, float))
        return self.control.follow(names, motion, self.now_ns)

    def torque(self):
        return [s.peek(REGISTERS["Torque_Enable"]) for s in self.emulated.servos.values()]


@pytest.fixture
def driven(emulated):
    driven = Driven(emulated)
    yield driven
    driven.arm.close()


@pytest.fixture
def armed(driven):
    driven.control.torque_on()
    driven.cycles(2)
    return driven


def test_nothing_is_sent_before_the_arm_is_armed(driven):
    assert np.isnan(driven.cycles(3)).all()
    for attempt in (lambda: driven.command(0.1, 0.1), lambda: driven.follow([0], [[0, 0]])):
        with pytest.raises(CommandRefused, match="not armed"):
            attempt()


def test_it_holds_where_it_was_armed(driven):
    driven.emulated.servos[1].position = 2300
    driven.control.torque_on()
    goals = driven.cycles(3)
    np.testing.assert_allclose(goals[:, 0], 300 * 2 * np.pi / 4096, atol=1e-3)
    assert driven.control.state is State.HOLD


def test_a_command_is_joined_at_ramp_speed_then_followed_at_full_speed(armed):
    far = 0.8
    goals = []
    for _ in range(120):
        armed.command(far, 0.0)
        goals.append(armed.cycles(1)[0])
    approach = [goal[0] for goal in goals if goal[0] < far - 0.06]
    speed = np.diff(approach) / 0.01
    tick = 2 * np.pi / 4096 / 0.01
    assert speed.max() <= RAMP_VELOCITY + tick
    assert goals[-1][0] == pytest.approx(far, abs=0.002)
    jump = []
    for _ in range(10):
        armed.command(far - 0.4, 0.0)
        jump.append(armed.cycles(1)[0])
    speed = -np.diff(np.array(jump)[:, 0]) / 0.01
    assert MAX_VELOCITY - 2 * tick <= speed.max() <= MAX_VELOCITY + tick


def test_commands_are_interpolated_by_their_stamps_whenever_they_come(armed):
    """Stamps 10 ms apart arriving in bursts give a steady goal."""
    start = armed.now_ns
    goals = []
    for burst in range(20):
        for i in range(3):
            index = 3 * burst + i
            armed.command(0.001 * index, 0.0, stamp_ns=start + index * 10 * MS)
        goals.append(armed.cycles(3))
    steps = np.diff(np.concatenate(goals)[10:, 0])
    assert np.abs(steps - 0.001).max() <= 2 * np.pi / 4096


def test_a_silent_commander_means_hold(armed):
    for _ in range(10):
        armed.command(0.05, 0.0)
        armed.cycles(1)
    armed.cycles(60)
    assert armed.control.state is State.HOLD
    goals = armed.cycles(20)
    assert (goals == goals[0]).all()


def test_commands_come_before_a_trajectory_until_they_fall_silent(armed):
    assert armed.follow([0, 1], [[0, 0], [0.2, 0]])
    armed.cycles(5)
    assert armed.control.state is State.TRAJECTORY
    armed.command(-0.1, 0.0)
    assert not armed.follow([0, 1], [[0, 0], [0.2, 0]])
    armed.cycles(5)
    assert armed.control.state is State.COMMAND
    assert armed.control.counts.preempted == 2
    armed.cycles(60)
    assert armed.follow([0, 1], [[0, 0], [0.2, 0]])
    armed.cycles(2)
    assert armed.control.state is State.TRAJECTORY


def test_a_late_trajectory_starts_at_the_point_due_now_and_ends_in_a_hold(armed):
    armed.follow([0, 0.5, 1.0], [[0, 0], [0.02, 0], [0.04, 0]], stamp_ns=armed.now_ns - 500 * MS)
    goals = armed.cycles(10)
    assert goals[2][0] == pytest.approx(0.02, abs=0.003)
    armed.cycles(120)
    assert armed.control.state is State.HOLD
    assert armed.control.goal[0] == pytest.approx(0.04, abs=1e-6)


def test_a_trajectory_without_a_point_at_zero_begins_at_the_present_goal(armed):
    armed.follow([1.0], [[0.5, 0]])
    goals = armed.cycles(100)[:, 0]
    np.testing.assert_allclose(goals, np.arange(1, 101) * 0.005, atol=0.003)


@pytest.mark.parametrize(
    ("times_s", "rows", "names", "ago_s", "message"),
    [
        ([0], [[0]], ["gripper"], 0, "every joint"),
        ([0], [[0, 0]], ["gripper", "elbow"], 0, "joints must be among"),
        ([0, 1], [[0, 0], [0, 0]], JOINTS, 2, "points of the trajectory are past"),
    ],
)
def test_trajectories_that_are_refused(armed, times_s, rows, names, ago_s, message):
    with pytest.raises(CommandRefused, match=message):
        armed.follow(times_s, rows, names, armed.now_ns - round(ago_s * 1e9))


def test_trajectory_columns_are_matched_by_name(armed):
    armed.follow([0], [[-0.02, 0.02]], names=JOINTS[::-1])
    np.testing.assert_allclose(armed.cycles(10)[-1], [0.02, -0.02], atol=0.001)


def test_goals_never_leave_the_calibrated_range(armed):
    for _ in range(300):
        armed.command(9.0, -9.0)
        armed.cycles(1)
    goal = armed.control.goal
    assert goal[0] == pytest.approx(1000 * 2 * np.pi / 4096)
    assert goal[1] == pytest.approx(-500 * 2 * np.pi / 4096)


def test_a_servo_that_does_not_answer_stops_goals_once_the_state_is_old(emulated):
    driven = Driven(emulated)
    driven.control.settings = ControlSettings(max_state_age_s=0.05)
    driven.control.torque_on()
    driven.now_ns = driven.control.cycle(driven.now_ns).sample.stamp_ns
    emulated.faults.dead.add(2)
    goals = driven.cycles(10)
    assert np.isnan(goals[-3:]).all()
    assert driven.control.counts.unread == 10
    driven.arm.close()


def test_a_lost_bus_is_not_armed_by_coming_back(armed, emulated):
    emulated.hang_up()
    assert np.isnan(armed.cycles(2)).all()
    assert armed.control.state is State.LOST
    with pytest.raises(ArmError, match="lost"):
        armed.control.torque_on()
    assert not armed.control.reconnect()
    emulated.plug()
    armed.arm.bus.port = emulated.port
    assert armed.control.reconnect()
    assert armed.control.state is State.UNARMED
    assert np.isnan(armed.cycles(3)).all()
    assert armed.torque() == [1, 1], "servos that kept their power hold"
    armed.control.torque_on()
    assert not np.isnan(armed.cycles(2)).any()


def test_torque_off_is_proven_even_on_servos_that_report_overload(armed, emulated):
    emulated.faults.errors[1] = ErrorBit.OVERLOAD
    armed.control.torque_off()
    assert armed.torque() == [0, 0]


def test_torque_off_tries_the_others_when_one_does_not_answer(armed, emulated):
    emulated.faults.dead.add(1)
    with pytest.raises(ArmError, match="shoulder_pan"):
        armed.control.torque_off()
    assert armed.torque()[1] == 0


def test_torque_stays_off_when_a_servo_cannot_be_read(driven, emulated):
    emulated.faults.dead.add(2)
    with pytest.raises(ArmError, match="not every servo answered"):
        driven.control.torque_on()
    assert driven.torque() == [0, 0]


def test_another_arms_calibration_is_refused(emulated):
    emulated.servos[2].poke(REGISTERS["Homing_Offset"], 7)
    arm = Arm(Bus(emulated.port), CALIBRATION)
    with pytest.raises(ArmError, match=r"gripper.*Homing_Offset = -50.*the servo 7"):
        arm.connect()
    arm.write_calibration()
    arm.connect()
    arm.close()


def test_another_model_is_refused(emulated):
    emulated.servos[1].poke(REGISTERS["Model_Number"], 1284)
    arm = Arm(Bus(emulated.port), CALIBRATION)
    with pytest.raises(ArmError, match="found model 1284"):
        arm.connect()
    arm.close()


def test_telemetry_is_in_volts_and_degrees(driven):
    telemetry = driven.control.telemetry()
    assert set(telemetry.voltage) == set(JOINTS)
    assert all(4 < volts < 15 for volts in telemetry.voltage.values())
    assert all(0 < celsius < 80 for celsius in telemetry.temperature.values())
