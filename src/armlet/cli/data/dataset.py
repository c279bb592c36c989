"""`armlet dataset`: look at a recorded dataset, check it, fix it, edit it, write it otherwise."""

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armlet.cli.terminal.arguments import (
    DATASET,
    UnusablePath,
    output_file,
    output_path,
    own_dataset,
)
from armlet.cli.terminal.output import FAILED, refuse, show, show_json
from armlet.cli.terminal.progress import progress
from armlet.files import printable

from . import (
    dataset_bind,
    dataset_convert,
    dataset_delete,
    dataset_label,
    dataset_merge,
    dataset_provenance,
    dataset_push,
    dataset_relabel,
    dataset_split,
    dataset_trim,
    dataset_undo,
)

if TYPE_CHECKING:
    from armlet.datasets import Dataset
    from armlet.datasets.check.quality import Review

# As many episodes as a person scrolls through.
SHOWN = 20
_TASKS, _LONGEST = 100, 50_000


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "dataset", help="show, check, repair, convert and edit a dataset"
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    info = _verb(verbs, "info", run_info, "what is in a dataset")
    info.add_argument("--json", action="store_true", help="print JSON")
    _add_check(verbs)
    stats = _verb(verbs, "stats", run_stats, "compute the statistics again and compare")
    stats.add_argument("--write", action="store_true", help="store the corrected statistics")
    stats.add_argument(
        "--no-video", action="store_true", help="skip images, which have to be decoded"
    )
    _add_view(verbs)
    _add_compact(verbs)
    text = "repair what a crash left behind; shows what it would do"
    repair = verbs.add_parser("repair", help=text, description=f"{text.capitalize()}.")
    repair.add_argument("root", type=own_dataset, metavar="ROOT", help="the dataset's folder")
    repair.set_defaults(run=run_repair)
    repair.add_argument(
        "--yes", action="store_true", help="repair; without it only the plan is printed"
    )
    repair.add_argument(
        "--remove",
        action="store_true",
        help="remove an unfinished episode instead of recovering it",
    )
    dataset_convert.add_verb(verbs)
    for verb in (
        dataset_bind,
        dataset_delete,
        dataset_trim,
        dataset_relabel,
        dataset_label,
        dataset_undo,
        dataset_merge,
        dataset_split,
        dataset_push,
    ):
        verb.add_verb(verbs)


def _verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, run: Any, text: str
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.add_argument("root", type=Path, metavar="ROOT", help=DATASET)
    parser.set_defaults(run=run)
    return parser


def _add_check(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    check = _verb(verbs, "check", run_check, "exit 1 and say why if it is not fit to train on")
    check.add_argument("--strict", action="store_true", help="treat warnings as errors")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.add_argument(
        "--no-video", action="store_true", help="skip images, which have to be decoded"
    )
    check.add_argument(
        "--frozen-s",
        type=float,
        default=1.0,
        metavar="S",
        help="report a camera that repeats one image for longer than this while the arm "
        "moves (default: 1 s)",
    )
    check.add_argument(
        "--page",
        type=output_file,
        metavar="FILE",
        help="write a score card as one HTML page: what the dataset is, every finding and what "
        "helps, ranges, times, who drove",
    )


def _add_view(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    view = _verb(verbs, "view", run_view, "draw contact sheets and plots of episodes")
    view.add_argument(
        "--episode",
        type=int,
        action="append",
        metavar="N",
        help=f"which; may be repeated (default: all, or {SHOWN} evenly spaced)",
    )
    view.add_argument(
        "--output",
        type=output_path,
        metavar="DIR",
        help="folder to write the page into (default: ROOT-view)",
    )
    view.add_argument(
        "--rerun", action="store_true", help="open the episodes in Rerun, if it is installed"
    )


def _add_compact(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    compact = _verb(
        verbs, "compact", run_compact, "merge files to LeRobot's sizes; nothing is encoded again"
    )
    compact.add_argument(
        "output", type=output_path, metavar="OUTPUT", help="the new dataset's folder"
    )
    for kind in ("data", "video"):
        compact.add_argument(
            f"--{kind}-mb",
            type=float,
            metavar="MB",
            help=f"size of {kind} files (default: the dataset's {kind}_files_size_in_mb)",
        )


def run_info(args: argparse.Namespace) -> int:
    """Print what a dataset holds; 2 if it cannot be opened."""
    from armlet.datasets import Dataset, DatasetError
    from armlet.datasets.hub import Part, is_repository, locate

    try:
        remote = is_repository(args.root)
        summary = summarize(Dataset(locate(args.root, Part.META)), args.root if remote else None)
    except DatasetError as error:
        return refuse("dataset info", error, lines=True)
    if args.json:
        show_json(summary)
    else:
        print_summary(summary)
    return 0


def run_check(args: argparse.Namespace) -> int:
    """Print what is wrong; 1 if there are errors, or with --strict warnings, 2 of no dataset."""
    from armlet.datasets import DatasetError, score_card
    from armlet.datasets.check.quality import review
    from armlet.datasets.format.layout import expect_dataset
    from armlet.datasets.hub import locate
    from armlet.findings import exit_status

    try:
        root = locate(args.root)
        expect_dataset(root)
        if args.page is not None:
            score_card.check_path(args.page)
    except DatasetError as error:
        return refuse("dataset check", error, lines=True)
    except OSError as error:
        return refuse("dataset check", error)
    with progress("episodes looked at") as step:
        found = review(root, not args.no_video, args.frozen_s, step)
    if args.json:
        show_json(found.to_json())
    else:
        print_review(args.root, found)
    try:
        if args.page is not None:
            score_card.write(root, found, args.page)
            if not args.json:
                show(f"{args.page}: written")
    except OSError as error:
        return refuse("dataset check", error, FAILED)
    return exit_status(found.findings, args.strict)


def print_review(root: Path, found: Review) -> None:
    """Findings one to a line, then what was measured."""
    for finding in found.findings:
        show(finding)
    lags = [
        f"{lag.joint.removesuffix('.pos')} {1000 * lag.lag_s:.0f}"
        for lag in found.lags
        if lag.lag_s is not None
    ]
    if lags:
        show(f"state follows action by, ms: {', '.join(lags)}")
    if found.depth:
        show(f"depth streams, kept and not judged: {', '.join(map(printable, found.depth))}")
    if not found.findings:
        show(f"{root}: nothing wrong")
    else:
        show(f"{root}: {found.errors} errors, {found.warnings} warnings")


def run_stats(args: argparse.Namespace) -> int:
    """Print where statistics are not those of the data; 1 if so and they were not written."""
    from armlet.datasets import DatasetError
    from armlet.datasets.check.recompute_stats import recount, write
    from armlet.datasets.hub import Part, locate

    try:
        if args.write:
            own_dataset(str(args.root))
        root = locate(args.root, Part.ROWS if args.no_video else Part.ALL)
        with progress("episodes counted") as step:
            found = recount(root, not args.no_video, step)
        for difference in (*found.differences, *found.combined, *found.unread):
            show(difference)
        if found.combined:
            show(
                f"{len(found.combined)} feature(s): quantiles are combined from those of the "
                "episodes, as LeRobot does it; they differ from the data's own, which matters to a "
                "policy that normalizes by QUANTILES"
            )
        if found.unread:
            show(
                f"{len(found.unread)} column(s) that no policy reads: tools that edit a dataset "
                f"leave old statistics of them; `armlet dataset stats {args.root} --write`"
            )
        noted = found.combined or found.unread
        if not found.differences and not (noted and args.write):
            advice = "; --write stores the data's own quantiles" if found.combined else ""
            show(f"{args.root}: statistics are those of the data{advice}")
            return 0
        if not args.write:
            show(f"{len(found.differences)} differ; --write stores the right ones")
            return FAILED
        write(root, found)
        show(f"{args.root}: statistics are written")
        return 0
    except UnusablePath as error:
        return refuse("dataset stats", error)
    except DatasetError as error:
        return refuse("dataset stats", error, lines=True)


def run_view(args: argparse.Namespace) -> int:
    """Draw a page; 0, or 2 if there is nothing to draw it of or with."""
    from armlet.datasets import Dataset, DatasetError
    from armlet.datasets.view import draw, open_rerun

    try:
        dataset = Dataset(args.root)
        chosen = _chosen(args.episode, len(dataset.episodes))
        if args.rerun:
            open_rerun(dataset, chosen)
            return 0
        output = args.output or _page_beside(args.root)
        with progress("episodes drawn") as step:
            page = draw(dataset, chosen, output, step)
    except DatasetError as error:
        return refuse("dataset view", error, lines=True)
    show(page.index)
    return 0


def _page_beside(root: Path) -> Path:
    """Where the page of a dataset goes; of one of the Hub, into the working directory."""
    from armlet.hub import parse

    named = parse(str(root))
    place = Path(named[0]).name if named else root
    return Path(place).absolute().with_name(f"{Path(place).absolute().name}-view")


def _chosen(asked: list[int] | None, count: int) -> list[int]:
    from armlet.datasets import DatasetError

    if not count:
        raise DatasetError("the dataset has no episodes")
    if asked is None:
        shown = min(count, SHOWN)
        return [round(i * (count - 1) / max(1, shown - 1)) for i in range(shown)]
    wrong = [k for k in asked if not 0 <= k < count]
    if wrong:
        raise DatasetError(f"there are episodes 0..{count - 1}, not {wrong}")
    return asked


def run_compact(args: argparse.Namespace) -> int:
    """Write the merged dataset; 0, or 2 and why not."""
    from armlet.datasets import DatasetError
    from armlet.datasets.hub import locate
    from armlet.datasets.transform.compact import compact

    try:
        done = compact(locate(args.root), args.output, args.data_mb, args.video_mb)
    except (DatasetError, OSError) as error:
        return refuse("dataset compact", error, lines=True)
    show(
        f"{args.output}: {done.episodes} episodes in {done.files_after} files, "
        f"before {done.files_before}"
    )
    return 0


def run_repair(args: argparse.Namespace) -> int:
    """Fix, or without --yes say what would be done; 2 if it cannot be repaired."""
    from armlet.datasets import DatasetError
    from armlet.datasets.format.layout import expect_dataset
    from armlet.datasets.transform.repair import repair

    try:
        said = repair(args.root, args.yes, args.remove)
        if not said:
            expect_dataset(args.root)
    except (DatasetError, OSError) as error:
        return refuse("dataset repair", error, lines=True)
    for line in said:
        show(line)
    if not said:
        show(f"{args.root}: nothing to repair")
    elif not args.yes:
        show("nothing was changed; --yes does it")
    return 0


def summarize(dataset: Dataset, repository: Path | None = None) -> dict[str, Any]:
    """What `armlet dataset info --json` prints.

    repository: the dataset's on the Hub, of which the metadata alone is here; its size and what is
    wrong with its files is unknown then.
    """
    from armlet.datasets import check
    from armlet.datasets.format.layout import ACTION, STATE

    info = dataset.info
    contract = dataset.contract
    names = {
        key: list(info.features[key].names or ()) if key in info.features else []
        for key in (STATE, ACTION)
    }
    return {
        "root": str(repository or dataset.root),
        "version": info.version,
        "robot": info.robot_type,
        "fps": info.fps,
        "episodes": info.total_episodes,
        "frames": info.total_frames,
        "duration_s": info.total_frames / info.fps,
        "cameras": {
            name: {
                "height": feature.picture_size[0],
                "width": feature.picture_size[1],
                "codec": (feature.info or {}).get("video.codec", feature.dtype),
            }
            for name, feature in info.cameras.items()
        },
        "depth": {
            name: {
                "height": feature.picture_size[0],
                "width": feature.picture_size[1],
                "codec": (feature.info or {}).get("video.codec", feature.dtype),
                "unit": (feature.info or {}).get("depth_unit"),
            }
            for name, feature in info.depth_streams.items()
        },
        "state": names[STATE],
        "action": names[ACTION],
        "joint_units": None if contract is None else contract.joint_units,
        "tasks": dataset.tasks,
        "provenance": dataset_provenance.summarize(dataset),
        "labels": dataset_provenance.labels(dataset),
        "size_bytes": None if repository else _size_bytes(dataset.root),
        "contract": None if contract is None else contract.signature(),
        "problems": None if repository else check(dataset.root),
    }


def _size_bytes(root: Path) -> int:
    """What is there now; a recorder may be making and removing files meanwhile."""
    total = 0
    for folder, _, names in os.walk(root):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += Path(folder, name).lstat().st_size
    return total


def _depth_text(streams: dict[str, Any]) -> str:
    lines = []
    for name, stream in streams.items():
        unit = stream["unit"] or "unit not stated"
        size = f"{stream['width']}x{stream['height']}"
        coded = printable(f"{stream['codec']}, {unit}", 80)
        lines.append(f"{printable(name, 80)} {size} {coded}")
    return "\n".join(lines)


def _problems_text(summary: dict[str, Any]) -> str:
    if summary["problems"] is None:
        return f"not looked for in metadata alone: `armlet dataset check {summary['root']}`"
    return "\n".join(printable(p, 1000) for p in summary["problems"]) or "none"


def print_summary(summary: dict[str, Any]) -> None:
    """The same for people."""
    minutes, seconds = divmod(summary["duration_s"], 60)
    size = summary["size_bytes"]
    lines = {
        "LeRobot": summary["version"],
        "robot": f"{summary['robot'] or 'not stated,'} at {summary['fps']} fps",
        "episodes": f"{summary['episodes']}, {summary['frames']} frames, "
        f"{minutes:.0f} min {seconds:.1f} s" + ("" if size is None else f", {size / 1e6:.1f} MB"),
        "cameras": "\n".join(
            f"{printable(name, 80)} {camera['width']}x{camera['height']} {camera['codec']}"
            for name, camera in summary["cameras"].items()
        ),
        **({"depth": _depth_text(summary["depth"])} if summary["depth"] else {}),
        "state": ", ".join(summary["state"]),
        "action": "as state"
        if summary["action"] == summary["state"]
        else ", ".join(summary["action"]),
        "units": summary["joint_units"] or "not stated",
        "tasks": "\n".join(map(printable, summary["tasks"][:_TASKS]))
        + (f"\nand {more:,} more" if (more := len(summary["tasks"]) - _TASKS) > 0 else ""),
        **dataset_provenance.lines(summary["provenance"], summary["labels"]),
        "contract": summary["contract"]
        or "none (not recorded by armlet, or lost to another tool: `armlet dataset bind`)",
        "problems": _problems_text(summary),
    }
    for name, text in lines.items():
        first, *rest = printable(text, _LONGEST, lines=True).split("\n")
        show(f"{name:9} {first}")
        for line in rest:
            show(f"{'':9} {line}")
