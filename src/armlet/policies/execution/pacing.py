"""Times of execution: how long chunks take, how far the plan reaches, when there was none."""

from __future__ import annotations

from collections import deque

import numpy as np

_WINDOW = 200


class Durations:
    """The last durations of something, s. One thread adds, any reads."""

    def __init__(self, window: int = _WINDOW) -> None:
        self._values: deque[float] = deque(maxlen=window)

    def add(self, duration_s: float) -> None:
        self._values.append(duration_s)

    def clear(self) -> None:
        self._values.clear()

    @property
    def last(self) -> float:
        """The latest, s; 0 if there is none."""
        values = tuple(self._values)
        return values[-1] if values else 0.0

    def percentile(self, percent: float) -> float:
        """A percentile, s; 0 if there is none.

        The delay to expect is a high percentile, not the maximum: one hiccup must not make every
        later chunk start from far in the future.
        """
        values = tuple(self._values)
        return float(np.percentile(values, percent)) if values else 0.0


class Coverage:
    """Until when the plan reaches, and for how long the arm had none. Times are ns.

    Attributes:
        overlap_s: how much of the plan was still ahead when the last one came; negative: a gap.
        gaps: times that the plan ended before the next one came.
    """

    def __init__(self) -> None:
        self.overlap_s = 0.0
        self.gaps = 0
        self._starved_s = 0.0
        self._end_ns: int | None = None

    @property
    def end_ns(self) -> int | None:
        """When the plan's last point is due; None while nobody waits for one."""
        return self._end_ns

    def extend(self, now_ns: int, end_ns: int) -> None:
        """A plan that reaches to end_ns is published now."""
        if self._end_ns is not None:
            self.overlap_s = (self._end_ns - now_ns) * 1e-9
            if self.overlap_s < 0:
                self.gaps += 1
                self._starved_s -= self.overlap_s
        self._end_ns = end_ns

    def end(self, now_ns: int) -> None:
        """Nobody waits for a plan any more: paused, or refused."""
        self._starved_s += self.starving_s(now_ns)
        self._end_ns = None

    def starving_s(self, now_ns: int) -> float:
        """For how long the arm has been without a plan, s; 0 while it has one."""
        return 0.0 if self._end_ns is None else max(0.0, (now_ns - self._end_ns) * 1e-9)

    def starved_s(self, now_ns: int) -> float:
        """Time without a plan altogether, s."""
        return self._starved_s + self.starving_s(now_ns)
