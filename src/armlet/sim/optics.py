"""Pinhole cameras: where they stand and what a point in the world becomes in the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from armlet.robots.kinematics import FRAMES, Pose

from .domain import ORDINARY, Domain

Vector = NDArray[np.float64]

NEAR = 0.008
"""Nothing closer to the lens than this (metres) is seen."""


@dataclass(frozen=True)
class View:
    """Which camera and how many pixels; the field of view does not depend on the size."""

    camera: Literal["front", "wrist"]
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.camera not in ("front", "wrist"):
            raise ValueError(f"the scene has cameras front and wrist, not {self.camera!r}")
        if self.width < 16 or self.height < 16:
            raise ValueError(f"a {self.width}x{self.height} view is too small: use 16x16 or more")


@dataclass(frozen=True, eq=False)
class Lens:
    """A pinhole camera in the world.

    position: float64 (3,), metres. rotation: float64 (3, 3), world to camera, camera axes x right,
    y down, z forward. focal, centre: pixels.
    """

    position: Vector
    rotation: Vector
    focal: float
    centre: tuple[float, float]

    def to_camera(self, world: Vector) -> Vector:
        """Camera coordinates (n, 3) of world points (n, 3)."""
        return (world - self.position) @ self.rotation.T

    def table_to_pixels(self) -> Vector:
        """Homography (3, 3) from table coordinates (x, y, 1), metres, to pixels."""
        cx, cy = self.centre
        matrix = np.array([[self.focal, 0, cx], [0, self.focal, cy], [0, 0, 1.0]])
        across = self.rotation[:, :2]
        return matrix @ np.column_stack([across, -self.rotation @ self.position])


_FRONT_WIDE = math.radians(50.5)
_WRIST_WIDE = math.radians(82)


def lens(view: View, pose: Pose, domain: Domain = ORDINARY) -> Lens:
    """The lens of a view while the arm is in `pose`; the domain says where the cameras are.

    The wrist camera is on the gripper, above the fingers and beside the palm, and looks past the
    tip.
    """
    if view.camera == "front":
        return _front(view, domain.front_camera, domain.front_target)
    gripper = FRAMES.index("gripper")
    origin, rotation = pose.origins[gripper], pose.rotations[gripper]
    start = origin + rotation @ np.array(domain.wrist_camera)
    end = origin + rotation @ np.array(domain.wrist_target)
    return _aimed(view, start, end, rotation[:, 2], _WRIST_WIDE)


@lru_cache(maxsize=16)
def _front(view: View, start: tuple[float, ...], end: tuple[float, ...]) -> Lens:
    """The fixed camera's: always the same."""
    up = np.array([0.0, 0.0, 1.0])
    return _aimed(view, np.array(start), np.array(end), up, _FRONT_WIDE)


def _aimed(view: View, start: Vector, end: Vector, up: Vector, wide: float) -> Lens:
    forward = end - start
    forward = forward / math.sqrt(forward.dot(forward))
    right = _cross(forward, up)
    right /= math.sqrt(right.dot(right))
    rotation = np.stack([right, _cross(forward, right), forward])
    focal = view.width / 2 / math.tan(wide / 2)
    return Lens(start, rotation, focal, (view.width / 2 - 0.5, view.height / 2 - 0.5))


def _cross(a: Vector, b: Vector) -> Vector:
    """As np.cross of (3,) and (3,), to the bit, in a tenth of the time."""
    (ax, ay, az), (bx, by, bz) = a.tolist(), b.tolist()
    return np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])
