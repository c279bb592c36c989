"""Which episodes policies were not trained on, as far as their files say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from armlet.datasets import Dataset, DatasetError
from armlet.datasets.transform.cuts import said_episodes
from armlet.findings import Code, Finding, Severity
from armlet.policies import Checkpoint
from armlet.policies.checkpoint.training_data import training_episodes
from armlet.policies.fit.feature_stats import unlike

_CODE = Code.POLICY_EVALUATED_ON_TRAINING_DATA
_EXPECTED = "episodes that it was not trained on"
_FIX = "name others with --episodes, or split the dataset before training: armlet dataset split"


@dataclass(frozen=True)
class Choice:
    """Episodes to evaluate on, ascending; findings: of each policy, whether it has seen them."""

    episodes: tuple[int, ...]
    findings: tuple[Finding, ...]


def choose(
    dataset: Dataset, checkpoints: Sequence[Checkpoint], asked: Sequence[int] | None
) -> Choice:
    """The episodes that were asked for, or else all that no policy was trained on.

    Which those are is recorded in checkpoints by armlet's training and by LeRobot's. It counts for
    the dataset whose statistics a checkpoint has. Where nothing was held out, by what is recorded,
    it is all of them. Raises DatasetError if there are none, CheckpointError for a record that is
    damaged.
    """
    count = len(dataset.episodes)
    others = [bool(unlike(one, dataset.statistics, exactly=True)) for one in checkpoints]
    trained = [
        None if other else training_episodes(one.path, count)
        for one, other in zip(checkpoints, others, strict=True)
    ]
    if asked is None:
        seen = frozenset[int]().union(*(known for known in trained if known is not None))
        asked = [k for k in range(count) if k not in seen] or range(count)
    if not asked:
        raise DatasetError(f"{dataset.root}: expected episodes to evaluate on, found none")
    names = "AB"[: len(checkpoints)]
    return Choice(
        tuple(sorted(asked)),
        tuple(
            _finding(f"held-out episodes of policy {name}", other, known, asked)
            for name, other, known in zip(names, others, trained, strict=True)
        ),
    )


def _finding(
    subject: str, other: bool, trained: frozenset[int] | None, chosen: Sequence[int]
) -> Finding:
    if other:
        found = "another dataset than its training data, by the statistics"
        why = "whether it has episodes of the training data, no file says"
        return Finding(_CODE, Severity.OPEN, subject, _EXPECTED, found, _FIX, why)
    if trained is None:
        found = "its training data, and no file says which episodes were held out"
        return _seen(subject, found)
    seen = sorted(trained.intersection(chosen))
    if seen:
        return _seen(subject, f"its training data: episodes {said_episodes(seen)}")
    why = "the checkpoint records which it was trained on"
    return Finding(_CODE, Severity.OK, subject, found="not seen in training", because=why)


def _seen(subject: str, found: str) -> Finding:
    why = "errors on training data say little about a robot"
    return Finding(_CODE, Severity.WARNING, subject, _EXPECTED, found, _FIX, why)
