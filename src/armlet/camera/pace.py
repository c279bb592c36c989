"""A fixed grid in time that pictures are taken on, free of drift."""

from __future__ import annotations

import math
import threading
import time

from armlet.unix_clock import UnixClock

from .errors import CameraError, NoPicture


class Pace:
    """The instants start + n / fps on the monotonic clock, and their Unix times.

    Stamps keep an exact spacing; when the system clock is stepped they follow it at once.
    `close()` wakes a waiter.
    """

    def __init__(self, fps: float) -> None:
        self.fps = fps
        self._clock = UnixClock()
        self._start_ns = time.monotonic_ns()
        self._closed = threading.Event()

    @property
    def clock_steps(self) -> int:
        """How often the system clock was stepped since the start."""
        return self._clock.steps

    def stamp_ns(self, elapsed_s: float) -> int:
        """Unix time, ns, at `elapsed_s` after the start."""
        return self._clock.to_unix_ns(self._start_ns + round(elapsed_s * 1e9))

    def tick_after(self, tick: int) -> int:
        """The tick to wait for after `tick`: the next one, or a later one if that has long passed.

        Like a camera, a pace skips what nobody took in time; it never catches up with a burst.
        """
        return max(tick + 1, math.floor(self._elapsed_s() * self.fps))

    def wait_until(self, elapsed_s: float, timeout_s: float) -> None:
        """Wait for `elapsed_s` after the start; CameraError if later than `timeout_s` or closed."""
        remaining_s = elapsed_s - self._elapsed_s()
        closed = self._closed.wait(min(max(remaining_s, 0.0), max(timeout_s, 0.0)))
        if closed:
            raise CameraError("the camera was closed while a picture was awaited")
        if remaining_s > timeout_s:
            raise NoPicture(
                f"no picture within {timeout_s:.3f} s: the next is due in "
                f"{remaining_s - timeout_s:.3f} s ({self.fps:g} fps); wait longer"
            )

    def close(self) -> None:
        """Wake whoever waits."""
        self._closed.set()

    def _elapsed_s(self) -> float:
        return (time.monotonic_ns() - self._start_ns) * 1e-9
