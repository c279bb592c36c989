"""Finds packets in a byte stream: what the parsers of all protocols have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum, auto

from .framing import Packet


class Verdict(Enum):
    """What a header leads: a whole packet, one whose bytes are still to come, or none."""

    INTACT = auto()
    INCOMPLETE = auto()
    FALSE = auto()


class PacketScanner(ABC):
    """Searches headers; what a header leads a protocol's own parser says.

    Args:
        header: the bytes every packet begins with.

    Attributes:
        checksum_errors: packets complete by their length whose checksum was wrong.
        dropped_bytes: bytes that became part of no packet.
    """

    def __init__(self, header: bytes) -> None:
        self.checksum_errors = 0
        self.dropped_bytes = 0
        self._header = header
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
            if verdict is Verdict.INTACT:
                packets.append(self._take())
            elif verdict is Verdict.FALSE or silent:
                self._drop(1)
            else:
                break
        return packets

    def _seek_header(self, silent: bool) -> bool:
        header = self._header
        start = self._pending.find(header)
        if start >= 0:
            self._drop(start)
            return True
        begun = 0
        if not silent:
            lengths = range(len(header) - 1, 0, -1)
            begun = next((n for n in lengths if self._pending.endswith(header[:n])), 0)
        self._drop(len(self._pending) - begun)
        return False

    @abstractmethod
    def _judge(self) -> Verdict:
        """What the header at the front of the pending bytes leads."""

    @abstractmethod
    def _take(self) -> Packet:
        """Removes the intact packet at the front of the pending bytes."""

    def _drop(self, count: int) -> None:
        self.dropped_bytes += count
        del self._pending[:count]
