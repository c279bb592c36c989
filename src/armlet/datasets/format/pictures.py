"""A camera's picture, as it came or as RGB, on its way to an encoder and to the statistics.

A JPEG is decoded to its own planes and never to RGB: libjpeg's colour conversion and the way back
would cost more than encoding. JFIF planes are BT.601 full range; the video is BT.601 limited
range, which is what every decoder assumes when in doubt, so the planes go through two tables.
"""

from __future__ import annotations

import array
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeGuard

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from armlet.camera import CameraError, jpeg
from armlet.files import printable

from .errors import DatasetError, VideoError
from .stats import Levels, count_levels, pixel_stride

Picture: TypeAlias = "bytes | bytearray | memoryview | array.array[int] | NDArray[np.uint8]"
"""RGB (H, W, 3) uint8, or a JPEG as bytes, anything like bytes, or a flat uint8 array."""

_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_PIXELS = 1 << 26

_VALUES = np.arange(256)
_LUMA = np.rint(16 + _VALUES * (219 / 255)).astype(np.uint8)
_CHROMA = np.rint(128 + (_VALUES - 128) * (224 / 255)).astype(np.uint8)
# libjpeg's fixed-point YCbCr to RGB (JFIF 1.02, section 7), 16 fractional bits.
_HALF = 1 << 15
_CR_TO_R = ((91881 * (_VALUES - 128) + _HALF) >> 16).astype(np.int16)
_CB_TO_B = ((116130 * (_VALUES - 128) + _HALF) >> 16).astype(np.int16)
_CB_TO_G = (-22554 * (_VALUES - 128) + _HALF).astype(np.int32)
_CR_TO_G = (-46802 * (_VALUES - 128)).astype(np.int32)


def is_rgb(picture: Picture) -> TypeGuard[NDArray[np.uint8]]:
    """Whether a picture is an array of pixels, not a JPEG."""
    return isinstance(picture, np.ndarray) and picture.ndim != 1


def as_bytes(picture: Picture) -> bytes:
    """A picture's bytes: a JPEG's, or RGB row by row."""
    return picture if isinstance(picture, bytes) else bytes(picture)


def stored_picture(stored: Any, where: str) -> NDArray[np.uint8]:
    """A picture (H, W, 3) RGB of an image column, which holds PNG or JPEG bytes.

    Raises DatasetError for anything else, and for a picture too large for any camera.
    """
    content = stored.get("bytes") if isinstance(stored, dict) else None
    if not isinstance(content, bytes):
        raise DatasetError(f"{where}: expected a picture's bytes, found {printable(stored, 80)}")
    return decoded(content, where)


def decoded(content: bytes, where: str) -> NDArray[np.uint8]:
    """RGB (H, W, 3) of PNG or JPEG bytes, orientation ignored. Raises DatasetError."""
    try:
        if not content.startswith(_PNG):
            return jpeg.decode(content)
        width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
        if not 0 < width * height <= _MOST_PIXELS:
            raise DatasetError(
                f"{where}: a picture of {width}x{height} pixels is not from a camera"
            )
        return jpeg.decode_loosely(content)
    except CameraError as error:
        raise DatasetError(f"{where}: the picture cannot be decoded: {error}") from error


@dataclass(frozen=True)
class Developed:
    """A 4:2:0 limited-range video frame, and the levels of the RGB picture it stands for.

    damaged: part of the JPEG could not be decoded, and the picture shows something in its place.
    """

    frame: Any
    levels: Levels
    damaged: bool = False


class Developer:
    """Makes video frames of pictures of one size, and counts their levels. One thread's own."""

    def __init__(self, height: int, width: int):
        self._size = (height, width)
        self._grid = _Grid(height, width)
        self._convert = VideoReformatter()
        self._strict = _decoder("explode")
        self._lenient = _decoder("ignore_err")

    def jpeg(self, content: bytes) -> Developed:
        """A camera's JPEG. Raises VideoError if nothing of it can be decoded."""
        damaged = False
        try:
            picture = self._decode(self._strict, content)
        except VideoError:
            picture, damaged = self._decode(self._lenient, content), True
        if picture.format.name not in ("yuvj420p", "yuvj422p"):
            return replace(self.rgb(_loosely(content)), damaged=damaged)
        planes = [_plane(plane) for plane in picture.planes]
        frame = av.VideoFrame(self._size[1], self._size[0], "yuv420p")
        targets = [_plane(plane) for plane in frame.planes]
        cv2.LUT(planes[0], _LUMA, dst=targets[0])
        for source, target in zip(planes[1:], targets[1:], strict=True):
            if source.shape != target.shape:
                cv2.resize(source, target.shape[::-1], target, interpolation=cv2.INTER_AREA)
                source = target
            cv2.LUT(source, _CHROMA, dst=target)
        return Developed(frame, count_levels(self._grid.rgb(planes)), damaged)

    def rgb(self, picture: NDArray[np.uint8]) -> Developed:
        """An RGB picture (H, W, 3)."""
        frame = self._convert.reformat(
            av.VideoFrame.from_ndarray(picture, format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU601,
            dst_color_range=ColorRange.MPEG,
        )
        return Developed(frame, count_levels(sampled(picture)))

    def raw(self, content: bytes) -> Developed:
        """An RGB picture's bytes."""
        return self.rgb(np.frombuffer(content, np.uint8).reshape(*self._size, 3))

    def _decode(self, decoder: Any, content: bytes) -> Any:
        try:
            pictures = decoder.decode(av.Packet(content))
        except av.FFmpegError as error:
            raise VideoError(f"a JPEG cannot be decoded: {error}") from error
        if len(pictures) != 1:
            raise VideoError(f"a JPEG is damaged: {len(content)} bytes")
        if (pictures[0].height, pictures[0].width) != self._size:
            raise VideoError(
                f"a JPEG of {pictures[0].width}x{pictures[0].height} pixels, "
                f"expected {self._size[1]}x{self._size[0]}"
            )
        return pictures[0]


def _decoder(faults: str) -> Any:
    decoder: Any = av.CodecContext.create("mjpeg", "r")
    # A thread per picture would delay pictures by as many, and cost more.
    decoder.thread_count = 1
    decoder.options = {"err_detect": faults}
    return decoder


def _plane(plane: Any) -> NDArray[np.uint8]:
    """A view of a frame's plane, without the padding of its rows."""
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width]


def _loosely(content: bytes) -> NDArray[np.uint8]:
    try:
        return jpeg.decode_loosely(content)
    except CameraError as error:
        raise VideoError(str(error)) from error


def sampled(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The pixels (3, h, w) of an RGB picture (H, W, 3) that enter the statistics."""
    stride = pixel_stride(*picture.shape[:2])
    return np.ascontiguousarray(picture[::stride, ::stride].transpose(2, 0, 1))


class _Grid:
    """Only the sampled pixels of a JPEG as RGB, as libjpeg gives them.

    Chroma is interpolated as libjpeg does by default ("fancy": triangle filter, its rounding), so
    statistics are those of the picture that LeRobot would have been given.
    """

    def __init__(self, height: int, width: int):
        stride = pixel_stride(height, width)
        self._rows = np.arange(0, height, stride)
        self._columns = np.arange(0, width, stride)
        self._near = [_neighbours(self._rows, height), _neighbours(self._columns, width)]
        odd = self._columns % 2
        self._rounding_both = np.where(odd, 7, 8).astype(np.uint16)
        self._rounding_one = np.where(odd, 2, 1).astype(np.uint16)

    def rgb(self, planes: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        luma = planes[0].take(self._rows, 0).take(self._columns, 1).astype(np.int16)
        halved = planes[1].shape[0] < planes[0].shape[0]
        cb, cr = (self._chroma(plane, halved) for plane in planes[1:])
        green = (_CB_TO_G.take(cb) + _CR_TO_G.take(cr)) >> 16
        channels = (luma + _CR_TO_R.take(cr), luma + green, luma + _CB_TO_B.take(cb))
        return np.stack([np.clip(channel, 0, 255).astype(np.uint8) for channel in channels])

    def _chroma(self, plane: NDArray[np.uint8], halved: bool) -> NDArray[np.uint16]:
        (row, other_row), (column, other_column) = self._near
        if not halved:
            lines = plane.take(self._rows, 0).astype(np.uint16)
            near, far = lines.take(column, 1), lines.take(other_column, 1)
            return ((3 * near + far + self._rounding_one) >> 2).astype(np.uint16)
        lines = 3 * plane.take(row, 0).astype(np.uint16) + plane.take(other_row, 0)
        near, far = lines.take(column, 1), lines.take(other_column, 1)
        return ((3 * near + far + self._rounding_both) >> 4).astype(np.uint16)


def _neighbours(places: NDArray[np.int64], size: int) -> tuple[NDArray[np.int64], ...]:
    """For pixels along one axis: the chroma sample each lies in, and the next nearest."""
    nearest = places // 2
    other = np.where(places % 2, nearest + 1, nearest - 1)
    return nearest, np.clip(other, 0, (size + 1) // 2 - 1)
