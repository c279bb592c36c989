"""A quick look at every picture of a video: how bright, and whether anything changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import VideoError
from .mp4_file import open_mp4
from .rationals import time_base

# Pictures are compared by the means of 8x8 blocks, in which encoding noise averages out.
_BLOCK = 8
# Levels of 0..255 by which a block must change to have changed.
CHANGED = 3.0
_REORDERED = 16


@dataclass(frozen=True)
class Run:
    """Pictures in a row, by number within the episode."""

    first: int
    count: int


@dataclass(frozen=True)
class Footage:
    """Pictures' luma as block means (T, h, w) float32, 0..255, and their mean 0..1."""

    blocks: NDArray[np.float32]

    @property
    def brightness(self) -> float:
        return float(self.blocks.mean() / 255) if self.blocks.size else 0.0

    def still(self, least: int) -> Iterator[Run]:
        """Runs of at least so many pictures that all look like their first one."""
        first = 0
        count = len(self.blocks)
        while first < count:
            end = first + 1
            while end < count and self._same(first, end):
                end += 1
            if end - first >= least:
                yield Run(first, end - first)
            first = end

    def _same(self, one: int, other: int) -> bool:
        return bool(np.abs(self.blocks[one] - self.blocks[other]).max() <= CHANGED)


def look(path: Path, first: int, count: int, fps: int) -> Footage:
    """Look at `count` pictures from number `first` on. Raises VideoError if they are not there."""
    try:
        with open_mp4(path) as (container, stream):
            stream.thread_type = "AUTO"
            blocks = np.stack(list(_blocks(container, stream, first, count, fps)))
    except (OSError, IndexError, ValueError, TypeError) as error:
        raise VideoError(f"video {path} cannot be looked at: {error}") from error
    if len(blocks) != count:
        raise VideoError(f"{path} has {len(blocks)} pictures of {count} from number {first} on")
    return Footage(blocks)


def _blocks(
    container: Any, stream: Any, first: int, count: int, fps: int
) -> Iterator[NDArray[np.float32]]:
    unit = time_base(stream) * fps
    if first:
        begin = max(0, first - _REORDERED)
        container.seek(int(begin / unit), stream=stream, backward=True, any_frame=False)
    for frame in container.decode(stream):
        number = round(frame.pts * unit)
        if number >= first + count:
            return
        if number >= first:
            yield _shrunk(frame)


def _shrunk(frame: Any) -> NDArray[np.float32]:
    plane = frame.planes[0]
    luma = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height]
    luma = luma[:, : frame.width]
    size = (max(1, frame.width // _BLOCK), max(1, frame.height // _BLOCK))
    small = cv2.resize(luma, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    if "yuvj" in frame.format.name:
        return np.asarray(small, np.float32)
    return np.asarray(np.clip((small - 16) * (255 / 219), 0, 255), np.float32)
