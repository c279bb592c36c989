"""`armlet policy push`: a checkpoint to a repository of the Hugging Face Hub."""

from __future__ import annotations

import argparse
from pathlib import Path

from armlet.cli.data.dataset_push import add_target, upload
from armlet.cli.terminal.output import refuse
from armlet.files import FileError, check_file, inside
from armlet.hub import CARD

_COMMAND = "policy push"
# What `hub:owner/name` fetches of a checkpoint, and its description.
_ENDINGS = (".json", ".safetensors")


def add_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser(
        "push",
        help="upload a checkpoint to the Hugging Face Hub",
        description="Reads the checkpoint as the policy node does, and uploads its JSON and "
        "safetensors files in one commit: configuration, weights, statistics, contract. Other and "
        "hidden files stay here. A push that was interrupted is done again. The server is that of "
        "HF_ENDPOINT, the token that of `hf auth login` or HF_TOKEN. Exit status: 0, 1 it failed "
        "on the way, 2 nothing was uploaded.",
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
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in place.parts)
        if path.is_dir() or hidden or not (path.suffix in _ENDINGS or place == Path(CARD)):
            continue
        where = inside(folder, place)
        check_file(where)
        found[place.as_posix()] = where
    return found
