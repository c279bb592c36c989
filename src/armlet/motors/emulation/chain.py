"""What a chain of emulated servos does with an instruction, and what it answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from functools import reduce
from typing import NamedTuple

from armlet.motors.emulation.body import ServoBody
from armlet.motors.emulation.faults import Faults
from armlet.motors.protocol import Alarm
from armlet.motors.wire.framing import BROADCAST_ID, Packet

_WRITES_KEPT = 10_000
_BITS_PER_BYTE = 10


class _Code(IntEnum):
    """Instructions of Feetech's protocol, which has no reboot, and of Dynamixel's alike."""

    PING = 0x01
    READ = 0x02
    WRITE = 0x03
    REG_WRITE = 0x04
    ACTION = 0x05
    REBOOT = 0x08
    SYNC_READ = 0x82
    SYNC_WRITE = 0x83


class Write(NamedTuple):
    """A write a servo carried out: clock seconds, its id at that time, address, data."""

    time: float
    id: int
    address: int
    data: bytes


Reply = tuple[float, bytes]
"""Pause before it in s, status packet."""


class Chain:
    """Servos on one line. Those that share an id act together, and their answers collide.

    Args:
        servos: in the order of the cable.
        faults: which of them hear, and what they report.
        clock: seconds, monotonic, for the times of writes.
        word: bytes of an address or a count in an instruction: 1 or 2.
        waits_for_turn: whether servos asked together wait for the reply of the one before.

    Attributes:
        servos: those on the line; may be exchanged at any time.
        writes: what was written to servos, oldest first, the last 10000.
    """

    def __init__(
        self,
        servos: Iterable[ServoBody],
        faults: Faults,
        clock: Callable[[], float],
        word: int = 1,
        waits_for_turn: bool = False,
    ) -> None:
        self.servos = tuple(servos)
        self.writes: deque[Write] = deque(maxlen=_WRITES_KEPT)
        self._faults = faults
        self._clock = clock
        self._word = word
        self._waits_for_turn = waits_for_turn

    def answer(self, request: Packet, baudrate: int) -> Iterator[Reply]:
        """Carries out one instruction sent at that speed, bits/s."""
        faults = self._faults
        hearing: dict[int, list[ServoBody]] = {}
        for servo in self.servos:
            id = servo.id
            if id in faults.dead or servo.starting or servo.baudrate != baudrate:
                continue
            if faults.misses():
                continue
            servo.forced_errors = faults.errors.get(id, Alarm.NONE)
            servo.hear()
            hearing.setdefault(id, []).append(servo)
        if request.code == _Code.SYNC_READ:
            yield from self._sync_read(hearing, request.params)
        elif request.code == _Code.SYNC_WRITE:
            self._sync_write(hearing, request.params)
        elif request.id == BROADCAST_ID:
            for id in sorted(hearing):
                replies = [self._carry_out(servo, request) for servo in hearing[id]]
                if request.code == _Code.PING:
                    yield from self._merge(replies)
        else:
            twins = hearing.get(request.id, [])
            yield from self._merge([self._carry_out(servo, request) for servo in twins])

    def _carry_out(self, servo: ServoBody, request: Packet) -> Reply | None:
        """One servo's part; its reply carries the id it had when asked."""
        id, params, word = servo.id, request.params, self._word
        acknowledges, pause_s, refusal = servo.answers_writes, servo.return_delay_s, 0
        match request.code, len(params):
            case _Code.PING, 0:
                return servo.return_delay_s, servo.answer_ping(id)
            case _Code.READ, count if count == 2 * word:
                if not servo.answers_reads:
                    return None
                return self._status(servo, id, self._number(params), self._number(params[word:]))
            case _Code.WRITE, count if count > word:
                refusal = self._write(servo, self._number(params), params[word:])
            case _Code.REG_WRITE, count if count > word:
                servo.stage(self._number(params), params[word:])
            case _Code.ACTION, 0:
                staged = servo.act()
                if staged is not None:
                    self.writes.append(Write(self._clock(), id, *staged))
            case _Code.REBOOT, 0:
                reply = servo.reply(id)
                servo.reboot()
                return (pause_s, reply) if acknowledges else None
            case _:
                return None
        return (pause_s, servo.reply(id, refusal=refusal)) if acknowledges else None

    def _number(self, params: bytes) -> int:
        return int.from_bytes(params[: self._word], "little")

    def _sync_read(self, hearing: dict[int, list[ServoBody]], params: bytes) -> Iterator[Reply]:
        word = self._word
        if len(params) <= 2 * word:
            return
        address, count = self._number(params), self._number(params[word:])
        for id in params[2 * word :]:
            twins = [servo for servo in hearing.get(id, []) if servo.answers_reads]
            if self._waits_for_turn and not twins:
                return
            yield from self._merge([self._status(servo, id, address, count) for servo in twins])

    def _sync_write(self, hearing: dict[int, list[ServoBody]], params: bytes) -> None:
        word = self._word
        if len(params) <= 2 * word:
            return
        address, count = self._number(params), self._number(params[word:])
        blocks = range(2 * word, len(params) - count, count + 1) if count else range(0)
        for at in blocks:
            for servo in hearing.get(params[at], []):
                self._write(servo, address, params[at + 1 : at + 1 + count])

    def _write(self, servo: ServoBody, address: int, data: bytes) -> int:
        self.writes.append(Write(self._clock(), servo.id, address, data))
        return servo.write(address, data)

    def _status(self, servo: ServoBody, id: int, address: int, count: int) -> Reply:
        """The answer to what has just been asked of it."""
        params = servo.read(address, count)
        return servo.return_delay_s, servo.reply(id, params)

    def _merge(self, replies: Iterable[Reply | None]) -> Iterator[Reply]:
        """What a line carries when servos of one id answer at once."""
        given = [reply for reply in replies if reply is not None]
        if given:
            pause_s = min(pause_s for pause_s, _ in given)
            yield pause_s, reduce(self._collide, (packet for _, packet in given))

    def _collide(self, first: bytes, second: bytes) -> bytes:
        return collide(first, second, self._faults.bits_apart())


def collide(first: bytes, second: bytes, bits_apart: int) -> bytes:
    """What a receiver makes of two transmissions on one line, the second so many bits later.

    A line is low while anybody pulls it low, and high when idle. A byte is a low start bit, eight
    bits, lowest first, and a high stop bit; a receiver takes any low for a start bit.
    """
    early, late = _levels(first), [1] * bits_apart + _levels(second)
    length = max(len(early), len(late)) + _BITS_PER_BYTE
    pad = [1] * length
    line = [a & b for a, b in zip((early + pad)[:length], (late + pad)[:length], strict=True)]
    received = bytearray()
    at = 0
    while at + _BITS_PER_BYTE <= length:
        if line[at]:
            at += 1
        else:
            received.append(sum(bit << n for n, bit in enumerate(line[at + 1 : at + 9])))
            at += _BITS_PER_BYTE
    return bytes(received)


def _levels(data: bytes) -> list[int]:
    return [level for byte in data for level in (0, *((byte >> n & 1) for n in range(8)), 1)]
