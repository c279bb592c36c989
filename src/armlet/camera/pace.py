"""A fixed grid in time that pictures are taken on, free of drift."""

from __future__ import annotations

import math
import threading
import time

from .errors import CameraError


class Pace:
    """The instants start + n / fps on the monotonic clock, and their Unix times.

    The Unix time of the start is read once, so stamps keep an exact spacing even when the system
    clock is stepped. `close()` wakes a waiter.
    """

    def __init__(self, fps: float) -> None:
        self.fps = fps
        self._start_s = time.monotonic()
        self._start_ns = time.time_ns()
        self._closed = threading.Event()

    def stamp_ns(self, elapsed_s: float) -> int:
        """Unix time, ns, at `elapsed_s` after the start."""
        return self._start_ns + round(elapsed_s * 1e9)

    def tick_after(self, tick: int) -> int:
        """The tick to wait for after `tick`: the next one, or a later one if that has long passed.

        Like a camera, a pace skips what nobody took in time; it never catches up with a burst.
        """
        elapsed_s = time.monotonic() - self._start_s
        return max(tick + 1, math.floor(elapsed_s * self.fps))

    def wait_until(self, elapsed_s: float, timeout_s: float) -> None:
        """Wait for `elapsed_s` after the start; CameraError if later than `timeout_s` or closed."""
        remaining_s = self._start_s + elapsed_s - time.monotonic()
        closed = self._closed.wait(min(max(remaining_s, 0.0), max(timeout_s, 0.0)))
        if closed:
            raise CameraError("the camera was closed while a picture was awaited")
        if remaining_s > timeout_s:
            raise CameraError(
                f"no picture within {timeout_s:.3f} s: the next is due in "
                f"{remaining_s - timeout_s:.3f} s ({self.fps:g} fps); wait longer"
            )

    def close(self) -> None:
        """Wake whoever waits."""
        self._closed.set()
