"""`armlet policy compare`: are two sources the same to the network? For CI."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armlet.cli.terminal.arguments import namespace, output_file
from armlet.cli.terminal.output import FAILED, refuse, show, show_json
from armlet.cli.terminal.robot import add_robot, calibration_of

from .policy_check import dataset_samples, draw_page, located
from .policy_choices import add_choices, chosen

if TYPE_CHECKING:
    from armlet.findings import Finding
    from armlet.policies import Checkpoint
    from armlet.policies.fit.samples import Samples

# Those of armlet.policies.fit.distances.Allowed, which needs torch.
_DIVERGENCE, _QUANTILE = 0.25, 0.5


def add_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser(
        "compare",
        help="compare what two datasets or bags are to a policy's network",
        description="The preprocessing contract test: both sources go through the policy's "
        "preprocessing, and every camera channel and joint is compared at the network by "
        "divergence (KL) and quantiles. Exit status: 0 the same, 1 different, 2 the comparison "
        "could not be made.",
    )
    parser.add_argument(
        "first",
        type=Path,
        metavar="FIRST",
        help="dataset or bag to compare with; its folder, or hub:owner/name@revision of a dataset",
    )
    parser.add_argument("second", type=Path, metavar="SECOND", help="dataset or bag")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        required=True,
        metavar="DIR",
        help="checkpoint whose preprocessing is used, or hub:owner/name@revision",
    )
    add_choices(parser)
    parser.add_argument(
        "--max-divergence",
        type=float,
        default=_DIVERGENCE,
        metavar="NATS",
        help="greatest divergence of a channel or joint (default: %(default)g, a change of light)",
    )
    parser.add_argument(
        "--max-quantile-distance",
        type=float,
        default=_QUANTILE,
        metavar="STD",
        help="greatest mean distance of quantiles, in standard deviations of FIRST (default: "
        "%(default)g; the frames of one recording are 0.2 from all of it)",
    )
    _add_bags(parser)
    parser.add_argument(
        "--picture",
        type=output_file,
        metavar="OUT.png",
        help="draw what the policy receives of both",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def _add_bags(parser: argparse.ArgumentParser) -> None:
    """What the joints and topics of a bag are."""
    parser.add_argument(
        "--calibration", metavar="FILE", help="calibration file of the arm, for a bag's joints"
    )
    add_robot(parser, "the follower's calibration")
    parser.add_argument(
        "--joint-units",
        default="",
        metavar="U",
        help="degrees or range_m100_100, for a bag if the checkpoint does not state them",
    )
    parser.add_argument(
        "--namespace", type=namespace, default="", help="namespace of the topics in a bag"
    )
    parser.add_argument(
        "--params", type=Path, metavar="YAML", help="parameters of the aligner node for a bag"
    )


def run(args: argparse.Namespace) -> int:
    """Print a line per feature; see the description for the status."""
    from armlet.camera import CameraError
    from armlet.datasets import DatasetError
    from armlet.findings import as_json
    from armlet.policies.config.errors import CheckpointError
    from armlet.policies.observation import ObservationError
    from armlet.robots import CalibrationError

    try:
        found, distances = _compared(args)
    except (
        CalibrationError,
        CameraError,
        CheckpointError,
        DatasetError,
        ObservationError,
        OSError,
        RuntimeError,
        ValueError,
    ) as error:
        return refuse("policy compare", error)
    wrong = sum(not finding.ok for finding in found)
    if args.json:
        items = [as_json(finding) for finding in found]
        show_json({"ok": not wrong, "items": items, "distances": distances})
    else:
        for finding in found:
            show(finding)
        verdict = f"different: {wrong} of {len(found)}" if wrong else "the same to the network"
        show(f"{args.second} beside {args.first}: {verdict}")
    return FAILED if wrong else 0


def _compared(args: argparse.Namespace) -> tuple[list[Finding], list[dict[str, Any]]]:
    from armlet.policies import read_checkpoint
    from armlet.policies.fit.distances import Allowed, distance_findings, names_finding

    allowed = Allowed(args.max_divergence, args.max_quantile_distance)
    args.calibration = calibration_of(args)
    checkpoint = read_checkpoint(located(args.checkpoint), chosen(args))
    units = args.joint_units
    if checkpoint.contract is not None and checkpoint.contract.joint_units is not None:
        units = checkpoint.contract.joint_units
    sources = [_source(path, args, checkpoint) for path in (args.first, args.second)]
    names = sources[0].contract.state_names
    if args.picture is not None:
        draw_page(args.picture, checkpoint, sources, units, names)
    first, second = (_inputs(checkpoint, source, units) for source in sources)
    labels = (sources[0].source, sources[1].source)
    keys = [key for key in checkpoint.config.used_features if key in {*first, *second}]
    keys += [key for key in checkpoint.config.image_features if key not in keys]
    lines = [*distance_findings(first, second, labels, keys, allowed)]
    numbers = [measured.to_json() for _, measured in lines if measured is not None]
    return [names_finding(*(s.contract for s in sources)), *(line for line, _ in lines)], numbers


def _inputs(checkpoint: Checkpoint, source: Samples, units: str) -> dict[str, Any]:
    from armlet.policies.fit.comparisons import source_inputs

    names = source.contract.state_names
    return {seen.key: seen for seen in source_inputs(checkpoint, source, units, names, None)}


def _source(path: Path, args: argparse.Namespace, checkpoint: Checkpoint) -> Samples:
    """A dataset, or else a bag, as samples called by their path. Raises DatasetError."""
    from dataclasses import replace

    from armlet.datasets.hub import is_repository
    from armlet.robots import calibration as calibrations

    from .policy_check_bag import bag_samples

    if is_repository(path) or (path / "meta" / "info.json").is_file():
        return replace(dataset_samples(path), source=str(path))
    calibration = calibrations.load_arms(args.calibration) if args.calibration else None
    bag = argparse.Namespace(**{**vars(args), "bag": path})
    return replace(bag_samples(bag, checkpoint, calibration), source=str(path))
