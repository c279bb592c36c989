"""`armlet dataset push`: a dataset to a repository of the Hugging Face Hub."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from armlet.cli.terminal.arguments import own_dataset
from armlet.cli.terminal.output import FAILED, UNUSABLE, refuse, show
from armlet.cli.terminal.progress import progress
from armlet.files import FileError

if TYPE_CHECKING:
    from armlet.hub import Content, Remote

_COMMAND = "dataset push"
UPLOADED = (
    "If a push was interrupted, repeat the command. The server is that of HF_ENDPOINT, the token "
    "that of `hf auth login` or HF_TOKEN. Exit status: 0 uploaded, 1 failed on the way, 2 nothing "
    "was uploaded."
)
"""What every push says of itself."""


def add_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser(
        "push",
        help="upload a dataset to the Hugging Face Hub",
        description="Checks the dataset as `armlet dataset check` does, uploads its files in one "
        "commit and tags that with the dataset's version, which LeRobot looks for. The trash, "
        f"hidden and temporary files are not uploaded. {UPLOADED}",
    )
    parser.add_argument("root", type=own_dataset, metavar="ROOT", help="the dataset's folder")
    add_target(parser)
    parser.add_argument(
        "--allow-errors", action="store_true", help="push although `check` finds errors"
    )
    parser.add_argument(
        "--no-video", action="store_true", help="check without decoding the pictures"
    )
    parser.set_defaults(run=run)


def add_target(parser: argparse.ArgumentParser) -> None:
    """Where a push goes, and what it may do there."""
    parser.add_argument("repository", metavar="hub:OWNER/NAME", help="the repository; made if new")
    parser.add_argument(
        "--public",
        action="store_true",
        help="make a new repository public, or push into a public one (default: private)",
    )
    parser.add_argument(
        "--update",
        action="store_true",
        help="push into a repository that holds something else: a new version of it",
    )


def run(args: argparse.Namespace) -> int:
    """Push; see the description for the status."""
    from armlet import hub
    from armlet.datasets import DatasetError, publish

    try:
        repository = hub.target(args.repository, "dataset")
        publish.require_idle(args.root)
        files = publish.files_of(args.root)
        known = publish.stamps(files)
        remote = hub.look(repository)
        content = _content(args.root, files, remote)
        hub.require_usable(remote, content, public=args.public, update=args.update)
        if not _fit(args):
            return UNUSABLE
        with publish.held(args.root, known):
            return upload(_COMMAND, remote, content, args.public)
    except (DatasetError, FileError, hub.HubError, OSError) as error:
        return refuse(_COMMAND, error)


def _content(root: Path, files: dict[str, Path], remote: Remote) -> Content:
    """With a card where neither side has one. Raises DatasetError."""
    from armlet.datasets import publish
    from armlet.datasets.format import layout
    from armlet.hub import CARD, Content

    info = layout.load_info(root)
    pushed: dict[str, Path | bytes] = {**files}
    if CARD not in files and CARD not in (remote.files or {}):
        pushed[CARD] = publish.CARD
    return Content(pushed, publish.FOLDERS, tag=info.version)


def _fit(args: argparse.Namespace) -> bool:
    """Whether `check` has nothing against the dataset, or it is pushed all the same."""
    from armlet.datasets.check.quality import review
    from armlet.findings import Severity

    with progress("episodes looked at") as step:
        found = review(args.root, not args.no_video, progress=step)
    for finding in found.findings:
        if finding.severity is Severity.ERROR:
            show(finding, error=True)
    if found.errors and not args.allow_errors:
        refuse(
            _COMMAND,
            f"{args.root}: {found.errors} error(s), nothing was uploaded; correct them, or push "
            "all the same with --allow-errors",
        )
        return False
    return True


def upload(command: str, remote: Remote, content: Content, public: bool) -> int:
    """Push and say where it is; 0, or 1 and why it ended on the way."""
    from armlet import hub

    try:
        bars = sys.stderr is not None and sys.stderr.isatty()
        page = hub.push(remote, content, public=public, bars=bars)
    except (hub.HubError, OSError) as error:
        return refuse(command, error, FAILED)
    tagged = "" if content.tag is None else f", tagged {content.tag}"
    show(f"{remote.repository}: {len(content.files)} files{tagged}; {page}")
    return 0
