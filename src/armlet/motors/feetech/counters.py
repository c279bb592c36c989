"""What a bus counts: of its line, and of each servo."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

from armlet.motors.feetech.packets import ErrorBit


@dataclass(slots=True)
class Counters:
    """What a bus has seen since it was made.

    Attributes:
        packets_sent: instruction packets written.
        replies: status packets accepted as the answer to a request.
        timeouts: servos that owed a reply and gave none, intact and in time.
        retries: requests sent again because a servo had not answered the one before.
        checksum_errors: packets complete by their length, but with a wrong checksum.
        dropped_bytes: received bytes that became part of no packet.
        stale_replies: intact packets that were no answer to the request in progress.
        echoes: our own packets, heard back from an adapter that receives what it sends.
        bytes_sent, bytes_received: on the wire; each takes ten bit times.
    """

    packets_sent: int = 0
    replies: int = 0
    timeouts: int = 0
    retries: int = 0
    checksum_errors: int = 0
    dropped_bytes: int = 0
    stale_replies: int = 0
    echoes: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0


@dataclass(slots=True)
class ServoCounters:
    """What a bus has seen of one servo since it was made.

    Attributes:
        requests: times it was asked for a reply, probes of the line included.
        replies: intact replies to those.
        timeouts: requests - replies.
        damaged: those of the timeouts in which bytes came that formed no intact packet.
        retries: those of the requests that were sent because it had not answered the one before.
        error_bits: error bit -> number of replies that had it set.
    """

    requests: int = 0
    replies: int = 0
    timeouts: int = 0
    damaged: int = 0
    retries: int = 0
    error_bits: dict[ErrorBit, int] = field(default_factory=dict)

    def count_errors(self, error_byte: int) -> None:
        """Counts every bit of a reply's error byte, documented or not."""
        for place in range(8):
            if error_byte >> place & 1:
                bit = ErrorBit(1 << place)
                self.error_bits[bit] = self.error_bits.get(bit, 0) + 1

    def copy(self) -> Self:
        """A copy that shares nothing."""
        return replace(self, error_bits=dict(self.error_bits))
