"""Videos: one H.264/HEVC/AV1 stream of RGB pictures at a constant rate, and back.

Picture n has time n / fps; every second picture is a key picture (LeRobot's GOP of 2), so any
frame is at most one decode away from a seek. RGB goes through BT.601 limited range and the stream
says so, which is also what decoders assume of LeRobot's own untagged videos.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from .errors import VideoError

_GOP = 2
_QUEUE_SIZE = 30


@dataclass(frozen=True)
class _Codec:
    """An encoder as FFmpeg names it, its options, and its crf scale's end."""

    encoder: str
    stream: str
    options: dict[str, str]
    worst_crf: int


# Fast presets: measured at 640x480, x264 ultrafast needs 1.4 ms CPU a picture at 34 dB where
# SVT-AV1 as LeRobot sets it needs 25 ms at 33 dB.
_CODECS = {
    "h264": _Codec("libx264", "h264", {"preset": "ultrafast", "tune": "zerolatency"}, 51),
    "hevc": _Codec(
        "libx265",
        "hevc",
        {"preset": "ultrafast", "tune": "zerolatency", "x265-params": "log-level=error"},
        51,
    ),
    "libsvtav1": _Codec("libsvtav1", "av1", {"preset": "12"}, 63),
}
CODECS = tuple(_CODECS)


def stream_name(codec: str) -> str:
    """What info.json calls the streams of a codec option. Raises VideoError if unknown."""
    return _codec(codec).stream


def _codec(name: str) -> _Codec:
    if name not in _CODECS:
        raise VideoError(f"unknown codec {name!r}; choose one of {', '.join(CODECS)}")
    return _CODECS[name]


class VideoEncoder:
    """Encodes pictures to an mp4 file in a thread of its own.

    The queue is bounded and `put` blocks when it is full: the recorder slows down, no picture is
    ever dropped. What goes wrong in the thread is raised by the next `put` or by `finish`.
    """

    def __init__(
        self, path: Path, height: int, width: int, fps: int, codec: str = "h264", crf: int = 23
    ):
        """Raises VideoError for a size or setting the codec cannot encode."""
        self.path = path
        self._shape = (height, width, 3)
        self._fps = fps
        self._codec = _codec(codec)
        self._crf = crf
        if height % 2 or width % 2 or min(height, width) < 2:
            raise VideoError(
                f"{path.name}: picture size {width}x{height}, but 4:2:0 video needs even width "
                "and height; set the camera to an even size or crop one row or column"
            )
        if not 0 <= crf <= self._codec.worst_crf:
            raise VideoError(f"crf must be in 0..{self._codec.worst_crf} for {codec}, found {crf}")
        self._queue: queue.Queue[NDArray[np.uint8] | None] = queue.Queue(_QUEUE_SIZE)
        self._error: Exception | None = None
        self._aborted = False
        self._ended = False
        self._put = 0
        self._packets = 0
        self._thread = threading.Thread(target=self._run, name=f"encode {path.stem}", daemon=True)
        self._thread.start()

    @property
    def queued(self) -> int:
        """Pictures waiting; at its limit, `put` blocks."""
        return self._queue.qsize()

    def put(self, picture: NDArray[np.uint8]) -> None:
        """Queue a copy of one (H, W, 3) uint8 RGB picture. Raises VideoError."""
        if picture.shape != self._shape or picture.dtype != np.uint8:
            raise VideoError(
                f"{self.path.name}: expected uint8 {self._shape}, "
                f"found {picture.dtype} {picture.shape}"
            )
        if not self._thread.is_alive():
            raise VideoError(f"{self.path.name} is closed")
        self._raise_error()
        self._queue.put(picture.copy())
        self._put += 1

    def finish(self) -> int:
        """Close the file and return its number of pictures. May be called again.

        Raises VideoError if anything failed, or if the file does not hold every picture.
        """
        self._stop()
        self._raise_error()
        stored = frame_count(self.path)
        if not self._put == self._packets == stored:
            raise VideoError(
                f"{self.path.name}: {self._put} pictures went in, {self._packets} came out of the "
                f"encoder, {stored} are in the file; discard this episode"
            )
        return stored

    def abort(self) -> None:
        """Stop without finishing; the file is left as it is."""
        self._aborted = True
        self._stop()

    def _stop(self) -> None:
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise VideoError(f"encoding {self.path.name} failed: {self._error}") from self._error

    def _run(self) -> None:
        try:
            self._encode()
        except Exception as error:  # whatever it was, the caller must hear of it
            self._error = error
            # Unblocks `put`. Behind the end mark nothing comes: waiting there would never end.
            while not self._ended:
                self._next()

    def _next(self) -> NDArray[np.uint8] | None:
        """The next picture, None at the end mark, which comes once."""
        picture = self._queue.get()
        self._ended = picture is None
        return picture

    def _encode(self) -> None:
        with av.open(str(self.path), "w", format="mp4") as container:
            stream = self._open_stream(container)
            convert = VideoReformatter()
            number = 0
            while (picture := self._next()) is not None:
                if self._aborted:
                    continue
                frame = convert.reformat(
                    av.VideoFrame.from_ndarray(picture, format="rgb24"),
                    format="yuv420p",
                    dst_colorspace=Colorspace.ITU601,
                    dst_color_range=ColorRange.MPEG,
                )
                frame.pts, frame.time_base = number, Fraction(1, self._fps)
                number += 1
                self._mux(container, stream.encode(frame))
            self._mux(container, stream.encode(None))

    def _open_stream(self, container: Any) -> Any:
        stream = container.add_stream(self._codec.encoder, rate=self._fps)
        stream.width, stream.height = self._shape[1], self._shape[0]
        stream.pix_fmt = "yuv420p"
        stream.gop_size = _GOP
        stream.time_base = Fraction(1, self._fps)
        stream.options = {"crf": str(self._crf), **self._codec.options}
        stream.codec_context.colorspace = Colorspace.ITU601
        stream.codec_context.color_range = ColorRange.MPEG
        # Each camera has a thread of its own; more per camera cost CPU and gain nothing at 30 fps.
        stream.codec_context.thread_count = 1
        with _scheduling_kept(self._codec.encoder):
            container.start_encoding()
        return stream

    def _mux(self, container: Any, packets: Sequence[Any]) -> None:
        for packet in packets:
            container.mux(packet)
            self._packets += 1


_scheduling_lock = threading.Lock()


@contextlib.contextmanager
def _scheduling_kept(encoder: str) -> Iterator[None]:
    """Undo what SVT-AV1 does to the scheduler.

    Opened as root it raises its own threads and the calling one to SCHED_FIFO 99 and leaves them
    there, which starves the servo bus and everything else on the machine. All threads of this
    process get back the policy they had; new ones get the calling thread's.
    """
    if encoder != "libsvtav1" or not hasattr(os, "sched_setscheduler"):
        yield
        return
    os.environ.setdefault("SVT_LOG", "1")  # errors only, instead of a banner per video
    with _scheduling_lock:
        own = _scheduling(threading.get_native_id())
        before = {thread: _scheduling(thread) for thread in _threads()}
        try:
            yield
        finally:
            for thread in _threads():
                with contextlib.suppress(ProcessLookupError):  # a thread may have ended meanwhile
                    wanted = before.get(thread) or own
                    if wanted is not None and _scheduling(thread) != wanted:
                        os.sched_setscheduler(thread, wanted[0], os.sched_param(wanted[1]))


def _threads() -> list[int]:
    return [int(entry.name) for entry in Path("/proc/self/task").iterdir()]


def _scheduling(thread: int) -> tuple[int, int] | None:
    try:
        return os.sched_getscheduler(thread), os.sched_getparam(thread).sched_priority
    except ProcessLookupError:
        return None


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """Container and video stream of a file. Raises VideoError if there is none."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise VideoError(f"{path} holds no video stream")
            yield container, container.streams.video[0]
    except FileNotFoundError as error:
        raise VideoError(f"video {path} is absent") from error
    except av.FFmpegError as error:
        raise VideoError(f"video {path} cannot be read: {error}") from error


def frame_count(path: Path) -> int:
    """Number of pictures in a file, from its index. Raises VideoError."""
    with _opened(path) as (container, stream):
        if stream.frames:
            return int(stream.frames)
        return sum(packet.size > 0 for packet in container.demux(stream))


def describe(path: Path) -> dict[str, Any]:
    """A video feature's `info` block in info.json, read from the stream. Raises VideoError."""
    with _opened(path) as (container, stream):
        return {
            "video.height": stream.height,
            "video.width": stream.width,
            "video.codec": stream.codec_context.codec.canonical_name,
            "video.pix_fmt": stream.pix_fmt,
            "video.is_depth_map": False,
            "video.fps": int(stream.base_rate),
            "video.channels": 3,
            "has_audio": bool(container.streams.audio),
        }


def decode(
    path: Path, indices: Sequence[int] | None = None, fps: int | None = None
) -> NDArray[np.uint8]:
    """Pictures of a video by number, or all of them: (T, H, W, 3) uint8 RGB.

    indices may repeat and come in any order; picture n is the one at n / fps seconds, fps being
    the stream's own rate unless given. Raises VideoError if one is not in the file.
    """
    with _opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        if indices is None:
            pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
            return np.stack(pictures) if pictures else _empty(0, stream)
        wanted = np.asarray(indices, dtype=np.int64)
        decoded = _empty(len(wanted), stream)
        places: dict[int, list[int]] = {}
        for place, number in enumerate(wanted.tolist()):
            places.setdefault(number, []).append(place)
        rate = Fraction(fps or stream.base_rate)
        for number, frame in _seek(container, stream, sorted(places), rate):
            decoded[places.pop(number)] = frame.to_ndarray(format="rgb24")
        if places:
            raise VideoError(f"{path} has no picture number {min(places)}")
        return decoded


def _empty(count: int, stream: Any) -> NDArray[np.uint8]:
    return np.empty((count, stream.height, stream.width, 3), np.uint8)


def _seek(
    container: Any, stream: Any, numbers: Sequence[int], rate: Fraction
) -> Iterator[tuple[int, Any]]:
    """The frames with these ascending numbers, seeking over gaps longer than a few GOPs.

    rate is the nominal one: the average rate of a video with a hole in it would shift pictures.
    """
    base = stream.time_base
    start = 0
    while start < len(numbers):
        end = start + 1
        while end < len(numbers) and numbers[end] - numbers[end - 1] <= 4 * _GOP:
            end += 1
        pending = set(numbers[start:end])
        container.seek(
            int(numbers[start] / rate / base), stream=stream, backward=True, any_frame=False
        )
        for frame in container.decode(stream):
            number = round(frame.pts * base * rate)
            if number in pending:
                pending.discard(number)
                yield number, frame
            if number >= numbers[end - 1]:
                break
        start = end
