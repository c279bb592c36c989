"""`armlet dataset trim`: the first and last moments of episodes."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from . import dataset_edits
from .dataset_edits import EPISODES, Verbs

_LENGTH = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)s|(\d{1,7})")


def add_verb(verbs: Verbs) -> None:
    parser = dataset_edits.add_verb(
        verbs,
        "trim",
        run,
        "cut the first or last seconds or frames off episodes",
        "Cut the first or last frames off episodes. Pictures are cut without encoding them again "
        "where the cut begins with a key picture (armlet and LeRobot: every second one); else that "
        "episode's video alone is encoded again, and the command says so.",
    )
    parser.add_argument("episodes", metavar="EPISODES", help=EPISODES)
    for end in ("first", "last"):
        parser.add_argument(
            f"--{end}",
            type=length,
            default="0",
            metavar="LENGTH",
            help=f"how much of the {end} to cut: frames as in 15, or seconds as in 0.5s",
        )
    dataset_edits.add_dry_run(parser)


def length(text: str) -> tuple[float, bool]:
    """A length and whether it is in seconds, not frames. Raises ArgumentTypeError."""
    match = _LENGTH.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"expected frames as in 15, or seconds as in 0.5s, found {text!r}"
        )
    return (float(match[2]), False) if match[1] is None else (float(match[1]), True)


def run(args: argparse.Namespace) -> int:
    """Trim; 0, or 2 and why not."""
    from armlet.datasets.transform import edits

    return dataset_edits.run_edit(
        "trim",
        args.root,
        lambda: edits.trim(
            args.root,
            dataset_edits.episodes_of(args.root, args.episodes),
            _frames(args.root, args.first),
            _frames(args.root, args.last),
            args.dry_run,
        ),
    )


def _frames(root: Path, asked: tuple[float, bool]) -> int:
    from armlet.datasets.format import layout

    value, in_seconds = asked
    return round(value * layout.load_info(root).fps) if in_seconds else round(value)
