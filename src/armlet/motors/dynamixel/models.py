"""Dynamixel's models as control and tools use them, and LeRobot's settings for a Koch arm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from armlet.motors.dynamixel.alarms import alarms_of
from armlet.motors.dynamixel.notes import notes
from armlet.motors.dynamixel.registers import (
    BAUD_CODES,
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

_FASTEST = {"xl330": 4_000_000, "xl430": 4_500_000}
_VOLTS = {"xl330": (31, 70), "xl430": (60, 140)}
_SPEEDS = {"xl330": 2047, "xl430": 1023}
"""By series: the highest baud rate, the voltage limits in 0.1 V, and the highest Velocity_Limit."""

_RAM = {"Status_Return_Level": 2, "Profile_Acceleration": 0, "Profile_Velocity": 0}
"""Everything is acknowledged, and no profile delays what the driver has planned."""


def _alarms(quantity: Quantity, value: int) -> Alarm:
    if quantity is Quantity.WATCHDOG:
        return Alarm.HOST_SILENT if value == WATCHDOG_TRIPPED else Alarm.NONE
    return alarms_of(value)


def _own_ranges(series: str) -> dict[str, range]:
    """Values that make sense in registers whose bounds are not the same for all models."""
    low, high = _VOLTS[series]
    volts = range(low, high + 1)
    return {
        "Min_Voltage_Limit": volts,
        "Max_Voltage_Limit": volts,
        "Velocity_Limit": range(_SPEEDS[series] + 1),
        "Current_Limit": range(1751),
    }


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
    series = name.partition("-")[0]
    codes = {code: speed for code, speed in BAUD_CODES.items() if speed <= _FASTEST[series]}
    return MotorModel(
        name=name,
        label=label,
        number=number,
        registers=table,
        measures=MappingProxyType(measures),
        model_number=table["Model_Number"],
        servo_id=table["ID"],
        baud_rate=table["Baud_Rate"],
        baud_codes=MappingProxyType(codes),
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
        voltage_limits=(table["Min_Voltage_Limit"], table["Max_Voltage_Limit"]),
        temperature_limit=table["Temperature_Limit"],
        return_delay=table["Return_Delay_Time"],
        calibrated_in=Setup({"Operating_Mode": EXTENDED_POSITION}, cleared=_CLEARED),
        acknowledges=(table["Status_Return_Level"], 2),
        notes=notes(table, codes, _own_ranges(series)),
        reboots=True,
        counts_turns=True,
        watchdog=table["Bus_Watchdog"],
        watchdog_counts=math.ceil(_WATCHDOG_S / _WATCHDOG_UNIT_S),
        offset_sign=1,
        updated_with="ROBOTIS' DYNAMIXEL Wizard",
        supplies="5 V for an XL330, 12 V for an XL430",
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
