"""An emulated servo's memory: RAM, the EEPROM behind part of it, and what a family asks of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from armlet.motors.emulation.dynamics import Drive
from armlet.motors.emulation.protection import Limits
from armlet.motors.protocol import Register

MEMORY_BYTES = 256


class Table:
    """RAM, and the EEPROM behind part of it. Begins as a servo's fresh from the factory.

    Args:
        registers: of the servo; those of the area "ram" are gone without power.

    Attributes:
        bytes: as a servo works with it.
        wear: address -> how often its EEPROM cell has been programmed by a write.
        writable, lasting: addresses that may be written, and that are EEPROM.
    """

    def __init__(self, registers: Mapping[str, Register]) -> None:
        self.bytes = bytearray(MEMORY_BYTES)
        self.wear: Counter[int] = Counter()
        self.registers = registers
        self.writable = _addresses(r for r in registers.values() if r.access == "rw")
        self.lasting = _addresses(r for r in registers.values() if r.area != "ram")
        for register in registers.values():
            self.store(register, register.default)
        self._persistent = bytes(self.bytes)

    def load(self, register: Register) -> int:
        """A register's value."""
        raw = int.from_bytes(self.bytes[register.address : register.end], "little")
        return register.decode_raw(raw)

    def store(self, register: Register, value: int) -> None:
        """Sets a register until the next power cycle."""
        self.bytes[register.address : register.end] = register.encode(value)

    def burn(self, register: Register, value: int) -> None:
        """Sets a register for good, which does not count as wear."""
        self.store(register, value)
        if register.area != "ram":
            self._persist(range(register.address, register.end))

    def take(self, address: int, data: bytes, unlocked: bool) -> None:
        """A write: what is not writable keeps its value, what is EEPROM lasts if it is unlocked."""
        addresses = range(address, min(address + len(data), MEMORY_BYTES))
        written = [at for at in addresses if at in self.writable]
        for at in written:
            self.bytes[at] = data[at - address]
        if unlocked:
            burnt = [at for at in written if at in self.lasting]
            self._persist(burnt)
            self.wear.update(burnt)

    def power_cycle(self) -> None:
        """EEPROM as persisted, RAM at its defaults."""
        self.bytes[:] = self._persistent
        for register in self.registers.values():
            if register.area == "ram":
                self.store(register, register.default)

    def _persist(self, addresses: Iterable[int]) -> None:
        persistent = bytearray(self._persistent)
        for at in addresses:
            persistent[at] = self.bytes[at]
        self._persistent = bytes(persistent)


def baud_code(codes: Mapping[int, int], baudrate: int) -> int:
    """The register's value for a speed. Raises ValueError naming the speeds there are."""
    for code, speed in codes.items():
        if speed == baudrate:
            return code
    raise ValueError(f"servos speak at {sorted(codes.values())} baud, found {baudrate}")


def _addresses(registers: Iterable[Register]) -> frozenset[int]:
    return frozenset(at for register in registers for at in range(register.address, register.end))


class Settings(NamedTuple):
    """What the memory asks for, worked out once for each write.

    Attributes:
        drive, limits: for the motion and for the protection.
        torque_on: whether the motor is driven.
        follows: whether it follows goals: a position mode.
        goal: clamped to the limits, ticks after the offset.
        offset, direction: what the registers speak is direction x actual ticks - offset.
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
    direction: int = 1
