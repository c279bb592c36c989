"""What a training leaves on disk: its state, the best checkpoint so far, the last, the curve."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from armlet.contract import Contract
from armlet.datasets.format.stats import Stats
from armlet.policies import PolicyConfig, save_checkpoint
from armlet.policies.checkpoint.save import check_new

from .card import Card
from .curve import FILE as CURVE
from .curve import Curve, Progress
from .run import Run, require_space
from .state import State, StateError, digest_of, folder_of, place_of, read_state, remove_unfinished
from .tensorboard import FOLDER, Events

BEST = "best"
RAW = "raw"
"""The weights of the last step, where the checkpoint has their average."""


@dataclass(frozen=True)
class Described:
    """What a checkpoint holds beside the weights. episodes, vlm: see save_checkpoint.

    card: what its README.md is written by.
    """

    config: PolicyConfig
    statistics: dict[str, Stats]
    contract: Contract
    episodes: tuple[int, ...] | None
    card: Card
    vlm: Path | None = None


def begun(output: Path, resume: bool) -> State | None:
    """The state to go on from; None to begin with. Raises StateError, FileExistsError."""
    folder, place = folder_of(output), place_of(output)
    if resume:
        state = read_state(place)
        _check_own(output, state)
        return state
    check_new(output)
    if place.exists():
        raise StateError(
            f"{folder} is of a training that has not ended; go on with it by --resume, or remove it"
        )
    try:
        check_new(folder)
    except FileExistsError as error:
        raise FileExistsError(
            f"{folder} is of a training that has ended, or was killed before it saved anything to "
            "go on from; move it away, or remove it"
        ) from error
    return None


def _check_own(output: Path, state: State) -> None:
    """What is at `output` must be what this training saved when it was ended early."""
    try:
        check_new(output)
    except FileExistsError as error:
        if not state.saved or digest_of(output) != state.saved:
            raise FileExistsError(
                f"{output}: expected what the training had saved when it was stopped, found "
                "something else; move it away"
            ) from error


class Saving:
    """The files of one training.

    save_every: steps from one state to the next. say: is given a line where something could not be
    written that the training can go on without. tensorboard: whether the curve is written for
    TensorBoard as well. leads: whether this process writes; another that trains with it only
    when it takes over. Raises OSError if there is no place for all of it.
    """

    def __init__(
        self,
        output: Path,
        run: Run,
        described: Described,
        save_every: int,
        say: Callable[[str], None],
        tensorboard: bool = False,
        leads: bool = True,
    ) -> None:
        self._output, self._run, self._described = output, run, described
        self._save_every, self._say = save_every, say
        self._folder, self._place = folder_of(output), place_of(output)
        self._progress: Progress | None = None
        self._tensorboard, self._leads = tensorboard, leads
        self._events: Events | None = None
        if leads:
            self._begin()

    def take_over(self) -> None:
        """Write from now on, where another process did. Raises OSError."""
        if not self._leads:
            self._leads = True
            self._begin()

    def _begin(self) -> None:
        run = self._run
        self._folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(self._place)
        # A new state while the one before is there, the best checkpoint so too, and the last.
        checkpoints = 3 if run.average is None else 4
        require_space(self._folder, 2 * run.state_bytes + checkpoints * run.weight_bytes)
        joints = self._described.contract.action_names
        self._curve = Curve(self._folder / CURVE, joints, run.step)
        if self._tensorboard:
            self._events = Events(self._folder / FOLDER, self._curve.rows, run.step)

    def after_step(self) -> None:
        """Keep the state where it is time to."""
        if (
            self._leads
            and self._run.step % self._save_every == 0
            and self._run.step < self._run.settings.steps
        ):
            self._or_say(lambda: self._run.keep(self._place))

    def after_report(self, progress: Progress, regular: bool) -> None:
        """Note it. regular: whether a training that was not stopped makes it too.

        Of those, the one with the smallest held-out error has a checkpoint.
        """
        self._progress = progress
        if self._leads:
            self._or_say(lambda: self._note(progress))
        best = self._run.best
        if regular and (best is None or progress.validation < best):
            self._run.best = progress.validation
            if self._leads:
                self._or_say(lambda: self._save(self._folder / BEST))

    def _note(self, progress: Progress) -> None:
        row = self._curve.add(progress)
        if self._events is not None:
            self._events.add(row)

    def end(self) -> None:
        """Save the checkpoint, and the state if the training is to go on. Raises OSError."""
        if not self._leads:
            return
        if self._events is not None:
            self._or_say(self._events.close)
        stopped = self._run.step < self._run.settings.steps
        if stopped:  # before anything can go wrong
            self._run.keep(self._place)
        if self._run.average is not None:
            self._save(self._folder / RAW, averaged=False)
        self._save(self._output)
        if stopped:
            self._run.saved = digest_of(self._output)
            self._run.keep(self._place)
        else:
            self._place.unlink(missing_ok=True)

    def _save(self, path: Path, averaged: bool = True) -> None:
        described = self._described
        # The errors are those of the average, where there is one.
        known = self._progress if averaged or self._run.average is None else None
        dtype = torch.float16 if self._run.settings.half else torch.float32
        require_space(self._folder, self._run.weight_bytes)
        before = self._folder / f".{path.name}.before"
        weights = self._run.averaged() if averaged else nullcontext()
        with _taken_away(path, before), weights:
            save_checkpoint(
                path,
                self._run.model,
                described.config,
                described.statistics,
                described.contract,
                dtype,
                described.vlm,
                described.episodes,
                described.card.text(self._run, known),
            )

    def _or_say(self, write: Callable[[], None]) -> None:
        """Hours of training do not end because a disk is full for a while."""
        try:
            write()
        except OSError as error:
            self._say(f"not saved after step {self._run.step}, the training goes on: {error}")


@contextmanager
def _taken_away(path: Path, before: Path) -> Iterator[None]:
    """While it is saved again, what was saved before is at `before`; it comes back after an error.

    What is at `path` is known to be this training's own; `before`, in its own folder, can only be
    what a kill left.
    """
    if before.is_dir():
        shutil.rmtree(before)
    if not (path.is_dir() and any(path.iterdir())):
        yield
        return
    path.rename(before)
    try:
        yield
    except BaseException:
        before.rename(path)
        raise
    shutil.rmtree(before)
