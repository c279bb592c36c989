"""What loads, obstacles, heat and supplies do to an emulated servo, on the test's own clock."""

import pytest

from armlet.motors.emulation.emulator import EmulatedBus
from armlet.motors.emulation.protection import AMBIENT_C, Heat, Supply
from armlet.motors.emulation.servo import EmulatedServo
from armlet.motors.feetech.packets import ErrorBit
from armlet.motors.feetech.registers import (
    GOAL_POSITION,
    GOAL_VELOCITY,
    HOMING_OFFSET,
    ID,
    LOCK,
    MAX_TEMPERATURE_LIMIT,
    MAXIMUM_ACCELERATION,
    MODEL_NUMBER,
    OVERLOAD_TORQUE,
    P_COEFFICIENT,
    PRESENT_CURRENT,
    PRESENT_LOAD,
    PRESENT_POSITION,
    PRESENT_TEMPERATURE,
    PRESENT_VOLTAGE,
    PROTECTION_CURRENT,
    REGISTERS,
    STATUS,
    TORQUE_ENABLE,
    TORQUE_LIMIT,
    Register,
)

UNLOADING_CONDITION = REGISTERS["Unloading_Condition"]
PROTECTION_TIME = REGISTERS["Protection_Time"]
START = 2000
FULL_DUTY_TICKS = 4270
"""Error x P_Coefficient that asks for all the motor has: no-load speed x lag."""


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
    servo = EmulatedServo(1, position=START, clock=clock)
    write(servo, TORQUE_ENABLE, 1)
    return servo


@pytest.fixture
def stalled(servo: EmulatedServo, clock: Clock) -> EmulatedServo:
    """It has just met an obstacle a tenth of a turn away, and its goal lies behind that."""
    servo.obstacle = (START + 400, START + 600)
    write(servo, GOAL_POSITION, START + 2000)
    while servo.position < START + 400:
        clock.now_s += 0.01
    return servo


@pytest.mark.parametrize("p", [16, 32, 64])
@pytest.mark.parametrize("load", [0.2, -0.1])
def test_a_load_makes_it_sag_by_its_share_over_p(
    servo: EmulatedServo, clock: Clock, p: int, load: float
) -> None:
    servo.load = load
    write(servo, P_COEFFICIENT, p)
    clock.now_s += 1.0
    assert servo.position == pytest.approx(START - load * FULL_DUTY_TICKS / p, abs=0.1)
    assert servo.peek(PRESENT_LOAD) == pytest.approx(1000 * load, abs=1)
    assert servo.peek(PRESENT_CURRENT) == pytest.approx(abs(load) * 2.5 / 0.0065, abs=1)
    assert servo.errors == ErrorBit.NONE


def test_a_load_may_depend_on_position_and_time(servo: EmulatedServo, clock: Clock) -> None:
    servo.load = lambda ticks, now_s: 0.3 if ticks > START - 10 and now_s < 110 else 0.0
    clock.now_s += 5.0
    assert servo.position == pytest.approx(START - 10, abs=2)
    clock.now_s = 115.0
    assert servo.position == pytest.approx(START, abs=0.1)


def test_without_torque_a_load_moves_it_to_the_stop(servo: EmulatedServo, clock: Clock) -> None:
    servo.load, servo.stops = 0.1, (START - 700, START + 700)
    write(servo, TORQUE_ENABLE, 0)
    clock.now_s += 0.1
    assert START - 100 < servo.position < START
    clock.now_s += 60.0
    assert servo.position == START - 700
    assert servo.peek(PRESENT_LOAD) == servo.peek(PRESENT_CURRENT) == 0
    write(servo, TORQUE_ENABLE, 1)
    clock.now_s += 5.0
    assert servo.position > START - 100, "Goal_Position had stayed where it was"


def test_friction_holds_what_is_light(servo: EmulatedServo, clock: Clock) -> None:
    servo.load, servo.friction = 0.1, 0.15
    write(servo, TORQUE_ENABLE, 0)
    clock.now_s += 60.0
    assert servo.position == START
    write(servo, TORQUE_ENABLE, 1)
    write(servo, GOAL_POSITION, START + 5)
    clock.now_s += 5.0
    assert servo.position == START, "so little error does not overcome it"
    write(servo, REGISTERS["Minimum_Startup_Force"], 150)
    clock.now_s += 5.0
    assert START < servo.position + 0.1 * FULL_DUTY_TICKS / 32 <= START + 5.01


def test_errors_in_the_dead_zone_are_left_alone(servo: EmulatedServo, clock: Clock) -> None:
    write(servo, REGISTERS["CW_Dead_Zone"], 21)
    write(servo, GOAL_POSITION, START + 19)
    clock.now_s += 5.0
    assert servo.position == START
    write(servo, GOAL_POSITION, START - 19)
    clock.now_s += 5.0
    assert servo.position == START - 19


def test_it_stalls_at_an_obstacle_on_either_side(servo: EmulatedServo, clock: Clock) -> None:
    servo.obstacle = (START + 400, START + 600)
    write(servo, OVERLOAD_TORQUE, 100)
    write(servo, TORQUE_LIMIT, 600)
    for step, reached in ((450, 400), (3000, 400)):
        write(servo, GOAL_POSITION, min(START + step, 4095))
        clock.now_s += 5.0
        assert servo.position == START + reached
    assert servo.peek(PRESENT_LOAD) == 600
    servo.position = START + 700
    write(servo, GOAL_POSITION, START)
    clock.now_s += 5.0
    assert servo.position == START + 600
    assert servo.peek(PRESENT_LOAD) == -600


def test_effort_grows_with_the_error_up_to_the_torque_limit(
    stalled: EmulatedServo, clock: Clock
) -> None:
    efforts = []
    for goal in (420, 440, 460, 2000):
        write(stalled, GOAL_POSITION, START + goal)
        clock.now_s += 0.6
        efforts.append(stalled.peek(PRESENT_LOAD))
    asked = [1000 * ticks * 32 / FULL_DUTY_TICKS for ticks in (20, 40, 60)]
    assert efforts == pytest.approx([*asked, 1000], abs=1)


def test_overload_is_entered_after_the_protection_time_and_stays(
    stalled: EmulatedServo, clock: Clock
) -> None:
    clock.now_s += 1.9
    assert (stalled.errors, stalled.peek(PRESENT_LOAD)) == (ErrorBit.NONE, 1000)
    clock.now_s += 0.3
    assert stalled.errors == stalled.peek(STATUS) == ErrorBit.OVERLOAD
    assert stalled.peek(PRESENT_LOAD) == 200
    write(stalled, GOAL_POSITION, START + 300)
    clock.now_s += 60.0
    assert stalled.position == pytest.approx(START + 300, abs=0.1), "weak, but free to move"
    assert stalled.errors == ErrorBit.OVERLOAD, "the cause has gone, the state has not"
    write(stalled, TORQUE_ENABLE, 1)
    assert stalled.errors == ErrorBit.OVERLOAD
    write(stalled, TORQUE_ENABLE, 0)
    assert stalled.errors == ErrorBit.NONE
    write(stalled, TORQUE_ENABLE, 1)
    write(stalled, GOAL_POSITION, START + 2000)
    clock.now_s += 1.0
    assert (stalled.errors, stalled.peek(PRESENT_LOAD)) == (ErrorBit.NONE, 1000)


def test_overload_ends_with_the_power(stalled: EmulatedServo, clock: Clock) -> None:
    clock.now_s += 3.0
    assert stalled.errors == ErrorBit.OVERLOAD
    stalled.power_cycle()
    assert stalled.errors == ErrorBit.NONE


def test_overload_is_found_whether_anybody_looks_or_not(
    stalled: EmulatedServo, clock: Clock
) -> None:
    clock.now_s += 3600.0
    assert stalled.errors == ErrorBit.OVERLOAD
    assert stalled.celsius < 45, "it was strong for two seconds only"


def test_short_efforts_are_no_overload(stalled: EmulatedServo, clock: Clock) -> None:
    for _ in range(10):
        write(stalled, GOAL_POSITION, START + 2000)
        clock.now_s += 1.2
        write(stalled, GOAL_POSITION, START + 300)
        clock.now_s += 1.0
    assert stalled.errors == ErrorBit.NONE


def test_the_grippers_settings_protect_it_sooner(stalled: EmulatedServo, clock: Clock) -> None:
    write(stalled, OVERLOAD_TORQUE, 25)
    write(stalled, PROTECTION_TIME, 50)
    write(stalled, TORQUE_LIMIT, 300)
    clock.now_s += 0.3
    assert stalled.errors == ErrorBit.NONE
    clock.now_s += 0.2
    assert stalled.errors == ErrorBit.OVERLOAD


def test_a_goal_at_the_limit_of_what_it_takes_is_no_overload(
    stalled: EmulatedServo, clock: Clock
) -> None:
    write(stalled, TORQUE_LIMIT, 800)
    clock.now_s += 10.0
    assert stalled.errors == ErrorBit.NONE


def test_over_current_is_entered_after_its_time_and_stays(
    stalled: EmulatedServo, clock: Clock
) -> None:
    write(stalled, TORQUE_LIMIT, 790)
    write(stalled, PROTECTION_CURRENT, 250)
    clock.now_s += 1.9
    assert stalled.errors == ErrorBit.NONE
    clock.now_s += 0.3
    assert stalled.errors == ErrorBit.CURRENT
    assert stalled.peek(PRESENT_LOAD) == 200
    write(stalled, GOAL_POSITION, START)
    clock.now_s += 5.0
    assert stalled.errors == ErrorBit.CURRENT
    write(stalled, TORQUE_ENABLE, 0)
    assert stalled.errors == ErrorBit.NONE


@pytest.mark.parametrize("bit", [ErrorBit.OVERLOAD, ErrorBit.TEMPERATURE])
def test_only_errors_in_the_unloading_condition_weaken(
    servo: EmulatedServo, clock: Clock, bit: ErrorBit
) -> None:
    write(servo, UNLOADING_CONDITION, 44 & ~bit)
    servo.load = 0.5
    servo.forced_errors = bit
    clock.now_s += 2.0
    assert servo.position == pytest.approx(START - 0.5 * FULL_DUTY_TICKS / 32, abs=0.1)
    assert servo.errors == bit
    servo.stops = (START - 1000, START + 1000)
    write(servo, UNLOADING_CONDITION, 44)
    clock.now_s += 5.0
    assert servo.position == START - 1000
    assert servo.peek(PRESENT_LOAD) == (200 if bit is ErrorBit.OVERLOAD else 0)


def test_holding_a_load_warms_it_with_the_square(clock: Clock) -> None:
    warm_c = []
    for load in (0.0, 0.2, 0.4):
        servo = EmulatedServo(1, clock=clock)
        servo.load = load
        write(servo, TORQUE_ENABLE, 1)
        clock.now_s += 3600.0
        warm_c.append(servo.celsius - 30.0)
    assert warm_c[0] == pytest.approx(0.0)
    assert warm_c[2] == pytest.approx(4 * warm_c[1], rel=0.01)
    assert warm_c[1] > 5


def test_too_hot_it_lets_go_until_it_has_cooled(servo: EmulatedServo, clock: Clock) -> None:
    servo.load, servo.stops = 0.6, (START - 500, START + 500)
    clock.now_s += 100.0
    assert servo.errors == ErrorBit.NONE and servo.position > START - 100
    hot_c = servo.peek(PRESENT_TEMPERATURE)
    write(servo, MAX_TEMPERATURE_LIMIT, hot_c - 1)
    clock.now_s += 1.0
    assert servo.errors == ErrorBit.TEMPERATURE
    assert servo.position < START - 400
    servo.load = 0.0
    clock.now_s += 3600.0
    assert servo.errors == ErrorBit.NONE
    assert servo.position == pytest.approx(START, abs=0.1)


def test_a_supply_sags_with_what_all_servos_draw(clock: Clock) -> None:
    bus = EmulatedBus((1, 2), volts=6.0, supply_ohms=0.5, clock=clock)
    first, second = bus.chain
    assert first.volts == second.volts == 6.0
    for servo in bus.chain:
        servo.load = 0.5
        write(servo, TORQUE_ENABLE, 1)
    clock.now_s += 1.0
    assert [servo.peek(PRESENT_CURRENT) for servo in bus.chain] == [192, 192]
    assert first.volts == second.volts == pytest.approx(6.0 - 2 * 0.5 * 1.25)
    bus.supply.ohms = 1.0
    assert first.peek(PRESENT_VOLTAGE) == 35
    assert first.errors == ErrorBit.VOLTAGE
    second.power_cycle()
    assert first.peek(PRESENT_VOLTAGE) == 48
    assert first.errors == ErrorBit.NONE, "undervoltage ends with its cause"
    first.volts = 3.0
    assert (first.errors, second.errors) == (ErrorBit.VOLTAGE, ErrorBit.NONE)


def test_a_12_volt_supply_makes_it_the_12_volt_kind() -> None:
    assert EmulatedServo(1, supply=Supply(12.0)).errors == ErrorBit.NONE
    assert EmulatedBus((1,), volts=12.0).servos[1].peek(PRESENT_VOLTAGE) == 120


def test_only_unlocked_writes_wear_the_eeprom(servo: EmulatedServo) -> None:
    write(servo, HOMING_OFFSET, 5)
    write(servo, GOAL_POSITION, 5)
    assert not servo.eeprom_writes
    write(servo, LOCK, 0)
    write(servo, GOAL_POSITION, 6)
    write(servo, MODEL_NUMBER, 6)
    assert not servo.eeprom_writes
    write(servo, HOMING_OFFSET, 5)
    write(servo, HOMING_OFFSET, 5)
    write(servo, MAXIMUM_ACCELERATION, 254)
    write(servo, ID, 3)
    assert servo.eeprom_writes == {31: 2, 32: 2, 85: 1, 5: 1}
    write(servo, LOCK, 1)
    write(servo, ID, 4)
    servo.poke(ID, 5)
    assert servo.eeprom_writes.total() == 6


def test_it_notes_how_far_and_how_fast_it_went(servo: EmulatedServo, clock: Clock) -> None:
    servo.mark()
    write(servo, GOAL_VELOCITY, 500)
    for goal in (START + 300, START - 200):
        write(servo, GOAL_POSITION, goal)
        clock.now_s += 3.0
        servo.advance(clock.now_s)
    assert servo.travel == pytest.approx((START - 200, START + 300), abs=0.1)
    assert servo.top_speed == pytest.approx(500, rel=0.01)
    servo.mark()
    assert servo.travel == pytest.approx((START - 200, START - 200), abs=0.1)
    assert servo.top_speed == 0.0
    write(servo, TORQUE_ENABLE, 0)
    servo.hand = lambda now_s: START + 900.0
    clock.now_s += 0.01
    assert servo.travel[1] == START + 900
    assert servo.top_speed == 0.0, "that was the hand"
    servo.position = 100
    assert servo.travel == (100, 100)


def test_it_notes_when_torque_was_switched(servo: EmulatedServo, clock: Clock) -> None:
    for value in (1, 0, 0, 1):
        clock.now_s += 1.0
        write(servo, TORQUE_ENABLE, value)
    clock.now_s += 1.0
    servo.power_cycle()
    switched = [(100.0, True), (102.0, False), (104.0, True), (105.0, False)]
    assert list(servo.torque_log) == switched


def test_a_hand_does_not_get_past_a_stop(servo: EmulatedServo, clock: Clock) -> None:
    write(servo, TORQUE_ENABLE, 0)
    servo.stops = (START - 50, START + 50)
    servo.hand = lambda now_s: START + 1000.0
    clock.now_s += 1.0
    assert servo.position == START + 50


def test_a_real_servo_at_rest_shows_one_value(servo: EmulatedServo, clock: Clock) -> None:
    servo.load, servo.friction = 0.1, 0.03
    clock.now_s += 2.0
    shown = set()
    for _ in range(50):
        clock.now_s += 0.03
        shown.add(servo.peek(PRESENT_POSITION))
    assert len(shown) == 1


def test_a_shaft_that_was_jerked_does_not_boil_the_motor():
    """A hand that took hold of it far from where it stood left a speed no motor has: 101 degC."""
    heat = Heat()
    heat.warm(torque=-3.0, speed=500.0, duration_s=0.5)
    assert heat.celsius < AMBIENT_C + 1
