"""Streams of stamped values in, frames on a fixed grid out.

The grid is t_k = k / fps seconds of Unix time, so a recording, its replay and a live run share
it. A frame is emitted when every stream has passed t_k, or at t_k + max_wait. It depends on the
stamps alone, whatever the order in which the streams' samples come (each stream's own come in
order; one that does not, and comes after its place was settled, is counted late). A frame that
cannot be built within tolerance is not emitted, and counted; nothing is ever filled in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .ledger import Ledger, StreamLedger
from .stream import Evaluated, Miss, Stream, StreamConfig

_SECOND_NS = 1_000_000_000

# Behind by more than this (a suspended machine, a stepped clock), grid points are not walked but
# jumped to the next that can be built; set back by more than this, the grid starts again.
_JUMP_NS = _SECOND_NS


@dataclass(frozen=True)
class Frame:
    """One frame: index k on the grid, its time, each stream's value and skew (s)."""

    index: int
    stamp_ns: int
    values: dict[str, Any]
    skew_s: dict[str, float]


def grid_ns(index: int, fps: int) -> int:
    """Time of grid point `index`, ns of Unix time."""
    return index * _SECOND_NS // fps


def grid_index(stamp_ns: int, fps: int) -> int:
    """The first grid point at or after a time."""
    index = stamp_ns * fps // _SECOND_NS
    while grid_ns(index, fps) < stamp_ns:
        index += 1
    return index


class Aligner:
    """The time-synchronizing buffer. Not thread safe."""

    def __init__(self, streams: Iterable[StreamConfig], fps: int, max_wait_s: float):
        if fps < 1:
            raise ValueError(f"fps must be at least 1, found {fps}")
        self.fps = fps
        self._max_wait_ns = round(max_wait_s * 1e9)
        self._streams = {config.name: Stream(config) for config in streams}
        if not self._streams:
            raise ValueError("an aligner needs at least one stream")
        self._next: int | None = None
        self._settling = False
        self._last_source: dict[str, int] = {}
        self.ledger = Ledger({name: StreamLedger() for name in self._streams})

    def push(self, name: str, stamp_ns: int, value: Any) -> None:
        """Take a sample. KeyError if there is no such stream."""
        account = self.ledger.streams[name]
        account.received += 1
        index = grid_index(stamp_ns, self.fps)
        if self._next is None or (index < self._next and not self._settling):
            self._next = index
        elif index < self._next:
            account.late += 1
        account.duplicate += not self._streams[name].push(stamp_ns, value)

    def frames(self, now_ns: int) -> Iterator[Frame]:
        """Frames that are settled by now, the time on the clock the stamps are of; in order."""
        if self._next is not None and now_ns < grid_ns(self._next, self.fps) - _JUMP_NS:
            self._start_again()
        while self._next is not None and self._settled(self._next, now_ns):
            self._settling = True
            frame = self._build(self._next)
            self._next += 1
            if frame is not None:
                yield frame
            self._jump(self._next, now_ns)

    def _start_again(self) -> None:
        self._next, self._settling = None, False
        for stream in self._streams.values():
            stream.clear()
        self._last_source.clear()
        self.ledger.clock_jumps += 1

    def _jump(self, index: int, now_ns: int) -> None:
        behind = grid_index(now_ns - self._max_wait_ns - _JUMP_NS, self.fps)
        if index >= behind:
            return
        at_ns = grid_ns(index, self.fps)
        tolerances = {s: s.config.tolerance_ns for s in self._streams.values()}
        firsts = [s.first_from(at_ns - tolerance) for s, tolerance in tolerances.items()]
        if None not in firsts:
            earliest = max(
                first - tolerance
                for first, tolerance in zip(firsts, tolerances.values(), strict=True)
                if first is not None
            )
            behind = min(behind, max(index, grid_index(earliest, self.fps)))
        self.ledger.missed_frames += behind - index
        self._next = behind

    def _settled(self, index: int, now_ns: int) -> bool:
        at_ns = grid_ns(index, self.fps)
        if now_ns >= at_ns + self._max_wait_ns:
            return True
        return at_ns <= now_ns and all(s.passed(at_ns) for s in self._streams.values())

    def _build(self, index: int) -> Frame | None:
        at_ns = grid_ns(index, self.fps)
        found = {name: stream.evaluate(at_ns) for name, stream in self._streams.items()}
        for stream in self._streams.values():
            stream.forget_before(at_ns - stream.config.tolerance_ns)
        good = {name: value for name, value in found.items() if isinstance(value, Evaluated)}
        if len(good) < len(found):
            for name, value in found.items():
                if isinstance(value, Miss):
                    self.ledger.streams[name].missed[value] += 1
            self.ledger.missed_frames += 1
            return None
        for name, value in good.items():
            self._account(name, value)
        self.ledger.frames += 1
        return Frame(
            index=index,
            stamp_ns=at_ns,
            values={name: value.value for name, value in good.items()},
            skew_s={name: value.skew_ns * 1e-9 for name, value in good.items()},
        )

    def _account(self, name: str, value: Evaluated) -> None:
        account = self.ledger.streams[name]
        account.used += 1
        account.interpolated += value.interpolated
        account.worst_skew_s = max(account.worst_skew_s, abs(value.skew_ns) * 1e-9)
        if not value.interpolated:
            account.reused += self._last_source.get(name) == value.source_ns
        self._last_source[name] = value.source_ns
