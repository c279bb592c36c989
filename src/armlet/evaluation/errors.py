"""Errors of predicted chunks, added up by joint, by step of the horizon and by episode."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Errors:
    """The errors of one predictor over a horizon of C steps for n joints, dataset units.

    Attributes:
        by_episode: mean absolute errors (n,) by episode, of all its steps.
    """

    def __init__(self, horizon: int, joints: int):
        self._absolute, self._squared, self._signed = np.zeros((3, horizon, joints))
        self.count = np.zeros(horizon, np.int64)
        self.by_episode: dict[int, Floats] = {}
        self._sum, self._rows = np.zeros(joints), 0

    def add(self, chunk: Floats, actions: Floats) -> None:
        """A chunk (C, n) against the actions (m, n) that followed, m <= C: row i is due at step i.

        Steps behind the end of the episode have no action to compare with, and do not count.
        """
        error = chunk[: len(actions)] - actions
        steps = slice(0, len(error))
        self._absolute[steps] += np.abs(error)
        self._squared[steps] += error**2
        self._signed[steps] += error
        self.count[steps] += 1
        self._sum += np.abs(error).sum(axis=0)
        self._rows += len(error)

    def end_episode(self, episode: int) -> None:
        """What was added since the last one is this episode's."""
        self.by_episode[episode] = self._sum / max(1, self._rows)
        self._sum, self._rows = np.zeros_like(self._sum), 0

    @property
    def by_step(self) -> Floats:
        """Mean absolute error (C, n); NaN for steps that no episode is long enough for."""
        return self._per_step(self._absolute)

    @property
    def mean(self) -> Floats:
        """Mean absolute error (n,)."""
        return self._over_all(self._absolute)

    @property
    def rms(self) -> Floats:
        """Root of the mean squared error (n,)."""
        return np.asarray(np.sqrt(self._over_all(self._squared)))

    @property
    def bias(self) -> Floats:
        """Mean error (n,), predicted less recorded."""
        return self._over_all(self._signed)

    def _over_all(self, sums: Floats) -> Floats:
        result: Floats = sums.sum(axis=0) / max(1, int(self.count.sum()))
        return result

    def _per_step(self, sums: Floats) -> Floats:
        counts = np.where(self.count, self.count, np.nan)
        result: Floats = sums / counts[:, None]
        return result
