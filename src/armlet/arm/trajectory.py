"""A trajectory sampled by time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .units import Vector


@dataclass(frozen=True)
class Trajectory:
    """Points of a motion: radians (k, n) at times_s (k,) after stamp_ns (Unix time).

    Raises ValueError unless there is a point, times ascend strictly and all numbers are finite.
    """

    stamp_ns: int
    times_s: Vector
    positions: Vector

    def __post_init__(self) -> None:
        points = len(self.times_s)
        if points == 0:
            raise ValueError("a trajectory needs at least one point")
        if self.positions.ndim != 2 or len(self.positions) != points:
            raise ValueError(f"{points} times, but positions of shape {self.positions.shape}")
        if not (np.isfinite(self.times_s).all() and np.isfinite(self.positions).all()):
            raise ValueError("a trajectory must be finite; found NaN or infinity")
        if (np.diff(self.times_s) <= 0).any():
            raise ValueError("time_from_start must ascend from point to point")

    @property
    def end_ns(self) -> int:
        return self.stamp_ns + round(float(self.times_s[-1]) * 1e9)

    def sample(self, at_ns: int) -> Vector:
        """Position (n,) due at a time: linear between points, the end points outside them."""
        elapsed = (at_ns - self.stamp_ns) * 1e-9
        after = int(np.searchsorted(self.times_s, elapsed, side="right"))
        last = len(self.times_s) - 1
        left, right = max(after - 1, 0), min(after, last)
        if left == right:
            return np.array(self.positions[left])
        share = (elapsed - self.times_s[left]) / (self.times_s[right] - self.times_s[left])
        return np.array((1 - share) * self.positions[left] + share * self.positions[right])
