"""What a line has to know of a protocol: packets and their bytes, and what replies look like."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from armlet.motors.protocol import Alarm, Register

MAX_ID = 0xFC
BROADCAST_ID = 0xFE
"""Of every protocol here."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet: servo id, instruction or error byte, parameters."""

    id: int
    code: int
    params: bytes = b""


class Parser(Protocol):
    """Finds packets in a byte stream, however it is cut into pieces and whatever lies between them.

    Attributes:
        checksum_errors: packets complete by their length whose checksum was wrong.
        dropped_bytes: bytes that became part of no packet.
        pending: bytes held back because a packet may be incomplete.
    """

    checksum_errors: int
    dropped_bytes: int

    @property
    def pending(self) -> int: ...

    def feed(self, data: bytes) -> list[Packet]:
        """Takes the next bytes of the stream, returns the packets they complete, oldest first."""

    def flush(self) -> list[Packet]:
        """The line is silent: gives up incomplete packets, returns good ones held back by them."""


class StatusBlock(ABC):
    """What the intact replies of some servos look like, one right behind the other.

    Args:
        ids: the servos, in order.
        heads: the bytes that each reply begins with, up to what may differ.
        step: bytes of each reply.
        code_at: where in a reply the error byte is; parameters follow it.
        tail: bytes behind the parameters.

    Attributes:
        size: their bytes.
    """

    def __init__(
        self, ids: tuple[int, ...], heads: Sequence[bytes], step: int, code_at: int, tail: int
    ) -> None:
        self.size = len(ids) * step
        self._ids = ids
        self._step = step
        self._code_at = code_at
        self._params_end = step - tail
        self._last_head = heads[-1]
        self._cuts = [(head, at * step, at * step + step) for at, head in enumerate(heads)]

    @abstractmethod
    def intact(self, data: bytes) -> bool:
        """Whether the data is exactly these packets, with valid checksums."""

    @abstractmethod
    def _packet(self, id: int, code: int, params: bytes) -> Packet:
        """A packet of the protocol, from its parts."""

    def complete(self, data: bytes) -> bool:
        """Whether there is nothing more to wait for: all bytes, or what may be the last packet."""
        if len(data) >= self.size:
            return True
        last = data.rfind(self._last_head)
        return 0 <= last <= len(data) - self._step

    def error_bytes(self, data: bytes) -> bytes:
        """The error byte of each packet, of intact data."""
        return data[self._code_at :: self._step]

    def packets(self, data: bytes) -> dict[int, Packet]:
        """Servo id -> packet, of intact data."""
        found = {}
        for id, start in zip(self._ids, range(0, self.size, self._step), strict=True):
            params = data[start + self._code_at + 1 : start + self._params_end]
            found[id] = self._packet(id, data[start + self._code_at], params)
        return found


class Encoder(Protocol):
    """Writes of one register to the same servos."""

    def encode(self, values: Mapping[int, int]) -> bytes:
        """The packet that writes each servo its value. Raises ValueError: value out of range."""


class Framing(Protocol):
    """A protocol of request and reply, as far as a line and a bus need it.

    Attributes:
        max_params: parameters of the largest reply.
        overhead: bytes of a reply besides its parameters.
        code_at: where in a reply the error byte is; parameters follow it.
        ping_params: parameters of the reply to a ping.
        probe: the model number, which every servo has, with room behind it to read on.
        waits_for_turn: whether servos asked together wait for the reply of the one before, so that
            a silent one silences those behind it.
    """

    max_params: int
    overhead: int
    code_at: int
    ping_params: int
    probe: Register
    waits_for_turn: bool

    def encode(self, packet: Packet) -> bytes:
        """The packet's bytes on the wire. Raises ValueError: none that a packet can carry."""

    def flat(self, packet: Packet) -> bytes:
        """A reply's bytes as `StatusBlock` has them: parameters as they are, nothing stuffed."""

    def parser(self, max_params: int | None = None) -> Parser:
        """A parser that believes in no more parameters than that; the host's ears."""

    def due(self, ids: tuple[int, ...], params: int) -> StatusBlock:
        """What the intact replies of these servos look like, with so many parameters each."""

    def name(self, code: int) -> str:
        """Of an instruction, for messages."""

    def ping(self, id: int) -> Packet: ...
    def read(self, id: int, address: int, count: int) -> Packet: ...
    def write(self, id: int, register: Register, value: int) -> Packet: ...
    def sync_read(self, ids: Sequence[int], address: int, count: int) -> Packet: ...

    def sync_writer(self, register: Register, ids: tuple[int, ...]) -> Encoder:
        """Raises ValueError: more than a packet holds."""

    def may_be_reply(self, packet: Packet) -> bool:
        """Whether the packet may come from a servo."""

    def is_echo_like(self, packet: Packet) -> bool:
        """Whether the packet may be an instruction heard back."""

    def hides_another(self, packet: Packet, lengths: Collection[int]) -> bool:
        """Whether it may be a reply with so many parameters, damaged, that swallowed another."""

    def alarms(self, error_byte: int) -> Alarm:
        """What a reply's error byte reports."""

    def refusal(self, error_byte: int) -> str:
        """Why the servo did not carry out the instruction; empty if it did."""
