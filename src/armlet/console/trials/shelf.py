"""The trials below the folders that a person named, and what the page shows of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path

from armlet.console.review.library import Library, LibraryError, Place
from armlet.evaluation.trials.report import A, B, Comparison, Report, Side, compare, read
from armlet.evaluation.trials.results import NAMES, PLAN_FILE, TRIALS_FILE, Plan
from armlet.evaluation.trials.trial import Trial
from armlet.files import FileError, check_file, printable

SIDES = (A, B)
MOST_SHOWN = 1000
_LONGEST = 200
# Of a plan, what makes a seed another scene.
_SCENE = ("task", "task_digest")
Mark = tuple[tuple[int, int] | None, ...]


class Label(StrEnum):
    """Whether a trial succeeded."""

    SUCCESS = "success"
    FAILURE = "failure"


@dataclass(frozen=True)
class Row:
    """A trial as it is listed: every text of it is safe to show.

    video: whether what the policy saw can be played. episode: the dataset's key, and the number
    that its recording had; None where none of the datasets here has it.
    """

    side: str
    trial: Trial
    note: str
    video: bool
    episode: tuple[str, int] | None

    @property
    def label(self) -> Label:
        return Label.SUCCESS if self.trial.success else Label.FAILURE


@dataclass(frozen=True)
class Filter:
    """Which trials are listed; what is not stated leaves none out. Rates are always of all.

    disputed: seeds at which one of two sides succeeded alone; None: all.
    """

    labels: frozenset[Label] = frozenset()
    sides: frozenset[str] = frozenset()
    shortest_s: float | None = None
    longest_s: float | None = None
    noted: bool = False
    intervened: bool = False
    disputed: frozenset[int] | None = None

    def admits(self, row: Row) -> bool:
        """Whether a trial is listed."""
        trial = row.trial
        return (
            (not self.labels or row.label in self.labels)
            and (not self.sides or row.side in self.sides)
            and (self.shortest_s is None or trial.duration_s >= self.shortest_s)
            and (self.longest_s is None or trial.duration_s <= self.longest_s)
            and (not self.noted or bool(row.note))
            and (not self.intervened or bool(trial.interventions))
            and (self.disputed is None or trial.seed in self.disputed)
        )

    def chosen(self, rows: Iterable[Row]) -> list[Row]:
        """Those that are listed, in order."""
        return [row for row in rows if self.admits(row)]


@dataclass(frozen=True)
class Beside:
    """Two policies on the seeds that both have. differs: of their plans, beside the policy."""

    first: Side
    second: Side
    comparison: Comparison
    pairs: int
    differs: tuple[str, ...]


class Shelf:
    """The output folders of `armlet eval` below some folders. Safe for several threads.

    problem: why there are none, "" if there are.
    """

    def __init__(self, folders: Sequence[Path], datasets: Library | None = None) -> None:
        self.problem = ""
        self._datasets = datasets
        try:
            self._found = Library(folders, kind="trial", is_one=_holds_trials)
        except LibraryError as error:
            self.problem = str(error)
            self._found = Library(())

    @property
    def folders(self) -> tuple[str, ...]:
        """Names of the folders that were named, by their number."""
        return tuple(printable(folder, _LONGEST) for folder in self._found.folders)

    def look(self) -> tuple[tuple[Place, ...], bool]:
        """All of them, looked for again; and whether all folders were looked through."""
        found = self._found.look()
        return found.places, found.whole

    def place(self, key: str) -> Place:
        """Raises LibraryError for one that is not there."""
        return self._found.place(key)

    def sides(self, place: Place) -> list[str]:
        """Which policies there are trials of."""
        return [side for side in SIDES if (place.root / side / PLAN_FILE).is_file()]

    def new_place(self, folder: int, name: str) -> Path:
        """Where new trials of this name go. Raises LibraryError."""
        return self._found.new_place(folder, name)

    def key_of(self, root: Path) -> str:
        """The key of an output folder that was found; empty if it was not."""
        return next((place.key for place in self.look()[0] if place.root == root), "")

    def report(self, key: str) -> Report:
        """What `armlet eval` reports of it. Raises LibraryError, FileError, OSError."""
        return read(self.place(key).root)

    def mark(self, key: str) -> Mark:
        """What tells its states apart at a glance; empty if it is gone."""
        try:
            root = self.place(key).root
        except LibraryError:
            return ()
        return tuple(_mark(root / side / TRIALS_FILE) for side in SIDES)

    def rows(self, key: str, report: Report) -> list[Row]:
        """Its trials, as they are listed. Raises LibraryError."""
        root = self.place(key).root
        episodes = self._episodes(report)
        return [
            Row(
                side.name,
                trial,
                printable(trial.note, _LONGEST * 3),
                bool(trial.video) and _video(root, side.name, trial).is_file(),
                _episode(trial, episodes),
            )
            for side in report.sides
            for trial in side.trials
        ]

    def _episodes(self, report: Report) -> dict[str, str]:
        """By the folder of a recorded dataset its key, of those that are shown here."""
        asked = any(trial.recorded for side in report.sides for trial in side.trials)
        if self._datasets is None or not asked:
            return {}
        return {str(place.root): place.key for place in self._datasets.look().places}

    def video(self, key: str, side: str, seed: int) -> Path:
        """What the policy saw in a trial. Raises LibraryError, FileError."""
        root = self.place(key).root
        for one in read(root).sides:
            for trial in one.trials:
                if (one.name, trial.seed) == (side, seed) and trial.video:
                    path = _video(root, side, trial)
                    if path.resolve() != path:
                        raise LibraryError("the video is a link, which is not followed")
                    check_file(path)
                    return path
        raise LibraryError("there is no such video; look again")


def beside(first: Side, second: Side) -> Beside:
    """Two policies by the command's own test. Raises LibraryError for trials of other tasks."""
    differs = _differing(first.plan, second.plan)
    if set(differs) & set(_SCENE):
        tasks = f"{first.plan.task!r} and {second.plan.task!r}"
        raise LibraryError(
            f"expected trials of one task, found {printable(tasks, _LONGEST)}: a seed is another "
            "scene in each; choose others"
        )
    comparison = compare(first.trials, second.trials)
    alone = len(comparison.only_a) + len(comparison.only_b)
    pairs = comparison.both + comparison.neither + alone
    return Beside(first, second, comparison, pairs, differs)


def _differing(one: Plan, other: Plan) -> tuple[str, ...]:
    names = [field.name for field in fields(Plan) if field.name not in (*NAMES, "checkpoint")]
    return tuple(name for name in names if getattr(one, name) != getattr(other, name))


def _holds_trials(root: Path) -> bool:
    return any((root / side / PLAN_FILE).is_file() for side in SIDES)


def _video(root: Path, side: str, trial: Trial) -> Path:
    return root / side / trial.video


def _episode(trial: Trial, episodes: dict[str, str]) -> tuple[str, int] | None:
    key = episodes.get(trial.recorded)
    return None if key is None or trial.episode is None else (key, trial.episode)


def _mark(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def said(error: BaseException) -> str:
    """An error as the commands say it, safe to show."""
    from armlet.console.review.episodes import said as as_said

    return as_said(error)


TROUBLES = (LibraryError, FileError, OSError)
"""What reading trials may raise."""
