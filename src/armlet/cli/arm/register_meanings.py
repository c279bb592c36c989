"""What registers are for, and what their values say, in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from armlet.motors.feetech.discovery import MODEL_NAMES
from armlet.motors.feetech.packets import MAX_ID, ErrorBit
from armlet.motors.feetech.registers import BAUD_CODES, Register
from armlet.motors.protocol import describe

MEANINGS: Mapping[str, str] = {
    "Firmware_Major_Version": "firmware, first number",
    "Firmware_Minor_Version": "firmware, second number",
    "Model_Number": "kind of servo",
    "ID": "address on the bus",
    "Baud_Rate": "speed on the bus",
    "Return_Delay_Time": "pause before it answers",
    "Response_Status_Level": "whether it acknowledges writes",
    "Min_Position_Limit": "lowest goal it takes",
    "Max_Position_Limit": "highest goal it takes",
    "Max_Temperature_Limit": "above it: protects itself",
    "Max_Voltage_Limit": "above it: voltage error",
    "Min_Voltage_Limit": "below it: voltage error",
    "Max_Torque_Limit": "Torque_Limit after power-up",
    "Phase": "switches of the drive",
    "Unloading_Condition": "errors that release the motor",
    "LED_Alarm_Condition": "errors that light the LED",
    "P_Coefficient": "stiffness of the position loop",
    "D_Coefficient": "damping of the position loop",
    "I_Coefficient": "integral of the position loop",
    "Minimum_Startup_Force": "least duty when it moves",
    "CW_Dead_Zone": "tolerated error, cw",
    "CCW_Dead_Zone": "tolerated error, ccw",
    "Protection_Current": "above it: protects itself",
    "Angular_Resolution": "divider, for multi-turn",
    "Homing_Offset": "encoder - Present_Position",
    "Operating_Mode": "what the goal is",
    "Protective_Torque": "torque left after overload",
    "Protection_Time": "how long overload may last",
    "Overload_Torque": "load that counts as overload",
    "Velocity_closed_loop_P_proportional_coefficient": "P of the speed loop",
    "Over_Current_Protection_Time": "how long over-current may last",
    "Velocity_closed_loop_I_integral_coefficient": "I of the speed loop",
    "Torque_Enable": "whether the motor holds",
    "Acceleration": "bound on its acceleration, 0 for none",
    "Goal_Position": "where it goes while torque is on",
    "Goal_Time": "time to get there",
    "Goal_Velocity": "bound on its speed, 0 for none",
    "Torque_Limit": "bound on its torque until power-off",
    "Lock": "guard of the EEPROM",
    "Present_Position": "where it is",
    "Present_Velocity": "how fast it turns",
    "Present_Load": "duty of the motor",
    "Present_Voltage": "supply",
    "Present_Temperature": "temperature inside",
    "Status": "errors it reports",
    "Moving": "whether it moves",
    "Present_Current": "current it takes",
    "Goal_Position_2": "the goal it is after",
    "Moving_Velocity_Threshold": "below it: standing",
    "DTs": "period of the derivative",
    "Velocity_Unit_factor": "unit of the speeds",
    "Hts": "factory value",
    "Maximum_Velocity_Limit": "highest speed",
    "Maximum_Acceleration": "highest acceleration",
    "Acceleration_Multiplier": "unit of the accelerations",
}
"""Register name -> what it is for."""

MULTI_TURN = 0x10
"""The bit of Phase that makes positions run on beyond one turn."""

_SWITCH = {0: "off", 1: "on"}
_MODES = {0: "position", 1: "speed", 2: "duty", 3: "steps"}
_LOCK = {0: "open", 1: "locked"}

ALLOWED: Mapping[str, range] = {
    "ID": range(MAX_ID + 1),
    "Baud_Rate": range(len(BAUD_CODES)),
    "Response_Status_Level": range(2),
    "Min_Position_Limit": range(4096),
    "Max_Position_Limit": range(4096),
    "Max_Torque_Limit": range(1001),
    "Operating_Mode": range(4),
    # 128 would make the present position the middle: a calibration in disguise.
    "Torque_Enable": range(2),
    "Torque_Limit": range(1001),
    "Lock": range(2),
}
"""Values that make sense, where that is less than the register can hold."""


def check_value(register: Register, value: int) -> None:
    """Raises ValueError saying what the register takes."""
    if register.access != "rw":
        raise ValueError(f"{register.name} is read only: it shows {MEANINGS[register.name]}")
    allowed = ALLOWED.get(register.name, range(register.minimum, register.maximum + 1))
    if value not in allowed:
        words = in_words(register)
        choices = (
            ", ".join(f"{v} = {words(v)}" for v in allowed) if words and len(allowed) < 9 else ""
        )
        raise ValueError(
            f"{register.name} takes {allowed[0]}..{allowed[-1]}"
            f"{f' ({choices})' if choices else ''}, found {value}"
        )


def in_words(register: Register) -> Callable[[int], str] | None:
    """What turns a value of the register into words; None if it is a quantity."""
    return _WORDS.get(register.name)


def physical(register: Register, value: int) -> str:
    """The value in a unit people measure in, or in words; empty if it is a mere number."""
    words = in_words(register)
    if words is not None:
        return words(value)
    if register.unit == "bits":
        return f"0x{value:02x}"
    match = re.fullmatch(r"([\d.]*) ?(\D.*)", register.unit)
    if match is None:
        return ""
    count, unit = match.groups()
    if unit == "degC":
        unit = "°C"
    if register.unit == "tick":
        return f"{value * 360 / 4096:.1f}°"
    return f"{value * float(count or 1):g} {unit}"


def _phase(value: int) -> str:
    return "multi-turn" if value & MULTI_TURN else "single turn"


def _errors(value: int) -> str:
    return describe(ErrorBit(value))


_WORDS: Mapping[str, Callable[[int], str]] = {
    "Model_Number": lambda value: MODEL_NAMES.get(value, "unknown model"),
    "Baud_Rate": lambda value: f"{BAUD_CODES[value]} baud" if value in BAUD_CODES else "unknown",
    "Response_Status_Level": lambda value: "all" if value else "only reads and pings",
    "Phase": _phase,
    "Operating_Mode": lambda value: _MODES.get(value, "unknown"),
    "Torque_Enable": lambda value: _SWITCH.get(value, "unknown"),
    "Lock": lambda value: _LOCK.get(value, "unknown"),
    "Status": _errors,
    "Moving": lambda value: "yes" if value else "no",
}
