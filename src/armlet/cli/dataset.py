"""`armlet dataset`: look at a recorded dataset, and check it."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from armlet.episodes import Dataset


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("dataset", help="look at a dataset, check it")
    verbs = parser.add_subparsers(dest="verb", required=True)
    info = verbs.add_parser("info", help="what is in a dataset")
    info.add_argument("root", type=Path, metavar="ROOT", help="the dataset's folder")
    info.add_argument("--json", action="store_true", help="print JSON")
    info.set_defaults(run=run_info)
    check = verbs.add_parser("check", help="exit 1 and say why if anything is wrong with it")
    check.add_argument("root", type=Path, metavar="ROOT", help="the dataset's folder")
    check.set_defaults(run=run_check)


def run_info(args: argparse.Namespace) -> int:
    """Print what a dataset holds; 1 if it cannot be opened."""
    from armlet.episodes import Dataset, DatasetError

    try:
        summary = summarize(Dataset(args.root))
    except DatasetError as error:
        print(error, file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(summary, indent=2, ensure_ascii=False))
    else:
        print_summary(summary)
    return 0


def run_check(args: argparse.Namespace) -> int:
    """Print what is wrong with a dataset; 1 if anything is."""
    from armlet.episodes import check

    problems = check(args.root)
    for problem in problems:
        print(problem)
    if not problems:
        print(f"{args.root}: nothing wrong")
    return 1 if problems else 0


def summarize(dataset: Dataset) -> dict[str, Any]:
    """What `armlet dataset info --json` prints."""
    from armlet.episodes import check
    from armlet.episodes.layout import ACTION, STATE

    info = dataset.info
    contract = dataset.contract
    names = {
        key: list(info.features[key].names or ()) if key in info.features else []
        for key in (STATE, ACTION)
    }
    return {
        "root": str(dataset.root),
        "version": info.version,
        "robot": info.robot_type,
        "fps": info.fps,
        "episodes": info.total_episodes,
        "frames": info.total_frames,
        "duration_s": info.total_frames / info.fps,
        "cameras": {
            name: {
                "height": feature.shape[0],
                "width": feature.shape[1],
                "codec": (feature.info or {}).get("video.codec", feature.dtype),
            }
            for name, feature in info.cameras.items()
        },
        "state": names[STATE],
        "action": names[ACTION],
        "joint_units": None if contract is None else contract.joint_units,
        "tasks": dataset.tasks,
        "size_bytes": _size_bytes(dataset.root),
        "contract": None if contract is None else contract.signature(),
        "problems": check(dataset.root),
    }


def _size_bytes(root: Path) -> int:
    """What is there now; a recorder may be making and removing files meanwhile."""
    total = 0
    for folder, _, names in os.walk(root):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += Path(folder, name).stat().st_size
    return total


def print_summary(summary: dict[str, Any]) -> None:
    """The same for people."""
    minutes, seconds = divmod(summary["duration_s"], 60)
    lines = {
        "LeRobot": summary["version"],
        "robot": f"{summary['robot']} at {summary['fps']} fps",
        "episodes": f"{summary['episodes']}, {summary['frames']} frames, "
        f"{minutes:.0f} min {seconds:.1f} s, {summary['size_bytes'] / 1e6:.1f} MB",
        "cameras": "\n".join(
            f"{name} {camera['width']}x{camera['height']} {camera['codec']}"
            for name, camera in summary["cameras"].items()
        ),
        "state": ", ".join(summary["state"]),
        "action": "as state"
        if summary["action"] == summary["state"]
        else ", ".join(summary["action"]),
        "units": summary["joint_units"] or "not stated",
        "tasks": "\n".join(summary["tasks"]),
        "contract": summary["contract"] or "none (not recorded by armlet)",
        "problems": "\n".join(summary["problems"]) or "none",
    }
    for name, text in lines.items():
        first, *rest = text.split("\n")
        print(f"{name:9} {first}")
        for line in rest:
            print(f"{'':9} {line}")
