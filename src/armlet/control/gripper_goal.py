"""A gripper goal: closed or opened to a place, until it is there or holds something."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .trajectory import MAX_AHEAD_S, Trajectory
from .trajectory_goal import BEYOND_RAD, FOLLOWED_S, ErrorCode, GoalRefused

_MOVED_RAD = 0.01
_SHORTEST_S = 0.02


@dataclass(frozen=True)
class GripperSettings:
    """speed: rad/s. tolerance: of what is reached, rad. stall_s: standing so long is a stall."""

    speed: float
    tolerance: float
    stall_s: float


@dataclass(frozen=True)
class Grip:
    """How a gripper goal ended. reached: it is where it was sent. Else it stalled."""

    reached: bool


def motion_to(
    position: float, held: float, limits: tuple[float, float], speed: float, now_ns: int
) -> Trajectory:
    """A motion (k, 1) from where the gripper is held to a place, radians. Raises GoalRefused."""
    lower, upper = limits
    if not math.isfinite(position) or not lower - BEYOND_RAD <= position <= upper + BEYOND_RAD:
        raise GoalRefused(
            ErrorCode.INVALID_GOAL,
            f"expected a position of {lower:.3f} to {upper:.3f} rad, found {position}",
        )
    if not math.isfinite(speed) or speed <= 0:
        raise GoalRefused(ErrorCode.INVALID_GOAL, f"expected a speed above 0 rad/s, found {speed}")
    way = abs(position - held)
    if way > speed * MAX_AHEAD_S:
        raise GoalRefused(
            ErrorCode.INVALID_GOAL,
            f"at {speed:g} rad/s it would take longer than {MAX_AHEAD_S:g} s; ask for more",
        )
    duration_s = max(way / speed, _SHORTEST_S)
    return Trajectory(now_ns, np.array([0.0, duration_s]), np.array([[held], [position]]))


class Gripping:
    """One gripper goal while it is followed."""

    def __init__(self, motion: Trajectory, settings: GripperSettings) -> None:
        self.motion, self._settings = motion, settings
        self.target = float(motion.positions[-1, 0])
        self._stood: tuple[float, int] | None = None
        self._followed_ns = motion.stamp_ns

    def step(self, now_ns: int, read: float) -> Grip | None:
        """How it ended by now; None while it goes on. read: where the gripper is, radians."""
        if self._stood is None or abs(read - self._stood[0]) > _MOVED_RAD:
            self._stood = read, now_ns
        if abs(read - self.target) <= self._settings.tolerance:
            return Grip(True)
        # It may be held up while its goal is still on the way: that is a grip as well.
        if self._pushes(now_ns, read) and now_ns - self._stood[1] > self._settings.stall_s * 1e9:
            return Grip(False)
        return None

    def lost(self, now_ns: int, follows: bool) -> bool:
        """Whether the driver does not follow the motion, though it was sent it FOLLOWED_S ago."""
        if follows or now_ns >= self.motion.end_ns:
            self._followed_ns = now_ns
        return now_ns - self._followed_ns > FOLLOWED_S * 1e9

    def _pushes(self, now_ns: int, read: float) -> bool:
        wanted = float(self.motion.sample(now_ns)[0])
        return abs(wanted - read) > self._settings.tolerance
