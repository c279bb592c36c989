"""`armlet dataset split`: one dataset as several, such as for training and for validation."""

from __future__ import annotations

import argparse
from pathlib import Path

from armlet.cli.terminal.arguments import DATASET, output_path
from armlet.cli.terminal.output import refuse, show
from armlet.cli.terminal.progress import progress

from .dataset_edits import EPISODES, Verbs


def add_verb(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "split",
        help="write a dataset as several new ones, by episodes or by shares",
        description="Write episodes of a dataset as new datasets DIR/NAME, all of them or none: "
        "train=0-39 val=40-49, or train=80%% val=20%% drawn at random. Videos are not encoded "
        "again. The source stays as it is.",
    )
    parser.add_argument("root", type=Path, metavar="ROOT", help=DATASET)
    parser.add_argument(
        "parts",
        nargs="+",
        type=part,
        metavar="NAME=PART",
        help=f"PART: {EPISODES}; or a share as in 80%%, which make 100 %% together",
    )
    parser.add_argument(
        "--output",
        type=output_path,
        required=True,
        metavar="DIR",
        help="folder of the new datasets",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the random shares (default: %(default)s)"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be in each part; write nothing"
    )
    parser.set_defaults(run=run)


def part(text: str) -> tuple[str, str]:
    """A part's name and what is in it. Raises ArgumentTypeError."""
    name, sign, what = text.partition("=")
    if not (name and sign and what):
        raise argparse.ArgumentTypeError(
            f"expected NAME=PART as in train=0-39 or train=80%, found {text!r}"
        )
    return name, what


def run(args: argparse.Namespace) -> int:
    """Split; 0, or 2 and why not."""
    from armlet.datasets import DatasetError
    from armlet.datasets.hub import locate
    from armlet.datasets.transform.split import split

    try:
        names = [name for name, _ in args.parts]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise DatasetError(f"part {twice} is named twice")
        root = locate(args.root)
        with progress("files written") as step:
            done = split(root, args.output, dict(args.parts), args.seed, args.dry_run, step)
    except (DatasetError, OSError) as error:
        return refuse("dataset split", error, lines=True)
    for made in done.values():
        show(f"{made.root}: {made.episodes} episodes, {made.frames} frames")
    if args.dry_run:
        show("nothing was written: --dry-run")
    return 0
