"""Whether a stream's messages come when they should: a late message against a wrong clock.

Both look alike at first: a stamp of some seconds ago. A message is late when a process was not run
or the network stood still; those behind it then come in a burst, and soon one is in time again. The
messages of a clock that is behind come at their usual pace and are never in time. To believe them
would put pictures into rows of another time, so late messages count only once one is in time again.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

# In time is what comes within this of its stamp, or within the aligner's max_wait, if that is more.
USUAL_S = 0.3
# A stamp further than this before the time it comes at is never used; and one that is later than
# it comes by more than hosts' clocks differ is a clock fault.
PLAUSIBLE_S = 10.0
FUTURE_S = 0.1
# Late messages whose stamps span this and which came no faster than these times their pace are no
# burst. A busy machine works off what waits hardly faster than new messages come.
_SPAN_NS = 200_000_000
_BURST = 1.25
# Stamps before 1980 count from something else than 1970.
_EARLIEST_NS = 315_532_800 * 1_000_000_000
_STAMP_FIX = "have it stamp them by the ROS clock (header.stamp = node.get_clock().now().to_msg())"


@dataclass(frozen=True)
class Refusal:
    """Why a message was refused, and what is to be done, which may be the same for many topics."""

    cause: str
    fixes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "; ".join((self.cause, *self.fixes))


class Timing(enum.StrEnum):
    """What a message's stamp says, given when it came."""

    IN_TIME = "in time"
    LATE = "late"
    OFFSET = "never in time"
    OLD = "too old"
    SKIPPED = "old because this program was not scheduled"
    FUTURE = "from the future"


REFUSING = (Timing.OFFSET, Timing.OLD, Timing.FUTURE)
"""Timings of messages that are refused for their stamps."""


def why_refused(
    timing: Timing, topic: str, stamp_ns: int, received_ns: int, clock: str = "on this node's clock"
) -> Refusal:
    """Why a message was refused that came at a time; a timing that refuses."""
    stamp_s, off_s = stamp_ns * 1e-9, (stamp_ns - received_ns) * 1e-9
    if stamp_ns == 0:
        return Refusal(
            f"header.stamp is zero: the publisher of {topic} does not stamp its messages",
            (_STAMP_FIX,),
        )
    if 0 < stamp_ns < _EARLIEST_NS <= received_ns:
        return Refusal(
            f"header.stamp is {stamp_s:.3f} s, counted from a start (of a computer, a program or a "
            f"simulation), not Unix time: {off_s:+.3f} s off the time it came",
            (_STAMP_FIX,),
        )
    off = f"stamp {stamp_s:.3f} s is not the time {clock}, {off_s:+.3f} s off"
    if timing is Timing.OFFSET:
        return Refusal(
            f"{off}, and none of its messages comes in time; the clock of {topic}'s publisher is "
            "behind, or its computer does not keep up"
        )
    return Refusal(
        f"{off}; the publisher of {topic} must stamp its messages, and by the same clock"
    )


class Punctuality:
    """Judges the messages of one stream in the order they come; all times are of one clock, ns.

    usual_s: what comes within this of its stamp is in time. reorder_s: see `StreamConfig`.
    """

    def __init__(self, usual_s: float = USUAL_S, reorder_s: float = 0.0) -> None:
        self._usual_ns = round(max(usual_s, USUAL_S) * 1e9)
        self._reorder_ns = round(reorder_s * 1e9)
        self._newest_ns: int | None = None
        self._run: tuple[int, int] | None = None
        self._late_ns = 0
        """Of the message before."""
        self._offset = True
        """Until a message is in time, nobody knows whose clock is right."""

    def judge(self, stamp_ns: int, received_ns: int, paused_ns: int = 0) -> Timing:
        """What a message is. LATE ones may be used once one is IN_TIME, and not after an OFFSET.

        paused_ns: this program was not run for so long, which may be why it is old: SKIPPED then.
        """
        own_ns = received_ns - stamp_ns - paused_ns
        timing = self._judge(stamp_ns, received_ns, own_ns)
        if timing is Timing.OLD and own_ns <= PLAUSIBLE_S * 1e9:
            return Timing.SKIPPED
        return Timing.SKIPPED if timing is Timing.OFFSET and own_ns <= self._usual_ns else timing

    def _judge(self, stamp_ns: int, received_ns: int, own_ns: int) -> Timing:
        late_ns = received_ns - stamp_ns
        # Later by so much than the one before: the way was blocked, and what waited may burst.
        blocked = late_ns > self._late_ns + self._usual_ns
        self._late_ns = late_ns
        if late_ns < -FUTURE_S * 1e9:
            return Timing.FUTURE
        if late_ns > PLAUSIBLE_S * 1e9:
            self._offset = True
            return Timing.OLD
        newest_ns, self._newest_ns = self._newest_ns, stamp_ns
        if late_ns <= self._usual_ns:
            self._run, self._offset = None, False
            return Timing.IN_TIME
        if newest_ns is not None and stamp_ns < newest_ns - self._reorder_ns:
            self._offset = True
        elif self._run is None or blocked:
            self._run = stamp_ns, received_ns
        elif own_ns > self._usual_ns:  # what this program's own pause explains may come at any pace
            stamps_ns, took_ns = stamp_ns - self._run[0], received_ns - self._run[1]
            self._offset |= stamps_ns >= _SPAN_NS and took_ns * _BURST > stamps_ns
        return Timing.OFFSET if self._offset else Timing.LATE
