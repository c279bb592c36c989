"""A dataset and its episodes as a person is shown them, and which of them are asked for.

Every text from a file is made safe to show here; a page shows it as text, never as HTML.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from armlet.datasets import Dataset, DatasetError
from armlet.datasets.format import layout, tables
from armlet.datasets.transform import edits
from armlet.files import printable

from .library import Library, LibraryError, Place

_LONGEST_TASK, _LONGEST_NOTE, _LONGEST_NAME = 200, 500, 120
# More is no list that a person reads; the filters find the others.
MOST_SHOWN = 500


class Label(StrEnum):
    """Whether an episode succeeded, as a person said; NONE: nobody did."""

    SUCCESS = "success"
    FAILURE = "failure"
    NONE = "none"


@dataclass(frozen=True)
class Remark:
    """A finding of `armlet dataset check`. episode: None where it is of no single one."""

    code: str
    severity: str
    subject: str
    said: str
    fix: str
    episode: int | None

    @classmethod
    def parse(cls, found: Mapping[str, Any]) -> Remark:
        """From what `work` reports."""
        episode = found["episode"]
        texts = {name: str(found[name]) for name in ("code", "severity", "subject", "said", "fix")}
        return cls(**texts, episode=None if episode is None else int(episode))


@dataclass(frozen=True)
class Episode:
    """One episode. driven: who commanded which of its rows, as it was noted; damaged: how many of
    its pictures were damaged when they were recorded; codes: of its findings, once it is checked.
    """

    number: int
    length: int
    duration_s: float
    tasks: tuple[str, ...]
    label: Label
    driven: str = ""
    damaged: int = 0
    codes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Camera:
    """A camera, its pictures' size and how they are coded."""

    name: str
    height: int
    width: int
    codec: str


@dataclass(frozen=True)
class Overview:
    """A dataset as a whole. problem: why it, or a part of it, cannot be shown; "" if it can.

    state: what it is now (`edits.state`), which an edit is bound to. labelled: whether it has a
    label in every row, so that one episode's alone can be changed.
    """

    place: Place
    state: str = ""
    version: str = ""
    robot: str = ""
    fps: int = 0
    frames: int = 0
    cameras: tuple[Camera, ...] = ()
    tasks: tuple[str, ...] = ()
    contract: str = ""
    labelled: bool = False
    episodes: tuple[Episode, ...] = ()
    problem: str = ""

    @property
    def duration_s(self) -> float:
        """Of all episodes together."""
        return self.frames / self.fps if self.fps else 0.0

    def with_remarks(self, remarks: Sequence[Remark]) -> Overview:
        """The same, its episodes with the codes that a check found of them."""
        codes: dict[int, dict[str, None]] = defaultdict(dict)
        for remark in remarks:
            if remark.episode is not None:
                codes[remark.episode][remark.code] = None
        found = tuple(replace(one, codes=tuple(codes.get(one.number, ()))) for one in self.episodes)
        return replace(self, episodes=found)


@dataclass(frozen=True)
class Filter:
    """Which episodes are shown; what is not stated leaves none out.

    codes: with a finding of one of these. task: with this among their tasks.
    """

    codes: frozenset[str] = frozenset()
    labels: frozenset[Label] = frozenset()
    task: str | None = None
    shortest_s: float | None = None
    longest_s: float | None = None
    noted: bool = False

    def admits(self, episode: Episode) -> bool:
        """Whether an episode is shown."""
        return (
            (not self.codes or not self.codes.isdisjoint(episode.codes))
            and (not self.labels or episode.label in self.labels)
            and (self.task is None or self.task in episode.tasks)
            and (self.shortest_s is None or episode.duration_s >= self.shortest_s)
            and (self.longest_s is None or episode.duration_s <= self.longest_s)
            and (not self.noted or bool(episode.driven or episode.damaged))
        )

    def chosen(self, episodes: Sequence[Episode]) -> tuple[Episode, ...]:
        """Those that are shown, in order."""
        return tuple(episode for episode in episodes if self.admits(episode))


@dataclass(frozen=True)
class Statistic:
    """One number of a feature: an element of a vector, a colour of a camera."""

    feature: str
    element: str
    unit: str
    values: Mapping[str, float] = field(default_factory=dict)


def overview(library: Library, key: str) -> Overview:
    """What is shown of a dataset. Raises LibraryError where no such is shown here.

    A dataset that cannot be read has a `problem` and no episodes.
    """
    place = library.place(key)
    try:
        state = edits.state(place.root)
        return _overview(place, library.open(key), state)
    except LibraryError:
        raise
    except (DatasetError, OSError) as error:
        return Overview(place, problem=said(error))


def said(error: BaseException) -> str:
    """An error as the commands say it, safe to show."""
    from armlet.files import explained

    text = explained(error) if isinstance(error, OSError) else str(error)
    return printable(text, 4000, lines=True)


def _overview(place: Place, dataset: Dataset, state: str) -> Overview:
    info, problem = dataset.info, ""
    contract = "none"
    try:
        contract = dataset.contract.signature() if dataset.contract else contract
        labels = _labels(dataset)
    except DatasetError as error:
        labels, problem = {}, said(error)
    noted = layout.notes_reader(dataset.root)
    return Overview(
        place,
        state,
        info.version,
        printable(info.robot_type or "", _LONGEST_NAME),
        info.fps,
        info.total_frames,
        tuple(_cameras(dataset)),
        tuple(printable(task, _LONGEST_TASK) for task in dataset.tasks[:MOST_SHOWN]),
        contract,
        layout.SUCCESS in info.features,
        tuple(_episode(dataset, k, labels, noted) for k in range(len(dataset.episodes))),
        problem,
    )


def _cameras(dataset: Dataset) -> list[Camera]:
    return [
        Camera(
            printable(name, _LONGEST_NAME),
            *feature.picture_size,
            printable((feature.info or {}).get("video.codec", feature.dtype), 40),
        )
        for name, feature in dataset.info.cameras.items()
    ]


def _episode(dataset: Dataset, k: int, labels: Mapping[int, bool], noted: Any) -> Episode:
    one = dataset.episodes[k]
    try:
        notes = noted(k)
        provenance = dataset.provenance(k) if notes.get("provenance") else None
        driven = "" if provenance is None else printable(provenance.said(), _LONGEST_NOTE)
        damaged = sum(len(frames) for frames in (notes.get("damaged") or {}).values())
    except DatasetError as error:
        notes, driven, damaged = {}, said(error), 0
    success = labels.get(k, notes.get("success"))
    return Episode(
        one.episode,
        one.length,
        one.duration_s,
        tuple(printable(task, _LONGEST_TASK) for task in one.tasks),
        Label.NONE if success is None else Label.SUCCESS if success else Label.FAILURE,
        driven,
        damaged,
    )


def _labels(dataset: Dataset) -> dict[int, bool]:
    """Of every episode, the label in its last row, where the dataset has the column."""
    feature = dataset.info.features.get(layout.SUCCESS)
    if feature is None or (feature.dtype, feature.shape) != ("bool", (1,)):
        return {}
    rows = tables.read_episodes(dataset.root, stats=False)[: len(dataset.episodes)]
    found: dict[int, bool] = {}
    for number, own in groupby(rows, key=lambda row: row.data):
        path: Path = layout.locate(dataset.root, dataset.info.data_path(number))
        table = tables.read(path, [layout.SUCCESS, "episode_index"])
        values = tables.column(table, layout.SUCCESS, feature)
        index = tables.EpisodeIndex(tables.column(table, "episode_index", tables.COUNTER))
        for row in own:
            said_of_rows = values[index.rows(row.episode)]
            if len(said_of_rows):
                found[row.episode] = bool(said_of_rows[-1])
    return found


def statistics(dataset: Dataset) -> list[Statistic]:
    """The stored statistics, element by element, but of columns that count. Raises DatasetError."""
    contract = None
    with contextlib.suppress(DatasetError):  # the check says what is wrong with it
        contract = dataset.contract
    units = contract.units_by_name() if contract else {}
    found = []
    for key, stats in dataset.statistics.items():
        feature = dataset.info.features.get(key)
        if feature is None or key in (*layout.COUNTERS, layout.STAMP):
            continue
        columns = {
            name: np.asarray(values, np.float64).ravel()
            for name, values in stats.items()
            if name in ("min", "max", "mean", "std", "q01", "q99")
        }
        size = min((len(values) for values in columns.values()), default=0)
        names = ("red", "green", "blue") if feature.is_picture else feature.names or ()
        for at in range(min(size, MOST_SHOWN)):
            name = names[at] if at < len(names) else str(at)
            found.append(
                Statistic(
                    printable(key, _LONGEST_NAME),
                    printable(name, _LONGEST_NAME),
                    printable(units.get(name, ""), 40),
                    {what: float(values[at]) for what, values in columns.items()},
                )
            )
    return found
