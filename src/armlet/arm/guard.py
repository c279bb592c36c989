"""The last thing a command passes before the wire."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .calibration import Calibration
from .units import Vector, limits_radians


class CommandRefused(ValueError):
    """A command that must not reach the arm; the message says why."""


@dataclass
class GuardCounts:
    """How often each protection acted, since start."""

    refused: int = 0
    clamped: int = 0
    slowed: int = 0


@dataclass
class Guard:
    """Clamps positions to calibrated limits, limits velocity, refuses what is not a number.

    joints: names in order; lower, upper: radians (n,); velocity: rad/s (n,).
    """

    joints: tuple[str, ...]
    lower: Vector
    upper: Vector
    velocity: Vector
    counts: GuardCounts = field(default_factory=GuardCounts)

    @classmethod
    def from_calibration(cls, calibration: Calibration, max_velocity_rad_s: float) -> Guard:
        lower, upper = limits_radians(calibration)
        velocity = np.full(len(calibration), float(max_velocity_rad_s))
        return cls(tuple(calibration), lower, upper, velocity)

    def order(self, names: Sequence[str], positions: Sequence[float]) -> Vector:
        """Named positions as a vector (n,) in joint order, NaN where a joint is not named.

        Raises CommandRefused on unknown or doubled joints, non-finite or missing numbers.
        """
        values = np.asarray(positions, np.float64)
        unknown = [name for name in names if name not in self.joints]
        if unknown or len(set(names)) != len(names) or not names:
            raise self.refuse(
                f"joints must be among {list(self.joints)}, each once; found {list(names)}"
            )
        if values.shape != (len(names),):
            raise self.refuse(f"{len(names)} joint names with {values.size} positions")
        if not np.isfinite(values).all():
            raise self.refuse(f"positions must be finite, found {values.tolist()}")
        ordered = np.full(len(self.joints), np.nan)
        ordered[[self.joints.index(name) for name in names]] = values
        return ordered

    def step(self, target: Vector, goal: Vector, dt_s: float, share: float = 1.0) -> Vector:
        """The next goal (n,) towards target (n,) from the present goal, radians.

        share scales the velocity limit (ramp-in). Raises CommandRefused if anything is not finite,
        or time runs backwards.
        """
        if dt_s < 0:
            raise self.refuse(f"a step of {dt_s} s: the clock was set back")
        if not (np.isfinite(target).all() and np.isfinite(goal).all()):
            raise self.refuse(f"target {target.tolist()} from goal {goal.tolist()} is not finite")
        clamped = np.clip(target, self.lower, self.upper)
        self.counts.clamped += bool((clamped != target).any())
        reach = self.velocity * share * dt_s
        step = np.clip(clamped - goal, -reach, reach)
        self.counts.slowed += bool((step != clamped - goal).any())
        return goal + step

    def refuse(self, reason: str) -> CommandRefused:
        """Count a refusal; the error to raise."""
        self.counts.refused += 1
        return CommandRefused(reason)
