"""What servos keep without power: the one place that writes it, proves it and puts it back.

Only what differs is written, for EEPROM wears. The lock is open for that moment alone, every value
is read back, and the lock is closed whatever goes wrong. Nobody looks at the torque here: whoever
writes has taken it off.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Protocol

from .protocol import (
    BusError,
    CorruptReply,
    InstructionRefused,
    MotorBus,
    MotorModel,
    NoReply,
)

ATTEMPTS = 8
"""With one packet in seven lost, a step fails once in a million; a dead servo costs 0.2 s."""


class NotStored(BusError):
    """A servo answers, but does not hold what was written.

    Attributes:
        name, value, found: the register, what was written, what it holds.
    """

    def __init__(self, servo: str, name: str, value: int, found: int, refusal: str = "") -> None:
        super().__init__(
            f"{servo}: {name} was set to {value}, it holds {found}; "
            f"{refusal or 'power the servo off and on, then try again'}"
        )
        self.name, self.value, self.found = name, value, found


class NotRestored(BusError):
    """Values could not be put back; the message names them all."""


class ServoRegisters(Protocol):
    """One servo's registers by name. Both methods raise for a servo that never answers.

    Attributes:
        label: how messages name it.
        lock: its lock's name; None if it has none.
    """

    @property
    def label(self) -> str: ...
    @property
    def lock(self) -> str | None: ...

    def read(self, name: str) -> int:
        """The value."""

    def write(self, name: str, value: int) -> None:
        """Writes; whether it was taken is for whoever reads it back."""


class BusRegisters:
    """A servo's registers straight over a bus. `read` raises NoReply; everything PortError."""

    def __init__(self, bus: MotorBus, id: int, model: MotorModel | None = None) -> None:
        self._bus, self._id = bus, id
        self._model = model or bus.usual_model

    @property
    def label(self) -> str:
        return f"servo {self._id}"

    @property
    def lock(self) -> str | None:
        lock = self._model.lock
        return None if lock is None else lock.name

    def read(self, name: str) -> int:
        """The value, whatever error the servo reports with it; asked again where it is lost."""
        for _ in range(ATTEMPTS):
            reply = self._bus.sync_read([self._model.registers[name]], [self._id])
            if self._id in reply.values:
                return reply.values[self._id][0]
        raise NoReply(
            f"{self.label}: no intact reply on {self._bus.port} at {self._bus.baudrate} baud, "
            f"asked {ATTEMPTS} times. Check its power, cable and id"
        )

    def write(self, name: str, value: int) -> None:
        """The acknowledgement is no proof and may be switched off, so it is not insisted on."""
        # A servo that reports overload or low voltage stores the value all the same.
        with contextlib.suppress(NoReply, CorruptReply):
            self._bus.write(self._id, self._model.registers[name], value, check=False)


def put(registers: ServoRegisters, name: str, value: int) -> None:
    """Writes a register until it reads back; one that holds the value is left alone.

    Raises NotStored, and what `registers` raise.
    """
    refusal = ""
    for _ in range(ATTEMPTS):
        found = registers.read(name)
        if found == value:
            return
        try:
            registers.write(name, value)
        except InstructionRefused as error:
            refusal = str(error)
    found = registers.read(name)
    if found != value:
        raise NotStored(registers.label, name, value, found, refusal)


def store(
    registers: ServoRegisters, values: Mapping[str, int], *, keep_lock: bool = False
) -> dict[str, int]:
    """Makes a servo keep values by register name; what was there before, of those that differed.

    keep_lock: leave a lock open that was found open, instead of closing it. Raises as `put`.
    """
    before = differing(registers, values)
    if before:
        _write(registers, {name: values[name] for name in before}, keep_lock)
    return before


def differing(registers: ServoRegisters, values: Mapping[str, int]) -> dict[str, int]:
    """What the servo holds where that is another value."""
    held = {name: registers.read(name) for name in values}
    return {name: value for name, value in held.items() if value != values[name]}


def _write(registers: ServoRegisters, values: Mapping[str, int], keep_lock: bool) -> None:
    lock = registers.lock
    closed = 1 if lock is None or not keep_lock else registers.read(lock)
    try:
        if lock is not None:
            put(registers, lock, 0)
        for name, value in values.items():
            put(registers, name, value)
    finally:
        if lock is not None:
            put(registers, lock, closed)


class Eeprom:
    """Stores values in the servos of a bus, and can take all of it back.

    Args:
        registers: gives a servo's registers by its id.
    """

    def __init__(self, registers: Callable[[int], ServoRegisters]) -> None:
        self._registers = registers
        self._before: dict[tuple[int, str], int] = {}

    @property
    def changes(self) -> int:
        """How many values have been written since they were last restored."""
        return len(self._before)

    def write(self, id: int, values: Mapping[str, int]) -> None:
        """Stores values by register name. Raises as `store`."""
        registers = self._registers(id)
        before = differing(registers, values)
        for name, value in before.items():
            # Noted first: after a failure nobody knows whether the value was taken.
            self._before.setdefault((id, name), value)
        if before:
            _write(registers, {name: values[name] for name in before}, keep_lock=False)

    def restore(self) -> bool:
        """Puts back what was there before the first write; whether there was anything to put back.

        Raises NotRestored, and may be called again then.
        """
        had_changes = bool(self._before)
        for (id, name), value in list(self._before.items()):
            with contextlib.suppress(BusError):  # the others must be tried meanwhile
                store(self._registers(id), {name: value})
                del self._before[id, name]
        if self._before:
            left = ", ".join(f"servo {id}: {name} = {v}" for (id, name), v in self._before.items())
            raise NotRestored(f"EEPROM values could not be put back: {left}")
        return had_changes
