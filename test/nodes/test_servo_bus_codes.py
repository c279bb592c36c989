"""servo_bus reports by code on /diagnostics, and an arm that does not hold is never green."""

import sys
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from armlet.control.protection import Condition, Mode
from armlet.control.state import ControlState, Link, Source, Torque
from armlet.findings import Code
from armlet.motors.protocol import Alarm
from armlet.nodes.servo_bus_diagnostics import (
    CycleTimes,
    Doubts,
    bus_status,
    joint_statuses,
    unready_status,
)

sys.path.append(str(Path(__file__).resolve().parent.parent / "control"))

from driven_arm import Clock, Driven, emulated_bus

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@pytest.fixture
def driven():
    clock = Clock()
    with emulated_bus(clock) as emulated:
        driven = Driven(emulated, clock)
        yield driven
        driven.arm.close()


def read(status):
    """Level and codes; every code is in the table."""
    values = {each.key: each.value for each in status.values}
    codes = [Code(code) for code in values["codes"].split(", ")] if "codes" in values else []
    return status.level, codes


def bus(driven, **options):
    return read(bus_status("bus", driven.control, CycleTimes(driven.clock), **options))


@pytest.mark.parametrize("torque", Torque)
@pytest.mark.parametrize(
    ("link", "level", "code"),
    [
        (Link.LOST, ERROR, Code.ARM_BUS_LOST),
        (Link.SILENT, ERROR, Code.ARM_SERVOS_SILENT),
        (Link.UNPROVEN, ERROR, Code.ARM_TORQUE_UNPROVEN),
        (Link.UNARMED, WARN, Code.ARM_NOT_ARMED),
    ],
)
def test_an_arm_that_is_not_armed_is_never_green(driven, link, level, code, torque):
    driven.control._decided = ControlState(link, torque=torque)
    assert bus(driven) == (level, [code])
    leader = (OK, []) if link is Link.UNARMED else (level, [code])
    assert bus(driven, follower=False) == leader, "a leader is not to be armed"


@pytest.mark.parametrize("source", Source)
def test_an_armed_arm_is_green_and_has_no_code(driven, source):
    driven.control.torque_on()
    driven.control._decided = ControlState(Link.ARMED, source, Torque.ON)
    assert bus(driven) == (OK, [])


def test_an_armed_arm_with_a_joint_that_sags_is_not_green(driven):
    driven.control.torque_on()
    driven.control.protection.set_torque_off("gripper", True)
    assert bus(driven) == (WARN, [Code.ARM_JOINT_RELEASED])
    assert bus(driven, unguarded=True)[1] == [Code.ARM_JOINT_RELEASED, Code.ARM_UNGUARDED]


def test_the_worst_comes_first_and_sets_the_level(driven):
    driven.control._decided = ControlState(Link.LOST)
    assert bus(driven, unguarded=True) == (ERROR, [Code.ARM_BUS_LOST, Code.ARM_UNGUARDED])


def test_what_connecting_found_odd_has_a_code(driven):
    driven.control.torque_on()
    servo = driven.emulated.servos[2]
    servo.poke(driven.emulated.model.firmware[-1], 9)
    driven.arm.connect()
    assert bus(driven) == (WARN, [Code.SERVO_FIRMWARE_MIXED])
    driven.arm.warnings.append("gripper has drive_mode 1")
    assert bus(driven)[1] == [Code.SERVO_FIRMWARE_MIXED, Code.ARM_SERVO_REVERSES]


def test_a_node_that_is_not_configured_says_why_by_code():
    assert read(unready_status("bus", "", "port")) == (WARN, [Code.ARM_NOT_CONFIGURED])
    assert read(unready_status("bus", "no servo", "port")) == (ERROR, [Code.ARM_SETUP_FAILED])


def gripper(driven):
    return read(joint_statuses("bus", driven.control)[1])


@pytest.mark.parametrize(
    ("mode", "code"),
    [(Mode.RELAXED, Code.ARM_JOINT_RELAXED), (Mode.RELEASED, Code.ARM_JOINT_RELEASED)],
)
def test_each_mode_of_a_joint(driven, mode, code):
    driven.control.protection.joints["gripper"].mode = mode
    assert gripper(driven) == (ERROR, [code])


@pytest.mark.parametrize(
    ("condition", "level", "code"),
    [
        (Condition.OVERLOAD, ERROR, Code.ARM_JOINT_OVERLOADED),
        (Condition.HOT, ERROR, Code.SERVO_TEMPERATURE_HIGH),
        (Condition.VOLTAGE, WARN, Code.SERVO_VOLTAGE_OUT_OF_RANGE),
    ],
)
def test_each_condition_of_a_joint(driven, condition, level, code):
    assert gripper(driven) == (OK, [])
    driven.control.protection.joints["gripper"].conditions = {condition}
    assert gripper(driven) == (level, [code])
    driven.control.arm.errors["gripper"] = Alarm.OVERLOAD
    level, codes = gripper(driven)
    assert level == ERROR and set(codes) == {code, Code.SERVO_ERROR_REPORTED}


def test_chunks_of_another_clock_are_an_error_while_the_arm_holds(driven):
    driven.control.torque_on()
    found = bus(driven, doubts=Doubts(shifted="it came 0.500 s before it was sent"))
    assert found == (ERROR, [Code.ARM_CHUNK_SHIFTED])


def test_who_is_not_expected_to_command_is_a_warning(driven):
    driven.control.torque_on()
    found = bus(driven, doubts=Doubts(strangers=["/stranger"]), commanders=["/stranger", "/teleop"])
    assert found == (WARN, [Code.ARM_COMMANDER_UNEXPECTED])
