"""`armlet dataset label`: whether an episode succeeded."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import dataset_edits
from .dataset_edits import EPISODES, Verbs


def add_verb(verbs: Verbs) -> None:
    parser = dataset_edits.add_verb(
        verbs,
        "label",
        run,
        "mark episodes as success or failure",
        "Mark episodes as success or failure, in LeRobot's bool column next.success, in every row "
        "of the episode. The first time, every episode needs a label. After that nothing more can "
        "be recorded into the dataset, because new rows would have none.",
    )
    parser.add_argument("--success", metavar="EPISODES", help=EPISODES)
    parser.add_argument("--failure", metavar="EPISODES", help=EPISODES)
    parser.add_argument(
        "--others", choices=("success", "failure"), help="of all episodes that are not named"
    )
    parser.add_argument(
        "--recorded",
        action="store_true",
        help="of episodes that are not named, what was said when they were recorded",
    )
    dataset_edits.add_dry_run(parser)
    parser.set_defaults(parser=parser)


def run(args: argparse.Namespace) -> int:
    """Label; 0, or 2 and why not."""
    from armlet.datasets.transform import edits

    if not (args.success or args.failure or args.recorded):
        args.parser.error("say which episodes: --success, --failure, --recorded")
    others = None if args.others is None else args.others == "success"
    return dataset_edits.run_edit(
        "label",
        args.root,
        lambda: edits.label(
            args.root,
            _recorded(args.root, args.recorded) | _labels(args.root, args.success, args.failure),
            others,
            args.dry_run,
        ),
    )


def _recorded(root: Path, wanted: bool) -> dict[int, bool]:
    """What was said of episodes when they were recorded. Raises DatasetError if nothing was."""
    from armlet.datasets import Dataset, DatasetError

    found = Dataset(root).successes() if wanted else {}
    if wanted and not found:
        raise DatasetError(
            "no episode was marked as success or failure when it was recorded; name the episodes"
        )
    return found


def _labels(root: Path, success: str | None, failure: str | None) -> dict[int, bool]:
    from armlet.datasets import DatasetError
    from armlet.datasets.transform.cuts import said_episodes

    good, bad = (
        dataset_edits.episodes_of(root, text) if text else [] for text in (success, failure)
    )
    both = sorted(set(good) & set(bad))
    if both:
        raise DatasetError(f"episodes {said_episodes(both)} are named as success and as failure")
    return dict.fromkeys(good, True) | dict.fromkeys(bad, False)
