"""Which Feetech servos answer on a serial device, and what they hold. Only pings and reads."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from types import MappingProxyType

from armlet.motors.devices import users
from armlet.motors.feetech.bus import Bus
from armlet.motors.feetech.packets import (
    BROADCAST_ID,
    MAX_ID,
    ErrorBit,
    Instruction,
    Packet,
    Parser,
    encode,
)
from armlet.motors.feetech.registers import BAUD_CODES, REGISTERS, Register
from armlet.motors.protocol import CorruptReply, Counters, NoReply, PortError
from armlet.motors.wire.port import SerialPort

MODEL_NAMES: Mapping[int, str] = MappingProxyType(
    {777: "STS3215", 2825: "STS3250", 11272: "SM8512BL", 1284: "SCS0009"}
)
"""Model_Number -> name, of the servos LeRobot knows."""

BAUDRATES = tuple(BAUD_CODES.values())
"""Every speed a servo can be set to, the factory's first."""

FACTORY_BAUDRATE = BAUDRATES[0]

_USUAL_IDS = range(1, 7)
_EXPECTED_TIMEOUT_S = 0.03
"""For servos that answered a call, or were asked for by id."""

_GUESSED_TIMEOUT_S = 0.01
"""Return delay is at most 0.5 ms; the rest is for USB adapters and a busy machine."""

_CALL_PATIENCE_S = 0.8
"""Servos answer a broadcast one after the other by id; in slots of 3 ms, id 252 comes at 0.76 s."""

_LOOKS = 4
_ATTEMPTS = 4
_WRITE_TIMEOUT_S = 0.2

_IDENTITY = tuple(
    REGISTERS[name] for name in ("Firmware_Major_Version", "Firmware_Minor_Version", "Model_Number")
)
_FEEDBACK = tuple(
    REGISTERS[name] for name in ("Present_Position", "Present_Load", "Present_Current")
)


@dataclass(frozen=True, slots=True)
class FoundServo:
    """A servo that answers.

    Attributes:
        id: its id.
        baudrate: the speed it answers at.
        model: its model number; None if its answers are unreadable.
        firmware: "3.10"; None if its answers are unreadable.
        shared: answers to this id come twice or garbled: two servos have it, or a plug is loose.
    """

    id: int
    baudrate: int
    model: int | None
    firmware: str | None
    shared: bool = False

    @property
    def model_name(self) -> str:
        """ "STS3215", "model 42", or "?" if unreadable."""
        if self.model is None:
            return "?"
        return MODEL_NAMES.get(self.model, f"model {self.model}")


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
    ids: Sequence[int] | None = None,
    baudrates: Sequence[int] = (FACTORY_BAUDRATE,),
    *,
    patience_s: float = _CALL_PATIENCE_S,
    watch: Callable[[int], None] | None = None,
) -> Probe:
    """Asks a serial device which servos answer. Reads only; the port is opened exclusively.

    Args:
        path: the device.
        ids: whom to ask, one by one. None calls everybody at once by a broadcast ping, and the
            ids 1 to 6 one by one; if the answers collide, every id one by one.
        baudrates: the speeds to ask at.
        patience_s: how long to wait for answers to the broadcast.
        watch: told each speed before it is tried.
    """
    others = users(path)
    if others:
        return Probe(path, in_use=True, problem=f"in use by {', '.join(map(str, others))}")
    found: list[FoundServo] = []
    problems: list[str] = []
    for baudrate in baudrates:
        if watch is not None:
            watch(baudrate)
        try:
            found += _ask_all(path, ids, baudrate, patience_s)
        except PortError as error:
            if _is_locked(error):
                return Probe(path, tuple(found), True, "in use by another program")
            problems.append(str(error))
            if not os.access(path, os.R_OK | os.W_OK):
                break
    return Probe(path, tuple(found), problem="; ".join(problems))


def _is_locked(error: PortError) -> bool:
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.EAGAIN, errno.EBUSY)


def _ask_all(
    path: str, ids: Sequence[int] | None, baudrate: int, patience_s: float
) -> list[FoundServo]:
    """Raises PortError."""
    guessed: Sequence[int] = ()
    if ids is None:
        ids, garbled = _call(path, baudrate, patience_s)
        guessed = range(MAX_ID + 1) if garbled else _USUAL_IDS
    found = _identify_each(Bus(path, baudrate, _EXPECTED_TIMEOUT_S), ids, _ATTEMPTS)
    rest = [id for id in guessed if id not in ids]
    found |= _identify_each(Bus(path, baudrate, _GUESSED_TIMEOUT_S), rest, 1)
    return [found[id] for id in sorted(found)]


def _identify_each(bus: Bus, ids: Sequence[int], pings: int) -> dict[int, FoundServo]:
    with bus:
        each = [_identify(bus, id) for id in ids if _answers(bus, id, pings)]
    return {servo.id: servo for servo in each if servo is not None}


def _call(path: str, baudrate: int, patience_s: float) -> tuple[list[int], bool]:
    """Ids that answer a broadcast ping, and whether bytes came that were none."""
    port = SerialPort(path, baudrate)
    parser = Parser(max_length=2)
    packets: list[Packet] = []
    try:
        port.drain()
        port.write(encode(Packet(BROADCAST_ID, Instruction.PING)), _WRITE_TIMEOUT_S)
        deadline = time.monotonic() + patience_s
        while data := port.read(deadline):
            packets += parser.feed(data)
        packets += parser.flush()
    finally:
        port.close()
    garbled = parser.checksum_errors + parser.dropped_bytes > 0
    return sorted({packet.id for packet in packets if packet.id <= MAX_ID}), garbled


def _answers(bus: Bus, id: int, pings: int) -> bool:
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


def _identify(bus: Bus, id: int) -> FoundServo | None:
    """The servo with that id, which has answered; None if it no longer does. Raises PortError.

    Two servos with one id answer together: what comes is garbled, or the same answer twice. One
    ping need not show it, since their answers to it may be equal and overlap to the bit.
    """
    model = firmware = None
    damaged = doubled = 0
    for _ in range(_LOOKS):
        before = bus.counters
        known = bus.sync_read(_IDENTITY, [id]).values.get(id)
        if known is not None:
            firmware, model = f"{known[0]}.{known[1]}", known[2]
        bus.sync_read(_FEEDBACK, [id])
        after = bus.counters
        damaged += _damaged(before, after)
        doubled += after.stale_replies > before.stale_replies
    if model is None and not damaged:
        return None
    shared = model is None or damaged > _LOOKS // 2 or doubled > _LOOKS // 2
    return FoundServo(id, bus.baudrate, model, firmware, shared)


def _damaged(before: Counters, after: Counters) -> bool:
    """Whether bytes came in between that formed no packet."""
    return (before.checksum_errors, before.dropped_bytes) != (
        after.checksum_errors,
        after.dropped_bytes,
    )


@dataclass(frozen=True, slots=True)
class Memory:
    """What a servo holds: register name -> value, and the error bits it reports."""

    values: dict[str, int]
    errors: ErrorBit


def read_memory(
    bus: Bus, id: int, registers: Iterable[Register] = tuple(REGISTERS.values())
) -> Memory:
    """Registers of one servo, whatever error it reports; a lost reply is asked for again.

    Raises:
        NoReply: it stays silent.
        PortError: the port is lost.
    """
    values: dict[str, int] = {}
    errors = ErrorBit.NONE
    ordered = sorted(registers, key=lambda register: register.address)
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
        errors |= reply.errors.get(id, ErrorBit.NONE)
    return Memory(values, errors)
