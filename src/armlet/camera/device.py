"""A USB (V4L2) camera through OpenCV."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import CameraError
from .source import Opened, Picture, require_size

# OpenCV's V4L2 backend gives up on a silent camera after 10 s; a thread in grab() ends by then.
_GRAB_LIMIT_S = 11.0
# A driver stamp further than this from the moment of the grab is no monotonic buffer time.
_STAMP_AGE_LIMIT_S = 1.0
_RATE_TOLERANCE = 0.01


class Capture(Protocol):
    """The part of cv2.VideoCapture that is used."""

    def isOpened(self) -> bool: ...

    def set(self, propId: int, value: float, /) -> bool: ...

    def get(self, propId: int, /) -> float: ...

    def grab(self) -> bool: ...

    def retrieve(self) -> tuple[bool, Any]: ...

    def release(self) -> None: ...


@dataclass(frozen=True)
class Mode:
    """What a capture device is set to."""

    width: int
    height: int
    fps: float
    fourcc: str

    def __str__(self) -> str:
        return f"{self.width}x{self.height} at {self.fps:g} fps in {self.fourcc}"

    def fits(self, other: Mode) -> bool:
        """Same size and format, rate within 1 % (drivers report 30 as 29.97)."""
        same = (self.width, self.height, self.fourcc) == (other.width, other.height, other.fourcc)
        return same and abs(self.fps - other.fps) <= _RATE_TOLERANCE * self.fps


class DeviceSource(Opened):
    """A camera device; a thread takes every picture, read() gives the newest not yet given.

    With `fourcc` MJPG the camera's own JPEG bytes are passed on undecoded (Picture.jpeg); any other
    format arrives as pixels (Picture.rgb). What the driver granted is compared with what was
    requested, a difference is a CameraError.

    The stamp is the driver's buffer time where V4L2 gives it (CLOCK_MONOTONIC, exposed by OpenCV as
    CAP_PROP_POS_MSEC, mapped to Unix time at the grab), else the time at which grab() returned; in
    either case it is taken before retrieving and decoding.
    """

    def __init__(
        self,
        device: str | int,
        width: int,
        height: int,
        fps: float,
        fourcc: str = "MJPG",
        capture: Callable[[str | int], Capture] | None = None,
    ) -> None:
        require_size(width, height, fps)
        if len(fourcc) != 4:
            raise CameraError(f"a FOURCC has four letters, like MJPG or YUYV; found {fourcc!r}")
        self.device = device
        self.width = width
        self.height = height
        self.fps = float(fps)
        self.skipped = 0  # pictures replaced by a newer one before anybody read them
        self._requested = Mode(width, height, float(fps), fourcc)
        self._make_capture = capture or _v4l2
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self._newest: Picture | None = None
        self._failure: CameraError | None = None
        self._closing = False

    def open(self) -> None:
        if self._thread is not None:
            return
        capture = self._make_capture(self.device)
        try:
            self._configure(capture)
        except BaseException:
            capture.release()
            raise
        self._newest, self._failure, self._closing = None, None, False
        self._thread = threading.Thread(
            target=self._run, args=(capture,), name=f"camera {self.device}", daemon=True
        )
        self._thread.start()

    def read(self, timeout_s: float) -> Picture:
        with self._changed:
            if self._thread is None:
                raise CameraError(f"camera {self.device} is not open: call open() first")
            self._changed.wait_for(
                lambda: self._newest is not None or self._failure is not None or self._closing,
                timeout_s,
            )
            if self._failure is not None:
                raise self._failure
            if self._closing:
                raise CameraError(f"camera {self.device} was closed while a picture was awaited")
            if self._newest is None:
                raise CameraError(
                    f"camera {self.device} gave no picture within {timeout_s:.3f} s "
                    f"(set to {self._requested}): check its cable, and that no other camera takes "
                    "the USB bandwidth"
                )
            picture, self._newest = self._newest, None
            return picture

    def close(self) -> None:
        thread = self._thread
        if thread is None:
            return
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        thread.join(_GRAB_LIMIT_S)
        self._thread = None
        if thread.is_alive():
            raise CameraError(
                f"camera {self.device} hangs in its driver and was not released: unplug it"
            )

    def _configure(self, capture: Capture) -> None:
        if not capture.isOpened():
            raise CameraError(
                f"camera {self.device} cannot be opened: check that it is plugged in, that this "
                "user may read it (group video) and that no other program holds it"
            )
        requested = self._requested
        code = cv2.VideoWriter.fourcc(*requested.fourcc)
        # The format comes first: sizes and rates on offer depend on it.
        capture.set(cv2.CAP_PROP_FOURCC, code)
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, requested.width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, requested.height)
        capture.set(cv2.CAP_PROP_FPS, requested.fps)
        granted = Mode(
            round(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
            round(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
            capture.get(cv2.CAP_PROP_FPS),
            _letters(capture.get(cv2.CAP_PROP_FOURCC)),
        )
        if not requested.fits(granted):
            raise CameraError(
                f"camera {self.device}: requested {requested}, granted {granted}: ask for a mode "
                f"it has (v4l2-ctl --list-formats-ext -d {self.device})"
            )
        if requested.fourcc == "MJPG":
            capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)

    def _run(self, capture: Capture) -> None:
        try:
            while not self._closing:
                self._offer(self._take(capture))
        except CameraError as error:
            self._fail(error)
        except Exception as error:
            self._fail(CameraError(f"camera {self.device} failed: {error}; open it again"))
        finally:
            capture.release()

    def _take(self, capture: Capture) -> Picture:
        if not capture.grab():
            raise CameraError(
                f"camera {self.device} stopped giving pictures: check its cable, then open it again"
            )
        stamp_ns = _stamp_ns(capture.get(cv2.CAP_PROP_POS_MSEC))
        done, data = capture.retrieve()
        if not done:
            raise CameraError(
                f"camera {self.device} lost a picture it had announced: open it again"
            )
        return self._picture(stamp_ns, np.asarray(data))

    def _picture(self, stamp_ns: int, data: NDArray[Any]) -> Picture:
        if data.ndim < 3 or 1 in data.shape[:2]:
            return Picture(stamp_ns, jpeg=data.tobytes())
        if data.shape != (self.height, self.width, 3):
            raise CameraError(
                f"camera {self.device} gave a picture of shape {data.shape}, expected "
                f"{(self.height, self.width, 3)}: choose another format than "
                f"{self._requested.fourcc}"
            )
        rgb = np.asarray(cv2.cvtColor(data, cv2.COLOR_BGR2RGB), np.uint8)
        return Picture(stamp_ns, rgb)

    def _offer(self, picture: Picture) -> None:
        with self._changed:
            if self._newest is not None:
                self.skipped += 1
            self._newest = picture
            self._changed.notify_all()

    def _fail(self, error: CameraError) -> None:
        with self._changed:
            self._failure = error
            self._changed.notify_all()


def _v4l2(device: str | int) -> Capture:
    return cv2.VideoCapture(device, cv2.CAP_V4L2)


def _letters(code: float) -> str:
    raw = int(code) & 0xFFFFFFFF
    return raw.to_bytes(4, "little").decode("ascii", "replace")


def _stamp_ns(driver_ms: float) -> int:
    """Unix time of a picture grabbed just now, from the driver's buffer time if that is one."""
    now_ns, monotonic_s = time.time_ns(), time.monotonic()
    age_s = monotonic_s - driver_ms / 1000.0
    if not 0.0 <= age_s <= _STAMP_AGE_LIMIT_S:
        return now_ns
    return now_ns - round(age_s * 1e9)
