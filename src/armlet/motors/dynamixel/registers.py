"""The control table of Dynamixel's X series: names, addresses, widths, signs, units, defaults.

Source: ROBOTIS e-manual, XL330-M077-T, XL330-M288-T and XL430-W250-T, control tables of EEPROM and
RAM. Names are LeRobot's. What is written to the EEPROM area takes effect at once and lasts; it is
refused while the torque is on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from armlet.motors.table import TableRegister, table

MODEL_XL330_M077 = 1190
MODEL_XL330_M288 = 1200
MODEL_XL430_W250 = 1060

BAUD_CODES: Mapping[int, int] = MappingProxyType(
    {
        0: 9_600,
        1: 57_600,
        2: 115_200,
        3: 1_000_000,
        4: 2_000_000,
        5: 3_000_000,
        6: 4_000_000,
        7: 4_500_000,
    }
)
"""Value of Baud_Rate -> bits per second. XL330 goes to 4 M, XL430 to 4.5 M."""

FACTORY_BAUDRATE = 57_600

EXTENDED_POSITION = 4
CURRENT_BASED_POSITION = 5
"""Values of Operating_Mode. Position, 3, is the factory's; it ignores offsets beyond 1024."""

FULL_PWM = 885
"""PWM_Limit, Goal_PWM and Present_PWM at full duty."""

WATCHDOG_TRIPPED = -1
"""What Bus_Watchdog holds once no instruction has come in time. Goals are refused until it is 0."""


@dataclass(frozen=True, slots=True)
class Register(TableRegister):
    """One entry of the control table; negative numbers as two's complement.

    Attributes: see `motors.protocol.Register`.
    """

    signed: bool

    @property
    def minimum(self) -> int:
        """Smallest value the register can hold."""
        return -(1 << 8 * self.width - 1) if self.signed else 0

    @property
    def maximum(self) -> int:
        """Largest value the register can hold."""
        return (1 << 8 * self.width - self.signed) - 1

    def encode_raw(self, value: int) -> int:
        """The stored bytes of a value that fits, as one unsigned number."""
        return value & (1 << 8 * self.width) - 1

    def decode_raw(self, raw: int) -> int:
        """The value of the stored bytes read as one unsigned number."""
        return raw - (1 << 8 * self.width) if self.signed and raw > self.maximum else raw


_COMMON = [
    *table(
        Register,
        "eeprom",
        # name, address, width, signed, unit, access, default
        ("Model_Number", 0, 2, False, "", "r", 0),
        ("Model_Information", 2, 4, False, "", "r", 0),
        ("Firmware_Version", 6, 1, False, "", "r", 45),
        ("ID", 7, 1, False, "", "rw", 1),
        ("Baud_Rate", 8, 1, False, "baud code", "rw", 1),
        ("Return_Delay_Time", 9, 1, False, "2 us", "rw", 250),
        ("Drive_Mode", 10, 1, False, "bits", "rw", 0),
        ("Operating_Mode", 11, 1, False, "", "rw", 3),
        ("Secondary_ID", 12, 1, False, "", "rw", 255),
        ("Protocol_Type", 13, 1, False, "", "rw", 2),
        ("Homing_Offset", 20, 4, True, "tick", "rw", 0),
        ("Moving_Threshold", 24, 4, False, "0.229 rpm", "rw", 10),
        ("Temperature_Limit", 31, 1, False, "degC", "rw", 70),
        ("Max_Voltage_Limit", 32, 2, False, "0.1 V", "rw", 70),
        ("Min_Voltage_Limit", 34, 2, False, "0.1 V", "rw", 35),
        ("PWM_Limit", 36, 2, False, "0.113 %", "rw", FULL_PWM),
        ("Velocity_Limit", 44, 4, False, "0.229 rpm", "rw", 445),
        ("Max_Position_Limit", 48, 4, False, "tick", "rw", 4095),
        ("Min_Position_Limit", 52, 4, False, "tick", "rw", 0),
        ("Shutdown", 63, 1, False, "bits", "rw", 53),
    ),
    *table(
        Register,
        "ram",
        ("Torque_Enable", 64, 1, False, "", "rw", 0),
        ("LED", 65, 1, False, "", "rw", 0),
        ("Status_Return_Level", 68, 1, False, "", "rw", 2),
        ("Registered_Instruction", 69, 1, False, "", "r", 0),
        ("Hardware_Error_Status", 70, 1, False, "bits", "r", 0),
        ("Velocity_I_Gain", 76, 2, False, "", "rw", 1600),
        ("Velocity_P_Gain", 78, 2, False, "", "rw", 180),
        ("Position_D_Gain", 80, 2, False, "", "rw", 0),
        ("Position_I_Gain", 82, 2, False, "", "rw", 0),
        ("Position_P_Gain", 84, 2, False, "", "rw", 400),
        ("Feedforward_2nd_Gain", 88, 2, False, "", "rw", 0),
        ("Feedforward_1st_Gain", 90, 2, False, "", "rw", 0),
        ("Bus_Watchdog", 98, 1, True, "20 ms", "rw", 0),
        ("Goal_PWM", 100, 2, True, "0.113 %", "rw", FULL_PWM),
        ("Goal_Velocity", 104, 4, True, "0.229 rpm", "rw", 0),
        ("Profile_Acceleration", 108, 4, False, "214.577 rev/min2", "rw", 0),
        ("Profile_Velocity", 112, 4, False, "0.229 rpm", "rw", 0),
        ("Goal_Position", 116, 4, True, "tick", "rw", 0),
        ("Realtime_Tick", 120, 2, False, "ms", "r", 0),
        ("Moving", 122, 1, False, "", "r", 0),
        ("Moving_Status", 123, 1, False, "bits", "r", 0),
        ("Present_PWM", 124, 2, True, "0.113 %", "r", 0),
        ("Present_Velocity", 128, 4, True, "0.229 rpm", "r", 0),
        ("Present_Position", 132, 4, True, "tick", "r", 0),
        ("Velocity_Trajectory", 136, 4, True, "0.229 rpm", "r", 0),
        ("Position_Trajectory", 140, 4, True, "tick", "r", 0),
        ("Present_Input_Voltage", 144, 2, False, "0.1 V", "r", 50),
        ("Present_Temperature", 146, 1, False, "degC", "r", 25),
    ),
]


def _with(added: Iterable[Register] = (), **defaults: int) -> Mapping[str, Register]:
    """The common table with more registers and other defaults, in order of address."""
    changed = [
        replace(register, default=defaults.get(register.name, register.default))
        for register in [*_COMMON, *added]
    ]
    changed.sort(key=lambda register: register.address)
    return MappingProxyType({register.name: register for register in changed})


_CURRENT = [
    *table(Register, "eeprom", ("Current_Limit", 38, 2, False, "mA", "rw", 1750)),
    *table(
        Register,
        "ram",
        ("Goal_Current", 102, 2, True, "mA", "rw", 1750),
        ("Present_Current", 126, 2, True, "mA", "r", 0),
    ),
]
_LOAD = table(Register, "ram", ("Present_Load", 126, 2, True, "0.1 %", "r", 0))

XL330_M077 = _with(_CURRENT, Model_Number=MODEL_XL330_M077, Velocity_Limit=1620)
XL330_M288 = _with(_CURRENT, Model_Number=MODEL_XL330_M288)
XL430_W250 = _with(
    _LOAD,
    Model_Number=MODEL_XL430_W250,
    Max_Voltage_Limit=140,
    Min_Voltage_Limit=60,
    Velocity_Limit=265,
    Shutdown=52,
    Velocity_I_Gain=1000,
    Velocity_P_Gain=100,
    Position_P_Gain=800,
    Present_Input_Voltage=120,
)
"""The tables by name. XL430 measures its load, XL330 its current, at the same address."""

MODEL_NUMBER = XL330_M288["Model_Number"]
ID = XL330_M288["ID"]
BAUD_RATE = XL330_M288["Baud_Rate"]
TORQUE_ENABLE = XL330_M288["Torque_Enable"]
GOAL_POSITION = XL330_M288["Goal_Position"]
BUS_WATCHDOG = XL330_M288["Bus_Watchdog"]
