"""Which rows chunks are learned from, and how often: those a person commanded more, or alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from armlet.datasets import Dataset, DatasetError
from armlet.datasets.format.layout import INTERVENTION

from .samples import Samples
from .sources import Source

Rows = NDArray[np.int64]


def weighed(
    groups: Sequence[Rows], weights: Sequence[float], by_person: NDArray[np.bool_], weight: float
) -> tuple[list[Rows], list[float]]:
    """Groups of rows and their weights for a `Sampler`, a person's rows apart.

    by_person: (N,), of each row. weight: how often a row of a person is drawn, beside another of
    its group. Raises DatasetError where a person commanded none.
    """
    if not any(by_person[rows].any() for rows in groups):
        raise DatasetError("no row to be weighed: a person commanded none that is trained on")
    parts = [
        (rows[by_person[rows] == whose], own * (weight if whose else 1.0))
        for rows, own in zip(groups, weights, strict=True)
        for whose in (False, True)
    ]
    filled = [(rows, own) for rows, own in parts if len(rows)]
    return [rows for rows, _ in filled], [own for _, own in filled]


def alone(samples: Samples) -> Samples:
    """The same rows, with chunks that begin at a person's and end with the person's turn.

    What a policy did before and after is not learned. Raises DatasetError.
    """
    by_person = commanded_by_person(samples)
    begins, ends = turns(by_person, samples.ends)
    starts = np.searchsorted(ends, ends)  # the first row that ends where this one does
    return dataclasses.replace(samples, begins=begins, starts=starts, ends=ends)


def turns(by_person: NDArray[np.bool_], ends: Rows) -> tuple[Rows, Rows]:
    """A person's rows, ascending, and where chunks from each row end with whoever commands it.

    by_person, ends: (N,), and each row's episode end, exclusive. Ends (N,) come back that are no
    later than the first row that somebody else commanded.
    """
    changes = (np.diff(by_person) != 0) | (np.diff(ends) != 0)
    bounds = np.append(np.flatnonzero(changes) + 1, len(ends))
    places = np.searchsorted(bounds, np.arange(len(ends)), side="right")
    return np.flatnonzero(by_person), bounds[places]


def commanded_by_person(samples: Samples) -> NDArray[np.bool_]:
    """Whether a person commanded each row (N,). Raises DatasetError where nothing says."""
    each = zip(samples.datasets, samples.episodes, strict=True)
    return np.concatenate([of_episodes(dataset, episodes) for dataset, episodes in each])


def of_episodes(dataset: Dataset, episodes: Sequence[int]) -> NDArray[np.bool_]:
    """Whether a person commanded each row (n,) of these episodes, in this order.

    Raises DatasetError where the dataset does not say, and where what it says is no answer.
    """
    if INTERVENTION not in dataset.info.features:
        raise DatasetError(
            f"{dataset.root} has no column {INTERVENTION}, so who commanded a row is not known: "
            f"expected a dataset that was begun by `armlet up policy root:=DIR`, or by `armlet up "
            f"record` with {INTERVENTION}:=true"
        )
    try:
        said = [dataset.episode(k).by_person for k in episodes]
    except DatasetError as error:
        raise DatasetError(f"{dataset.root}: {error}") from error
    return np.concatenate([np.zeros(0, np.bool_), *said])


def with_person(sources: Sequence[Source]) -> list[Source]:
    """The sources with those of their episodes of which a person commanded a row.

    Raises DatasetError where nothing says, and where they are too few.
    """
    least, found = 2 if len(sources) == 1 else 1, []
    for source in sources:
        dataset = source.dataset
        episodes = tuple(k for k in source.chosen if of_episodes(dataset, [k]).any())
        if len(episodes) < least:
            raise DatasetError(
                f"{dataset.root}: expected {least} episodes or more of which a person commanded "
                f"rows, found {len(episodes)}; record more"
            )
        found.append(dataclasses.replace(source, episodes=episodes))
    return found
