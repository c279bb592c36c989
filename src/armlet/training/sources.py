"""Which episodes of which datasets are trained on, and which contract all of them have."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from armlet.contract import Contract
from armlet.datasets import Dataset, DatasetError
from armlet.datasets.check.quality import episodes_found
from armlet.datasets.format import stats
from armlet.datasets.format.stats import Stats
from armlet.datasets.transform.bind import described_contract
from armlet.datasets.transform.cuts import parse_episodes
from armlet.findings import Code

from .settings import TrainingSettings

LABELS = ("success", "failure", "unlabelled")


@dataclass(frozen=True)
class Source:
    """A dataset to train on.

    Attributes:
        dataset: v3.0, v2.1 or v2.0, of armlet or LeRobot.
        weight: how often a frame of it is drawn, beside one of a dataset of weight 1.
        episodes: those that may be trained on or held out; None: all.
    """

    dataset: Dataset
    weight: float = 1.0
    episodes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.weight < float("inf"):
            raise DatasetError(
                f"{self.dataset.root}: expected a weight above 0, found {self.weight}"
            )

    @property
    def chosen(self) -> tuple[int, ...]:
        """The episodes, ascending."""
        return self.episodes if self.episodes is not None else tuple(range(self.count))

    @property
    def count(self) -> int:
        """How many episodes the dataset has."""
        return len(self.dataset.episodes)


def select(
    dataset: Dataset,
    episodes: str | None = None,
    label: str | None = None,
    without: Collection[Code] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Source:
    """A dataset's episodes by numbers as in 3,7-9 and by what a person said of them, one of LABELS.

    without: codes of `armlet dataset check`; episodes of which it finds one are left out. progress
    gets episodes looked at, of how many. Raises DatasetError where none is left, and as
    `episodes_found` does.
    """
    count = len(dataset.episodes)
    chosen = range(count) if episodes is None else parse_episodes(episodes, count)
    if label is not None:
        wanted = {"success": True, "failure": False, "unlabelled": None}[label]
        labels = dataset.successes()
        chosen = [k for k in chosen if labels.get(k) is wanted]
        if not chosen:
            raise DatasetError(
                f"{dataset.root}: expected episodes with the label {label}, found none; "
                "`armlet dataset label` writes labels"
            )
    if without:
        unwanted = episodes_found(dataset.root, without, progress)
        chosen = [k for k in chosen if k not in unwanted]
        if not chosen:
            raise DatasetError(
                f"{dataset.root}: expected episodes without {', '.join(sorted(without))}, found "
                "none; `armlet dataset check` shows what is found of each"
            )
    return Source(dataset, episodes=None if len(chosen) == count else tuple(chosen))


def split(
    sources: Sequence[Source], settings: TrainingSettings
) -> tuple[list[list[int]], list[list[int]]]:
    """The episodes to train on and those held out, of each dataset, each in a random order.

    Of each dataset that has two or more, some are held out, never rows of one that is trained on.
    Raises DatasetError if there are too few.
    """
    generator = np.random.default_rng(settings.seed)
    training, validation = [], []
    for source in sources:
        count = len(source.chosen)
        held_out = max(1, round(settings.validation_share * count))
        if not count:
            raise DatasetError(f"{source.dataset.root}: expected episodes to train on, found none")
        if len(sources) == 1 and count < held_out + 1:
            raise DatasetError(
                f"{source.dataset.root}: expected {held_out + 1} episodes or more, {held_out} of "
                f"them to validate, found {count}; record more"
            )
        held_out = min(held_out, count - 1)
        order = [source.chosen[at] for at in generator.permutation(count).tolist()]
        training.append(order[held_out:])
        validation.append(order[:held_out])
    if not any(validation):
        raise DatasetError(
            "expected a dataset with 2 episodes or more, to hold one out; record more"
        )
    return training, validation


def statistics_of(sources: Sequence[Source]) -> dict[str, Stats]:
    """One dataset's own statistics, or those of all frames of several. Raises DatasetError."""
    if len(sources) == 1:
        return sources[0].dataset.statistics
    found = [source.dataset.statistics for source in sources]
    shared = set.intersection(*map(set, found))
    return stats.aggregate([{key: one[key] for key in sorted(shared)} for one in found])


@dataclass(frozen=True)
class Shared:
    """The contract of all datasets; unknown: for people, what no file says, a line each."""

    contract: Contract
    unknown: tuple[str, ...]


def shared_contract(sources: Sequence[Source]) -> Shared:
    """The contract that all datasets have, their tasks together.

    A dataset without one has what info.json says: rate, cameras, joint names. What not all say
    alike, and frames do not depend on, is left open. Raises DatasetError naming what differs.
    """
    stated = [_contract(source.dataset) for source in sources]
    for source, other in zip(sources[1:], stated[1:], strict=True):
        _check_alike(sources[0].dataset, stated[0], source.dataset, other)
    tasks = dict.fromkeys(task for source in sources for task in source.dataset.tasks)
    contract = dataclasses.replace(stated[0], tasks=tuple(tasks))
    unknown = [
        f"{source.dataset.root} has no contract: its joint units, calibration and alignment are "
        "unknown, and will be the policy node's parameters; `armlet dataset bind` states them"
        for source in sources
        if source.dataset.contract is None
    ]
    if any(one.joint_units is None for one in stated):
        contract = dataclasses.replace(contract, joint_units=None, units=())
    if any(one.calibration_ticks != contract.calibration_ticks for one in stated) or any(
        one.calibration != contract.calibration for one in stated
    ):
        contract = dataclasses.replace(contract, calibration=None, calibration_ticks=None)
        if not unknown:
            unknown.append("the datasets have different calibrations: the policy will state none")
    if any(one.alignment != contract.alignment for one in stated):
        contract = dataclasses.replace(contract, alignment=())
    return Shared(contract, tuple(unknown))


def _contract(dataset: Dataset) -> Contract:
    """What is stated of a dataset's frames. Raises DatasetError."""
    if not dataset.info.cameras:
        raise DatasetError(
            f"{dataset.root} has no camera: policies are trained on pictures; record some"
        )
    if dataset.contract is not None:
        return dataset.contract
    try:
        return described_contract(dataset.info)
    except DatasetError as error:
        raise DatasetError(f"{dataset.root} has no contract, and none follows: {error}") from error


def _check_alike(first: Dataset, one: Contract, second: Dataset, other: Contract) -> None:
    if first.root.resolve() == second.root.resolve():
        raise DatasetError(f"{first.root} is named twice; give it a weight, as in DIR:2")
    differing = [
        (what, expected, found)
        for what, expected, found in (
            ("frames per second", one.fps, other.fps),
            ("state", ", ".join(one.state_names), ", ".join(other.state_names)),
            ("action", ", ".join(one.action_names), ", ".join(other.action_names)),
            ("cameras", _cameras(one), _cameras(other)),
            ("joint units", one.joint_units, other.joint_units),
            ("unit of each joint", one.units, other.units),
        )
        if expected != found
        and not (what.startswith(("joint", "unit")) and not (expected and found))
    ]
    if differing:
        what, expected, found = differing[0]
        raise DatasetError(
            f"{second.root}: {what}: expected {expected}, as in {first.root}, found {found}; "
            "train on datasets that were recorded alike"
        )


def _cameras(contract: Contract) -> str:
    """Cameras in one order, for people."""
    return ", ".join(sorted(f"{c.name} {c.width}x{c.height}" for c in contract.cameras))
