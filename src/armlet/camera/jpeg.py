"""JPEG to and from RGB arrays, with refusal of what libjpeg would quietly patch up.

The one place that says what a whole JPEG is: for camera, aligner, recorder, bags and policy alike.
Zero padding after the end marker is accepted, however long: UVC cameras send it. An EXIF
orientation is ignored everywhere: a camera's rows are recorded, shown to the policy and trained on
as they are stored.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import CameraError, TornPicture

JpegBytes = bytes | bytearray | memoryview
"""Bytes of a JPEG file; a memoryview where they stay in the buffer they came in."""

_START = b"\xff\xd8"
_END = b"\xff\xd9"
_MARKER = 0xFF
# Markers without a length: TEM, RST0..7, SOI.
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD9)))
# 8192 x 8192: more is no camera's, and gigabytes when decoded.
_MOST_PIXELS = 1 << 26
# Frame headers (ITU-T T.81 table B.1): C0..CF less DHT, JPG, DAC.
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN = 0xDA
_TABLES = 0xDB
# Luminance of ITU-T T.81 table K.1, in zigzag order: its sum is what libjpeg scales by quality.
_STANDARD_SUM = 3688
# How files of other kinds begin.
_OTHERS = (
    (b"\x89PNG", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"\x00\x00\x00\x0cjP", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\x00\x00\x00\x01", "H.264 or H.265"),
    (b"\x00\x00\x01", "H.264 or H.265"),
)
# Encodings of depth, which image_transport states before its own format.
_DEEP = ("16UC1", "16SC1", "32FC1", "mono16", "compressedDepth")
_LONGEST_HEADER = 64


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


def content(data: JpegBytes) -> bytes:
    """The JPEG file in `data`, without the padding behind it.

    Raises TornPicture for bytes that do not begin and end like a JPEG file.
    """
    _require_whole(data)
    whole = bytes(data)
    return whole if whole.endswith(_END) else whole.rstrip(b"\x00")


def is_whole(data: JpegBytes) -> bool:
    """Whether bytes begin and end as a JPEG file does; cheap, nothing is decoded or copied."""
    return bytes(data[:2]) == _START and _ends(data)


def unfit(data: JpegBytes, stated: str) -> str:
    """Why a compressed picture is none that can be taken; empty if it is. Cheap.

    stated: the format its message states. The bytes count, not that: an empty format with a JPEG
    file is one. A depth picture is none, whatever it is coded as.
    """
    if not any(deep in stated for deep in _DEEP):
        if is_whole(data):
            return ""
        if bytes(data[:2]) == _START:
            return f"torn picture of {len(data)} bytes"
    if not len(data):
        return (
            "expected JPEG of 8 bits, found a picture of 0 bytes (empty); the publisher sends no "
            "pictures: see its log, and whether its camera is plugged in"
        )
    kind = _kind(data)
    states = f"its format states {stated[:80]!r}" if stated else "its format is empty"
    if "compressedDepth" in stated or kind == "compressedDepth":
        fix = "subscribe a colour camera's topic: a depth image is not RGB"
    else:
        fix = (
            "have the publisher compress as JPEG (image_transport: parameter "
            "<topic>.compressed.format: jpeg), or take image_raw"
        )
    found = kind or f"{len(data)} bytes beginning {bytes(data[:4]).hex(' ')}"
    return f"expected JPEG of 8 bits, found {found}, and {states}; {fix}"


def _kind(data: JpegBytes) -> str:
    """What a file is by how it begins; empty if unknown."""
    head = bytes(data[:32])
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp":
        return "AVIF, HEIF or MP4"
    if head[12:16] == b"\x89PNG":  # behind the header of compressed_depth_image_transport
        return "compressedDepth"
    if head[:2] == _START:
        return "JPEG"
    return next((kind for begin, kind in _OTHERS if head.startswith(begin)), "")


def _ends(data: JpegBytes) -> bool:
    """Whether the end marker is last, but for zero padding."""
    tail = bytes(data[-64:]).rstrip(b"\x00")
    if len(tail) < len(_END):  # much padding, as of cameras whose buffers have one size
        tail = bytes(data).rstrip(b"\x00")
    return tail.endswith(_END)


def size(data: JpegBytes) -> tuple[int, int]:
    """(width, height) that a JPEG file's header states; nothing is decoded. TornPicture if none."""
    at = 2
    if bytes(data[:2]) != _START:
        raise TornPicture(_no_jpeg(data))
    for _ in range(_LONGEST_HEADER):
        while at + 1 < len(data) and data[at] == data[at + 1] == _MARKER:
            at += 1  # fill bytes
        if at + 9 > len(data) or data[at] != _MARKER or data[at + 1] == _SCAN:
            break
        if data[at + 1] in _WITHOUT_LENGTH:
            at += 2
            continue
        if data[at + 1] in _FRAME_HEADERS:
            height, width = data[at + 5] << 8 | data[at + 6], data[at + 7] << 8 | data[at + 8]
            if not 0 < width * height <= _MOST_PIXELS:
                raise TornPicture(
                    f"JPEG picture states {width}x{height} pixels, which no camera sends"
                )
            return width, height
        at += 2 + (data[at + 2] << 8 | data[at + 3])
    raise TornPicture(f"JPEG picture of {len(data)} bytes states no size: its header is torn")


def decode(data: JpegBytes) -> NDArray[np.uint8]:
    """RGB picture, uint8 (H, W, 3), of JPEG file bytes, as its rows are stored.

    Raises TornPicture for bytes that do not begin and end like a JPEG file or do not decode. JPEG
    carries no checksum, so bytes changed inside the compressed data can show as wrong pixels
    instead of an error.
    """
    _require_whole(data)
    size(data)
    return decode_loosely(data)


def decode_loosely(data: JpegBytes) -> NDArray[np.uint8]:
    """As `decode`, also where libjpeg has to fill missing rows with grey. Raises TornPicture."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise TornPicture(f"JPEG picture of {len(data)} bytes does not decode: {error}") from error
    if bgr is None:
        raise TornPicture(f"JPEG picture of {len(data)} bytes does not decode: its content is torn")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def _require_whole(data: JpegBytes) -> None:
    if bytes(data[:2]) != _START:
        raise TornPicture(_no_jpeg(data))
    if not _ends(data):
        # libjpeg would fill the missing rows with grey and only print a warning.
        raise TornPicture(
            f"JPEG picture of {len(data)} bytes is cut off (no ff d9 at its end): drop it; if it "
            "recurs, check the cable and the USB bandwidth"
        )


def _no_jpeg(data: JpegBytes) -> str:
    return (
        f"{len(data)} bytes beginning {bytes(data[:4]).hex(' ') or '(empty)'} are not a JPEG "
        "picture (ff d8 expected): check the camera's pixel format"
    )


def quality(data: JpegBytes) -> int | None:
    """Which quality (1..100) libjpeg would have compressed so coarsely with; None if none is said.

    By the first quantization table, that of brightness, whoever made it.
    """
    steps = _first_table(bytes(data))
    if not steps:
        return None
    percent = 100 * sum(steps) / _STANDARD_SUM
    found = 5000 / percent if percent > 100 else 100 - percent / 2
    return min(100, max(1, round(found)))


def _first_table(data: bytes) -> list[int]:
    at = 2
    while at + 4 <= len(data) and data[at] == _MARKER and data[at + 1] != _SCAN:
        if data[at + 1] in _WITHOUT_LENGTH:
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == _TABLES:
            wide = data[at + 4] >> 4 if length > 2 else 0
            entries = data[at + 5 : at + 5 + 64 * (1 + wide)]
            if len(entries) < 64 * (1 + wide):
                return []
            if wide:
                return [int.from_bytes(entries[i : i + 2], "big") for i in range(0, 128, 2)]
            return list(entries)
        at += 2 + max(length, 2)
    return []
