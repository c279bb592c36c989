"""The bench as its cameras see it: table, target and arm."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from armlet.robots.kinematics import FRAMES, forward

from .domain import ORDINARY, Domain
from .optics import View as View
from .optics import lens
from .painter import Painter, paint_table
from .solids import all_solids, arm_solids, thing_solids
from .solids import target_point as target_point
from .task import Layout, Thing

Picture = NDArray[np.uint8]
Vector = NDArray[np.float64]

NOTHING: Layout = MappingProxyType({})

_NOISE_SPARE = 64


class Scene:
    """Renders views of the bench; safe to use from several threads.

    noise: standard deviation of the sensor noise in grey levels, 0 for none; seeded by `seed`.
    domain: light and cameras. things: on the table, by name; None: the red target of `render`.
    """

    def __init__(
        self,
        seed: int = 0,
        noise: float = 0.0,
        domain: Domain = ORDINARY,
        things: Mapping[str, Thing] | None = None,
    ) -> None:
        if noise < 0:
            raise ValueError(f"noise is a standard deviation, 0 or more; found {noise}")
        self._domain = domain
        self._names = None if things is None else tuple(things)
        solids = all_solids() if things is None else arm_solids()
        for frame, thing in enumerate((things or {}).values(), len(FRAMES)):
            solids += thing_solids(frame, thing)
        self._painter = Painter(solids, domain.light_from)
        self._backgrounds: dict[View, Picture] = {}
        self._noise = noise
        self._rng = np.random.default_rng(seed)
        self._noise_bank: NDArray[np.int8] | None = None
        self._lock = threading.Lock()

    def render(
        self, view: View, joints: Vector, target_xy: Vector | None = None, layout: Layout = NOTHING
    ) -> Picture:
        """Picture, RGB uint8 (view.height, view.width, 3).

        joints: (6,), radians. target_xy: (2,), metres, centre of the red target on the table.
        layout: where the scene's things are, if it was made with things.
        """
        pose = forward(joints)
        camera = lens(view, pose, self._domain)
        origins, turns = self._frames(target_xy, layout)
        world = self._painter.place(
            np.concatenate([pose.origins, origins]), np.concatenate([pose.rotations, turns])
        )
        if view.camera == "front":
            picture = self._background(view, joints).copy()
        else:
            picture = paint_table(camera, view.width, view.height)
        self._painter.paint_shadow(picture, camera, world)
        self._painter.paint_solids(picture, camera, world)
        if self._domain.light != 1:
            cv2.convertScaleAbs(picture, picture, self._domain.light)
        if self._noise:
            self._add_noise(picture)
        return picture

    def _frames(self, target_xy: Vector | None, layout: Layout) -> tuple[Vector, Vector]:
        """Origins (n, 3) and rotations (n, 3, 3) of what is on the table."""
        if self._names is None:
            if target_xy is None:
                raise ValueError("a scene without things of its own needs the target's place")
            return np.array([[target_xy[0], target_xy[1], 0.0]]), np.eye(3)[None]
        standing = [layout[name] for name in self._names]
        if not standing:
            return np.empty((0, 3)), np.empty((0, 3, 3))
        turns = [_rotation(one.quaternion) for one in standing]
        return np.stack([one.position for one in standing]), np.stack(turns)

    def _background(self, view: View, joints: Vector) -> Picture:
        """The empty table seen by the fixed camera; painted once for each size."""
        with self._lock:
            if view not in self._backgrounds:
                camera = lens(view, forward(joints), self._domain)
                self._backgrounds[view] = paint_table(camera, view.width, view.height, fine=3)
            return self._backgrounds[view]

    def _add_noise(self, picture: Picture) -> None:
        """Grain from one large random field at a random place: drawing all of it costs 20 ms."""
        height, width = picture.shape[:2]
        with self._lock:
            bank = self._noise_bank
            if bank is None or bank.shape[0] < height + 1 or bank.shape[1] < width + 1:
                shape = (height + _NOISE_SPARE, width + _NOISE_SPARE, 3)
                grain = self._rng.normal(0, self._noise, shape)
                bank = self._noise_bank = np.clip(np.rint(grain), -128, 127).astype(np.int8)
            row = int(self._rng.integers(bank.shape[0] - height))
            column = int(self._rng.integers(bank.shape[1] - width))
        grain_here = bank[row : row + height, column : column + width]
        np.clip(picture + grain_here.astype(np.int16), 0, 255, out=picture, casting="unsafe")


def _rotation(quaternion: Vector) -> Vector:
    """Matrix (3, 3) of a unit quaternion (4,), w first."""
    w, x, y, z = quaternion.tolist()
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
