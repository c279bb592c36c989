"""What trials show: rates with intervals, times, paths; and two policies side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armlet.files import FileError, printable

from .results import PLAN_FILE, Plan, read_plan, read_trials
from .statistics import (
    CONFIDENCE,
    SURE,
    Interval,
    Quartiles,
    mcnemar,
    quartiles,
    wilson,
)
from .trial import Trial

A, B = "A", "B"
_NO_VALUE = "-"


@dataclass(frozen=True)
class Side:
    """One policy's trials, by seed.

    Times, paths and smoothness are of successful trials: a trial without success has the length of
    its time limit. None where there are none.
    """

    name: str
    plan: Plan
    trials: tuple[Trial, ...]

    @property
    def successes(self) -> int:
        return sum(trial.success for trial in self.trials)

    @property
    def rate(self) -> float:
        return self.successes / len(self.trials) if self.trials else 0.0

    @property
    def interval(self) -> Interval:
        return wilson(self.successes, len(self.trials))

    @property
    def succeeded(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.success]

    @property
    def failed(self) -> list[Trial]:
        return [trial for trial in self.trials if not trial.success]

    @property
    def time_s(self) -> Quartiles | None:
        return quartiles([trial.time_s for trial in self.succeeded if trial.time_s is not None])

    @property
    def path_m(self) -> Quartiles | None:
        return quartiles([trial.path_m for trial in self.succeeded if trial.path_m is not None])

    @property
    def path_rad(self) -> Quartiles | None:
        return quartiles([trial.path_rad for trial in self.succeeded])

    @property
    def smoothness(self) -> Quartiles | None:
        return quartiles([trial.smoothness for trial in self.succeeded])


@dataclass(frozen=True)
class Comparison:
    """Two policies on the same seeds. only_a, only_b: seeds at which one of them succeeded alone.

    p: of the exact McNemar test, two-sided.
    """

    both: int
    neither: int
    only_a: tuple[int, ...]
    only_b: tuple[int, ...]

    @property
    def p(self) -> float:
        return mcnemar(len(self.only_a), len(self.only_b))

    @property
    def better(self) -> str:
        """A or B; empty where chance explains the difference."""
        if self.p >= SURE:
            return ""
        return A if len(self.only_a) > len(self.only_b) else B

    @property
    def verdict(self) -> str:
        """In words."""
        alone = f"A alone succeeded in {len(self.only_a)} trials, B alone in {len(self.only_b)}"
        said = f"{self.better} is better" if self.better else "no difference is shown"
        return f"{said}: {alone}, p {self.p:.2g} (exact McNemar test)"


def compare(a: Sequence[Trial], b: Sequence[Trial]) -> Comparison:
    """Pairs of trials with the same seed; seeds that only one has do not count."""
    of_b = {trial.seed: trial.success for trial in b}
    pairs = [(one.seed, one.success, of_b[one.seed]) for one in a if one.seed in of_b]
    return Comparison(
        both=sum(x and y for _, x, y in pairs),
        neither=sum(not x and not y for _, x, y in pairs),
        only_a=tuple(seed for seed, x, y in pairs if x and not y),
        only_b=tuple(seed for seed, x, y in pairs if y and not x),
    )


@dataclass(frozen=True)
class Report:
    """All that was found. sides: A, and B if there is one."""

    title: str
    sides: tuple[Side, ...]

    @property
    def comparison(self) -> Comparison | None:
        if len(self.sides) < 2:
            return None
        return compare(self.sides[0].trials, self.sides[1].trials)

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints. It depends on the trials alone, not on when or how they ran."""
        return {
            "title": self.title,
            "confidence": CONFIDENCE,
            **{side.name: _side_json(side) for side in self.sides},
            "comparison": _comparison_json(self.comparison),
        }


def read(folder: Path, title: str = "", seeds: range | None = None) -> Report:
    """The report of the trials in an output folder: of those seeds, or of all.

    title: the first side's task, by default. Raises FileError, OSError; FileError without trials.
    """
    sides = []
    for name in (A, B):
        if (folder / name / PLAN_FILE).is_file():
            found = (t for t in read_trials(folder / name) if seeds is None or t.seed in seeds)
            trials = sorted(found, key=lambda trial: trial.seed)
            sides.append(Side(name, read_plan(folder / name), tuple(trials)))
    if not sides:
        raise FileError(f"{printable(folder)} holds no trials of `armlet eval`; choose another")
    return Report(title or sides[0].plan.task, tuple(sides))


def columns(report: Report) -> list[str]:
    """Heads of the table."""
    return ["", *(f"{side.name}>" for side in report.sides)]


def rows(report: Report) -> list[list[str]]:
    """Rows of the table: what, and its value for each side."""
    lines = [
        ("policy", [side.plan.name for side in report.sides]),
        ("physics", [side.plan.physics or _NO_VALUE for side in report.sides]),
        ("domain", [side.plan.domain or _NO_VALUE for side in report.sides]),
        ("arguments", [_arguments(side.plan) for side in report.sides]),
        ("trials", [str(len(side.trials)) for side in report.sides]),
        ("successes", [str(side.successes) for side in report.sides]),
        ("success rate", [f"{side.rate:.1%}" for side in report.sides]),
        (f"{CONFIDENCE:.0%} interval (Wilson)", [_between(s.interval) for s in report.sides]),
        ("time to success (s)", [_quartiles(side.time_s) for side in report.sides]),
        ("path of the tip (m)", [_quartiles(side.path_m) for side in report.sides]),
        ("path of the joints (rad)", [_quartiles(side.path_rad) for side in report.sides]),
        ("smoothness (SPARC)", [_quartiles(side.smoothness) for side in report.sides]),
    ]
    return [[what, *cells] for what, cells in lines if any(cell != _NO_VALUE for cell in cells)]


def _arguments(plan: Plan) -> str:
    return " ".join(f"{name}:={value}" for name, value in plan.arguments.items()) or _NO_VALUE


def _between(interval: Interval) -> str:
    return f"{interval.low:.1%} to {interval.high:.1%}"


def _quartiles(found: Quartiles | None) -> str:
    if found is None:
        return _NO_VALUE
    return f"{found.median:.2f} ({found.low:.2f} to {found.high:.2f})"


def _side_json(side: Side) -> dict[str, Any]:
    measures = {
        name: getattr(side, name) for name in ("time_s", "path_m", "path_rad", "smoothness")
    }
    return {
        "plan": dataclasses.asdict(side.plan),
        "trials": len(side.trials),
        "successes": side.successes,
        "rate": side.rate,
        "interval": dataclasses.asdict(side.interval),
        **{name: v and dataclasses.asdict(v) for name, v in measures.items()},
        "by_seed": [dataclasses.asdict(trial) for trial in side.trials],
    }


def _comparison_json(found: Comparison | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {**dataclasses.asdict(found), "p": found.p, "better": found.better or None}
