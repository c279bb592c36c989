"""What the registers of Dynamixel's X series are for, and what their values say, in words.

Ranges are the ROBOTIS e-manual's, XL330-M077-T, XL330-M288-T and XL430-W250-T.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from armlet.motors.dynamixel.alarms import alarms_of
from armlet.motors.dynamixel.registers import (
    FULL_PWM,
    MODEL_XL330_M077,
    MODEL_XL330_M288,
    MODEL_XL430_W250,
    WATCHDOG_TRIPPED,
    Register,
)
from armlet.motors.protocol import RegisterNote, describe
from armlet.motors.wire.framing import MAX_ID

RELATIVES: Mapping[int, str] = MappingProxyType(
    {1020: "XM430-W350", 1120: "XM540-W270", 1070: "XC430-W150"}
)
"""Model_Number -> label, of the other servos that LeRobot knows."""

_LABELS = {
    MODEL_XL330_M077: "XL330-M077",
    MODEL_XL330_M288: "XL330-M288",
    MODEL_XL430_W250: "XL430-W250",
    **RELATIVES,
}

_MEANINGS = {
    "Model_Number": "kind of servo",
    "Model_Information": "factory value",
    "Firmware_Version": "firmware",
    "ID": "address on the bus",
    "Baud_Rate": "speed on the bus",
    "Return_Delay_Time": "pause before it answers",
    "Drive_Mode": "direction, and kind of profile",
    "Operating_Mode": "what the goal is",
    "Secondary_ID": "a second address, for writes",
    "Protocol_Type": "protocol it speaks",
    "Homing_Offset": "Present_Position - encoder",
    "Moving_Threshold": "below it: standing",
    "Temperature_Limit": "above it: overheating error",
    "Max_Voltage_Limit": "above it: voltage error",
    "Min_Voltage_Limit": "below it: voltage error",
    "PWM_Limit": "Goal_PWM after power-up",
    "Current_Limit": "Goal_Current after power-up",
    "Velocity_Limit": "highest Goal_Velocity",
    "Max_Position_Limit": "highest goal, position mode",
    "Min_Position_Limit": "lowest goal, position mode",
    "Shutdown": "errors that release the motor",
    "Torque_Enable": "whether the motor holds",
    "LED": "whether its light is on",
    "Status_Return_Level": "which instructions it answers",
    "Registered_Instruction": "whether a REG_WRITE waits",
    "Hardware_Error_Status": "errors it reports",
    "Velocity_I_Gain": "integral of the speed loop",
    "Velocity_P_Gain": "P of the speed loop",
    "Position_D_Gain": "damping of the position loop",
    "Position_I_Gain": "integral of the position loop",
    "Position_P_Gain": "stiffness of the position loop",
    "Feedforward_2nd_Gain": "feedforward of acceleration",
    "Feedforward_1st_Gain": "feedforward of speed",
    "Bus_Watchdog": "stops it when no instruction comes",
    "Goal_PWM": "bound on its duty until power-off",
    "Goal_Current": "bound on its current, mode 5",
    "Goal_Velocity": "its speed, velocity mode",
    "Profile_Acceleration": "acceleration of a move, 0 for no bound",
    "Profile_Velocity": "speed of a move, 0 for no bound",
    "Goal_Position": "where it goes while torque is on",
    "Realtime_Tick": "its clock",
    "Moving": "whether it moves",
    "Moving_Status": "state of its move",
    "Present_PWM": "duty of the motor",
    "Present_Load": "estimated load",
    "Present_Current": "current it takes",
    "Present_Velocity": "how fast it turns",
    "Present_Position": "where it is",
    "Velocity_Trajectory": "speed the profile asks for",
    "Position_Trajectory": "position the profile asks for",
    "Present_Input_Voltage": "supply",
    "Present_Temperature": "temperature inside",
}

_MODES = {
    0: "current",
    1: "velocity",
    3: "position",
    4: "extended position",
    5: "current-based position",
    16: "PWM",
}
_ANSWERS = {0: "only pings", 1: "only reads and pings", 2: "all"}
_SWITCH = {0: "off", 1: "on"}
_FARTHEST = 1_044_479

_ALLOWED: Mapping[str, Sequence[int]] = {
    "ID": range(MAX_ID + 1),
    "Return_Delay_Time": range(255),
    # Not the bit that lets a goal switch the torque on (8).
    "Drive_Mode": (0, 1, 4, 5),
    "Protocol_Type": (2,),
    "Homing_Offset": range(-_FARTHEST, _FARTHEST + 1),
    "Moving_Threshold": range(1024),
    "Temperature_Limit": range(101),
    "PWM_Limit": range(FULL_PWM + 1),
    "Max_Position_Limit": range(4096),
    "Min_Position_Limit": range(4096),
    "Shutdown": range(64),
    "Torque_Enable": range(2),
    "LED": range(2),
    "Status_Return_Level": range(3),
    "Bus_Watchdog": range(128),
    "Goal_PWM": range(-FULL_PWM, FULL_PWM + 1),
}


def _watchdog(value: int) -> str:
    if value == WATCHDOG_TRIPPED:
        return "it has stopped the servo"
    return f"{20 * value} ms" if value else "off"


def _drive_mode(value: int) -> str:
    return ("reversed" if value & 1 else "normal") + (", profile by time" if value & 4 else "")


def notes(
    table: Mapping[str, Register], baud_codes: Mapping[int, int], allowed: Mapping[str, range]
) -> Mapping[str, RegisterNote]:
    """Of one model's table. baud_codes: its speeds. allowed: values that are its own."""
    words: dict[str, Callable[[int], str]] = {
        "Model_Number": lambda value: _LABELS.get(value, "unknown model"),
        "Baud_Rate": lambda value: (
            f"{baud_codes[value]} baud" if value in baud_codes else "unknown"
        ),
        "Drive_Mode": _drive_mode,
        "Operating_Mode": lambda value: _MODES.get(value, "unknown"),
        "Protocol_Type": lambda value: "Protocol 2.0" if value == 2 else "another protocol",
        "Shutdown": lambda value: describe(alarms_of(value)),
        "Torque_Enable": lambda value: _SWITCH.get(value, "unknown"),
        "LED": lambda value: _SWITCH.get(value, "unknown"),
        "Status_Return_Level": lambda value: _ANSWERS.get(value, "unknown"),
        "Hardware_Error_Status": lambda value: describe(alarms_of(value)),
        "Bus_Watchdog": _watchdog,
        "Moving": lambda value: "yes" if value else "no",
    }
    modes = tuple(mode for mode in _MODES if "Goal_Current" in table or mode not in (0, 5))
    ranges = {
        **_ALLOWED,
        "Baud_Rate": tuple(baud_codes),
        "Operating_Mode": modes,
        **allowed,
    }
    return MappingProxyType(
        {name: RegisterNote(_MEANINGS[name], ranges.get(name), words.get(name)) for name in table}
    )
