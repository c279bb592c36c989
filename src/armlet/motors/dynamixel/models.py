"""Dynamixel's models as control and tools use them, and LeRobot's settings for a Koch arm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from armlet.motors.dynamixel.registers import (
    CURRENT_BASED_POSITION,
    EXTENDED_POSITION,
    FULL_PWM,
    MODEL_XL330_M077,
    MODEL_XL330_M288,
    MODEL_XL430_W250,
    WATCHDOG_TRIPPED,
    XL330_M077,
    XL330_M288,
    XL430_W250,
    Register,
)
from armlet.motors.protocol import TICKS_PER_TURN, Alarm, Measure, MotorModel, Quantity, Setup

_VELOCITY_TICKS_S = 0.229 / 60 * TICKS_PER_TURN
"""One count of a velocity, 0.229 revolutions a minute."""

_ALARMS = {
    0x01: Alarm.VOLTAGE,
    0x04: Alarm.TEMPERATURE,
    0x08: Alarm.ENCODER,
    0x10: Alarm.ELECTRICAL_SHOCK,
    0x20: Alarm.OVERLOAD,
}
"""Bits of Hardware_Error_Status and of Shutdown."""

_WATCHDOG_S = 1.0
_WATCHDOG_UNIT_S = 0.02

_STORED = {
    "Return_Delay_Time": 0,
    "Operating_Mode": EXTENDED_POSITION,
    "PWM_Limit": FULL_PWM,
}
"""LeRobot's for a Koch arm. Extended position, because plain position mode ignores offsets beyond a
quarter turn."""

_CLEARED = {"Drive_Mode": 0xFE}
"""All but the direction, which is the calibration's. One of them turns torque on with a goal."""

_ELBOW = {"Position_P_Gain": 1500, "Position_I_Gain": 0, "Position_D_Gain": 600}
"""LeRobot's for a Koch arm's elbow."""

_RAM = {"Status_Return_Level": 2, "Profile_Acceleration": 0, "Profile_Velocity": 0}
"""Everything is acknowledged, and no profile delays what the driver has planned."""


def hardware_error_bits(alarms: Alarm) -> int:
    """Alarms as Hardware_Error_Status has them; those it has no bit for are left out."""
    return sum(bit for bit, alarm in _ALARMS.items() if alarm in alarms)


def alarms_of(bits: int) -> Alarm:
    """What bits of Hardware_Error_Status report."""
    found = Alarm.NONE
    for bit, alarm in _ALARMS.items():
        if bits & bit:
            found |= alarm
    return found


def _alarms(quantity: Quantity, value: int) -> Alarm:
    if quantity is Quantity.WATCHDOG:
        return Alarm.HOST_SILENT if value == WATCHDOG_TRIPPED else Alarm.NONE
    return alarms_of(value)


def _model(
    name: str, label: str, number: int, table: Mapping[str, Register], grip_mode: int
) -> MotorModel:
    measures = {
        Quantity.POSITION: Measure(table["Present_Position"]),
        Quantity.VELOCITY: Measure(table["Present_Velocity"], times=_VELOCITY_TICKS_S),
        Quantity.LOAD: Measure(table["Present_PWM"], per=FULL_PWM),
        Quantity.VOLTAGE: Measure(table["Present_Input_Voltage"], per=10),
        Quantity.TEMPERATURE: Measure(table["Present_Temperature"]),
        Quantity.STATUS: Measure(table["Hardware_Error_Status"]),
        Quantity.WATCHDOG: Measure(table["Bus_Watchdog"]),
        Quantity.MOVING: Measure(table["Moving"]),
        Quantity.TORQUE_ENABLED: Measure(table["Torque_Enable"]),
        Quantity.TORQUE_LIMIT: Measure(table["Goal_PWM"], per=FULL_PWM),
    }
    if "Present_Current" in table:
        measures[Quantity.CURRENT] = Measure(table["Present_Current"], per=1000)
    stored = {**_STORED, "Shutdown": table["Shutdown"].default}
    return MotorModel(
        name=name,
        label=label,
        number=number,
        registers=table,
        measures=MappingProxyType(measures),
        model_number=table["Model_Number"],
        firmware=(table["Firmware_Version"],),
        torque_enable=table["Torque_Enable"],
        max_torque=table["PWM_Limit"],
        goal_position=table["Goal_Position"],
        homing_offset=table["Homing_Offset"],
        min_position=table["Min_Position_Limit"],
        max_position=table["Max_Position_Limit"],
        alarms=_alarms,
        cuts_torque=alarms_of(table["Shutdown"].default),
        drive_mode=table["Drive_Mode"],
        body=Setup(stored, _RAM, _CLEARED),
        gripper=Setup({**stored, "Operating_Mode": grip_mode}, _RAM, _CLEARED),
        joints={"elbow_flex": Setup(stored, {**_RAM, **_ELBOW}, _CLEARED)},
        reboots=True,
        counts_turns=True,
        watchdog=table["Bus_Watchdog"],
        watchdog_counts=math.ceil(_WATCHDOG_S / _WATCHDOG_UNIT_S),
        offset_sign=1,
        updated_with="ROBOTIS' DYNAMIXEL Wizard",
    )


XL330_M077_MODEL = _model(
    "xl330-m077", "XL330-M077", MODEL_XL330_M077, XL330_M077, CURRENT_BASED_POSITION
)
XL330_M288_MODEL = _model(
    "xl330-m288", "XL330-M288", MODEL_XL330_M288, XL330_M288, CURRENT_BASED_POSITION
)
XL430_W250_MODEL = _model(
    "xl430-w250", "XL430-W250", MODEL_XL430_W250, XL430_W250, EXTENDED_POSITION
)
"""LeRobot's gripper, an XL330, holds by current; an XL430 measures none."""

MODELS: Mapping[str, MotorModel] = MappingProxyType(
    {m.name: m for m in (XL330_M077_MODEL, XL330_M288_MODEL, XL430_W250_MODEL)}
)
