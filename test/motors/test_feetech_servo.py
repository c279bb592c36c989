"""The emulated servo by itself, on a clock of the test's own."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from armlet.motors.emulation.servo import EmulatedServo
from armlet.motors.feetech.packets import ErrorBit
from armlet.motors.feetech.registers import (
    ACCELERATION,
    GOAL_POSITION,
    GOAL_VELOCITY,
    HOMING_OFFSET,
    ID,
    LOCK,
    MAX_POSITION_LIMIT,
    MAX_TORQUE_LIMIT,
    MAXIMUM_ACCELERATION,
    MIN_POSITION_LIMIT,
    MODEL_NUMBER,
    MOVING,
    OPERATING_MODE,
    P_COEFFICIENT,
    PHASE,
    PRESENT_CURRENT,
    PRESENT_LOAD,
    PRESENT_POSITION,
    PRESENT_TEMPERATURE,
    PRESENT_VELOCITY,
    PRESENT_VOLTAGE,
    STATUS,
    TORQUE_ENABLE,
    TORQUE_LIMIT,
    Register,
)

REAL_ARM = Path(__file__).parents[3] / "shared/data/so101_real/data/chunk-000/file-000.parquet"


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def write(servo: EmulatedServo, register: Register, value: int) -> None:
    servo.write(register.address, register.encode(value))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def servo(clock: Clock) -> EmulatedServo:
    return EmulatedServo(1, position=2000, clock=clock)


def trace(servo: EmulatedServo, clock: Clock, seconds: float) -> npt.NDArray[np.float64]:
    """Positions every 10 ms."""
    positions = []
    for _ in range(round(seconds * 100)):
        clock.now_s += 0.01
        positions.append(servo.position)
    return np.array(positions)


def test_it_reaches_its_goal_and_stays(servo: EmulatedServo, clock: Clock) -> None:
    write(servo, TORQUE_ENABLE, 1)
    write(servo, GOAL_POSITION, 3000)
    clock.now_s += 0.1
    assert servo.peek(MOVING) == 1
    assert servo.peek(PRESENT_VELOCITY) > 100
    assert servo.peek(PRESENT_LOAD) > 0 and servo.peek(PRESENT_CURRENT) > 0
    clock.now_s += 3600
    assert servo.position == 3000
    assert [servo.peek(r) for r in (PRESENT_POSITION, PRESENT_VELOCITY, MOVING)] == [3000, 0, 0]


def test_it_does_not_overshoot(servo: EmulatedServo, clock: Clock) -> None:
    write(servo, TORQUE_ENABLE, 1)
    write(servo, GOAL_POSITION, 4095)
    positions = trace(servo, clock, 3)
    assert np.all(np.diff(positions) >= 0)
    assert positions[-1] == pytest.approx(4095)
    write(servo, GOAL_POSITION, 0)
    positions = trace(servo, clock, 4)
    assert np.all(np.diff(positions) <= 0)
    assert positions[-1] == pytest.approx(0, abs=1e-2)


@pytest.mark.parametrize(
    ("register", "value", "limit"),
    [(GOAL_VELOCITY, 400, 400), (TORQUE_LIMIT, 500, 1570), (GOAL_VELOCITY, 0, 3140)],
)
def test_speed_is_limited(
    servo: EmulatedServo, clock: Clock, register: Register, value: int, limit: float
) -> None:
    write(servo, register, value)
    write(servo, TORQUE_ENABLE, 1)
    write(servo, GOAL_POSITION, 4000)
    speeds = np.diff(trace(servo, clock, 2)) / 0.01
    assert speeds.max() <= limit * 1.0001
    assert speeds.max() > 0.9 * limit


@pytest.mark.parametrize("register", [ACCELERATION, MAXIMUM_ACCELERATION])
def test_acceleration_is_limited(servo: EmulatedServo, clock: Clock, register: Register) -> None:
    write(servo, register, 20)
    write(servo, TORQUE_ENABLE, 1)
    write(servo, GOAL_POSITION, 4000)
    speeds = np.diff(trace(servo, clock, 3)) / 0.01
    assert np.abs(np.diff(speeds)).max() / 0.01 <= 2000 * 1.05


def test_no_torque_no_motion(servo: EmulatedServo, clock: Clock) -> None:
    write(servo, GOAL_POSITION, 3000)
    clock.now_s += 10
    assert servo.position == 2000


def test_enabling_torque_takes_the_stored_goal_as_it_is(servo: EmulatedServo, clock: Clock) -> None:
    servo.position = 1000
    write(servo, TORQUE_ENABLE, 1)
    clock.now_s += 10
    assert servo.position == 2000


def test_disabling_torque_stops_it_where_it_is(servo: EmulatedServo, clock: Clock) -> None:
    write(servo, TORQUE_ENABLE, 1)
    write(servo, GOAL_POSITION, 3000)
    clock.now_s += 0.2
    write(servo, TORQUE_ENABLE, 0)
    there = servo.position
    assert 2000 < there < 3000
    clock.now_s += 10
    assert servo.position == there


def test_goals_are_clamped_to_the_limits_after_the_offset(
    servo: EmulatedServo, clock: Clock
) -> None:
    write(servo, HOMING_OFFSET, -500)
    assert servo.peek(PRESENT_POSITION) == 2500
    write(servo, MIN_POSITION_LIMIT, 2400)
    write(servo, MAX_POSITION_LIMIT, 2600)
    write(servo, TORQUE_ENABLE, 1)
    for goal, reached in ((4000, 2600), (0, 2400), (2450, 2450)):
        write(servo, GOAL_POSITION, goal)
        clock.now_s += 5
        assert servo.peek(PRESENT_POSITION) == reached
        assert servo.peek(GOAL_POSITION) == goal


def test_readings_wrap_unless_multi_turn(servo: EmulatedServo) -> None:
    servo.position = 4200
    assert servo.peek(PRESENT_POSITION) == 104
    servo.position = -10
    assert servo.peek(PRESENT_POSITION) == 4086
    write(servo, PHASE, 12 | 0x10)
    assert servo.peek(PRESENT_POSITION) == -10


def test_it_moves_within_its_turn(servo: EmulatedServo, clock: Clock) -> None:
    servo.position = 4096 + 100
    write(servo, TORQUE_ENABLE, 1)
    write(servo, GOAL_POSITION, 4000)
    clock.now_s += 10
    assert servo.position == 4096 + 4000


def test_a_hand_moves_it_while_torque_is_off(servo: EmulatedServo, clock: Clock) -> None:
    servo.hand = lambda now_s: 1000 + 50 * (now_s - 100)
    write(servo, HOMING_OFFSET, 100)
    clock.now_s = 102
    assert servo.position == 1000
    clock.now_s = 104
    assert servo.peek(PRESENT_POSITION) == 1100
    assert servo.peek(PRESENT_VELOCITY) == 50
    write(servo, GOAL_POSITION, 1100)
    write(servo, TORQUE_ENABLE, 1)
    clock.now_s = 110
    assert servo.position == 1100


def test_only_position_mode_moves(servo: EmulatedServo, clock: Clock) -> None:
    write(servo, OPERATING_MODE, 1)
    write(servo, TORQUE_ENABLE, 1)
    write(servo, GOAL_POSITION, 3000)
    clock.now_s += 1
    assert servo.position == 2000


def test_locked_eeprom_writes_last_until_the_power_cycle(servo: EmulatedServo) -> None:
    write(servo, P_COEFFICIENT, 7)
    write(servo, LOCK, 0)
    write(servo, HOMING_OFFSET, -123)
    write(servo, MAX_TORQUE_LIMIT, 500)
    write(servo, GOAL_VELOCITY, 300)
    write(servo, TORQUE_ENABLE, 1)
    assert servo.peek(P_COEFFICIENT) == 7
    servo.power_cycle()
    assert servo.peek(P_COEFFICIENT) == P_COEFFICIENT.default
    assert servo.peek(HOMING_OFFSET) == -123
    assert servo.peek(TORQUE_LIMIT) == servo.peek(MAX_TORQUE_LIMIT) == 500
    assert [servo.peek(r) for r in (GOAL_VELOCITY, TORQUE_ENABLE, LOCK)] == [0, 0, 1]
    assert servo.peek(GOAL_POSITION) == servo.peek(PRESENT_POSITION) == 2123


def test_read_only_registers_keep_their_value(servo: EmulatedServo) -> None:
    servo.write(MODEL_NUMBER.address, bytes((1, 2, 9)))
    assert servo.peek(MODEL_NUMBER) == 777
    assert servo.peek(ID) == servo.id == 9
    write(servo, PRESENT_POSITION, 5)
    assert servo.peek(PRESENT_POSITION) == 2000


def test_reading_beyond_the_memory_gives_zeros(servo: EmulatedServo) -> None:
    assert servo.read(250, 10) == bytes(10)


def test_it_reports_voltage_and_temperature_itself(servo: EmulatedServo) -> None:
    assert servo.errors == ErrorBit.NONE
    assert servo.peek(PRESENT_VOLTAGE) == 74
    servo.volts = 3.0
    assert servo.errors == ErrorBit.VOLTAGE
    servo.volts = 7.4
    servo.poke(PRESENT_TEMPERATURE, 75)
    assert servo.errors == servo.peek(STATUS) == ErrorBit.TEMPERATURE
    servo.unpin(PRESENT_TEMPERATURE)
    assert servo.errors == ErrorBit.NONE
    assert EmulatedServo(1, volts=12.0).errors == ErrorBit.NONE


def test_working_warms_it(servo: EmulatedServo, clock: Clock) -> None:
    cool_c = servo.peek(PRESENT_TEMPERATURE)
    write(servo, TORQUE_ENABLE, 1)
    for swing in range(200):
        write(servo, GOAL_POSITION, 4000 if swing % 2 else 100)
        clock.now_s += 1.0
        servo.advance(clock.now_s)
    warm_c = servo.peek(PRESENT_TEMPERATURE)
    assert cool_c < warm_c < 70
    write(servo, TORQUE_ENABLE, 0)
    clock.now_s += 3600
    assert servo.peek(PRESENT_TEMPERATURE) == cool_c


def test_overload_weakens_it(servo: EmulatedServo, clock: Clock) -> None:
    servo.forced_errors = ErrorBit.OVERLOAD
    write(servo, TORQUE_ENABLE, 1)
    write(servo, GOAL_POSITION, 4000)
    speeds = np.diff(trace(servo, clock, 1)) / 0.01
    assert speeds.max() <= 0.2 * 3140 * 1.0001
    assert servo.peek(STATUS) == ErrorBit.OVERLOAD


def test_noise_is_only_in_the_reading(clock: Clock) -> None:
    servo = EmulatedServo(1, position=2000, noise_ticks=2.0, clock=clock)
    readings = np.array([servo.peek(PRESENT_POSITION) for _ in range(300)])
    assert 1 < readings.std() < 3
    assert abs(readings.mean() - 2000) < 1
    assert servo.position == 2000


def test_poke_moves_pins_and_persists(servo: EmulatedServo, clock: Clock) -> None:
    servo.poke(PRESENT_POSITION, 1234)
    assert servo.position == 1234
    servo.poke(PRESENT_LOAD, -700)
    clock.now_s += 5
    assert servo.peek(PRESENT_LOAD) == -700
    servo.poke(HOMING_OFFSET, 40)
    servo.power_cycle()
    assert servo.peek(HOMING_OFFSET) == 40


def test_looking_often_or_seldom_gives_the_same_motion(clock: Clock) -> None:
    servos = [EmulatedServo(1, position=2000, clock=clock) for _ in range(2)]
    for servo in servos:
        write(servo, TORQUE_ENABLE, 1)
        write(servo, GOAL_POSITION, 3000)
    trace(servos[0], clock, 0.3)
    assert servos[0].position == pytest.approx(servos[1].position, abs=5)


def lag_s(
    times_s: npt.NDArray[np.float64],
    command: npt.NDArray[np.float64],
    position: npt.NDArray[np.float64],
) -> float:
    """The delay of the command that matches the position best."""
    settled = times_s > 0.5
    delays_s = np.arange(0.0, 0.3, 0.002)
    misfits = [
        np.std((position - np.interp(times_s - delay_s, times_s, command))[settled])
        for delay_s in delays_s
    ]
    return float(delays_s[int(np.argmin(misfits))])


def follow(command: npt.NDArray[np.float64], clock: Clock) -> npt.NDArray[np.float64]:
    """Positions of a servo set up as a follower arm's, given a command every 10 ms."""
    servo = EmulatedServo(1, position=command[0], clock=clock)
    for register, value in ((P_COEFFICIENT, 16), (ACCELERATION, 254), (TORQUE_ENABLE, 1)):
        write(servo, register, value)
    positions = []
    for ticks in command:
        positions.append(servo.position)
        write(servo, GOAL_POSITION, round(ticks))
        clock.now_s += 0.01
    return np.array(positions)


@pytest.mark.parametrize("joint", range(6))
def test_it_lags_a_real_leader_like_a_real_follower(joint: int, clock: Clock) -> None:
    if not REAL_ARM.exists():
        pytest.skip("the recording of a real SO-101 (shared/data/so101_real) is not here")
    import pyarrow.parquet as parquet

    table = parquet.read_table(REAL_ARM, columns=["action", "observation.state", "episode_index"])
    first = np.array(table["episode_index"]) == 0
    ticks_per_unit = 14.0
    leader, real = (
        np.array(table[name].to_pylist())[first, joint] * ticks_per_unit
        for name in ("action", "observation.state")
    )
    frame_s = np.arange(len(leader)) / 30
    times_s = np.arange(0.0, frame_s[-1], 0.01)
    middle = 2047 - leader.mean()
    command = np.interp(times_s, frame_s, leader) + middle
    emulated = follow(command, clock)
    assert 0.06 <= lag_s(times_s, command, emulated) <= 0.12
    assert lag_s(times_s, command, np.interp(times_s, frame_s, real)) > 0.1
    off_real = np.std(emulated - middle - np.interp(times_s, frame_s, real))
    assert off_real < np.std(command) / 3
