"""`armlet policy export`: an ACT policy as a graph for ONNX Runtime and OpenVINO."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from armlet.cli.terminal.arguments import output_path
from armlet.cli.terminal.output import refuse, show
from armlet.cli.terminal.robot import add_robot, arm_of
from armlet.robots.unit_modes import MODES

from .policy_choices import add_base, add_embodiment

if TYPE_CHECKING:
    from armlet.policies.runtime.export import Manifest


def add_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    export = verbs.add_parser(
        "export",
        help="export an ACT policy as a graph that includes its preprocessing",
        description="Writes DIR with policy.onnx, which takes uint8 (H, W, 3) RGB pictures and the "
        "state as float32 (n,) and gives the chunk (C, n). Statistics and /255 are inside. State "
        "and chunk are in dataset units, with a calibration in radians. Before DIR is written, "
        "the graph's result is compared with torch's; armlet's own policy node takes graphs in "
        "dataset units.",
    )
    export.add_argument("checkpoint", metavar="CHECKPOINT", help="directory, or hub:owner/name")
    export.add_argument("--output", type=output_path, required=True, metavar="DIR")
    export.add_argument(
        "--backend",
        choices=("onnxruntime", "openvino"),
        default="onnxruntime",
        help="runtime to verify the graph with; both can run it (default: onnxruntime)",
    )
    export.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="floating-point type to verify the graph in",
    )
    radians = export.add_mutually_exclusive_group()
    radians.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE",
        help="LeRobot calibration JSON of the arm; state and chunk are in radians then",
    )
    radians.add_argument(
        "--arm", metavar="NAME", help="the same, with the calibration of this arm of the robot file"
    )
    add_robot(export, "the arms' calibrations")
    export.add_argument(
        "--joint-units",
        choices=MODES,
        help="with a calibration: units of the dataset, if the checkpoint does not state them",
    )
    add_embodiment(export)
    add_base(export)
    export.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the directory and say its error; 0, or 2 with one line on stderr."""
    from armlet.policies import Choices, read_checkpoint
    from armlet.policies.runtime.export import PARITY, export_policy
    from armlet.policies.runtime.radians import robot_of
    from armlet.robots import CalibrationError

    try:
        checkpoint = read_checkpoint(
            args.checkpoint, Choices(embodiment=args.embodiment, base=args.base)
        )
        robot = None
        if args.arm is not None and (arm := arm_of(args)) is not None:
            args.calibration = Path(arm.calibration)
        if args.calibration is not None:
            robot = robot_of(checkpoint, args.calibration, args.joint_units)
        manifest = export_policy(
            checkpoint, args.output, args.backend, args.precision, robot, args.embodiment
        )
    except (ValueError, OSError, CalibrationError) as error:
        return refuse("policy export", error)
    show(f"written        {args.output}")
    print_manifest(manifest)
    for note in () if checkpoint.adapter is None else checkpoint.adapter.notes():
        show(f"note           {note}")
    worst = max(manifest.deviation)
    if manifest.precision == "float32" and worst > PARITY:
        show(
            f"warning: largest error: expected at most {PARITY:g}, found {worst:.2g} (units: "
            f"{unit_name(manifest)}); rounding may reach it where actions spread widely, the other "
            "backend may be nearer",
            error=True,
        )
    return 0


def print_manifest(manifest: Manifest) -> None:
    """What an export is, a line for each fact; the same after export and in inspect."""
    from armlet.contract import parse

    contract = None if manifest.contract is None else parse(manifest.contract)
    for port in manifest.inputs:
        show(f"graph takes    {port.name} {port.dtype} {list(port.shape)}")
    output = manifest.output
    show(f"graph gives    {output.name} {output.dtype} {list(output.shape)}")
    show(f"graph units    {unit_name(manifest)}")
    if manifest.calibration is not None:
        show(f"calibration    {manifest.calibration}")
    show(f"verified with  {manifest.backend}, {manifest.precision}, armlet {manifest.armlet}")
    names = [str(i) for i in range(len(manifest.deviation))]
    if contract is not None:
        names = list(contract.action_names)
    for name, error in zip(names, manifest.deviation, strict=True):
        show(f"largest error  {name:20} {error:.2g}")
    show(f"checkpoint     {manifest.checkpoint}")


def unit_name(manifest: Manifest) -> str:
    if manifest.units == "radians":
        return f"radians (of a dataset in {manifest.joint_units})"
    return manifest.joint_units or "the dataset's"
