"""A trajectory sampled by time, and how a newer one takes over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from armlet.robots.units import Vector

MAX_TIME_S = 86_400.0
"""A point's time after the stamp, at most: a day. Sums of times stay exact to the nanosecond."""

MAX_AHEAD_S = 3600.0
"""A trajectory whose end lies further ahead than this is not one that anybody waits for."""

_BLEND_STEPS = 10


@dataclass(frozen=True)
class Trajectory:
    """Points of a motion: radians (k, n) at times_s (k,) after stamp_ns (Unix time).

    origin: who sent it, in a few characters; empty if it does not say. continues: it is the next
    piece of what that sender has in play, and nothing where that has ended.

    Raises ValueError unless there is a point, times ascend strictly and stay within MAX_TIME_S,
    and all numbers are finite.
    """

    stamp_ns: int
    times_s: Vector
    positions: Vector
    origin: str = ""
    continues: bool = False

    def __post_init__(self) -> None:
        points = len(self.times_s)
        if points == 0:
            raise ValueError("a trajectory needs at least one point")
        if self.positions.ndim != 2 or len(self.positions) != points:
            raise ValueError(f"{points} times, but positions of shape {self.positions.shape}")
        if not (np.isfinite(self.times_s).all() and np.isfinite(self.positions).all()):
            raise ValueError("a trajectory must be finite; found NaN or infinity")
        longest_s = float(np.abs(self.times_s).max())
        if longest_s > MAX_TIME_S:
            raise ValueError(
                f"time_from_start must be within {MAX_TIME_S:g} s, found {longest_s:g} s"
            )
        if (np.diff(self.times_s) <= 0).any():
            raise ValueError("time_from_start must ascend from point to point")

    @property
    def end_ns(self) -> int:
        return self.stamp_ns + round(float(self.times_s[-1]) * 1e9)

    def sample(self, at_ns: int) -> Vector:
        """Position (n,) due at a time: linear between points, the end points outside them."""
        times_s = self.times_s
        elapsed = (at_ns - self.stamp_ns) * 1e-9
        after = int(times_s.searchsorted(elapsed, side="right"))
        last = len(times_s) - 1
        left, right = max(after - 1, 0), min(after, last)
        if left == right:
            return np.array(self.positions[left])
        share = (elapsed - times_s[left]) / (times_s[right] - times_s[left])
        return np.array((1 - share) * self.positions[left] + share * self.positions[right])

    def starting(self, at_ns: int, position: Vector) -> Trajectory:
        """This motion, led up to from a position (n,) at a time if its first point is yet to come.

        Points that are past are left out; the motion due between two points is kept.
        """
        elapsed = (at_ns - self.stamp_ns) * 1e-9
        begin = position if elapsed < self.times_s[0] else self.sample(at_ns)
        after = self.times_s > elapsed
        return Trajectory(
            at_ns,
            np.concatenate([[0.0], self.times_s[after] - elapsed]),
            np.concatenate([begin[None], self.positions[after]]),
            self.origin,
        )


def blend(old: Trajectory, new: Trajectory, at_ns: int, blend_s: float) -> Trajectory:
    """A motion that is the old one at a time and has become the new one blend_s later.

    The weight's slope is zero at both ends (3 w^2 - 2 w^3), so that neither position nor velocity
    jumps where either motion's does not. Afterwards it is the new one, point by point.
    """
    shares = np.linspace(0.0, 1.0, _BLEND_STEPS + 1)
    weights = (shares * shares * (3 - 2 * shares))[:, None]
    times_s = shares * blend_s
    stamps = [at_ns + round(float(time_s) * 1e9) for time_s in times_s]
    olds = np.array([old.sample(stamp) for stamp in stamps])
    news = np.array([new.sample(stamp) for stamp in stamps])
    new_times_s = new.times_s + (new.stamp_ns - at_ns) * 1e-9
    after = new_times_s > blend_s + 1e-6
    return Trajectory(
        at_ns,
        np.concatenate([times_s, new_times_s[after]]),
        np.concatenate([(1 - weights) * olds + weights * news, new.positions[after]]),
        new.origin,
    )
