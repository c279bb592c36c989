"""What `armlet replay` plays, and what it says of an arm that is elsewhere. Knows no ROS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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


def worst(joints: Sequence[str], errors: NDArray[Any]) -> str:
    """The joint that is furthest off, in words."""
    joint = int(errors.argmax())
    return f"up to {float(errors[joint]):.3f} rad ({joints[joint]})"
