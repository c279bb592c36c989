"""Which rows are trained on at which step: a function of the seed and the step alone.

So a training that goes on in the middle of an epoch sees what it would have seen, and nothing of
the order needs to be saved, however far ahead the rows are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]

# Apart from each other, whatever the numbers behind them.
_PASS, _EPOCH, _CALIBRATION = range(3)


class Sampler:
    """Rows of several groups, in an order that is random and fixed by a seed.

    A group is passed through again and again, each time every row of it once, in another order. An
    epoch is one pass through the groups of the largest weight, and through the others as much of
    one as their weight is of the largest; the next epoch goes on where that part ended. The last
    batch of an epoch is filled with rows of the next one.

    groups: rows (n,) int64 of each, of a dataset for one; no group is empty. weights: how often a
    row of each is drawn, beside those of the others.
    """

    def __init__(
        self, groups: Sequence[Rows], weights: Sequence[float], batch_size: int, seed: int
    ) -> None:
        self._groups, self._batch_size, self._seed = groups, batch_size, seed
        self._rates = [
            len(rows) * weight / max(weights) for rows, weight in zip(groups, weights, strict=True)
        ]

    def batches(self, first: int) -> Iterator[Rows]:
        """The rows (B,) int64 of step `first`, counted from 0, and of every one after it."""
        position = first * self._batch_size
        epoch = self._epoch_at(position)
        left = self._order(epoch)[position - self._begin(epoch) :]
        while True:
            while len(left) < self._batch_size:
                epoch += 1
                left = np.concatenate([left, self._order(epoch)])
            yield left[: self._batch_size]
            left = left[self._batch_size :]

    def some(self, batches: int) -> Iterator[Rows]:
        """As many batches of any rows (B,), the same for a seed, to measure something with."""
        random = np.random.default_rng([self._seed, _CALIBRATION])
        rows = np.concatenate(self._groups)
        for _ in range(batches):
            yield rows[random.integers(0, len(rows), self._batch_size)]

    def _epoch_at(self, position: int) -> int:
        epoch = int(position / sum(self._rates))
        while self._begin(epoch) > position:  # parts of rows are not drawn
            epoch -= 1
        while self._begin(epoch + 1) <= position:
            epoch += 1
        return epoch

    def _begin(self, epoch: int) -> int:
        """How many rows are drawn before an epoch."""
        return sum(int(rate * epoch) for rate in self._rates)

    def _order(self, epoch: int) -> Rows:
        """The rows of an epoch."""
        parts = [
            self._drawn(number, int(rate * epoch), int(rate * (epoch + 1)))
            for number, rate in enumerate(self._rates)
        ]
        random = np.random.default_rng([self._seed, _EPOCH, epoch])
        return random.permutation(np.concatenate(parts))

    def _drawn(self, number: int, begin: int, end: int) -> Rows:
        """Of the endless row of passes through a group, those from `begin` to `end`."""
        rows = self._groups[number]
        count = len(rows)
        first, last = begin // count, -(-end // count)
        passes = [
            np.random.default_rng([self._seed, _PASS, number, each]).permutation(count)
            for each in range(first, last)
        ]
        drawn = np.concatenate(passes) if passes else np.zeros(0, np.int64)
        return rows[drawn[begin - first * count : end - first * count]]
