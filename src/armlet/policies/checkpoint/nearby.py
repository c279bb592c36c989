"""Where the checkpoint may be that a path does not lead to: LeRobot puts it some folders deeper."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

# LeRobot's training writes <output>/checkpoints/<step>/pretrained_model, `last` a link to a step.
_FOLDER, _CONFIG = "pretrained_model", "config.json"
_DEEPER = (_FOLDER, f"*/{_FOLDER}", f"checkpoints/*/{_FOLDER}", f"*/checkpoints/*/{_FOLDER}")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")


def advice(path: Path) -> str:
    """ "did you mean ...? " of a path that is no checkpoint; nothing if none is near."""
    near = next(_near(path), None)
    if near is None and not path.exists() and path.parent.is_dir():
        near = next(_near(path.parent), None)
    if near is not None:
        return f"did you mean {near}? "
    if not path.exists() and _REPOSITORY.fullmatch(str(path)):
        return f"a repository of the Hub is given as hub:{path}; "
    return ""


def _near(folder: Path) -> Iterator[Path]:
    """Checkpoints below a folder, the nearest and last first."""
    for pattern in _DEEPER:
        found = [each for each in folder.glob(pattern) if (each / _CONFIG).is_file()]
        # "last" comes after all numbers.
        yield from sorted(found, reverse=True)
