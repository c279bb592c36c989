"""JPEG to and from RGB arrays, with refusal of what libjpeg would quietly patch up."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import CameraError

_START = b"\xff\xd8"
_END = b"\xff\xd9"


def check_rgb(rgb: NDArray[np.uint8]) -> None:
    """ValueError unless `rgb` is uint8 (H, W, 3) with at least one pixel."""
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
        raise ValueError(
            f"expected an RGB picture, uint8 (H, W, 3); found {rgb.dtype} {rgb.shape}: convert it"
        )


def encode(rgb: NDArray[np.uint8], quality: int = 90) -> bytes:
    """JPEG file bytes of an RGB picture, uint8 (H, W, 3); quality 1..100."""
    check_rgb(rgb)
    if not 1 <= quality <= 100:
        raise ValueError(f"JPEG quality is 1..100, not {quality}")
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise CameraError(f"OpenCV could not encode a {rgb.shape[1]}x{rgb.shape[0]} JPEG")
    return data.tobytes()


def is_whole(data: bytes) -> bool:
    """Whether bytes begin and end as a JPEG file does; cheap, nothing is decoded."""
    file = data.rstrip(b"\x00")
    return file.startswith(_START) and file.endswith(_END)


def decode(data: bytes) -> NDArray[np.uint8]:
    """RGB picture, uint8 (H, W, 3), of JPEG file bytes.

    Raises CameraError for bytes that do not begin and end like a JPEG file or do not decode. Zero
    padding after the end marker is accepted: UVC cameras send it. JPEG carries no checksum, so
    bytes changed inside the compressed data can show as wrong pixels instead of an error.
    """
    file = data.rstrip(b"\x00")
    if not file.startswith(_START):
        raise CameraError(
            f"{len(data)} bytes beginning {data[:4].hex(' ') or '(empty)'} are not a JPEG picture "
            "(ff d8 expected): check the camera's pixel format"
        )
    if not file.endswith(_END):
        # libjpeg would fill the missing rows with grey and only print a warning.
        raise CameraError(
            f"JPEG picture of {len(data)} bytes is cut off (no ff d9 at its end): drop it; if it "
            "recurs, check the cable and the USB bandwidth"
        )
    try:
        bgr = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise CameraError(f"JPEG picture of {len(data)} bytes does not decode: {error}") from error
    if bgr is None:
        raise CameraError(f"JPEG picture of {len(data)} bytes does not decode: its content is torn")
    rgb: NDArray[np.uint8] = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
    return rgb
