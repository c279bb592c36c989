"""`armlet dataset relabel`: what the policy is asked to do, in other words."""

from __future__ import annotations

import argparse

from . import dataset_edits
from .dataset_edits import EPISODES, Verbs


def add_verb(verbs: Verbs) -> None:
    parser = dataset_edits.add_verb(
        verbs,
        "relabel",
        run,
        "change the task of episodes, or replace one task by another",
        "Give episodes the task TEXT. With --replace only rows with that task change; with "
        "--episodes only those episodes. A task that no row has any more leaves the list.",
    )
    parser.add_argument("--task", required=True, metavar="TEXT", help="the new task, in words")
    parser.add_argument("--replace", metavar="OLD", help="the task that it replaces")
    parser.add_argument(
        "--episodes", metavar="EPISODES", help=f"which: {EPISODES} (with --replace default: all)"
    )
    dataset_edits.add_dry_run(parser)
    parser.set_defaults(parser=parser)


def run(args: argparse.Namespace) -> int:
    """Relabel; 0, or 2 and why not."""
    from armlet.datasets.transform import edits

    if args.episodes is None and args.replace is None:
        args.parser.error("say which episodes (--episodes) or which task (--replace)")

    def make() -> edits.Edited:
        chosen = args.episodes and dataset_edits.episodes_of(args.root, args.episodes)
        return edits.relabel(args.root, args.task, chosen, args.replace, args.dry_run)

    return dataset_edits.run_edit("relabel", args.root, make)
