"""One stream of stamped values and how it is brought onto a frame's time."""

from __future__ import annotations

import bisect
import enum
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
    FROZEN = "frozen"


class Arrival(enum.StrEnum):
    """What became of a sample as it came."""

    TAKEN = "taken"
    DUPLICATE = "duplicate"
    LATE = "late"


@dataclass(frozen=True)
class StreamConfig:
    """A stream's name, policy and the furthest a sample may lie from the frame's time.

    reorder_s: a sample may come after one of its stream that is newer by so much; the stream is
    waited for that much longer. What comes later than that is not used, whenever it comes.
    frozen_s: pictures that repeat byte for byte for so long are no pictures; 0: they are.
    depth: samples held at most; the oldest goes first.
    """

    name: str
    policy: Policy
    tolerance_s: float
    reorder_s: float = 0.0
    frozen_s: float = 0.0
    depth: int = 4096

    def __post_init__(self) -> None:
        if not 0 < self.tolerance_s < 10:
            raise ValueError(
                f"stream {self.name}: tolerance_s must be in (0, 10), found {self.tolerance_s}"
            )
        if not 0 <= self.reorder_s < 1:
            raise ValueError(
                f"stream {self.name}: reorder_s must be in [0, 1), found {self.reorder_s}"
            )
        if not 0 <= self.frozen_s < 3600:
            raise ValueError(
                f"stream {self.name}: frozen_s must be in [0, 3600), found {self.frozen_s}"
            )
        if self.depth < 2:
            raise ValueError(f"stream {self.name}: depth must be at least 2, found {self.depth}")

    @property
    def tolerance_ns(self) -> int:
        return round(self.tolerance_s * 1e9)

    @property
    def reorder_ns(self) -> int:
        return round(self.reorder_s * 1e9)

    @property
    def frozen_ns(self) -> int:
        return round(self.frozen_s * 1e9)


@dataclass(frozen=True)
class Evaluated:
    """A stream's value at a frame's time.

    skew_ns is the stamp of the sample nearest to that time, minus that time; source_ns the stamp
    of that sample, which distinguishes a reused sample from a new one, and origin what it says of
    where it comes from. Where joints were sampled at different times, all are of the joint whose
    sample is furthest.
    """

    value: Any
    skew_ns: int
    source_ns: int
    interpolated: bool = False
    origin: Any = None


class Stream:
    """Samples of one stream in the order of their stamps.

    A float array may hold NaN: that element was not sampled at that stamp, and is evaluated from
    its own neighbours.
    """

    def __init__(self, config: StreamConfig):
        self.config = config
        self._tolerance_ns = config.tolerance_ns
        self._reorder_ns = config.reorder_ns
        self._frozen_ns = config.frozen_ns
        self._stamps: list[int] = []
        self._values: list[Any] = []
        self._frozen: list[bool] = []
        self._origins: list[Any] = []
        self._clear()

    def _clear(self) -> None:
        self.newest_ns: int | None = None
        self.frozen = False
        """Whether the sample that came last repeats a frozen picture."""
        self.repeats = False
        """Whether the sample that came last is the one before it, byte for byte."""
        self.partial = False
        """Whether the sample that came last lacks some elements."""
        self._print: Hashable | None = None
        self._since_ns = 0
        self._partial = 0
        self._newest_by_column: NDArray[np.int64] | None = None

    @property
    def held(self) -> int:
        """Samples in memory."""
        return len(self._stamps)

    def push(
        self, stamp_ns: int, value: Any, fingerprint: Hashable | None = None, origin: Any = None
    ) -> Arrival:
        """Insert a sample by its stamp, unless it is there already or its place is passed."""
        newest = self.newest_ns
        at = len(self._stamps)
        if newest is not None and stamp_ns <= newest:
            at = bisect.bisect_left(self._stamps, stamp_ns)
            if at < len(self._stamps) and self._stamps[at] == stamp_ns:
                return Arrival.DUPLICATE
            if stamp_ns < newest - self._reorder_ns:
                return Arrival.LATE
        self._compare(stamp_ns, fingerprint)
        self._stamps.insert(at, stamp_ns)
        self._values.insert(at, value)
        self._frozen.insert(at, self.frozen)
        self._origins.insert(at, origin)
        self._note(stamp_ns, value)
        return Arrival.TAKEN

    def _compare(self, stamp_ns: int, fingerprint: Hashable | None) -> None:
        self.repeats = fingerprint is not None and fingerprint == self._print
        if not self.repeats:
            self._print, self._since_ns = fingerprint, stamp_ns
        held_ns = stamp_ns - self._since_ns
        self.frozen = self.repeats and 0 < self._frozen_ns <= held_ns

    def _note(self, stamp_ns: int, value: Any) -> None:
        self.partial = is_partial(value)
        if self.partial:
            self._partial += 1
            if self._newest_by_column is None:
                # Every sample until now, if there was one, was whole.
                before = -1 if self.newest_ns is None else self.newest_ns
                self._newest_by_column = np.full(value.shape, before, np.int64)
        if self._newest_by_column is not None:
            sampled_ns = np.where(np.isfinite(value), stamp_ns, -1)
            np.maximum(self._newest_by_column, sampled_ns, out=self._newest_by_column)
        self.newest_ns = stamp_ns if self.newest_ns is None else max(self.newest_ns, stamp_ns)

    def overflow(self) -> bool:
        """Drop the oldest sample if there are more than `depth`; whether one was dropped."""
        if len(self._stamps) <= self.config.depth:
            return False
        self._drop(slice(0, 1))
        return True

    def passed(self, at_ns: int) -> bool:
        """Whether nothing that may still come would change the value at a time."""
        if self.newest_ns is None:
            return False
        # The watermark: nothing older than this is taken any more.
        whole_ns = self.newest_ns - self._reorder_ns
        if whole_ns < at_ns:
            return False
        if self.config.policy is Policy.PREVIOUS or whole_ns >= at_ns + self._tolerance_ns:
            return True
        return not (self._reorder_ns or self._partial) or self._sampled_in(at_ns, whole_ns)

    def _sampled_in(self, from_ns: int, to_ns: int) -> bool:
        first = bisect.bisect_left(self._stamps, from_ns)
        values = self._values[first : bisect.bisect_right(self._stamps, to_ns)]
        if not values or not self._partial:
            return bool(values)
        return bool(np.isfinite(values).any(axis=0).all())

    def lacking(self) -> list[int]:
        """Columns that have not been sampled for longer than the tolerance, where others have."""
        if self._newest_by_column is None or self.newest_ns is None:
            return []
        behind = self._newest_by_column < self.newest_ns - self._tolerance_ns
        return [int(column) for column in np.flatnonzero(behind)]

    def first_from(self, at_ns: int) -> int | None:
        """The first stamp at or after a time; None if there is none."""
        index = bisect.bisect_left(self._stamps, at_ns)
        return self._stamps[index] if index < len(self._stamps) else None

    def forget_after(self, at_ns: int) -> None:
        """Drop what is stamped after a time: the clock it was stamped by has been set back."""
        keep = bisect.bisect_right(self._stamps, at_ns)
        if keep == len(self._stamps):
            return
        stamps, values = self._stamps[:keep], self._values[:keep]
        frozen, origins = self._frozen[:keep], self._origins[:keep]
        self._stamps, self._values, self._frozen, self._origins = [], [], [], []
        self._clear()
        for stamp_ns, value, was_frozen, origin in zip(
            stamps, values, frozen, origins, strict=True
        ):
            self._stamps.append(stamp_ns)
            self._values.append(value)
            self._frozen.append(was_frozen)
            self._origins.append(origin)
            self._note(stamp_ns, value)

    def forget_before(self, at_ns: int) -> None:
        """Drop what no frame at or after a time can use."""
        keep = bisect.bisect_right(self._stamps, at_ns) - 1
        if keep > 0:
            self._drop(slice(0, keep))

    def _drop(self, which: slice) -> None:
        if self._partial:
            self._partial -= sum(map(is_partial, self._values[which]))
        del self._stamps[which], self._values[which], self._frozen[which], self._origins[which]

    def evaluate(self, at_ns: int) -> Evaluated | Miss:
        """The value at a time by the stream's policy, or why there is none."""
        if self.newest_ns is None:
            return Miss.NEVER_SEEN
        if self._partial:
            found = self._by_column(at_ns)
        else:
            found = self._evaluate(at_ns, self._stamps, self._values)
        return found if isinstance(found, Miss) else self._with_origin(found)

    def _with_origin(self, value: Evaluated) -> Evaluated:
        origin = self._origins[bisect.bisect_left(self._stamps, value.source_ns)]
        return value if origin is None else replace(value, origin=origin)

    def _by_column(self, at_ns: int) -> Evaluated | Miss:
        rows = np.array(self._values)
        seen = np.isfinite(rows)
        found = []
        for column in range(rows.shape[1]):
            stamps = list(compress(self._stamps, seen[:, column]))
            if not stamps:
                assert self._newest_by_column is not None
                never = self._newest_by_column[column] < 0
                return Miss.NEVER_SEEN if never else Miss.STALE
            value = self._evaluate(at_ns, stamps, rows[seen[:, column], column])
            if isinstance(value, Miss):
                return value
            found.append(value)
        furthest = max(found, key=lambda value: abs(value.skew_ns))
        return Evaluated(
            np.array([value.value for value in found]),
            furthest.skew_ns,
            furthest.source_ns,
            any(value.interpolated for value in found),
        )

    def _evaluate(
        self, at_ns: int, stamps: list[int], values: Sequence[Any] | NDArray[Any]
    ) -> Evaluated | Miss:
        right = bisect.bisect_left(stamps, at_ns)
        exact = right < len(stamps) and stamps[right] == at_ns
        left = right if exact else right - 1
        if self.config.policy is Policy.PREVIOUS or exact:
            return self._pick(at_ns, stamps, values, left)
        before = self._pick(at_ns, stamps, values, left)
        after = self._pick(at_ns, stamps, values, right)
        if self.config.policy is Policy.NEAREST:
            return _nearest(before, after)
        return _linear(before, after)

    def _pick(
        self, at_ns: int, stamps: list[int], values: Sequence[Any] | NDArray[Any], index: int
    ) -> Evaluated | Miss:
        if index < 0:
            return Miss.FUTURE
        if index >= len(stamps):
            return Miss.STALE
        skew = stamps[index] - at_ns
        if abs(skew) > self._tolerance_ns:
            return Miss.STALE if skew < 0 else Miss.FUTURE
        if self._frozen_ns and self._frozen[index]:
            return Miss.FROZEN
        return Evaluated(values[index], skew, stamps[index])


def is_partial(value: Any) -> bool:
    """Whether some elements of a vector were not sampled."""
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        return False
    # A square is NaN only of NaN; three times as quick as isnan().any() for a few joints.
    square = value.dot(value)
    return bool(square != square)


def _linear(before: Evaluated | Miss, after: Evaluated | Miss) -> Evaluated | Miss:
    if isinstance(before, Miss):
        return before
    if isinstance(after, Miss):
        return after
    share = -before.skew_ns / (after.skew_ns - before.skew_ns)
    nearer = before if -before.skew_ns <= after.skew_ns else after
    value = (1 - share) * before.value + share * after.value
    return Evaluated(value, nearer.skew_ns, nearer.source_ns, interpolated=True)


def _nearest(before: Evaluated | Miss, after: Evaluated | Miss) -> Evaluated | Miss:
    if isinstance(before, Miss):
        return before if after is Miss.STALE or after is Miss.FUTURE else after
    if isinstance(after, Miss):
        return before
    return before if -before.skew_ns <= after.skew_ns else after
