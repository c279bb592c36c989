"""A policy that drives, as the graph says it, put in order for a screen. Knows no ROS."""

from __future__ import annotations

import bisect
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from armlet.align.command_source import Commander, parse
from armlet.contract.provenance import Provenance
from armlet.findings import Finding, Severity, worst

from .sight import SILENCE_S, Sight, Status, Trouble, number, topic_of

INFERENCE, DRIFT = "inference", "drift"
"""Parts of the policy node's statuses."""

WINDOW_S = 6.0
"""How far back a plot goes."""

_LEADER = "leader"
_PLANS, _POINTS = 8, 12
_FARTHEST_RAD = 1e3
"""No joint is so far; messages may say anything."""
_NOT_FITTED = ("refused",)
_UNDECIDED = ("warming", "checking", "stopped", "")
_LATENCIES = (
    "inference_s",
    "inference_p50_s",
    "inference_p99_s",
    "observation_to_chunk_s",
    "observation_age_s",
    "expected_delay_s",
    "chunk_overlap_s",
    "starved_s",
)
_COUNTS = (
    "chunks",
    "gaps",
    "late_chunks",
    "refused_chunks",
    "stale_observations",
    "frames_passed_over",
)
# Of the drift status' values: the end of a key, and what kind of number it is.
_DRIFTS = {
    " sigma ": "sigma",
    " out_of_range_rate": "outside",
    " divergence": "divergence",
    " lag_s": "lag",
}

Item = TypeVar("Item")


class Ask(StrEnum):
    """What a person asks of a policy, as keys of `press`."""

    RUN = "run the policy"
    PAUSE = "pause the policy"
    TAKE_OVER = "take over"
    GIVE_BACK = "give back"


class Who(StrEnum):
    """Who commands an arm. PROGRAM: another one than the policy that is shown."""

    POLICY = "policy"
    PROGRAM = "program"
    PERSON = "person"
    HOLD = "hold"
    UNKNOWN = "unknown"


class Fitness(StrEnum):
    """Whether the policy may run. UNDECIDED: it has not seen the robot's frames yet."""

    MAY_RUN = "may_run"
    REFUSED = "refused"
    UNDECIDED = "undecided"


class Slots(Generic[Item]):
    """The newest of what comes often, one for each gap of time, and the newest of all.

    gap_s: of any clock, which may be set back. most: so many are kept.
    """

    def __init__(self, gap_s: float, most: int) -> None:
        self._gap_s, self._begun_s = gap_s, -math.inf
        self._items: deque[Item] = deque(maxlen=most)

    def add(self, item: Item, now_s: float) -> None:
        if self._items and abs(now_s - self._begun_s) < self._gap_s:
            self._items[-1] = item
        else:
            self._items.append(item)
            self._begun_s = now_s

    def items(self) -> tuple[Item, ...]:
        """The oldest first."""
        return tuple(self._items)


@dataclass(frozen=True)
class Chunk:
    """One plan: rows (k, n) radians of n joints, row i due at stamp + times_s[i]."""

    stamp_ns: int
    joints: tuple[str, ...]
    times_s: NDArray[np.float64]
    rows: NDArray[np.float64]

    @property
    def covers_s(self) -> float:
        """From the observation to its last row."""
        return float(self.times_s[-1]) if len(self.times_s) else 0.0


@dataclass(frozen=True)
class Measured:
    """Where joints were at a time, radians by name."""

    stamp_ns: int
    by_joint: Mapping[str, float]


@dataclass(frozen=True)
class Track:
    """One joint over the last `WINDOW_S`: (s, radians), 0 s is now.

    plans: the oldest first, the newest reaches into the future. apart_rad: root of the mean square
    of what lies between measured and planned; None without both.
    """

    joint: str
    measured: tuple[tuple[float, float], ...] = ()
    plans: tuple[tuple[tuple[float, float], ...], ...] = ()
    apart_rad: float | None = None


@dataclass(frozen=True)
class DriftLine:
    """One number of what the policy reads or gives, beside its training.

    kind: sigma (spreads from the mean), outside (share beyond the range), divergence, or lag (s).
    trained: the same in training where the graph says it.
    """

    feature: str
    kind: str
    value: float
    trained: float | None = None


@dataclass(frozen=True)
class Command:
    """Who commands an arm, by its driver's node."""

    arm: str
    who: Who


@dataclass(frozen=True)
class Driving:
    """All of it now. node: empty where no policy has been heard.

    state: a `PolicyState` in lower case. silent: it has been, too long. leaders: the statuses of
    who a person takes over by, and whether they do. latency: s by name; counts: by name. covers_s:
    how long the newest chunk lasts, in which the next must come.
    """

    node: str = ""
    state: str = ""
    said: str = ""
    level: str = "good"
    silent: bool = False
    provenance: Provenance | None = None
    strategy: str = ""
    fit: tuple[Finding, ...] = ()
    commands: tuple[Command, ...] = ()
    persons: tuple[tuple[str, bool], ...] = ()
    latency: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, str] = field(default_factory=dict)
    covers_s: float | None = None
    tracks: tuple[Track, ...] = ()
    drift: tuple[DriftLine, ...] = ()
    drift_said: str = ""
    drift_level: str = "good"
    troubles: tuple[Trouble, ...] = ()

    @property
    def fitness(self) -> Fitness:
        """As the node decides it, and by its lines before the first frames."""
        if self.state in _NOT_FITTED or worst(self.fit) is Severity.ERROR:
            return Fitness.REFUSED
        return Fitness.UNDECIDED if self.state in _UNDECIDED else Fitness.MAY_RUN

    @property
    def running(self) -> bool:
        """Whether it is to drive, as far as its state shows."""
        return bool(self.node) and not self.silent and self.state in ("running", "starved", "hung")


@dataclass(frozen=True)
class Heard:
    """What has been heard beside the statuses. By arm's node: chunks and positions, oldest first.

    provenance, fit: of the policy's node.
    """

    chunks: Mapping[str, Sequence[Chunk]] = field(default_factory=dict)
    measured: Mapping[str, Sequence[Measured]] = field(default_factory=dict)
    provenance: Provenance | None = None
    fit: tuple[Finding, ...] = ()


def policy_node(statuses: Iterable[Status]) -> str:
    """The node of the graph's policy; empty if none has been heard."""
    return min((s.node for s in statuses if s.part == INFERENCE), default="")


def followers(drivers: Iterable[str]) -> list[str]:
    """Drivers' nodes but those of leaders, which people move."""
    return [node for node in drivers if node.split("/")[-2:-1] != [_LEADER]]


def driving(sight: Sight, statuses: Mapping[str, Status], heard: Heard) -> Driving:
    """What has been heard, in order."""
    newest_ns = max((status.stamp_ns for status in statuses.values()), default=0)
    node = policy_node(statuses.values())
    arms = followers(arm.node for arm in sight.arms)
    said = {arm.node: arm.commander for arm in sight.arms}
    commands = tuple(Command(arm, _who(said[arm], heard.provenance)) for arm in arms)
    persons = tuple(
        (status.name, status.values["engaged"] == "True")
        for status in sorted(statuses.values(), key=lambda each: each.name)
        if "engaged" in status.values
    )
    tracks = tuple(track for arm in arms for track in _tracks(arm, heard))
    if not node:
        return Driving(commands=commands, persons=persons, tracks=tracks)
    status = statuses[f"{node}: {INFERENCE}"]
    drift = statuses.get(f"{node}: {DRIFT}", Status("", "good", ""))
    return Driving(
        node=node,
        state=status.values.get("state", ""),
        said=status.said,
        level=status.level,
        silent=(newest_ns - status.stamp_ns) * 1e-9 > SILENCE_S,
        provenance=heard.provenance,
        strategy=status.values.get("strategy", ""),
        fit=heard.fit,
        commands=commands,
        persons=persons,
        latency=_numbers(status.values),
        counts={name: status.values[name] for name in _COUNTS if name in status.values},
        covers_s=max((rows[-1].covers_s for rows in heard.chunks.values() if rows), default=None),
        tracks=tracks,
        drift=tuple(_drift(drift.values)),
        drift_said=drift.said,
        drift_level=drift.level,
        troubles=tuple(t for t in sight.troubles if t.subject.partition(": ")[0] == node),
    )


def _numbers(values: Mapping[str, str]) -> dict[str, float]:
    read = {name: number(values.get(name, "")) for name in _LATENCIES}
    return {name: value for name, value in read.items() if value is not None}


def _who(frame: str, policy: Provenance | None) -> Who:
    """Whose command a driver says it sends."""
    source = parse(frame)
    if source.commander is Commander.TRAJECTORY:
        own = policy is not None and source.policy == policy.mark()
        return Who.POLICY if own else Who.PROGRAM
    return {Commander.PERSON: Who.PERSON, Commander.HOLD: Who.HOLD}.get(
        source.commander, Who.UNKNOWN
    )


def _drift(values: Mapping[str, str]) -> Iterable[DriftLine]:
    """A line for each number that is compared with training, in the node's order."""
    for key, text in values.items():
        for mark, kind in _DRIFTS.items():
            subject, found, rest = f"{key}".partition(mark)
            value = number(text)
            whole = found and (mark.endswith(" ") or not rest)
            if whole and value is not None and not (kind == "lag" and subject.endswith("trained")):
                trained = number(values.get(f"{subject} trained_lag_s", ""))
                name = f"{subject} {rest}".strip()
                yield DriftLine(name, kind, value, trained if kind == "lag" else None)


# --- plan and measurement -------------------------------------------------------------------------


def _tracks(arm: str, heard: Heard) -> Iterable[Track]:
    measured, chunks = heard.measured.get(arm, ()), heard.chunks.get(arm, ())
    stamps = [each.stamp_ns for each in measured]
    if not stamps:
        return
    now_ns = stamps[-1]
    measured = [each for each in measured if -WINDOW_S <= (each.stamp_ns - now_ns) * 1e-9 <= 0]
    chunks = [c for c in chunks if len(c.times_s) and abs(c.stamp_ns - now_ns) * 1e-9 <= WINDOW_S]
    chunks.sort(key=lambda each: each.stamp_ns)
    for joint in measured[-1].by_joint:
        points = [
            ((each.stamp_ns - now_ns) * 1e-9, each.by_joint[joint])
            for each in measured
            if abs(each.by_joint.get(joint, math.nan)) < _FARTHEST_RAD
        ]
        plans = [plan for chunk in chunks if (plan := _plan(chunk, joint, now_ns)) is not None]
        name = topic_of(arm, joint)
        shown = tuple(_fewer(times_s, rows) for times_s, rows in plans[-_PLANS:])
        yield Track(name, tuple(points), shown, _apart(points, plans))


Plan = tuple[NDArray[np.float64], NDArray[np.float64]]


def _plan(chunk: Chunk, joint: str, now_ns: int) -> Plan | None:
    """Times (k,), 0 is now, and radians (k,) of one joint."""
    if joint not in chunk.joints:
        return None
    rows = chunk.rows[:, chunk.joints.index(joint)]
    if not (np.abs(rows) < _FARTHEST_RAD).all():
        return None
    return (chunk.stamp_ns - now_ns) * 1e-9 + chunk.times_s, rows


def _fewer(
    times_s: NDArray[np.float64], rows: NDArray[np.float64]
) -> tuple[tuple[float, float], ...]:
    """Its first, its last, and some points between them."""
    places = sorted({round(p) for p in np.linspace(0, len(rows) - 1, min(len(rows), _POINTS))})
    return tuple((float(times_s[place]), float(rows[place])) for place in places)


def _apart(points: Sequence[tuple[float, float]], plans: Sequence[Plan]) -> float | None:
    """Of every measurement to the plan whose observation was the newest then, if it lasted."""
    begins = [float(times_s[0]) for times_s, _ in plans]
    squares = []
    for at_s, value in points:
        place = bisect.bisect_right(begins, at_s) - 1
        if place < 0:
            continue
        times_s, rows = plans[place]
        if at_s <= times_s[-1]:
            squares.append((value - float(np.interp(at_s, times_s, rows))) ** 2)
    return math.sqrt(sum(squares) / len(squares)) if squares else None
