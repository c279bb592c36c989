"""An episode over time, for a browser: what moved, and where its videos are, on one axis of time.

Everything is by the row: row i is at i / fps seconds, in the plots and in each video, whatever file
it shares with other episodes.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armlet.datasets import Dataset, DatasetError, EpisodeData
from armlet.datasets.format import layout
from armlet.files import printable

from .episodes import said

# As many points as a wide screen has pixels; what is between them is kept as lowest and highest.
MOST_POINTS = 1200
_MOST_PLOTS, _LONGEST_NAME = 64, 120


@dataclass(frozen=True)
class Plot:
    """One element of state and action over time. rows: (p,) of the points; the values in its unit,
    None where they are not finite or there is no such vector.
    """

    name: str
    unit: str
    state: tuple[list[int], list[float | None]] | None
    action: tuple[list[int], list[float | None]] | None


@dataclass(frozen=True)
class Video:
    """A camera's part of a video file, seconds in it. problem: why it cannot be shown, or "".

    single: its pictures are no video, and are fetched one by one.
    """

    camera: str
    from_s: float = 0.0
    to_s: float = 0.0
    single: bool = False
    problem: str = ""


@dataclass(frozen=True)
class Tracks:
    """An episode. person: first and last row of what a person commanded, if the dataset says so."""

    episode: int
    fps: int
    length: int
    tasks: tuple[str, ...]
    plots: tuple[Plot, ...]
    videos: tuple[Video, ...]
    person: tuple[tuple[int, int], ...] = ()
    problem: str = ""


def tracks(dataset: Dataset, k: int) -> Tracks:
    """Episode k. What cannot be read is said in the `problem` of it, or of its video."""
    info, one = dataset.info, dataset.episodes[k]
    plots: tuple[Plot, ...] = ()
    person: tuple[tuple[int, int], ...] = ()
    problem = ""
    try:
        data = dataset.episode(k)
        plots = tuple(_plots(dataset, data))
        person = tuple(_turns(data))
    except DatasetError as error:
        problem = said(error)
    return Tracks(
        k,
        info.fps,
        one.length,
        tuple(printable(task, 200) for task in one.tasks),
        plots,
        tuple(_video(dataset, k, name) for name in info.cameras),
        person,
        problem,
    )


def _plots(dataset: Dataset, data: EpisodeData) -> list[Plot]:
    contract = dataset.contract
    units = contract.units_by_name() if contract else {}
    vectors = {
        key: data.columns[key]
        for key in (layout.STATE, layout.ACTION)
        if key in data.columns and data.columns[key].ndim == 2
    }
    names = {
        key: _names(dataset.info.features[key].names, values.shape[1])
        for key, values in vectors.items()
    }
    found = []
    for name in list(dict.fromkeys(name for own in names.values() for name in own))[:_MOST_PLOTS]:
        of = {
            key: points(values[:, names[key].index(name)])
            for key, values in vectors.items()
            if name in names[key]
        }
        shown = printable(name, _LONGEST_NAME)
        unit = printable(units.get(name, ""), 40)
        found.append(Plot(shown, unit, of.get(layout.STATE), of.get(layout.ACTION)))
    return found


def _names(names: tuple[str, ...] | None, size: int) -> list[str]:
    """One for each element; a number where the dataset has none."""
    own = list(names or ())[:size]
    return own + [str(at) for at in range(len(own), size)]


def points(values: NDArray[Any], most: int = MOST_POINTS) -> tuple[list[int], list[float | None]]:
    """A line (L,) of at most so many points: of each stretch of rows its lowest and its highest."""
    rows = np.arange(len(values))
    if len(values) > most:
        edges = np.linspace(0, len(values), most // 2 + 1).astype(int)
        parts = [values[a:b].astype(np.float64) for a, b in itertools.pairwise(edges)]
        low = [int(np.argmin(np.nan_to_num(part, nan=np.inf))) for part in parts]
        high = [int(np.argmax(np.nan_to_num(part, nan=-np.inf))) for part in parts]
        rows = np.unique([*(edges[:-1] + low), *(edges[:-1] + high), 0, len(values) - 1])
    own = values[rows].astype(np.float64)
    shown = [float(f"{value:.6g}") if np.isfinite(value) else None for value in own.tolist()]
    return rows.tolist(), shown


def _turns(data: EpisodeData) -> list[tuple[int, int]]:
    """First and last row of what a person commanded; empty where no row is marked."""
    if layout.INTERVENTION not in data.columns:
        return []
    edges = np.flatnonzero(np.diff(data.by_person, prepend=False, append=False)).reshape(-1, 2)
    return [(first, end - 1) for first, end in edges.tolist()]


def _video(dataset: Dataset, k: int, camera: str) -> Video:
    shown = printable(camera, _LONGEST_NAME)
    try:
        found = dataset.video(k, camera)
    except DatasetError as error:
        return Video(shown, problem=said(error))
    return Video(shown, single=True) if found is None else Video(shown, found.from_s, found.to_s)
