"""A file of a person's, replaced in one step, and the one before kept beside it."""

from __future__ import annotations

import os
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Write a file: it is replaced in one step, or stays as it was. Raises OSError."""
    temporary = path.with_name(path.name + ".new")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        if temporary.is_file():
            temporary.unlink()
        raise


def keep_previous(path: Path) -> Path | None:
    """Copy a file that is about to be replaced to FILE.bak, and return that path if there was one.

    Raises OSError.
    """
    if not path.exists():
        return None
    kept = path.with_name(path.name + ".bak")
    replace_file(kept, path.read_bytes())
    return kept
