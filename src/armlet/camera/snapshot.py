"""Pictures for people: one of each camera, with its name on it, and all on one sheet."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import cv2
import numpy as np

from .source import CameraSource, Rgb

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SCALE = 0.5
_LINE = 20
_MARGIN = 6
_PAPER = 32
_INK = (240, 240, 240)
_TILE = 320


def snapshot(source: CameraSource, settle_s: float, timeout_s: float = 5.0) -> Rgb:
    """What an opened source sees after `settle_s`, uint8 (H, W, 3).

    The first pictures of a camera are dark until its exposure has settled. CameraError.
    """
    until_s = time.monotonic() + settle_s
    picture = source.read(timeout_s)
    while time.monotonic() < until_s:
        picture = source.read(timeout_s)
    return picture.as_rgb()


def labelled(rgb: Rgb, lines: Sequence[str]) -> Rgb:
    """The picture under a strip of text; no pixel of it is covered. Beyond ASCII shows as ?."""
    height, width = rgb.shape[:2]
    texts = [line.encode("ascii", "replace").decode() for line in lines]
    widest = max((cv2.getTextSize(text, _FONT, _SCALE, 1)[0][0] for text in texts), default=0)
    strip = _LINE * len(texts) + _MARGIN
    paper = np.full((strip + height, max(width, widest + 2 * _MARGIN), 3), _PAPER, np.uint8)
    for row, text in enumerate(texts):
        base = (row + 1) * _LINE - _MARGIN // 2
        cv2.putText(paper, text, (_MARGIN, base), _FONT, _SCALE, _INK, 1, cv2.LINE_AA)
    paper[strip:, :width] = rgb
    return paper


def contact_sheet(pictures: Sequence[tuple[Rgb, Sequence[str]]]) -> Rgb:
    """Pictures with their lines, small, side by side, uint8 (H, W, 3). At least one."""
    if not pictures:
        raise ValueError("a contact sheet needs at least one picture")
    tiles = [labelled(_small(rgb), lines) for rgb, lines in pictures]
    columns = math.ceil(math.sqrt(len(tiles)))
    width = max(tile.shape[1] for tile in tiles) + _MARGIN
    height = max(tile.shape[0] for tile in tiles) + _MARGIN
    rows = math.ceil(len(tiles) / columns)
    sheet = np.full((rows * height, columns * width, 3), _PAPER, np.uint8)
    for index, tile in enumerate(tiles):
        top, left = index // columns * height, index % columns * width
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return sheet


def _small(rgb: Rgb) -> Rgb:
    height, width = rgb.shape[:2]
    size = _TILE, max(1, round(height * _TILE / width))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
