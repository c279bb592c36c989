"""What a video device offers, as the checks of cameras report it. Changes nothing."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from armlet.camera.v4l2 import FrameSize


@dataclass(frozen=True, slots=True)
class Size:
    """A picture size and the rates it comes at, pictures/s, fastest first; none if not stated."""

    width: int
    height: int
    rates: tuple[float, ...] = ()

    def __str__(self) -> str:
        rates = "/".join(f"{rate:g}" for rate in self.rates)
        return f"{self.width}x{self.height}" + (f"@{rates}" if rates else "")


@dataclass(frozen=True, slots=True)
class Format:
    """A pixel format (its four letters) and its sizes, largest first."""

    fourcc: str
    sizes: tuple[Size, ...]


@dataclass(frozen=True, slots=True)
class Device:
    """A video device.

    Attributes:
        card: what it calls itself.
        bus: where it hangs, "usb-0000:00:14.0-2".
        captures: whether it gives pictures; cameras have a second device for metadata.
        formats: what it offers.
    """

    card: str
    bus: str
    captures: bool
    formats: tuple[Format, ...] = ()


def query(path: str | Path) -> Device:
    """Asks a device.

    Raises:
        OSError: it cannot be opened, or is not a video device (ENOTTY).
        ImportError: OpenCV, which the camera package needs, does not load.
    """
    # Here, not above: the other checks must run where OpenCV does not.
    from armlet.camera import CameraError, V4l2Device

    try:
        with V4l2Device(str(path)) as device:
            who = device.capability()
            offered = device.formats() if who.captures else ()
    except CameraError as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from None
        raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY), str(path)) from error
    formats = (
        Format(
            each.fourcc.strip(),
            tuple(
                sorted(map(_largest, each.sizes), key=lambda s: s.width * s.height, reverse=True)
            ),
        )
        for each in offered
    )
    return Device(who.card, who.bus_info, who.captures, tuple(formats))


def _largest(size: FrameSize) -> Size:
    """A range of sizes or rates is reported by its largest and fastest."""
    ranged = (size.width, size.height) != (size.max_width, size.max_height)
    rates = size.rates[:1] if ranged else size.rates
    return Size(size.max_width, size.max_height, tuple(round(rate, 2) for rate in rates))
