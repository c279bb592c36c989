"""Videos: one H.264/HEVC/AV1 stream of RGB pictures at a constant rate, and back.

Picture n has time n / fps; every second picture is a key picture (LeRobot's GOP of 2), so any
frame is at most one decode away from a seek. Pictures are BT.601 limited range and the stream says
so, which is also what decoders assume of LeRobot's own untagged videos.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from . import mp4
from .errors import VideoError
from .mp4_file import open_mp4
from .rationals import picture_rate, time_base
from .video_pieces import REORDERED

_GOP = 2
_NEAR = 4 * _GOP
"""Pictures that are decoded rather than passed over by a seek."""
PIXELS = "yuv420p"
"""Of all that is recorded: 4:2:0, 8 bits."""


@dataclass(frozen=True)
class _Codec:
    """An encoder as FFmpeg names it, its options, the crf it is given unasked, its scale's end.

    exact: the options with which nothing is lost; None: it has none.
    """

    encoder: str
    stream: str
    options: dict[str, str]
    crf: int
    worst_crf: int
    exact: dict[str, str] | None = None


# Fast presets: measured at 640x480, x264 ultrafast needs 1.4 ms CPU a picture where SVT-AV1 as
# LeRobot sets it needs 6 to 25. Chroma is half as fine as luma already and quantized less here: at
# the same size that is worth more. At crf 18 PSNR is 0.3 dB above that of LeRobot's default where
# pictures are clean, 3 dB where they are noisy, for 40 to 90 kB a picture (crf 23: half of that).
_CODECS = {
    "h264": _Codec(
        "libx264",
        "h264",
        {
            "preset": "ultrafast",
            "tune": "zerolatency",
            "x264-params": "chroma-qp-offset=-6",
        },
        18,
        51,
    ),
    "hevc": _Codec(
        "libx265",
        "hevc",
        {"preset": "ultrafast", "tune": "zerolatency", "x265-params": "log-level=error"},
        20,
        51,
        {
            "preset": "ultrafast",
            "tune": "zerolatency",
            "x265-params": "log-level=error:lossless=1",
        },
    ),
    "libsvtav1": _Codec("libsvtav1", "av1", {"preset": "12"}, 23, 63),
}
CODECS = tuple(_CODECS)


def stream_name(codec: str) -> str:
    """What info.json calls the streams of a codec option. Raises VideoError if unknown."""
    return _codec(codec).stream


def default_crf(codec: str) -> int:
    """The quality a codec option is given unasked. Raises VideoError if unknown."""
    return _codec(codec).crf


def is_exact(codec: str, pixels: str) -> bool:
    """Whether pictures of this pixel format can be encoded again with nothing lost, as depth of 12
    bits can by HEVC. False where this FFmpeg was built without it. Raises VideoError if unknown."""
    known = _codec(codec)
    if known.exact is None:
        return False
    try:
        formats = av.codec.Codec(known.encoder, "w").video_formats or []
    except av.codec.codec.UnknownCodecError:
        return False
    return pixels in {each.name for each in formats}


def _codec(name: str) -> _Codec:
    if name not in _CODECS:
        raise VideoError(f"unknown codec {name!r}; choose one of {', '.join(CODECS)}")
    return _CODECS[name]


@dataclass(frozen=True)
class Sample:
    """One encoded picture in the form an MP4 file holds it. key: needs no other to be decoded."""

    content: bytes
    key: bool


@dataclass(frozen=True)
class Format:
    """What an encoder is asked for: pictures of height x width at fps, and their quality.

    Other pixels than 4:2:0 of 8 bits are encoded with nothing lost (crf is not used); see is_exact.
    Raises VideoError for a size or setting the codec cannot encode.
    """

    height: int
    width: int
    fps: int
    codec: str = "h264"
    crf: int = 18
    pixels: str = PIXELS

    def __post_init__(self) -> None:
        known = _codec(self.codec)
        if self.pixels != PIXELS:
            if not is_exact(self.codec, self.pixels):
                raise VideoError(
                    f"{self.pixels} cannot be encoded by {self.codec} with nothing lost; "
                    f"{PIXELS} can"
                )
            return
        if self.height % 2 or self.width % 2 or min(self.height, self.width) < 2:
            raise VideoError(
                f"picture size {self.width}x{self.height}, but 4:2:0 video needs even width "
                "and height; set the camera to an even size or crop one row or column"
            )
        if not 0 <= self.crf <= known.worst_crf:
            raise VideoError(
                f"crf must be in 0..{known.worst_crf} for {self.codec}, found {self.crf}"
            )


class Encoder:
    """Frames in, MP4 samples out, in the same order, one for one."""

    def __init__(self, form: Format):
        self._stream_name = stream_name(form.codec)
        self._fps = form.fps
        self._given = self._returned = 0
        # FFmpeg begins a file that nothing is ever put into: for its sample description only. It is
        # closed at once: left to the garbage collector it ends the process with PyAV before 17.
        head = io.BytesIO()
        with av.open(head, "w", format="mp4", options={"movflags": "empty_moov"}) as container:
            self._encoder = _open_encoder(container, form)
            self.description = mp4.sample_description(head.getvalue())

    def encode(self, frame: Any) -> list[Sample]:
        """Samples that are ready after this 4:2:0 limited-range frame; None flushes the rest.

        Raises VideoError if the encoder does not answer picture for picture.
        """
        if frame is not None:
            frame.pts, frame.time_base = self._given, Fraction(1, self._fps)
            self._given += 1
        samples = [self._sample(packet) for packet in self._encoder.encode(frame)]
        if frame is None and self._returned != self._given:
            raise VideoError(f"{self._given} pictures went in, {self._returned} came out")
        return samples

    def _sample(self, packet: Any) -> Sample:
        if packet.pts != self._returned:
            raise VideoError(
                f"the encoder gave picture {packet.pts} where {self._returned} was due"
            )
        self._returned += 1
        return Sample(mp4.sample(self._stream_name, bytes(packet)), bool(packet.is_keyframe))


def _open_encoder(container: Any, form: Format) -> Any:
    """An open encoder. It outlives the container, whose header is written by then."""
    codec = _codec(form.codec)
    stream: Any = container.add_stream(codec.encoder, rate=form.fps)
    stream.width, stream.height = form.width, form.height
    stream.pix_fmt = form.pixels
    stream.gop_size = _GOP
    stream.time_base = Fraction(1, form.fps)
    if form.pixels != PIXELS:
        stream.options = dict(codec.exact or {})
    else:
        stream.options = {"crf": str(form.crf), **codec.options}
        stream.codec_context.colorspace = Colorspace.ITU601
        stream.codec_context.color_range = ColorRange.MPEG
    # Each camera has a thread of its own; more per camera cost CPU and gain nothing at 30 fps.
    stream.codec_context.thread_count = 1
    if codec.encoder == "libsvtav1" and hasattr(os, "sched_setscheduler"):
        _start_svt(container)
    else:
        container.start_encoding()
    return stream.codec_context


_scheduling_lock = threading.Lock()


def _start_svt(container: Any) -> None:
    """Start SVT-AV1, which is not to change how any thread of this process is scheduled.

    Opened as root it raises its own threads and the calling one to SCHED_FIFO 99 and leaves them
    there, which starves the servo bus and everything else on the machine. So the calling one is a
    thread that ends here: the C library remembers what a thread was raised to, whatever the kernel
    is told afterwards, and Fast DDS gives that to the threads it starts from it.
    """
    os.environ.setdefault("SVT_LOG", "1")  # errors only, instead of a banner per video
    with _scheduling_lock, _scheduling_kept(), ThreadPoolExecutor(1) as opener:
        opener.submit(container.start_encoding).result()


@contextlib.contextmanager
def _scheduling_kept() -> Iterator[None]:
    """All threads get back the policy they had; new ones get the calling thread's."""
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


def frame_count(path: Path) -> int:
    """Number of pictures in a file, from its index. Raises VideoError."""
    return extent(path)[0]


def extent(path: Path) -> tuple[int, tuple[int, int]]:
    """Number of pictures in a file, and their height and width. Raises VideoError."""
    with open_mp4(path) as (container, stream):
        count = stream.frames or sum(packet.size > 0 for packet in container.demux(stream))
        return int(count), (stream.height, stream.width)


def describe(path: Path) -> dict[str, Any]:
    """A video feature's `info` block in info.json, read from the stream. Raises VideoError."""
    with open_mp4(path) as (container, stream):
        return {
            "video.height": stream.height,
            "video.width": stream.width,
            "video.codec": stream.codec_context.codec.canonical_name,
            "video.pix_fmt": stream.pix_fmt,
            "video.is_depth_map": False,
            "video.fps": int(picture_rate(stream)),
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
    # One for all frames, as each frame would make one of its own.
    convert = VideoReformatter()
    with open_mp4(path) as (container, stream):
        wanted = None if indices is None else np.asarray(indices, dtype=np.int64)
        if wanted is None or _is_run(wanted):
            stream.thread_type = "AUTO"
        else:
            # A thread more is a picture more that is decoded behind each wanted one.
            stream.codec_context.thread_count = 1
        if wanted is None:
            pictures = [_rgb(frame, convert) for frame in container.decode(stream)]
            return np.stack(pictures) if pictures else _empty(0, stream)
        decoded = _empty(len(wanted), stream)
        places: dict[int, list[int]] = {}
        for place, number in enumerate(wanted.tolist()):
            places.setdefault(number, []).append(place)
        rate = Fraction(fps) if fps else picture_rate(stream)
        for number, frame in _seek(container, stream, sorted(places), rate):
            decoded[places.pop(number)] = _rgb(frame, convert)
        if places:
            raise VideoError(f"{path} has no picture number {min(places)}")
        return decoded


def _is_run(numbers: NDArray[np.int64]) -> bool:
    """Whether several pictures are read after each seek."""
    distinct = np.unique(numbers)
    seeks = 1 + int((np.diff(distinct) > _NEAR).sum())
    return len(distinct) > seeks * _NEAR


def _rgb(frame: Any, convert: VideoReformatter) -> NDArray[np.uint8]:
    converted: Any = convert.reformat(frame, format="rgb24")
    picture: NDArray[np.uint8] = converted.to_ndarray()
    return picture


def frames(path: Path, first: int, count: int, fps: int) -> Iterator[Any]:
    """`count` frames of a video from picture `first` on as they are, to be encoded again.

    Raises VideoError if one is not in the file.
    """
    found = 0
    with open_mp4(path) as (container, stream):
        for _, frame in _seek(container, stream, range(first, first + count), Fraction(fps)):
            found += 1
            yield _copied(frame)
    if found != count:
        raise VideoError(f"{path}: expected {count} pictures from number {first} on, found {found}")


def _copied(frame: Any) -> Any:
    """A new frame: the old one's picture type and times are orders to an encoder."""
    copy = av.VideoFrame(frame.width, frame.height, frame.format.name)
    for old, new in zip(frame.planes, copy.planes, strict=True):
        width = min(old.line_size, new.line_size)
        lines = np.zeros((new.height, new.line_size), np.uint8)
        lines[:, :width] = np.frombuffer(old, np.uint8).reshape(-1, old.line_size)[
            : new.height, :width
        ]
        new.update(lines.tobytes())
    return copy


def _empty(count: int, stream: Any) -> NDArray[np.uint8]:
    return np.empty((count, stream.height, stream.width, 3), np.uint8)


def _seek(
    container: Any, stream: Any, numbers: Sequence[int], rate: Fraction
) -> Iterator[tuple[int, Any]]:
    """The frames with these ascending numbers, seeking over gaps longer than a few GOPs.

    rate is the nominal one: the average rate of a video with a gap in it would shift pictures.
    """
    base = time_base(stream)
    early = REORDERED if stream.codec_context.has_b_frames else 0
    start = 0
    while start < len(numbers):
        end = start + 1
        while end < len(numbers) and numbers[end] - numbers[end - 1] <= _NEAR:
            end += 1
        pending = set(numbers[start:end])
        begin = max(0, numbers[start] - early)
        container.seek(int(begin / rate / base), stream=stream, backward=True, any_frame=False)
        for frame in container.decode(stream):
            number = round(frame.pts * base * rate)
            if number in pending:
                pending.discard(number)
                yield number, frame
            if number >= numbers[end - 1]:
                break
        start = end
