"""What the registers of an STS3215 are for, and what their values say, in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from armlet.motors.feetech.registers import BAUD_CODES, MODEL_STS3215
from armlet.motors.protocol import Alarm, RegisterNote, describe
from armlet.motors.wire.framing import MAX_ID

MULTI_TURN = 0x10
"""Phase bit of positions that run on past a turn; LeRobot clears it since 0.6.0."""

RELATIVES: Mapping[int, str] = MappingProxyType(
    {2825: "STS3250", 11272: "SM8512BL", 1284: "SCS0009"}
)
"""Model_Number -> label, of the other servos that LeRobot knows."""

_MEANINGS = {
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

_SWITCH = {0: "off", 1: "on"}
_MODES = {0: "position", 1: "speed", 2: "duty", 3: "steps"}
_LOCK = {0: "open", 1: "locked"}

_ALLOWED = {
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

_WORDS: Mapping[str, Callable[[int], str]] = {
    "Model_Number": lambda value: {MODEL_STS3215: "STS3215", **RELATIVES}.get(
        value, "unknown model"
    ),
    "Baud_Rate": lambda value: f"{BAUD_CODES[value]} baud" if value in BAUD_CODES else "unknown",
    "Response_Status_Level": lambda value: "all" if value else "only reads and pings",
    "Phase": lambda value: "multi-turn" if value & MULTI_TURN else "single turn",
    "Operating_Mode": lambda value: _MODES.get(value, "unknown"),
    "Torque_Enable": lambda value: _SWITCH.get(value, "unknown"),
    "Lock": lambda value: _LOCK.get(value, "unknown"),
    "Status": lambda value: describe(Alarm(value)),
    "Moving": lambda value: "yes" if value else "no",
}

NOTES: Mapping[str, RegisterNote] = MappingProxyType(
    {
        name: RegisterNote(meaning, _ALLOWED.get(name), _WORDS.get(name))
        for name, meaning in _MEANINGS.items()
    }
)
