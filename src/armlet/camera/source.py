"""What every camera looks like from outside: pictures with the time they were taken."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from . import jpeg as jpeg_codec
from .errors import CameraError
from .jpeg import JpegBytes

Rgb = NDArray[np.uint8]


class StampedBy(StrEnum):
    """What the time of a picture was taken from."""

    SOURCE = "source"
    """The source itself makes the time: a file's or pattern's own grid."""
    DRIVER = "driver"
    """The driver's buffer time: when the camera took it."""
    ARRIVAL = "arrival"
    """The moment it came here: late by an unknown and changing time."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture and the time of its acquisition.

    stamp_ns: Unix time in nanoseconds. rgb: uint8 (H, W, 3) or None. jpeg: the bytes of a JPEG file
    or None, a camera's own bytes where it compresses by itself. At least one of the two is given.
    stamped_by: where the stamp comes from.
    """

    stamp_ns: int
    rgb: Rgb | None = None
    jpeg: JpegBytes | None = None
    stamped_by: StampedBy = StampedBy.SOURCE

    def __post_init__(self) -> None:
        if self.rgb is None and self.jpeg is None:
            raise ValueError("a Picture needs pixels: give rgb, jpeg or both")
        if self.rgb is not None:
            jpeg_codec.check_rgb(self.rgb)

    def as_rgb(self) -> Rgb:
        """Pixels, uint8 (H, W, 3); decodes on each call where only JPEG is held (CameraError)."""
        if self.rgb is not None:
            return self.rgb
        assert self.jpeg is not None
        return jpeg_codec.decode(self.jpeg)

    def as_jpeg(self, quality: int = 90) -> JpegBytes:
        """JPEG bytes: the camera's own if it gave any, else encoded with `quality` on each call."""
        if self.jpeg is not None:
            return self.jpeg
        assert self.rgb is not None
        return jpeg_codec.encode(self.rgb, quality)


class CameraSource(Protocol):
    """Something pictures come from; use it as a context manager or with open() and close()."""

    @property
    def width(self) -> int:
        """Pixels in a row."""

    @property
    def height(self) -> int:
        """Rows."""

    @property
    def fps(self) -> float:
        """Nominal pictures per second."""

    @property
    def path(self) -> str:
        """The device node it is read from; empty where it is no device."""

    @property
    def skipped(self) -> int:
        """Pictures that were taken but not read in time."""

    @property
    def clock_steps(self) -> int:
        """How often the system clock was stepped while stamps were made."""

    def open(self) -> None:
        """Start the source; raises CameraError."""

    def read(self, timeout_s: float) -> Picture:
        """Wait for the next picture, at most `timeout_s` seconds.

        Raises NoPicture after that, EndOfVideo at a file's end, CameraError where only close() and
        open() may help.
        """

    def close(self) -> None:
        """Release the source; also wakes a read() that waits in another thread. Idempotent.

        A closed source can be opened again.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Opened:
    """The context-manager half of a CameraSource, shared by the sources here."""

    def open(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def require_size(width: int, height: int, fps: float) -> None:
    """Refuse sizes and rates that no camera has (CameraError)."""
    if width < 1 or height < 1:
        raise CameraError(f"picture size {width}x{height} is not positive: give width and height")
    if not 0 < fps < 1000:
        raise CameraError(f"{fps} pictures per second is not a camera's rate: give 0 < fps < 1000")
