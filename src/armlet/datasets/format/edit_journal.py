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

Files that are merged into larger ones (`copied`) do not go to the trash, once all that they hold
was found in those (`copies`); nor does info.json, which stays what it is, nor the journal. `finish`
looks again: a file that holds anything else goes to the trash.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from armlet.files import (
    FileError,
    Shape,
    explained,
    is_of_the_computer,
    printable,
    read_json,
    typed,
)

from . import atomic_files, copies, layout
from .errors import DatasetError
from .replaceable import require_replaceable
from .trash import TRASH, Step, Trash, entries

NEW = layout.EDIT / "new"
DONE = Path("edit.json")
"""The journal's name in its trash folder."""
_MERGE = layout.EDIT / "merge"
# What a merge prepares: copies, under names that files of a dataset have.
_STAGED_COPY = re.compile(
    rf"{re.escape(str(layout.EDIT))}/"
    rf"(merge|journal\.new|new/{re.escape(str(layout.INFO))}|new/.+\.(parquet|mp4))"
)

_JOURNAL_SHAPE = Shape(size=64 << 20)
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Journal:
    """What an edit does. All paths are relative to the dataset.

    said: in words. trash: its folder's name in `.trash`. writes: files it replaces or adds, among
    them info.json. removes: files it takes away. moved: by new name, the old one of a file whose
    content stays. restored: by name, the name in the trash from where it came. undoes: the trash
    folder of the edit that this one takes back. marks: by written name, what the file is (`mark`).
    copied: of a merge, by the name of a file that goes, or is replaced, as the written ones hold
    all of it: its hash.
    """

    said: str
    trash: str
    writes: tuple[str, ...]
    removes: tuple[str, ...]
    moved: Mapping[str, str] = field(default_factory=dict)
    restored: Mapping[str, str] = field(default_factory=dict)
    undoes: str = ""
    marks: Mapping[str, str] = field(default_factory=dict)
    copied: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_merge(self) -> bool:
        """Whether it changes which files there are, and nothing that they say."""
        return bool(self.copied)

    def paths(self) -> Iterator[str]:
        """Every path that it names."""
        yield from (*self.writes, *self.removes, *self.marks, *self.copied)
        for names in (self.moved, self.restored):
            yield from (*names, *names.values())


@contextlib.contextmanager
def prepared(root: Path, merge: bool = False) -> Iterator[Path]:
    """The folder for new files, empty; what it holds is removed if they are not committed.

    merge: they are copies, which nobody misses if a kill leaves them. Raises DatasetError if
    another edit left something.
    """
    folder = layout.place(root, NEW)
    if os.path.lexists(root / layout.EDIT):
        raise DatasetError(f"{root / layout.EDIT} is there already; run `armlet dataset repair`")
    atomic_files.make_folder(folder.parent)
    try:
        if merge:
            atomic_files.write(layout.place(root, _MERGE), b"")
        atomic_files.make_folder(folder)
        with atomic_files.naming(root):
            yield folder
    except BaseException:
        if not os.path.lexists(root / layout.EDIT_JOURNAL):
            shutil.rmtree(layout.place(root, layout.EDIT))
        raise


def commit(
    root: Path,
    said: str,
    removes: Sequence[Path] = (),
    moved: Mapping[Path, Path] | None = None,
    restored: Mapping[Path, Path] | None = None,
    undoes: str = "",
    copied: Mapping[Path, pa.Table | None] | None = None,
) -> Journal:
    """Make everything that was prepared part of the dataset. The caller holds its lock.

    copied: files that are merged into the prepared ones, with their rows where they are known.
    Raises DatasetError, also if a file is said to be copied and is not; OSError. After an error in
    the middle `finish` does the rest.
    """
    folder = root / NEW
    writes = sorted(path.relative_to(NEW) for path in entries(root, NEW))
    assert layout.INFO in writes
    for path in writes:
        _keep_permissions(root / path, folder / path)
    atomic_files.sync(path for path in folder.rglob("*") if path.is_file() or path.is_dir())
    merged = {path: rows for path, rows in (copied or {}).items() if rows is not None}
    new = [(path, folder / path) for path in writes]
    if lost := copies.uncopied(root, copied or (), new, merged):
        raise DatasetError(f"{root / lost[0]} holds what was not copied; nothing was changed")
    require_replaceable(root / path for path in {*writes, *removes, *(moved or {}).values()})
    trash = Trash(root)
    journal = Journal(
        said=said,
        trash=trash.next_name() if copied else trash.name(),
        writes=tuple(map(str, writes)),
        removes=tuple(map(str, removes)),
        moved={str(new): str(old) for new, old in (moved or {}).items()},
        restored={str(new): str(old) for new, old in (restored or {}).items()},
        undoes=undoes,
        marks={str(path): mark(folder / path) for path in writes},
        copied={str(path): _digest(root / path) for path in copied or ()},
    )
    staged = layout.place(root, layout.EDIT / "journal.new")
    atomic_files.write(staged, json.dumps(asdict(journal), indent=1).encode())
    atomic_files.move([(staged, layout.place(root, layout.EDIT_JOURNAL))])
    _apply(root, journal)
    return journal


def _keep_permissions(old: Path, new: Path) -> None:
    """A new file may be read by those who may read the one it replaces, and by nobody else."""
    with contextlib.suppress(FileNotFoundError):
        new.chmod(stat.S_IMODE(old.stat().st_mode))


def mark(path: Path) -> str:
    """What distinguishes a file from another one: its hash, of a video its size."""
    return f"{path.stat().st_size} bytes" if path.suffix == ".mp4" else _digest(path)


def _digest(path: Path) -> str:
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
        return [_finishing(root, load(root, layout.EDIT_JOURNAL))]
    found = tuple(entries(root, layout.EDIT))
    if _MERGE in found and all(map(_is_staged_copy, found)):
        return [
            Step(
                f"remove the copies of a merge that was interrupted ({len(found)} files)",
                lambda: _remove_copies(root, found),
                drops=found,
            )
        ]
    if not found:
        return [Step("remove an empty folder", lambda: _remove_folders(root))]
    return [
        Step(
            f"remove an edit that was interrupted before it changed anything ({len(found)} files)",
            lambda: Trash(root).put(layout.EDIT),
            removes=found,
        )
    ]


def _finishing(root: Path, journal: Journal) -> Step:
    if journal.is_merge:
        proven = _with_proof(root, journal)
        gone = [Path(text) for text in journal.removes if text in proven.copied]
    else:
        proven, gone = journal, []
    return Step(
        f"finish an edit that was interrupted: {journal.said}",
        lambda: _apply(root, proven),
        writes=tuple(map(Path, journal.writes)),
        removes=tuple(Path(text) for text in journal.removes if Path(text) not in gone),
        drops=tuple(gone),
        done=f"finished an edit that was interrupted: {journal.said}",
    )


def _with_proof(root: Path, journal: Journal) -> Journal:
    """The journal of a merge without those copied files that a new file does not hold."""
    places = [(Path(text), root / NEW / text) for text in journal.writes]
    new = [(name, staged if staged.is_file() else root / name) for name, staged in places]
    done = {name for name, path in new if path == root / name}
    old = [path for path in map(Path, journal.copied) if path not in done]
    lost = set(copies.uncopied(root, old, [each for each in new if each[1].is_file()]))
    kept = {text: mark for text, mark in journal.copied.items() if Path(text) not in lost}
    return replace(journal, copied=kept)


def _is_staged_copy(path: Path) -> bool:
    return _STAGED_COPY.fullmatch(str(path)) is not None


def _remove_copies(root: Path, found: Sequence[Path]) -> None:
    for path in sorted(found, key=lambda path: path == _MERGE):  # it says what the others are
        atomic_files.remove(layout.place(root, path))
    _remove_folders(root)


def finish(root: Path) -> list[str]:
    """Finish an edit that was decided on; one that was not goes to the trash.

    Returns what was done, one line each. The caller holds the dataset's lock. Raises DatasetError,
    OSError.
    """
    done = []
    for step in plan(root):
        try:
            step.do()
        except OSError as error:
            if is_of_the_computer(error):
                raise
            raise DatasetError(
                f"{root}: an edit was interrupted and cannot be finished: {explained(error)}",
                "have the system permit it, then run `armlet dataset repair`",
            ) from error
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
        _put_away(root, layout.INFO, trash, journal)
    for path in (Path(text) for text in journal.writes if text != str(layout.INFO)):
        keep = str(path) not in sources and not _is_copied(root, path, journal)
        _replace(root, path, trash, keep)
    names: dict[str, list[str]] = {}
    for new, old in journal.moved.items():
        names.setdefault(old, []).append(new)
    for path in map(Path, journal.removes):
        _take_away(root, path, trash, names.get(str(path), []), journal)
    _replace(root, layout.INFO, trash, keep=False)
    for name, old in journal.restored.items():
        if _is_same_file(root, name, old):
            atomic_files.remove(layout.place(root, Path(old)))
    _end(root, journal)


def _end(root: Path, journal: Journal) -> None:
    """Put the journal where `undo` finds it; that of a merge says nothing that could be undone."""
    if journal.is_merge:
        folders = {(root / text).parent for text in journal.removes}
        there = sorted(folder for folder in folders if folder.is_dir())
        atomic_files.sync(there)
        for folder in there:
            if not any(folder.iterdir()):
                atomic_files.remove_folder(folder)
        atomic_files.remove(layout.place(root, layout.EDIT_JOURNAL))
        if os.path.lexists(root / _MERGE):
            atomic_files.remove(layout.place(root, _MERGE))
    else:
        target = layout.place(root, TRASH / journal.trash / DONE)
        atomic_files.move([(layout.place(root, layout.EDIT_JOURNAL), target)])
    _remove_folders(root)


def _is_copied(root: Path, path: Path, journal: Journal) -> bool:
    """Whether a file is there that was merged, as it was then."""
    known, place = journal.copied.get(str(path)), layout.place(root, path)
    return known is not None and place.is_file() and _digest(place) == known


def _put_away(root: Path, path: Path, trash: Trash, journal: Journal) -> None:
    if not os.path.lexists(root / path):
        return
    if _is_copied(root, path, journal):
        atomic_files.remove(layout.place(root, path))
    else:
        trash.put(path)


def _replace(root: Path, path: Path, trash: Trash, keep: bool) -> None:
    staged, target = layout.place(root, NEW / path), layout.place(root, path)
    if not os.path.lexists(staged):
        return  # done before a kill
    if keep and not trash.has(path):
        trash.keep(path)
    atomic_files.move([(staged, target)])
    if os.path.lexists(staged):  # both are names of one file: a rename changes nothing then
        atomic_files.remove(staged)


def _take_away(
    root: Path, path: Path, trash: Trash, names: Sequence[str], journal: Journal
) -> None:
    """names: those that the file has now, where it is moved."""
    if not os.path.lexists(layout.place(root, path)):
        return
    if any(_is_same_file(root, name, str(path)) for name in names):
        atomic_files.remove(layout.place(root, path))
    elif not trash.has(path):
        _put_away(root, path, trash, journal)


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
