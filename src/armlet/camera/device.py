"""A USB (V4L2) camera through OpenCV."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from armlet.unix_clock import UnixClock

from .devices import VideoNode, find_again, node_at, video_nodes
from .errors import CameraError, NoPicture
from .source import Opened, Picture, StampedBy, require_size
from .v4l2 import V4l2Device

# OpenCV's V4L2 backend gives up on a silent camera after 10 s; a thread in grab() ends by then.
_GRAB_LIMIT_S = 11.0
# A driver stamp further than this from the moment of the grab is no monotonic buffer time.
_STAMP_AGE_LIMIT_S = 1.0
_RATE_TOLERANCE = 0.01
# A reader held up for this many pictures (by a full disk, by DDS) loses none.
_BACKLOG = 8


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


@dataclass(frozen=True)
class Host:
    """What a device source needs of the machine; tests give another.

    capture: opens a device node; CameraError if it is not there. nodes: what is plugged in.
    offers: the modes of a device node, in words.
    """

    capture: Callable[[str], Capture]
    nodes: Callable[[], tuple[VideoNode, ...]]
    offers: Callable[[str], str]


class DeviceSource(Opened):
    """A camera device; a thread takes every picture, read() gives them in order.

    A reader that falls more than 8 pictures behind loses the oldest, counted in `skipped`. With
    `fourcc` MJPG the camera's own JPEG bytes are passed on undecoded (Picture.jpeg); any other
    format arrives as pixels (Picture.rgb). What the driver granted is compared with what was
    requested, a difference is a CameraError that lists what the device offers.

    The stamp is the driver's buffer time where V4L2 gives it (exposed by OpenCV as
    CAP_PROP_POS_MSEC; CLOCK_MONOTONIC, mapped to Unix time, or Unix time itself), else the time at
    which grab() returned (StampedBy.ARRIVAL); in either case before retrieving and decoding.

    The camera first opened is remembered: should it come back under another /dev/videoN, open()
    finds it there, and takes no other camera for it.
    """

    def __init__(
        self,
        device: str | int,
        width: int,
        height: int,
        fps: float,
        fourcc: str = "MJPG",
        host: Host | None = None,
    ) -> None:
        require_size(width, height, fps)
        if len(fourcc) != 4:
            raise CameraError(f"a FOURCC has four letters, like MJPG or YUYV; found {fourcc!r}")
        self.device = f"/dev/video{device}" if isinstance(device, int) else device
        self.path = self.device
        self.width = width
        self.height = height
        self.fps = float(fps)
        self.skipped = 0
        self._requested = Mode(width, height, float(fps), fourcc)
        self._host = host or HOST
        self._clock = UnixClock()
        self._known: VideoNode | None = None
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self._pictures: deque[Picture] = deque()
        self._reading = False
        self._failure: CameraError | None = None
        self._closing = False

    @property
    def clock_steps(self) -> int:
        """How often the system clock was stepped while stamps were made."""
        return self._clock.steps

    @property
    def known(self) -> VideoNode | None:
        """The camera that was opened; None before, and where the machine cannot say."""
        return self._known

    def open(self) -> None:
        if self._thread is not None:
            return
        self._locate()
        capture = self._host.capture(self.path)
        try:
            self._configure(capture)
        except BaseException:
            capture.release()
            raise
        self._pictures.clear()
        self._failure, self._closing, self._reading = None, False, False
        self._thread = threading.Thread(
            target=self._run, args=(capture,), name=f"camera {self.device}", daemon=True
        )
        self._thread.start()

    def _locate(self) -> None:
        """Find the node to open, the one opened before wherever it is now."""
        nodes = self._host.nodes()
        # A stable path is the user's own word for which camera it is.
        if self._known is None or self.device.startswith("/dev/v4l/"):
            self.path = self.device
        else:
            self.path = find_again(self._known, nodes).path
        self._known = node_at(self.path, nodes) or self._known

    def read(self, timeout_s: float) -> Picture:
        with self._changed:
            if self._thread is None:
                raise CameraError(f"camera {self.path} is not open: call open() first")
            self._reading = True
            self._changed.wait_for(
                lambda: self._pictures or self._failure is not None or self._closing, timeout_s
            )
            if self._closing:
                raise CameraError(f"camera {self.path} was closed while a picture was awaited")
            if self._pictures:
                return self._pictures.popleft()
            if self._failure is not None:
                raise self._failure
            raise NoPicture(
                f"camera {self.path} gave no picture within {timeout_s:.3f} s (set to "
                f"{self._requested}): check its cable, and that other cameras leave enough "
                "USB bandwidth"
            )

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
                f"camera {self.path} hangs in its driver and was not released: unplug it"
            )

    def _configure(self, capture: Capture) -> None:
        if not capture.isOpened():
            raise CameraError(
                f"camera {self.path} cannot be opened: check that it is plugged in, that this "
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
                f"camera {self.path}: requested {requested}, granted {granted}; ask for a mode it "
                f"has: {self._host.offers(self.path)}"
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
            self._fail(CameraError(f"camera {self.path} failed: {error}; open it again"))
        finally:
            capture.release()

    def _take(self, capture: Capture) -> Picture:
        if not capture.grab():
            raise CameraError(
                f"camera {self.path} stopped giving pictures: check its cable, then open it again"
            )
        stamp_ns, stamped_by = self._stamp(capture.get(cv2.CAP_PROP_POS_MSEC))
        done, data = capture.retrieve()
        if not done:
            raise CameraError(f"camera {self.path} lost a picture it had announced: open it again")
        return self._picture(stamp_ns, stamped_by, np.asarray(data))

    def _stamp(self, driver_ms: float) -> tuple[int, StampedBy]:
        """Unix time of a picture grabbed just now, from the driver's buffer time if it has one."""
        driver_ns, unix_ns = round(driver_ms * 1e6), time.time_ns()
        if _is_recent(driver_ns, time.monotonic_ns()):
            return self._clock.to_unix_ns(driver_ns), StampedBy.DRIVER
        # uvcvideo can be set to stamp in Unix time (its parameter clock=CLOCK_REALTIME).
        if _is_recent(driver_ns, unix_ns):
            return driver_ns, StampedBy.DRIVER
        return unix_ns, StampedBy.ARRIVAL

    def _picture(self, stamp_ns: int, stamped_by: StampedBy, data: NDArray[Any]) -> Picture:
        if data.ndim < 3 or 1 in data.shape[:2]:
            # The array is this picture's own: a view of it spares a copy.
            view = np.ascontiguousarray(data, np.uint8).reshape(-1).data
            return Picture(stamp_ns, jpeg=view, stamped_by=stamped_by)
        if data.shape != (self.height, self.width, 3):
            raise CameraError(
                f"camera {self.path} gave a picture of shape {data.shape}, expected "
                f"{(self.height, self.width, 3)}: choose another format than "
                f"{self._requested.fourcc}"
            )
        rgb = np.asarray(cv2.cvtColor(data, cv2.COLOR_BGR2RGB), np.uint8)
        return Picture(stamp_ns, rgb, stamped_by=stamped_by)

    def _offer(self, picture: Picture) -> None:
        with self._changed:
            # What comes between open() and the first read() nobody misses.
            if len(self._pictures) == (_BACKLOG if self._reading else 1):
                self._pictures.popleft()
                self.skipped += self._reading
            self._pictures.append(picture)
            self._changed.notify_all()

    def _fail(self, error: CameraError) -> None:
        with self._changed:
            self._failure = error
            self._changed.notify_all()


def _is_recent(stamp_ns: int, now_ns: int) -> bool:
    return 0 <= now_ns - stamp_ns <= _STAMP_AGE_LIMIT_S * 1e9


def _capture(path: str) -> Capture:
    if not Path(path).exists():
        # OpenCV would print warnings of its own at every attempt.
        there = ", ".join(f"{node.best_path} ({node.name})" for node in video_nodes()) or "none"
        raise CameraError(
            f"camera {path} cannot be opened: it is not there; check that it is plugged in. "
            f"Cameras there: {there}"
        )
    return cv2.VideoCapture(path, cv2.CAP_V4L2)


def _offers(path: str) -> str:
    try:
        with V4l2Device(path) as device:
            device.capability()
            return "; ".join(str(format) for format in device.formats()) or "it lists none"
    except CameraError as error:
        return f"its list cannot be read ({error})"


HOST = Host(_capture, video_nodes, _offers)


def _letters(code: float) -> str:
    raw = int(code) & 0xFFFFFFFF
    return raw.to_bytes(4, "little").decode("ascii", "replace")
