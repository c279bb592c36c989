"""What `armlet replay` plays, and what it says of an arm that is elsewhere. Knows no ROS."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_RENEWED = 0.85
"""A piece is followed by the next when less than this share of the time ahead is left."""


class ReplayError(Exception):
    """An episode that is not to be played on this arm, or cannot be."""


@dataclass(frozen=True)
class Motion:
    """An episode's actions: joints in the calibration's order, radians (k, n), one per 1/fps s."""

    joints: tuple[str, ...]
    rows: NDArray[np.float64]
    fps: int

    @property
    def duration_s(self) -> float:
        return (len(self.rows) - 1) / self.fps


class Pieces:
    """A motion piece by piece, each some time ahead of what is due, the next in good time.

    Args:
        rows: radians (k, n), at hz.
        ahead_s: so much of them is sent ahead.
    """

    def __init__(self, rows: NDArray[np.float64], hz: float, ahead_s: float) -> None:
        self.hz = hz
        self._rows, self._ahead_s = rows, ahead_s
        self._sent = 0

    @property
    def duration_s(self) -> float:
        return (len(self._rows) - 1) / self.hz

    def due(self, elapsed_s: float) -> bool:
        """Whether the next piece is to be sent, at a time of the motion."""
        left_s = (self._sent - 1) / self.hz - elapsed_s
        return self._sent < len(self._rows) and left_s < self._ahead_s * _RENEWED

    def take(self, elapsed_s: float) -> tuple[int, NDArray[np.float64]]:
        """The piece to be sent at a time of the motion: its first row's index, its rows.

        It begins with the row before that time, so that the motion due between two rows is kept.
        """
        last = len(self._rows) - 1
        begin = min(max(0, math.floor(elapsed_s * self.hz)), max(0, last - 1))
        ahead = math.ceil((max(0.0, elapsed_s) + self._ahead_s) * self.hz)
        end = min(last, max(ahead, begin + 1))
        self._sent = end + 1
        return begin, self._rows[begin : end + 1]


def worst(joints: Sequence[str], errors: NDArray[Any]) -> str:
    """The joint that is furthest off, in words."""
    joint = int(errors.argmax())
    return f"up to {float(errors[joint]):.3f} rad ({joints[joint]})"
