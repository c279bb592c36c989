"""Framing of the Feetech STS/SMS protocol: instruction and status packets on the wire.

``FF FF ID LEN CODE PARAM... CHECKSUM`` with LEN = number of parameters + 2 and CHECKSUM = the low
byte of NOT (ID + LEN + CODE + parameters). CODE is the instruction on the way out, the error byte
on the way back; nothing else tells the two directions apart. Source: Feetech protocol manual.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum, IntFlag, auto

HEADER = b"\xff\xff"
MAX_ID = 0xFC
BROADCAST_ID = 0xFE
MAX_LENGTH = 246
"""Largest LEN field: the vendor's SDK handles packets of 250 bytes, four of them before CODE."""
OVERHEAD = 6
"""Bytes of a packet besides its parameters."""


class Instruction(IntEnum):
    """Instruction codes of the STS/SMS series."""

    PING = 0x01
    READ = 0x02
    WRITE = 0x03
    REG_WRITE = 0x04
    ACTION = 0x05
    SYNC_READ = 0x82
    SYNC_WRITE = 0x83


class ErrorBit(IntFlag):
    """Bits of a status packet's error byte, and of the Status register."""

    NONE = 0
    VOLTAGE = 0x01
    ENCODER = 0x02
    TEMPERATURE = 0x04
    CURRENT = 0x08
    OVERLOAD = 0x20


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet: servo id, instruction or error byte, parameters."""

    id: int
    code: int
    params: bytes = b""


def encode(packet: Packet) -> bytes:
    """The packet's bytes on the wire.

    Raises:
        ValueError: an id, code or number of parameters that no packet can carry.
    """
    length = len(packet.params) + 2
    if not 0 <= packet.id <= BROADCAST_ID:
        raise ValueError(f"packet id must be 0..{BROADCAST_ID}, found {packet.id}")
    if not 0 <= packet.code <= 0xFF:
        raise ValueError(f"packet code must be one byte, found {packet.code}")
    if length > MAX_LENGTH:
        raise ValueError(f"a packet holds {MAX_LENGTH - 2} parameters, found {len(packet.params)}")
    body = bytes((packet.id, length, packet.code)) + packet.params
    return HEADER + body + bytes((checksum(body),))


def checksum(body: bytes | bytearray) -> int:
    """The last byte of a packet, from its bytes between header and that."""
    return ~sum(body) & 0xFF


class Parser:
    """Finds packets in a byte stream, however it is cut into pieces and whatever lies between them.

    A header that turns out to be false (impossible id or length, wrong checksum) costs its first
    byte only: the search goes on at the next one, so a good packet behind or inside it is found.
    A header that is still waiting for its bytes holds back what follows; when the line falls
    silent, `flush` settles that.

    Args:
        max_length: largest LEN field believed. The tighter, the sooner a false length is unmasked.

    Attributes:
        checksum_errors: packets complete by their length whose checksum was wrong.
        dropped_bytes: bytes that became part of no packet.
    """

    def __init__(self, max_length: int = MAX_LENGTH) -> None:
        self.checksum_errors = 0
        self.dropped_bytes = 0
        self._max_length = max_length
        self._pending = bytearray()

    @property
    def pending(self) -> int:
        """Number of bytes held back because a packet may be incomplete."""
        return len(self._pending)

    def feed(self, data: bytes) -> list[Packet]:
        """Takes the next bytes of the stream, returns the packets they complete, oldest first."""
        self._pending += data
        return self._take_all(silent=False)

    def flush(self) -> list[Packet]:
        """The line is silent: gives up incomplete packets, returns good ones held back by them."""
        return self._take_all(silent=True)

    def _take_all(self, silent: bool) -> list[Packet]:
        packets: list[Packet] = []
        while self._seek_header(silent):
            verdict = self._judge()
            if verdict is _Verdict.INTACT:
                packets.append(self._take())
            elif verdict is _Verdict.FALSE or silent:
                self._drop(1)
            else:
                break
        return packets

    def _seek_header(self, silent: bool) -> bool:
        start = self._pending.find(HEADER)
        if start >= 0:
            self._drop(start)
            return True
        half_header = not silent and self._pending.endswith(b"\xff")
        self._drop(len(self._pending) - half_header)
        return False

    def _judge(self) -> _Verdict:
        """What the header at the front of the pending bytes leads."""
        front = self._pending
        if len(front) > 2 and front[2] == 0xFF:
            return _Verdict.FALSE
        if len(front) < 4:
            return _Verdict.INCOMPLETE
        if not 2 <= front[3] <= self._max_length:
            return _Verdict.FALSE
        last = front[3] + 3
        if len(front) <= last:
            return _Verdict.INCOMPLETE
        if front[last] == checksum(front[2:last]):
            return _Verdict.INTACT
        self.checksum_errors += 1
        return _Verdict.FALSE

    def _take(self) -> Packet:
        front = self._pending
        last = front[3] + 3
        packet = Packet(front[2], front[4], bytes(front[5:last]))
        del front[: last + 1]
        return packet

    def _drop(self, count: int) -> None:
        self.dropped_bytes += count
        del self._pending[:count]


class _Verdict(Enum):
    INTACT = auto()
    INCOMPLETE = auto()
    FALSE = auto()
