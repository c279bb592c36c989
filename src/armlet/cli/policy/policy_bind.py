"""`armlet policy bind`: the contract of a checkpoint that LeRobot trained, from its dataset."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from armlet.cli.terminal.output import FAILED, refuse, show
from armlet.files import HUB, printable

from .policy_check import dataset_samples
from .policy_choices import add_choices, chosen

if TYPE_CHECKING:
    from armlet.contract import Contract
    from armlet.datasets import Dataset
    from armlet.findings import Finding
    from armlet.policies.fit.bind import Bound

_TASKS = 20
# Of a dataset, spread over it: those whose motion is looked at.
_EPISODES = 200


def add_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser(
        "bind",
        help="give a checkpoint that LeRobot trained its rate, joint names, units and calibration",
        description="Writes armlet_contract.json into CHECKPOINT, as armlet's own training does, "
        "from the contract of the dataset it was trained on. Refused if the two do not fit, or if "
        "the statistics in the checkpoint are not this dataset's own numbers. No other file of the "
        "checkpoint is changed; a contract that was there is kept as armlet_contract.json.bak. "
        "Exit status: 0 bound, 1 refused, 2 something could not be read.",
    )
    parser.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="pretrained_model directory"
    )
    parser.add_argument(
        "--dataset",
        type=Path,
        required=True,
        metavar="ROOT",
        help="dataset the policy was trained on, with armlet's contract; its folder, or "
        "hub:owner/name@revision",
    )
    add_choices(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Bind, and print what was bound; see the description for the status."""
    from armlet.datasets import DatasetError
    from armlet.policies.config.errors import CheckpointError
    from armlet.policies.fit.check import refusal_report

    try:
        return _bind(args)
    except CheckpointError as error:
        show(refusal_report(error))
        show(f"{args.checkpoint}: refused, nothing was changed")
        return FAILED
    except (DatasetError, OSError, ValueError) as error:
        return refuse("policy bind", error)


def _bind(args: argparse.Namespace) -> int:
    from armlet.datasets import Dataset
    from armlet.datasets.check.quality import not_finite, read_vectors
    from armlet.datasets.format.tables import read_episodes
    from armlet.policies import read_checkpoint
    from armlet.policies.fit.bind import bind, bound_contract, judge

    _require_folder(args.checkpoint)
    dataset = Dataset(args.dataset)
    source = _source(dataset)
    checkpoint = read_checkpoint(args.checkpoint, chosen(args), contract=False)
    rows = read_episodes(dataset.root, stats=False)
    broken = [*not_finite(read_vectors(dataset.root, dataset.info, rows))]
    if broken:
        return _refused(args, broken)
    samples = dataset_samples(dataset.root)
    if wrong := judge(checkpoint, samples).wrong:
        return _refused(args, wrong)
    some = rows[:: max(1, len(rows) // _EPISODES)]
    vectors = ((each.state, each.action) for each in read_vectors(dataset.root, dataset.info, some))
    contract = bound_contract(checkpoint, source, dataset.tasks, samples.images, vectors)
    _print(args, contract, bind(args.checkpoint, contract))
    return 0


def _refused(args: argparse.Namespace, wrong: Sequence[Finding]) -> int:
    for finding in wrong:
        show(finding)
    show(f"{args.checkpoint}: refused, nothing was changed")
    return FAILED


def _require_folder(path: Path) -> None:
    """Raises ValueError for what has no checkpoint of one's own to write into."""
    from armlet.policies.runtime.export import is_export

    if str(path).startswith(HUB):
        raise ValueError(
            f"{path}: expected a directory, found a repository of the Hub, whose copy here is "
            "shared and is not written into; download it to a folder: hf download OWNER/NAME "
            "--local-dir DIR"
        )
    if is_export(path):
        raise ValueError(
            f"{path}: expected a checkpoint, found an exported policy; bind the checkpoint, then "
            "export it again"
        )


def _source(dataset: Dataset) -> Contract:
    """The dataset's contract. Raises DatasetError if it has none."""
    from armlet.datasets import DatasetError

    if dataset.contract is None:
        raise DatasetError(
            f"{dataset.root}: no contract, so its joint units and calibration are not stated: it "
            "was recorded by LeRobot, or a LeRobot tool wrote it again; `armlet dataset bind "
            f"{dataset.root}` writes one from what you know of the recording"
        )
    return dataset.contract


def _print(args: argparse.Namespace, contract: Contract, done: Bound) -> None:
    """What was bound, a line for each fact."""
    show(f"contract       {contract.signature()}")
    show(f"rate           {contract.fps} Hz")
    units = contract.units_by_name()
    for what, names in (("state", contract.state_names), ("action", contract.action_names)):
        said = ", ".join(f"{name} ({units.get(name, 'unit not stated')})" for name in names)
        show(f"{what:14} {printable(said, 4000)}")
    for camera in contract.cameras:
        show(f"camera         {printable(camera.name)} {camera.width}x{camera.height}")
    show(f"calibration    {contract.calibration or 'not stated'}")
    for task in contract.tasks[:_TASKS]:
        show(f"task           {printable(task)}")
    if (more := len(contract.tasks) - _TASKS) > 0:
        show(f"task           and {more} more")
    show("statistics     the same numbers as the dataset's")
    if not done.changed:
        show(f"{args.checkpoint}: bound to {args.dataset} already, nothing was changed")
        return
    if done.kept is not None:
        show(f"the contract that was there is now {done.kept}")
    show(f"{args.checkpoint}: bound to {args.dataset}")
