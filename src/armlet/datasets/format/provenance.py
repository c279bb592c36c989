"""Who commanded an episode's rows, and which policies drove it, as the recorder notes it."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armlet.align import Commander
from armlet.contract.provenance import Provenance, ProvenanceError

UNKNOWN, HOLD, PERSON, TRAJECTORY, POLICY = "unknown", "hold", "person", "trajectory", "policy"
"""Who commanded rows. `policy 0` is the first of those named; `policy` alone one whose provenance
never came; a trajectory is of another program."""

_NAMES: Mapping[int, str] = {
    Commander.UNKNOWN: UNKNOWN,
    Commander.HOLD: HOLD,
    Commander.PERSON: PERSON,
    Commander.TRAJECTORY: TRAJECTORY,
}
_WHO = re.compile(rf"{UNKNOWN}|{HOLD}|{PERSON}|{TRAJECTORY}|{POLICY}(?: (0|[1-9][0-9]{{0,3}}))?")
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")

Ranges = list[tuple[int, int]]
"""First and last row of each run of rows, ascending."""


@dataclass(frozen=True)
class Latency:
    """How long a policy took for so many chunks: median and 99th percentile, s.

    Of inference alone, and from the stamp of an observation to its chunk.
    """

    chunks: int
    inference_p50_s: float
    inference_p99_s: float
    observation_to_chunk_p50_s: float
    observation_to_chunk_p99_s: float


def latency(measured: NDArray[np.float64]) -> Latency | None:
    """That of chunks (k, 2): seconds of inference, and from observation to chunk; None for none."""
    if not len(measured):
        return None
    p50, p99 = np.percentile(measured, (50, 99), axis=0).round(4).tolist()
    return Latency(len(measured), p50[0], p99[0], p50[1], p99[1])


@dataclass(frozen=True)
class EpisodeProvenance:
    """What moved the arm in an episode.

    policies: those that drove it; latency: how long they took, if that was heard. rows: by who
    commanded them, as in "0-119,180-299"; rows that nobody has are unknown. Raises ProvenanceError
    for names and ranges that are no such, and for rows with two commanders.
    """

    policies: tuple[Provenance, ...] = ()
    rows: Mapping[str, str] = field(default_factory=dict)
    latency: Latency | None = None

    def __post_init__(self) -> None:
        for who in self.rows:
            found = _WHO.fullmatch(who)
            if found is None or (found[1] is not None and int(found[1]) >= len(self.policies)):
                raise ProvenanceError(f"rows: expected a commander such as {PERSON}, found {who!r}")
        runs = sorted(run for who in self.rows for run in self.ranges(who))
        if any(after[0] <= before[1] for before, after in itertools.pairwise(runs)):
            raise ProvenanceError("rows: some have two commanders")

    def ranges(self, who: str) -> Ranges:
        """The rows that somebody commanded. Raises ProvenanceError for a text that is no ranges."""
        return list(_parsed(self.rows.get(who, "")))

    def frames(self, who: str) -> int:
        """How many rows somebody commanded."""
        return sum(last - first + 1 for first, last in self.ranges(who))

    @property
    def length(self) -> int:
        """The number of the last row that is named, plus 1."""
        return max((last + 1 for who in self.rows for _, last in self.ranges(who)), default=0)

    @property
    def driven(self) -> bool:
        """Whether a policy, or another program's trajectory, commanded some of its rows."""
        return any(who.startswith((POLICY, TRAJECTORY)) for who in self.rows)

    def cut(self, first: int, count: int) -> EpisodeProvenance:
        """That of `count` rows from row `first` on; policies that drove none of these are left out.

        Policies keep their order, and the latency is that of the whole.
        """
        runs = {
            who: [
                (max(a, first) - first, min(b, first + count - 1) - first)
                for a, b in self.ranges(who)
                if max(a, first) <= min(b, first + count - 1)
            ]
            for who in self.rows
        }
        named = [f"{POLICY} {k}" for k in range(len(self.policies))]
        used = [k for k, who in enumerate(named) if runs.get(who)]
        renamed = {named[k]: f"{POLICY} {place}" for place, k in enumerate(used)}
        rows = {renamed.get(who, who): _text(own) for who, own in runs.items() if own}
        return EpisodeProvenance(tuple(self.policies[k] for k in used), rows, self.latency)

    def said(self) -> str:
        """In a line: who commanded which rows."""
        names = {f"{POLICY} {k}": f"{POLICY} {one.name}" for k, one in enumerate(self.policies)}
        said = [f"{names.get(who, who)}: {own}" for who, own in self.rows.items()]
        took = self.latency
        if took is not None:
            p50_s, p99_s = took.observation_to_chunk_p50_s, took.observation_to_chunk_p99_s
            said.append(f"observation to chunk {p50_s:.3f} s, at most {p99_s:.3f} s for 99 of 100")
        return "; ".join(said)

    def to_json(self) -> dict[str, Any]:
        """As it stands in the episode's notes."""
        return dataclasses.asdict(self)


def rows_by_commander(noted: Iterable[EpisodeProvenance]) -> dict[str, int]:
    """Rows of episodes by who commanded them, all policies together."""
    frames: Counter[str] = Counter()
    for one in noted:
        for who in one.rows:
            frames[who.partition(" ")[0]] += one.frames(who)
    return dict(sorted(frames.items()))


def of_rows(
    commanders: NDArray[np.uint8], marks: NDArray[np.uint64], known: Mapping[str, Provenance]
) -> EpisodeProvenance:
    """That of rows (L,) with their `Commander`s and their policies' marks, 0 where there is none.

    known: provenances by mark.
    """
    changed = (np.diff(commanders) != 0) | (np.diff(marks) != 0)
    bounds = sorted({0, *(np.flatnonzero(changed) + 1).tolist(), len(commanders)})
    policies: dict[str, Provenance] = {}
    runs: dict[str, Ranges] = defaultdict(list)
    for start, end in itertools.pairwise(bounds):
        mark = f"{int(marks[start]):016x}"
        if mark in known:
            policies.setdefault(mark, known[mark])
        runs[_who(int(commanders[start]), mark, policies)].append((start, end - 1))
    return EpisodeProvenance(
        tuple(policies.values()), {who: _text(own) for who, own in sorted(runs.items())}
    )


def _who(commander: int, mark: str, policies: Mapping[str, Provenance]) -> str:
    if commander != Commander.TRAJECTORY or not int(mark, 16):
        return _NAMES.get(commander, UNKNOWN)
    return f"{POLICY} {list(policies).index(mark)}" if mark in policies else POLICY


def _text(runs: Ranges) -> str:
    """Ranges as `_parsed` reads them; neighbours become one."""
    joined: Ranges = []
    for first, last in runs:
        if joined and joined[-1][1] == first - 1:
            joined[-1] = joined[-1][0], last
        else:
            joined.append((first, last))
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in joined)


def _parsed(text: str) -> Iterator[tuple[int, int]]:
    before = -1
    for part in text.split(",") if text else ():
        found = _RANGE.fullmatch(part)
        first = last = int(found[1]) if found else 0
        if found and found[2] is not None:
            last = int(found[2])
        if found is None or first <= before or last < first:
            raise ProvenanceError(f"rows: expected ranges as in 0-119,180, found {part[:40]!r}")
        before = last
        yield first, last
