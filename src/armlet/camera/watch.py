"""What goes wrong in a stream of pictures without anybody raising an error."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np

from armlet.findings import Code, Finding, Severity

from . import jpeg
from .errors import TornPicture
from .source import Picture, StampedBy

# A rate is judged over this long, refusals are reported for this long after the last one.
_RATE_WINDOW_S = 2.0
_TELL_S = 10.0
# Without an acceptable picture for this long, though some come, the camera must be set up again.
_UNUSABLE_S = 2.0
_FROZEN_COUNT = 5
# A few bytes spread over a picture distinguish most pictures.
_PROBE_STEP = 997


@dataclass(frozen=True)
class Limits:
    """What a stream is held to.

    frozen_s: pictures identical byte for byte for this long (and 5 in a row) are frozen; 0: not
    looked at. slow_share: below this share of the nominal rate a stream is slow. device: pictures
    come from a camera, whose sensor's noise makes no two alike and whose driver stamps them.
    """

    width: int
    height: int
    fps: float
    frozen_s: float
    slow_share: float
    device: bool


class Watch:
    """Counts what comes, refuses what is torn, reports what is frozen or slow.

    One thread admits pictures, others may ask. Times are seconds on any monotonic clock.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(
            ("received", "duplicates", "missed", "torn", "wrong_size", "arrival_stamps"), 0
        )
        self._arrivals: deque[float] = deque()
        self._began_s: float | None = None
        self._last: Picture | None = None
        self._same_since_s = 0.0
        self._same_count = 0
        self._refused_since_s: float | None = None
        self._refusal: tuple[float, str] | None = None

    def began(self, now_s: float) -> None:
        """A source was opened: its rate counts from now. What is frozen stays so until it moves."""
        with self._lock:
            self._began_s = now_s
            self._arrivals.clear()
            self._refused_since_s = None

    def admit(self, picture: Picture, now_s: float) -> bool:
        """Take a picture into account; False if it must not be passed on."""
        with self._lock:
            self._counts["received"] += 1
            refusal = self._refuse(picture)
            if refusal:
                self._refusal = now_s, refusal
                if self._refused_since_s is None:
                    self._refused_since_s = now_s
                return False
            self._refused_since_s = None
            self._count_missed(picture)
            self._compare(picture, now_s)
            self._counts["arrival_stamps"] += picture.stamped_by is StampedBy.ARRIVAL
            self._arrivals.append(now_s)
            self._forget(now_s)
            self._last = picture
            return True

    def _refuse(self, picture: Picture) -> str:
        """Why a picture is refused; pixels have been checked where they were made."""
        if picture.jpeg is None:
            return ""
        limits = self.limits
        try:
            if not jpeg.is_whole(picture.jpeg):
                raise TornPicture("half-written JPEG")
            size = jpeg.size(picture.jpeg)
        except TornPicture as error:
            self._counts["torn"] += 1
            return f"torn picture of {len(picture.jpeg)} bytes ({error})"
        if size != (limits.width, limits.height):
            self._counts["wrong_size"] += 1
            return (
                f"picture of {size[0]}x{size[1]}, {limits.width}x{limits.height} was requested "
                "and granted"
            )
        return ""

    def _count_missed(self, picture: Picture) -> None:
        if self._last is None or not self._arrivals:
            return
        periods = (picture.stamp_ns - self._last.stamp_ns) * 1e-9 * self.limits.fps
        # Not over a step of the clock, and not what a stall of seconds would claim.
        if 1.5 < periods < 10 * self.limits.fps:
            self._counts["missed"] += round(periods) - 1

    def _compare(self, picture: Picture, now_s: float) -> None:
        if self._last is not None and _identical(self._last, picture):
            self._counts["duplicates"] += 1
            self._same_count += 1
        else:
            self._same_count, self._same_since_s = 0, now_s

    def _forget(self, now_s: float) -> None:
        while self._arrivals and self._arrivals[0] < now_s - _RATE_WINDOW_S:
            self._arrivals.popleft()

    def decode_failed(self, error: TornPicture, now_s: float) -> None:
        """A picture that looked whole did not decode."""
        with self._lock:
            self._counts["torn"] += 1
            self._refusal = now_s, str(error)

    @property
    def frozen_for_s(self) -> float:
        """How long the very same picture has been coming; 0 unless that is too long."""
        with self._lock:
            return self._frozen_for_s()

    def _frozen_for_s(self) -> float:
        limits = self.limits
        if not limits.device or not limits.frozen_s or self._same_count < _FROZEN_COUNT:
            return 0.0
        last_s = self._arrivals[-1] if self._arrivals else self._same_since_s
        same_s = last_s - self._same_since_s
        return same_s if same_s >= limits.frozen_s else 0.0

    def unusable(self, now_s: float) -> str:
        """What is wrong with every picture of the last seconds; empty if some are right."""
        with self._lock:
            since_s, refusal = self._refused_since_s, self._refusal
            if since_s is None or refusal is None or now_s - since_s < _UNUSABLE_S:
                return ""
            return f"every picture for {now_s - since_s:.1f} s was refused: {refusal[1]}"

    def rate_hz(self, now_s: float) -> float:
        """Pictures per second of the last two seconds, or since the source was opened."""
        with self._lock:
            return self._rate_hz(now_s)

    def _rate_hz(self, now_s: float) -> float:
        self._forget(now_s)
        if self._began_s is None:
            return 0.0
        span_s = min(_RATE_WINDOW_S, now_s - self._began_s)
        return len(self._arrivals) / span_s if span_s > 0 else 0.0

    def findings(self, now_s: float) -> list[Finding]:
        """All that is wrong now."""
        with self._lock:
            found = [self._frozen(), self._refused(now_s), self._slow(now_s), self._unstamped()]
            return [finding for finding in found if finding is not None]

    def _frozen(self) -> Finding | None:
        frozen_s = self._frozen_for_s()
        if not frozen_s:
            return None
        return camera_finding(
            Code.CAMERA_FROZEN,
            Severity.ERROR,
            f"frozen: the same picture, byte for byte, for {frozen_s:.1f} s "
            f"({self._same_count + 1} times)",
        )

    def _refused(self, now_s: float) -> Finding | None:
        if self._refusal is None or now_s - self._refusal[0] > _TELL_S:
            return None
        severity = Severity.WARNING if self._refused_since_s is None else Severity.ERROR
        counts = self._counts
        return camera_finding(
            Code.CAMERA_IMAGE_REJECTED,
            severity,
            f"dropped a {self._refusal[1]}; in all {counts['torn']} torn and "
            f"{counts['wrong_size']} of a wrong size among {counts['received']}",
        )

    def _slow(self, now_s: float) -> Finding | None:
        if self._began_s is None or now_s - self._began_s < _RATE_WINDOW_S:
            return None
        rate_hz, nominal_hz = self._rate_hz(now_s), self.limits.fps
        if rate_hz >= self.limits.slow_share * nominal_hz:
            return None
        why = "" if not self.limits.device else "; a dark scene, USB bandwidth or the CPU may do so"
        return camera_finding(
            Code.CAMERA_SLOW,
            Severity.WARNING,
            f"slow: {rate_hz:.1f} pictures/s instead of {nominal_hz:g} "
            f"({100 * rate_hz / nominal_hz:.0f} %){why}",
        )

    def _unstamped(self) -> Finding | None:
        if self._last is None or self._last.stamped_by is not StampedBy.ARRIVAL:
            return None
        return camera_finding(
            Code.CAMERA_STAMPED_ON_ARRIVAL,
            Severity.WARNING,
            "the driver gives no time: pictures carry the time of their arrival, which is late",
        )

    def counts(self) -> dict[str, int]:
        """What came so far, by kind."""
        with self._lock:
            return dict(self._counts)


def camera_finding(code: Code, severity: Severity, found: str) -> Finding:
    """A finding of the one camera that is watched, so without a subject."""
    return Finding(code, severity, "", found=found)


def _identical(one: Picture, other: Picture) -> bool:
    """Whether two pictures are the same bytes; a look at some of them decides for most."""
    first, second = _bytes(one), _bytes(other)
    if len(first) != len(second) or not np.array_equal(first[::_PROBE_STEP], second[::_PROBE_STEP]):
        return False
    return np.array_equal(first, second)


def _bytes(picture: Picture) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    if picture.jpeg is not None:
        return np.frombuffer(picture.jpeg, np.uint8)
    assert picture.rgb is not None
    return picture.rgb.reshape(-1)
