"""`armlet dataset undo`: the last edit, taken back."""

from __future__ import annotations

import argparse

from . import dataset_edits
from .dataset_edits import Verbs


def add_verb(verbs: Verbs) -> None:
    parser = dataset_edits.add_verb(
        verbs,
        "undo",
        run,
        "take the last delete, trim, relabel or label back",
        "Take back the last delete, trim, relabel or label: every file is again what it was. A "
        "second undo takes back the edit before it. Refused if something was recorded since.",
    )
    dataset_edits.add_dry_run(parser)


def run(args: argparse.Namespace) -> int:
    """Undo; 0, or 2 and why not."""
    from armlet.datasets.transform import edits

    return dataset_edits.run_edit("undo", args.root, lambda: edits.undo(args.root, args.dry_run))
