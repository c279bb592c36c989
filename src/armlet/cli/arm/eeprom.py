"""Writing what a servo keeps without power: torque off, unlocked, read back, locked again."""

from __future__ import annotations

from collections.abc import Mapping

from armlet.cli.terminal.enter_key import uninterrupted
from armlet.motors.feetech import REGISTERS, Bus, CorruptReply, NoReply, Register
from armlet.motors.feetech.discovery import read_memory
from armlet.motors.feetech.registers import BAUD_CODES, BAUD_RATE, ID, LOCK, TORQUE_ENABLE

_ATTEMPTS = 3


class WriteRefused(Exception):
    """A servo does not hold what was written, or is in no state to be written to."""


def put(bus: Bus, id: int, register: Register, value: int) -> None:
    """Writes a register and proves it by reading back; a cell that holds the value is left alone.

    The acknowledgement is no proof and may be switched off, so it is not asked for.

    Raises:
        WriteRefused: the servo holds something else after three attempts.
        BusError: it does not answer.
    """
    for _ in range(_ATTEMPTS):
        if _held(bus, id, register) == value:
            return
        _send(bus, id, register, value)
    found = _held(bus, id, register)
    if found != value:
        raise WriteRefused(
            f"servo {id}: {register.name} was set to {value}, it holds {found}; "
            "power the servo off and on, then try again"
        )


def _held(bus: Bus, id: int, register: Register) -> int:
    return read_memory(bus, id, [register]).values[register.name]


def _send(bus: Bus, id: int, register: Register, value: int) -> None:
    try:
        bus.write(id, register, value, check=False)
    except (NoReply, CorruptReply):
        return  # whoever wrote reads back


def require_torque_off(bus: Bus, id: int) -> None:
    """Raises WriteRefused if the motor holds; letting an arm go is for its owner to decide."""
    if _held(bus, id, TORQUE_ENABLE):
        raise WriteRefused(
            f"servo {id} has torque on; hold the arm, then type: armlet registers set "
            f"Torque_Enable 0 --port {bus.port} --id {id}"
        )


def write_kept(bus: Bus, id: int, values: Mapping[str, int]) -> dict[str, int]:
    """Writes registers that outlive a power cycle, those that differ only.

    Lock is put back as it was found, also on failure and on Ctrl-C.

    Returns:
        What was there before, of the registers written.

    Raises:
        WriteRefused: torque is on, or a register does not hold its value.
        BusError: the servo does not answer.
    """
    before = read_memory(bus, id, [REGISTERS[name] for name in values]).values
    changes = {name: value for name, value in values.items() if before[name] != value}
    if not changes:
        return {}
    require_torque_off(bus, id)
    lock = _held(bus, id, LOCK)
    with uninterrupted():
        try:
            put(bus, id, LOCK, 0)
            for name, value in changes.items():
                put(bus, id, REGISTERS[name], value)
        finally:
            put(bus, id, LOCK, lock)
    return {name: before[name] for name in changes}


def move_servo(bus: Bus, id: int, new_id: int, baudrate: int) -> None:
    """Gives a servo another id and speed; the bus is then at that speed.

    Torque goes off first, Lock is closed at the end. Ctrl-C waits until it is done.

    Raises:
        WriteRefused: the new id is taken, or a register does not hold its value.
        BusError: the servo does not answer, where it was or where it should be.
    """
    if new_id != id:
        _require_free(bus, new_id)
    with uninterrupted():
        put(bus, id, TORQUE_ENABLE, 0)
        put(bus, id, LOCK, 0)
        try:
            id = _rename(bus, id, new_id)
            _change_speed(bus, id, baudrate)
        finally:
            put(bus, id, LOCK, 1)
    if id != new_id or _held(bus, id, BAUD_RATE) != _code(baudrate):
        raise WriteRefused(
            f"servo {id} stays at id {id} and {bus.baudrate} baud, wanted id {new_id} at "
            f"{baudrate} baud; power it off and on, then try again"
        )


def _rename(bus: Bus, id: int, new_id: int) -> int:
    """The id it has afterwards."""
    for _ in range(_ATTEMPTS):
        if id == new_id:
            break
        _send(bus, id, ID, new_id)
        if _answers(bus, new_id):
            id = new_id
    return id


def _change_speed(bus: Bus, id: int, baudrate: int) -> None:
    """Leaves the bus at the speed at which the servo answers."""
    before = bus.baudrate
    for _ in range(_ATTEMPTS):
        if _held(bus, id, BAUD_RATE) == _code(baudrate):
            return
        _send(bus, id, BAUD_RATE, _code(baudrate))
        _reopen(bus, baudrate)
        if not _answers(bus, id):
            _reopen(bus, before)


def _code(baudrate: int) -> int:
    return next(code for code, speed in BAUD_CODES.items() if speed == baudrate)


def _require_free(bus: Bus, id: int) -> None:
    if _answers(bus, id):
        raise WriteRefused(
            f"id {id} is another servo's already, and two servos with one id cannot be "
            "distinguished; disconnect one of them"
        )


def _answers(bus: Bus, id: int) -> bool:
    """Whether anything does, be it garbled."""
    for _ in range(_ATTEMPTS):
        try:
            bus.ping(id)
        except NoReply:
            continue
        except CorruptReply:
            return True
        return True
    return False


def _reopen(bus: Bus, baudrate: int) -> None:
    bus.close()
    bus.baudrate = baudrate
    bus.open()
