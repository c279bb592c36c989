"""What a follower is told when a leader stands somewhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .calibration import Calibration
from .joints import GRIPPER
from .units import JointUnits, Vector, dataset_to_radians, radians_to_dataset


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
        if list(leader) != list(follower):
            raise ValueError(
                f"leader joints {list(leader)} differ from the follower's {list(follower)}"
            )
        if not 0 < scale < np.inf:
            raise ValueError(f"scale must be positive, found {scale}")
        self._leader, self._follower, self._units, self._scale = leader, follower, units, scale
        self.joints = tuple(leader)

    def follow(self, joints: Sequence[str], positions: Vector) -> Vector:
        """Follower positions (n,) for leader positions (n,) of some joints, radians.

        Raises KeyError for a joint that the arms do not have.
        """
        leader = {joint: self._leader[joint] for joint in joints}
        follower = {joint: self._follower[joint] for joint in joints}
        scale = np.array([1.0 if joint == GRIPPER else self._scale for joint in joints])
        shared = radians_to_dataset(positions, leader, self._units) * scale
        return dataset_to_radians(shared, follower, self._units)
