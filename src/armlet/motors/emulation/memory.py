"""An emulated servo's 256 bytes of memory, and what they ask of it."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from armlet.motors.emulation.dynamics import LAG_TIMES_P, MAX_ACCELERATION, NO_LOAD_SPEED, Drive
from armlet.motors.emulation.protection import Limits
from armlet.motors.feetech.packets import ErrorBit
from armlet.motors.feetech.registers import (
    GOAL_POSITION,
    GOAL_VELOCITY,
    HOMING_OFFSET,
    LOCK,
    MAX_POSITION_LIMIT,
    MAX_TORQUE_LIMIT,
    MAXIMUM_ACCELERATION,
    MIN_POSITION_LIMIT,
    OPERATING_MODE,
    OVERLOAD_TORQUE,
    P_COEFFICIENT,
    PHASE,
    PROTECTION_CURRENT,
    REGISTERS,
    TORQUE_ENABLE,
    TORQUE_LIMIT,
    Register,
)

MEMORY_BYTES = 256
CURRENT_UNIT_A = 0.0065
_MULTI_TURN = 0x10
_ACCELERATION_UNIT = 100.0
_SPEED_LIMIT_UNIT = 50.0
_WEAKENING = ErrorBit.OVERLOAD | ErrorBit.CURRENT
"""Errors that limit an unloading servo to Protective_Torque; the others release it altogether."""

_PERSISTENT = frozenset(
    address
    for register in REGISTERS.values()
    if register.area != "ram"
    for address in range(register.address, register.end)
)
_WRITABLE = frozenset(
    address
    for register in REGISTERS.values()
    if register.access == "rw"
    for address in range(register.address, register.end)
)


class Memory:
    """RAM, and the EEPROM behind part of it. Begins as a servo's fresh from the factory.

    Attributes:
        bytes: as a servo works with it.
        wear: address -> how often its EEPROM cell has been programmed by `write`.
    """

    def __init__(self) -> None:
        self.bytes = bytearray(MEMORY_BYTES)
        self.wear: Counter[int] = Counter()
        for register in REGISTERS.values():
            self.store(register, register.default)
        self._persistent = bytes(self.bytes)

    def load(self, register: Register) -> int:
        """A register's value."""
        raw, address = self.bytes[register.address], register.address
        if register.width == 2:
            raw |= self.bytes[address + 1] << 8
        return raw if register.sign_bit is None else register.decode_raw(raw)

    def store(self, register: Register, value: int) -> None:
        """Sets a register until the next power cycle."""
        self.bytes[register.address : register.end] = register.encode(value)

    def burn(self, register: Register, value: int) -> None:
        """Sets a register for good, which does not count as wear."""
        self.store(register, value)
        if register.area != "ram":
            self._persist(range(register.address, register.end))

    def write(self, address: int, data: bytes) -> None:
        """A WRITE: what is not writable keeps its value, what is EEPROM lasts if Lock is 0."""
        unlocked = not self.bytes[LOCK.address]
        addresses = range(address, min(address + len(data), MEMORY_BYTES))
        written = [at for at in addresses if at in _WRITABLE]
        for at in written:
            self.bytes[at] = data[at - address]
        if unlocked:
            burnt = [at for at in written if at in _PERSISTENT]
            self._persist(burnt)
            self.wear.update(burnt)

    def power_cycle(self) -> None:
        """EEPROM as persisted, RAM at its defaults."""
        self.bytes[:] = self._persistent
        for register in REGISTERS.values():
            if register.area == "ram":
                self.store(register, register.default)
        self.store(TORQUE_LIMIT, self.load(MAX_TORQUE_LIMIT))

    def _persist(self, addresses: range | list[int]) -> None:
        persistent = bytearray(self._persistent)
        for at in addresses:
            persistent[at] = self.bytes[at]
        self._persistent = bytes(persistent)


class Settings(NamedTuple):
    """What the memory asks for, worked out once for each write.

    Attributes:
        drive, limits: for the motion and for the protection.
        torque_on: whether the motor is driven.
        follows: whether it follows goals: Operating_Mode 0.
        goal: clamped to the limits, ticks after the offset.
        offset: Homing_Offset.
        multi_turn: whether readings go beyond one turn.
        moving_threshold: ticks/s.
    """

    drive: Drive
    limits: Limits
    torque_on: bool
    follows: bool
    goal: int
    offset: int
    multi_turn: bool
    moving_threshold: int


def read_settings(memory: Memory, errors: ErrorBit) -> Settings:
    """The settings, for a servo in these error states."""
    load = memory.load
    return Settings(
        drive=read_drive(memory, errors),
        limits=Limits(
            duty=load(OVERLOAD_TORQUE) / 100,
            duty_s=load(REGISTERS["Protection_Time"]) / 100,
            amperes=load(PROTECTION_CURRENT) * CURRENT_UNIT_A,
            amperes_s=load(REGISTERS["Over_Current_Protection_Time"]) / 100,
        ),
        torque_on=load(TORQUE_ENABLE) == 1,
        follows=load(OPERATING_MODE) == 0,
        goal=read_goal(memory),
        offset=load(HOMING_OFFSET),
        multi_turn=bool(load(PHASE) & _MULTI_TURN),
        moving_threshold=load(REGISTERS["Moving_Velocity_Threshold"]),
    )


def read_goal(memory: Memory) -> int:
    """Goal_Position, within the limits if there are any."""
    load = memory.load
    goal, low, high = load(GOAL_POSITION), load(MIN_POSITION_LIMIT), load(MAX_POSITION_LIMIT)
    return max(low, min(high, goal)) if low < high else goal


def read_drive(memory: Memory, errors: ErrorBit) -> Drive:
    """The bounds on the motion; 0 in a register stands for no bound of its own."""
    load = memory.load
    strength = _strength(memory, errors)
    speeds = (
        abs(load(GOAL_VELOCITY)),
        load(REGISTERS["Maximum_Velocity_Limit"]) * _SPEED_LIMIT_UNIT,
    )
    accelerations = (
        load(REGISTERS["Acceleration"]) * _ACCELERATION_UNIT,
        load(MAXIMUM_ACCELERATION) * _ACCELERATION_UNIT,
    )
    return Drive(
        speed=min([NO_LOAD_SPEED * strength, *filter(None, speeds)]),
        acceleration=min([MAX_ACCELERATION, *filter(None, accelerations)]),
        lag_s=LAG_TIMES_P / max(load(P_COEFFICIENT), 1),
        strength=strength,
        startup=load(REGISTERS["Minimum_Startup_Force"]) / 1000,
        dead_zone=(
            max(0.0, load(REGISTERS["CCW_Dead_Zone"]) - 1.0),
            max(0.0, load(REGISTERS["CW_Dead_Zone"]) - 1.0),
        ),
    )


def _strength(memory: Memory, errors: ErrorBit) -> float:
    """The largest duty allowed."""
    strength = min(memory.load(TORQUE_LIMIT) / 1000, 1.0)
    unloading = errors & memory.load(REGISTERS["Unloading_Condition"])
    if unloading & ~_WEAKENING:
        return 0.0
    if unloading:
        strength = min(strength, memory.load(REGISTERS["Protective_Torque"]) / 100)
    return strength
