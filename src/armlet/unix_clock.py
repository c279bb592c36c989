"""From the monotonic clock, which drivers and paces count on, to Unix time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_LOOKS = 8


class UnixClock:
    """Unix times of instants on CLOCK_MONOTONIC.

    On Linux both clocks run at one rate; only a step of the system clock (set by hand, by NTP at
    start) changes their distance. It is measured once, as the middle of an interval that surely
    holds it, and kept as long as a new measurement does not contradict: so stamps keep the exact
    spacing of the monotonic instants for a whole run, however late a measurement is interrupted,
    and a step is followed with the next picture. Safe to use from several threads.
    """

    def __init__(
        self,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        unix_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.steps = 0
        """How often the system clock was stepped."""
        self._monotonic_ns, self._unix_ns = monotonic_ns, unix_ns
        self._lock = threading.Lock()
        self._low_ns, self._high_ns = self._narrowest()

    def to_unix_ns(self, monotonic_ns: int) -> int:
        """Unix time, ns, of a monotonic time, by what the system clock says now."""
        with self._lock:
            low_ns, high_ns = self._look()
            if high_ns < self._low_ns or low_ns > self._high_ns:
                self._low_ns, self._high_ns = self._narrowest()
                self.steps += 1
            return monotonic_ns + (self._low_ns + self._high_ns) // 2

    def _narrowest(self) -> tuple[int, int]:
        looks = [self._look() for _ in range(_LOOKS)]
        return min(looks, key=lambda look: look[1] - look[0])

    def _look(self) -> tuple[int, int]:
        """Bounds of Unix minus monotonic time, ns; wide if the thread was interrupted."""
        before_ns = self._monotonic_ns()
        unix_ns = self._unix_ns()
        after_ns = self._monotonic_ns()
        return unix_ns - after_ns, unix_ns - before_ns
