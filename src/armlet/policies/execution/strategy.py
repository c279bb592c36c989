"""How chunks that overlap become one plan, and which frame is worth the next one.

A plan lies on the frame grid: row i of a chunk is due i periods after the frame it was inferred
from, so time itself skips what is past when it comes. Delays are whole periods.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .playback import TemporalEnsembler

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Plan:
    """Actions (k, n) in dataset units; row i is due at grid index first + i."""

    first: int
    rows: Rows

    @property
    def end(self) -> int:
        """The first grid index without a row."""
        return self.first + len(self.rows)

    def since(self, index: int) -> Rows:
        """The rows due at a grid index and later; none if the plan is over."""
        return self.rows[max(0, index - self.first) :]


@dataclass(frozen=True)
class LeftOver:
    """What is planned from a new observation on: rows float32 (k, n), dataset units.

    delay: rows that will have been played before the new chunk is there, by expectation.
    """

    rows: Rows
    delay: int


@dataclass(frozen=True)
class Replanning:
    """When a frame is worth a chunk: interval periods after the last, and when little is left.

    rows and share: a frame is used only when less than this is left of the plan by the time its
    chunk is there; 0 rows, and a share of 1, say nothing.
    """

    interval: int = 1
    rows: int = 0
    share: float = 1.0

    def wants(self, index: int, plan: Plan, delay: int) -> bool:
        if index - plan.first < max(1, self.interval):
            return False
        left = plan.end - index - delay
        return left <= self.share * len(plan.rows) and (self.rows == 0 or left <= self.rows)


class Strategy(Protocol):
    """guided: the policy is given what is planned. bridges: the plan is never to run out."""

    guided: bool
    bridges: bool

    def wants(self, index: int, plan: Plan, delay: int) -> bool:
        """Whether a frame is worth a chunk; without a plan every frame is."""

    def merge(self, plan: Plan | None, index: int, chunk: Rows) -> Rows:
        """The rows of the new plan, from grid index `index` on; chunk (C, n) was inferred there."""

    def reset(self) -> None:
        """A new episode begins."""


class LatestOnly:
    """The newest chunk replaces what was planned; `guided` makes it real-time chunking."""

    bridges = True

    def __init__(self, replanning: Replanning, guided: bool = False) -> None:
        self._replanning = replanning
        self.guided = guided

    def wants(self, index: int, plan: Plan, delay: int) -> bool:
        return self._replanning.wants(index, plan, delay)

    def merge(self, plan: Plan | None, index: int, chunk: Rows) -> Rows:
        return chunk

    def reset(self) -> None:
        pass


class WeightedBlend(LatestOnly):
    """Where both plan for an instant: (1 - weight) of the old and weight of the new."""

    def __init__(self, replanning: Replanning, weight: float) -> None:
        super().__init__(replanning)
        self._weight = weight

    def merge(self, plan: Plan | None, index: int, chunk: Rows) -> Rows:
        if plan is None:
            return chunk
        old = plan.since(index)[: len(chunk)]
        blended = (1 - self._weight) * old + self._weight * chunk[: len(old)]
        return np.concatenate([blended.astype(np.float32), chunk[len(old) :]])


class ActionSteps:
    """LeRobot's queue: the next chunk comes of the frame `steps` periods after the last one's.

    LeRobot stands still while it infers; here the chunk's further rows, if it has any, bridge that.
    """

    guided = False

    def __init__(self, steps: int, chunk_size: int) -> None:
        self._steps = steps
        self.bridges = steps < chunk_size

    def wants(self, index: int, plan: Plan, delay: int) -> bool:
        return index >= plan.first + self._steps

    def merge(self, plan: Plan | None, index: int, chunk: Rows) -> Rows:
        return chunk

    def reset(self) -> None:
        pass


class Ensembling:
    """All chunks that plan for an instant, weighed by their age: LeRobot's, on every frame."""

    guided = False
    bridges = True

    def __init__(self, ensembler: TemporalEnsembler) -> None:
        self._ensembler = ensembler

    def wants(self, index: int, plan: Plan, delay: int) -> bool:
        return index > plan.first

    def merge(self, plan: Plan | None, index: int, chunk: Rows) -> Rows:
        elapsed = 1 if plan is None else index - plan.first
        return self._ensembler.update(chunk, elapsed)

    def reset(self) -> None:
        self._ensembler.reset()
