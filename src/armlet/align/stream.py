"""One stream of stamped values and how it is brought onto a frame's time."""

from __future__ import annotations

import bisect
import enum
from dataclasses import dataclass, field
from typing import Any


class Policy(enum.StrEnum):
    """How a stream is evaluated at a frame's time t.

    linear: interpolated between the samples around t (arrays). nearest: the sample closest to t.
    previous: the newest sample not after t (zero-order hold).
    """

    LINEAR = "linear"
    NEAREST = "nearest"
    PREVIOUS = "previous"


class Miss(enum.StrEnum):
    """Why a stream had no value for a frame."""

    NEVER_SEEN = "never_seen"
    STALE = "stale"
    FUTURE = "future"


@dataclass(frozen=True)
class StreamConfig:
    """A stream's name, policy and the furthest a sample may lie from the frame's time."""

    name: str
    policy: Policy
    tolerance_s: float

    def __post_init__(self) -> None:
        if not 0 < self.tolerance_s < 10:
            raise ValueError(
                f"stream {self.name}: tolerance_s must be in (0, 10), found {self.tolerance_s}"
            )

    @property
    def tolerance_ns(self) -> int:
        return round(self.tolerance_s * 1e9)


@dataclass(frozen=True)
class Evaluated:
    """A stream's value at a frame's time.

    skew_ns is the stamp of the sample nearest to that time, minus that time; source_ns the stamp
    of that sample, which tells a reused sample from a new one.
    """

    value: Any
    skew_ns: int
    source_ns: int
    interpolated: bool = False


@dataclass(eq=False)
class Stream:
    """Samples of one stream in the order of their stamps, whatever order they came in."""

    config: StreamConfig
    _stamps: list[int] = field(default_factory=list)
    _values: list[Any] = field(default_factory=list)
    newest_ns: int | None = None

    def push(self, stamp_ns: int, value: Any) -> bool:
        """Insert a sample by its stamp; False if one with that stamp is there already."""
        at = bisect.bisect_left(self._stamps, stamp_ns)
        if at < len(self._stamps) and self._stamps[at] == stamp_ns:
            return False
        self._stamps.insert(at, stamp_ns)
        self._values.insert(at, value)
        self.newest_ns = self._stamps[-1]
        return True

    def passed(self, at_ns: int) -> bool:
        """Whether a sample at or after a time has come, so that the value there is settled."""
        return self.newest_ns is not None and self.newest_ns >= at_ns

    def first_from(self, at_ns: int) -> int | None:
        """The first stamp at or after a time; None if there is none."""
        index = bisect.bisect_left(self._stamps, at_ns)
        return self._stamps[index] if index < len(self._stamps) else None

    def clear(self) -> None:
        """Forget all samples."""
        self._stamps.clear()
        self._values.clear()
        self.newest_ns = None

    def evaluate(self, at_ns: int) -> Evaluated | Miss:
        """The value at a time by the stream's policy, or why there is none."""
        if self.newest_ns is None:
            return Miss.NEVER_SEEN
        right = bisect.bisect_left(self._stamps, at_ns)
        exact = right < len(self._stamps) and self._stamps[right] == at_ns
        left = right if exact else right - 1
        if self.config.policy is Policy.LINEAR:
            return self._linear(at_ns, left, right)
        if self.config.policy is Policy.NEAREST:
            return self._nearest(at_ns, left, right)
        return self._pick(at_ns, left)

    def forget_before(self, at_ns: int) -> None:
        """Drop what no frame at or after a time can use."""
        keep = bisect.bisect_right(self._stamps, at_ns) - 1
        if keep > 0:
            del self._stamps[:keep], self._values[:keep]

    def _linear(self, at_ns: int, left: int, right: int) -> Evaluated | Miss:
        if left == right:
            return self._pick(at_ns, left)
        before, after = self._pick(at_ns, left), self._pick(at_ns, right)
        if isinstance(before, Miss):
            return before
        if isinstance(after, Miss):
            return after
        share = -before.skew_ns / (after.skew_ns - before.skew_ns)
        nearer = before if -before.skew_ns <= after.skew_ns else after
        value = (1 - share) * before.value + share * after.value
        return Evaluated(value, nearer.skew_ns, nearer.source_ns, interpolated=True)

    def _nearest(self, at_ns: int, left: int, right: int) -> Evaluated | Miss:
        before, after = self._pick(at_ns, left), self._pick(at_ns, right)
        if isinstance(before, Miss):
            return after if isinstance(after, Evaluated) else before
        if isinstance(after, Miss):
            return before
        return before if -before.skew_ns <= after.skew_ns else after

    def _pick(self, at_ns: int, index: int) -> Evaluated | Miss:
        if index < 0:
            return Miss.FUTURE
        if index >= len(self._stamps):
            return Miss.STALE
        skew = self._stamps[index] - at_ns
        if abs(skew) > self.config.tolerance_ns:
            return Miss.STALE if skew < 0 else Miss.FUTURE
        return Evaluated(self._values[index], skew, self._stamps[index])
