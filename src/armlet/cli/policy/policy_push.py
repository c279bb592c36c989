"""`armlet policy push`: a checkpoint to a repository of the Hugging Face Hub."""

from __future__ import annotations

import argparse
from pathlib import Path

from armlet.cli.data.dataset_push import UPLOADED, add_target, upload
from armlet.cli.terminal.output import refuse
from armlet.files import FileError, check_file, inside, visible_files
from armlet.hub import CARD

_COMMAND = "policy push"
# What `hub:owner/name` fetches of a checkpoint, and its description.
_ENDINGS = (".json", ".safetensors")


def add_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser(
        "push",
        help="upload a checkpoint to the Hugging Face Hub",
        description="Reads the checkpoint as the policy node does, and uploads its JSON and "
        "safetensors files and README.md, its model card, in one commit: configuration, weights, "
        f"statistics, contract. Other files, and hidden ones, are not uploaded. {UPLOADED}",
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="its folder here")
    add_target(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Push; see the description for the status."""
    from armlet import hub
    from armlet.policies import CheckpointError
    from armlet.policies.checkpoint.checkpoint import load_network, read_checkpoint

    try:
        repository = hub.target(args.repository, "model")
        if hub.parse(str(args.checkpoint)):
            raise hub.HubError(
                f"{args.checkpoint}: expected a checkpoint's folder on this computer"
            )
        load_network(read_checkpoint(args.checkpoint))
        content = hub.Content(_files(args.checkpoint), endings=_ENDINGS)
        remote = hub.look(repository)
        hub.require_usable(remote, content, public=args.public, update=args.update)
    except (CheckpointError, FileError, hub.HubError, OSError) as error:
        return refuse(_COMMAND, error)
    return upload(_COMMAND, remote, content, args.public)


def _files(folder: Path) -> dict[str, Path | bytes]:
    """What of a checkpoint is pushed, by its path in it. Raises FileError."""
    found: dict[str, Path | bytes] = {}
    for place in visible_files(folder):
        if place.suffix in _ENDINGS or place == Path(CARD):
            where = inside(folder, place)
            check_file(where)
            found[place.as_posix()] = where
    return found
