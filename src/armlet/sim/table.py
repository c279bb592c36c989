"""The table top: wood with a slate mat, a grid of 5 cm and a pool of light, as one picture."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

PIXELS = 2048
METRES = 1.5
CENTRE = (0.22, 0.0)
"""The texture covers METRES x METRES about this point; row 0 is farthest in x, column 0 in y."""

_MAT_X = (-0.06, 0.44)
_MAT_Y = (-0.31, 0.31)
_GRID = 0.05


@lru_cache(maxsize=1)
def pyramid() -> tuple[Picture, ...]:
    """The texture, RGB uint8, whole and halved three times: small views would shimmer otherwise."""
    levels = [_texture()]
    for _ in range(3):
        levels.append(np.asarray(cv2.pyrDown(levels[-1]), np.uint8))
    return tuple(levels)


def texture_to_table(level: int) -> NDArray[np.float64]:
    """Matrix (3, 3) from pixel coordinates (column, row, 1) of a level to table (x, y, 1)."""
    step = METRES / PIXELS * 2**level
    x = CENTRE[0] + METRES / 2
    y = CENTRE[1] + METRES / 2
    return np.array([[0.0, -step, x - step / 2], [-step, 0.0, y - step / 2], [0.0, 0.0, 1.0]])


def _texture() -> Picture:
    rng = np.random.default_rng(101)
    step = METRES / PIXELS
    x = (CENTRE[0] + METRES / 2 - step * (np.arange(PIXELS) + 0.5))[:, None].astype(np.float32)
    y = (CENTRE[1] + METRES / 2 - step * (np.arange(PIXELS) + 0.5))[None, :].astype(np.float32)
    colour = _wood(rng, y)
    mat, shade = _mat(rng, x, y)
    colour *= shade[..., None]
    inside = (x > _MAT_X[0]) & (x < _MAT_X[1]) & (y > _MAT_Y[0]) & (y < _MAT_Y[1])
    colour[inside] = mat[inside]
    light = 0.72 + 0.36 * np.exp(-((x - 0.20) ** 2 + (y - 0.08) ** 2) / 0.16)
    return np.clip(colour * light[..., None], 0, 255).astype(np.uint8)


def _wood(rng: np.random.Generator, y: NDArray[np.float32]) -> NDArray[np.float32]:
    """Planks along x with long grain."""
    plank = np.floor(y / 0.14 + 0.31).astype(np.int64)[0]
    tint = rng.uniform(0.92, 1.06, 64).astype(np.float32)[plank % 64]
    noise = rng.standard_normal((PIXELS // 24, PIXELS)).astype(np.float32)
    grain = cv2.resize(cv2.GaussianBlur(noise, (5, 3), 1.0), (PIXELS, PIXELS))
    fine = cv2.blur(rng.standard_normal((PIXELS, PIXELS)).astype(np.float32), (1, 31))
    seam = np.abs((y / 0.14 + 0.31) % 1.0 - 0.5) > 0.5 - 0.006
    value = (1.0 + 0.055 * grain + 0.12 * fine) * tint * np.where(seam, 0.72, 1.0)
    return np.asarray(value[..., None] * np.array([204, 170, 130], np.float32), np.float32)


def _mat(
    rng: np.random.Generator, x: NDArray[np.float32], y: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Colours of the mat, and how much it shades the wood around it."""
    cloth = cv2.GaussianBlur(rng.standard_normal((PIXELS, PIXELS)).astype(np.float32), (0, 0), 0.8)
    base = np.array([74, 92, 112], np.float32)
    value = base * (1.0 + 0.22 * cloth[..., None])
    line = 0.0011
    fine = (np.abs((x + line / 2) % _GRID) < line) | (np.abs((y + line / 2) % _GRID) < line)
    value[fine] += np.array([26, 28, 30], np.float32)
    edge = np.minimum(
        np.minimum(x - _MAT_X[0], _MAT_X[1] - x), np.minimum(y - _MAT_Y[0], _MAT_Y[1] - y)
    )
    value[(edge > 0.008) & (edge < 0.010)] = np.array([150, 166, 180], np.float32)
    shade = 1.0 - 0.35 * np.exp(np.minimum(edge, 0.0) / 0.006)
    return value, np.asarray(np.where(edge < 0, shade, 1.0), np.float32)
