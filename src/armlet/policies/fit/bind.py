"""Gives a checkpoint that LeRobot trained the contract that armlet's own training writes.

Rate, names, units and calibration are in the contract of the dataset it was trained on. That it was
this dataset is shown by its frozen statistics: they are the dataset's own numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from armlet import contract as contracts
from armlet.contract import Contract, ContractError
from armlet.files import keep_previous, replace_file
from armlet.findings import Code, Finding, Severity
from armlet.policies.checkpoint.checkpoint import Checkpoint, check_contract
from armlet.policies.config.base import ACTION, camera_name

from .check import Report, check
from .detail import details_of
from .feature_stats import frozen_statistics, unlike
from .lag import Vectors, lag_of
from .samples import Samples

_OTHER = "give the dataset it was trained on, as it was then; LeRobot's train_config.json names it"


@dataclass(frozen=True)
class Bound:
    """What became of a checkpoint's contract.

    kept: the contract that was there before, under its new name; None if there was none. changed is
    False where the same contract was there already: nothing was written.
    """

    contract: Contract
    changed: bool
    kept: Path | None = None


def judge(checkpoint: Checkpoint, source: Samples) -> Report:
    """Whether a checkpoint, read without its contract, was trained on the dataset of `source`.

    The check of the two, and more strictly: the frozen statistics must be those of this very
    dataset, to rounding, and there must be some of the action, which every policy gives.
    """
    report = check(checkpoint, samples=[source])
    kept = [f for f in report.findings if f.code is not Code.POLICY_OTHER_DATASET]
    return dataclasses.replace(report, findings=(*kept, _same_data(checkpoint, source)))


def _same_data(checkpoint: Checkpoint, source: Samples) -> Finding:
    subject = "frozen statistics beside the dataset's"
    expected = "the same numbers, as the policy was trained on this dataset"
    code = Code.POLICY_OTHER_DATASET
    others = unlike(checkpoint, source.statistics, exactly=True)
    if others:
        found = f"others of {', '.join(others)}"
        return Finding(code, Severity.ERROR, subject, expected, found, _OTHER)
    if ACTION not in source.statistics or not frozen_statistics(checkpoint)[ACTION].is_known:
        found = f"none of {ACTION} in both"
        return Finding(code, Severity.ERROR, subject, expected, found, _OTHER)
    return Finding(code, Severity.OK, subject, found="the same numbers")


def bound_contract(
    checkpoint: Checkpoint,
    source: Contract,
    tasks: Sequence[str],
    images: Mapping[str, NDArray[np.uint8]] = {},
    episodes: Iterable[Vectors] = (),
) -> Contract:
    """The contract of a checkpoint that was trained on a dataset with the contract `source`.

    images are some of the dataset's, uint8 (N, H, W, 3) by camera name, episodes the states and
    actions of some. Cameras are those that the policy reads, in its order. Raises CheckpointError
    where the result does not describe the checkpoint.
    """
    there = {camera.name: camera for camera in source.cameras}
    names = [camera_name(key) for key in checkpoint.config.image_features]
    contract = dataclasses.replace(
        source,
        cameras=tuple(there[name] for name in names if name in there),
        preprocessing=checkpoint.preprocessor.describe(),
        tasks=tuple(tasks),
        detail=details_of({name: images[name] for name in names if name in images}),
        lag=lag_of(source, episodes),
    )
    check_contract(contract, checkpoint.config, checkpoint.preprocessor, "the dataset's contract")
    return contract


def bind(folder: Path, contract: Contract) -> Bound:
    """Write the contract into a checkpoint directory, whose other files stay as they are.

    It is there as a whole or not at all; what was there before is kept beside it as `.bak`. Raises
    OSError.
    """
    path = folder / contracts.FILE_NAME
    if path.is_symlink():
        raise OSError(
            f"{path} is a symbolic link: nothing is written through it; put the file itself there, "
            "or remove the link"
        )
    if _stored(path) == contract:
        return Bound(contract, changed=False)
    kept = keep_previous(path)
    replace_file(path, contract.signed())
    return Bound(contract, changed=True, kept=kept)


def _stored(path: Path) -> Contract | None:
    """The contract that is there; None where there is none that can be read."""
    try:
        return contracts.load(path)
    except (ContractError, FileNotFoundError):
        return None
