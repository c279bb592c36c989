"""How a training goes, as a table: a row for each report."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

FILE = "curve.csv"
_FIXED = ("step", "error", "held_out", "learning_rate", "frames_per_s", "waiting")


@dataclass(frozen=True)
class Progress:
    """One report.

    Attributes:
        step, steps: it is made after this one of so many.
        error: in training since the last hundredth step: of ACT the mean absolute error in
            normalized units, of a policy that starts from noise its loss, a mean square.
        validation: the same of held-out episodes.
        learning_rate: of the next step.
        joints: mean absolute error of each entry of the action on held-out episodes, over the
            chunk, in dataset units.
        frames_per_s: trained on since the last report.
        waiting: for pictures, as a share of that time.
    """

    step: int
    steps: int
    error: float
    validation: float
    learning_rate: float = 0.0
    joints: Mapping[str, float] = field(default_factory=dict)
    frames_per_s: float = field(default=0.0, compare=False)
    waiting: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class Row:
    """What the file has of one step: its numbers, rounded as they are there, by column."""

    step: int
    numbers: Mapping[str, float]


class Curve:
    """The file, which begins with the first row.

    step: rows of later ones are removed, of steps that are trained again. Raises OSError.
    """

    def __init__(self, path: Path, joints: Sequence[str], step: int = 0) -> None:
        self._path, self._joints = path, tuple(joints)
        self.rows: list[Row] = []
        """Those that were there, and stay."""
        if path.exists():
            with path.open(newline="", encoding="utf-8", errors="replace") as file:
                rows = [row for row in csv.reader(file) if row and row[0].isdigit()]
            kept = [row for row in rows if int(row[0]) <= step]
            self._write("w", [self._header, *kept])
            self.rows = [self._row(row) for row in kept]

    @property
    def _header(self) -> list[str]:
        return [*_FIXED, *(f"held_out.{name}" for name in self._joints)]

    def _write(self, mode: str, rows: Sequence[Sequence[str]]) -> None:
        with self._path.open(mode, newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)

    def _row(self, texts: Sequence[str]) -> Row:
        names = self._header[1:]
        return Row(int(texts[0]), {n: float(t) for n, t in zip(names, texts[1:], strict=False)})

    def add(self, progress: Progress) -> Row:
        """Write a row, and return it. Raises OSError."""
        numbers = (
            progress.error,
            progress.validation,
            progress.learning_rate,
            progress.frames_per_s,
            progress.waiting,
            *(progress.joints[name] for name in self._joints),
        )
        row = [str(progress.step), *(f"{number:.6g}" for number in numbers)]
        self._write("a", [row] if self._path.exists() else [self._header, row])
        return self._row(row)
