"""How an emulated servo's shaft moves: a limited set point, followed with a lag, against a load.

The motor is quasi-static: its speed is no-load speed x (duty - torque), where duty is what the
position loop asks for, the error times a gain, and torque what the load takes, both shares of the
motor's utmost. Without a load that is a first-order lag; a load makes the shaft sag until the error
asks for the torque. Inertia, backlash and the loop's D and I parts are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

NO_LOAD_SPEED = 3140.0
"""Ticks/s at full duty: 46 rpm, measured on an STS3215 at 12 V (SO-ARM100 issue 134)."""

MAX_ACCELERATION = 25_400.0
"""Ticks/s^2, what the largest Acceleration LeRobot writes (254) stands for."""

LAG_TIMES_P = 1.36
"""Seconds x P_Coefficient. At P = 16 the shaft trails its set point by 85 ms; with the profile, a
streamed human motion arrives about 100 ms late. A real SO-101 follows a 30 Hz stream 125 to 150 ms
late, half a stream period included."""

_STEP_S = 0.002
_SETTLED_TICKS = 1e-3
_RESTING_SPEED = 0.005
"""Ticks/s: a shaft that is slower, its set point at the target, has come to rest."""

Load = float | Callable[[float, float], float]


class Surroundings(NamedTuple):
    """What acts on the shaft from outside. Positions are actual ticks.

    Attributes:
        load: share of stall torque that pulls towards lower ticks (negative: higher), or a function
            of position and clock seconds that gives it.
        friction: share of stall torque lost to friction, at rest and in motion.
        stops: the shaft cannot leave this range.
        obstacle: the shaft cannot enter this range; it stays on the side where it is.
    """

    load: Load = 0.0
    friction: float = 0.0
    stops: tuple[float, float] | None = None
    obstacle: tuple[float, float] | None = None

    def hold_back(self, start: float, end: float) -> float:
        """How far a shaft on its way from start to end gets."""
        if self.obstacle is not None:
            low, high = self.obstacle
            if start <= low:
                end = min(end, low)
            elif start >= high:
                end = max(end, high)
        if self.stops is not None:
            end = max(self.stops[0], min(self.stops[1], end))
        return end


@dataclass(frozen=True, slots=True)
class Drive:
    """What bounds the motion.

    Attributes:
        speed, acceleration: of the set point, ticks/s and ticks/s^2.
        lag_s: time constant with which an unloaded shaft follows.
        strength: largest duty, 0..1.
        startup: share of stall torque spent on overcoming friction, whatever the error.
        dead_zone: errors below and above zero, in ticks, that are left alone.
    """

    speed: float = NO_LOAD_SPEED
    acceleration: float = MAX_ACCELERATION
    lag_s: float = LAG_TIMES_P / 32
    strength: float = 1.0
    startup: float = 0.0
    dead_zone: tuple[float, float] = (0.0, 0.0)


_OFF = Drive(speed=0.0, strength=0.0)
_Conditions = tuple[float | None, Drive, Surroundings]


class Motion:
    """The shaft and the set point it follows, in ticks and ticks/s.

    Args:
        position: where the shaft stands.

    Attributes:
        position, velocity: of the shaft.
        duty: of the motor, -1..1.
        low, high: outermost positions since `mark`.
        top_speed: fastest since `mark`, other than by `carry`.
    """

    def __init__(self, position: float) -> None:
        self.stand(position)
        self.mark()

    @property
    def torque(self) -> float:
        """What the motor gives, as a share of its stall torque, -1..1."""
        return self.duty - self.velocity / NO_LOAD_SPEED

    def mark(self) -> None:
        """Begins again to note how far and how fast the shaft goes."""
        self.low = self.high = self.position
        self.top_speed = 0.0

    def stand(self, position: float) -> None:
        """Puts the shaft there, at rest, with nothing left to follow."""
        self.position = position
        self.velocity = 0.0
        self.duty = 0.0
        self._setpoint = position
        self._setpoint_velocity = 0.0
        self._resting: _Conditions | None = None

    def carry(self, position: float, around: Surroundings, duration_s: float) -> None:
        """Something else moved the shaft there within that time, or as far as it goes."""
        reached = around.hold_back(self.position, position)
        velocity = (reached - self.position) / duration_s
        self.stand(reached)
        self.velocity = velocity
        self._note_range()

    def rests(self, target: float | None, drive: Drive, around: Surroundings) -> bool:
        """Whether time changes nothing under these conditions; target None: not driven."""
        return self._resting == (target, _OFF if target is None else drive, around)

    def follow(
        self, target: float, drive: Drive, around: Surroundings, now_s: float, duration_s: float
    ) -> None:
        """Moves towards the target from `now_s` of the clock on for that time."""
        steps, step_s = _steps(duration_s)
        for step in range(steps):
            self._move_setpoint(target, drive, step_s)
            self._move_shaft(drive, around, now_s + step * step_s, step_s)
            slow = abs(self.velocity) < _RESTING_SPEED
            if self._setpoint == target and slow and not callable(around.load):
                if abs(target - self.position) < _SETTLED_TICKS:
                    self.position = target
                self._rest((target, drive, around))
                return

    def fall(self, around: Surroundings, now_s: float, duration_s: float) -> None:
        """Moves as the load will have it, without the motor."""
        self._setpoint_velocity = 0.0
        steps, step_s = _steps(duration_s)
        for step in range(steps):
            self._move_shaft(_OFF, around, now_s + step * step_s, step_s)
            self._setpoint = self.position
            if self.velocity == 0 and not callable(around.load):
                self._rest((None, _OFF, around))
                return

    def _rest(self, conditions: _Conditions) -> None:
        self.velocity = 0.0
        self._resting = conditions

    def _move_setpoint(self, target: float, drive: Drive, step_s: float) -> None:
        self._setpoint, self._setpoint_velocity = next_setpoint(
            self._setpoint, self._setpoint_velocity, target, drive, step_s
        )

    def _move_shaft(self, drive: Drive, around: Surroundings, now_s: float, step_s: float) -> None:
        start = self.position
        load = around.load(start, now_s) if callable(around.load) else around.load
        full_duty_ticks = NO_LOAD_SPEED * drive.lag_s
        error = self._setpoint - start
        if -drive.dead_zone[0] < error < drive.dead_zone[1]:
            error = 0.0
        duty = _clamp(error / full_duty_ticks, drive.strength)
        friction = around.friction - drive.startup
        if friction > 0:
            pull = duty - load
            load = duty if abs(pull) <= friction else load + math.copysign(friction, pull)
        # The exact solution of the lag for this step, between the speeds of full duty either way.
        step = (error - load * full_duty_ticks) * -math.expm1(-step_s / drive.lag_s)
        reach = NO_LOAD_SPEED * step_s
        step = max((-drive.strength - load) * reach, min((drive.strength - load) * reach, step))
        if friction > 0 and load == duty:
            step = 0.0
        self.position = around.hold_back(start, start + step)
        self.velocity = (self.position - start) / step_s
        left = self._setpoint - self.position
        self.duty = _clamp(left / full_duty_ticks, drive.strength) if error else 0.0
        self._resting = None
        self._note_range()
        self.top_speed = max(self.top_speed, abs(self.velocity))

    def _note_range(self) -> None:
        if self.position < self.low:
            self.low = self.position
        elif self.position > self.high:
            self.high = self.position


def next_setpoint(
    setpoint: float, velocity: float, target: float, drive: Drive, step_s: float
) -> tuple[float, float]:
    """The set point and its velocity after a step of a profile that never goes past its target.

    The profile is a trapezoid, re-planned each step; ticks and ticks/s.
    """
    distance = target - setpoint
    if not distance:
        return setpoint, 0.0
    change = drive.acceleration * step_s
    # The speed v from which it can still stop after this step: v step + v^2 / 2a = distance.
    stopping = math.sqrt(change * change + 2 * drive.acceleration * abs(distance)) - change
    wanted = math.copysign(min(drive.speed, stopping), distance)
    velocity += _clamp(wanted - velocity, change)
    step = velocity * step_s
    if step * distance >= 0 and abs(step) >= abs(distance):
        return target, 0.0
    return setpoint + step, velocity


def _steps(duration_s: float) -> tuple[int, float]:
    """How many equal steps, and how long each. None is so short that rounding would matter."""
    steps = max(1, math.ceil(duration_s / _STEP_S - 1e-6))
    return steps, duration_s / steps


def _clamp(value: float, bound: float) -> float:
    return max(-bound, min(bound, value))
