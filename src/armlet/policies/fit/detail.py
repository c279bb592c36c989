"""How fine pictures are, as one number: does a camera give the detail that training pictures had?

Neighbouring pixels differ less than neighbouring squares of four do. By how much depends on how a
picture came to its size: enlarged from another resolution, or cut out and enlarged, it has no fine
differences; reduced by leaving out pixels it has too many; coarse JPEG flattens them. The scene has
little part in it, light and exposure none: both differences scale with them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from armlet.contract import Detail

Floats = NDArray[np.float64]

# Pictures that are looked at: over thirty the mean is known to a few hundredths.
_PICTURES = 32
# Of a picture without anything in it neither difference says anything.
_FLAT = 1e-9


def details_of(images: Mapping[str, NDArray[np.uint8]]) -> tuple[Detail, ...]:
    """For a contract: of pictures uint8 (N, H, W, 3) by camera; of those that show anything."""
    found = ((name, round(detail_of(pictures), 4)) for name, pictures in images.items())
    return tuple(Detail(name, value) for name, value in found if value)


def detail_of(images: NDArray[np.uint8]) -> float:
    """Mean squared difference of neighbours over that of neighbouring squares of four.

    images uint8 (N, H, W, 3). White noise has 4, a smooth slope a quarter. 0 for pictures without
    differences, or smaller than 4 x 4.
    """
    if not len(images) or min(images.shape[1:3]) < 4:
        return 0.0
    rows = np.unique(np.linspace(0, len(images) - 1, _PICTURES).astype(int))
    pairs = np.array([_differences(images[row]) for row in rows])
    fine, coarse = pairs.mean(axis=0)
    return 0.0 if coarse < _FLAT else float(fine / coarse)


def _differences(image: NDArray[np.uint8]) -> tuple[float, float]:
    grey = image.astype(np.float64).mean(axis=2) / 255
    height, width = (side // 2 * 2 for side in grey.shape)
    squares = grey[:height, :width].reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))
    return _between_neighbours(grey), _between_neighbours(squares)


def _between_neighbours(grey: Floats) -> float:
    down, across = np.diff(grey, axis=0), np.diff(grey, axis=1)
    return float((down**2).mean() + (across**2).mean()) / 2
