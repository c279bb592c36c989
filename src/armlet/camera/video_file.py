"""A video file played as if it were a camera."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from numpy.typing import NDArray

from .errors import CameraError, EndOfVideo
from .pace import Pace
from .source import Opened, Picture


class FileSource(Opened):
    """Pictures of a video file's first video stream.

    realtime: each picture is given out when its presentation time has come (one that is overdue, at
    once); otherwise as fast as it is read. Stamps are the time of opening plus the presentation
    time in both cases, so their spacing is the file's own. loop: begin again at the end, time
    running on; otherwise EndOfVideo is raised there. A file that is missing, not a video, torn, or
    shorter than its own header says raises CameraError.
    """

    def __init__(self, path: str | Path, realtime: bool = True, loop: bool = False) -> None:
        self.path = Path(path)
        self.width, self.height, self.fps = _probe(self.path)
        self._realtime = realtime
        self._loop = loop
        self._pace: Pace | None = None
        self._frames: Iterator[tuple[float, NDArray[np.uint8]]] | None = None
        self._waiting: tuple[float, NDArray[np.uint8]] | None = None

    def open(self) -> None:
        if self._pace is None:
            self._pace = Pace(self.fps)
            self._frames = self._play()
            self._waiting = None

    def read(self, timeout_s: float) -> Picture:
        pace = self._pace
        if pace is None or self._frames is None:
            raise CameraError(f"{self.path} is not open: call open() first")
        if self._waiting is None:
            self._waiting = next(self._frames, None)
        if self._waiting is None:
            raise EndOfVideo(f"{self.path} has no further picture: open it again or loop it")
        elapsed_s, rgb = self._waiting
        if self._realtime:
            pace.wait_until(elapsed_s, timeout_s)
        self._waiting = None
        return Picture(pace.stamp_ns(elapsed_s), rgb)

    def close(self) -> None:
        if self._pace is not None:
            self._pace.close()
            self._pace = None
            self._frames = None

    def _play(self) -> Iterator[tuple[float, NDArray[np.uint8]]]:
        """(seconds since opening, picture) of every frame, over and over where looped."""
        begin_s = 0.0
        while True:
            last_s = begin_s
            for time_s, rgb in _decode(self.path):
                last_s = begin_s + time_s
                yield last_s, rgb
            if not self._loop:
                return
            begin_s = last_s + 1.0 / self.fps


def _open(path: Path) -> InputContainer:
    if not path.is_file():
        raise CameraError(f"no video file at {path}: check the path")
    try:
        return av.open(str(path))
    except (FFmpegError, OSError) as error:
        raise CameraError(
            f"{path} cannot be opened as a video ({error}): it is torn or of another kind"
        ) from error


def _probe(path: Path) -> tuple[int, int, float]:
    """Width, height and rate the file announces."""
    with _open(path) as container:
        if not container.streams.video:
            raise CameraError(f"{path} holds no video stream: give a video file")
        stream = container.streams.video[0]
        rate = stream.average_rate
        if not stream.width or not stream.height or not rate:
            raise CameraError(
                f"{path} states no picture size or rate "
                f"({stream.width}x{stream.height} at {rate}): write it again with a complete header"
            )
        return stream.width, stream.height, float(rate)


def _decode(path: Path) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """(seconds since the first frame, picture) of every frame of the file."""
    count = 0
    with _open(path) as container:
        stream = container.streams.video[0]
        announced = stream.frames
        first_s: float | None = None
        try:
            for frame in container.decode(stream):
                if frame.time is None or frame.is_corrupt:
                    raise CameraError(f"{path} is torn at picture {count}: replace the file")
                first_s = frame.time if first_s is None else first_s
                count += 1
                yield frame.time - first_s, np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
        except FFmpegError as error:
            raise CameraError(
                f"{path} is torn: picture {count} does not decode ({error}); replace the file"
            ) from error
    if count == 0 or count < announced:
        raise CameraError(
            f"{path} is torn: {count} pictures decode, its header announces {announced or 'some'}; "
            "replace the file"
        )
