"""A finding of a review, and what the reviewers are given of an episode."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from armlet.datasets.format.tables import EpisodeRow
from armlet.files import printable

from .integrity import Problem

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Finding:
    """Something wrong: how grave, which check found it, where, what, and what to do."""

    severity: str
    check: str
    where: str
    found: str
    fix: str

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        said = printable(f"{place}{self.found}", 1000)
        return f"{self.severity.upper():7} {said}; {printable(self.fix, 1000)}"


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


def structural(problem: Problem) -> Finding:
    """What the integrity check found, as a finding of the review."""
    severity = WARNING if problem.warning else ERROR
    return Finding(severity, problem.kind, "", problem.found, problem.fix)
