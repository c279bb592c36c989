"""Two policies on the same episodes: is the difference more than chance?"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

# All signs up to so many episodes (4,096 of them), drawn ones beyond.
_ALL = 12
_DRAWN = 10_000
SURE = 0.05
"""Below this p a difference is called one."""
LEAST_EPISODES = 6
"""With fewer no difference can be sure: of five, all on one side come by chance in 1 of 16."""


@dataclass(frozen=True)
class Pairs:
    """Differences of error between A and B, an episode each; below 0 where A is nearer.

    p: how often signs drawn by chance give a mean difference as large, by a two-sided sign-flip
    test, each episode one pair; 1.0 for a single episode.
    """

    differences: tuple[float, ...]
    p: float

    @property
    def mean(self) -> float:
        return float(np.mean(self.differences))

    @property
    def wins(self) -> int:
        """Episodes in which A is nearer."""
        return sum(difference < 0 for difference in self.differences)

    @property
    def better(self) -> str:
        """A or B; empty where chance explains the difference."""
        return "" if self.p >= SURE else "A" if self.mean < 0 else "B"


def pair(a: ArrayLike, b: ArrayLike) -> Pairs:
    """Errors of A and B by episode, in the same order."""
    differences = np.subtract(np.asarray(a, np.float64), np.asarray(b, np.float64))
    return Pairs(tuple(differences.tolist()), _chance(differences))


def _chance(differences: NDArray[np.float64]) -> float:
    size = len(differences)
    if size < 2:
        return 1.0
    # Rounding must not make a flip of all signs another value.
    reached = abs(differences.mean()) * (1 - 1e-9)
    if size <= _ALL:
        signs = np.array(list(itertools.product((-1, 1), repeat=size)))
        return float((np.abs(signs @ differences) / size >= reached).mean())
    random, as_large = np.random.default_rng(0), 0
    for _ in range(_DRAWN):
        signs = random.choice((-1, 1), size)
        as_large += abs(float(signs @ differences)) / size >= reached
    return (as_large + 1) / (_DRAWN + 1)
