"""Which episodes of its dataset a policy was trained on, where its files say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from armlet.findings import Code
from armlet.policies.config.errors import CheckpointError
from armlet.policies.config.releases import TRAINING
from armlet.policies.config.strict_json import as_object, read_object

# What armlet's training writes.
FILE = "armlet_training.json"
_EPISODES = "episodes"


def described(episodes: Sequence[int]) -> dict[str, Any]:
    """FILE's content for a policy trained on these episodes."""
    return {_EPISODES: sorted(episodes)}


def training_episodes(path: Path, count: int) -> frozenset[int] | None:
    """The episodes, of the `count` of the dataset, that a checkpoint's training read.

    By armlet's own record, or by LeRobot's train_config.json, where dataset.episodes is null for
    all of them. None if neither is there. Raises CheckpointError for files that cannot be read.
    """
    if (path / FILE).is_file():
        return _listed(read_object(path / FILE).get(_EPISODES), path / FILE, count)
    if not (path / TRAINING).is_file():
        return None
    block = as_object(read_object(path / TRAINING).get("dataset", {}), path / TRAINING)
    if _EPISODES not in block:
        return None
    if block[_EPISODES] is None:
        return frozenset(range(count))
    return _listed(block[_EPISODES], path / TRAINING, count)


def _listed(value: object, where: Path, count: int) -> frozenset[int]:
    if not isinstance(value, list) or any(type(k) is not int or k < 0 for k in value):
        expected = "a list of episode numbers"
    elif not value or max(value) >= count:
        # Of other numbers nothing would follow about those that are here.
        expected = f"one episode and more, of 0 to {count - 1} of its training data"
    else:
        return frozenset(value)
    raise CheckpointError.found(
        Code.POLICY_SETTING_INVALID,
        where,
        "episodes of the training data",
        expected=expected,
        found=repr(value)[:200],
        fix="copy the file again; without it, and with --episodes, any can be named",
    )
