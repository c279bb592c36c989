"""Writing what a servo keeps without power, at a person's request: torque off, not interrupted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from armlet.cli.terminal.enter_key import uninterrupted
from armlet.motors import eeprom
from armlet.motors.eeprom import BusRegisters
from armlet.motors.protocol import (
    CorruptReply,
    InstructionRefused,
    MotorBus,
    MotorModel,
    NoReply,
    Register,
)

_ATTEMPTS = 3


class WriteRefused(Exception):
    """A servo is in no state to be written to, or is not where it was to be."""


def put(bus: MotorBus, model: MotorModel, id: int, register: Register, value: int) -> None:
    """Writes a register and proves it by reading back; one that holds the value is left alone.

    Raises NotStored if the servo holds something else, other BusErrors if it does not answer.
    """
    eeprom.put(BusRegisters(bus, id, model), register.name, value)


def _held(bus: MotorBus, model: MotorModel, id: int, register: Register) -> int:
    return BusRegisters(bus, id, model).read(register.name)


def _send(bus: MotorBus, id: int, register: Register, value: int) -> None:
    # Whoever wrote looks what came of it.
    with contextlib.suppress(NoReply, CorruptReply, InstructionRefused):
        bus.write(id, register, value, check=False)


def require_torque_off(bus: MotorBus, model: MotorModel, id: int) -> None:
    """Raises WriteRefused if the motor holds; letting an arm go is for its owner to decide."""
    if _held(bus, model, id, model.torque_enable):
        raise WriteRefused(
            f"servo {id} has torque on; hold the arm, then type: armlet registers set "
            f"{model.torque_enable.name} 0 --port {bus.port} --id {id}"
        )


def write_kept(
    bus: MotorBus, model: MotorModel, id: int, values: Mapping[str, int]
) -> dict[str, int]:
    """Writes registers that outlive a power cycle, those that differ only.

    A lock is put back as it was found, also on failure and on Ctrl-C.

    Returns:
        What was there before, of the registers written.

    Raises:
        WriteRefused: torque is on.
        BusError: a register does not hold its value (NotStored), or the servo does not answer.
    """
    registers = BusRegisters(bus, id, model)
    if not eeprom.differing(registers, values):
        return {}
    require_torque_off(bus, model, id)
    with uninterrupted():
        return eeprom.store(registers, values, keep_lock=True)


class _Place:
    """Where a servo is to be found: its id, which a move changes."""

    def __init__(self, id: int) -> None:
        self.id = id


@contextlib.contextmanager
def _unlocked(bus: MotorBus, model: MotorModel, id: int) -> Iterator[_Place]:
    """Stored registers can be written inside; a lock is closed at the end, where the servo is."""
    place = _Place(id)
    if model.lock is None:
        yield place
        return
    try:
        put(bus, model, id, model.lock, 0)
        yield place
    finally:
        put(bus, model, place.id, model.lock, 1)


def move_servo(bus: MotorBus, model: MotorModel, id: int, new_id: int, baudrate: int) -> None:
    """Gives a servo another id and speed; the bus is then at that speed.

    Torque goes off first, a lock is closed at the end. Ctrl-C waits until it is done.

    Raises:
        WriteRefused: the new id is taken, or the servo is not where it should be.
        BusError: a register does not hold its value (NotStored), or the servo does not answer.
    """
    code = next(code for code, speed in model.baud_codes.items() if speed == baudrate)
    if new_id != id:
        _require_free(bus, new_id)
    with uninterrupted():
        put(bus, model, id, model.torque_enable, 0)
        with _unlocked(bus, model, id) as place:
            place.id = id = _rename(bus, model, id, new_id)
            _change_speed(bus, model, id, code)
    if id != new_id or _held(bus, model, id, model.baud_rate) != code:
        raise WriteRefused(
            f"servo {id} is still at id {id} and {bus.baudrate} baud, wanted id {new_id} at "
            f"{baudrate} baud; power it off and on, then try again"
        )


def _rename(bus: MotorBus, model: MotorModel, id: int, new_id: int) -> int:
    """The id it has afterwards."""
    for _ in range(_ATTEMPTS):
        if id == new_id:
            break
        _send(bus, id, model.servo_id, new_id)
        if _answers(bus, new_id):
            id = new_id
    return id


def _change_speed(bus: MotorBus, model: MotorModel, id: int, code: int) -> None:
    """Leaves the bus at the speed at which the servo answers."""
    before = bus.baudrate
    for _ in range(_ATTEMPTS):
        if _held(bus, model, id, model.baud_rate) == code:
            return
        _send(bus, id, model.baud_rate, code)
        _reopen(bus, model.baud_codes[code])
        if not _answers(bus, id):
            _reopen(bus, before)


def _require_free(bus: MotorBus, id: int) -> None:
    if _answers(bus, id):
        raise WriteRefused(
            f"id {id} is another servo's already, and two servos with one id cannot be "
            "distinguished; disconnect one of them"
        )


def _answers(bus: MotorBus, id: int) -> bool:
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


def _reopen(bus: MotorBus, baudrate: int) -> None:
    bus.close()
    bus.baudrate = baudrate
    bus.open()
