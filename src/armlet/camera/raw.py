"""Raw pictures, as sensor_msgs/Image has them, to RGB arrays.

The one place that says what a raw picture is: for aligner, recorder, policy and bags alike. Depth
and other pictures of more than 8 bits are refused: they are no RGB.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import CameraError

# Bytes of a pixel, and which of them are red, green and blue.
_ENCODINGS = {
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "8UC3": (3, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
    "8UC1": (1, (0, 0, 0)),
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
            f"{str(message.encoding)[:40]!r}: have the camera's driver publish rgb8"
        )
    pixel = _ENCODINGS[message.encoding][0]
    height, width, step = int(message.height), int(message.width), int(message.step)
    size = len(message.data)  # type: ignore[arg-type]
    fits = 0 < height * width <= _MOST_PIXELS and step >= pixel * width and size == height * step
    if fits:
        return ""
    return (
        f"picture of {width}x{height} with step {step}, but {size} bytes: {message.encoding} takes "
        f"a step of {pixel * width} or more, and step x height bytes; correct the camera's driver"
    )


def rgb(message: RawPicture) -> NDArray[np.uint8]:
    """Pixels (H, W, 3), RGB; a view where that is possible. Padding of rows and alpha are left out.

    8 bits have no byte order, so is_bigendian means nothing. Raises CameraError saying what does
    not fit.
    """
    if reason := unfit(message):
        raise CameraError(reason)
    pixel, channels = _ENCODINGS[message.encoding]
    data = np.frombuffer(message.data, np.uint8)  # type: ignore[call-overload]
    rows = data.reshape(message.height, message.step)[:, : pixel * message.width]
    pixels = rows.reshape(message.height, message.width, pixel)
    if channels == (0, 1, 2):
        return np.asarray(pixels[:, :, :3])
    if channels == (2, 1, 0):
        return np.asarray(pixels[:, :, 2::-1])
    return np.repeat(pixels, 3, axis=2)
