"""What of a dataset is pushed to the Hub: its own files, and a card that LeRobot's tools look for.

Not the trash, not what is hidden or temporary, nothing that leads out of the dataset.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from armlet.files import check_file, visible_files

from .format import atomic_files, layout
from .format.errors import DatasetError

FOLDERS = ("data/", "meta/", "videos/", "images/")
"""Where a dataset's files lie; others in the repository are not touched."""
_BESIDE = ("README.md", "LICENSE", "LICENSE.md", "LICENSE.txt")

CARD = b"""---
tags:
- LeRobot
task_categories:
- robotics
configs:
- config_name: default
  data_files: data/*/*.parquet
---

A [LeRobot](https://github.com/huggingface/lerobot) dataset; `meta/info.json` describes it.
"""
"""README.md of a dataset that has none, with what the Hub and LeRobot's viewer search for. It has
no figures, which a later version would make wrong."""

Stamps = dict[str, tuple[int, int]]
"""Size and time of change of every file."""


def files_of(root: Path) -> dict[str, Path]:
    """The files of a dataset by their paths in it, in order. Raises DatasetError, FileError."""
    found = {}
    for path in _walk(root):
        where = layout.locate(root, path)
        check_file(where)
        found[path.as_posix()] = where
    if layout.INFO.as_posix() not in found:
        raise DatasetError(f"{root} is not a LeRobot dataset: no {layout.INFO}", layout.CHOOSE)
    return found


def _walk(root: Path) -> Iterator[Path]:
    for name in _BESIDE:
        if (root / name).is_file():
            yield Path(name)
    for folder in FOLDERS:
        yield from (Path(folder, path) for path in visible_files(root / folder))


def stamps(files: dict[str, Path]) -> Stamps:
    """What changes where a file is written. Raises OSError."""
    found = {}
    for name, path in files.items():
        known = path.stat()
        found[name] = (known.st_size, known.st_mtime_ns)
    return found


@contextmanager
def held(root: Path, expected: Stamps) -> Iterator[None]:
    """Keep recorders and edits out meanwhile.

    Raises DatasetError if one is at work, or if files are not as they were.
    """
    handle = atomic_files.lock(root)
    try:
        if stamps(files_of(root)) != expected:
            raise DatasetError(f"{root} was changed while it was checked; push again")
        yield
    finally:
        atomic_files.unlock(handle)


def require_idle(root: Path) -> None:
    """Raises DatasetError for a dataset that is being recorded or edited."""
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder", layout.CHOOSE)
    atomic_files.unlock(atomic_files.lock(root))
