"""What is a Dynamixel's own under the control cycle: reboots, its watchdog, turns, direction."""

import pytest
from driven_arm import CALIBRATION, Driven, goals, made_arm

from armlet.control import ArmError, State
from armlet.motors.protocol import Quantity
from armlet.robots import JointCalibration

pytestmark = pytest.mark.parametrize("motors", ["xl330-m288", "xl430-w250"])


def peek(emulated, name):
    register = emulated.model.registers[name]
    return [emulated.servos[joint.id].peek(register) for joint in CALIBRATION.values()]


def test_configure_writes_lerobots_settings_for_a_koch(driven, emulated):
    holds_by_current = "Present_Current" in emulated.model.registers
    assert peek(emulated, "Operating_Mode") == [4, 5 if holds_by_current else 4]
    assert peek(emulated, "Return_Delay_Time") == [0, 0]
    assert peek(emulated, "Status_Return_Level") == [2, 2]


def test_torque_that_comes_on_with_a_goal_is_switched_off(emulated):
    emulated.servos[1].poke(emulated.model.registers["Drive_Mode"], 0x08)
    arm = made_arm(emulated)
    arm.connect()
    arm.configure()
    assert peek(emulated, "Drive_Mode") == [0, 0]
    arm.close()


def test_a_blocked_joint_that_cut_out_is_rebooted_while_the_other_is_driven(armed, emulated):
    """It answers nothing while it starts up, which is shorter than what counts as silent."""
    gripper = emulated.servos[2]
    gripper.start_up_s = 0.2
    at = 2000 + gripper.offset + 30
    gripper.obstacle = (at, at + 1000)
    care = armed.control.protection.joints["gripper"]
    for _ in range(1500):
        armed.commanded(1, 0.2, 0.6)
        if care.counts.recovered:
            break
    assert care.counts.recovered == 1
    assert armed.torque() == [1, 1]
    assert armed.torque_limits() == [1.0, 0.2], "relaxed, though its RAM was lost"
    assert armed.control.state is State.COMMAND
    assert armed.control.goal[0] == pytest.approx(0.2, abs=0.01)


def test_a_joint_that_cut_out_from_heat_is_released_and_armed_again_when_cool(armed, emulated):
    heat = emulated.model.measures[Quantity.TEMPERATURE].register
    emulated.servos[2].poke(heat, 75)
    armed.cycles_until(lambda: armed.control.protection.released, 300)
    assert (
        "gripper released: cut out by itself, too hot (75 °C, limit 65 °C)"
        in armed.control.summary()
    )
    assert armed.torque() == [1, 0]
    with pytest.raises(ArmError, match="still reports overheated after it was rebooted"):
        armed.control.torque_on()
    emulated.servos[2].unpin(heat)
    armed.control.torque_on()
    assert armed.torque() == [1, 1]
    armed.cycles_until(lambda: armed.control.summary() == "holding", 300)


def test_servos_that_nobody_talked_to_have_stopped_and_are_armed_again(armed, emulated):
    assert peek(emulated, "Bus_Watchdog") == [50, 50]
    armed.clock.now_s += 2.0
    armed.cycles_until(lambda: armed.control.state is State.UNARMED, 100)
    assert "stopped by itself: no instruction reached it" in armed.control.summary()
    before = [goals(emulated, id) for id in (1, 2)]
    armed.cycles(10)
    assert [goals(emulated, id) for id in (1, 2)] == before, "nothing is sent until it is armed"
    assert armed.torque() == [1, 1], "its own watchdog takes no torque"
    armed.control.torque_on()
    assert armed.control.state is State.HOLD
    armed.commanded(100, 0.2, 0.0)
    assert armed.control.goal[0] == pytest.approx(0.2, abs=0.01)


def test_a_released_arm_takes_goals_from_other_programs(armed, emulated):
    armed.control.torque_off()
    assert peek(emulated, "Bus_Watchdog") == [0, 0]


@pytest.mark.representatives(2)
@pytest.mark.parametrize("middle", [100, 4000])
def test_an_arm_that_woke_up_in_another_turn_is_where_it_is(emulated, clock, middle):
    """The horn is on anyhow: within the joint's range the encoder goes through 0."""
    servo = emulated.servos[1]
    offset = 2000 - middle
    servo.poke(emulated.model.registers["Operating_Mode"], 4)
    servo.poke(emulated.model.homing_offset, offset)
    stands = middle + (-600 if middle < 2000 else 600)
    servo.position = stands - servo.offset
    servo.power_cycle()
    raw = servo.peek(emulated.model.measures[Quantity.POSITION].register)
    assert not 1000 <= raw <= 3000, "by its own count it is outside its range"
    calibration = {**CALIBRATION, "shoulder_pan": JointCalibration(1, 0, offset, 1000, 3000)}
    driven = Driven(emulated, clock, calibration=calibration)
    expected = (stands - middle) * 2 * 3.141592653589793 / 4096
    assert driven.arm.read() is None, "the first reading has to be confirmed"
    assert driven.arm.read().position[0] == pytest.approx(expected, abs=1e-6)
    servo.mark()
    driven.control.torque_on()
    driven.cycles(20)
    assert servo.travel[1] - servo.travel[0] < 3, "it holds where it stands"
    driven.commanded(300, 0.0, 0.0)
    actual = servo.position + servo.offset
    assert actual == pytest.approx(middle, abs=3)
    low, high = servo.travel
    assert high - low < 700, "the short way"
    driven.arm.close()


def test_the_direction_is_the_calibrations_and_reported_if_it_differs(emulated):
    register = emulated.model.registers["Drive_Mode"]
    emulated.servos[1].poke(register, 1)
    arm = made_arm(emulated)
    with pytest.raises(ArmError, match=r"shoulder_pan \(id 1\): .* drive_mode = 0, the servo 1"):
        arm.connect()
    arm.write_calibration()
    arm.connect()
    assert peek(emulated, "Drive_Mode") == [0, 0]
    assert arm.warnings == []
    arm.close()


def test_a_reversed_joint_goes_where_it_is_sent_the_other_way_round(emulated, clock):
    servo, model = emulated.servos[1], emulated.model
    entry = JointCalibration(1, 1, 5000, 1000, 3000)
    emulated.calibrate(1, entry.homing_offset, entry.range_min, entry.range_max, drive_mode=1)
    servo.actual = 3000.0
    servo.power_cycle()
    driven = Driven(emulated, clock, calibration={**CALIBRATION, "shoulder_pan": entry})
    driven.control.torque_on()
    driven.commanded(300, 0.3, 0.0)
    ticks = 0.3 / (2 * 3.141592653589793) * 4096
    assert servo.peek(model.measures[Quantity.POSITION].register) == pytest.approx(
        2000 + ticks, abs=3
    )
    assert servo.actual == pytest.approx(3000 - ticks, abs=3)
    driven.arm.close()


def test_a_refused_write_says_why(emulated):
    arm = made_arm(emulated)
    arm.connect()
    emulated.servos[1].poke(emulated.model.torque_enable, 1)
    with pytest.raises(ArmError, match=r"refuses WRITE Homing_Offset = 5: .*torque is on"):
        arm.servos.write("shoulder_pan", "Homing_Offset", 5)
    arm.close()
