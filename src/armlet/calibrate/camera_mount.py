"""What a camera's place is found from: an arm at known poses, held still before a board."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from armlet.camera.charuco import View
from armlet.camera.hand_eye import Station
from armlet.camera.hand_eye_fit import Pose
from armlet.robots.link_poses import LinkPoses

STILL_S = 0.5
STILL_RAD = 0.01
_FEWEST_READINGS = 3


class Carrier:
    """The link that a camera is fixed to, and with it where the board has to be.

    On a link that moves, the camera looks at a board that lies still beside the arm. On one that
    does not, at a board in the gripper.

    urdf: the arm's, as `description.describe` gives it. Raises FileError where it has no such
    link, or where the board can be in no gripper.

    Attributes:
        moves: whether the camera moves.
        joints: whose angles have to be known.
    """

    def __init__(self, urdf: str, link: str) -> None:
        self._links, self._link = LinkPoses(urdf), link
        self.moves = bool(self._links.joints_above(link))
        self._moving = link if self.moves else self._links.hand()
        self.joints = self._links.joints_above(self._moving)

    @property
    def board(self) -> str:
        """Where the board has to be, for people."""
        return "fixed beside the arm" if self.moves else f"fixed to the link {self._moving}"

    def moving(self, angles: Mapping[str, float]) -> Pose:
        """Of the two links the one that moves, in the base (4, 4). Raises FileError."""
        return self._links.pose(self._moving, angles)

    def station(self, name: str, angles: Mapping[str, float], view: View) -> Station:
        """The arm at a pose, rad by joint, and what the camera saw there. Raises FileError."""
        moving = self.moving(angles)
        slopes = self._links.slopes(self._moving, angles)
        if self.moves:
            return Station(name, moving, slopes, view)
        back = np.linalg.inv(moving)
        fixed = self._links.pose(self._link, angles)
        return Station(name, back @ fixed, -back @ slopes @ back @ fixed, view)


class Stillness:
    """Says when an arm stands still: no joint has moved for a while."""

    def __init__(self) -> None:
        self._readings: deque[tuple[int, NDArray[np.float64]]] = deque()

    def add(self, stamp_ns: int, angles: Sequence[float] | NDArray[np.float64]) -> bool:
        """Whether it has stood still until this reading of its joints, rad."""
        if self._readings and stamp_ns <= self._readings[-1][0]:
            self._readings.clear()  # another graph, or time was set back
        self._readings.append((stamp_ns, np.asarray(angles, np.float64)))
        begin_ns = stamp_ns - round(STILL_S * 1e9)
        while len(self._readings) > 1 and self._readings[1][0] <= begin_ns:
            self._readings.popleft()
        rows = np.array([row for _, row in self._readings])
        long_enough = self._readings[0][0] <= begin_ns and len(rows) >= _FEWEST_READINGS
        return bool(long_enough and np.ptp(rows, axis=0).max() <= STILL_RAD)
