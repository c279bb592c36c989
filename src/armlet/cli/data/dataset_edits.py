"""What the verbs that edit a dataset share: their arguments, and what they print."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from armlet.cli.terminal.arguments import own_dataset
from armlet.cli.terminal.output import refuse, show
from armlet.files import printable

if TYPE_CHECKING:
    from armlet.datasets.transform.edits import Edited

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
EPISODES = "numbers and ranges, as in 3,7-9"
_IN_PLACE = (
    " An edit is done completely or not at all: if it was killed, `armlet dataset repair` "
    "finishes it or takes it back. What is replaced or removed goes to the dataset's .trash; "
    "`armlet dataset undo` brings it back. A dataset that is being recorded into is refused."
)


def add_verb(
    verbs: Verbs, name: str, run: Any, help_text: str, description: str
) -> argparse.ArgumentParser:
    """A verb that changes the dataset ROOT in its place."""
    parser = verbs.add_parser(name, help=help_text, description=description + _IN_PLACE)
    parser.add_argument("root", type=own_dataset, metavar="ROOT", help="the dataset's folder")
    parser.set_defaults(run=run)
    return parser


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dry-run", action="store_true", help="list every file that would be touched; do nothing"
    )


def episodes_of(root: Path, text: str) -> list[int]:
    """The episodes that an argument names. Raises DatasetError."""
    from armlet.datasets.format import layout
    from armlet.datasets.transform.cuts import parse_episodes

    return parse_episodes(text, layout.load_info(root).total_episodes)


def run_edit(verb: str, root: Path, make: Callable[[], Edited]) -> int:
    """Edit and print what was done; 0, or 2 and why not. verb: of `armlet dataset`."""
    from armlet.datasets import DatasetError

    try:
        done = make()
    except (DatasetError, OSError) as error:
        return refuse(f"dataset {verb}", error, lines=True)
    show(f"{root}: {done.said}")
    for note in done.notes:
        show(f"  {printable(note)}")
    if done.trash is None:
        for line in done.lines():
            show(line)
        show("nothing was changed: --dry-run")
        return 0
    show(
        f"{done.episodes} episodes, {done.frames} frames; what was replaced is in "
        f"{root / done.trash}, `armlet dataset undo {root}` brings it back"
    )
    return 0
