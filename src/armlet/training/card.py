"""The model card of a training's result: what it was trained on, how, and how well it does.

A resumed training writes the card that it would have written without a stop: nothing in it is of
the time it took, or of the place where it ran.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.optim import Optimizer

import armlet
from armlet import contract as contracts
from armlet.contract import Contract
from armlet.policies import Preprocessor
from armlet.policies.checkpoint import card
from armlet.policies.checkpoint.card import code, number, table

from .curve import Progress
from .learner import Learner
from .run import Run
from .samples import Samples
from .sources import Source

_ENDS = 1 << 16
"""Bytes at each end of a file with pictures that are read for a digest."""


@dataclass(frozen=True)
class Data:
    """What of one dataset was learned, and what was held out: episodes, ascending.

    digest: SHA-256 of both, see `data_of`.
    """

    name: str
    weight: float
    digest: str
    trained: tuple[int, ...]
    held_out: tuple[int, ...]


def data_of(sources: Sequence[Source], training: Samples, validation: Samples) -> tuple[Data, ...]:
    """Of each dataset. Raises DatasetError, OSError for files with pictures that cannot be read.

    A digest is fed, episode by episode, with its number, states and actions as little-endian
    float32, the task of each row as JSON, and where its pictures are; then of each file with
    pictures with its length, its first and its last 64 KiB, where a video has its index: to read
    them whole would take as long as to train.
    """
    return tuple(
        Data(
            source.dataset.name,
            source.weight,
            _digest(source, place, (training, validation)),
            tuple(sorted(training.episodes[place])),
            tuple(sorted(validation.episodes[place])),
        )
        for place, source in enumerate(sources)
    )


def _digest(source: Source, place: int, parts: Sequence[Samples]) -> str:
    digest, files = hashlib.sha256(), dict[str, Path]()
    rows = {
        int(k): (part, part.places[:, :2] == (place, k))
        for part in parts
        for k in part.episodes[place]
    }
    root = source.dataset.root
    for k, (part, found) in sorted(rows.items()):
        of_episode = np.flatnonzero(found.all(axis=1))
        tasks = [part.tasks[task] for task in part.task_of[of_episode].tolist()]
        pictures = source.dataset.picture_files(k)
        stated = {
            camera: (path.relative_to(root).as_posix(), begin_s)
            for camera, (path, begin_s) in pictures.items()
        }
        files |= {path.relative_to(root).as_posix(): path for path, _ in pictures.values()}
        digest.update(json.dumps([k, tasks, stated], sort_keys=True).encode())
        for values in (part.states, part.actions):
            digest.update(values[of_episode].astype("<f4").tobytes())
    for name, path in sorted(files.items()):
        digest.update(f"{name} {path.stat().st_size}".encode())
        with path.open("rb") as file:
            digest.update(file.read(_ENDS))
            file.seek(max(0, path.stat().st_size - _ENDS))
            digest.update(file.read(_ENDS))
    return digest.hexdigest()


@dataclass(frozen=True)
class Card:
    """What is known before the first step."""

    learner: Learner
    preprocessor: Preprocessor
    contract: Contract
    data: tuple[Data, ...]

    def text(self, run: Run, progress: Progress | None) -> str:
        """README.md of the weights of now, with their held-out errors where these are known.

        progress: the last report of these weights.
        """
        learner, config = self.learner, self.learner.config
        names = [data.name for data in self.data]
        lines = [
            *card.front_matter(config, names, learner.settings.base),
            "",
            f"# {config.TITLE} trained on {', '.join(map(code, names))}",
            "",
            f"Trained by armlet {armlet.__version__}; the files are LeRobot's. "
            "`armlet policy check` says whether it fits a robot, a dataset or a bag; "
            f"`{contracts.FILE_NAME}` has what follows about frames, signed.",
            "",
            *card.preprocessing(config, self.preprocessor, self.contract),
            "",
            *self._data(),
            *self._training(run),
            *self._held_out(progress),
            *_versions(),
        ]
        return "\n".join(lines) + "\n"

    def _data(self) -> list[str]:
        lines = ["## Data", ""]
        for data in self.data:
            lines += [
                f"- {code(data.name)}, weight {number(data.weight)}",
                f"  - trained on {_counted(data.trained)}",
                f"  - held out {_counted(data.held_out)}",
                f"  - digest of these rows, tasks and video files: `{data.digest}`",
            ]
        settings = self.learner.settings
        if settings.only_interventions:
            lines.append("- only rows that a person commanded")
        elif settings.intervention_weight != 1:
            weight = number(settings.intervention_weight)
            lines.append(f"- rows that a person commanded are drawn {weight} times as often")
        return [*lines, ""]

    def _training(self, run: Run) -> list[str]:
        learner, settings = self.learner, self.learner.settings
        begun = f"the weights `{learner.base}`" if learner.base else "random weights"
        averaged = f"averaged, {number(settings.ema)} stays" if settings.ema else "not averaged"
        return [
            "## Training",
            "",
            f"- begun with {begun}, seed {settings.seed}",
            f"- {run.step} of {settings.steps} steps of {settings.frames_per_step} frames"
            f" ({settings.gradient_accumulation} x {settings.batch_size})",
            f"- {_optimizer(run.optimizer)}; {learner.schedule_title}",
            f"- gradient cut to a norm of {number(learner.clip)}; loss as in LeRobot "
            f"{learner.rule.value}; computed in {learner.precision}",
            f"- weights {averaged}, stored in {'float16' if settings.half else 'float32'}",
            f"- augmentation: {learner.augmentation}; none on held-out episodes",
            "",
        ]

    def _held_out(self, progress: Progress | None) -> list[str]:
        lines = ["## Held-out error", ""]
        if progress is None:
            return [*lines, "Not measured of these weights.", ""]
        units = self.contract.units_by_name()
        rows = [
            [code(name), number(error), code(units[name]) if name in units else "as recorded"]
            for name, error in progress.joints.items()
        ]
        return [
            *lines,
            f"After step {progress.step}, on frames of the held-out episodes: "
            f"{number(progress.validation)} ({self.learner.ERROR}); in training "
            f"{number(progress.error)}. Mean absolute error over the chunk:",
            *table(["action", "error", "unit"], rows),
        ]


def _optimizer(optimizer: Optimizer) -> str:
    stated = optimizer.defaults
    betas = ", ".join(map(number, stated["betas"]))
    return (
        f"{type(optimizer).__name__}, learning rate {number(stated['lr'])} at its peak, betas "
        f"{betas}, eps {number(stated['eps'])}, weight decay {number(stated['weight_decay'])}"
    )


def _counted(episodes: Sequence[int]) -> str:
    """`3 episodes: 0-1, 4`"""
    ranges: list[list[int]] = []
    for k in episodes:
        if ranges and k == ranges[-1][1] + 1:
            ranges[-1][1] = k
        else:
            ranges.append([k, k])
    said = ", ".join(f"{a}-{b}" if a < b else f"{a}" for a, b in ranges)
    return f"{len(episodes)} episodes: {said}" if said else "none"


def _versions() -> list[str]:
    stated = {
        "armlet": armlet.__version__,
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    return ["## Versions", "", *(f"- {name} {version}" for name, version in stated.items())]
