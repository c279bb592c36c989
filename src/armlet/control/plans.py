"""Motions of some of an arm's joints at a time, made into the one of all that a driver follows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from armlet.robots.units import Vector

from .trajectory import Trajectory

_LEAST_S = 0.02


class Plans:
    """What each part of an arm is to do: its arm by one motion, its gripper by another.

    joints: of the whole arm, in order.
    """

    def __init__(self, joints: Sequence[str]) -> None:
        self.joints = tuple(joints)
        self._motions: dict[str, tuple[list[int], Trajectory]] = {}

    def set(self, part: str, joints: Sequence[str], motion: Trajectory) -> None:
        """A part's motion, from now on; it replaces the one it had."""
        self._motions[part] = [self.joints.index(joint) for joint in joints], motion

    def drop(self, part: str) -> None:
        """A part is to hold."""
        self._motions.pop(part, None)

    def clear(self) -> None:
        """Nothing is in play: where the arm is sent next, it goes from where it is then."""
        self._motions.clear()

    def __bool__(self) -> bool:
        return bool(self._motions)

    def merged(self, now_ns: int, held: Vector) -> Trajectory:
        """One motion of all joints from now on; who has no plan stays where it is held (n,)."""
        instants = {0.0, _LEAST_S}
        for _, motion in self._motions.values():
            after_s = motion.times_s + (motion.stamp_ns - now_ns) * 1e-9
            instants.update(after_s[after_s > 0].tolist())
        times_s = np.array(sorted(instants))
        # Times that differ by a rounding are one.
        times_s = times_s[np.concatenate([[True], np.diff(times_s) > 1e-6])]
        rows = np.tile(held, (len(times_s), 1))
        for columns, motion in self._motions.values():
            for row, time_s in zip(rows, times_s, strict=True):
                row[columns] = motion.sample(now_ns + round(float(time_s) * 1e9))
        return Trajectory(now_ns, times_s, rows)


def led_up_to(motion: Trajectory, now_ns: int, held: Vector) -> Trajectory:
    """The motion, from where its joints (n,) are held where its first point is yet to come.

    From the stamp on, or from now on where the first point is due at the stamp itself.
    """
    now_s, first_s = (now_ns - motion.stamp_ns) * 1e-9, float(motion.times_s[0])
    if first_s <= now_s:
        return motion
    begin_s = max(now_s, 0.0) if first_s > 0 else now_s
    return Trajectory(
        motion.stamp_ns,
        np.concatenate([[begin_s], motion.times_s]),
        np.concatenate([held[None], motion.positions]),
    )
