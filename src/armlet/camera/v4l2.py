"""What a V4L2 device says of itself: formats, sizes, rates, controls. Linux, 64 bit.

Only questions and control values; pictures are OpenCV's business. A device may be asked while
another program streams from it. Structures and numbers are those of linux/videodev2.h.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from types import TracebackType
from typing import Self

from .errors import CameraError

_CAPABILITY = struct.Struct("=16s32s32sIII3I")
_FMTDESC = struct.Struct("=III32sII3I")
_FRMSIZE = struct.Struct("=III6I2I")
_FRMIVAL = struct.Struct("=IIIII6I2I")
_QUERYCTRL = struct.Struct("=II32siiiiI2I")
_QUERYMENU = struct.Struct("=II32sI")
_CONTROL = struct.Struct("=Ii")


def _request(direction: int, number: int, layout: struct.Struct) -> int:
    """An ioctl number: direction (2 read, 3 both), size, type 'V', number (asm-generic/ioctl.h)."""
    return direction << 30 | layout.size << 16 | ord("V") << 8 | number


QUERYCAP = _request(2, 0, _CAPABILITY)
ENUM_FMT = _request(3, 2, _FMTDESC)
G_CTRL = _request(3, 27, _CONTROL)
S_CTRL = _request(3, 28, _CONTROL)
QUERYCTRL = _request(3, 36, _QUERYCTRL)
QUERYMENU = _request(3, 37, _QUERYMENU)
ENUM_FRAMESIZES = _request(3, 74, _FRMSIZE)
ENUM_FRAMEINTERVALS = _request(3, 75, _FRMIVAL)

_VIDEO_CAPTURE = 1
_CAP_VIDEO_CAPTURE = 0x00000001
_CAP_DEVICE_CAPS = 0x80000000
_DISCRETE = 1
_NEXT_CTRL = 0x80000000
_FLAG_DISABLED = 0x0001
_FLAG_READ_ONLY = 0x0004
_FLAG_INACTIVE = 0x0010
_TYPE_MENU = 3

# A driver that never ends its list would otherwise be asked for ever.
_LONGEST_LIST = 1024

Ioctl = Callable[[int, int, bytearray], int]


class Cid(IntEnum):
    """Control identifiers (linux/v4l2-controls.h)."""

    AUTO_WHITE_BALANCE = 0x0098090C
    AUTOGAIN = 0x00980912
    GAIN = 0x00980913
    POWER_LINE_FREQUENCY = 0x00980918
    WHITE_BALANCE_TEMPERATURE = 0x0098091A
    EXPOSURE_AUTO = 0x009A0901
    EXPOSURE_ABSOLUTE = 0x009A0902
    EXPOSURE_AUTO_PRIORITY = 0x009A0903
    FOCUS_ABSOLUTE = 0x009A090A
    FOCUS_AUTO = 0x009A090C


@dataclass(frozen=True)
class Capability:
    """Who a device is. bus_info names the port it is plugged into."""

    driver: str
    card: str
    bus_info: str
    captures: bool


@dataclass(frozen=True)
class FrameSize:
    """A picture size, or a range of sizes, and the rates offered for it (for the largest).

    A fixed size has width == max_width and height == max_height. Rates in pictures per second,
    fastest first; for a continuous range of rates its two ends.
    """

    width: int
    height: int
    max_width: int
    max_height: int
    rates: tuple[float, ...]

    def __str__(self) -> str:
        size = f"{self.width}x{self.height}"
        if (self.width, self.height) != (self.max_width, self.max_height):
            size += f"..{self.max_width}x{self.max_height}"
        rates = "/".join(f"{rate:g}" for rate in self.rates)
        return f"{size} at {rates} fps" if rates else size


@dataclass(frozen=True)
class Format:
    """A pixel format by its four letters, like MJPG or YUYV, and its sizes."""

    fourcc: str
    description: str
    sizes: tuple[FrameSize, ...]

    def __str__(self) -> str:
        return f"{self.fourcc}: {', '.join(str(size) for size in self.sizes) or 'sizes unknown'}"


@dataclass(frozen=True)
class Control:
    """A control's range. active: its value has effect now (an automatism may override it)."""

    id: int
    name: str
    minimum: int
    maximum: int
    step: int
    default: int
    active: bool
    writable: bool
    menu: tuple[tuple[int, str], ...] = ()
    """(value, name) of each choice, for menu controls."""


class V4l2Device:
    """An open device node to ask; a context manager.

    Raises CameraError where the device cannot be opened, is no V4L2 device or has gone.
    """

    def __init__(self, path: str, ioctl: Ioctl | None = None) -> None:
        self.path = path
        self._ioctl: Ioctl = ioctl or fcntl.ioctl
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise CameraError(f"camera {path} cannot be opened: {_advice(error)}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def capability(self) -> Capability:
        """Name, driver, port. CameraError if it is not a video device."""
        answer = self._ask(QUERYCAP, bytearray(_CAPABILITY.size))
        if answer is None:
            raise CameraError(f"{self.path} is not a video device: it does not answer as V4L2 does")
        driver, card, bus_info, _, all_caps, node_caps, *_ = _CAPABILITY.unpack(answer)
        caps = node_caps if all_caps & _CAP_DEVICE_CAPS else all_caps
        captures = bool(caps & _CAP_VIDEO_CAPTURE)
        return Capability(_text(driver), _text(card), _text(bus_info), captures)

    def formats(self) -> tuple[Format, ...]:
        """Everything the device offers to capture."""
        return tuple(self._formats())

    def _formats(self) -> Iterator[Format]:
        for index in range(_LONGEST_LIST):
            answer = self._ask(
                ENUM_FMT,
                bytearray(_FMTDESC.pack(index, _VIDEO_CAPTURE, 0, b"", 0, 0, 0, 0, 0)),
            )
            if answer is None:
                return
            _, _, _, description, code, *_ = _FMTDESC.unpack(answer)
            letters = code.to_bytes(4, "little").decode("ascii", "replace")
            yield Format(letters, _text(description), tuple(self._sizes(code)))

    def _sizes(self, code: int) -> Iterator[FrameSize]:
        for index in range(_LONGEST_LIST):
            answer = self._ask(ENUM_FRAMESIZES, bytearray(_FRMSIZE.pack(index, code, 0, *[0] * 8)))
            if answer is None:
                return
            _, _, kind, *size = _FRMSIZE.unpack(answer)
            # Discrete: width, height. Stepwise: width from, to, step, then height.
            stepwise = (size[0], size[3]), (size[1], size[4])
            low, high = ((size[0], size[1]),) * 2 if kind == _DISCRETE else stepwise
            yield FrameSize(*low, *high, tuple(self._rates(code, *high)))
            if kind != _DISCRETE:
                return

    def _rates(self, code: int, width: int, height: int) -> Iterator[float]:
        for index in range(_LONGEST_LIST):
            question = _FRMIVAL.pack(index, code, width, height, 0, *[0] * 8)
            answer = self._ask(ENUM_FRAMEINTERVALS, bytearray(question))
            if answer is None:
                return
            _, _, _, _, kind, *intervals = _FRMIVAL.unpack(answer)
            # An interval is a fraction of seconds; a range gives the shortest, then the longest.
            pairs = 1 if kind == _DISCRETE else 2
            for pair in range(pairs):
                numerator, denominator = intervals[2 * pair : 2 * pair + 2]
                if numerator:
                    yield round(denominator / numerator, 3)
            if kind != _DISCRETE:
                return

    def controls(self) -> dict[int, Control]:
        """Every control that is not disabled, by identifier."""
        found: dict[int, Control] = {}
        last = 0
        for _ in range(_LONGEST_LIST):
            control = self._query(last | _NEXT_CTRL)
            if control is None:
                break
            last = control.id
            found[last] = control
        return found

    def control(self, id: int) -> Control | None:
        """One control, None where the device has none such."""
        return self._query(id)

    def _query(self, id: int) -> Control | None:
        # Disabled controls are passed over: _NEXT_CTRL goes on from where they are.
        while True:
            answer = self._ask(QUERYCTRL, bytearray(_QUERYCTRL.pack(id, 0, b"", *[0] * 7)))
            if answer is None:
                return None
            found, kind, name, low, high, step, default, flags, *_ = _QUERYCTRL.unpack(answer)
            if not flags & _FLAG_DISABLED:
                break
            if not id & _NEXT_CTRL or (found | _NEXT_CTRL) == id:
                return None
            id = found | _NEXT_CTRL
        return Control(
            found,
            _text(name),
            low,
            high,
            step,
            default,
            active=not flags & _FLAG_INACTIVE,
            writable=not flags & _FLAG_READ_ONLY,
            menu=tuple(self._menu(found, low, high)) if kind == _TYPE_MENU else (),
        )

    def _menu(self, id: int, low: int, high: int) -> Iterator[tuple[int, str]]:
        for value in range(low, min(high, low + _LONGEST_LIST) + 1):
            answer = self._ask(QUERYMENU, bytearray(_QUERYMENU.pack(id, value, b"", 0)))
            # Menus have gaps: a camera without shutter priority refuses that one value.
            if answer is not None:
                yield value, _text(_QUERYMENU.unpack(answer)[2])

    def value(self, id: int) -> int:
        """A control's present value."""
        answer = self._ask(G_CTRL, bytearray(_CONTROL.pack(id, 0)))
        if answer is None:
            raise CameraError(f"camera {self.path} does not report the value of control {id:#x}")
        return int(_CONTROL.unpack(answer)[1])

    def set_value(self, id: int, value: int) -> None:
        """Set a control. CameraError if the device refuses."""
        try:
            self._call(S_CTRL, bytearray(_CONTROL.pack(id, value)))
        except OSError as error:
            raise CameraError(
                f"camera {self.path} refuses control {id:#x} = {value}: {error.strerror}"
            ) from error

    def _ask(self, request: int, question: bytearray) -> bytearray | None:
        """The kernel's answer; None where it says there is no such thing."""
        try:
            self._call(request, question)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOTTY):
                return None
            raise CameraError(f"camera {self.path} does not answer: {_advice(error)}") from error
        return question

    def _call(self, request: int, question: bytearray) -> None:
        while True:
            try:
                self._ioctl(self._fd, request, question)
                return
            except InterruptedError:
                continue


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")


def _advice(error: OSError) -> str:
    advice = {
        errno.ENOENT: "it is not there; check that it is plugged in",
        errno.EACCES: "this user may not; add it to group video, or run with access to the device",
        errno.EBUSY: "another program holds it; close that",
        errno.ENODEV: "it is gone; check that it is plugged in",
    }
    return advice.get(error.errno or 0, f"{error.strerror}")
