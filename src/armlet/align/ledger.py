"""What became of every sample and every frame.

All of it only grows, so an account of a part of the time (a recording, the last ten seconds) is
the difference of two: `mark` before, `since` after.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from .stream import Miss

# Skews are counted in so many classes of equal width, 0 to the stream's tolerance.
CLASSES = 256


@dataclass
class Skews:
    """Distribution of |skew| of a stream's used samples, to 1/256 of its tolerance."""

    tolerance_ns: int
    counts: list[int] = field(default_factory=lambda: [0] * (CLASSES + 1))
    worst_ns: int = 0

    def add(self, skew_ns: int) -> None:
        size = abs(skew_ns)
        self.counts[size * CLASSES // self.tolerance_ns] += 1
        self.worst_ns = max(self.worst_ns, size)

    def quantile_s(self, share: float) -> float:
        """The skew (s) that a share (0..1) of the used samples does not exceed; 0 if none is."""
        left = share * sum(self.counts)
        for index, count in enumerate(self.counts):
            left -= count
            if count and left <= 0:
                return min(self._edge_ns(index), self.worst_ns) * 1e-9
        return 0.0

    @property
    def worst_s(self) -> float:
        return self.worst_ns * 1e-9

    def _edge_ns(self, index: int) -> int:
        return (index + 1) * self.tolerance_ns // CLASSES

    def since(self, mark: Skews) -> Skews:
        """Those after a mark; the worst is exact, or its class's upper edge if not a record."""
        counts = [now - then for now, then in zip(self.counts, mark.counts, strict=True)]
        worst_ns = self.worst_ns
        if worst_ns == mark.worst_ns:
            highest = max((i for i, count in enumerate(counts) if count), default=-1)
            worst_ns = min(worst_ns, self._edge_ns(highest))
        return Skews(self.tolerance_ns, counts, worst_ns)


@dataclass
class StreamLedger:
    """Counts of one stream since start; missed is by reason, and counts frames.

    received: samples. used: frames it had a value for; reused of them with the same sample as the
    frame before, interpolated of them between two. late: came after a frame they would have
    changed, or further behind a newer one than the stream may be. duplicate: of a stamp that is
    there. partial: without some joints. repeated: pictures equal to the one before, byte for
    byte. overflow: dropped because too many were held. refused: messages not taken as samples:
    torn, without what the stream needs, or stamped with what is not the time they came at.
    skipped: messages not read, because the aligner was too far behind to use them.
    """

    skews: Skews
    received: int = 0
    used: int = 0
    reused: int = 0
    interpolated: int = 0
    late: int = 0
    duplicate: int = 0
    partial: int = 0
    repeated: int = 0
    overflow: int = 0
    refused: int = 0
    skipped: int = 0
    missed: Counter[Miss] = field(default_factory=Counter)

    def counts(self) -> dict[str, int]:
        """All counts by name, misses by their reason."""
        own = {name: value for name, value in vars(self).items() if type(value) is int}
        return own | {reason.value: self.missed[reason] for reason in Miss}

    def summary(self, recent: Skews | None = None) -> dict[str, str]:
        """Counts and skews as text, for diagnostics; quantiles are of `recent`, if given."""
        skews = recent or self.skews
        return {
            **{name: str(value) for name, value in self.counts().items()},
            "skew_p50_s": f"{skews.quantile_s(0.5):.4f}",
            "skew_p99_s": f"{skews.quantile_s(0.99):.4f}",
            "skew_max_s": f"{self.skews.worst_s:.4f}",
        }

    def since(self, mark: StreamLedger) -> StreamLedger:
        """This account less that of a mark."""
        own = {n: v - getattr(mark, n) for n, v in vars(self).items() if type(v) is int}
        missed = Counter({r: self.missed[r] - mark.missed[r] for r in Miss})
        return StreamLedger(self.skews.since(mark.skews), missed=missed, **own)


@dataclass
class Ledger:
    """Frames emitted and missed, and every stream's own account."""

    streams: dict[str, StreamLedger]
    frames: int = 0
    missed_frames: int = 0
    clock_jumps: int = 0

    def mark(self) -> Ledger:
        """As it stands now, for `since`."""
        return copy.deepcopy(self)

    def since(self, mark: Ledger) -> Ledger:
        """What happened after a mark."""
        return Ledger(
            {name: account.since(mark.streams[name]) for name, account in self.streams.items()},
            self.frames - mark.frames,
            self.missed_frames - mark.missed_frames,
            self.clock_jumps - mark.clock_jumps,
        )

    def counts(self) -> dict[str, dict[str, int]]:
        """Counts that are not zero by stream, and by name; what JSON can carry with a frame."""
        return {
            name: {what: count for what, count in account.counts().items() if count}
            for name, account in self.streams.items()
        }


def counts_since(
    later: Mapping[str, Mapping[str, int]], earlier: Mapping[str, Mapping[str, int]]
) -> dict[str, dict[str, int]]:
    """The difference of two `Ledger.counts()` of one aligner; zeros are left out."""
    difference = {
        stream: {
            what: count - earlier.get(stream, {}).get(what, 0) for what, count in counts.items()
        }
        for stream, counts in later.items()
    }
    return {s: {what: n for what, n in counts.items() if n} for s, counts in difference.items()}


# What waits for a stream now, and may yet be built: no count, but beside them in a ledger.
WAITING = "waiting"

# Counts that say why frames are missing.
TROUBLES = (*(reason.value for reason in Miss), "refused", "late", "overflow", "skipped")


def troubles(
    later: Mapping[str, Mapping[str, int]], earlier: Mapping[str, Mapping[str, int]]
) -> dict[str, dict[str, int]]:
    """Of `counts_since`, what says why frames are missing between the two; other streams not.

    Frames that still wait for a stream are among the stale: whoever asks now goes on without them.
    """
    found = {}
    for stream, counts in counts_since(later, earlier).items():
        found[stream] = {what: count for what, count in counts.items() if what in TROUBLES}
        if WAITING in counts:
            stale = found[stream].get(Miss.STALE.value, 0) + counts[WAITING]
            found[stream][Miss.STALE.value] = stale
    return {stream: counts for stream, counts in found.items() if counts}
