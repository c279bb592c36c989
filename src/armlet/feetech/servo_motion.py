"""How an emulated servo's shaft moves: a limited set point, followed with a lag."""

from __future__ import annotations

import math
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Drive:
    """What bounds the motion: speed (ticks/s), acceleration (ticks/s^2), lag time constant (s)."""

    speed: float = NO_LOAD_SPEED
    acceleration: float = MAX_ACCELERATION
    lag_s: float = LAG_TIMES_P / 32


class Motion:
    """The shaft and the set point it follows, in ticks and ticks/s.

    Args:
        position: where the shaft stands.
    """

    def __init__(self, position: float) -> None:
        self.position = position
        self.velocity = 0.0
        self._setpoint = position
        self._setpoint_velocity = 0.0

    def stand(self, position: float) -> None:
        """Puts the shaft there, at rest, with nothing left to follow."""
        self.position = position
        self.velocity = 0.0
        self._setpoint = position
        self._setpoint_velocity = 0.0

    def carry(self, position: float, duration_s: float) -> None:
        """Something else moved the shaft there within that time."""
        velocity = (position - self.position) / duration_s
        self.stand(position)
        self.velocity = velocity

    def follow(self, target: float, drive: Drive, duration_s: float) -> None:
        """Moves towards the target for that time."""
        while duration_s > 0:
            if self._settled(target):
                self.stand(target)
                return
            step_s = min(duration_s, _STEP_S)
            self._move_setpoint(target, drive, step_s)
            self._move_shaft(drive, step_s)
            duration_s -= step_s

    def _settled(self, target: float) -> bool:
        return self._setpoint == target and abs(target - self.position) < _SETTLED_TICKS

    def _move_setpoint(self, target: float, drive: Drive, step_s: float) -> None:
        """A trapezoidal profile, re-planned each step, that never goes past its target."""
        distance = target - self._setpoint
        change = drive.acceleration * step_s
        # The speed v from which it can still stop after this step: v step + v^2 / 2a = distance.
        stopping = math.sqrt(change * change + 2 * drive.acceleration * abs(distance)) - change
        wanted = math.copysign(min(drive.speed, stopping), distance)
        self._setpoint_velocity += _clamp(wanted - self._setpoint_velocity, change)
        step = self._setpoint_velocity * step_s
        if step * distance >= 0 and abs(step) >= abs(distance):
            self._setpoint = target
            self._setpoint_velocity = 0.0
        else:
            self._setpoint += step

    def _move_shaft(self, drive: Drive, step_s: float) -> None:
        share = -math.expm1(-step_s / drive.lag_s)
        step = _clamp((self._setpoint - self.position) * share, drive.speed * step_s)
        self.position += step
        self.velocity = step / step_s


def _clamp(value: float, bound: float) -> float:
    return max(-bound, min(bound, value))
