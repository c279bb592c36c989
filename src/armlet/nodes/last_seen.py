"""The newest position of every joint of an arm, by what its driver publishes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import JointState

from .stamps import to_ns


class LastSeen:
    """Hears JointStates. source: the frame_id of the last one, who commanded it."""

    def __init__(self, joints: tuple[str, ...]) -> None:
        self._columns = {joint: column for column, joint in enumerate(joints)}
        self._position = np.full(len(joints), np.nan)
        self._stamps = np.zeros(len(joints), np.int64)
        self.source = ""

    def hear(self, message: JointState) -> None:
        if len(message.name) != len(message.position):
            return
        self.source = message.header.frame_id
        for name, position in zip(message.name, message.position, strict=True):
            column = self._columns.get(name)
            if column is not None:
                self._position[column] = position
                self._stamps[column] = to_ns(message.header.stamp)

    def position(self, now_ns: int, oldest_s: float) -> NDArray[np.float64] | None:
        """Radians (n,); None where a joint's is older than so long, of the future or no number."""
        ages_s = (now_ns - self._stamps) * 1e-9
        there = np.isfinite(self._position).all() and (np.abs(ages_s) <= oldest_s).all()
        return self._position.copy() if there else None
