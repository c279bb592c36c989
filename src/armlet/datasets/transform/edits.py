"""Edits of a dataset in its place: delete, trim, relabel, label, and the way back.

Each is made as a whole or not at all (`edit_journal`). What it replaces or removes is in the
dataset's trash afterwards, and `undo` brings it back from there.

Who looked at a dataset before deciding says what it was then (`seen`, by `state`): an edit of
another time would be of other episodes than those that were looked at, and is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from armlet.datasets.format import atomic_files, edit_journal, layout, tables
from armlet.datasets.format.edit_journal import Journal
from armlet.datasets.format.errors import DatasetError
from armlet.datasets.format.layout import Info
from armlet.datasets.format.trash import TRASH
from armlet.datasets.record.leftovers import named_files
from armlet.files import FileError, printable, read_bytes

from .assembly import Assembly, Product, label_feature
from .cuts import Cut, Source, link_free, said_episodes

Choice = Callable[[Source], tuple[str, Info, list[Cut]]]
"""What an edit makes of a dataset: in words, the new info.json but for totals, the episodes."""

_LARGEST_METADATA = 1 << 30


@dataclass(frozen=True)
class Edited:
    """What an edit did, or would do.

    said: in words. writes, removes: files it touches, relative to the dataset; renames: those that
    get another name only, new by old. notes: what a person should know. trash: the folder with what
    was there before, None for a plan.
    """

    said: str
    episodes: int
    frames: int
    writes: tuple[Path, ...]
    removes: tuple[Path, ...]
    renames: Mapping[Path, Path]
    notes: tuple[str, ...] = ()
    trash: Path | None = None

    def lines(self) -> list[str]:
        """Every file that is touched, a line each."""
        return [
            *(f"  writes {printable(path)}" for path in self.writes if path not in self.renames),
            *(f"  renames {printable(old)} to {new}" for new, old in self.renames.items()),
            *(f"  moves to {TRASH}: {printable(path)}" for path in self.removes),
        ]


def state(root: Path) -> str:
    """What a dataset is now, in 16 letters: episodes, tasks, statistics. Raises DatasetError."""
    digest = hashlib.sha256()
    metadata = [path.relative_to(root) for path in tables.episode_files(root)]
    for path in (*layout.DESCRIPTIONS, *metadata):
        try:
            content = read_bytes(layout.locate(root, path), _LARGEST_METADATA)
        except FileNotFoundError:
            continue
        except FileError as error:
            raise DatasetError(str(error)) from error
        digest.update(f"{path} {len(content)} ".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def delete(root: Path, episodes: Sequence[int], dry_run: bool = False, seen: str = "") -> Edited:
    """Take episodes out; those behind them get lower numbers. Raises DatasetError, OSError."""

    def choose(source: Source) -> tuple[str, Info, list[Cut]]:
        gone = _known(source, episodes)
        kept = [k for k in range(len(source.rows)) if k not in gone]
        if not kept:
            raise DatasetError(
                f"these are all {len(source.rows)} episodes; remove the folder {root} instead"
            )
        said = f"delete episodes {said_episodes(episodes)}"
        return said, with_splits(source.info, kept), [Cut.whole(source, k) for k in kept]

    return edit(root, choose, dry_run, seen)


def trim(
    root: Path,
    episodes: Sequence[int],
    first: int,
    last: int,
    dry_run: bool = False,
    seen: str = "",
) -> Edited:
    """Take the first and the last frames off episodes. Raises DatasetError, OSError.

    first, last: how many frames. Pictures are cut without encoding where the codec allows it.
    """

    def choose(source: Source) -> tuple[str, Info, list[Cut]]:
        chosen = _known(source, episodes)
        if first < 0 or last < 0 or not first + last:
            raise DatasetError("say how many of the first or the last frames are to go")
        spoken = [key for key, f in source.info.features.items() if f.dtype == "language"]
        if first and spoken:
            raise DatasetError(
                f"{root}: {', '.join(map(printable, spoken))} holds times since the episode's "
                "beginning, so only last frames can go; trim before the dataset is annotated"
            )
        short = [k for k in sorted(chosen) if source.rows[k].length <= first + last]
        if short:
            raise DatasetError(
                f"episode {short[0]} has {source.rows[short[0]].length} frames, so {first} and "
                f"{last} cannot go; delete the episode instead"
            )
        cuts = [Cut.whole(source, k) for k in range(len(source.rows))]
        cuts = [
            replace(cut, first=first, count=cut.count - first - last) if k in chosen else cut
            for k, cut in enumerate(cuts)
        ]
        said = f"trim episodes {said_episodes(episodes)} by {first} first and {last} last frames"
        return said, source.info, cuts

    return edit(root, choose, dry_run, seen)


def relabel(
    root: Path,
    task: str,
    episodes: Sequence[int] | None = None,
    replaced: str | None = None,
    dry_run: bool = False,
    seen: str = "",
) -> Edited:
    """Give episodes another task. Raises DatasetError, OSError.

    episodes: which; None is all of them. replaced: only rows with this task; None is every task.
    """

    def choose(source: Source) -> tuple[str, Info, list[Cut]]:
        if not task.strip():
            raise DatasetError("a task needs words: say what the arm is to do")
        if not task.isprintable():
            raise DatasetError(f"expected a task of printable text, found {printable(task, 80)}")
        chosen = _known(source, range(len(source.rows)) if episodes is None else episodes)
        if replaced is not None and replaced not in source.tasks:
            known = ", ".join(printable(repr(one), 80) for one in source.tasks)
            raise DatasetError(f"no task {printable(repr(replaced), 80)}; there are {known}")
        names = dict.fromkeys(source.tasks if replaced is None else [replaced], task)
        cuts = [Cut.whole(source, k) for k in range(len(source.rows))]
        cuts = [replace(cut, tasks=names) if k in chosen else cut for k, cut in enumerate(cuts)]
        of = "every task" if replaced is None else printable(repr(replaced), 80)
        which = said_episodes(sorted(chosen))
        return f"{of} of episodes {which} becomes {printable(repr(task), 80)}", source.info, cuts

    return edit(root, choose, dry_run, seen)


def label(
    root: Path,
    labels: Mapping[int, bool],
    others: bool | None = None,
    dry_run: bool = False,
    seen: str = "",
) -> Edited:
    """Say of episodes whether they succeeded, in every row's `next.success`.

    others: of the episodes that are not named; None leaves their labels, which they need to have.
    Raises DatasetError, OSError.
    """

    def choose(source: Source) -> tuple[str, Info, list[Cut]]:
        _known(source, labels)
        there = source.info.features.get(layout.SUCCESS)
        if there is not None and (there.dtype, there.shape) != ("bool", (1,)):
            raise DatasetError(
                f"{root}: {layout.SUCCESS} is {there.dtype} {list(there.shape)} there, expected "
                "bool [1]; its values are not replaced by labels"
            )
        found = {k: labels.get(k, others) for k in range(len(source.rows))}
        bare = [k for k, success in found.items() if success is None]
        if bare and there is None:
            raise DatasetError(
                f"episodes {said_episodes(bare)} would have no label, and every row needs a value; "
                "name them too, or say --others success or failure"
            )
        cuts = [replace(Cut.whole(source, k), success=success) for k, success in found.items()]
        said = [
            f"{name} {said_episodes([k for k, s in found.items() if s is value])}"
            for name, value in (("success", True), ("failure", False))
            if value in found.values()
        ]
        return f"label episodes: {', '.join(said)}", _labelled(source.info), cuts

    return edit(root, choose, dry_run, seen)


def undo(root: Path, dry_run: bool = False, seen: str = "") -> Edited:
    """Bring back what the last edit replaced and removed, byte by byte.

    Raises DatasetError if there is none, or if what it wrote has changed since; OSError.
    """
    with _taken(root, dry_run):
        _require_seen(root, seen)
        journal = _last_edit(root)
        _require_unchanged(root, journal)
        old = {Path(text): root / TRASH / journal.trash / text for text in _before(root, journal)}
        moved = {Path(before): Path(now) for now, before in journal.moved.items()}
        absent = [path for path in old.values() if not path.is_file()]
        if absent:
            raise DatasetError(f"{absent[0]} is absent, so the edit cannot be taken back")
        back = {**old, **{path: root / now for path, now in moved.items()}}
        removes = [Path(text) for text in journal.writes if Path(text) not in back]
        said = f"undo: {journal.said}"
        done = Edited(
            said, 0, 0, tuple(sorted(back)), _trashed(removes, moved), dict(sorted(moved.items()))
        )
        if not dry_run:
            with edit_journal.prepared(root) as folder:
                for path, source in back.items():
                    atomic_files.link(source, folder / path)
                restored = {path: source.relative_to(root) for path, source in old.items()}
                made = edit_journal.commit(root, said, removes, moved, restored, journal.trash)
            done = replace(done, trash=TRASH / made.trash)
        return _counted(root, done) if not dry_run else done


def edit(root: Path, choose: Choice, dry_run: bool = False, seen: str = "") -> Edited:
    """Make a dataset what `choose` says, or say which files that would touch.

    seen: the `state` it has to be in; "" is any. Raises DatasetError if a recorder has the dataset,
    if it is not whole, or if it is in another state; OSError.
    """
    with _taken(root, dry_run):
        _require_seen(root, seen)
        link_free(root)
        source = Source.open(root)
        said, info, cuts = choose(source)
        assembly = Assembly(info, cuts)
        products = [p for p in assembly.products() if p.source != root / p.target]
        kept = {p.target for p in assembly.products()}
        removes = [path for path in _own_files(source) if path not in kept]
        moved = {p.target: p.source.relative_to(root) for p in products if p.source is not None}
        done = Edited(
            said,
            len(assembly.rows),
            assembly.info.total_frames,
            tuple(sorted(p.target for p in products)),
            _trashed(removes, moved),
            moved,
            tuple(p.note for p in products if p.note),
        )
        if dry_run:
            return done
        with edit_journal.prepared(root) as folder:
            make(folder, products)
            journal = edit_journal.commit(root, said, removes, moved)
        return replace(done, trash=TRASH / journal.trash)


def make(folder: Path, products: Sequence[Product]) -> None:
    """Write an edit's files; one that only gets another name is linked, not copied."""
    for product in products:
        target = layout.place(folder, product.target)
        target.parent.mkdir(parents=True, exist_ok=True)
        if product.source is not None:
            atomic_files.link(product.source, target)
        else:
            product.make(target)


def with_splits(info: Info, kept: Sequence[int]) -> Info:
    """info.json whose splits are of the episodes that stay. Totals are not changed."""
    splits = info.document.get("splits")
    if not isinstance(splits, Mapping):
        return info
    return layout.parse_info({**info.document, "splits": split_ranges(splits, kept)})


def split_ranges(splits: Mapping[str, Any], kept: Sequence[int]) -> dict[str, Any]:
    """Ranges like "0:40" counted over the episodes that stay; what is no range stays as it is."""
    found: dict[str, Any] = {}
    for name, text in splits.items():
        begin, colon, end = str(text).partition(":")
        if colon and begin.isdecimal() and end.isdecimal():
            ends = [sum(k < int(number) for k in kept) for number in (begin, end)]
            found[name] = f"{ends[0]}:{ends[1]}"
        else:
            found[name] = text
    return found


def _known(source: Source, episodes: Sequence[int] | Mapping[int, Any]) -> set[int]:
    if not episodes:
        raise DatasetError("name at least one episode")
    wrong = [k for k in episodes if not 0 <= k < len(source.rows)]
    if wrong:
        raise DatasetError(f"there are episodes 0 to {len(source.rows) - 1}, not {wrong[0]}")
    return set(episodes)


def _require_seen(root: Path, seen: str) -> None:
    if seen and state(root) != seen:
        raise DatasetError(
            f"{root} was changed since it was looked at, so nothing was done; look again, as "
            "episodes may have other numbers now"
        )


def _labelled(info: Info) -> Info:
    if layout.SUCCESS in info.features:
        return info
    features = {**info.document["features"], layout.SUCCESS: label_feature().to_json()}
    return layout.parse_info({**info.document, "features": features})


def _own_files(source: Source) -> list[Path]:
    """Every file of the dataset that is an episode's, relative to it."""
    root, rows = source.root, list(source.rows)
    ledgers = (layout.ledger_path(row.episode) for row in rows)
    return [
        *dict.fromkeys(named_files(source.info, rows)),
        *(path for path in ledgers if os.path.lexists(root / path)),
        *(path.relative_to(root) for path in tables.episode_files(root)),
    ]


def _trashed(removes: Sequence[Path], moved: Mapping[Path, Path]) -> tuple[Path, ...]:
    """Those that get no other name."""
    renamed = set(moved.values())
    return tuple(path for path in removes if path not in renamed)


def _last_edit(root: Path) -> Journal:
    undone: set[str] = set()
    for journal in edit_journal.history(root):
        if journal.undoes:
            undone.add(journal.undoes)
        elif journal.trash not in undone:
            return journal
    raise DatasetError(f"{root}: there is no edit in {TRASH} to take back")


def _require_unchanged(root: Path, journal: Journal) -> None:
    """Raises DatasetError if something was done to the dataset since this edit."""
    for text, mark in journal.marks.items():
        path = layout.locate(root, Path(text))
        if not path.is_file() or edit_journal.mark(path) != mark:
            raise DatasetError(
                f"{path} was changed since the last edit ({journal.said}), by recording or another "
                f"program, so nothing was undone; what it replaced is in {TRASH / journal.trash}"
            )


def _before(root: Path, journal: Journal) -> list[str]:
    """Names of the files that the edit put into its trash folder."""
    gone = set(journal.moved.values())
    kept = [text for text in journal.removes if text not in gone]
    replaced = [
        text
        for text in journal.writes
        if text not in gone and os.path.lexists(root / TRASH / journal.trash / text)
    ]
    return [*kept, *replaced]


def _counted(root: Path, done: Edited) -> Edited:
    info = layout.load_info(root)
    return replace(done, episodes=info.total_episodes, frames=info.total_frames)


@contextlib.contextmanager
def _taken(root: Path, dry_run: bool) -> Iterator[None]:
    """The dataset's lock; what an interrupted edit left is put right first."""
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder", layout.CHOOSE)
    handle = atomic_files.lock(root)
    try:
        if not dry_run:
            edit_journal.finish(root)
        yield
    finally:
        atomic_files.unlock(handle)
