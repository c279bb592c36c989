"""Trials that a person judges, one after the other: begun, labelled, discarded, taken back.

What the keys of `armlet eval --by-hand` and the console's buttons do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from armlet.files import printable

from .results import Plan, Results, fingerprint
from .trial import LONGEST_NOTE, Trial


class Driver(Protocol):
    """Lets a policy drive; each answer says why it does not, and is empty if it does."""

    def begin(self) -> str:
        """Have the policy drive."""

    def pause(self) -> str:
        """Pause it: the arm holds."""

    def trial(self, number: int, success: bool) -> Trial:
        """The trial that has ended, as a person judged it."""


@dataclass(frozen=True)
class Judged:
    """What is judged. weights: SHA-256 of the policy's weights, by which a graph says what runs."""

    plan: Plan
    weights: str


def judged(task: str, checkpoint: Path | str) -> Judged:
    """A task, in words, and a policy. Raises CheckpointError, OSError; reads the whole policy."""
    # They load what computes a policy, which the console has no use for.
    from armlet.policies import read_checkpoint
    from armlet.policies.checkpoint.hub import locate

    place = locate(checkpoint)
    weights = read_checkpoint(place).digest()
    return Judged(Plan(f"by hand: {task}", fingerprint(place), str(checkpoint), 0.0), weights)


class ByHand:
    """The trials of some numbers that are still missing. For one thread at a time."""

    def __init__(self, driver: Driver, results: Results, seeds: range) -> None:
        self._driver, self._results, self.seeds = driver, results, seeds

    @property
    def number(self) -> int | None:
        """Of the next trial; None once all are there."""
        missing = self._results.missing(self.seeds)
        return missing[0] if missing else None

    @property
    def last(self) -> Trial | None:
        """The trial that was labelled last, which can be taken back."""
        found = self._results.last
        return found if found is not None and found.seed in self.seeds else None

    def begin(self) -> str:
        """Have the policy drive. Why it does not; empty if it does."""
        return self._driver.begin()

    def label(self, success: bool, note: str = "") -> str:
        """Pause the policy and keep the trial. Why it did not pause; empty if it did.

        note: its first 500 characters are kept, those that can be printed. Raises OSError where
        the trial could not be kept; it may be labelled again.
        """
        number = self.number
        assert number is not None
        said = self._driver.pause()
        kept = printable(note.strip(), LONGEST_NOTE) if note.strip() else ""
        self._results.add(replace(self._driver.trial(number, success), note=kept))
        return said

    def discard(self) -> str:
        """Pause the policy; the trial is done again. Why it did not pause; empty if it did."""
        return self._driver.pause()

    def take_back(self, number: int) -> Trial:
        """Remove the last label, of this trial: it is done again.

        Raises ValueError where another trial, or none, was labelled last, and OSError.
        """
        if self.last is None or self.last.seed != number:
            found = "none" if self.last is None else f"trial {self.last.seed}"
            raise ValueError(f"expected trial {number} to be labelled last, found {found}")
        return self._results.take_back()
