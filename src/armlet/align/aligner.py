"""Streams of stamped values in, frames on a fixed grid out.

The grid is t_k = k / fps seconds of Unix time, so a recording, its replay and a live run share
it. A frame is emitted when every stream has passed t_k. At t_k + max_wait it is emitted of what is
there, if that is enough; if a stream has nothing for it yet, the frame waits for late samples, and
is given up at t_k + give_up. Whoever needs frames soon loses nothing by that: without those samples
there is no frame, and when they come, or newer ones, it waits no longer. It depends on the
stamps alone, whatever the order in which the streams' samples come, as long as nothing is late:
a sample is late if it comes after a frame it would have changed, or after one of its own stream
that is newer by more than the stream's reorder_s (0: each stream comes in order). A frame that
cannot be built within tolerance is not emitted, and counted; nothing is ever filled in.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .ledger import Ledger, Skews, StreamLedger
from .punctuality import REFUSING, Punctuality, Timing
from .stream import Arrival, Evaluated, Miss, Policy, Stream, StreamConfig

_SECOND_NS = 1_000_000_000

# Behind by more than this (a suspended machine, a stepped clock), grid points are not walked but
# jumped to the next that can be built; set back by more than this, the grid starts again.
_JUMP_NS = _SECOND_NS

# The clock of whoever recorded samples may differ from that of their stamps by so much.
_RECORDER_NS = 2 * _SECOND_NS

# How long a frame is waited for by default where a stream has nothing for it yet: longer than a
# process is not run for on a busy computer.
GIVE_UP_S = 5.0


@dataclass(frozen=True)
class Frame:
    """One frame: index k on the grid, its time, each stream's value and skew (s).

    origins: of streams whose samples say it, the origin of the sample nearest to the frame's time.
    """

    index: int
    stamp_ns: int
    values: dict[str, Any]
    skew_s: dict[str, float]
    origins: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """One sample of a stream, as recorded.

    received_ns, if known, is when it came, by which it is judged as the live aligner judges it
    (`Punctuality`). fingerprint: see `armlet.frozen`. origin: what its message says of where it
    comes from, if anything.
    """

    stream: str
    stamp_ns: int
    value: Any
    fingerprint: Hashable | None = None
    received_ns: int | None = None
    origin: Any = None


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
    """The time-synchronizing buffer. Not thread safe.

    max_wait_s: a frame that can be built waits so long for samples that fit better. give_up_s: one
    that cannot be built yet waits so long for late samples; None: as long as max_wait_s.
    """

    def __init__(
        self,
        streams: Iterable[StreamConfig],
        fps: int,
        max_wait_s: float,
        give_up_s: float | None = None,
    ):
        if fps < 1:
            raise ValueError(f"fps must be at least 1, found {fps}")
        if not 0 <= max_wait_s < 3600:
            raise ValueError(f"max_wait_s must be in [0, 3600), found {max_wait_s}")
        self.fps = fps
        if give_up_s is not None and not max_wait_s <= give_up_s < 3600:
            raise ValueError(
                f"give_up_s must be at least max_wait_s, {max_wait_s}, and less than 3600; "
                f"found {give_up_s}"
            )
        self._max_wait_ns = round(max_wait_s * 1e9)
        self._give_up_ns = round((max_wait_s if give_up_s is None else give_up_s) * 1e9)
        self._streams = {config.name: Stream(config) for config in streams}
        if not self._streams:
            raise ValueError("an aligner needs at least one stream")
        for stream in self._streams.values():
            if stream.config.reorder_s > max_wait_s:
                raise ValueError(
                    f"stream {stream.config.name}: reorder_s {stream.config.reorder_s} is more "
                    f"than max_wait_s {max_wait_s}, so no frame would be complete in time"
                )
        self._punctuality = {
            name: Punctuality(max_wait_s, stream.config.reorder_s)
            for name, stream in self._streams.items()
        }
        self._held: dict[str, list[Sample]] = {name: [] for name in self._streams}
        self._next: int | None = None
        self._emitted: int | None = None
        self._settling = False
        self._last_source: dict[str, int] = {}
        self._unpassed_ns: dict[str, int] = {}
        self.ledger = Ledger(
            {name: StreamLedger(Skews(s.config.tolerance_ns)) for name, s in self._streams.items()}
        )

    @property
    def newest_ns(self) -> int | None:
        """The newest stamp that has come: the time by the data's own clock."""
        stamps = [s.newest_ns for s in self._streams.values() if s.newest_ns is not None]
        return max(stamps, default=None)

    def frozen(self, name: str) -> bool:
        """Whether the picture of a stream that came last repeats one for its frozen_s."""
        return self._streams[name].frozen

    def lacking(self, name: str) -> list[int]:
        """Elements of a stream's vector not sampled for its tolerance, while others are."""
        return self._streams[name].lacking()

    def waiting(self, now_ns: int) -> dict[str, int]:
        """By stream, the frames that wait for it longer than max_wait, and may yet be built."""
        if self._next is None:
            return {}
        frames = grid_index(now_ns - self._max_wait_ns, self.fps) - self._next
        at_ns = grid_ns(self._next, self.fps)
        if frames <= 0:
            return {}
        return {name: frames for name, s in self._streams.items() if not s.passed(at_ns)}

    def arrive(self, sample: Sample, received_ns: int, paused_ns: int = 0) -> Timing:
        """Take a sample that came at a time of the stamps' clock, unless its stamp is wrong.

        A late one is held until one of its stream is in time again. paused_ns: this program was
        not run for so long, which an old stamp may be put down to. KeyError for a foreign stream.
        """
        held = self._held[sample.stream]
        timing = self._punctuality[sample.stream].judge(sample.stamp_ns, received_ns, paused_ns)
        account = self.ledger.streams[sample.stream]
        if timing is Timing.LATE:
            held.append(sample)
            if len(held) > self._streams[sample.stream].config.depth:
                del held[0]
                account.overflow += 1
            return timing
        if timing is Timing.IN_TIME:
            for each in (*held, sample):
                self._push(each)
        elif timing is Timing.SKIPPED:
            account.skipped += 1 + len(held)
        else:
            account.refused += 1 + len(held)
        held.clear()
        return timing

    def push(
        self, name: str, stamp_ns: int, value: Any, fingerprint: Hashable | None = None
    ) -> None:
        """Take a sample whose stamp is its time. KeyError if there is no such stream."""
        self._push(Sample(name, stamp_ns, value, fingerprint))

    def _push(self, sample: Sample) -> None:
        name, stamp_ns = sample.stream, sample.stamp_ns
        stream, account = self._streams[name], self.ledger.streams[name]
        account.received += 1
        if stream.newest_ns is not None and stamp_ns < stream.newest_ns - _JUMP_NS:
            stream.forget_after(stamp_ns)
            self._set_back(stamp_ns)
        arrival = stream.push(stamp_ns, sample.value, sample.fingerprint, sample.origin)
        if arrival is Arrival.DUPLICATE:
            account.duplicate += 1
        elif arrival is Arrival.LATE:
            account.late += 1
        else:
            self._take(stream, account, stamp_ns)

    def _take(self, stream: Stream, account: StreamLedger, stamp_ns: int) -> None:
        account.partial += stream.partial
        account.repeated += stream.repeats
        account.overflow += stream.overflow()
        index = grid_index(stamp_ns, self.fps)
        if self._next is None or (index < self._next and not self._settling):
            self._next = index
        elif index < self._next or self._would_have_changed(stream, stamp_ns):
            account.late += 1

    def _would_have_changed(self, stream: Stream, stamp_ns: int) -> bool:
        """Whether a sample is near enough after a frame that was settled without waiting more."""
        at_ns = self._unpassed_ns.get(stream.config.name)
        if at_ns is None or stream.config.policy is Policy.PREVIOUS:
            return False
        if stream.passed(at_ns):
            del self._unpassed_ns[stream.config.name]
        return stamp_ns - at_ns <= stream.config.tolerance_ns

    def frames(self, now_ns: int, behind_ns: int = 0) -> Iterator[Frame]:
        """Frames that are settled by now, the time on the clock the stamps are of; in order.

        behind_ns: how far (0 or more) the taking of samples may be behind their coming. Frames
        wait so much longer for a stream before they are given up; one that is complete does not.
        """
        if self._next is None:
            return iter(())
        # Nine messages of ten come before the next frame's time: they must cost nothing here.
        at_ns = grid_ns(self._next, self.fps)
        if at_ns - _JUMP_NS <= now_ns < at_ns:
            return iter(())
        return self._due(now_ns, now_ns - behind_ns)

    def _due(self, now_ns: int, given_up_ns: int) -> Iterator[Frame]:
        if self._next is not None and now_ns < grid_ns(self._next, self.fps) - _JUMP_NS:
            self._set_back(now_ns)
        while self._next is not None and self._settled(self._next, now_ns, given_up_ns):
            self._settling = True
            frame = self._build(self._next)
            self._next += 1
            if frame is not None:
                self._emitted = frame.index
                yield frame
            self._jump(self._next, given_up_ns)

    def replay(
        self,
        samples: Iterable[Sample],
        refused: Callable[[Sample, Timing, int], None] | None = None,
    ) -> Iterator[Frame]:
        """The frames of recorded samples, in the order recorded; one pass, bounded memory.

        refused: called with a sample that is not in time, why, and when it came by the stamps'
        clock (ns).

        The data's own clock takes the place of the node's and is never ahead of it: what was in
        time then is in time now, and the frames are those of then, bit for bit.
        """
        least_ns = _RECORDER_NS
        for sample in samples:
            received_ns = sample.received_ns
            if received_ns is None:
                self._push(sample)
            else:
                # The recorder's clock is not the stamps': in time is relative to the best so far.
                least_ns = min(least_ns, max(0, received_ns - sample.stamp_ns))
                timing = self.arrive(sample, received_ns - least_ns)
                if refused is not None and timing in REFUSING:
                    refused(sample, timing, received_ns - least_ns)
                if timing is not Timing.IN_TIME:
                    continue
            newest_ns = self.newest_ns
            assert newest_ns is not None
            yield from self.frames(min(newest_ns, received_ns or newest_ns))
        yield from self._rest()

    def _rest(self) -> Iterator[Frame]:
        """No more will come: what can be built of what is there."""
        furthest_ns = max(stream.config.tolerance_ns for stream in self._streams.values())
        end_ns = furthest_ns + (self.newest_ns or 0)
        while self._next is not None and grid_ns(self._next, self.fps) <= end_ns:
            yield from self.frames(grid_ns(self._next, self.fps) + self._give_up_ns)

    def _set_back(self, now_ns: int) -> None:
        """Go on from an earlier time: the clock was set back, or a stamp was from the future."""
        for stream in self._streams.values():
            stream.forget_after(now_ns + _JUMP_NS // 2)
        self._unpassed_ns.clear()
        self.ledger.clock_jumps += 1
        index = grid_index(now_ns, self.fps)
        if self._emitted is not None and self._emitted > index + self.fps:
            self._next = self._emitted = None
            self._settling = False
            self._last_source.clear()
        elif self._next is not None:
            # No frame twice: one that was emitted stays the last.
            first = index if self._emitted is None else max(index, self._emitted + 1)
            self._next = min(self._next, first)

    def _jump(self, index: int, now_ns: int) -> None:
        behind = grid_index(now_ns - self._give_up_ns - _JUMP_NS, self.fps)
        if index >= behind:
            return
        earliest = {name: self._earliest(s, index, behind) for name, s in self._streams.items()}
        to = max(earliest.values())
        for name, first in earliest.items():
            stream, account = self._streams[name], self.ledger.streams[name]
            reason = Miss.NEVER_SEEN if stream.newest_ns is None else Miss.STALE
            account.missed[reason] += first - index
        self.ledger.missed_frames += to - index
        self._next = to

    def _earliest(self, stream: Stream, index: int, behind: int) -> int:
        """The first grid point from `index` to `behind` a stream can have a value for."""
        tolerance_ns = stream.config.tolerance_ns
        first_ns = stream.first_from(grid_ns(index, self.fps) - tolerance_ns)
        if first_ns is None:
            return behind
        return min(behind, max(index, grid_index(first_ns - tolerance_ns, self.fps)))

    def _settled(self, index: int, now_ns: int, given_up_ns: int) -> bool:
        at_ns = grid_ns(index, self.fps)
        if given_up_ns >= at_ns + self._give_up_ns:
            return True
        if at_ns <= now_ns and all(s.passed(at_ns) for s in self._streams.values()):
            return True
        return given_up_ns >= at_ns + self._max_wait_ns and not self._may_yet_be_built(at_ns)

    def _may_yet_be_built(self, at_ns: int) -> bool:
        """Whether a frame lacks nothing but samples that may still come."""
        lacking = [s for s in self._streams.values() if isinstance(s.evaluate(at_ns), Miss)]
        return bool(lacking) and not any(stream.passed(at_ns) for stream in lacking)

    def _build(self, index: int) -> Frame | None:
        at_ns = grid_ns(index, self.fps)
        found = {name: stream.evaluate(at_ns) for name, stream in self._streams.items()}
        for name, stream in self._streams.items():
            if not stream.passed(at_ns):
                self._unpassed_ns[name] = at_ns
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
            origins={name: v.origin for name, v in good.items() if v.origin is not None},
        )

    def _account(self, name: str, value: Evaluated) -> None:
        account = self.ledger.streams[name]
        account.used += 1
        account.interpolated += value.interpolated
        account.skews.add(value.skew_ns)
        if not value.interpolated:
            account.reused += self._last_source.get(name) == value.source_ns
        self._last_source[name] = value.source_ns


def offline(
    streams: Iterable[StreamConfig],
    samples: Iterable[Sample],
    fps: int,
    max_wait_s: float = 0.3,
    give_up_s: float | None = None,
) -> Iterator[Frame]:
    """The frames of recorded samples, by the class that makes them live.

    One aligner for all streams gives the frames that the node's two, joined by their stamp, gave
    once every stream had begun: a frame is whole in one where it is in both. For the ledger, use
    `Aligner.replay`.
    """
    return Aligner(streams, fps, max_wait_s, give_up_s).replay(samples)
