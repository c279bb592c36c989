"""`armlet train`: ACT on a recorded dataset, from scratch, on a CPU."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from armlet.cli.terminal.arguments import DATASET, output_path
from armlet.cli.terminal.output import STOPPED, refuse, show
from armlet.client.interrupts import Interrupts

if TYPE_CHECKING:
    from armlet.datasets import Dataset
    from armlet.training import Progress, TrainingSettings

# A log gets a line this often; a terminal's last line is written again this often.
_LINE_S = 10.0
_LIVE_S = 0.5
# The first steps are slower than those that follow: the time left is known after so many, or after
# so long, and in a short training after an eighth of it.
_FIRST_STEPS = 5
_FIRST_S = 5.0
_SHORT = 8
_SETTINGS = (
    "steps",
    "batch_size",
    "chunk_size",
    "action_steps",
    "learning_rate",
    "seed",
    "half",
    "intervention_weight",
    "only_interventions",
)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "train",
        help="train a small ACT policy on a dataset",
        description="Train ACT from scratch with the preprocessing the policy node uses, and save "
        "it as a LeRobot checkpoint with the dataset's contract. Says after the first steps how "
        "long it takes. Ctrl-C ends the training and saves what is trained so far; a second Ctrl-C "
        "ends it without. Until it has ended, OUTPUT.training holds what --resume goes on with.",
        epilog="Exit status: 0 trained and saved, 1 failed on the way, 2 not started, 130 stopped "
        "by Ctrl-C.",
    )
    parser.add_argument(
        "--dataset", type=Path, required=True, help=f"recorded by armlet: {DATASET}"
    )
    parser.add_argument(
        "--output", type=output_path, required=True, help="new checkpoint directory"
    )
    parser.add_argument("--steps", type=int, help="training steps (default 2500)")
    parser.add_argument("--batch-size", type=int, help="frames per step (default 32)")
    parser.add_argument("--chunk-size", type=int, help="actions per chunk (default 45)")
    parser.add_argument(
        "--action-steps",
        type=int,
        help="how many of them strategy:=n_action_steps plays before the next chunk (default: all)",
    )
    parser.add_argument("--learning-rate", type=float, help="its peak (default 0.0003)")
    parser.add_argument("--seed", type=int, help="seed of initial weights and sampling (default 0)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's)")
    parser.add_argument(
        "--half", action="store_true", default=None, help="store weights in half precision"
    )
    person = parser.add_mutually_exclusive_group()
    person.add_argument(
        "--intervention-weight",
        type=float,
        metavar="W",
        help="draw rows that a person commanded (column intervention) W times as often as others "
        "(default 1)",
    )
    person.add_argument(
        "--only-interventions",
        action="store_true",
        default=None,
        help="train only on rows that a person commanded; chunks end where the person hands back",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with a training that was stopped or killed, with the settings it began with",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train and save; see the epilog for the exit status."""
    import torch

    from armlet.datasets import Dataset, DatasetError
    from armlet.policies import CheckpointError
    from armlet.training import StateError, TrainingSettings, begun_settings

    given = {name: getattr(args, name) for name in _SETTINGS if getattr(args, name) is not None}
    try:
        if args.resume and given:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise ValueError(
                f"--resume goes on with the settings it began with; leave out {options}"
            )
        settings = begun_settings(args.output) if args.resume else TrainingSettings(**given)
        if args.threads is not None:
            if args.threads < 1:
                raise ValueError(f"threads must be at least 1, found {args.threads}")
            torch.set_num_threads(args.threads)
    except ValueError as error:
        return refuse("train", error)
    try:
        return _train(Dataset(args.dataset), args.output, settings, args.resume)
    except (DatasetError, CheckpointError, StateError, OSError) as error:
        return refuse("train", error)


def _train(dataset: Dataset, output: Path, settings: TrainingSettings, resume: bool = False) -> int:
    """Trains until the last step or Ctrl-C, and saves."""
    from armlet.training import commanded_by_person, train_act

    chosen = ""
    if settings.only_interventions or settings.intervention_weight != 1:
        by_person = commanded_by_person(dataset, range(len(dataset.episodes)))
        how = f"drawn {settings.intervention_weight:g} times as often as others"
        how = "these alone are learned" if settings.only_interventions else how
        chosen = f" A person commanded {by_person.sum()} frames: {how}."
    show(
        f"{dataset.root}: {len(dataset.episodes)} episodes, {dataset.info.total_frames} frames; "
        f"{settings.steps} steps of {settings.batch_size} frames.{chosen} Reading the pictures ..."
    )
    lines = ProgressLines(settings.steps, sys.stderr)
    begun = False
    with contextlib.ExitStack() as stack:
        interrupts = Interrupts()

        def proceed(step: int, error: float) -> bool:
            nonlocal begun
            if not begun:
                begun = True
                # Before there is anything to save, Ctrl-C ends the program as it does anywhere.
                stack.enter_context(interrupts)
            lines.step(step, error)
            return not interrupts.came

        try:
            trained = train_act(dataset, output, settings, lines.report, proceed, resume)
        except KeyboardInterrupt:
            if interrupts.came:  # a second one, while the first is served
                raise
            show("stopped before the first step: nothing is trained yet, and nothing saved")
            return STOPPED
    if trained < settings.steps:
        show(f"stopped after {trained} of {settings.steps} steps; saved {output}, trained so far")
        show("to go on: the same --dataset and --output, with --resume")
        return STOPPED
    show(f"saved {output}")
    return 0


class ProgressLines:
    """How far the training is: on a terminal's last line, or a line every ten seconds.

    now_s: the clock.
    """

    def __init__(
        self, steps: int, terminal: TextIO, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._steps = steps
        self._first_steps = max(2, min(_FIRST_STEPS, steps // _SHORT))
        self._terminal = terminal if terminal.isatty() else None
        self._now_s = now_s
        self._begun_s = self._shown_s = now_s()
        self._first, self._estimated = 0, False

    def step(self, step: int, error: float) -> None:
        """A step is done, with its error."""
        now_s = self._now_s()
        if not self._first:
            # The time before went into reading the pictures.
            self._first, self._begun_s, self._shown_s = step, now_s, now_s
        every_s = _LINE_S if self._terminal is None else _LIVE_S
        known = self._is_known(self._done(step), now_s)
        first = known and not self._estimated
        if not first and now_s - self._shown_s < every_s:
            return
        self._shown_s, self._estimated = now_s, known
        line = f"step {step}/{self._steps}  error {error:.4f}{self._left(step, now_s)}"
        if self._terminal is None:
            self._say(line)
        else:
            self._rewrite(line)

    def report(self, progress: Progress) -> None:
        """The errors of the last steps, and of what is held out."""
        self._rewrite("")
        self._shown_s = self._now_s()
        self._say(
            f"step {progress.step}/{progress.steps}  error {progress.error:.4f}  "
            f"held out {progress.validation:.4f}{self._left(progress.step, self._shown_s)}"
        )

    def _is_known(self, done: int, now_s: float) -> bool:
        """Whether enough steps are done to tell how long the others take."""
        return done >= self._first_steps or (done > 1 and now_s - self._begun_s >= _FIRST_S)

    def _rewrite(self, line: str) -> None:
        """A terminal's last line."""
        if self._terminal is None:
            return
        try:
            self._terminal.write(f"\r\033[K{line}")
            self._terminal.flush()
        except OSError:  # it is gone
            self._terminal = None

    @staticmethod
    def _say(text: str) -> None:
        """Hours of training are not lost with whoever read of them (`| head`, a closed window)."""
        with contextlib.suppress(SystemExit):
            show(text)

    def _left(self, step: int, now_s: float) -> str:
        """The time left, as the steps so far took; empty where that is unknown or none."""
        left, done = self._steps - step, self._done(step)
        if not left or not self._is_known(done, now_s):
            return ""
        return f"  about {duration((now_s - self._begun_s) / (done - 1) * left)} left"

    def _done(self, step: int) -> int:
        """How many steps were done here: a resumed training begins with a later one."""
        return step - self._first + 1


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever a person would say."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
