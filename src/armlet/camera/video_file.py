"""A video file played as if it were a camera.

PyAV is imported where a file is opened: a tenth of a node's start, which most do without.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from armlet.files import FileError, check_file, open_video

from .errors import CameraError, EndOfVideo
from .jpeg import is_whole
from .pace import Pace
from .source import Opened, Picture

if TYPE_CHECKING:
    from av.container import InputContainer

_Content = NDArray[np.uint8] | bytes


class FileSource(Opened):
    """Pictures of a video file's first video stream.

    A Motion-JPEG file gives its pictures as it holds them (Picture.jpeg), as a camera does; any
    other is decoded (Picture.rgb).

    realtime: each picture is given out when its presentation time has come (one that is overdue, at
    once); otherwise as fast as it is read. Stamps are the time of opening plus the presentation
    time in both cases, so their spacing is the file's own. loop: begin again at the end, time
    running on; otherwise EndOfVideo is raised there. A file that is missing, not a video, torn, or
    shorter than its own header says raises CameraError.
    """

    def __init__(self, path: str | Path, realtime: bool = True, loop: bool = False) -> None:
        self.file = Path(path)
        self.width, self.height, self.fps = _probe(self.file)
        self.path = ""
        self.skipped = 0
        self._realtime = realtime
        self._loop = loop
        self._pace: Pace | None = None
        self._frames: Iterator[tuple[float, _Content]] | None = None
        self._waiting: tuple[float, _Content] | None = None

    @property
    def clock_steps(self) -> int:
        """How often the system clock was stepped since open()."""
        return 0 if self._pace is None else self._pace.clock_steps

    def open(self) -> None:
        if self._pace is None:
            self._pace = Pace(self.fps)
            self._frames = self._play()
            self._waiting = None

    def read(self, timeout_s: float) -> Picture:
        pace = self._pace
        if pace is None or self._frames is None:
            raise CameraError(f"{self.file} is not open: call open() first")
        if self._waiting is None:
            self._waiting = next(self._frames, None)
        if self._waiting is None:
            raise EndOfVideo(f"{self.file} has no further picture: open it again or loop it")
        elapsed_s, content = self._waiting
        if self._realtime:
            pace.wait_until(elapsed_s, timeout_s)
        self._waiting = None
        stamp_ns = pace.stamp_ns(elapsed_s)
        if isinstance(content, bytes):
            return Picture(stamp_ns, jpeg=content)
        return Picture(stamp_ns, content)

    def close(self) -> None:
        if self._pace is not None:
            self._pace.close()
            self._pace = None
            self._frames = None

    def _play(self) -> Iterator[tuple[float, _Content]]:
        """(seconds since opening, picture) of every frame, over and over where looped."""
        begin_s = 0.0
        while True:
            last_s = begin_s
            for time_s, content in _pictures(self.file):
                last_s = begin_s + time_s
                yield last_s, content
            if not self._loop:
                return
            begin_s = last_s + 1.0 / self.fps


_FORMATS = "mov,matroska,avi,mjpeg,mpegts,h264,hevc"


def _open(path: Path) -> InputContainer:
    import av

    try:
        check_file(path)
        # FFmpeg goes by content: of a playlist it would open other files, or addresses.
        return open_video(path, options={"format_whitelist": _FORMATS})
    except FileNotFoundError as error:
        raise CameraError(f"no video file at {path}: check the path") from error
    except FileError as error:
        raise CameraError(str(error)) from error
    except OSError as error:  # FFmpeg's errors of the system are such, too
        raise CameraError(f"{path} cannot be opened: {error.strerror or error}") from error
    except (av.FFmpegError, ValueError) as error:
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


def _pictures(path: Path) -> Iterator[tuple[float, _Content]]:
    """(seconds since the first frame, picture) of every frame of the file."""
    import av

    count = 0
    with _open(path) as container:
        stream = container.streams.video[0]
        announced = stream.frames
        first_s: float | None = None
        as_it_is = stream.codec_context.name == "mjpeg"
        frames = _packets(container, path) if as_it_is else _decoded(container, path)
        try:
            for time_s, content in frames:
                first_s = time_s if first_s is None else first_s
                count += 1
                yield time_s - first_s, content
        except av.FFmpegError as error:
            raise CameraError(
                f"{path} is torn: picture {count} does not decode ({error}); replace the file"
            ) from error
    if count == 0 or count < announced:
        raise CameraError(
            f"{path} is torn: {count} pictures decode, its header announces {announced or 'some'}; "
            "replace the file"
        )


def _decoded(container: InputContainer, path: Path) -> Iterator[tuple[float, _Content]]:
    for count, frame in enumerate(container.decode(container.streams.video[0])):
        if frame.time is None or frame.is_corrupt:
            raise CameraError(f"{path} is torn at picture {count}: replace the file")
        yield frame.time, np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def _packets(container: InputContainer, path: Path) -> Iterator[tuple[float, _Content]]:
    """Each packet of a Motion-JPEG stream is a JPEG file."""
    for count, packet in enumerate(container.demux(container.streams.video[0])):
        if packet.size == 0:  # the end, for decoders
            return
        content = bytes(packet)
        if packet.pts is None or packet.is_corrupt or not is_whole(content):
            raise CameraError(f"{path} is torn at picture {count}: replace the file")
        yield float(packet.pts * packet.time_base), content
