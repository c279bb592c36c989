"""A chain of Feetech STS/SMS servos on one serial line, seen from the host."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from types import TracebackType
from typing import Self

from armlet.feetech.errors import CorruptReply, NoReply, PortError, ServoError
from armlet.feetech.line import Answer, Counters, Line, Request
from armlet.feetech.packets import (
    BROADCAST_ID,
    MAX_ID,
    MAX_LENGTH,
    ErrorBit,
    Instruction,
    Packet,
)
from armlet.feetech.port import SerialPort
from armlet.feetech.registers import MODEL_NUMBER, Register


@dataclass(frozen=True, slots=True)
class SyncReply:
    """What one sync_read brought in.

    Attributes:
        values: servo id -> one value per register, in the order asked. Only servos that answered.
        missing: ids that did not answer, intact and in time, in the order asked.
        errors: servo id -> error bits, only for servos that answered with any set.
        stamp_ns: Unix time midway between the request written and the last reply received, in ns.
    """

    values: dict[int, tuple[int, ...]]
    missing: tuple[int, ...]
    errors: dict[int, ErrorBit]
    stamp_ns: int


class Bus:
    """The servo bus: one transaction at a time, safe to use from several threads.

    A value is never invented and never taken from an old reply: input is flushed before each
    request, a reply counts only if its id, length and turn fit, and after a timeout nothing is
    believed before the line has proved to be clear (see `Line`). A servo that does not answer
    costs `timeout_s`.

    Args:
        port: serial device.
        baudrate: bits per second.
        timeout_s: patience for replies (return delay and adapter latency) beyond their wire time.

    All three are attributes too; changing them takes effect when the port is opened next.
    """

    def __init__(self, port: str, baudrate: int = 1_000_000, timeout_s: float = 0.02) -> None:
        self.port = port
        self.baudrate = baudrate
        self.timeout_s = timeout_s
        self._line: Line | None = None
        self._lock = threading.RLock()
        self._counters = Counters()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def open(self) -> None:
        """Opens the port; does nothing if it is open. Raises PortError."""
        with self._lock:
            if self._line is None:
                device = SerialPort(self.port, self.baudrate)
                self._line = Line(device, self.baudrate, self.timeout_s, self._counters)

    def close(self) -> None:
        """Closes the port; does nothing if it is closed. Servos keep doing what they do."""
        with self._lock:
            line, self._line = self._line, None
            if line is not None:
                line.close()

    @property
    def is_open(self) -> bool:
        """Whether the port is open. A PortError closes it; `open` may then be tried again."""
        return self._line is not None

    @property
    def counters(self) -> Counters:
        """A copy of the counters as they stand; they run on when the port is opened again."""
        with self._lock:
            return replace(self._counters)

    def ping(self, id: int) -> int:
        """The servo's model number, whatever error bits it reports.

        Raises:
            NoReply: nothing answered in time.
            CorruptReply: something answered, but not intact.
            PortError: the port is lost.
        """
        _check_ids((id,))
        with self._lock:
            self._ask(Request(Packet(id, Instruction.PING), (id,), 0))
            return MODEL_NUMBER.decode(self._ask(_read_request(id, MODEL_NUMBER)).params)

    def scan(self, ids: Iterable[int]) -> dict[int, int]:
        """Pings each id: id -> model number of those that answer.

        Raises:
            CorruptReply: something answers, but not intact; two servos may share that id.
            PortError: the port is lost.
        """
        found: dict[int, int] = {}
        for id in ids:
            try:
                found[id] = self.ping(id)
            except NoReply:
                continue
        return found

    def read(self, id: int, register: Register) -> int:
        """The register's value.

        Raises:
            ServoError: the servo answered with error bits; sync_read gives the value as well.
            NoReply: nothing answered in time.
            CorruptReply: something answered, but not intact.
            PortError: the port is lost.
        """
        _check_ids((id,))
        request = _read_request(id, register)
        packet = self._ask(request)
        _check_error_byte(packet, request)
        return register.decode(packet.params)

    def write(self, id: int, register: Register, value: int, *, check: bool = True) -> ErrorBit:
        """Writes the register and waits for the servo's acknowledgement.

        Returning and raising ServoError both mean that the servo got the value. After NoReply and
        CorruptReply that is unknown, but the instruction has been sent.

        Args:
            id: the servo.
            register: where to.
            value: what.
            check: False returns the servo's error bits instead of raising them.

        Returns:
            The servo's error bits.

        Raises:
            ServoError: the servo acknowledged with error bits set, and `check` is true.
            NoReply: nothing answered in time.
            CorruptReply: something answered, but not intact.
            PortError: the port is lost.
            ValueError: value out of range, or the register is read only.
        """
        _check_ids((id,))
        _check_writable(register)
        params = bytes((register.address,)) + register.encode(value)
        packet = Packet(id, Instruction.WRITE, params)
        request = Request(packet, (id,), 0, f"{register.name} = {value}", must_send=True)
        reply = self._ask(request)
        if check:
            _check_error_byte(reply, request)
        return ErrorBit(reply.code)

    def sync_read(self, registers: Sequence[Register], ids: Sequence[int]) -> SyncReply:
        """Reads the same registers of several servos with one instruction.

        Servos that do not answer are reported as missing, not raised.

        Args:
            registers: ascending by address, not overlapping; what lies between is read and ignored.
            ids: servos to ask, which is also the order of their answers.

        Raises:
            PortError: the port is lost.
            ValueError: registers or ids that cannot be asked for together.
        """
        _check_ids(ids)
        start, count = _span(registers)
        params = bytes((start, count, *ids))
        packet = Packet(BROADCAST_ID, Instruction.SYNC_READ, params)
        answer = self._transact(Request(packet, tuple(ids), count))
        cuts = [
            (register, register.address - start, register.end - start) for register in registers
        ]
        values = {
            id: tuple([register.decode(packet.params[a:b]) for register, a, b in cuts])
            for id, packet in answer.packets.items()
        }
        errors = {id: ErrorBit(packet.code) for id, packet in answer.packets.items() if packet.code}
        missing = tuple([id for id in ids if id not in values])
        return SyncReply(
            values, missing, errors, _unix_ns((answer.written_ns + answer.last_ns) // 2)
        )

    def sync_write(self, register: Register, values: Mapping[int, int]) -> None:
        """Writes one register of several servos, to each its own value, with one instruction.

        The protocol has no acknowledgement for this: returning means that it was sent.

        Raises:
            PortError: the port is lost.
            ValueError: value out of range, or the register is read only.
        """
        _check_ids(tuple(values))
        _check_writable(register)
        params = bytearray((register.address, register.width))
        for id, value in values.items():
            params.append(id)
            params += register.encode(value)
        packet = Packet(BROADCAST_ID, Instruction.SYNC_WRITE, bytes(params))
        self._transact(Request(packet, (), 0))

    def _ask(self, request: Request) -> Packet:
        """The reply of the one servo that is asked. Raises NoReply, CorruptReply, PortError."""
        (id,) = request.ids
        answer = self._transact(request)
        if id in answer.packets:
            return answer.packets[id]
        if answer.damaged:
            raise CorruptReply(
                f"servo {id}: no intact reply to {request} on {self.port}. Line noise, a loose "
                f"plug, or two servos with id {id}"
            )
        raise NoReply(
            f"servo {id}: no reply to {request} within {self.timeout_s * 1000:g} ms on "
            f"{self.port}. Check its power, cable and id, and that it is set to "
            f"{self.baudrate} baud"
        )

    def _transact(self, request: Request) -> Answer:
        with self._lock:
            if self._line is None:
                raise PortError(f"{self.port} is not open: never opened, closed, or lost")
            try:
                return self._line.transact(request)
            except PortError:
                self.close()
                raise


def _read_request(id: int, register: Register) -> Request:
    packet = Packet(id, Instruction.READ, bytes((register.address, register.width)))
    return Request(packet, (id,), register.width, register.name)


def _unix_ns(monotonic_ns: int) -> int:
    return time.time_ns() - (time.monotonic_ns() - monotonic_ns)


def _check_error_byte(packet: Packet, request: Request) -> None:
    if packet.code:
        raise ServoError(packet.id, ErrorBit(packet.code), str(request))


def _check_ids(ids: Sequence[int]) -> None:
    if not ids or len(set(ids)) != len(ids) or min(ids) < 0 or max(ids) > MAX_ID:
        raise ValueError(f"servo ids must be different numbers 0..{MAX_ID}, found {list(ids)}")


def _check_writable(register: Register) -> None:
    if register.access != "rw":
        raise ValueError(f"{register.name} is read only")


def _span(registers: Sequence[Register]) -> tuple[int, int]:
    """Address and number of bytes that cover the registers."""
    if not registers:
        raise ValueError("sync_read needs at least one register")
    for before, after in pairwise(registers):
        if after.address < before.end:
            raise ValueError(
                f"registers must ascend and not overlap, found {after.name} at {after.address} "
                f"after {before.name} at {before.address}..{before.end - 1}"
            )
    start, count = registers[0].address, registers[-1].end - registers[0].address
    if count > MAX_LENGTH - 2:
        raise ValueError(f"one reply carries {MAX_LENGTH - 2} bytes, these registers span {count}")
    return start, count
