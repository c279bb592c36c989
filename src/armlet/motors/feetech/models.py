"""Feetech's models as control and tools use them, and LeRobot's settings for an arm of them."""

from __future__ import annotations

from types import MappingProxyType

from armlet.motors.feetech.notes import MULTI_TURN as MULTI_TURN
from armlet.motors.feetech.notes import NOTES
from armlet.motors.feetech.registers import (
    BAUD_CODES,
    BAUD_RATE,
    GOAL_POSITION,
    HOMING_OFFSET,
    ID,
    LOCK,
    MAX_POSITION_LIMIT,
    MAX_TEMPERATURE_LIMIT,
    MAX_TORQUE_LIMIT,
    MIN_POSITION_LIMIT,
    MODEL_NUMBER,
    MODEL_STS3215,
    MOVING,
    PHASE,
    PRESENT_CURRENT,
    PRESENT_LOAD,
    PRESENT_POSITION,
    PRESENT_TEMPERATURE,
    PRESENT_VELOCITY,
    PRESENT_VOLTAGE,
    REGISTERS,
    RESPONSE_STATUS_LEVEL,
    RETURN_DELAY_TIME,
    STATUS,
    TORQUE_ENABLE,
    TORQUE_LIMIT,
)
from armlet.motors.protocol import Alarm, Measure, MotorModel, Quantity, Setup

CURRENT_UNIT_A = 6.5e-3

GRIPPER_PROTECTION = {
    "Max_Torque_Limit": 500,
    "Protection_Current": 250,
    "Overload_Torque": 25,
}
"""LeRobot's SO-101 gripper settings since 0.4.0: half torque, about 1.6 A, 25 %."""

STORED_SETTINGS = {
    "Return_Delay_Time": 0,
    "Operating_Mode": 0,
    "P_Coefficient": 16,
    "I_Coefficient": 0,
    "D_Coefficient": 32,
    "Maximum_Acceleration": 254,
}
"""LeRobot's SO-101 settings, so that an arm behaves as it did when the data was recorded."""

RAM_SETTINGS = {"Acceleration": 254, "Lock": 1}
"""LeRobot's as well; gone whenever a servo loses its power."""

STS3215 = MotorModel(
    name="sts3215",
    label="STS3215",
    number=MODEL_STS3215,
    registers=REGISTERS,
    measures=MappingProxyType(
        {
            Quantity.POSITION: Measure(PRESENT_POSITION),
            Quantity.VELOCITY: Measure(PRESENT_VELOCITY),
            Quantity.LOAD: Measure(PRESENT_LOAD, per=1000),
            Quantity.VOLTAGE: Measure(PRESENT_VOLTAGE, per=10),
            Quantity.TEMPERATURE: Measure(PRESENT_TEMPERATURE),
            Quantity.CURRENT: Measure(PRESENT_CURRENT, times=CURRENT_UNIT_A),
            Quantity.STATUS: Measure(STATUS),
            Quantity.MOVING: Measure(MOVING),
            Quantity.TORQUE_ENABLED: Measure(TORQUE_ENABLE),
            Quantity.TORQUE_LIMIT: Measure(TORQUE_LIMIT, per=1000),
        }
    ),
    model_number=MODEL_NUMBER,
    servo_id=ID,
    baud_rate=BAUD_RATE,
    baud_codes=BAUD_CODES,
    firmware=(REGISTERS["Firmware_Major_Version"], REGISTERS["Firmware_Minor_Version"]),
    torque_enable=TORQUE_ENABLE,
    max_torque=MAX_TORQUE_LIMIT,
    goal_position=GOAL_POSITION,
    homing_offset=HOMING_OFFSET,
    min_position=MIN_POSITION_LIMIT,
    max_position=MAX_POSITION_LIMIT,
    alarms=lambda quantity, value: Alarm(value),
    # Those of Unloading_Condition that a servo is delivered with.
    cuts_torque=Alarm.OVERLOAD | Alarm.CURRENT | Alarm.TEMPERATURE,
    body=Setup(STORED_SETTINGS, RAM_SETTINGS, {"Phase": MULTI_TURN}),
    gripper=Setup({**STORED_SETTINGS, **GRIPPER_PROTECTION}, RAM_SETTINGS, {"Phase": MULTI_TURN}),
    voltage_limits=(REGISTERS["Min_Voltage_Limit"], REGISTERS["Max_Voltage_Limit"]),
    temperature_limit=MAX_TEMPERATURE_LIMIT,
    return_delay=RETURN_DELAY_TIME,
    calibrated_in=Setup({"Operating_Mode": 0}, cleared={"Phase": MULTI_TURN}),
    acknowledges=(RESPONSE_STATUS_LEVEL, 1),
    single_turn=(PHASE, MULTI_TURN),
    notes=NOTES,
    lock=LOCK,
    updated_with="Feetech's FD software",
    supplies="the supply made for these servos (7.4 V or 12 V model)",
)
