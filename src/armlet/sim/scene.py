"""The bench as its cameras see it: table, target and arm."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from .kinematics import forward
from .optics import View as View
from .optics import lens
from .painter import Painter, paint_table
from .solids import all_solids
from .solids import target_point as target_point

Picture = NDArray[np.uint8]
Vector = NDArray[np.float64]

_NOISE_SPARE = 64


class Scene:
    """Renders views of the bench; safe to use from several threads.

    noise: standard deviation of the sensor noise in grey levels, 0 for none; seeded by `seed`.
    """

    def __init__(self, seed: int = 0, noise: float = 0.0) -> None:
        if noise < 0:
            raise ValueError(f"noise is a standard deviation, 0 or more; found {noise}")
        self._painter = Painter(all_solids())
        self._backgrounds: dict[View, Picture] = {}
        self._noise = noise
        self._rng = np.random.default_rng(seed)
        self._noise_bank: NDArray[np.int8] | None = None
        self._lock = threading.Lock()

    def render(self, view: View, joints: Vector, target_xy: Vector) -> Picture:
        """Picture, RGB uint8 (view.height, view.width, 3).

        joints: (6,), radians. target_xy: (2,), metres, centre of the red target on the table.
        """
        pose = forward(joints)
        camera = lens(view, pose)
        target = np.array([target_xy[0], target_xy[1], 0.0])
        world = self._painter.place(
            np.concatenate([pose.origins, target[None]]),
            np.concatenate([pose.rotations, np.eye(3)[None]]),
        )
        if view.camera == "front":
            picture = self._background(view, joints).copy()
        else:
            picture = paint_table(camera, view.width, view.height)
        self._painter.paint_shadow(picture, camera, world)
        self._painter.paint_solids(picture, camera, world)
        if self._noise:
            self._add_noise(picture)
        return picture

    def _background(self, view: View, joints: Vector) -> Picture:
        """The empty table seen by the fixed camera; painted once for each size."""
        with self._lock:
            if view not in self._backgrounds:
                camera = lens(view, forward(joints))
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
