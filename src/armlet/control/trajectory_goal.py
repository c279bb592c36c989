"""A FollowJointTrajectory goal: whether it can be followed, and what becomes of it.

Codes and rules are those of control_msgs' action. Time is an argument; nothing here knows ROS.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from armlet.robots.units import Vector

from .trajectory import MAX_AHEAD_S, Trajectory

BEYOND_RAD = 0.02
"""A point so far outside the calibrated range is clamped by the driver, not refused."""

FOLLOWED_S = 0.5
"""So long after a goal was sent, and no longer, its driver may not be following it."""

MOST_POINTS = 5000
"""Of a goal. With what is put between them they stay below what a driver takes."""

_STEP_S = 0.02
_MOST_STEPS = 2000


class ErrorCode(IntEnum):
    """The action's error_code."""

    SUCCESSFUL = 0
    INVALID_GOAL = -1
    INVALID_JOINTS = -2
    OLD_HEADER_TIMESTAMP = -3
    PATH_TOLERANCE_VIOLATED = -4
    GOAL_TOLERANCE_VIOLATED = -5


class GoalRefused(ValueError):
    """A goal that cannot be followed; `code` says of what kind it is, the message why."""

    def __init__(self, code: ErrorCode, why: str):
        super().__init__(why)
        self.code = code


@dataclass(frozen=True)
class Result:
    """What became of a goal."""

    code: ErrorCode
    text: str = ""


@dataclass(frozen=True)
class Asked:
    """What a client sent: positions and velocities, a row for each of times_s, radians.

    stamp_ns: 0 is at once. Tolerances: by joint, radians; 0 stands for the default, a negative one
    for none. goal_time_s: 0 stands for the default. other: what it asks for that no arm of ours
    can, in words; empty if nothing.
    """

    joints: Sequence[str]
    stamp_ns: int
    times_s: Sequence[float]
    positions: Sequence[Sequence[float]]
    velocities: Sequence[Sequence[float]] = ()
    path_tolerance: Mapping[str, float] = field(default_factory=dict)
    goal_tolerance: Mapping[str, float] = field(default_factory=dict)
    goal_time_s: float = 0.0
    other: str = ""


@dataclass(frozen=True)
class Defaults:
    """Tolerances of what is not specified: radians, and seconds after a trajectory's end."""

    path: float
    goal: float
    goal_time_s: float


@dataclass(frozen=True)
class Goal:
    """A goal that can be followed: a motion of some joints, and its tolerances (n,), radians.

    A tolerance that is infinite restricts nothing.
    """

    joints: tuple[str, ...]
    motion: Trajectory
    path: Vector
    goal: Vector
    goal_time_s: float


def accept(
    asked: Asked,
    limits: Mapping[str, tuple[float, float]],
    defaults: Defaults,
    now_ns: int,
) -> Goal:
    """The goal that was asked for, of joints with these limits (radians). Raises GoalRefused."""
    joints = tuple(asked.joints)
    _check_joints(joints, limits)
    if asked.other:
        raise GoalRefused(ErrorCode.INVALID_GOAL, asked.other)
    if asked.goal_time_s < 0 or not math.isfinite(asked.goal_time_s):
        raise GoalRefused(
            ErrorCode.INVALID_GOAL,
            f"goal_time_tolerance must be 0 or more, found {asked.goal_time_s}",
        )
    if len(asked.positions) > MOST_POINTS:
        raise GoalRefused(
            ErrorCode.INVALID_GOAL,
            f"at most {MOST_POINTS} points are taken, found {len(asked.positions)}",
        )
    positions = _rows(asked.positions, len(joints), "positions")
    velocities = _rows(asked.velocities, len(joints), "velocities")
    if not len(positions):
        raise GoalRefused(ErrorCode.INVALID_GOAL, "the trajectory has no points")
    _check_inside(joints, positions, limits)
    motion = _motion(asked, positions, velocities, now_ns)
    if motion.times_s[0] < 0:
        raise GoalRefused(ErrorCode.INVALID_GOAL, "time_from_start must not be negative")
    if motion.end_ns < now_ns:
        raise GoalRefused(
            ErrorCode.OLD_HEADER_TIMESTAMP,
            f"the trajectory ended {(now_ns - motion.end_ns) * 1e-9:.3f} s ago: look at its stamp, "
            "and at the clocks of both computers",
        )
    if motion.end_ns > now_ns + MAX_AHEAD_S * 1e9:
        raise GoalRefused(
            ErrorCode.INVALID_GOAL,
            f"the trajectory must end within {MAX_AHEAD_S:g} s from now, found "
            f"{(motion.end_ns - now_ns) * 1e-9:.3f} s: look at its stamp, and at the clocks of "
            "both computers",
        )
    return Goal(
        joints,
        motion,
        _tolerance("path_tolerance", joints, asked.path_tolerance, defaults.path),
        _tolerance("goal_tolerance", joints, asked.goal_tolerance, defaults.goal),
        asked.goal_time_s or defaults.goal_time_s,
    )


def _check_joints(joints: tuple[str, ...], limits: Mapping[str, tuple[float, float]]) -> None:
    if not joints or len(set(joints)) < len(joints) or not set(joints) <= set(limits):
        shown = [joint[:40] for joint in joints[:8]]
        raise GoalRefused(
            ErrorCode.INVALID_JOINTS, f"expected joints of {list(limits)}, each once, found {shown}"
        )


def _rows(rows: Sequence[Sequence[float]], count: int, what: str) -> Vector:
    """Rows (k, n); none where no point has any."""
    if not any(len(row) for row in rows) and what != "positions":
        return np.zeros((0, count))
    if any(len(row) != count for row in rows):
        raise GoalRefused(
            ErrorCode.INVALID_GOAL, f"every point needs {count} {what}, one for each joint"
        )
    found = np.array(rows, np.float64).reshape(-1, count)
    if not np.isfinite(found).all():
        raise GoalRefused(ErrorCode.INVALID_GOAL, f"{what} must be finite, found NaN or infinity")
    return found


def _motion(asked: Asked, positions: Vector, velocities: Vector, now_ns: int) -> Trajectory:
    try:
        motion = Trajectory(
            asked.stamp_ns or now_ns, np.array(asked.times_s, np.float64), positions
        )
        return smooth(motion, velocities) if len(velocities) else motion
    except ValueError as error:
        raise GoalRefused(ErrorCode.INVALID_GOAL, str(error)) from error


def _check_inside(
    joints: tuple[str, ...], positions: Vector, limits: Mapping[str, tuple[float, float]]
) -> None:
    for joint, column in zip(joints, positions.T, strict=True):
        lower, upper = limits[joint]
        farthest = max(column, key=lambda value: max(lower - value, value - upper))
        if not lower - BEYOND_RAD <= farthest <= upper + BEYOND_RAD:
            raise GoalRefused(
                ErrorCode.INVALID_GOAL,
                f"{joint}: {farthest:.3f} rad is outside its calibrated range, {lower:.3f} to "
                f"{upper:.3f}",
            )


def _tolerance(
    what: str, joints: tuple[str, ...], given: Mapping[str, float], default: float
) -> Vector:
    if unknown := [joint for joint in given if joint not in joints]:
        raise GoalRefused(
            ErrorCode.INVALID_JOINTS, f"{what}: {unknown[0][:40]} is no joint of the trajectory"
        )
    if not all(math.isfinite(value) for value in given.values()):
        raise GoalRefused(ErrorCode.INVALID_GOAL, f"{what} must be finite")
    values = np.array([given.get(joint, 0.0) or default for joint in joints])
    return np.where(values < 0, np.inf, values)


def smooth(motion: Trajectory, velocities: Vector) -> Trajectory:
    """The cubic through points (k, n) and their velocities, as points that a driver joins straight.

    Points are 20 ms apart, of a long motion further.
    """
    times_s = motion.times_s
    duration_s = float(times_s[-1] - times_s[0])
    step_s = max(_STEP_S, duration_s / _MOST_STEPS)
    between = np.arange(times_s[0], times_s[-1], step_s)
    finer = np.union1d(times_s, between[1:])
    # Times a rounding apart would be two points at one time.
    finer = finer[np.concatenate([[True], np.diff(finer) > 1e-6])]
    finer[-1] = times_s[-1]
    left = np.clip(np.searchsorted(times_s, finer, side="right") - 1, 0, max(len(times_s) - 2, 0))
    right = np.minimum(left + 1, len(times_s) - 1)
    spans = np.maximum(times_s[right] - times_s[left], 1e-9)[:, None]
    share = (finer - times_s[left])[:, None] / spans
    square, cube = share**2, share**3
    with np.errstate(over="ignore", invalid="ignore"):  # Trajectory refuses what comes of that
        rows = (
            (2 * cube - 3 * square + 1) * motion.positions[left]
            + (cube - 2 * square + share) * spans * velocities[left]
            + (3 * square - 2 * cube) * motion.positions[right]
            + (cube - square) * spans * velocities[right]
        )
    return Trajectory(motion.stamp_ns, finer, rows)


class Execution:
    """One goal while it is followed.

    sent_ns: when its motion was handed to the driver.
    """

    def __init__(self, goal: Goal, sent_ns: int) -> None:
        self.goal = goal
        self._followed_ns = sent_ns

    def desired(self, now_ns: int) -> Vector:
        """Where the joints (n,) are to be now, radians."""
        return self.goal.motion.sample(now_ns)

    def step(self, now_ns: int, read: Vector | None, follows: bool, why_not: str) -> Result | None:
        """What became of it by now; None while it goes on.

        read: where its joints (n,) are, None where that is not known. follows: whether the driver
        follows the motion. why_not: what the driver does instead, in words.
        """
        motion, ended = self.goal.motion, now_ns >= self.goal.motion.end_ns
        if follows or ended or now_ns < motion.stamp_ns:
            self._followed_ns = now_ns
        elif now_ns - self._followed_ns > FOLLOWED_S * 1e9:
            return Result(ErrorCode.PATH_TOLERANCE_VIOLATED, f"the arm does not follow: {why_not}")
        if read is None:
            return Result(
                ErrorCode.PATH_TOLERANCE_VIOLATED,
                "where the arm is is not known: no joint_states; is servo_bus running?",
            )
        if now_ns < motion.stamp_ns:
            return None
        error = np.abs(self.desired(now_ns) - read)
        if not ended:
            if text := _violation(self.goal.joints, error, self.goal.path):
                return Result(ErrorCode.PATH_TOLERANCE_VIOLATED, text)
            return None
        if not (text := _violation(self.goal.joints, error, self.goal.goal)):
            return Result(ErrorCode.SUCCESSFUL)
        if now_ns > motion.end_ns + self.goal.goal_time_s * 1e9:
            late = f"{text}, {self.goal.goal_time_s:g} s after the end"
            return Result(ErrorCode.GOAL_TOLERANCE_VIOLATED, late)
        return None


def _violation(joints: Sequence[str], error: Vector, tolerance: Vector) -> str:
    """Which joint is furthest beyond its tolerance, and by how much; empty if none is."""
    beyond = error - tolerance
    worst = int(np.argmax(beyond))
    if beyond[worst] <= 0:
        return ""
    return f"{joints[worst]} is {error[worst]:.3f} rad off, {tolerance[worst]:.3f} rad are allowed"
