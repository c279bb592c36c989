"""`armlet policy check`: does this checkpoint fit this dataset, this robot, this calibration?"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armlet.cli.terminal.arguments import namespace, output_file
from armlet.cli.terminal.output import FAILED, refuse, show, show_json
from armlet.cli.terminal.robot import add_robot, calibration_of

from .policy_choices import add_choices, chosen

if TYPE_CHECKING:
    from armlet.contract import Contract
    from armlet.datasets import Dataset
    from armlet.policies import PolicyNetwork
    from armlet.policies.checkpoint.checkpoint import Checkpoint
    from armlet.policies.fit.check import Asking, Report
    from armlet.policies.fit.samples import Samples
    from armlet.robots import Calibration

# Frames of a dataset that are decoded: spread over this many episodes, this many of each.
_EPISODES, _FRAMES = 8, 4
_LIVE_FRAMES = 20
# Frames of each source that the network is run on, and a quarter of them with inputs exchanged.
PROBES = 16
# A machine that starts a graph, or infers, takes seconds to let nodes find each other.
FIRST_FRAMES_S = 15.0


def add_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser(
        "check",
        help="compare a checkpoint with the data, the calibration and the robot it will run on",
        description="Prints one line for every item: cameras, value range, normalization, "
        "statistics, joints, units, rate, calibration. Lines that begin with `open` "
        "cannot be decided from what was given. Exit status: 0 nothing is wrong, 1 "
        "refused (the policy node refuses for the same reasons), 2 the check could not "
        "be made.",
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        required=True,
        metavar="DIR",
        help="checkpoint directory, or hub:owner/name@revision",
    )
    add_choices(parser)
    parser.add_argument(
        "--dataset",
        type=Path,
        metavar="ROOT",
        help="dataset the policy was trained on; its folder, or hub:owner/name@revision",
    )
    parser.add_argument(
        "--calibration",
        metavar="FILE",
        help="calibration file of the arm to drive; two arms: left_=FILE,right_=FILE",
    )
    add_robot(parser, "the follower's calibration")
    parser.add_argument(
        "--calibration-tolerance-deg",
        type=float,
        default=0.0,
        metavar="DEG",
        help="accept a calibration by which joints moved up to this much since the recording"
        " (degrees)",
    )
    parser.add_argument(
        "--joint-units",
        default="",
        metavar="U",
        help="degrees or range_m100_100, if neither checkpoint nor dataset states them",
    )
    _add_frames(parser)
    _add_asking(parser)
    parser.add_argument(
        "--picture",
        type=output_file,
        metavar="OUT.png",
        help="draw what the policy receives, beside training images",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def _add_frames(parser: argparse.ArgumentParser) -> None:
    """Where frames of the robot come from."""
    robot = parser.add_mutually_exclusive_group()
    robot.add_argument(
        "--live",
        type=float,
        metavar="SECONDS",
        help="check the frames of the running aligner for this long, from the first one on",
    )
    robot.add_argument(
        "--bag",
        type=Path,
        metavar="BAG",
        help="check a rosbag2 recording (mcap or sqlite3) of the robot's raw topics, aligned"
        " as the aligner would have done it",
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=FIRST_FRAMES_S,
        metavar="SECONDS",
        help="how long --live waits for the first frame (default: %(default)g); nodes take "
        "seconds to find each other",
    )
    parser.add_argument(
        "--namespace",
        type=namespace,
        default="",
        help="namespace of the running graph, or of the topics in the bag",
    )
    parser.add_argument(
        "--params",
        type=Path,
        metavar="YAML",
        help="parameters of the aligner node for --bag (default: those of the record graph, every "
        "camera of the bag, the checkpoint's rate)",
    )


def _add_asking(parser: argparse.ArgumentParser) -> None:
    """What the network is asked, and from where on an answer is wrong."""
    parser.add_argument(
        "--probes",
        type=int,
        default=PROBES,
        metavar="N",
        help="run the network on this many frames of each source, and again with pictures and "
        "joints exchanged, to see whether it answers to them (default: %(default)s; 1: on one "
        "frame only, 0: not at all)",
    )
    parser.add_argument(
        "--task", default="", help="instruction for the robot's frames, for SmolVLA"
    )
    parser.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another limit for a comparison with frames, such as blind=0.01; may be repeated. "
        "A wrong NAME lists them all; armlet/policies/fit/limits.py has the reason of each",
    )


def run(args: argparse.Namespace) -> int:
    """Print the report; see the description for the status."""
    from armlet.camera import CameraError
    from armlet.datasets import DatasetError
    from armlet.findings import Severity
    from armlet.policies.config.errors import CheckpointError
    from armlet.policies.observation import ObservationError
    from armlet.robots import CalibrationError

    try:
        report = _report(args)
    except CheckpointError as error:
        from armlet.policies.fit.check import refusal_report

        report = refusal_report(error)
    except (
        CalibrationError,
        CameraError,
        DatasetError,
        ObservationError,
        OSError,
        RuntimeError,
        ValueError,
    ) as error:
        return refuse("policy check", error)
    if args.json:
        show_json(report.to_json())
    else:
        show(report)
        wrong = len(report.wrong)
        opened = sum(finding.severity is Severity.OPEN for finding in report.findings)
        verdict = f"refused: {wrong} wrong" if wrong else "nothing is wrong"
        show(f"{args.checkpoint}: {verdict}, {opened} open")
    return 0 if report.ok else FAILED


class _NothingLive(RuntimeError):
    """--live was asked and no frames came."""


def _report(args: argparse.Namespace) -> Report:
    from armlet.policies import load_network, read_checkpoint
    from armlet.policies.fit.check import check
    from armlet.policies.fit.limits import Limits
    from armlet.robots import calibration as calibrations

    limits = Limits.parse(args.limit)
    args.calibration = calibration_of(args)
    checkpoint = read_checkpoint(located(args.checkpoint), chosen(args))
    network = load_network(checkpoint)
    calibration = calibrations.load_arms(args.calibration) if args.calibration else None
    samples: list[Samples] = []
    if args.dataset is not None:
        config = checkpoint.config
        samples.append(dataset_samples(args.dataset, config.n_obs_steps, config.chunk_size))
    robot = None
    if args.live is not None:
        robot, live = _live(args, calibration)
        samples.append(live)
    elif args.bag is not None:
        from .policy_check_bag import bag_samples

        samples.append(bag_samples(args, checkpoint, calibration))
        robot = samples[-1].contract
    report = check(
        checkpoint,
        robot=robot,
        joint_units=args.joint_units,
        calibration=calibration,
        samples=samples,
        calibration_tolerance_deg=args.calibration_tolerance_deg,
        limits=limits,
        asking=_asking(args, checkpoint, network) if samples else None,
    )
    if args.picture is not None:
        names = () if report.contract is None else report.contract.state_names
        draw_page(args.picture, checkpoint, samples, report.joint_units, names)
    return report


def _asking(
    args: argparse.Namespace, checkpoint: Checkpoint, network: PolicyNetwork
) -> Asking | None:
    """The policy that is asked about frames. Raises ValueError for a count below 0."""
    from armlet.policies import Policy
    from armlet.policies.fit.check import Asking

    if args.probes < 0:
        raise ValueError(f"--probes: expected 0 or more, found {args.probes}")
    if args.probes == 0:
        return None
    policy = Policy(checkpoint, network.optimize_for_inference(), "cpu")
    return Asking(policy.repeatable(), args.probes, args.task)


def located(checkpoint: Path) -> Path:
    """The checkpoint's directory. Raises FileNotFoundError if there is none to be checked."""
    from armlet.policies.checkpoint import hub
    from armlet.policies.config.errors import CheckpointError

    try:
        path = hub.locate(checkpoint)
    except CheckpointError as error:
        raise FileNotFoundError(str(error)) from error
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: expected a checkpoint directory, found nothing; give its path"
        )
    return path


def draw_page(
    path: Path,
    checkpoint: Checkpoint,
    samples: list[Samples],
    joint_units: str,
    names: Sequence[str],
) -> None:
    """Draw what the policy receives. Raises ValueError without samples."""
    from armlet.policies.fit.check_picture import draw
    from armlet.policies.observation import ObservationError

    if not samples:
        raise ValueError("--picture: expected --dataset, --bag or --live, found none; give one")
    try:
        draw(checkpoint, samples, joint_units, names, path)
    except ObservationError as error:
        # The report says it too; without an input there is nothing to draw.
        show(f"no picture: {error}", error=True)


def dataset_samples(root: Path, n_obs_steps: int = 1, chunk_size: int = 1) -> Samples:
    """What a dataset shows: all states and actions of some episodes, and a few of their frames.

    Each of these frames is a Moment too, with the n_obs_steps - 1 before it and the up to
    chunk_size actions from it on. Raises DatasetError.
    """
    import numpy as np

    from armlet.datasets import Dataset, DatasetError
    from armlet.evaluation.observations import Recorded, frames_of
    from armlet.policies.fit.samples import Moment, Samples

    dataset = Dataset(root)
    if not dataset.episodes:
        raise DatasetError(f"{root}: expected episodes, found none; record some")
    count = len(dataset.episodes)
    chosen = sorted({int(k) for k in np.linspace(0, count - 1, min(count, _EPISODES))})
    data = [dataset.episode(k) for k in chosen]
    for episode in data:
        episode.require_finite()
    frames = [frames_of(episode.info.length, _FRAMES) for episode in data]
    seen = [
        Recorded(dataset, episode, rows, n_obs_steps)
        for episode, rows in zip(data, frames, strict=True)
    ]
    contract = dataset_contract(dataset)
    unseen = {}
    for camera in contract.cameras:
        try:
            for recorded in seen:
                recorded.decode(camera.name)
        except DatasetError as error:
            unseen[camera.name] = str(error)
    cameras = [camera.name for camera in contract.cameras if camera.name not in unseen]
    moments = [
        Moment(
            recorded.window(row, n_obs_steps), episode.action[row : row + chunk_size].astype(float)
        )
        for recorded, episode, rows in zip(seen, data, frames, strict=True)
        for row in rows
        if not unseen
    ]
    return Samples(
        source="dataset",
        live=False,
        contract=contract,
        images={name: np.concatenate([one.pictures(name) for one in seen]) for name in cameras},
        states={contract.joint_units or "": np.concatenate([d.state for d in data]).astype(float)},
        actions=np.concatenate([d.action for d in data]).astype(float),
        statistics=_statistics(dataset),
        unseen=unseen,
        moments=moments,
    )


def _check_names(dataset: Dataset, contract: Contract) -> None:
    """Raise DatasetError for joints that info.json has in another order than the contract."""
    from armlet.datasets import DatasetError

    stated = (("observation.state", contract.state_names), ("action", contract.action_names))
    for key, names in stated:
        feature = dataset.info.features.get(key)
        if feature is not None and feature.names and feature.names != names:
            raise DatasetError(
                f"{dataset.root}: {key}: expected the joints of its contract, {', '.join(names)}, "
                f"found {', '.join(feature.names)} in info.json; `armlet dataset check` has more: "
                "restore meta/ from a copy"
            )


def dataset_contract(dataset: Dataset) -> Contract:
    """The dataset's own contract, or what a plain LeRobot info.json states. Raises DatasetError."""
    from armlet.contract import Camera, Contract
    from armlet.datasets import DatasetError

    if dataset.contract is not None:
        _check_names(dataset, dataset.contract)
        return dataset.contract
    names = {}
    for key in ("observation.state", "action"):
        if key not in dataset.info.features:
            raise DatasetError(f"{dataset.root}: expected a column {key}, found none")
        names[key] = dataset.info.features[key].names or ()
    return Contract(
        fps=dataset.info.fps,
        cameras=tuple(
            Camera(name, height=feature.shape[0], width=feature.shape[1])
            for name, feature in dataset.info.cameras.items()
        ),
        state_names=names["observation.state"],
        action_names=names["action"],
    )


def _statistics(dataset: Dataset) -> Mapping[str, Mapping[str, Any]]:
    return {key: dict(value) for key, value in dataset.statistics.items()}


def _live(args: argparse.Namespace, calibration: Calibration | None) -> tuple[Contract, Samples]:
    """Contract and samples of the running graph. Raises _NothingLive."""
    try:
        from armlet.client.frames import watch
    except ImportError as error:
        raise _NothingLive(
            f"--live needs ROS 2, found none ({error}); source its setup file first"
        ) from error
    sample = watch(args.live, _LIVE_FRAMES, args.namespace, args.wait)
    if sample is None or not sample.frames:
        came = "only the contract: a camera or the arm is silent" if sample else "nothing"
        raise _NothingLive(
            f"--live: expected frames of the aligner within {args.wait:g} s, found {came}; start "
            "the graph (armlet up), and give its --namespace"
        )
    return sample.contract, sample.samples(calibration)
