"""`armlet train`: a policy on recorded datasets, on a CPU."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from armlet import hub, missing
from armlet.cli.terminal.arguments import DATASET, count, output_path
from armlet.cli.terminal.output import FAILED, STOPPED, UNUSABLE, refuse, show
from armlet.cli.terminal.progress import progress as shown_progress
from armlet.client.interrupts import Interrupts
from armlet.findings import Code
from armlet.suggestions import did_you_mean

if TYPE_CHECKING:
    from armlet.training import Loading, Progress, Source, Together, TrainingSettings

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
    "policy",
    "loss_rule",
    "precision",
    "gradient_accumulation",
    "ema",
)
_OPTIONS = {"changes": "set", "base": "from"}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "train",
        help="train a policy on one dataset or several",
        description="Train a policy with the preprocessing the policy node uses, and save it as a "
        "LeRobot checkpoint with the dataset's contract: a small ACT or a Diffusion Policy from "
        "random weights, or a SmolVLA from a checkpoint. Says after the first steps "
        "how long it takes, and how much of the time is spent waiting for pictures. Ctrl-C ends "
        "the training and saves what is trained so far; a second Ctrl-C ends it without. The "
        "folder OUTPUT.training has curve.csv (errors, each joint's on held-out episodes in its "
        "unit, learning rate, frames per second), best (the checkpoint of the smallest held-out "
        "error), and until the training has ended what --resume goes on with.",
        epilog="Exit status: 0 trained and saved, 1 failed on the way (what was trained until then "
        "is saved), 2 not started, 130 stopped by Ctrl-C.",
    )
    parser.add_argument(
        "--dataset",
        type=weighted,
        nargs="+",
        required=True,
        metavar="DATASET[:WEIGHT]",
        help=f"LeRobot v3.0, v2.1 or v2.0, by armlet or LeRobot: {DATASET}. Of several, frames of "
        "one with weight 0.5 are drawn half as often as those of one without",
    )
    parser.add_argument(
        "--episodes",
        metavar="EPISODES",
        help="numbers and ranges, as in 3,7-9, of the only dataset (default: all)",
    )
    parser.add_argument(
        "--label",
        choices=("success", "failure", "unlabelled"),
        help="only episodes of which a person said so",
    )
    parser.add_argument(
        "--without-findings",
        type=finding,
        nargs="+",
        action="extend",
        default=[],
        metavar="CODE",
        help="leave out episodes of which `armlet dataset check` finds one of these, as in "
        "dataset.outlier dataset.camera-frozen",
    )
    parser.add_argument(
        "--output", type=output_path, required=True, help="new checkpoint directory"
    )
    parser.add_argument(
        "--policy",
        choices=("act", "diffusion", "smolvla"),
        help="kind of policy to train (default act)",
    )
    parser.add_argument(
        "--from",
        dest="base",
        metavar="CHECKPOINT",
        help="SmolVLA checkpoint whose weights are trained on: its directory, or "
        "hub:owner/name@revision, as hub:lerobot/smolvla_base",
    )
    parser.add_argument(
        "--vlm",
        metavar="DIR",
        help="config.json and tokenizer.json of SmolVLA's language model",
    )
    parser.add_argument(
        "--set",
        type=change,
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="settings of the policy by LeRobot's names in config.json, each a JSON value or a "
        "word, as in horizon=32 'down_dims=[128, 256]' vision_backbone=resnet34",
    )
    parser.add_argument("--steps", type=int, help="training steps (default 2500)")
    parser.add_argument("--batch-size", type=int, help="frames per step (default 32)")
    parser.add_argument(
        "--chunk-size",
        type=int,
        help="actions per chunk (default: of ACT 45, of SmolVLA the checkpoint's; of a Diffusion "
        "Policy --set horizon=N says it)",
    )
    parser.add_argument(
        "--action-steps",
        type=int,
        help="how many of them strategy:=n_action_steps plays before the next chunk (default: "
        "of ACT all, of a Diffusion Policy 8, of SmolVLA the checkpoint's)",
    )
    parser.add_argument(
        "--learning-rate",
        type=float,
        help="its peak (default: of ACT 0.0003, of a Diffusion Policy LeRobot's 0.0001, of "
        "SmolVLA the checkpoint's, as a rule 0.0001)",
    )
    parser.add_argument(
        "--loss-rule",
        choices=("0.4.4", "0.6.1"),
        help="the LeRobot whose way leads from errors to a loss (default: of ACT 0.4.4, of others "
        "0.6.1)",
    )
    parser.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16", "float16"),
        help="what is computed in, where that is safe; bfloat16 and float16 only where the "
        "processor has arithmetic for it (default auto: of ACT bfloat16 there, else float32)",
    )
    parser.add_argument(
        "--gradient-accumulation",
        type=int,
        metavar="N",
        help="batches for one step, which goes by the mean of their gradients (default 1)",
    )
    parser.add_argument(
        "--ema",
        type=float,
        metavar="DECAY",
        help="save, and judge by held-out episodes, the exponential moving average of the weights; "
        "usual for a Diffusion Policy: 0.9999 (default: the weights themselves)",
    )
    parser.add_argument("--seed", type=int, help="seed of initial weights and sampling (default 0)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's)")
    parser.add_argument(
        "--workers",
        type=int,
        default=2,
        help="processes that decode pictures; with 0 the training does (default: %(default)s)",
    )
    parser.add_argument(
        "--cache",
        type=int,
        default=1000,
        metavar="MB",
        help="memory for pictures that stay decoded (default: %(default)s)",
    )
    parser.add_argument(
        "--save-every",
        type=count,
        default=500,
        metavar="STEPS",
        help="how often what --resume needs is saved (default: %(default)s)",
    )
    parser.add_argument(
        "--tensorboard",
        action="store_true",
        help="write the numbers of curve.csv to OUTPUT.training/tensorboard too, for "
        "`tensorboard --logdir`; needs the package tensorboard",
    )
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


def change(text: str) -> tuple[str, str]:
    """A setting's name and value. Raises ArgumentTypeError."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(
            f"expected a setting of the policy and its value, as in horizon=32, found {text!r}"
        )
    return name, value


def finding(text: str) -> Code:
    """A code of a finding. Raises ArgumentTypeError."""
    known = {code.value: code for code in Code if code.value.startswith("dataset.")}
    if text not in known:
        raise argparse.ArgumentTypeError(
            f"expected a code of `armlet dataset check`, as in dataset.outlier, found {text!r}; "
            f"{did_you_mean([text], list(known))}docs/findings.md has all"
        )
    return known[text]


def weighted(text: str) -> tuple[Path, float]:
    """A dataset and its weight, 1 unless it is named. Raises ArgumentTypeError."""
    place, colon, number = text.rpartition(":")
    try:
        weight = float(number) if colon and not Path(text).exists() else None
    except ValueError:  # as in hub:owner/name
        weight = None
    if weight is None:
        return Path(text), 1.0
    if not (place and 0 < weight < math.inf):
        raise argparse.ArgumentTypeError(
            f"expected a dataset and a weight above 0, as in DIR:0.5, found {text!r}"
        )
    return Path(place), weight


def run(args: argparse.Namespace) -> int:
    """Train and save; see the epilog for the exit status."""
    import torch

    from armlet.datasets import DatasetError
    from armlet.policies import CheckpointError
    from armlet.training import Loading, StateError, Together, TrainingError

    try:
        together = Together.joined()
    except TrainingError as error:
        return refuse("train", error, FAILED)
    try:
        settings = _settings(args)
        loading = Loading(args.workers, args.cache)
        if args.threads is not None:
            if args.threads < 1:
                raise ValueError(f"threads must be at least 1, found {args.threads}")
            torch.set_num_threads(args.threads)
        if settings.batch_size < together.count:
            raise ValueError(
                f"batch_size: expected one frame or more for each of {together.count} processes, "
                f"found {settings.batch_size}; start fewer"
            )
    except ValueError as error:
        return _refused(together, error)
    if args.tensorboard:
        missing.require("tensorboard")
    try:
        return _train(
            _sources(args),
            args.output,
            settings,
            args.resume,
            loading,
            args.save_every,
            args.tensorboard,
            together,
        )
    except (DatasetError, CheckpointError, StateError, OSError) as error:
        return _refused(together, error)


def _refused(together: Together, error: Exception, status: int | None = None) -> int:
    """What one of the processes says, all end with."""
    return refuse("train", error, status) if together.claims() else status or UNUSABLE


def _settings(args: argparse.Namespace) -> TrainingSettings:
    """How to train. Raises ValueError, and StateError if there is nothing to go on with."""
    from armlet.training import TrainingSettings, begun_settings

    given = {name: getattr(args, name) for name in _SETTINGS if getattr(args, name) is not None}
    given |= {"changes": dict(args.set)} if args.set else {}
    # Another folder may be the current one when it is resumed.
    folders = {name: getattr(args, name) for name in ("base", "vlm") if getattr(args, name)}
    given |= {
        name: place if hub.parse(place) else str(Path(place).resolve())
        for name, place in folders.items()
    }
    if not args.resume:
        return TrainingSettings(**given)
    settings = begun_settings(args.output)
    other = [name for name, value in given.items() if getattr(settings, name) != value]
    if other:
        options = ", ".join(f"--{_OPTIONS.get(name, name).replace('_', '-')}" for name in other)
        raise ValueError(f"--resume goes on with the settings it began with; leave out {options}")
    return settings


def _sources(args: argparse.Namespace) -> list[Source]:
    """The datasets with the episodes that are asked for. Raises DatasetError."""
    from armlet.datasets import Dataset, DatasetError
    from armlet.training import select

    if args.episodes is not None and len(args.dataset) > 1:
        raise DatasetError(
            f"expected one dataset beside --episodes, found {len(args.dataset)}; "
            "`armlet dataset split` parts them"
        )
    with shown_progress("episodes looked at") as step:
        return [
            dataclasses.replace(
                select(Dataset(root), args.episodes, args.label, args.without_findings, step),
                weight=weight,
            )
            for root, weight in args.dataset
        ]


def _said_of_persons(sources: Sequence[Source], settings: TrainingSettings) -> str:
    """How many rows a person commanded, where that matters. Raises DatasetError."""
    from armlet.training import of_episodes

    if settings.only_interventions:
        how = "these alone are learned"
    elif settings.intervention_weight != 1:
        how = f"drawn {settings.intervention_weight:g} times as often as others"
    else:
        return ""
    count = sum(int(of_episodes(each.dataset, each.chosen).sum()) for each in sources)
    return f" A person commanded {count} frames: {how}."


def _train(
    sources: Sequence[Source],
    output: Path,
    settings: TrainingSettings,
    resume: bool = False,
    loading: Loading | None = None,
    save_every: int = 500,
    tensorboard: bool = False,
    together: Together | None = None,
) -> int:
    """Trains until the last step or Ctrl-C, and saves."""
    from armlet.training import Loading, Together, TrainingError, train

    together = together or Together()
    chosen = _said_of_persons(sources, settings)
    said = show if together.leads else _nothing
    for source in sources:
        said(_described(source))
    parts = "" if together.count == 1 else f", shared by {together.count} processes"
    said(
        f"{settings.steps} steps of {settings.frames_per_step} frames{parts}.{chosen} "
        "Reading the episodes ..."
    )
    lines = ProgressLines(settings.steps, sys.stderr)
    begun = False
    with contextlib.ExitStack() as stack:
        interrupts = Interrupts()

        def proceed(step: int, error: float, waiting: float) -> bool:
            nonlocal begun
            if not begun:
                begun = True
                # Before there is anything to save, Ctrl-C ends the program as it does anywhere.
                stack.enter_context(interrupts)
            if together.leads:
                lines.step(step, error, waiting)
            return not interrupts.came

        try:
            trained = train(
                sources,
                output,
                settings,
                lines.report if together.leads else _nothing,
                proceed,
                resume,
                loading=loading or Loading(),
                save_every=save_every,
                say=lines.say if together.leads else _nothing,
                tensorboard=tensorboard,
                together=together,
            )
        except KeyboardInterrupt:
            if interrupts.came:  # a second one, while the first is served
                raise
            show("stopped before the first step: nothing is trained yet, and nothing saved")
            return STOPPED
        except TrainingError as error:
            return _refused(together, error, FAILED)
    if trained < settings.steps:
        said(f"stopped after {trained} of {settings.steps} steps; saved {output}, trained so far")
        said("to go on: the same command with --resume")
        return STOPPED
    said(f"saved {output}")
    return 0


def _nothing(said: object) -> None:
    """What the process that leads says, the others do not."""


def _described(source: Source) -> str:
    dataset = source.dataset
    count, every = len(source.chosen), len(dataset.episodes)
    frames = sum(dataset.episodes[k].length for k in source.chosen)
    of = "" if count == every else f" of {every}"
    weight = "" if source.weight == 1 else f", weight {source.weight:g}"
    return f"{dataset.root}: {count}{of} episodes, {frames} frames{weight}"


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

    def step(self, step: int, error: float, waiting: float = 0.0) -> None:
        """A step is done, with its error; waiting: for pictures, a share of the time."""
        now_s = self._now_s()
        if not self._first:
            # The time before went into reading the episodes.
            self._first, self._begun_s, self._shown_s = step, now_s, now_s
        every_s = _LINE_S if self._terminal is None else _LIVE_S
        known = self._is_known(self._done(step), now_s)
        first = known and not self._estimated
        if not first and now_s - self._shown_s < every_s:
            return
        self._shown_s, self._estimated = now_s, known
        line = f"step {step}/{self._steps}  error {error:.4f}{_waited(waiting)}"
        line += self._left(step, now_s)
        if self._terminal is None:
            self.say(line)
        else:
            self._rewrite(line)

    def report(self, progress: Progress) -> None:
        """The errors of the last steps, and of what is held out."""
        self._rewrite("")
        self._shown_s = self._now_s()
        self.say(
            f"step {progress.step}/{progress.steps}  error {progress.error:.4f}  "
            f"held out {progress.validation:.4f}{_waited(progress.waiting)}"
            f"{self._left(progress.step, self._shown_s)}"
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
    def say(text: str) -> None:
        """Hours of training are not lost with whoever reads this (`| head`, a closed window)."""
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


def _waited(share: float) -> str:
    """Where it is worth a word: a network that waits for pictures."""
    return f"  {share:.0%} waiting for pictures" if share >= 0.01 else ""


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever a person would say."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
