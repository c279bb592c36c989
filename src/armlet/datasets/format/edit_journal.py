"""A change of many files of a dataset, made as a whole or not at all.

1. Every new file is written and fsynced under `.edit/new/`, each at its later place.
2. The rename of `.edit/journal.json` decides. Before it the dataset is the old one, untouched.
3. info.json goes to the trash, so that no reader takes a mixture of old and new files for a
   dataset. What is replaced is kept in the trash, new files get their names, what is removed goes
   to the trash, and info.json comes back as the last file.
4. The journal itself moves to the trash folder: `undo` goes by it.

After a kill in 1 `finish` puts `.edit` into the trash; after one in 3 or 4 it does the rest. Each
step of it can be done again.

A file that only gets another name (a video behind a deleted episode) is linked, not copied, and
has no second name in the trash afterwards.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from armlet.files import FileError, Shape, printable, read_json, typed

from . import atomic_files, layout
from .errors import DatasetError
from .trash import TRASH, Step, Trash, entries

NEW = layout.EDIT / "new"
DONE = Path("edit.json")
"""The journal's name in its trash folder."""

_JOURNAL_SHAPE = Shape(size=64 << 20)
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Journal:
    """What an edit does. All paths are relative to the dataset.

    said: in words. trash: its folder's name in `.trash`. writes: files it replaces or adds, among
    them info.json. removes: files it takes away. moved: by new name, the old one of a file whose
    content stays. restored: by name, the name in the trash from where it came. undoes: the trash
    folder of the edit that this one takes back. marks: by written name, what the file is (`mark`).
    """

    said: str
    trash: str
    writes: tuple[str, ...]
    removes: tuple[str, ...]
    moved: Mapping[str, str] = field(default_factory=dict)
    restored: Mapping[str, str] = field(default_factory=dict)
    undoes: str = ""
    marks: Mapping[str, str] = field(default_factory=dict)

    def paths(self) -> Iterator[str]:
        """Every path that it names."""
        yield from (*self.writes, *self.removes, *self.marks)
        for names in (self.moved, self.restored):
            yield from (*names, *names.values())


def prepare(root: Path) -> Path:
    """The folder for new files, empty. Raises DatasetError if another edit left something."""
    folder = layout.place(root, NEW)
    if os.path.lexists(root / layout.EDIT):
        raise DatasetError(f"{root / layout.EDIT} is there already; run `armlet dataset repair`")
    atomic_files.make_folder(folder)
    return folder


def abandon(root: Path) -> None:
    """Remove what this process has prepared and not committed."""
    if not os.path.lexists(root / layout.EDIT_JOURNAL):
        shutil.rmtree(layout.place(root, layout.EDIT))


def commit(
    root: Path,
    said: str,
    removes: Sequence[Path] = (),
    moved: Mapping[Path, Path] | None = None,
    restored: Mapping[Path, Path] | None = None,
    undoes: str = "",
) -> Journal:
    """Make everything that was prepared part of the dataset. The caller holds its lock.

    Raises DatasetError, OSError; after an error in the middle `finish` does the rest.
    """
    folder = root / NEW
    writes = sorted(path.relative_to(NEW) for path in entries(root, NEW))
    assert layout.INFO in writes
    atomic_files.sync(path for path in folder.rglob("*") if path.is_file() or path.is_dir())
    journal = Journal(
        said=said,
        trash=Trash(root).name(),
        writes=tuple(map(str, writes)),
        removes=tuple(map(str, removes)),
        moved={str(new): str(old) for new, old in (moved or {}).items()},
        restored={str(new): str(old) for new, old in (restored or {}).items()},
        undoes=undoes,
        marks={str(path): mark(folder / path) for path in writes},
    )
    staged = layout.place(root, layout.EDIT / "journal.new")
    atomic_files.write(staged, json.dumps(asdict(journal), indent=1).encode())
    atomic_files.move([(staged, layout.place(root, layout.EDIT_JOURNAL))])
    _apply(root, journal)
    return journal


def mark(path: Path) -> str:
    """What distinguishes a file from another one: its hash, of a video its size."""
    if path.suffix == ".mp4":
        return f"{path.stat().st_size} bytes"
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def plan(root: Path) -> list[Step]:
    """What `finish` does. Changes nothing. Raises DatasetError for what no edit leaves."""
    folder = root / layout.EDIT
    if not os.path.lexists(folder):
        return []
    if folder.is_symlink() or not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder, so no edit made it; remove it yourself")
    if os.path.lexists(root / layout.EDIT_JOURNAL):
        journal = load(root, layout.EDIT_JOURNAL)
        return [
            Step(
                f"finish an edit that was interrupted: {journal.said}",
                lambda: _apply(root, journal),
                writes=tuple(map(Path, journal.writes)),
                removes=tuple(map(Path, journal.removes)),
                done=f"finished an edit that was interrupted: {journal.said}",
            )
        ]
    found = tuple(entries(root, layout.EDIT))
    if not found:
        return [Step("remove an empty folder", lambda: _remove_folders(root))]
    return [
        Step(
            f"remove an edit that was interrupted before it changed anything ({len(found)} files)",
            lambda: Trash(root).put(layout.EDIT),
            removes=found,
        )
    ]


def finish(root: Path) -> list[str]:
    """Finish an edit that was decided on; one that was not goes to the trash.

    Returns what was done, one line each. The caller holds the dataset's lock. Raises DatasetError,
    OSError.
    """
    done = []
    for step in plan(root):
        step.do()
        done.append(step.done_line())
    return done


def load(root: Path, relative: Path) -> Journal:
    """A journal. Raises DatasetError if it is none, or names what is outside of the dataset."""
    path = layout.locate(root, relative)
    try:
        journal: Journal = typed(Journal, read_json(path, _JOURNAL_SHAPE), relative.name)
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is absent") from error
    except FileError as error:
        raise DatasetError(f"{path} is not the journal of an edit: {error}") from error
    if not journal.trash.isdecimal() or str(layout.INFO) not in journal.writes:
        raise DatasetError(f"{path} is not the journal of an edit: {printable(journal.trash, 40)}")
    for name in journal.paths():
        layout.place(root, Path(name))
    if wrong := _not_an_edits(journal):
        raise DatasetError(f"{path} is not the journal of an edit: {printable(wrong, 80)}")
    return journal


def _not_an_edits(journal: Journal) -> str:
    """A path that no edit would name, as doing what it says would lose a file; else empty.

    A file is removed only where it has another name: what moves has two, what is restored had one
    in the trash.
    """
    pairs = [*journal.moved.items(), *journal.restored.items()]
    for new, old in pairs:
        if Path(new) == Path(old):
            return old
    return next((old for old in journal.restored.values() if Path(old).parts[0] != str(TRASH)), "")


def history(root: Path) -> Iterator[Journal]:
    """Edits that were made, the last one first."""
    folder = root / TRASH
    if not folder.is_dir() or folder.is_symlink():
        return
    names = sorted((p.name for p in folder.iterdir() if p.name.isdecimal()), key=int, reverse=True)
    for name in names:
        if (folder / name / DONE).is_file():
            yield load(root, TRASH / name / DONE)


def _apply(root: Path, journal: Journal) -> None:
    trash = Trash(root, journal.trash)
    sources = set(journal.moved.values())
    if os.path.lexists(root / NEW / layout.INFO) and not trash.has(layout.INFO):
        trash.put(layout.INFO)
    for path in (Path(text) for text in journal.writes if text != str(layout.INFO)):
        _replace(root, path, trash, keep=str(path) not in sources)
    names: dict[str, list[str]] = {}
    for new, old in journal.moved.items():
        names.setdefault(old, []).append(new)
    for path in map(Path, journal.removes):
        _take_away(root, path, trash, names.get(str(path), []))
    _replace(root, layout.INFO, trash, keep=False)
    for name, old in journal.restored.items():
        if _is_same_file(root, name, old):
            atomic_files.remove(layout.place(root, Path(old)))
    target = layout.place(root, TRASH / journal.trash / DONE)
    atomic_files.move([(layout.place(root, layout.EDIT_JOURNAL), target)])
    _remove_folders(root)


def _replace(root: Path, path: Path, trash: Trash, keep: bool) -> None:
    staged, target = layout.place(root, NEW / path), layout.place(root, path)
    if not os.path.lexists(staged):
        return  # done before a kill
    if keep and not trash.has(path):
        trash.keep(path)
    atomic_files.move([(staged, target)])
    if os.path.lexists(staged):  # both are names of one file: a rename changes nothing then
        atomic_files.remove(staged)


def _take_away(root: Path, path: Path, trash: Trash, names: Sequence[str]) -> None:
    """names: those that the file has now, where it is moved."""
    if not os.path.lexists(layout.place(root, path)):
        return
    if any(_is_same_file(root, name, str(path)) for name in names):
        atomic_files.remove(layout.place(root, path))
    elif not trash.has(path):
        trash.put(path)


def _is_same_file(root: Path, one: str, other: str) -> bool:
    """Whether these are two names of one file."""
    paths = [layout.place(root, Path(text)) for text in (one, other)]
    if paths[0] == paths[1]:
        return False
    return all(path.is_file() for path in paths) and paths[0].samefile(paths[1])


def _remove_folders(root: Path) -> None:
    """Remove `.edit`, in which only folders are left. What else is there stays, and is seen."""
    top = layout.place(root, layout.EDIT)
    for folder, _, _ in os.walk(top, topdown=False):
        atomic_files.remove_folder(Path(folder))
