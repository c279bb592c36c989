"""Which rows chunks are learned from, and how often: those a person commanded more, or alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from armlet.datasets import Dataset, DatasetError
from armlet.datasets.format.layout import INTERVENTION


@dataclass(frozen=True)
class Begins:
    """Where chunks begin.

    rows: (m,) int64, those at which one may. weights: (m,) float64 above 0, how often one does,
    beside others; None: all alike.
    """

    rows: NDArray[np.int64]
    weights: NDArray[np.float64] | None = None

    def draw(self, generator: np.random.Generator, count: int) -> NDArray[np.int64]:
        """So many of them, (count,), each by its weight; one may come twice."""
        if self.weights is None:
            return self.rows[generator.integers(0, len(self.rows), count)]
        upto = np.cumsum(self.weights)
        places = np.searchsorted(upto, generator.random(count) * upto[-1], side="right")
        # The largest number below 1 may be rounded up to the sum.
        drawn: NDArray[np.int64] = self.rows[np.minimum(places, len(self.rows) - 1)]
        return drawn

    def spread(self, count: int) -> NDArray[np.int64]:
        """So many of them, (count,), evenly from the first to the last."""
        return self.rows[np.linspace(0, len(self.rows) - 1, count).astype(np.int64)]


def every(count: int) -> Begins:
    """At each of so many rows, all alike."""
    return Begins(np.arange(count))


def weighed(by_person: NDArray[np.bool_], weight: float) -> Begins:
    """At each row, `weight` times as often where a person commanded it.

    by_person: (n,). Raises DatasetError where a person commanded none.
    """
    if not by_person.any():
        raise DatasetError("no row to be weighed: a person commanded none that is trained on")
    return Begins(np.arange(len(by_person)), np.where(by_person, float(weight), 1.0))


def alone(
    by_person: NDArray[np.bool_], ends: NDArray[np.int64]
) -> tuple[Begins, NDArray[np.int64]]:
    """At a person's rows (n,) only, and where their chunks end: with the person's turn.

    ends: (n,), each row's episode end, exclusive. The same come back, no later than the first row
    that somebody else commanded: what a policy did before and after is not learned.
    """
    changes = (np.diff(by_person) != 0) | (np.diff(ends) != 0)
    bounds = np.append(np.flatnonzero(changes) + 1, len(ends))
    turns = bounds[np.searchsorted(bounds, np.arange(len(ends)), side="right")]
    return Begins(np.flatnonzero(by_person)), turns


def commanded_by_person(dataset: Dataset, episodes: Sequence[int]) -> NDArray[np.bool_]:
    """Whether a person commanded each row (n,) of these episodes, in this order.

    Raises DatasetError where the dataset does not say.
    """
    if INTERVENTION not in dataset.info.features:
        raise DatasetError(
            f"{dataset.root} has no column {INTERVENTION}, so who commanded a row is not known: "
            f"expected a dataset that was begun by `armlet up policy root:=DIR`, or by `armlet up "
            f"record` with {INTERVENTION}:=true"
        )
    columns = [dataset.episode(k).columns[INTERVENTION] for k in episodes]
    return np.concatenate([np.zeros(0, np.bool_), *(np.ravel(each) != 0 for each in columns)])


def with_person(dataset: Dataset) -> list[int]:
    """The episodes of which a person commanded a row. Raises DatasetError where nothing says."""
    numbers = range(len(dataset.episodes))
    return [k for k in numbers if commanded_by_person(dataset, [k]).any()]
