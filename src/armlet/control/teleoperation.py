"""The command to a follower for where its leader stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from armlet.robots.calibration import Calibration
from armlet.robots.joints import is_gripper
from armlet.robots.units import JointConverter, JointUnits, Vector, converter


class _Way(NamedTuple):
    """From the leader's radians to the follower's, for some joints; scale (n,)."""

    joints: tuple[str, ...]
    leader: JointConverter
    follower: JointConverter
    scale: Vector


class Teleoperation:
    """Maps leader positions to follower positions, each arm through its own calibration.

    As in LeRobot, both arms agree in dataset units: the gripper always by its share of the range.

    Args:
        leader: calibration of the leader.
        follower: calibration of the follower, of the same joints.
        units: in which units the body joints agree.
        scale: the follower's motion over the leader's, about the middle of each joint's range;
            the gripper is not scaled.

    Raises:
        ValueError: the arms' joints differ, or the scale is not positive.
    """

    def __init__(
        self, leader: Calibration, follower: Calibration, units: JointUnits, scale: float = 1.0
    ):
        if set(leader) != set(follower):
            raise ValueError(
                f"leader joints {list(leader)} differ from the follower's {list(follower)}"
            )
        if not 0 < scale < np.inf:
            raise ValueError(f"scale must be positive, found {scale}")
        self._leader, self._follower, self._units, self._scale = leader, follower, units, scale
        self.joints = tuple(leader)
        self._way = self._make_way(self.joints)

    def follow(self, joints: Sequence[str], positions: Vector) -> Vector:
        """Follower positions (n,) for leader positions (n,) of some joints, radians.

        Raises CalibrationError for a joint that the arms do not have.
        """
        names = tuple(joints)
        way = self._way if names == self._way.joints else self._make_way(names)
        shared = way.leader.radians_to_dataset(positions, self._units)
        return way.follower.dataset_to_radians(shared * way.scale, self._units)

    def _make_way(self, joints: tuple[str, ...]) -> _Way:
        return _Way(
            joints,
            converter(joints, self._leader),
            converter(joints, self._follower),
            np.array([1.0 if is_gripper(joint) else self._scale for joint in joints]),
        )
