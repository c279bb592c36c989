"""A camera that sees one colour: source `plain:255,128,0`."""

import dataclasses

import numpy as np

from armlet.camera import CameraSource, PatternSource, Picture, Request


class Plain(PatternSource):
    def __init__(self, request: Request) -> None:
        super().__init__(request.width, request.height, request.fps)
        colour = np.array(request.address.split(","), np.uint8)
        self._picture = np.tile(colour, (request.height, request.width, 1))

    def read(self, timeout_s: float) -> Picture:
        return dataclasses.replace(super().read(timeout_s), rgb=self._picture)


def source(request: Request) -> CameraSource:
    return Plain(request)
