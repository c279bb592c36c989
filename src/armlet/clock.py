"""Time as an input: what a clock is, and the computer's own.

Two readings, because they differ on a real computer: the time that stamps bear may be set forth and
back by whoever keeps it, the time that durations are measured in may not. Of a simulated clock both
are the same. Rooms that know no ROS take a `Clock`; nodes give them theirs, which follows
`use_sim_time`.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from. Both readings are in nanoseconds."""

    def now_ns(self) -> int:
        """The time that stamps bear: Unix time, or simulated."""

    def steady_ns(self) -> int:
        """The time that durations are measured in: never set while it is the computer's own."""


class WallClock:
    """The computer's own time."""

    def now_ns(self) -> int:
        return time.time_ns()

    def steady_ns(self) -> int:
        return time.monotonic_ns()


class ManualClock:
    """A clock that is set by hand. The two readings move together.

    start_ns: its first reading.
    """

    def __init__(self, start_ns: int = 1_000_000_000_000_000_000) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        return self._now_ns

    def steady_ns(self) -> int:
        return self._now_ns

    def set_ns(self, now_ns: int) -> None:
        """It is now that time."""
        self._now_ns = now_ns

    def advance(self, seconds: float) -> None:
        """So much time passes."""
        self._now_ns += round(seconds * 1e9)
