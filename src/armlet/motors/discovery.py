"""Which servos of any family answer on a serial device, and what they hold. Only pings, reads."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from armlet.motors.devices import users
from armlet.motors.protocol import (
    Alarm,
    CorruptReply,
    Counters,
    MotorBus,
    MotorFamily,
    MotorModel,
    NoReply,
    PortError,
    Quantity,
    Register,
)

LAST_ID = 252
"""The highest id a servo may have, of every family."""

_USUAL_IDS = range(1, 7)
_EXPECTED_TIMEOUT_S = 0.03
"""For servos that answered a call, or were asked for by id."""

_GUESSED_TIMEOUT_S = 0.01
"""Return delay is at most 0.5 ms; the rest is for USB adapters and a busy machine."""

_CALL_TIMEOUT_S = 0.8
"""Servos answer a broadcast one after the other by id; in slots of 3 ms, id 252 comes at 0.76 s."""

_LOOKS = 4
_ATTEMPTS = 4
_ROUNDS = 3
"""So often all ids are asked while answers were garbled and no id is found to be shared."""


@dataclass(frozen=True, slots=True)
class FoundServo:
    """A servo that answers.

    Attributes:
        id: its id.
        baudrate: the speed it answers at.
        family: whose protocol it speaks.
        model: its model number; None if its answers are unreadable.
        firmware: "3.10"; None if its answers are unreadable.
        shared: answers to this id come twice or garbled: two servos have it, or a plug is loose.
    """

    id: int
    baudrate: int
    family: MotorFamily = field(repr=False)
    model: int | None
    firmware: str | None
    shared: bool = False

    @property
    def model_name(self) -> str:
        """ "STS3215", "model 42", or "?" if unreadable."""
        return "?" if self.model is None else self.family.label_of(self.model)

    @property
    def known(self) -> MotorModel | None:
        """Its model; None if its answers are unreadable, or armlet does not drive such servos."""
        return None if self.model is None else self.family.model_of(self.model)


@dataclass(frozen=True, slots=True)
class Probe:
    """What asking a serial device brought.

    Attributes:
        path: the device.
        servos: those that answer, by speed and id.
        in_use: another program has the device; it was left alone.
        problem: why it could not be asked, or not wholly; empty if nothing was in the way.
    """

    path: str
    servos: tuple[FoundServo, ...] = ()
    in_use: bool = False
    problem: str = ""


def probe(
    path: str,
    family: MotorFamily,
    ids: Sequence[int] | None = None,
    baudrates: Sequence[int] | None = None,
    *,
    timeout_s: float = _CALL_TIMEOUT_S,
    watch: Callable[[int], None] | None = None,
) -> Probe:
    """Asks a serial device which servos of a family answer. Reads only; opens it exclusively.

    Args:
        path: the device.
        family: whose protocol to speak.
        ids: whom to ask, one by one. None calls everybody at once by a broadcast ping, and the
            ids 1 to 6 one by one; if the answers collide, every id one by one.
        baudrates: the speeds to ask at; None: that of an arm.
        timeout_s: how long to wait for answers to the broadcast.
        watch: called with each speed before it is tried.
    """
    others = users(path)
    if others:
        return Probe(path, in_use=True, problem=f"in use by {', '.join(map(str, others))}")
    found: list[FoundServo] = []
    problems: list[str] = []
    for baudrate in baudrates or (family.baudrate,):
        if watch is not None:
            watch(baudrate)
        try:
            found += _ask_all(path, family, ids, baudrate, timeout_s)
        except PortError as error:
            if _is_locked(error):
                return Probe(path, tuple(found), True, "in use by another program")
            problems.append(str(error))
            if not os.access(path, os.R_OK | os.W_OK):
                break
    return Probe(path, tuple(found), problem="; ".join(problems))


def probe_each(
    path: str,
    families: Iterable[MotorFamily],
    ids: Sequence[int] | None = None,
    baudrates: Callable[[MotorFamily], Sequence[int]] = lambda family: (family.baudrate,),
    *,
    timeout_s: float = _CALL_TIMEOUT_S,
    watch: Callable[[int], None] | None = None,
) -> Probe:
    """Asks as `probe` in one protocol after the other, until servos answer.

    Servos of two families cannot share a line, so those that answer are all there are. Each family
    is asked at those of the baudrates that it has.
    """
    answer = Probe(path)
    for family in families:
        speeds = baudrates(family)
        if not speeds:
            continue
        answer = probe(path, family, ids, speeds, timeout_s=timeout_s, watch=watch)
        if answer.servos or answer.problem:
            break
    return answer


def family_at(
    path: str, families: Iterable[MotorFamily], baudrate: int, ids: Sequence[int]
) -> MotorFamily | None:
    """The first family in whose protocol one of the servos answers; None: none does.

    Raises PortError.
    """
    for family in families:
        if baudrate in family.baudrates:
            with family.make_bus(path, baudrate, _EXPECTED_TIMEOUT_S) as bus:
                if any(_answers(bus, id, _ATTEMPTS) for id in ids):
                    return family
    return None


def _is_locked(error: PortError) -> bool:
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.EAGAIN, errno.EBUSY)


def _ask_all(
    path: str, family: MotorFamily, ids: Sequence[int] | None, baudrate: int, timeout_s: float
) -> list[FoundServo]:
    """Raises PortError."""
    guessed: Sequence[int] = ()
    rounds = 1
    if ids is None:
        with family.make_bus(path, baudrate) as bus:
            answers = bus.call(timeout_s)
        ids, guessed = answers.ids, _USUAL_IDS
        if answers.garbled:  # by servos that share an id, which is therefore not among these
            guessed, rounds = range(LAST_ID + 1), _ROUNDS
    known = family.make_bus(path, baudrate, _EXPECTED_TIMEOUT_S)
    found = _identify_each(known, family, ids, _ATTEMPTS)
    unsure = family.make_bus(path, baudrate, _GUESSED_TIMEOUT_S)
    for _ in range(rounds):
        rest = [id for id in guessed if id not in ids and id not in found]
        found |= _identify_each(unsure, family, rest, 1)
        if any(servo.shared for servo in found.values()):
            break
    return [found[id] for id in sorted(found)]


def _identify_each(
    bus: MotorBus, family: MotorFamily, ids: Sequence[int], pings: int
) -> dict[int, FoundServo]:
    with bus:
        each = [_identify(bus, family, id) for id in ids if _answers(bus, id, pings)]
    return {servo.id: servo for servo in each if servo is not None}


def _answers(bus: MotorBus, id: int, pings: int) -> bool:
    """Whether anything answers one of so many pings, if only garbled. Raises PortError."""
    before = bus.counters
    for _ in range(pings):
        try:
            bus.ping(id)
        except NoReply:
            # On a line in doubt the bus calls garbled answers no reply, too.
            if _damaged(before, bus.counters):
                return True
        except CorruptReply:
            return True
        else:
            return True
    return False


def _identify(bus: MotorBus, family: MotorFamily, id: int) -> FoundServo | None:
    """The servo with that id, which has answered; None if it no longer does. Raises PortError.

    Two servos with one id answer together: what comes is garbled, or the same answer twice. One
    ping need not show it, since their answers to it may be equal and overlap to the bit.
    """
    usual = bus.usual_model
    identity, feedback = usual.version, _feedback(usual)
    model = firmware = None
    damaged = doubled = 0
    for _ in range(_LOOKS):
        before = bus.counters
        known = bus.sync_read(identity, [id]).values.get(id)
        if known is not None:
            values = {each.name: value for each, value in zip(identity, known, strict=True)}
            firmware, model = usual.firmware_of(values), values[usual.model_number.name]
        bus.sync_read(feedback, [id])
        after = bus.counters
        damaged += _damaged(before, after)
        doubled += after.stale_replies > before.stale_replies
    if model is None and not damaged:
        return None
    shared = model is None or damaged > _LOOKS // 2 or doubled > _LOOKS // 2
    return FoundServo(id, bus.baudrate, family, model, firmware, shared)


def _feedback(model: MotorModel) -> list[Register]:
    """Readings that differ from servo to servo, in order of address."""
    wanted = (Quantity.POSITION, Quantity.LOAD, Quantity.CURRENT)
    there = [model.measures[each].register for each in wanted if each in model.measures]
    return sorted(there, key=lambda register: register.address)


def _damaged(before: Counters, after: Counters) -> bool:
    """Whether bytes came in between that formed no packet."""
    return (before.checksum_errors, before.dropped_bytes) != (
        after.checksum_errors,
        after.dropped_bytes,
    )


@dataclass(frozen=True, slots=True)
class Memory:
    """What a servo holds: its model, register name -> value, and the alarms it reports."""

    model: MotorModel
    values: dict[str, int]
    errors: Alarm

    def quantity(self, quantity: Quantity) -> float:
        """A reading in its unit. Raises KeyError if it was not read."""
        measure = self.model.measures[quantity]
        return measure.value(self.values[measure.register.name])


def read_memory(
    bus: MotorBus, model: MotorModel, id: int, registers: Iterable[Register] | None = None
) -> Memory:
    """Registers of one servo, or all, whatever it reports; a lost reply is asked for again.

    Raises:
        NoReply: it stays silent.
        PortError: the port is lost.
    """
    values: dict[str, int] = {}
    errors = Alarm.NONE
    chosen = model.registers.values() if registers is None else registers
    ordered = sorted(chosen, key=lambda register: register.address)
    for _, group in groupby(ordered, key=lambda register: register.area):
        wanted = tuple(group)
        for _ in range(_ATTEMPTS):
            reply = bus.sync_read(wanted, [id])
            if id in reply.values:
                break
        else:
            raise NoReply(
                f"servo {id}: no intact reply on {bus.port} at {bus.baudrate} baud, asked "
                f"{_ATTEMPTS} times. Check its power, cable and id: armlet scan --port {bus.port}"
            )
        values |= {r.name: value for r, value in zip(wanted, reply.values[id], strict=True)}
        errors |= reply.errors.get(id, Alarm.NONE)
    for quantity in (Quantity.STATUS, Quantity.WATCHDOG):
        measure = model.measures.get(quantity)
        if measure is not None and measure.register.name in values:
            errors |= model.alarms(quantity, values[measure.register.name])
    return Memory(model, values, errors)


def model_at(bus: MotorBus, family: MotorFamily, id: int) -> MotorModel:
    """What a servo is, by its model number; the family's usual model if armlet knows no such one.

    Raises:
        NoReply: it stays silent.
        PortError: the port is lost.
    """
    usual = bus.usual_model
    number = read_memory(bus, usual, id, [usual.model_number]).values[usual.model_number.name]
    return family.model_of(number) or usual
