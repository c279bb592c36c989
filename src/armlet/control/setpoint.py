"""The goal on its way to a target: what is sent to the arm, cycle by cycle."""

from __future__ import annotations

import math
from itertools import repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from armlet.robots.units import Vector

from .guard import Guard

_SLOWED_RAD = 0.01
_INSTANT_S = 1e-6


class _Limits(NamedTuple):
    lower: float
    upper: float
    velocity: float
    acceleration: float


class Setpoint:
    """A goal that pursues a target within a guard's limits of position, velocity, acceleration.

    It moves along with the target at the target's own velocity, and makes up for its distance with
    only as much more as can be braked away before it arrives. So a target that moves within the
    limits is followed exactly once it is caught, one that stands is reached without overshoot, and
    the goal can always stop before the calibrated limits, however long the next step takes.

    Args:
        guard: the limits; counted into.
        position: where it begins, at rest, radians (n,).

    Attributes:
        position: the goal, radians (n,).
        velocity: that of the last step, rad/s (n,).
    """

    def __init__(self, guard: Guard, position: Vector):
        self._guard = guard
        self._acceleration = guard.acceleration
        self._limits = _limits_of(guard, self._acceleration)
        # Joints that still brake with an earlier acceleration: their direction, 0 for the others.
        self._braking: Vector | None = None
        self.position = np.array(position, np.float64)
        self.velocity = np.zeros_like(self.position)
        self._target = self.position.copy()

    def limits_changed(self) -> None:
        """The guard has other limits of velocity and acceleration: keep to them from now on.

        A goal that is faster than that slows down within its acceleration. A joint that moves has a
        lower acceleration only once it stands: with less than it set out with it would not stop
        where it can now, and would have to stop at its limits at once.
        """
        keeps = (self.velocity != 0) & (self._acceleration > self._guard.acceleration)
        self._acceleration = np.where(keeps, self._acceleration, self._guard.acceleration)
        self._limits = _limits_of(self._guard, self._acceleration)
        self._braking = np.where(keeps, np.sign(self.velocity), 0.0) if keeps.any() else None

    def stand(self, position: Vector, joints: NDArray[np.bool_]) -> None:
        """Put some joints (n,) at a position (n,), at rest: they are known to stand there."""
        self.position = np.where(joints, position, self.position)
        self.velocity = np.where(joints, 0.0, self.velocity)
        self._target = np.where(joints, position, self._target)

    def rest(self) -> None:
        """Forget the velocity: nothing has been sent for a while, so the arm stands."""
        self.velocity = np.zeros_like(self.position)
        self._target = self.position.copy()

    def aim(self, target: Vector) -> None:
        """A target (n,) from another source: its distance from the last one is no velocity."""
        self._target = self._guard.inside(target)

    def stop(self) -> Vector:
        """Aim at where it comes to rest if it brakes now; that target, radians (n,)."""
        braking = self.velocity * np.abs(self.velocity) / (2 * self._acceleration)
        stop = self.position + braking
        # Outside its range a joint may stand, but not be sent further.
        low = np.minimum(self._guard.lower, self.position)
        high = np.maximum(self._guard.upper, self.position)
        self._target = np.minimum(np.maximum(stop, low), high)
        return self._target

    def step(self, target: Vector, dt_s: float, share: float | Vector = 1.0) -> Vector:
        """The next goal (n,), dt_s after the last, towards a target (n,), radians.

        share, one for all or (n,), scales the limits of velocity (ramp-in). Raises CommandRefused
        if the target is not finite or time runs backwards.
        """
        guard = self._guard
        if dt_s < 0:
            raise guard.refuse(f"a step of {dt_s} s: the clock was set back")
        target = guard.inside(target)
        if dt_s < _INSTANT_S:
            return self.position
        before = self.position
        # Joint by joint in plain floats: for so few, that takes a quarter of the time of arrays.
        shares = repeat(share, len(self._limits)) if isinstance(share, float) else share.tolist()
        moved = [
            _step(limits, position, velocity, last, aim, dt_s, part)
            for part, limits, position, velocity, last, aim in zip(
                shares,
                self._limits,
                self.position.tolist(),
                self.velocity.tolist(),
                self._target.tolist(),
                target.tolist(),
                strict=True,
            )
        ]
        self.position = np.array([position for position, _, _ in moved])
        self.velocity = np.array([velocity for _, velocity, _ in moved])
        self._target = target
        if self._braking is not None:
            self._note_standing(self._braking, before, dt_s)
        if max([left for _, _, left in moved]) > _SLOWED_RAD:
            guard.counts.slowed += 1
        return self.position

    def _note_standing(self, braking: Vector, before: Vector, dt_s: float) -> None:
        """Joints that came to a stand, or that a step can stop, have the new acceleration now."""
        turned = self.velocity * braking < 0
        self.position = np.where(turned, before, self.position)
        self.velocity = np.where(turned, 0.0, self.velocity)
        keeps = braking * self.velocity > self._guard.acceleration * dt_s
        self._acceleration = np.where(keeps, self._acceleration, self._guard.acceleration)
        self._limits = _limits_of(self._guard, self._acceleration)
        self._braking = np.where(keeps, braking, 0.0) if keeps.any() else None


def _limits_of(guard: Guard, acceleration: Vector) -> list[_Limits]:
    vectors = (guard.lower, guard.upper, guard.velocity, acceleration)
    rows = zip(*[vector.tolist() for vector in vectors], strict=True)
    return [_Limits(*row) for row in rows]


def _step(
    limits: _Limits,
    position: float,
    velocity: float,
    last_target: float,
    target: float,
    dt_s: float,
    share: float,
) -> tuple[float, float, float]:
    """One joint's next position and velocity, and its distance from the target."""
    lower, upper, top, acceleration = limits
    top *= share
    change = acceleration * dt_s
    # The speed v from which it can still stop after a step: v dt + v^2 / 2a = distance. Steps are
    # of constant velocity, changed at their beginning, so they brake a little sooner than the
    # parabola, whatever their length. Written out, as are the limits: calls cost half of a step.
    square, twice = change * change, 2 * acceleration
    own = _limited((target - last_target) / dt_s, -top, top)
    ahead = target - position - own * dt_s
    speed = math.sqrt(square + twice * abs(ahead)) - change
    wanted = _limited(own + math.copysign(speed, ahead), -top, top)
    wanted = _limited(wanted, velocity - change, velocity + change)
    above, below = upper - position, position - lower
    up = math.sqrt(square + twice * (above if above > 0.0 else 0.0)) - change
    down = math.sqrt(square + twice * (below if below > 0.0 else 0.0)) - change
    velocity = _limited(wanted, -down, up)
    # The last digit of a sum; outside its range a joint is only ever brought in.
    low = position if position < lower else lower
    high = position if position > upper else upper
    position = _limited(position + velocity * dt_s, low, high)
    return position, velocity, abs(target - position)


def _limited(value: float, low: float, high: float) -> float:
    """As min(max(value, low), high), in half the time."""
    if value < low:
        value = low
    return high if value > high else value
