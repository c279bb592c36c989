"""What the reviewers are given of an episode."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from armlet.datasets.format.tables import EpisodeRow
from armlet.findings import Finding

_EPISODE = "episode"


def of_episode(number: int) -> dict[str, float]:
    """The values of a finding that is about one episode."""
    return {_EPISODE: number}


def episode_of(finding: Finding) -> int | None:
    """The episode that a finding is about; None where it is about no single one."""
    number = finding.values.get(_EPISODE)
    return None if number is None else int(number)


@dataclass(frozen=True)
class Rows:
    """An episode's vectors (L, n) float64, and its skews (L, streams) if it has any.

    intervention: (L,) bool, whether a person commanded each row, if the dataset says so.
    """

    row: EpisodeRow
    state: NDArray[np.float64]
    action: NDArray[np.float64]
    skew_s: NDArray[np.float64] | None
    intervention: NDArray[np.bool_] | None = None

    @property
    def where(self) -> str:
        return f"episode {self.row.episode}"
