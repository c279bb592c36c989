"""`armlet dataset bind`: the contract that another tool dropped, or never wrote."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from armlet.cli.terminal.arguments import own_dataset
from armlet.cli.terminal.output import FAILED, refuse, show
from armlet.cli.terminal.robot import add_robot, calibration_of, robot_of
from armlet.files import FileError, printable
from armlet.robots.unit_modes import MODES

from .dataset_edits import Verbs

if TYPE_CHECKING:
    from armlet.contract import Contract
    from armlet.datasets.format.layout import Info


def add_verb(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "bind",
        help="write the contract that another tool dropped, from what you know of the recording",
        description="LeRobot's tools write datasets without armlet's contract, which states joint "
        "units and calibration: without it nothing is appended, and no policy trained on the "
        "dataset states them. Written again from another dataset of the same recording, or from "
        "the calibration and the units, into meta/armlet_contract.json of ROOT, and from nothing "
        "else. The rows are examined first: what cannot be in these units, or of this calibration, "
        "is refused. A contract that was there goes to the dataset's .trash.",
    )
    parser.add_argument("root", type=own_dataset, metavar="ROOT", help="the dataset's folder")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--from",
        type=Path,
        dest="source",
        metavar="DATASET",
        help="dataset with a contract that was recorded alike: the one before the edit; its "
        "folder, or hub:owner/name@revision",
    )
    source.add_argument(
        "--calibration",
        metavar="FILE",
        help="calibration the follower had while it was recorded; two arms: left_=FILE,right_=FILE",
    )
    add_robot(parser, "the follower's calibration and joint_units")
    parser.add_argument(
        "--joint-units",
        choices=MODES,
        help="units it was recorded in (default: the robot file's)",
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="replace a contract that says something else",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Bind, and print what was bound; 0, 1 if it does not fit the rows, 2 if it cannot be done."""
    from armlet.datasets import DatasetError
    from armlet.datasets.format.layout import load_info
    from armlet.datasets.transform.bind import bind

    try:
        rebound = bind(args.root, _contract(args, load_info(args.root)), args.replace)
    except (DatasetError, FileError, OSError) as error:
        return refuse("dataset bind", error, lines=True)
    for finding in rebound.findings:
        show(finding)
    if not rebound.ok:
        show(f"{args.root}: refused, nothing was changed")
        return FAILED
    _print(rebound.contract)
    if not rebound.changed:
        show(f"{args.root}: bound so already, nothing was changed")
        return 0
    if rebound.trash is not None:
        show(f"the contract that was there is in {args.root / rebound.trash}")
    show(f"{args.root}: bound")
    return 0


def _contract(args: argparse.Namespace, info: Info) -> Contract:
    """What the dataset is to be bound to. Raises DatasetError, FileError."""
    from armlet.datasets import Dataset, DatasetError
    from armlet.datasets.transform.bind import contract_like, contract_of
    from armlet.robots import CalibrationError
    from armlet.robots import calibration as calibrations
    from armlet.robots.units import joint_units

    if args.source is not None:
        other = Dataset(args.source).contract
        if other is None:
            raise DatasetError(f"{args.source} has no contract either; name a dataset that has one")
        if args.joint_units not in (None, other.joint_units):
            raise DatasetError(
                f"--joint-units {args.joint_units}: {args.source} was recorded in "
                f"{other.joint_units}; leave the option out"
            )
        return contract_like(info, other)
    calibration, robot = calibration_of(args), robot_of(args)
    units = args.joint_units or (robot.joint_units if robot else None)
    if calibration is None or units is None:
        lacking = (
            "--calibration FILE" if calibration is None else f"--joint-units {' or '.join(MODES)}"
        )
        raise DatasetError(
            f"give {lacking}, as it was while {args.root} was recorded; or --from DATASET, another "
            "dataset of the same recording that has its contract"
        )
    try:
        return contract_of(info, calibrations.load_arms(calibration), joint_units(units))
    except CalibrationError as error:
        raise DatasetError(str(error)) from error


def _print(contract: Contract) -> None:
    """What was bound, a line for each fact."""
    show(f"contract       {contract.signature()}")
    show(f"rate           {contract.fps} Hz")
    said = ", ".join(f"{name} ({unit})" for name, unit in contract.units_by_name().items())
    show(f"joints         {printable(said, 4000)}")
    for camera in contract.cameras:
        show(f"camera         {printable(camera.name)} {camera.width}x{camera.height}")
    show(f"calibration    {contract.calibration or 'not stated'}")
    streams = ", ".join(f"{s.name} {s.policy} {s.tolerance_s:g} s" for s in contract.alignment)
    show(f"alignment      {printable(streams, 4000) or 'not stated'}")
