"""One episode while it is being recorded: rows in memory, pictures into their videos."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armlet.contract import Camera, Contract

from .errors import FrameError, HoleError, VideoError
from .layout import ACTION, IMAGES, SKEW, STAMP, STATE
from .stats import LevelCounts, Stats
from .video import VideoEncoder


@dataclass(frozen=True)
class EpisodeFrame:
    """One frame to record.

    state and action: float (n,), dataset units, in the contract's order. images: (H, W, 3) uint8
    RGB by camera name, exactly the contract's cameras. stamp_ns: the frame's time on the grid.
    skew_s: source stamp minus stamp_ns, exactly the contract's alignment streams.
    """

    state: NDArray[np.floating[Any]]
    action: NDArray[np.floating[Any]]
    images: Mapping[str, NDArray[np.uint8]]
    stamp_ns: int
    skew_s: Mapping[str, float]


class _Tape:
    """One camera's video and level counts."""

    def __init__(self, folder: Path, camera: Camera, fps: int, codec: str, crf: int):
        key = IMAGES + camera.name
        self.video = folder / f"{key}.mp4"
        self.counts = LevelCounts(folder / f"{key}.counts", camera.height, camera.width)
        self.encoder = VideoEncoder(self.video, camera.height, camera.width, fps, codec, crf)

    def add(self, picture: NDArray[np.uint8]) -> None:
        self.encoder.put(picture)
        self.counts.add(picture)

    def finish(self, rows: int) -> Stats:
        pictures = self.encoder.finish()
        if not pictures == self.counts.pictures == rows:
            raise VideoError(
                f"{self.video.name} holds {pictures} pictures for {rows} rows; discard this episode"
            )
        return self.counts.stats()

    def abort(self) -> None:
        self.encoder.abort()
        # Closing flushes, which a full disk refuses; the counts are thrown away anyway.
        with contextlib.suppress(OSError):
            self.counts.close()


class Take:
    """An episode being recorded into a folder. Not thread safe."""

    def __init__(self, folder: Path, contract: Contract, codec: str, crf: int):
        self._contract = contract
        self._streams = tuple(stream.name for stream in contract.alignment)
        self._states: list[NDArray[np.float32]] = []
        self._actions: list[NDArray[np.float32]] = []
        self._skews: list[list[float]] = []
        self._stamps: list[int] = []
        self._tapes: dict[str, _Tape] = {}
        self._torn = False
        self._finished = False
        try:
            for camera in contract.cameras:
                self._tapes[camera.name] = _Tape(folder, camera, contract.fps, codec, crf)
        except BaseException:
            self.abort()
            raise

    @property
    def frames(self) -> int:
        return len(self._stamps)

    @property
    def videos(self) -> dict[str, Path]:
        """Video files by feature key."""
        return {IMAGES + name: tape.video for name, tape in self._tapes.items()}

    @property
    def queued(self) -> int:
        """Pictures waiting for the slowest encoder."""
        return max((tape.encoder.queued for tape in self._tapes.values()), default=0)

    def add(self, frame: EpisodeFrame) -> None:
        """Take a frame: all of it or nothing.

        Raises FrameError or HoleError, leaving the take as it was; or VideoError or OSError if a
        picture could not be kept, after which the take can only be aborted.
        """
        self._require_whole()
        if self._finished:
            raise VideoError("the episode's videos are closed; finish or discard the episode")
        state = _vector(STATE, frame.state, len(self._contract.state_names))
        action = _vector(ACTION, frame.action, len(self._contract.action_names))
        skews = self._skew(frame.skew_s)
        self._check_images(frame.images)
        stamp = self._stamp(frame.stamp_ns)
        self._torn = True
        for name, tape in self._tapes.items():
            tape.add(frame.images[name])
        self._states.append(state)
        self._actions.append(action)
        self._skews.append(skews)
        self._stamps.append(stamp)
        self._torn = False

    def finish(self) -> dict[str, Stats]:
        """Close the videos and return their statistics by feature key. May be called again."""
        self._require_whole()
        self._finished = True
        return {IMAGES + name: tape.finish(self.frames) for name, tape in self._tapes.items()}

    def columns(self) -> dict[str, NDArray[Any]]:
        """The rows so far, the columns that only the take knows."""
        frame_index = np.arange(self.frames, dtype=np.int64)
        columns: dict[str, NDArray[Any]] = {
            ACTION: np.array(self._actions, np.float32),
            STATE: np.array(self._states, np.float32),
            STAMP: np.array(self._stamps, np.int64),
            "timestamp": (frame_index / self._contract.fps).astype(np.float32),
            "frame_index": frame_index,
        }
        return columns | {SKEW: np.array(self._skews, np.float32)} if self._streams else columns

    def abort(self) -> None:
        """Stop the encoders and close all files, whatever state they are in."""
        for tape in self._tapes.values():
            tape.abort()

    def _require_whole(self) -> None:
        if self._torn:
            raise VideoError("a picture of this episode could not be kept; discard the episode")

    def _skew(self, skew_s: Mapping[str, float]) -> list[float]:
        if set(skew_s) != set(self._streams):
            raise FrameError(
                f"skew_s: expected the contract's alignment streams {sorted(self._streams)}, "
                f"found {sorted(skew_s)}"
            )
        skews = [float(skew_s[name]) for name in self._streams]
        if not np.isfinite(skews).all():
            raise FrameError(f"skew_s is not finite: {dict(skew_s)}")
        return skews

    def _check_images(self, images: Mapping[str, NDArray[np.uint8]]) -> None:
        if set(images) != set(self._tapes):
            raise FrameError(
                f"images: expected cameras {sorted(self._tapes)}, found {sorted(images)}"
            )
        for camera in self._contract.cameras:
            picture, shape = images[camera.name], (camera.height, camera.width, 3)
            if getattr(picture, "dtype", None) != np.uint8 or picture.shape != shape:
                raise FrameError(
                    f"image {camera.name}: expected uint8 {shape}, "
                    f"found {getattr(picture, 'dtype', type(picture).__name__)} "
                    f"{getattr(picture, 'shape', '')}"
                )

    def _stamp(self, stamp_ns: int) -> int:
        try:
            stamp = operator.index(stamp_ns)
        except TypeError as error:
            raise FrameError(f"stamp_ns: expected whole nanoseconds, found {stamp_ns!r}") from error
        if not self._stamps:
            return stamp
        # In units of 1/(2 fps) ns-seconds, so that half a period is exact at any rate.
        step = (stamp - self._stamps[-1]) * 2 * self._contract.fps
        if step > 3_000_000_000:
            period = 1e9 / self._contract.fps
            expected = self._stamps[-1] + round(period)
            raise HoleError(expected, stamp, max(1, round((stamp - expected) / period)))
        if step < 1_000_000_000:
            raise FrameError(
                f"stamp_ns: {stamp} does not follow {self._stamps[-1]} by a frame "
                f"(1/{self._contract.fps} s)"
            )
        return stamp


def _vector(name: str, values: NDArray[np.floating[Any]], size: int) -> NDArray[np.float32]:
    array = np.asarray(values)
    if array.dtype.kind != "f" or array.shape != (size,):
        raise FrameError(f"{name}: expected float ({size},), found {array.dtype} {array.shape}")
    with np.errstate(over="ignore"):
        stored = array.astype(np.float32)
    if not np.isfinite(stored).all():
        raise FrameError(f"{name} is not finite in float32: {array.tolist()}")
    return stored
