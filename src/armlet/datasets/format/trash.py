"""What is replaced in a dataset or taken out of it: kept in `.trash/` until a person removes it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from armlet.files import printable

from . import atomic_files, layout
from .errors import DatasetError

TRASH = Path(".trash")


@dataclass(frozen=True)
class Step:
    """One thing that a repair does. writes and removes: the files it touches, below the dataset.

    removes: files that go to the trash, or a folder with all its files. drops: files that go, as
    others hold all of them. done: `said` when it is done, where that has other words.
    """

    said: str
    do: Callable[[], None]
    writes: tuple[Path, ...] = ()
    removes: tuple[Path, ...] = ()
    done: str = ""
    drops: tuple[Path, ...] = ()

    def lines(self) -> list[str]:
        """What would be done, and under it every file that it would touch."""
        return [
            printable(self.said, 1000),
            *(f"  writes {printable(path)}" for path in self.writes),
            *(f"  moves to {TRASH}: {printable(path)}" for path in self.removes),
            *(f"  removes a copy: {printable(path)}" for path in self.drops),
        ]

    def done_line(self) -> str:
        """What was done."""
        return printable(self.done or self.said, 1000)


class Trash:
    """One operation's folder `.trash/NNNN`, made when the first thing goes into it.

    name: of a folder that was made before, for an operation that goes on.
    """

    def __init__(self, root: Path, name: str | None = None):
        self._root = root
        self._folder = None if name is None else layout.place(root, TRASH / name)

    def name(self) -> str:
        """The folder's name; it is made if it is not there yet."""
        if self._folder is None:
            self._folder = self._new_folder()
        return self._folder.name

    def has(self, relative: Path) -> bool:
        """Whether something of this name was put there."""
        return self._folder is not None and os.path.lexists(self._folder / relative)

    def put(self, relative: Path) -> None:
        """Move a file, link or folder there by one rename. Raises DatasetError, OSError."""
        source = layout.place(self._root, relative)
        atomic_files.move([(source, self._place(relative))])

    def keep(self, relative: Path) -> None:
        """Keep what a file is before it is replaced, if it is there. Raises as `put`."""
        source = layout.place(self._root, relative)
        if os.path.lexists(source):
            atomic_files.link(source, self._place(relative))

    def _place(self, relative: Path) -> Path:
        if self._folder is None:
            self._folder = self._new_folder()
        target = self._folder / relative
        if os.path.lexists(target):
            raise DatasetError(f"{target} is there already; nothing was changed")
        return target

    def next_name(self) -> str:
        """The name that a new folder would have; nothing is made."""
        folder = layout.place(self._root, TRASH / "0").parent
        there = folder.iterdir() if folder.is_dir() else ()
        used = [int(path.name) for path in there if path.name.isdecimal()]
        return f"{max(used, default=0) + 1:04d}"

    def _new_folder(self) -> Path:
        made = layout.place(self._root, TRASH / self.next_name())
        atomic_files.make_folder(made)
        return made


def entries(root: Path, relative: Path) -> Iterator[Path]:
    """All files and links below a folder of the dataset, no link followed; relative to root."""
    for folder, folders, names in os.walk(root / relative, followlinks=False):
        here = Path(folder).relative_to(root)
        yield from (here / name for name in sorted(names))
        yield from (here / name for name in sorted(folders) if (root / here / name).is_symlink())


def replace_file(root: Path, target: Path, content: bytes, trash: Trash) -> None:
    """A file's new content, by one rename; never seen half written. What it was is in the trash."""
    place = layout.place(root, target)
    atomic_files.make_folder(place.parent)
    staged = atomic_files.write_beside(place, content)
    trash.keep(target)
    atomic_files.move([(staged, place)])
