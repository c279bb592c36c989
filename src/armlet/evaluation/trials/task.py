"""Tasks that trials are judged by: what an emulated bench reports, and when that is a success."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from armlet.suggestions import did_you_mean

Rows = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """time_s: from the start of the trial to the success; None where there was none.

    final: what the bench reported last, in the measure's unit; None if it reported nothing.
    """

    success: bool
    time_s: float | None
    final: float | None


@dataclass(frozen=True)
class Task:
    """A task of the emulated bench.

    A seed makes its first scene: it is the graph's `seed`. The bench reports numbers with their
    stamps on `sim_bench/measures`. One of them is 0 where the task is done; it has succeeded once
    that stays within a tolerance for a time.

    Attributes:
        instruction: for policies that read one.
        measure: the name of the number, which has the unit `unit`.
        tolerance: of the measure.
        hold_s: how long it must stay within.
        limit_s: a trial without success ends after this long.
        arguments: of the sim graph, beside those of every trial.
    """

    name: str
    instruction: str
    measure: str
    unit: str
    tolerance: float
    hold_s: float
    limit_s: float
    arguments: Mapping[str, str] = field(default_factory=dict)

    def judge(self, times_s: Rows, values: Rows) -> Outcome:
        """times_s (k,), s since the start, going up; values (k,), the measure at these times."""
        if not len(values):
            return Outcome(False, None, None)
        final, since_s = float(values[-1]), None
        for time_s, value in zip(times_s.tolist(), values.tolist(), strict=True):
            if not value <= self.tolerance:
                since_s = None
                continue
            since_s = time_s if since_s is None else since_s
            if time_s - since_s >= self.hold_s:
                return Outcome(True, since_s, final)
        return Outcome(False, None, final)


REACH = Task(
    name="reach",
    instruction="touch the red target",
    measure="reach_error",
    unit="m",
    tolerance=0.01,
    hold_s=0.5,
    limit_s=6.0,
)
TASKS = {task.name: task for task in (REACH,)}


def find_task(name: str) -> Task:
    """A task by its name. Raises ValueError naming those that there are."""
    if name not in TASKS:
        hint = did_you_mean([name], list(TASKS))
        raise ValueError(f"no task {name!r}; {hint}there are {', '.join(TASKS)}")
    return TASKS[name]
