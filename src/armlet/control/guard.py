"""The last thing a command passes before the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from armlet.robots.calibration import Calibration
from armlet.robots.unit_check import implausible
from armlet.robots.units import RADIANS_PER_TICK, Vector, limits_radians

MAX_VELOCITY = 5.0
"""rad/s. Human leaders in real SO-101 recordings reach 4.1; the servo's own top speed is 4.8."""

MAX_ACCELERATION = 100.0
"""rad/s^2. Human leaders in real SO-101 recordings reach 91 (second differences at 30 Hz), so that
their motion passes as it is. The servo's own profile is limited to 39 (Acceleration 254)."""

_SAME_TICK = RADIANS_PER_TICK / 2
_NAMES_SHOWN = 8
_NAME_SHOWN = 40


class CommandRefused(ValueError):
    """A command that must not reach the arm; the message says why."""


class BeyondLimits(StrEnum):
    """What becomes of a command outside the calibrated range."""

    CLAMP = "clamp"
    REFUSE = "refuse"


@dataclass
class GuardCounts:
    """How often each protection acted, since start.

    refused: commands and trajectories; clamped, slowed: cycles in which the goal was kept back by
    the calibrated range, or by the limits of velocity and acceleration by more than 0.01 rad.
    """

    refused: int = 0
    clamped: int = 0
    slowed: int = 0


@dataclass
class Guard:
    """What a command may ask for: known joints, finite numbers, and limits (n,) for each joint.

    joints: names in order; lower, upper: radians; velocity: rad/s; acceleration: rad/s^2.
    Raises ValueError unless the limits are finite, positive where they must be, and one a joint.
    """

    joints: tuple[str, ...]
    lower: Vector
    upper: Vector
    velocity: Vector
    acceleration: Vector
    beyond_limits: BeyondLimits = BeyondLimits.CLAMP
    counts: GuardCounts = field(default_factory=GuardCounts)
    _known: tuple[tuple[str, ...], list[int]] = field(default=((), []), init=False, repr=False)

    def __post_init__(self) -> None:
        self.beyond_limits = BeyondLimits(self.beyond_limits)
        count = len(self.joints)
        for name in ("lower", "upper", "velocity", "acceleration"):
            value = getattr(self, name)
            if value.shape != (count,) or not np.isfinite(value).all():
                raise ValueError(f"{name} must be {count} finite numbers, found {value}")
        if (self.lower >= self.upper).any():
            raise ValueError(f"lower limits {self.lower} must be below upper ones {self.upper}")
        if (self.velocity <= 0).any() or (self.acceleration <= 0).any():
            raise ValueError(
                f"limits must be positive, found velocity {self.velocity} and acceleration "
                f"{self.acceleration}"
            )

    @classmethod
    def from_calibration(
        cls,
        calibration: Calibration,
        max_velocity: float | Mapping[str, float] = MAX_VELOCITY,
        max_acceleration: float | Mapping[str, float] = MAX_ACCELERATION,
        beyond_limits: BeyondLimits | str = BeyondLimits.CLAMP,
    ) -> Guard:
        """The guard of an arm. Limits: one number for all joints, or one for every joint by name.

        Raises ValueError for joints without a limit, unknown joints and limits that are none.
        """
        joints = tuple(calibration)
        lower, upper = limits_radians(calibration)
        return cls(
            joints,
            lower,
            upper,
            _per_joint("max_velocity", joints, max_velocity),
            _per_joint("max_acceleration", joints, max_acceleration),
            BeyondLimits(beyond_limits),
        )

    def limit(
        self, max_velocity: Mapping[str, float], max_acceleration: Mapping[str, float]
    ) -> None:
        """Other limits from now on, rad/s and rad/s^2, one for every joint by name.

        Raises ValueError as `from_calibration` does; nothing has changed then.
        """
        changed = replace(
            self,
            velocity=_per_joint("max_velocity", self.joints, max_velocity),
            acceleration=_per_joint("max_acceleration", self.joints, max_acceleration),
        )
        self.velocity, self.acceleration = changed.velocity, changed.acceleration

    def order(self, names: Sequence[str], positions: Sequence[float]) -> Vector:
        """Named positions as a vector (n,) in joint order, NaN where a joint is not named.

        Raises CommandRefused on unknown or doubled joints, non-finite or missing numbers, on
        positions that no joint can mean, and on positions outside the calibrated range where these
        are refused.
        """
        if len(names) != len(positions):
            raise self.refuse(f"{len(names)} joint names with {len(positions)} positions")
        columns = self._columns(names)
        values = np.asarray(positions, np.float64)
        if not np.isfinite(values).all():
            raise self.refuse(f"positions must be finite, found {values.tolist()}")
        ordered = np.full(len(self.joints), np.nan)
        ordered[columns] = values
        self.require_plausible(ordered)
        self.require_inside(ordered)
        return ordered

    def require_plausible(self, positions: Vector) -> None:
        """Refuse positions (..., n) that no joint can mean, before anything is computed from them.

        NaN stands for no position. Raises CommandRefused naming a joint, its value and the unit.
        """
        if reason := implausible(self.joints, positions, (self.lower, self.upper)):
            raise self.refuse(reason)

    def excess(self, positions: Vector) -> str:
        """Which joints of positions (..., n) lie outside the calibrated range, and by how much.

        Empty if none does. NaN stands for no position.
        """
        beyond = np.fmax(self.lower - positions, positions - self.upper)
        farthest = np.fmax.reduce(beyond.reshape(-1, len(self.joints)), axis=0)
        return ", ".join(
            f"{joint} by {far:.3f} rad"
            for joint, far in zip(self.joints, farthest, strict=True)
            if far > _SAME_TICK
        )

    def _columns(self, given: Sequence[str]) -> list[int]:
        """Where the named joints stand; remembered, for commanders do not change their names."""
        if len(given) > len(self.joints):
            shown = [name[:_NAME_SHOWN] for name in given[:_NAMES_SHOWN]]
            raise self.refuse(
                f"joints must be among {list(self.joints)}, each once; found {len(given)} names, "
                f"{shown} first"
            )
        names = tuple(given)
        if names and names == self._known[0]:
            return self._known[1]
        if not names or len(set(names)) != len(names) or not set(names) <= set(self.joints):
            shown = [name[:_NAME_SHOWN] for name in names]
            raise self.refuse(f"joints must be among {list(self.joints)}, each once; found {shown}")
        self._known = names, [self.joints.index(name) for name in names]
        return self._known[1]

    def require_inside(self, positions: Vector) -> None:
        """Refuse positions (..., n) outside the calibrated range, if that is what is wanted.

        NaN stands for no position. Raises CommandRefused naming the joints.
        """
        if self.beyond_limits != BeyondLimits.REFUSE:
            return
        if excess := self.excess(positions):
            raise self.refuse(f"outside the calibrated range: {excess}")

    def inside(self, target: Vector) -> Vector:
        """The nearest position (n,) within the calibrated range.

        Raises CommandRefused if the target is not finite.
        """
        clamped = np.minimum(np.maximum(target, self.lower), self.upper)
        # A NaN stays one; so does the sum of finite numbers and one that is not.
        if not np.isfinite(clamped.sum()):
            raise self.refuse(f"target {target.tolist()} is not finite")
        if (clamped != target).any():
            self.counts.clamped += 1
        return clamped

    def refuse(self, reason: str) -> CommandRefused:
        """Count a refusal; the error to raise."""
        self.counts.refused += 1
        return CommandRefused(reason)


def _per_joint(name: str, joints: tuple[str, ...], limit: float | Mapping[str, float]) -> Vector:
    if not isinstance(limit, Mapping):
        return np.full(len(joints), float(limit))
    if set(limit) != set(joints):
        raise ValueError(f"{name} must be given for each of {list(joints)}, found {sorted(limit)}")
    return np.array([float(limit[joint]) for joint in joints])
