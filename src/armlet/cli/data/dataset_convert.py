"""`armlet dataset convert`: between LeRobot's versions, and from a bag of the raw topics."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armlet.cli.terminal.arguments import namespace, output_path
from armlet.cli.terminal.output import refuse, show
from armlet.cli.terminal.robot import add_robot, calibration_of, robot_of
from armlet.files import FileError, printable
from armlet.robots.unit_modes import MODES

if TYPE_CHECKING:
    from armlet.datasets.bags.convert import Bag, Converted, Setup, Span
    from armlet.datasets.bags.streams import Plan

# Seconds that are this many or more are of Unix time, not since the bag's beginning.
_UNIX_S = 100_000_000


class ConvertError(Exception):
    """An argument that does not go with the source."""


def add_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser(
        "convert",
        help="to LeRobot v2.1 or v3.0, from the other one, v2.0 or a bag",
        description="SOURCE is a LeRobot dataset, which is written in the other version: rows bit "
        "for bit, videos as they are. Or it is a rosbag2 recording (mcap or sqlite3) of the raw "
        "topics, which goes through the aligner and the recorder's writer like a live one: the "
        "dataset is what the recorder would have made.",
    )
    parser.add_argument(
        "source",
        type=Path,
        metavar="SOURCE",
        help="rosbag2 recording or dataset to read; of a dataset its folder, or "
        "hub:owner/name@revision",
    )
    parser.add_argument(
        "output", type=output_path, metavar="OUTPUT", help="folder of the new dataset"
    )
    parser.add_argument(
        "--to",
        choices=("v2.1", "v3.0"),
        help="LeRobot version to write (default: the other one of a dataset, v3.0 for v2.0 and "
        "for a bag)",
    )
    bag = parser.add_argument_group("from a bag")
    _add_frames(bag)
    _add_dataset(bag)
    of_bags = {each.option_strings[0]: (each.dest, each.default) for each in bag._group_actions}
    parser.set_defaults(run=run, of_bags=of_bags)


def _add_dataset(bag: argparse._ArgumentGroup) -> None:
    """What the dataset is to be."""
    bag.add_argument("--task", metavar="TEXT", help="what the episodes show, in words")
    bag.add_argument(
        "--calibration",
        metavar="FILE",
        help="LeRobot calibration JSON of the follower; two arms: left_=FILE,right_=FILE",
    )
    add_robot(bag, "the follower's calibration and joint_units")
    bag.add_argument(
        "--joint-units",
        choices=MODES,
        help="units of the dataset (default: the robot file's, without one degrees)",
    )
    bag.add_argument(
        "--episode",
        action="append",
        metavar="FROM:TO[:TASK]",
        help="one episode, in seconds from the start of the bag or in Unix time; either side"
        " may be empty; may be repeated (default: the whole bag as one episode)",
    )
    bag.add_argument("--robot-type", default="so101_follower", help="LeRobot's name of the robot")
    bag.add_argument("--codec", default="h264", choices=("h264", "hevc", "libsvtav1"))
    bag.add_argument(
        "--on-gap",
        choices=("split", "refuse"),
        default="split",
        help="what to do with an episode that lacks a frame: split it there, or refuse it "
        "(default: split)",
    )


def _add_frames(bag: argparse._ArgumentGroup) -> None:
    """Which messages frames are made of, and how."""
    bag.add_argument(
        "--namespace", type=namespace, default="", metavar="NS", help="namespace of the topics"
    )
    bag.add_argument(
        "--cameras",
        metavar="NAMES",
        help="cameras to convert, comma separated (default: every <name>/image_raw)",
    )
    bag.add_argument("--fps", type=int, default=30, help="frames per second (default: 30)")
    bag.add_argument(
        "--raw", action="store_true", help="read image_raw instead of image_raw/compressed"
    )
    bag.add_argument(
        "--params",
        type=Path,
        metavar="YAML",
        help="parameters of the aligner node (default: those of the record graph)",
    )
    bag.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME:=VALUE",
        help="one more parameter of the aligner, e.g. front.frozen_s:=0.0",
    )
    bag.add_argument(
        "--stamps",
        choices=("header", "recorded"),
        default="header",
        help="time of a message: the stamp in its header, or the time it was recorded, for "
        "messages without a stamp; that is later by the transport delay (default: "
        "header)",
    )


def run(args: argparse.Namespace) -> int:
    """Convert; 0, or 2 and why not."""
    from armlet.datasets import DatasetError
    from armlet.datasets.hub import locate

    try:
        args.source = locate(args.source)
        if (args.source / "meta" / "info.json").is_file():
            _require_no_options_of_bags(args)
            return _dataset(args)
        return _bag(args)
    except (ConvertError, DatasetError, FileError, OSError) as error:
        return refuse("dataset convert", error, lines=True)


def _require_no_options_of_bags(args: argparse.Namespace) -> None:
    """Raises ConvertError for an option that a dataset's conversion would pass over."""
    given = [
        option
        for option, (name, default) in args.of_bags.items()
        if getattr(args, name) not in (default, [])
    ]
    if given:
        raise ConvertError(f"{args.source} is a dataset, and {given[0]} is for bags; leave it out")


def _dataset(args: argparse.Namespace) -> int:
    from armlet.datasets.format.layout import load_info
    from armlet.datasets.transform.convert import convert

    version = args.to or ("v3.0" if load_info(args.source).is_v2 else "v2.1")
    done = convert(args.source, args.output, version)
    if done.left_out:
        names = printable(", ".join(done.left_out))
        show(f"left out, because {version} has no such columns: {names}")
    for index, task in done.named.items():
        name = printable(repr(task), 80)
        show(f"task {index} was in no tasks file; by the episodes' metadata it is {name}")
    show(f"{args.output}: {load_info(args.output).total_episodes} episodes, {version}")
    return 0


def _bag(args: argparse.Namespace) -> int:
    from armlet.datasets.bags.convert import Bag, convert_bag
    from armlet.datasets.bags.streams import Stamps

    _take_from_robot(args)
    with Bag(args.source) as bag:
        for note in bag.notes:
            show(note, error=True)
        plan = replace(aligner_plan(args, bag.topics), stamps=Stamps(args.stamps))
        setup = _setup(args)
        spans = _spans(args, bag)
        done = convert_bag(bag, args.output, plan, setup, spans, _say)
    _print_ledger(done)
    return 0


def _take_from_robot(args: argparse.Namespace) -> None:
    """What was not given, from the robot file. Raises FileError."""
    args.calibration = calibration_of(args)
    if args.joint_units is None:
        robot = robot_of(args)
        args.joint_units = (robot.joint_units if robot else None) or MODES[0]


def _say(summary: Any) -> None:
    show(f"episode {summary.episode}: {summary.frames} frames, {summary.duration_s:.1f} s")


def _print_ledger(done: Converted) -> None:
    from armlet.datasets.bags.convert import fixes

    if done.missed_frames:
        show(f"{done.missed_frames} frames could not be built")
    for stream, counts in done.ledger.items():
        show(f"{stream}: " + ", ".join(f"{what} {count}" for what, count in counts.items()))
    for doubt in done.doubts:
        show(doubt, error=True)
    for stream, reason in done.refused.items():
        show(f"{stream} refused messages, the first: {reason.cause}", error=True)
    for fix in fixes(done.refused):
        show(fix, error=True)


def _setup(args: argparse.Namespace) -> Setup:
    from armlet.datasets.bags.convert import Setup
    from armlet.robots import CalibrationError
    from armlet.robots import calibration as calibrations
    from armlet.robots.units import joint_units

    if args.calibration is None:
        raise ConvertError(
            "give --calibration FILE, the follower's LeRobot calibration JSON: a bag holds "
            "radians, and units of a dataset go through the calibration"
        )
    try:
        calibration = calibrations.load_arms(args.calibration)
    except CalibrationError as error:
        raise ConvertError(str(error)) from error
    return Setup(
        calibration,
        joint_units(args.joint_units),
        args.robot_type,
        args.codec,
        args.to or "v3.0",
        args.on_gap == "split",
    )


def _spans(args: argparse.Namespace, bag: Bag) -> list[Span]:
    from armlet.datasets.bags.convert import Span

    if not args.episode:
        return [Span(_task(args.task, "the whole bag"))]
    spans = []
    for text in args.episode:
        begin, colon, rest = text.partition(":")
        end, _, task = rest.partition(":")
        if not colon:
            raise ConvertError(f"--episode is FROM:TO or FROM:TO:TASK, found {text!r}")
        spans.append(
            Span(_task(task or args.task, text), _ns(begin, bag, text), _ns(end, bag, text))
        )
    return spans


def _task(given: str | None, what: str) -> str:
    if not given or not given.strip():
        raise ConvertError(f"give --task TEXT: say in words what {what} shows")
    return given


def _ns(text: str, bag: Bag, whole: str) -> int | None:
    """A time in ns of Unix time; exact, which a float of seconds is not."""
    if not text:
        return None
    try:
        seconds = Decimal(text)
    except InvalidOperation as error:
        raise ConvertError(f"--episode {whole}: {text!r} is not a time in seconds") from error
    found = int(seconds * 1_000_000_000)
    return found if seconds >= _UNIX_S else bag.start_ns + found


def aligner_plan(args: argparse.Namespace, topics: Mapping[str, str]) -> Plan:
    """The aligner's parameters: of a file, or those the record graph would give it."""
    from armlet.datasets.bags.streams import parameters, plan
    from armlet.robots import SO101_JOINTS

    given = (
        parameters(args.params, args.namespace or None)
        if args.params
        else _graph_parameters(args, topics)
    )
    return plan(given | _given(args.param), SO101_JOINTS, args.namespace)


def _given(arguments: list[str]) -> dict[str, Any]:
    import yaml

    found = {}
    for argument in arguments:
        name, mark, value = argument.partition(":=")
        if not mark:
            raise ConvertError(f"--param is NAME:=VALUE, found {argument!r}")
        try:
            found[name] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ConvertError(f"--param {name}: {value!r} is not YAML") from error
    return found


def _graph_parameters(args: argparse.Namespace, topics: Mapping[str, str]) -> dict[str, Any]:
    from armlet import bringup
    from armlet.datasets.bags.streams import parameters
    from armlet.robots.robot_file import NO_FILE

    cameras = args.cameras.split(",") if args.cameras else found_cameras(args, topics)
    nodes = bringup.graph("record").nodes(
        {
            "robot": NO_FILE,
            "root": str(args.output),
            "follower_calibration": str(args.calibration),
            "leader_calibration": str(args.calibration),
            "cameras": ",".join(f"{name}=bag" for name in cameras),
            "fps": str(args.fps),
            "raw": str(args.raw).lower(),
        }
    )
    spec = next(node for node in nodes if node.executable == "aligner")
    shipped = parameters(bringup.parameter_file(spec))
    return shipped | dict(spec.parameters) | _sides(args, topics)


def _sides(args: argparse.Namespace, topics: Mapping[str, str]) -> dict[str, Any]:
    """The aligner's parameters of several arms, where the bag has a topic of each of their sides.

    By the calibration's prefixes; the joints are in the order of a SO-101, where they are its own,
    since the order of a calibration file means nothing.
    """
    from armlet.bringup import vector_parameters
    from armlet.datasets.bags.streams import absolute
    from armlet.robots import SO101_JOINTS
    from armlet.robots.calibration import arm_files, load
    from armlet.robots.joints import in_namespace

    files = arm_files(str(args.calibration))
    there = [
        absolute(in_namespace(side, "joint_states"), args.namespace) in topics for side in files
    ]
    if "" in files or not all(there):
        return {}
    found = {prefix: tuple(load(file)) for prefix, file in files.items()}
    usual = {*SO101_JOINTS}
    return vector_parameters(
        {prefix: SO101_JOINTS if {*own} == usual else own for prefix, own in found.items()}
    )


def found_cameras(args: argparse.Namespace, topics: Mapping[str, str]) -> list[str]:
    """Names of the cameras in a bag by their topics."""
    from armlet.datasets.bags.streams import absolute

    prefix = absolute("", args.namespace).rstrip("/") + "/"
    suffix = "/image_raw" if args.raw else "/image_raw/compressed"
    names = [
        topic.removeprefix(prefix).removesuffix(suffix)
        for topic in sorted(topics)
        if topic.startswith(prefix) and topic.endswith(suffix)
    ]
    return [name for name in names if "/" not in name]
