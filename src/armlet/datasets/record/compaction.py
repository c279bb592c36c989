"""Merges the small files of a dataset in its place, as recordings end.

A recorder writes files of their own for every episode, and whoever opens a dataset opens them all.
So once there are `LEAST` small files of metadata they become one: first those of single episodes,
then those that came of that. An episode is written about twice more, and 10,000 of them are in
about 100 files. Their rows become one file too, up to the size at which LeRobot begins the next.
So do videos while they are small; nothing is encoded again.

It is an edit (`edit_journal`) that changes where things lie and nothing else.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from armlet.datasets.format import concat, edit_journal, layout, tables
from armlet.datasets.format.data_file import DataFile
from armlet.datasets.format.errors import DatasetError, DiskError, VideoError
from armlet.datasets.format.layout import Feature, FileNumber, Info
from armlet.datasets.format.tables import Footer
from armlet.datasets.format.video_pieces import Piece
from armlet.files import FileError, printable, typed

LEAST = 50
"""So many small files are merged."""

# What is merged at once, so that closing a dataset takes seconds.
_MOST_FILES, _MOST_EPISODES = 200, 10_000
# Videos of this size are left alone; smaller ones make files of up to that.
_LARGE_VIDEO, _MOST_VIDEO = 256 << 10, 16 << 20
_SECONDS = Feature("float64", (1,))


@dataclass(frozen=True)
class _Run:
    """Metadata files that become one, in order, and what they hold."""

    files: tuple[Path, ...]
    parts: tuple[pa.Table, ...]
    table: pa.Table

    def column(self, name: str) -> NDArray[np.int64]:
        return tables.column(self.table, name, tables.COUNTER)

    def numbers(self, place: str) -> list[FileNumber]:
        """By episode, the file that the columns of a place name."""
        both = (self.column(f"{place}/{name}_index").tolist() for name in ("chunk", "file"))
        return [FileNumber(chunk, file) for chunk, file in zip(*both, strict=True)]

    @property
    def number(self) -> FileNumber:
        """Of the file that they become: the first's."""
        return tables.metadata_number(self.files[0])


@dataclass(frozen=True)
class _Part:
    """A file with the rows or pictures of the run's episodes first..last, and of no others.

    rows: how many. form: what files that become one have in common.
    """

    number: FileNumber
    path: Path
    size: int
    rows: int
    first: int
    last: int
    form: Any


def compact(root: Path, least: int = LEAST, reserve_bytes: int = 0) -> str:
    """Merge small files where there are `least` of them; what was done, in words, or nothing.

    The caller holds the dataset's lock, and no episode is open. reserve_bytes: what the disk must
    have free beyond the new files. Raises DatasetError, OSError; the dataset is then as it was, or,
    if the disk failed while files were replaced, the next opening finishes it.
    """
    info = layout.load_info(root)
    try:
        run = None if info.is_v2 else _run(root, least)
        return "" if run is None else _merge(root, info, run, reserve_bytes)
    except (pa.ArrowException, ValueError) as error:
        raise DatasetError(f"{root}: files cannot be merged: {printable(error)}") from error


def _merge(root: Path, info: Info, run: _Run, reserve_bytes: int) -> str:
    rows = list(_groups(root, info, run))
    pictures = {key: list(_video_groups(root, info, run, key)) for key in info.video_keys}
    _require_room(root, run, [*rows, *itertools.chain(*pictures.values())], reserve_bytes)
    old: dict[Path, pa.Table | None] = {
        path.relative_to(root): part for path, part in zip(run.files, run.parts, strict=True)
    }
    with edit_journal.prepared(root, merge=True) as folder:
        for group in rows:
            _write_rows(_made(folder / info.data_path(group[0].number)), group)
            old |= dict.fromkeys(info.data_path(part.number) for part in group)
        columns: dict[str, list[int] | list[float]] = {
            **tables.row_places(_merged(run.numbers("data"), rows), run.number)
        }
        for key, groups in pictures.items():
            for group in groups:
                target = _made(folder / info.video_path(key, group[0].number))
                concat.join(target, [Piece(p.path, 0, p.rows) for p in group], info.fps)
                old |= dict.fromkeys(info.video_path(key, part.number) for part in group)
            columns |= _spans(info, run, key, groups) if groups else {}
        table = tables.with_values(run.table, columns)
        _made(folder / layout.episodes_path(run.number)).write_bytes(tables.encode(table))
        content = layout.locate(root, layout.INFO).read_bytes()
        _made(folder / layout.INFO).write_bytes(content)
        episodes = run.column("episode_index")
        said = f"merge the files of episodes {episodes[0]} to {episodes[-1]}"
        removes = [path for path in old if not (folder / path).is_file()]
        edit_journal.commit(root, said, removes, copied={**old, layout.INFO: None})
    return f"{said}: {len(old)} become {len(old) - len(removes)}"


def _merged(numbers: list[FileNumber], groups: Sequence[Sequence[_Part]]) -> list[FileNumber]:
    """By episode, the file with its rows or pictures."""
    found = list(numbers)
    for group in groups:
        for k in range(group[0].first, group[-1].last + 1):
            found[k] = group[0].number
    return found


def _spans(
    info: Info, run: _Run, key: str, groups: Sequence[Sequence[_Part]]
) -> dict[str, list[int] | list[float]]:
    """Columns of the episodes metadata: where each episode's pictures are."""
    place = f"videos/{key}"
    times = [
        tables.column(run.table, f"{place}/{name}_timestamp", _SECONDS).tolist()
        for name in ("from", "to")
    ]
    lengths = run.column("length").tolist()
    for group in groups:
        start = 0
        for k in range(group[0].first, group[-1].last + 1):
            times[0][k], times[1][k] = start / info.fps, (start + lengths[k]) / info.fps
            start += lengths[k]
    numbers = _merged(run.numbers(place), groups)
    return {
        f"{place}/chunk_index": [number.chunk for number in numbers],
        f"{place}/file_index": [number.file for number in numbers],
        f"{place}/from_timestamp": times[0],
        f"{place}/to_timestamp": times[1],
    }


def _require_room(
    root: Path, run: _Run, groups: Sequence[Sequence[_Part]], reserve_bytes: int
) -> None:
    """Raises DiskError unless all that is merged fits on the disk beside itself."""
    parts = sum(part.size for group in groups for part in group)
    needed = parts + sum(path.stat().st_size for path in run.files) + reserve_bytes
    free = shutil.disk_usage(root).free
    if free < needed:
        raise DiskError(
            f"disk short: {free / 1e6:.0f} MB free at {root}, {needed / 1e6:.0f} needed"
        )


def _run(root: Path, least: int) -> _Run | None:
    """The first files that are to become one: small ones in a row, of the same columns."""
    files = tables.episode_files(root)
    if len(files) < least:
        return None
    known: list[Footer] = []
    for small in (least, least * least):
        found: list[Path] = []
        for place, path in enumerate(files):
            if place == len(known):
                known.append(tables.footer(path))
            this, before = known[place], known[place - 1]
            if this.rows >= small or (found and not this.columns.equals(before.columns, True)):
                if len(found) >= least:
                    break
                found = []
            if this.rows < small:
                found.append(path)
            if len(found) == _MOST_FILES:
                break
        if len(found) >= least:
            return _read(found)
    return None


def _read(files: Sequence[Path]) -> _Run | None:
    parts: list[pa.Table] = []
    episodes = 0
    for path in files:
        part = tables.read(path)
        episodes += part.num_rows
        if episodes > _MOST_EPISODES:
            break
        parts.append(part)
    if len(parts) < 2:
        return None
    return _Run(tuple(files[: len(parts)]), tuple(parts), pa.concat_tables(parts).combine_chunks())


def _groups(root: Path, info: Info, run: _Run) -> Iterator[list[_Part]]:
    """Data files that become one each: those that hold rows of the run's episodes only."""
    limit = _limit(info)
    lengths = run.column("length")
    parts: list[_Part | None] = []
    for number, first, last in _stretches(run.numbers("data")):
        path = layout.locate(root, info.data_path(number))
        footer, rows = tables.footer(path), int(lengths[first : last + 1].sum())
        fits = footer.rows == rows and footer.size < limit / 2
        part = _Part(number, path, footer.size, rows, first, last, footer.columns)
        parts.append(part if fits else None)
    return _together(parts, limit, lambda one, other: bool(one.equals(other, True)))


def _video_groups(root: Path, info: Info, run: _Run, key: str) -> Iterator[list[_Part]]:
    """The same of a camera's videos, which hold pictures of the run's episodes only."""
    place = f"videos/{key}"
    if f"{place}/from_timestamp" not in run.table.column_names:
        return iter(())
    starts = tables.column(run.table, f"{place}/from_timestamp", _SECONDS)
    lengths = run.column("length")
    parts: list[_Part | None] = []
    for number, first, last in _stretches(run.numbers(place)):
        path = layout.locate(root, info.video_path(key, number))
        own = lengths[first : last + 1]
        # From its beginning on, one episode after another.
        wanted = np.concatenate([[0], np.cumsum(own)[:-1]])
        in_order = np.array_equal(np.round(starts[first : last + 1] * info.fps), wanted)
        form = _form(path) if in_order else None
        part = None
        if form is not None and form.pictures == own.sum():
            size = path.stat().st_size
            part = _Part(number, path, size, form.pictures, first, last, form)
        parts.append(part)
    return _together(parts, _MOST_VIDEO, lambda one, other: bool(one.fits(other)))


def _form(path: Path) -> concat.Form | None:
    """How a small video is coded; None of what is large, unreadable or more than pictures."""
    try:
        form = concat.form(path) if path.stat().st_size < _LARGE_VIDEO else None
    except (VideoError, FileNotFoundError):
        return None
    return None if form is None or form.others else form


def _stretches(numbers: Sequence[FileNumber]) -> Iterator[tuple[FileNumber, int, int]]:
    """Files in order, each with the first and the last of its episodes."""
    for number, places in itertools.groupby(range(len(numbers)), numbers.__getitem__):
        own = list(places)
        yield number, own[0], own[-1]


def _together(
    parts: Sequence[_Part | None], limit: float, fits: Callable[[Any, Any], bool]
) -> Iterator[list[_Part]]:
    """Neighbours that are alike and not too large together. None is between neighbours."""
    group: list[_Part] = []
    for part in (*parts, None):
        size = sum(each.size for each in group)
        if (
            part is not None
            and group
            and size + part.size < limit
            and fits(part.form, group[0].form)
        ):
            group.append(part)
            continue
        if len(group) > 1:
            yield group
        group = [] if part is None else [part]


def _limit(info: Info) -> float:
    """Bytes at which LeRobot begins a next data file."""
    name = "data_files_size_in_mb"
    try:
        megabytes: float = typed(float, info.document.get(name, 100), name)
        return megabytes * 2**20
    except FileError as error:
        raise DatasetError(f"{layout.INFO}: {error}") from error


def _write_rows(path: Path, group: Sequence[_Part]) -> None:
    file = DataFile(path, group[0].form)
    try:
        for part in group:
            file.add(tables.read(part.path))
    finally:
        file.close()


def _made(path: Path) -> Path:
    """A path whose folder is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
