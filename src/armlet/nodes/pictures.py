"""Between messages of pictures and pixels."""

from __future__ import annotations

import array

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from armlet.camera import CameraError, Intrinsics, jpeg, raw

from .messages import MessageError
from .stamps import to_time


def compressed_image(data: jpeg.JpegBytes, stamp_ns: int, frame_id: str) -> CompressedImage:
    message = CompressedImage(format="jpeg")
    message.header.stamp = to_time(stamp_ns)
    message.header.frame_id = frame_id
    # array.array(data) would take a memoryview item by item; this is one copy.
    content = array.array("B")
    content.frombytes(data)
    message.data = content
    return message


def camera_info(intrinsics: Intrinsics | None, size: tuple[int, int], frame_id: str) -> CameraInfo:
    """CameraInfo of (width, height) pictures; K all zero, uncalibrated (REP-104), without any."""
    message = CameraInfo(width=size[0], height=size[1])
    message.header.frame_id = frame_id
    if intrinsics is not None:
        message.distortion_model = intrinsics.distortion_model
        message.d = list(intrinsics.d)
        message.k = list(intrinsics.k)
        message.r = list(intrinsics.r)
        message.p = list(intrinsics.p)
    return message


def image(rgb: NDArray[np.uint8], stamp_ns: int, frame_id: str) -> Image:
    """Image rgb8 from (H, W, 3)."""
    height, width = rgb.shape[:2]
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
    message.header.stamp = to_time(stamp_ns)
    message.header.frame_id = frame_id
    # A numpy array would be checked element by element (55 ms a picture); this is one copy.
    pixels = array.array("B")
    pixels.frombytes(np.ascontiguousarray(rgb).data)
    message.data = pixels
    return message


def rgb(message: Image | CompressedImage) -> NDArray[np.uint8]:
    """Pixels (H, W, 3), RGB, of a raw or JPEG picture. Raises CameraError."""
    if isinstance(message, CompressedImage):
        return jpeg.decode(np.frombuffer(message.data, np.uint8).tobytes())
    return raw.rgb(message)


def picture_size(message: Image | CompressedImage) -> tuple[int, int]:
    """(width, height) of a picture; of a JPEG by its header. Raises MessageError if it has none."""
    if isinstance(message, Image):
        return message.width, message.height
    try:
        return jpeg.size(memoryview(message.data))
    except CameraError as error:
        raise MessageError(str(error)) from error
