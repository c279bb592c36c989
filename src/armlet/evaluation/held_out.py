"""Which episodes a policy was not trained on, as far as its files say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from armlet.datasets import Dataset, DatasetError
from armlet.datasets.transform.cuts import said_episodes
from armlet.findings import Code, Finding, Severity
from armlet.policies import Checkpoint
from armlet.policies.checkpoint.training_data import training_episodes
from armlet.policies.fit.feature_stats import unlike

_SUBJECT = "held-out episodes"


@dataclass(frozen=True)
class Choice:
    """Episodes to evaluate on, ascending; finding: whether the policy has seen them."""

    episodes: tuple[int, ...]
    finding: Finding


def choose(dataset: Dataset, checkpoint: Checkpoint, asked: Sequence[int] | None) -> Choice:
    """The episodes that were asked for, or else all that the policy was not trained on.

    Which those are is recorded in the checkpoint by armlet's training and by LeRobot's. It counts
    for the dataset whose statistics the checkpoint has; of any other dataset all episodes are
    taken. Raises DatasetError if there are none, CheckpointError for a record that is damaged.
    """
    everything = range(len(dataset.episodes))
    chosen = everything if asked is None else asked
    if unlike(checkpoint, dataset.statistics, exactly=True):
        finding = _said("the policy was trained on another dataset, by its statistics")
        return _some(dataset, chosen, finding)
    trained = training_episodes(checkpoint.path, len(everything))
    if trained is None:
        unknown = "it was trained on this dataset, and no file says which episodes were held out"
        return _some(dataset, chosen, _doubt(unknown))
    if asked is None:
        chosen = [k for k in everything if k not in trained]
        if not chosen:
            chosen = everything
    seen = sorted(trained.intersection(chosen))
    if seen:
        return _some(dataset, chosen, _doubt(f"it was trained on episodes {said_episodes(seen)}"))
    return _some(dataset, chosen, _said("the checkpoint records that it was trained on others"))


def _some(dataset: Dataset, chosen: Sequence[int], finding: Finding) -> Choice:
    if not chosen:
        raise DatasetError(f"{dataset.root}: expected episodes to evaluate on, found none")
    return Choice(tuple(sorted(chosen)), finding)


def _said(because: str) -> Finding:
    code = Code.POLICY_EVALUATED_ON_TRAINING_DATA
    return Finding(code, Severity.OK, _SUBJECT, found="not seen in training", because=because)


def _doubt(found: str) -> Finding:
    return Finding(
        Code.POLICY_EVALUATED_ON_TRAINING_DATA,
        Severity.WARNING,
        _SUBJECT,
        "episodes that it was not trained on",
        found,
        "name others with --episodes, or split the dataset before training: armlet dataset split",
        "errors on training data say little about a robot",
    )
