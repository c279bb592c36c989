"""Raw pictures, as sensor_msgs/Image has them, to RGB arrays.

The one place that says what a raw picture is: for aligner, recorder, policy and bags alike. Depth
and other pictures of more than 8 bits are refused: they are no RGB. Bytes of YUV are those of video
(BT.601, 16..235), as UVC cameras send them; OpenCV converts them and Bayer pictures, as cv_bridge
has it do, so both give the same pixels.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import CameraError


@dataclass(frozen=True)
class _Layout:
    """How an encoding's bytes lie.

    pixel: bytes of one in a row. channels: which of them are red, green and blue, where each pixel
    has its own; code: else OpenCV's conversion. block: height and width are multiples of these.
    least: pixels of the shorter side. half_rows: rows of bytes for every two of the picture.
    """

    pixel: int
    channels: tuple[int, int, int] | None = None
    code: int = -1
    block: tuple[int, int] = (1, 1)
    least: int = 1
    half_rows: int = 2

    def rows(self, height: int) -> int:
        """Rows of bytes of a picture; those beyond its height are colours."""
        return height * self.half_rows // 2


def _bayer(code: int) -> _Layout:
    # OpenCV leaves smaller ones black.
    return _Layout(1, code=code, block=(2, 2), least=4)


def _two_planes(code: int) -> _Layout:
    return _Layout(1, code=code, block=(2, 2), half_rows=3)


_RED_FIRST, _BLUE_FIRST, _GREY = (0, 1, 2), (2, 1, 0), (0, 0, 0)
_UYVY = _Layout(2, code=cv2.COLOR_YUV2RGB_UYVY, block=(1, 2))
_YUYV = _Layout(2, code=cv2.COLOR_YUV2RGB_YUY2, block=(1, 2))
_ENCODINGS = {
    "rgb8": _Layout(3, _RED_FIRST),
    "bgr8": _Layout(3, _BLUE_FIRST),
    "rgba8": _Layout(4, _RED_FIRST),
    "bgra8": _Layout(4, _BLUE_FIRST),
    "8UC3": _Layout(3, _BLUE_FIRST),
    "mono8": _Layout(1, _GREY),
    "8UC1": _Layout(1, _GREY),
    "uyvy": _UYVY,
    "yuv422": _UYVY,
    "yuyv": _YUYV,
    "yuv422_yuy2": _YUYV,
    "nv12": _two_planes(cv2.COLOR_YUV2RGB_NV12),
    "nv21": _two_planes(cv2.COLOR_YUV2RGB_NV21),
    # ROS names the first two pixels of the first two rows, OpenCV those one further down and right.
    "bayer_rggb8": _bayer(cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": _bayer(cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": _bayer(cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": _bayer(cv2.COLOR_BayerGB2RGB),
}
# 8192 x 8192: more is no camera's.
_MOST_PIXELS = 1 << 26


class RawPicture(Protocol):
    """An Image message, of rclpy or of a bag."""

    height: int
    width: int
    encoding: str
    step: int
    data: object


def unfit(message: RawPicture) -> str:
    """Why a message is no picture that can be taken; empty if it is one. Cheap."""
    if message.encoding not in _ENCODINGS:
        return (
            f"encoding must be one of {', '.join(_ENCODINGS)}, or JPEG; found "
            f"{str(message.encoding)[:40]!r}{_of_more_bits(message.encoding)}: have the camera's "
            "driver publish rgb8"
        )
    layout = _ENCODINGS[message.encoding]
    height, width, step = int(message.height), int(message.width), int(message.step)
    if height % layout.block[0] or width % layout.block[1] or 0 < min(height, width) < layout.least:
        return (
            f"picture of {width}x{height}: {message.encoding} takes "
            f"{'an even width' if layout.block[0] == 1 else 'even sides'}"
            f"{f' of {layout.least} or more' if layout.least > 1 else ''}; "
            "set another size in the camera's driver"
        )
    size, least, rows = len(message.data), layout.pixel * width, layout.rows(height)  # type: ignore[arg-type]
    if 0 < height * width <= _MOST_PIXELS and step >= least and size == rows * step:
        return ""
    return (
        f"picture of {width}x{height} with step {step}, but {size} bytes: {message.encoding} takes "
        f"a step of {least} or more, and {rows} x step bytes; correct the camera's driver"
    )


def _of_more_bits(encoding: str) -> str:
    deep = re.search(r"16|32|64|S", encoding)
    return ", which is depth or has more than 8 bits a channel" if deep else ""


def rgb(message: RawPicture) -> NDArray[np.uint8]:
    """Pixels (H, W, 3), RGB; a view where that is possible. Padding of rows and alpha are left out.

    8 bits have no byte order, so is_bigendian means nothing. Raises CameraError saying what does
    not fit.
    """
    if reason := unfit(message):
        raise CameraError(reason)
    layout = _ENCODINGS[message.encoding]
    data = np.frombuffer(message.data, np.uint8)  # type: ignore[call-overload]
    height = layout.rows(message.height)
    rows = data.reshape(height, message.step)[:, : layout.pixel * message.width]
    pixels = rows.reshape(height, message.width, layout.pixel)
    if layout.channels is None:
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), layout.code), np.uint8)
    if layout.channels == _RED_FIRST:
        return np.asarray(pixels[:, :, :3])
    if layout.channels == _BLUE_FIRST:
        return np.asarray(pixels[:, :, 2::-1])
    return np.repeat(pixels, 3, axis=2)
