"""Dataset statistics by LeRobot's formulas (v3.0: min, max, mean, std, count, five quantiles).

Written again from their description: per episode, vectors over all rows, pictures over a sample of
frames on a coarse pixel grid; quantiles read off a histogram of 5000 bins; episodes aggregated by
count. Two things are done better on purpose: sums are float64 around an origin, and picture std is
the true one (LeRobot 0.4.0–0.5.1 square uint8 without widening, 0.6 adds up in float32).
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from armlet.files import FileError, Shape, printable, read_json

from . import atomic_files
from .errors import DatasetError

Stats = dict[str, NDArray[Any]]
"""One feature's statistics: min, max, mean, std, q01, q10, q50, q90, q99 and count (1,)."""

Levels: TypeAlias = NDArray[np.uint32]
"""How often each 8-bit level occurs in each channel: (3, 256)."""

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
_NEEDED = ("min", "max", "mean", "std", "count")
_BINS = 5000
_MOST_AXES = 8
_STATS_SHAPE = Shape(size=16 << 20)
_LEVELS = 256


def sample_indices(length: int) -> NDArray[np.int64]:
    """The frames of an episode whose pictures enter its statistics: all up to 100, then L^0.75."""
    count = max(min(100, length), min(int(length**0.75), 10_000))
    return np.round(np.linspace(0, length - 1, count)).astype(np.int64)


def pixel_stride(height: int, width: int) -> int:
    """Every how many pixels a picture is sampled: about 150 along its longer side."""
    if max(height, width) < 300:
        return 1
    return int(width / 150) if width > height else int(height / 150)


def vector_stats(rows: NDArray[Any]) -> Stats:
    """Statistics of (L,) or (L, D) numbers over L; shapes (1,) or (D,), population std.

    min and max keep integers integers. A single row has itself for every quantile.
    """
    values = rows.reshape(len(rows), -1)
    origin = values[0]
    # Around the first row: nanosecond stamps would lose everything in a sum of squares.
    offsets = values - origin if values.dtype.kind == "i" else values.astype(np.float64) - origin
    offsets = offsets.astype(np.float64)
    stats: Stats = {
        "min": _widened(values.min(axis=0)),
        "max": _widened(values.max(axis=0)),
        "mean": origin + offsets.mean(axis=0),
        "std": offsets.std(axis=0),
        "count": np.array([len(values)]),
    }
    if len(values) < 2:
        return stats | {name: stats["mean"].copy() for name in QUANTILES}
    ones = np.ones(len(values))
    columns = [_quantiles(column.astype(np.float64), ones) for column in values.T]
    return stats | {name: np.array([found[name] for found in columns]) for name in QUANTILES}


def _widened(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(np.int64 if values.dtype.kind in "iub" else np.float64)


def count_levels(sample: NDArray[np.uint8]) -> Levels:
    """How often each level occurs in each channel of (3, h, w) sampled pixels."""
    counts = [cv2.calcHist([channel], [0], None, [_LEVELS], [0, _LEVELS]) for channel in sample]
    # OpenCV 4 gives (256, 1), OpenCV 5 (256,).
    return np.stack(counts).reshape(len(counts), _LEVELS).astype(np.uint32)


class LevelCounts:
    """How often each 8-bit level occurs per channel, for every picture of an episode.

    Which pictures are sampled depends on the episode's final length, so all of them are counted,
    1.5 kB each, into a file: memory stays constant however long the episode, and at its end only
    the sampled rows are read back. From level counts, every statistic of 8-bit pictures is exact.
    Each row carries a CRC-32, so that a killed recorder's counts can be used as far as they go.
    """

    def __init__(self, path: Path, height: int, width: int, pictures: int | None = 0):
        """Begin a file, or go on with one cut behind its first `pictures` rows.

        None opens it for reading, `pictures` being the rows that are whole.
        """
        stride = pixel_stride(height, width)
        pixels = -(-height // stride) * -(-width // stride)
        # Halves the file where a level cannot occur more often than that.
        self._kind = np.dtype("<u2") if pixels < 1 << 16 else np.dtype("<u4")
        self._row = 3 * _LEVELS * self._kind.itemsize + 4
        self._path = path
        if pictures is None:
            self.handle = os.open(path, os.O_RDONLY)
            self.pictures = self._intact()
        else:
            self.handle = (
                atomic_files.reopen(path, pictures * self._row)
                if pictures
                else atomic_files.create(path)
            )
            self.pictures = pictures

    def add(self, levels: Levels) -> None:
        """Keep one picture's counts."""
        row = levels.astype(self._kind).tobytes()
        atomic_files.append(self.handle, row, zlib.crc32(row).to_bytes(4, "little"))
        self.pictures += 1

    def stats(self) -> Stats:
        """The episode's picture statistics, values in 0..1, shapes (3, 1, 1)."""
        chosen = sample_indices(self.pictures)
        total = np.zeros((3, _LEVELS), np.int64)
        for number in chosen.tolist():
            row = self._read(number)
            if row is None:
                raise DatasetError(f"{self._path.name}: the counts of picture {number} are damaged")
            total += row
        return picture_stats(total, len(chosen))

    def _intact(self) -> int:
        number = 0
        while self._read(number) is not None:
            number += 1
        return number

    def close(self) -> None:
        """May be called again."""
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1

    def _read(self, number: int) -> Levels | None:
        row = os.pread(self.handle, self._row, number * self._row)
        if len(row) < self._row or zlib.crc32(row[:-4]) != int.from_bytes(row[-4:], "little"):
            return None
        return np.frombuffer(row[:-4], self._kind).reshape(3, _LEVELS).astype(np.uint32)


def picture_stats(counts: NDArray[np.int64], pictures: int) -> Stats:
    """Statistics from level counts (3, 256) summed over a number of pictures."""
    levels = np.arange(_LEVELS, dtype=np.float64)
    channels = []
    for weights in counts:
        present = np.flatnonzero(weights)
        mean = np.average(levels, weights=weights)
        channels.append(
            {
                "min": levels[present[0]],
                "max": levels[present[-1]],
                "mean": mean,
                "std": np.sqrt(np.average((levels - mean) ** 2, weights=weights)),
                **_quantiles(levels[present], weights[present].astype(np.float64)),
            }
        )
    stats: Stats = {
        name: np.array([channel[name] for channel in channels]).reshape(3, 1, 1) / 255
        for name in channels[0]
    }
    return stats | {"count": np.array([pictures])}


def _quantiles(values: NDArray[np.float64], weights: NDArray[np.float64]) -> dict[str, float]:
    edges = np.linspace(values.min() - 1e-10, values.max() + 1e-10, _BINS + 1)
    histogram, _ = np.histogram(values, bins=edges, weights=weights)
    below = np.cumsum(histogram)
    return {name: _quantile(q * weights.sum(), below, edges) for name, q in QUANTILES.items()}


def _quantile(target: float, below: NDArray[np.float64], edges: NDArray[np.float64]) -> float:
    """Linear within the first bin whose cumulative count reaches target; bin 0 is its left edge."""
    found = int(np.searchsorted(below, target))
    if found == 0:
        return float(edges[0])
    if found >= len(below):
        return float(edges[-1])
    share = (target - below[found - 1]) / (below[found] - below[found - 1])
    return float(edges[found] + share * (edges[found + 1] - edges[found]))


def aggregate(episodes: Sequence[Mapping[str, Stats]]) -> dict[str, Stats]:
    """Statistics of a dataset from those of its parts, feature by feature, weighted by count.

    Quantiles are count-weighted means of the parts', as LeRobot's were, not true quantiles.
    Raises DatasetError where a part lacks something, or parts are of different shapes.
    """
    features = dict.fromkeys(feature for stats in episodes for feature in stats)
    found = {}
    for feature in features:
        parts = [stats[feature] for stats in episodes if feature in stats]
        wrong = next((why for part in parts if (why := problem(part))), "")
        if not wrong and len({part["mean"].shape for part in parts}) > 1:
            wrong = "episodes have different numbers of values"
        if wrong:
            raise DatasetError(
                f"statistics of {printable(feature, 80)}: {wrong}; compute them again: "
                "`armlet dataset stats --write`"
            )
        found[feature] = _aggregate(parts)
    return found


def problem(stats: Stats) -> str:
    """Why one feature's statistics cannot be used; nothing if they can."""
    lacking = [name for name in _NEEDED if name not in stats]
    if lacking:
        return f"no {', '.join(lacking)} stored"
    if stats["count"].size != 1:
        return f"count has {stats['count'].size} values, expected 1"
    shapes = {stats[name].shape for name in (*_NEEDED[:-1], *QUANTILES) if name in stats}
    if len(shapes) > 1 or not stats["mean"].size:
        return "its parts have different numbers of values"
    if not all(np.isfinite(stats[name]).all() for name in _NEEDED) or stats["count"].item() < 1:
        return "values that are not finite, or a count below 1"
    return ""


def _aggregate(parts: Sequence[Stats]) -> Stats:
    def stack(name: str) -> NDArray[Any]:
        return np.stack([part[name] for part in parts])

    # A count may be stored as a number or as a list of one.
    means, counts = stack("mean"), np.stack([part["count"].reshape(1) for part in parts])
    total = counts.sum(axis=0)
    weights = counts.reshape(len(parts), *[1] * (means.ndim - 1)) / total.sum()
    mean = (weights * means).sum(axis=0)
    variance = (weights * (stack("std") ** 2 + (means - mean) ** 2)).sum(axis=0)
    merged: Stats = {
        "min": stack("min").min(axis=0),
        "max": stack("max").max(axis=0),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": total,
    }
    shared = [name for name in QUANTILES if all(name in part for part in parts)]
    return merged | {name: (weights * stack(name)).sum(axis=0) for name in shared}


STD_BUG = "a bug of LeRobot 0.4.0–0.6.1"
"""Versions that compute pictures' std of squares that overflow, and since 0.6 of float32 sums: of
millions of values alike, the difference of which from their mean is lost."""


def std_below_quantiles(stats: Stats) -> bool:
    """Whether std is far below the spread of the 10 % and 90 % quantiles; not, without them.

    A tenth of the values lie beyond either quantile, so std is at least 0.22 of their distance.
    """
    if not {"q10", "q90"} <= stats.keys():
        return False
    return bool((stats["std"] < 0.1 * (stats["q90"] - stats["q10"])).any())


def quantile_deviation(stored: Stats, right: Stats, slack: float = 0.02) -> str:
    """The stored quantile furthest from the right one, in words; nothing if all are near.

    slack: what is near, as a share of the range. LeRobot reads quantiles off a histogram that it
    bins again as the range grows, which moves them by less than that.
    """
    span = np.maximum(right["max"] - right["min"], 1e-6).astype(float).ravel()
    worst, said = slack, ""
    for name in (name for name in QUANTILES if name in stored and name in right):
        there, here = np.asarray(stored[name], float).ravel(), right[name].ravel()
        if there.shape != here.shape:
            return f"{name} has {there.size} values, expected {here.size}"
        off = np.abs(there - here) / span
        # Not finite is off, too.
        if not (off <= worst).all():
            place = int(np.argmax(np.where(np.isfinite(off), off, np.inf)))
            worst = float(off[place])
            said = f"{name}[{place}] is stored as {there[place]:.6g}, the data's {here[place]:.6g}"
    return said


def quantiles_combined(stored: Stats, episodes: Sequence[Stats]) -> bool:
    """Whether stored quantiles are made of the episodes' by LeRobot's rules, not of all rows.

    Count-weighted means; since 0.6 the least of those up to the median and the largest above it.
    """
    names = [name for name in QUANTILES if name in stored]
    if len(episodes) < 2 or any(problem(one) for one in episodes):
        return False
    if not all(name in one for one in episodes for name in names):
        return False
    if len({one["mean"].shape for one in episodes}) > 1:
        return False
    means = _aggregate(episodes)
    extremes = means | {
        name: (np.min if QUANTILES[name] <= 0.5 else np.max)(
            np.stack([one[name] for one in episodes]), axis=0
        )
        for name in names
    }
    return any(not quantile_deviation(stored, rule, slack=1e-3) for rule in (means, extremes))


def dumps(statistics: Mapping[str, Stats]) -> bytes:
    """stats.json, in LeRobot's form."""
    document = {
        feature: {name: value.tolist() for name, value in stats.items()}
        for feature, stats in statistics.items()
    }
    return json.dumps(document, indent=4, ensure_ascii=False).encode()


def load(path: Path) -> dict[str, Stats]:
    """stats.json. Raises FileNotFoundError, or DatasetError naming the file."""
    try:
        return stats_of(read_json(path, _STATS_SHAPE), "statistics")
    except FileError as error:
        raise DatasetError(f"{path} is not a statistics file: {error}") from error


def stats_of(document: Any, where: str) -> dict[str, Stats]:
    """Statistics by feature from their JSON: numbers in nested lists. Raises FileError.

    What is not finite is kept: a check names it.
    """
    if not isinstance(document, Mapping):
        raise FileError(f"{where}: expected an object, found {printable(repr(document), 80)}")
    found: dict[str, Stats] = {}
    for feature, block in document.items():
        if not isinstance(block, Mapping):
            raise FileError(
                f"{where}: {printable(feature, 80)}: expected an object, "
                f"found {printable(repr(block), 80)}"
            )
        found[feature] = {
            name: numbers_of(value, f"{where}: {printable(feature, 80)}: {printable(name, 40)}")
            for name, value in block.items()
        }
    return found


def numbers_of(value: Any, where: str) -> NDArray[Any]:
    """Nested lists of numbers as an array. Raises FileError for anything else."""
    try:
        array = np.array(value)
    except (ValueError, OverflowError) as error:  # lists of different lengths
        raise FileError(f"{where}: expected numbers, found lists of different lengths") from error
    if array.dtype.kind not in "iufb" or array.ndim > _MOST_AXES:
        raise FileError(f"{where}: expected numbers, found {printable(repr(value), 80)}")
    return array
