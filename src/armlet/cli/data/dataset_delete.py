"""`armlet dataset delete`: episodes that are not to be trained on."""

from __future__ import annotations

import argparse

from . import dataset_edits
from .dataset_edits import EPISODES, Verbs


def add_verb(verbs: Verbs) -> None:
    parser = dataset_edits.add_verb(
        verbs,
        "delete",
        run,
        "delete episodes; those behind them get lower numbers",
        "Delete episodes. Those behind them get lower numbers; videos are not encoded again.",
    )
    parser.add_argument("episodes", metavar="EPISODES", help=EPISODES)
    dataset_edits.add_dry_run(parser)


def run(args: argparse.Namespace) -> int:
    """Delete; 0, or 2 and why not."""
    from armlet.datasets.transform import edits

    return dataset_edits.run_edit(
        "delete",
        args.root,
        lambda: edits.delete(
            args.root, dataset_edits.episodes_of(args.root, args.episodes), args.dry_run
        ),
    )
