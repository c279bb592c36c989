"""Dataset statistics by LeRobot's formulas (v3.0: min, max, mean, std, count, five quantiles).

Written anew from their description: per episode, vectors over all rows, pictures over a sample of
frames on a coarse pixel grid; quantiles read off a histogram of 5000 bins; episodes aggregated by
count. Two things are done better on purpose: sums are float64 around an origin, and picture std is
the true one (LeRobot 0.4.0–0.5.1 square uint8 without widening).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import DatasetError

Stats = dict[str, NDArray[Any]]
"""One feature's statistics: min, max, mean, std, q01, q10, q50, q90, q99 and count (1,)."""

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
_BINS = 5000
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


class LevelCounts:
    """How often each 8-bit level occurs per channel, for every picture of an episode.

    Which pictures are sampled depends on the episode's final length, so all of them are counted,
    3 kB each, into a file: memory stays constant however long the episode, and at its end only
    the sampled rows are read back. From level counts, every statistic of 8-bit pictures is exact.
    """

    def __init__(self, path: Path, height: int, width: int):
        self._path = path
        self._stride = pixel_stride(height, width)
        self._file = path.open("wb")
        self.pictures = 0

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Count one (H, W, 3) picture."""
        sample = picture[:: self._stride, :: self._stride]
        levels = [np.bincount(sample[..., c].ravel(), minlength=_LEVELS) for c in range(3)]
        self._file.write(np.stack(levels).astype(np.uint32).tobytes())
        self.pictures += 1

    def stats(self) -> Stats:
        """The episode's picture statistics, values in 0..1, shapes (3, 1, 1)."""
        self._file.flush()
        chosen = sample_indices(self.pictures)
        rows = np.memmap(self._path, np.uint32, "r", shape=(self.pictures, 3, _LEVELS))
        return picture_stats(rows[chosen].sum(axis=0, dtype=np.int64), len(chosen))

    def close(self) -> None:
        self._file.close()


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

    Quantiles are count-weighted means of the parts' (LeRobot through 0.6.1), not true quantiles.
    """
    features = dict.fromkeys(feature for stats in episodes for feature in stats)
    return {
        feature: _aggregate([stats[feature] for stats in episodes if feature in stats])
        for feature in features
    }


def _aggregate(parts: Sequence[Stats]) -> Stats:
    def stack(name: str) -> NDArray[Any]:
        return np.stack([part[name] for part in parts])

    means, counts = stack("mean"), stack("count")
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
        document = json.loads(path.read_text())
        return {
            feature: {name: np.array(value) for name, value in stats.items()}
            for feature, stats in document.items()
        }
    except (ValueError, AttributeError) as error:
        raise DatasetError(f"{path} is not a statistics file: {error}") from error
