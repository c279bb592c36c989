"""`armlet dataset merge`: several datasets as one."""

from __future__ import annotations

import argparse
from pathlib import Path

from armlet.cli.terminal.arguments import DATASET, output_path
from armlet.cli.terminal.output import refuse, show
from armlet.cli.terminal.progress import progress
from armlet.files import printable

from .dataset_edits import Verbs


def add_verb(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "merge",
        help="write several datasets as one new one",
        description="Write the episodes of several datasets, one after another, as a new dataset. "
        "They must have the same rate, robot, features, codecs and contract; what differs is "
        "named. Tasks of the same words become one. Videos are copied, not encoded again. The "
        "sources stay as they are.",
    )
    parser.add_argument(
        "roots", type=Path, nargs="+", metavar="ROOT", help=DATASET.replace("the", "a", 1)
    )
    parser.add_argument(
        "--output", type=output_path, required=True, metavar="DIR", help="the new dataset's folder"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say whether they go together; write nothing"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Merge; 0, or 2 and why not."""
    from armlet.datasets import DatasetError
    from armlet.datasets.hub import locate
    from armlet.datasets.transform.merge import merge

    try:
        roots = [locate(root) for root in args.roots]
        with progress("files written") as step:
            done = merge(roots, args.output, args.dry_run, step)
    except (DatasetError, OSError) as error:
        return refuse("dataset merge", error, lines=True)
    for note in done.notes:
        show(printable(note))
    show(f"{done.root}: {done.episodes} episodes, {done.frames} frames")
    if args.dry_run:
        show("nothing was written: --dry-run")
    return 0
