"""Everything the page of datasets works with: one for the console, whoever looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .episodes import Overview, Remark, overview
from .jobs import Job, Jobs, State
from .library import Library, LibraryError, Place
from .orders import Verb


@dataclass(frozen=True)
class Check:
    """What the last check of a dataset found. current: of the dataset as it is now."""

    remarks: tuple[Remark, ...]
    errors: int
    warnings: int
    videos: bool
    current: bool


@dataclass(frozen=True)
class Desk:
    """The datasets, and what is done with them. problem: why there are none, "" if there are."""

    library: Library
    jobs: Jobs = field(default_factory=Jobs)
    problem: str = ""

    @classmethod
    def of(cls, folders: Sequence[Path], recorded: Path | None = None) -> Desk:
        """Of the folders that were named; those that are none are its problem."""
        try:
            return cls(Library(folders, recorded))
        except LibraryError as error:
            return cls(Library(()), problem=str(error))

    def overview(self, key: str) -> tuple[Overview, Check | None]:
        """A dataset, its episodes with the codes of the last check. Raises LibraryError."""
        seen = overview(self.library, key)
        check = self._check(seen)
        if check is not None and check.current:
            seen = seen.with_remarks(check.remarks)
        return seen, check

    def card(self, place: Place) -> str | None:
        """The score card of the last check."""
        job = self.jobs.last(str(place.root), Verb.CHECK)
        return None if job is None or job.result is None else str(job.result["card"])

    def _check(self, seen: Overview) -> Check | None:
        job = self.jobs.last(str(seen.place.root), Verb.CHECK)
        if job is None or job.result is None:
            return None
        found: dict[str, Any] = job.result
        return Check(
            tuple(Remark.parse(one) for one in found["findings"]),
            int(found["errors"]),
            int(found["warnings"]),
            bool(found["videos"]),
            found["state"] == seen.state,
        )


def is_over(job: Job) -> bool:
    """Whether nothing more becomes of it."""
    return job.state is not State.RUNNING
