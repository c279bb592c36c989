"""A quick look at every picture of a video: how bright, and whether anything changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from armlet.datasets.format.errors import VideoError
from armlet.datasets.format.mp4_file import open_mp4
from armlet.datasets.format.rationals import time_base
from armlet.datasets.format.video_pieces import REORDERED

# Pictures are compared by the means of 8x8 blocks, in which encoding noise averages out.
_BLOCK = 8
# Levels of 0..255 by which a block must change to have changed.
CHANGED = 3.0


@dataclass(frozen=True)
class Run:
    """Pictures in a row, by number within the episode."""

    first: int
    count: int


@dataclass(frozen=True)
class VideoActivity:
    """Pictures' luma as block means (T, h, w) float32, 0..255, and their mean 0..1.

    off_grid_s: how far a picture lies from its frame's time at most, s.
    """

    blocks: NDArray[np.float32]
    off_grid_s: float = 0.0

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


class VideoRateError(VideoError):
    """A video with pictures enough, at other times than its dataset's rate gives."""


def look(path: Path, first: int, count: int, fps: int) -> VideoActivity:
    """Look at `count` pictures from number `first` on.

    Raises VideoError if they are not there, a VideoRateError if they are at another rate.
    """
    try:
        with open_mp4(path) as (container, stream):
            stream.thread_type = "AUTO"
            found = list(_blocks(container, stream, first, count, fps))
            pictures, rate = stream.frames, float(stream.average_rate or 0)
            # Pictures enough in the file, but not one at each frame's time.
            if len(found) != count and pictures >= first + count:
                raise VideoRateError(_other_rate(path, pictures, rate, fps))
            blocks = np.stack([block for block, _ in found])
    except (OSError, IndexError, ValueError, TypeError) as error:
        raise VideoError(f"video {path} cannot be decoded: {error}") from error
    if len(blocks) != count:
        raise VideoError(f"{path} has {len(blocks)} pictures of {count} from number {first} on")
    return VideoActivity(blocks, max(off_s for _, off_s in found))


def _other_rate(path: Path, pictures: int, rate: float, fps: int) -> str:
    at = f"at {rate:.4g} a second" if abs(rate - fps) > 0.01 * fps else "at a rate that varies"
    return f"{path} has {pictures} pictures {at}, the dataset has {fps} frames a second"


def _blocks(
    container: Any, stream: Any, first: int, count: int, fps: int
) -> Iterator[tuple[NDArray[np.float32], float]]:
    """Every picture, and how far it lies from its frame's time, s."""
    unit = time_base(stream) * fps
    if first:
        begin = max(0, first - REORDERED)
        container.seek(int(begin / unit), stream=stream, backward=True, any_frame=False)
    for frame in container.decode(stream):
        number = round(frame.pts * unit)
        if number >= first + count:
            return
        if number >= first:
            yield _shrunk(frame), float(abs(frame.pts * unit - number) / fps)


def _shrunk(frame: Any) -> NDArray[np.float32]:
    plane, bits = frame.planes[0], frame.format.components[0].bits
    kind = np.uint8 if bits <= 8 else np.uint16
    luma = np.frombuffer(plane, kind).reshape(-1, plane.line_size // np.dtype(kind).itemsize)
    luma = luma[: frame.height, : frame.width]
    # A depth map, or video of more levels, has more bits.
    levels = (luma >> (bits - 8) if bits > 8 else luma).astype(np.uint8)
    size = (max(1, frame.width // _BLOCK), max(1, frame.height // _BLOCK))
    small = cv2.resize(levels, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    if "yuvj" in frame.format.name:
        return np.asarray(small, np.float32)
    return np.asarray(np.clip((small - 16) * (255 / 219), 0, 255), np.float32)
