"""A finding of a review, and what the reviewers are given of an episode."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .tables import EpisodeRow

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Finding:
    """Something wrong: how grave, which check found it, where, what, and what to do."""

    severity: str
    check: str
    where: str
    found: str
    mend: str

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{self.severity.upper():7} {place}{self.found}; {self.mend}"


@dataclass(frozen=True)
class Rows:
    """An episode's vectors (L, n) float64, and its skews (L, streams) if it has any."""

    row: EpisodeRow
    state: NDArray[np.float64]
    action: NDArray[np.float64]
    skew_s: NDArray[np.float64] | None

    @property
    def where(self) -> str:
        return f"episode {self.row.episode}"


def structural(line: str) -> Finding:
    if "came damaged from" in line:
        where, _, found = line.partition(": ")
        mend = "look at them with `armlet dataset view`; drop the episode if they matter"
        return Finding(WARNING, "damaged", where, found, mend)
    mend = "run `armlet dataset repair`; what that cannot mend must be restored or recorded again"
    return Finding(ERROR, "structure", "", line, mend)
