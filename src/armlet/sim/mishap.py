"""What goes wrong when a clumsy person shows a task, by a seed: a miss, a slip, a nudged thing."""

from __future__ import annotations

import math
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from .task import Goal, Layout, Standing, State, Task

Vector = NDArray[np.float64]

# Dice of their own: the same seed without clumsiness is shown as ever.
_STREAM = 1
_NUDGE_M = {"touched": (0.025, 0.06)}
_NUDGE_OF_BOX_M = (0.015, 0.03)
_NUDGE_RAD = 0.4
_NUDGED_AT_S = (0.3, 2.2)
_MISS_M = {"touched": (0.015, 0.035)}
_MISS_OF_BOX_M = (0.022, 0.030)
_SLIPS_AT_S = (0.35, 0.8)
_FURTHER_M = 0.01


class Mishap(StrEnum):
    """What goes wrong at the first try."""

    NONE = "none"
    MISS = "miss"
    """The hand comes down beside the thing."""
    SLIP = "slip"
    """It lets go of the thing on the way up."""
    NUDGE = "nudge"
    """The thing is moved while the hand is on its way to it."""


class Mishaps:
    """What goes wrong with one demonstration.

    Args:
        task, goal: what is shown, and which of its goals.
        seed: of the demonstration.
        clumsiness: share of the seeds with a mishap, 0 to 1.

    Attributes:
        kind: which it is.
        beside_m: how far beside the thing a miss is; turn: in which direction, rad.
        slips_at_s: when a grip slips, after the thing is lifted.
    """

    def __init__(self, task: Task, goal: Goal, seed: int, clumsiness: float) -> None:
        dice = np.random.default_rng([seed, _STREAM])
        self._thing, self._of = goal.thing, task.things[goal.thing]
        kinds = _KINDS[goal.kind]
        happens, which = dice.uniform() < clumsiness, dice.integers(len(kinds))
        self.kind = kinds[which] if happens else Mishap.NONE
        self.beside_m = math.copysign(1.0, dice.uniform(-1, 1)) * dice.uniform(
            *_MISS_M.get(goal.kind, _MISS_OF_BOX_M)
        )
        self.turn = dice.uniform(-math.pi, math.pi)
        self.slips_at_s = dice.uniform(*_SLIPS_AT_S)
        self._by_m = dice.uniform(*_NUDGE_M.get(goal.kind, _NUDGE_OF_BOX_M))
        self._by_rad = dice.uniform(-_NUDGE_RAD, _NUDGE_RAD)
        self._at_s = dice.uniform(*_NUDGED_AT_S)
        self._nudged: Layout | None = None
        self._over = self.kind is not Mishap.NUDGE

    def see(self, state: State, passed_s: float) -> None:
        """Takes what there is to be seen, so long after the beginning."""
        if self._over or passed_s < self._at_s:
            return
        self._over = True
        self._nudged = {self._thing: self._moved(state.things[self._thing])}

    def take_nudge(self) -> Layout | None:
        """Where the thing is to be put now; None but once, when it is nudged."""
        nudged, self._nudged = self._nudged, None
        return nudged

    def _moved(self, standing: Standing) -> Standing:
        """A little aside and turned, but about where the task may have it."""
        way = self._by_m * np.array([math.cos(self.turn), math.sin(self.turn)])
        place = standing.position.copy()
        for axis, (low, high) in enumerate((self._of.x_m, self._of.y_m)):
            there = place[axis] + way[axis]
            if not low - _FURTHER_M <= there <= high + _FURTHER_M:
                there = place[axis] - way[axis]
            place[axis] = there
        half = self._by_rad / 2
        w, x, y, z = standing.quaternion
        c, s = math.cos(half), math.sin(half)
        turned = np.array([c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w])
        return Standing(place, turned, np.zeros(3))


_KINDS = {
    "inside": (Mishap.MISS, Mishap.SLIP, Mishap.NUDGE),
    "near": (Mishap.NUDGE,),
    "touched": (Mishap.MISS, Mishap.NUDGE),
}
"""By kind of goal: a box that is pushed is neither missed nor dropped."""
