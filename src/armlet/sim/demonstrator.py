"""A scripted person: moves the leader arm so that the tip goes above the target and touches it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from armlet.robots.kinematics import HOME, UnreachableError, solve_reach

from .solids import target_point

Vector = NDArray[np.float64]

WORKSPACE_X = (0.14, 0.34)
WORKSPACE_Y = (-0.125, 0.125)
"""Metres on the table that targets lie in: 20 cm x 25 cm in front of the arm."""

_ABOVE_M = 0.07
_GRIPPER_WIDE = 0.1
_GRIPPER_NARROW = -0.45
_PEAK_SPEED = 2.1  # rad/s that planned moves keep to
_PEAK_PER_MEAN = 1.875  # of a minimum-jerk move
_OVERLAP_S = 0.25
_HOLD_S = 0.25
_INSTANT_S = 1e-6


def random_target(rng: np.random.Generator) -> Vector:
    """A target on the table (2,), metres, uniform over the workspace."""
    return np.array([rng.uniform(*WORKSPACE_X), rng.uniform(*WORKSPACE_Y)])


def minimum_jerk(progress: float) -> float:
    """Share of the way at a share of the time, both 0..1 (Flash and Hogan 1985); clamps outside."""
    s = min(max(progress, 0.0), 1.0)
    return s**3 * (10.0 - 15.0 * s + 6.0 * s * s)


def move_duration(start: Vector, end: Vector) -> float:
    """Seconds of a minimum-jerk move between joint angles (6,) at an easy speed."""
    return max(0.6, _PEAK_PER_MEAN * float(np.abs(end - start).max()) / _PEAK_SPEED)


@dataclass(frozen=True, eq=False)
class Move:
    """One minimum-jerk move between joint angles (6,), radians; holds its end."""

    start: Vector
    end: Vector
    duration_s: float

    def joints(self, elapsed_s: float) -> Vector:
        """Joint angles (6,), radians, `elapsed_s` after the beginning."""
        return self.start + (self.end - self.start) * minimum_jerk(elapsed_s / self.duration_s)

    def joint(self, index: int, elapsed_s: float) -> float:
        """One of `joints`, to the bit, in a fifth of the time: every servo asks for its own."""
        start = self._starts[index]
        return start + self._ways[index] * minimum_jerk(elapsed_s / self.duration_s)

    @cached_property
    def _starts(self) -> list[float]:
        return [float(angle) for angle in self.start]

    @cached_property
    def _ways(self) -> list[float]:
        return [float(way) for way in self.end - self.start]


@dataclass(frozen=True, eq=False)
class Glide:
    """Evenly from one pose (6,), radians, to another; then it stays."""

    start: Vector
    end: Vector
    duration_s: float

    def joints(self, elapsed_s: float) -> Vector:
        """Joint angles (6,), radians, `elapsed_s` after the beginning."""
        return np.array([self.joint(index, elapsed_s) for index in range(len(self.start))])

    def joint(self, index: int, elapsed_s: float) -> float:
        """One of `joints`, to the bit."""
        if elapsed_s > self.duration_s - _INSTANT_S:
            return float(self.end[index])
        start, end = float(self.start[index]), float(self.end[index])
        return start + (end - start) * max(0.0, elapsed_s / self.duration_s)


@dataclass(frozen=True, eq=False)
class Demonstration:
    """A reach: over to a point above the target while opening, down on it while closing, a hold.

    The two moves overlap and add (Flash and Henis 1991), so the arm rounds the corner without a
    stop and position, velocity and acceleration are continuous.
    """

    over: Move
    down: Move
    down_at_s: float

    @property
    def duration_s(self) -> float:
        """Seconds until the arm has touched the target and rested on it."""
        return self.down_at_s + self.down.duration_s + _HOLD_S

    def joints(self, elapsed_s: float) -> Vector:
        """Joint angles (6,), radians; before the beginning the start, after the end the end."""
        downward = self.down.joints(elapsed_s - self.down_at_s) - self.down.start
        return self.over.joints(elapsed_s) + downward

    def joint(self, index: int, elapsed_s: float) -> float:
        """One of `joints`, as of a `Move`."""
        start = float(self.down.start[index])
        downward = self.down.joint(index, elapsed_s - self.down_at_s) - start
        return self.over.joint(index, elapsed_s) + downward


def demonstrate_reach(start: Vector, target_xy: Vector, rng: np.random.Generator) -> Demonstration:
    """Plan a reach from joint angles `start` (6,) to the target at `target_xy` (2,), metres.

    Pace and the point above the target vary a little with `rng`. Raises UnreachableError.
    """
    touch = solve_reach(target_point(target_xy), _GRIPPER_NARROW)
    above = _above(target_xy, rng)
    over = Move(start, above, rng.uniform(1.0, 1.12) * max(1.5, move_duration(start, above)))
    down = Move(above, touch, rng.uniform(1.0, 1.12) * max(1.0, move_duration(above, touch)))
    return Demonstration(over, down, over.duration_s - _OVERLAP_S)


def move_home(start: Vector) -> Move:
    """A smooth move from joint angles (6,) to the rest pose."""
    return Move(start, HOME, move_duration(start, HOME))


def _above(target_xy: Vector, rng: np.random.Generator) -> Vector:
    """Joints about 7 cm over the target, up to 1.5 cm aside; nearer where that is out of reach."""
    angle, aside = rng.uniform(0, 2 * math.pi), 0.015 * math.sqrt(rng.uniform())
    height = _ABOVE_M + rng.uniform(-0.01, 0.01)
    shift = np.array([aside * math.cos(angle), aside * math.sin(angle), height])
    for share in (1.0, 0.8, 0.6, 0.4):
        try:
            return solve_reach(target_point(target_xy) + share * shift, _GRIPPER_WIDE)
        except UnreachableError:
            continue
    raise UnreachableError(
        f"nothing above the target at ({target_xy[0]:.3f}, {target_xy[1]:.3f}) m is in reach: "
        "place it nearer"
    )
