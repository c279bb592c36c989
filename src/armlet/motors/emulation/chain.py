"""What a chain of emulated servos does with an instruction, and what it answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from typing import NamedTuple

from armlet.motors.emulation.faults import Faults
from armlet.motors.emulation.servo import EmulatedServo
from armlet.motors.feetech.packets import BROADCAST_ID, ErrorBit, Instruction, Packet, encode

_WRITES_KEPT = 10_000
_BITS_PER_BYTE = 10


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

    Attributes:
        servos: those on the line; may be exchanged at any time.
        writes: what was written to servos, oldest first, the last 10000.
    """

    def __init__(
        self, servos: Iterable[EmulatedServo], faults: Faults, clock: Callable[[], float]
    ) -> None:
        self.servos = tuple(servos)
        self.writes: deque[Write] = deque(maxlen=_WRITES_KEPT)
        self._faults = faults
        self._clock = clock

    def answer(self, request: Packet, baudrate: int) -> Iterator[Reply]:
        """Carries out one instruction sent at that speed, bits/s."""
        faults = self._faults
        hearing: dict[int, list[EmulatedServo]] = {}
        for servo in self.servos:
            id = servo.id
            if id in faults.dead or servo.baudrate != baudrate or faults.misses():
                continue
            servo.forced_errors = faults.errors.get(id, ErrorBit.NONE)
            hearing.setdefault(id, []).append(servo)
        if request.code == Instruction.SYNC_READ:
            yield from self._sync_read(hearing, request.params)
        elif request.code == Instruction.SYNC_WRITE:
            self._sync_write(hearing, request.params)
        elif request.id == BROADCAST_ID:
            for id in sorted(hearing):
                replies = [self._carry_out(servo, request) for servo in hearing[id]]
                if request.code == Instruction.PING:
                    yield from self._merge(replies)
        else:
            twins = hearing.get(request.id, [])
            yield from self._merge([self._carry_out(servo, request) for servo in twins])

    def _carry_out(self, servo: EmulatedServo, request: Packet) -> Reply | None:
        """One servo's part; its reply carries the id it had when asked."""
        id, params = servo.id, request.params
        acknowledges, pause_s = servo.answers_writes, servo.return_delay_s
        match request.code, len(params):
            case Instruction.PING, 0:
                return servo.return_delay_s, encode(Packet(id, servo.errors))
            case Instruction.READ, 2:
                return _status(servo, id, servo.read(params[0], params[1]))
            case Instruction.WRITE, count if count > 1:
                self._write(servo, params[0], params[1:])
            case Instruction.REG_WRITE, count if count > 1:
                servo.stage(params[0], params[1:])
            case Instruction.ACTION, 0:
                staged = servo.act()
                if staged is not None:
                    self.writes.append(Write(self._clock(), id, *staged))
            case _:
                return None
        return (pause_s, _status(servo, id, b"")[1]) if acknowledges else None

    def _sync_read(self, hearing: dict[int, list[EmulatedServo]], params: bytes) -> Iterator[Reply]:
        if len(params) < 3:
            return
        address, count, *ids = params
        for id in ids:
            twins = hearing.get(id, [])
            yield from self._merge(
                [_status(servo, id, servo.read(address, count)) for servo in twins]
            )

    def _sync_write(self, hearing: dict[int, list[EmulatedServo]], params: bytes) -> None:
        address, count = params[:2] if len(params) > 2 else (0, 0)
        blocks = range(2, len(params) - count, count + 1) if count else range(0)
        for at in blocks:
            for servo in hearing.get(params[at], []):
                self._write(servo, address, params[at + 1 : at + 1 + count])

    def _write(self, servo: EmulatedServo, address: int, data: bytes) -> None:
        self.writes.append(Write(self._clock(), servo.id, address, data))
        servo.write(address, data)

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


def _status(servo: EmulatedServo, id: int, params: bytes) -> Reply:
    """The answer to what has just been asked of it."""
    return servo.return_delay_s, encode(Packet(id, servo.errors_at_access, params))
