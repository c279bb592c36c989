"""The control table of the STS3215 servo: names, addresses, widths, signs, units, power-up values.

Names are LeRobot's. Addresses and signs are those of the Feetech STS/SMS series memory table;
default values are the vendor's, as far as published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from armlet.motors.protocol import TICKS_PER_TURN as TICKS_PER_TURN
from armlet.motors.table import TableRegister, table

MODEL_STS3215 = 777

BAUD_CODES: Mapping[int, int] = MappingProxyType(
    {0: 1_000_000, 1: 500_000, 2: 250_000, 3: 128_000, 4: 115_200}
)
"""Value of Baud_Rate -> bits per second. Codes 5 to 7 are left out: vendor documents disagree."""


@dataclass(frozen=True, slots=True)
class Register(TableRegister):
    """One entry of the control table; negative numbers as sign and magnitude.

    Areas: "eeprom" and "factory" survive a power cycle when written unlocked, "ram" does not.

    Attributes: see `motors.protocol.Register`, and
        sign_bit: the bit that holds the sign (the bits below it the magnitude); None if unsigned.
    """

    sign_bit: int | None

    @property
    def signed(self) -> bool:
        """Whether its values may be negative."""
        return self.sign_bit is not None

    @property
    def minimum(self) -> int:
        """Smallest value the register can hold."""
        return 0 if self.sign_bit is None else 1 - (1 << self.sign_bit)

    @property
    def maximum(self) -> int:
        """Largest value the register can hold."""
        bits = 8 * self.width if self.sign_bit is None else self.sign_bit
        return (1 << bits) - 1

    def encode_raw(self, value: int) -> int:
        """The stored bytes of a value that fits, as one unsigned number."""
        if value < 0 and self.sign_bit is not None:
            return -value | 1 << self.sign_bit
        return value

    def decode_raw(self, raw: int) -> int:
        """The value of the stored bytes read as one unsigned number."""
        if self.sign_bit is None:
            return raw
        magnitude = raw & self.maximum
        return -magnitude if raw >> self.sign_bit & 1 else magnitude


_ALL = [
    *table(
        Register,
        "eeprom",
        # name, address, width, sign bit, unit, access, default
        ("Firmware_Major_Version", 0, 1, None, "", "r", 3),
        ("Firmware_Minor_Version", 1, 1, None, "", "r", 10),
        ("Model_Number", 3, 2, None, "", "r", MODEL_STS3215),
        ("ID", 5, 1, None, "", "rw", 1),
        ("Baud_Rate", 6, 1, None, "baud code", "rw", 0),
        ("Return_Delay_Time", 7, 1, None, "2 us", "rw", 250),
        ("Response_Status_Level", 8, 1, None, "", "rw", 1),
        ("Min_Position_Limit", 9, 2, None, "tick", "rw", 0),
        ("Max_Position_Limit", 11, 2, None, "tick", "rw", 4095),
        ("Max_Temperature_Limit", 13, 1, None, "degC", "rw", 70),
        ("Max_Voltage_Limit", 14, 1, None, "0.1 V", "rw", 80),
        ("Min_Voltage_Limit", 15, 1, None, "0.1 V", "rw", 40),
        ("Max_Torque_Limit", 16, 2, None, "0.1 %", "rw", 1000),
        ("Phase", 18, 1, None, "bits", "rw", 12),
        ("Unloading_Condition", 19, 1, None, "bits", "rw", 44),
        ("LED_Alarm_Condition", 20, 1, None, "bits", "rw", 47),
        ("P_Coefficient", 21, 1, None, "", "rw", 32),
        ("D_Coefficient", 22, 1, None, "", "rw", 32),
        ("I_Coefficient", 23, 1, None, "", "rw", 0),
        ("Minimum_Startup_Force", 24, 2, None, "0.1 %", "rw", 16),
        ("CW_Dead_Zone", 26, 1, None, "tick", "rw", 1),
        ("CCW_Dead_Zone", 27, 1, None, "tick", "rw", 1),
        ("Protection_Current", 28, 2, None, "6.5 mA", "rw", 500),
        ("Angular_Resolution", 30, 1, None, "", "rw", 1),
        ("Homing_Offset", 31, 2, 11, "tick", "rw", 0),
        ("Operating_Mode", 33, 1, None, "", "rw", 0),
        ("Protective_Torque", 34, 1, None, "%", "rw", 20),
        ("Protection_Time", 35, 1, None, "10 ms", "rw", 200),
        ("Overload_Torque", 36, 1, None, "%", "rw", 80),
        ("Velocity_closed_loop_P_proportional_coefficient", 37, 1, None, "", "rw", 10),
        ("Over_Current_Protection_Time", 38, 1, None, "10 ms", "rw", 200),
        ("Velocity_closed_loop_I_integral_coefficient", 39, 1, None, "", "rw", 10),
    ),
    *table(
        Register,
        "ram",
        ("Torque_Enable", 40, 1, None, "", "rw", 0),
        ("Acceleration", 41, 1, None, "100 tick/s2", "rw", 0),
        ("Goal_Position", 42, 2, 15, "tick", "rw", 0),
        ("Goal_Time", 44, 2, None, "ms", "rw", 0),
        ("Goal_Velocity", 46, 2, 15, "tick/s", "rw", 0),
        ("Torque_Limit", 48, 2, None, "0.1 %", "rw", 1000),
        ("Lock", 55, 1, None, "", "rw", 1),
        ("Present_Position", 56, 2, 15, "tick", "r", 0),
        ("Present_Velocity", 58, 2, 15, "tick/s", "r", 0),
        ("Present_Load", 60, 2, 10, "0.1 %", "r", 0),
        ("Present_Voltage", 62, 1, None, "0.1 V", "r", 0),
        ("Present_Temperature", 63, 1, None, "degC", "r", 0),
        ("Status", 65, 1, None, "bits", "r", 0),
        ("Moving", 66, 1, None, "", "r", 0),
        ("Present_Current", 69, 2, 15, "6.5 mA", "r", 0),
        ("Goal_Position_2", 71, 2, 15, "tick", "r", 0),
    ),
    *table(
        Register,
        "factory",
        ("Moving_Velocity_Threshold", 80, 1, None, "tick/s", "rw", 50),
        ("DTs", 81, 1, None, "ms", "rw", 1),
        ("Velocity_Unit_factor", 82, 1, None, "", "rw", 1),
        ("Hts", 83, 1, None, "ns", "rw", 0),
        ("Maximum_Velocity_Limit", 84, 1, None, "50 tick/s", "rw", 0),
        ("Maximum_Acceleration", 85, 1, None, "100 tick/s2", "rw", 0),
        ("Acceleration_Multiplier", 86, 1, None, "", "rw", 1),
    ),
]

REGISTERS: Mapping[str, Register] = MappingProxyType({r.name: r for r in _ALL})
"""The whole table, by name, in order of address."""

MODEL_NUMBER = REGISTERS["Model_Number"]
ID = REGISTERS["ID"]
BAUD_RATE = REGISTERS["Baud_Rate"]
RETURN_DELAY_TIME = REGISTERS["Return_Delay_Time"]
RESPONSE_STATUS_LEVEL = REGISTERS["Response_Status_Level"]
MIN_POSITION_LIMIT = REGISTERS["Min_Position_Limit"]
MAX_POSITION_LIMIT = REGISTERS["Max_Position_Limit"]
MAX_TEMPERATURE_LIMIT = REGISTERS["Max_Temperature_Limit"]
MAX_TORQUE_LIMIT = REGISTERS["Max_Torque_Limit"]
PHASE = REGISTERS["Phase"]
P_COEFFICIENT = REGISTERS["P_Coefficient"]
D_COEFFICIENT = REGISTERS["D_Coefficient"]
I_COEFFICIENT = REGISTERS["I_Coefficient"]
PROTECTION_CURRENT = REGISTERS["Protection_Current"]
HOMING_OFFSET = REGISTERS["Homing_Offset"]
OPERATING_MODE = REGISTERS["Operating_Mode"]
OVERLOAD_TORQUE = REGISTERS["Overload_Torque"]
TORQUE_ENABLE = REGISTERS["Torque_Enable"]
ACCELERATION = REGISTERS["Acceleration"]
GOAL_POSITION = REGISTERS["Goal_Position"]
GOAL_VELOCITY = REGISTERS["Goal_Velocity"]
TORQUE_LIMIT = REGISTERS["Torque_Limit"]
LOCK = REGISTERS["Lock"]
PRESENT_POSITION = REGISTERS["Present_Position"]
PRESENT_VELOCITY = REGISTERS["Present_Velocity"]
PRESENT_LOAD = REGISTERS["Present_Load"]
PRESENT_VOLTAGE = REGISTERS["Present_Voltage"]
PRESENT_TEMPERATURE = REGISTERS["Present_Temperature"]
STATUS = REGISTERS["Status"]
MOVING = REGISTERS["Moving"]
PRESENT_CURRENT = REGISTERS["Present_Current"]
MAXIMUM_ACCELERATION = REGISTERS["Maximum_Acceleration"]
