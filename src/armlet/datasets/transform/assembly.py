"""Every file of an edited dataset: which it keeps, which it makes, and where each of them lies.

Files stay as they are grouped: episodes that share a file go on sharing it, an episode with a file
of its own keeps one. A file's number is the one it had, or that of its first episode where that is
lower, so that numbers ascend with episodes and the writer finds the next one free.

Rows are the source's; of their columns only those change that count (index, episode_index; of a
trimmed episode frame_index and timestamp too), task_index where tasks change, and the label.
Videos are copied, or cut packet by packet. Where a cut needs a picture outside of it, that
episode's video alone is encoded again, into a file of its own.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from armlet.datasets.check import recompute_stats
from armlet.datasets.format import concat, jsonl, layout, stats, tables, video
from armlet.datasets.format.data_file import DataFile
from armlet.datasets.format.errors import DatasetError
from armlet.datasets.format.layout import Feature, FileNumber, Info
from armlet.datasets.format.stats import Stats
from armlet.datasets.format.tables import EpisodeRow, VideoSpan
from armlet.datasets.format.video_pieces import Piece, is_cuttable
from armlet.files import printable

from . import encode
from .compact import episode_tables, piece_of
from .convert import described
from .cuts import Cut, Source


@dataclass(frozen=True)
class Group:
    """Episodes of the new dataset that share a file."""

    number: FileNumber
    episodes: tuple[int, ...]


@dataclass(frozen=True)
class Product:
    """A file of the new dataset.

    source: the file that has the same content already, absolute; None where it is made. note: what
    a person should know of it.
    """

    target: Path
    make: Callable[[Path], None]
    source: Path | None = None
    note: str = ""


class Assembly:
    """The new dataset's files and rows, from its episodes. Looks, and changes nothing.

    info: the new info.json but for its totals; splits that it states stay. Raises DatasetError
    where an episode's rows or pictures cannot be found or cut.
    """

    def __init__(self, info: Info, cuts: Sequence[Cut]):
        self.cuts = tuple(cuts)
        self._used = _used_tasks(self.cuts)
        names = [_names(cut, used) for cut, used in zip(self.cuts, self._used, strict=True)]
        self.tasks = _tasks(self.cuts, names)
        self._task_numbers = {task: number for number, task in enumerate(self.tasks)}
        self.rows = _rows(self.cuts, names)
        frames = self.rows[-1].dataset_to
        self.info = _with_totals(info, len(cuts), frames, len(self.tasks))
        # Statistics of episodes whose rows or pictures were written.
        self._fresh: dict[int, dict[str, Stats]] = {}
        self._place_data()
        self._videos = [p for key in info.video_keys for p in self._place_videos(key)]

    def products(self) -> list[Product]:
        """Every file of the new dataset, in the order in which they have to be made."""
        return [*self._data, *self._videos, *self._ledgers(), *self._metadata()]

    # --- rows -------------------------------------------------------------------------------

    def _place_data(self) -> None:
        places = [cut.row.data for cut in self.cuts]
        groups = _groups(self.info, self.cuts, places)
        for group in groups:
            for k in group.episodes:
                self.rows[k] = replace(self.rows[k], data=group.number)
        self._data = [
            Product(
                self.info.data_path(group.number),
                partial(self._write_rows, group=group),
                self._unchanged_rows(group),
            )
            for group in groups
        ]

    def _unchanged_rows(self, group: Group) -> Path | None:
        """The source's file, if the group's rows are exactly what it holds."""
        first = self.cuts[group.episodes[0]]
        if any(self._changed(k) for k in group.episodes):
            return None
        there = [row for row in first.source.rows if row.data == first.row.data]
        if len(there) != len(group.episodes):
            return None
        return layout.locate(first.source.root, first.source.info.data_path(first.row.data))

    def _changed(self, k: int) -> set[str]:
        """The columns of an episode that get other values; all of a trimmed one."""
        cut, row = self.cuts[k], self.rows[k]
        if cut.is_trimmed:
            return set(self.info.features)
        moved = cut.row.dataset_from != row.dataset_from
        changed = {"index"} if moved else set()
        changed |= {"episode_index"} if cut.row.episode != row.episode else set()
        changed |= {"task_index"} if self._renumbered(k) else set()
        return changed | ({layout.SUCCESS} if cut.success is not None else set())

    def _renumbered(self, k: int) -> bool:
        """Whether a task of an episode's rows has another number now."""
        new = self._translation(self.cuts[k])
        return any(new[number] != number for number in self._used[k])

    def _write_rows(self, path: Path, group: Group) -> None:
        source = self.cuts[group.episodes[0]].source
        old = [self.cuts[k].row for k in group.episodes]
        file: DataFile | None = None
        try:
            for k, (_, table) in zip(
                group.episodes, episode_tables(source.root, source.info, old), strict=True
            ):
                edited = self._edited(k, table)
                if file is None:
                    file = DataFile(path, edited.schema)
                file.add(edited)
                self._count(k, edited)
        except pa.ArrowException as error:
            raise DatasetError(f"{path}: rows cannot be written: {printable(error)}") from error
        finally:
            if file is not None:
                file.close()

    def _edited(self, k: int, table: pa.Table) -> pa.Table:
        """An episode's rows as they are in the new dataset."""
        cut, row = self.cuts[k], self.rows[k]
        table = table.slice(cut.first, cut.count)
        steps = np.arange(cut.count, dtype=np.int64)
        values: dict[str, NDArray[Any]] = {
            "index": row.dataset_from + steps,
            "episode_index": np.full(cut.count, row.episode),
        }
        if cut.first:
            values |= {"frame_index": steps, "timestamp": (steps / self.info.fps).astype("f4")}
        if self._renumbered(k):
            old = tables.column(table, "task_index", tables.COUNTER)
            values["task_index"] = self._translation(cut)[old]
        if cut.success is not None:
            values[layout.SUCCESS] = np.full(cut.count, cut.success)
        for name, column in values.items():
            table = _with_column(table, name, column)
        return described(table, self.info) if self._has_new_columns(cut.source) else table

    def _has_new_columns(self, source: Source) -> bool:
        return set(self.info.features) != set(source.info.features)

    def _translation(self, cut: Cut) -> NDArray[np.int64]:
        """By the source's task_index, the new one."""
        names = [cut.tasks.get(task, task) for task in cut.source.tasks]
        return np.array([self._task_numbers.get(name, -1) for name in names], np.int64)

    def _count(self, k: int, table: pa.Table) -> None:
        """Statistics of what changed in an episode, and of what had none."""
        cut = self.cuts[k]
        stored, changed = cut.row.stats, self._changed(k)
        keys = [key for key in self.info.features if key in changed or key not in stored]
        found = recompute_stats.table_stats(table, self.info, keys)
        pictures = [key for key in keys if self.info.features[key].dtype == "video"]
        if pictures:
            part = _part(cut)
            found |= recompute_stats.episode_stats(cut.source.root, cut.source.info, part, pictures)
        self._fresh[k] = found

    def _stats(self, k: int) -> dict[str, Stats]:
        known = {**self.cuts[k].row.stats, **self._fresh.get(k, {})}
        return {key: known[key] for key in self.info.features if key in known}

    # --- videos -----------------------------------------------------------------------------

    def _place_videos(self, key: str) -> list[Product]:
        pieces = [_piece(cut, key) for cut in self.cuts]
        places = [cut.row.videos[key].number for cut in self.cuts]
        members = {
            id(source): Counter(row.videos[key].number for row in source.rows)
            for source in self._sources()
        }
        whole = [
            group
            for group in _groups(self.info, self.cuts, places)
            if not any(self.cuts[k].is_trimmed for k in group.episodes)
            and members[id(self.cuts[group.episodes[0]].source)][places[group.episodes[0]]]
            == len(group.episodes)
        ]
        as_is = {k for group in whole for k in group.episodes}
        alone = {
            k
            for k, piece in enumerate(pieces)
            if k not in as_is and self._must_be_encoded(k, key, piece)
        }
        groups = _groups(self.info, self.cuts, places, alone)
        return [self._video(key, group, pieces, as_is, alone) for group in groups]

    def _must_be_encoded(self, k: int, key: str, piece: Piece) -> bool:
        cut = self.cuts[k]
        if is_cuttable(piece, self.info.fps):
            return False
        there = concat.form(piece.path)
        if not encode.is_possible(there.codec, there.pixels):
            last = piece.first + piece.count - 1
            raise DatasetError(
                f"episode {cut.row.episode}: pictures {piece.first} to {last} "
                f"of {piece.path} cannot be cut out without encoding them again, which is not done "
                f"with {there.codec} of {there.pixels}; of a trim, leave its first frames and take "
                "another number of the last; of other edits, keep or take out all episodes of that "
                "file together"
            )
        return True

    def _video(
        self, key: str, group: Group, pieces: Sequence[Piece], as_is: set[int], alone: set[int]
    ) -> Product:
        own = [pieces[k] for k in group.episodes]
        target = self.info.video_path(key, group.number)
        cuts = [self.cuts[k] for k in group.episodes]
        kept = group.episodes[0] in as_is
        start = 0
        for k, cut in zip(group.episodes, cuts, strict=True):
            old = cut.row.videos[key]
            span = VideoSpan(
                group.number, start / self.info.fps, (start + cut.count) / self.info.fps
            )
            start += cut.count
            span = VideoSpan(group.number, old.from_s, old.to_s) if kept else span
            self.rows[k] = replace(self.rows[k], videos={**self.rows[k].videos, key: span})
        if kept:
            return Product(target, partial(_copy, own[0].path), own[0].path)
        if group.episodes[0] in alone:
            note = f"encodes {key} of episode {cuts[0].row.episode} again"
            return Product(target, partial(self._encode, own[0]), note=note)
        return Product(target, partial(concat.join, pieces=own, fps=self.info.fps))

    def _encode(self, piece: Piece, path: Path) -> None:
        form = concat.form(piece.path)
        frames = video.frames(piece.path, piece.first, piece.count, self.info.fps)
        to = encode.form_again(form.codec, *form.size, self.info.fps, form.pixels)
        encode.write_video(path, frames, to)

    # --- what the recorder said of episodes -------------------------------------------------

    def _ledgers(self) -> Iterator[Product]:
        for k, cut in enumerate(self.cuts):
            notes = layout.load_notes(cut.source.root, cut.row.episode)
            if not notes:
                continue
            path = layout.locate(cut.source.root, layout.ledger_path(cut.row.episode))
            target = layout.ledger_path(k)
            if not cut.is_trimmed:
                yield Product(target, partial(_copy, path), path)
                continue
            content = json.dumps(_trimmed_ledger(notes, cut), indent=1).encode()
            yield Product(target, partial(_write, content=content))

    # --- metadata ---------------------------------------------------------------------------

    def _metadata(self) -> Iterator[Product]:
        if self.info.is_v2:
            yield from self._line_files()
        else:
            yield from self._metadata_files()
        yield Product(layout.INFO, lambda path: _write(path, self.info.dumps()))

    def _line_files(self) -> Iterator[Product]:
        yield Product(layout.TASK_LINES, lambda path: _write(path, jsonl.tasks(self.tasks)))
        yield Product(layout.EPISODE_LINES, lambda path: _write(path, self._episode_lines()))
        yield Product(
            layout.STATS_LINES,
            lambda path: _write(
                path,
                jsonl.joined(
                    recompute_stats.lines_of(k, self._stats(k)) for k in range(len(self.cuts))
                ),
            ),
        )

    def _episode_lines(self) -> bytes:
        known = {
            id(source): jsonl.read(source.root, layout.EPISODE_LINES) for source in self._sources()
        }
        return jsonl.joined(
            {
                **known[id(cut.source)][cut.row.episode],
                "episode_index": row.episode,
                "tasks": list(row.tasks),
                "length": row.length,
            }
            for cut, row in zip(self.cuts, self.rows, strict=True)
        )

    def _sources(self) -> list[Source]:
        return list({id(cut.source): cut.source for cut in self.cuts}.values())

    def _metadata_files(self) -> Iterator[Product]:
        places = {id(source): source.metadata_places() for source in self._sources()}
        numbers = [places[id(cut.source)][cut.row.episode] for cut in self.cuts]
        yield self._tasks_file()
        groups = _groups(self.info, self.cuts, numbers)
        made: list[pa.Table] = []

        def write(path: Path, group: Group) -> None:
            if not made:  # of all files at once: LeRobot wants the same columns in each
                made.append(self._episodes_table(groups))
            part = made[0].slice(group.episodes[0], len(group.episodes))
            _write(path, tables.encode(part))

        for group in groups:
            yield Product(
                layout.episodes_path(group.number),
                partial(write, group=group),
            )
        yield Product(layout.STATS, lambda path: _write(path, self._statistics()))

    def _tasks_file(self) -> Product:
        first = self.cuts[0].source
        source = first.root / layout.TASKS if self.tasks == first.tasks else None
        if source is not None:
            return Product(layout.TASKS, partial(_copy, source), source)
        content = tables.encode(tables.tasks_table(self.tasks))
        return Product(layout.TASKS, partial(_write, content=content))

    def _episodes_table(self, groups: Sequence[Group]) -> pa.Table:
        parts = []
        for source in self._sources():
            files = [tables.read(path) for path in tables.episode_files(source.root)]
            taken = [cut.row.episode for cut in self.cuts if cut.source is source]
            parts.append(tables.joined(files).take(pa.array(taken)))
        table = tables.joined(parts)
        for name, column in self._columns(groups).items():
            kind = pa.list_(pa.string()) if name == "tasks" else None
            array = pa.array(column, kind)
            if name in table.column_names:
                table = table.set_column(table.column_names.index(name), name, array)
            else:
                table = table.append_column(name, array)
        return recompute_stats.with_stats(table, [self._stats(k) for k in range(len(self.cuts))])

    def _columns(self, groups: Sequence[Group]) -> dict[str, list[Any]]:
        """The columns of the episodes metadata that every edit renews."""
        rows = self.rows
        numbers = [group.number for group in groups for _ in group.episodes]
        columns: dict[str, list[Any]] = {
            "episode_index": [row.episode for row in rows],
            "tasks": [list(row.tasks) for row in rows],
            "length": [row.length for row in rows],
            "dataset_from_index": [row.dataset_from for row in rows],
            "dataset_to_index": [row.dataset_to for row in rows],
            "data/chunk_index": [row.data.chunk for row in rows],
            "data/file_index": [row.data.file for row in rows],
            "meta/episodes/chunk_index": [number.chunk for number in numbers],
            "meta/episodes/file_index": [number.file for number in numbers],
        }
        for key in self.info.video_keys:
            spans = [row.videos[key] for row in rows]
            columns[f"videos/{key}/chunk_index"] = [span.number.chunk for span in spans]
            columns[f"videos/{key}/file_index"] = [span.number.file for span in spans]
            columns[f"videos/{key}/from_timestamp"] = [span.from_s for span in spans]
            columns[f"videos/{key}/to_timestamp"] = [span.to_s for span in spans]
        return columns

    def _statistics(self) -> bytes:
        """stats.json: the episodes' together, and of one dataset what only the whole had."""
        whole = stats.aggregate([self._stats(k) for k in range(len(self.cuts))])
        sources = self._sources()
        if len(sources) == 1:
            with contextlib.suppress(FileNotFoundError):
                whole = stats.load(layout.locate(sources[0].root, layout.STATS)) | whole
        return stats.dumps({key: whole[key] for key in self.info.features if key in whole})


def _groups(
    info: Info,
    cuts: Sequence[Cut],
    places: Sequence[FileNumber],
    alone: set[int] | frozenset[int] = frozenset(),
) -> list[Group]:
    """Episodes in a row from one file, with the file's new number.

    alone: episodes that get a file of their own whatever they shared.
    """
    runs: list[list[int]] = []
    for k, place in enumerate(places):
        before = k - 1
        joined = (
            k > 0
            and places[before] == place
            and cuts[before].source is cuts[k].source
            and not {before, k} & alone
        )
        if joined:
            runs[-1].append(k)
        else:
            runs.append([k])
    if info.is_v2:
        return [Group(info.number_of(run[0]), tuple(run)) for run in runs]
    size = info.chunks_size
    old = [
        places[run[0]].chunk * size + places[run[0]].file + cuts[run[0]].source.offset
        for run in runs
    ]
    # Both ascend, so the lower of them does; where a dataset's own numbers do not, the second does.
    if any(later <= earlier for earlier, later in itertools.pairwise(old)):
        old = [run[0] for run in runs]
    numbers = [min(number, run[0]) for number, run in zip(old, runs, strict=True)]
    return [
        Group(FileNumber(*divmod(number, size)), tuple(run))
        for number, run in zip(numbers, runs, strict=True)
    ]


def _with_totals(info: Info, episodes: int, frames: int, tasks: int) -> Info:
    counted = info.with_totals(episodes, frames, tasks)
    if not info.document.get("splits"):
        return counted
    return layout.parse_info({**counted.document, "splits": info.document["splits"]})


def _used_tasks(cuts: Sequence[Cut]) -> list[set[int]]:
    """By episode of the new dataset, the tasks of its rows, by their numbers in the source."""
    known: dict[Path, tuple[tables.EpisodeIndex, NDArray[Any]]] = {}
    found = []
    for cut in cuts:
        path = layout.locate(cut.source.root, cut.source.info.data_path(cut.row.data))
        if path not in known:
            table = tables.read(path, ["episode_index", "task_index"])
            columns = [
                tables.column(table, key, tables.COUNTER) for key in ("episode_index", "task_index")
            ]
            known[path] = (tables.EpisodeIndex(columns[0]), columns[1])
        index, numbers = known[path]
        own = numbers[index.rows(cut.row.episode)]
        if len(own) != cut.row.length:
            raise DatasetError(
                f"{path}: expected {cut.row.length} rows of episode {cut.row.episode}, "
                f"found {len(own)}; run `armlet dataset check`"
            )
        used = set(own[cut.first : cut.first + cut.count].tolist())
        if not used <= set(range(len(cut.source.tasks))):
            file, count = tables.tasks_path(cut.source.info), len(cut.source.tasks)
            raise DatasetError(
                f"{path}: task_index beyond the {count} tasks of {file}; restore that from a copy"
            )
        found.append(used)
    return found


def _names(cut: Cut, used: set[int]) -> list[str]:
    """An episode's tasks as they are called from now on, in the order of its metadata."""
    there = {cut.source.tasks[number] for number in used}
    order = [*cut.row.tasks, *cut.source.tasks]
    return list(dict.fromkeys(cut.tasks.get(task, task) for task in order if task in there))


def _tasks(cuts: Sequence[Cut], used: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The new dataset's tasks: those that rows have, in the sources' order, new names at the end.

    A task that is renamed everywhere keeps its number.
    """
    needed = {task for tasks in used for task in tasks}
    order: list[str] = []
    for source in {id(cut.source): cut.source for cut in cuts}.values():
        own = [cut for cut in cuts if cut.source is source]
        for task in source.tasks:
            names = {cut.tasks.get(task, task) for cut in own}
            order.append(names.pop() if len(names) == 1 else task)
    order += [task for tasks in used for task in tasks]
    return tuple(task for task in dict.fromkeys(order) if task in needed)


def _rows(cuts: Sequence[Cut], used: Sequence[Sequence[str]]) -> list[EpisodeRow]:
    """The new rows; where their files are is not known yet."""
    rows, start = [], 0
    for k, (cut, tasks) in enumerate(zip(cuts, used, strict=True)):
        row = replace(
            cut.row,
            episode=k,
            tasks=tuple(tasks),
            length=cut.count,
            dataset_from=start,
            dataset_to=start + cut.count,
        )
        start = row.dataset_to
        rows.append(row)
    return rows


def _piece(cut: Cut, key: str) -> Piece:
    whole = piece_of(cut.source.root, cut.source.info, cut.row, key)
    return replace(whole, first=whole.first + cut.first, count=cut.count)


def _part(cut: Cut) -> EpisodeRow:
    """The source's row as if its episode were the part that stays, for its pictures."""
    fps = cut.source.info.fps
    spans = {}
    for key, span in cut.row.videos.items():
        start = (round(span.from_s * fps) + cut.first) / fps
        spans[key] = replace(span, from_s=start, to_s=start + cut.count / fps)
    return replace(cut.row, length=cut.count, videos=spans)


def _trimmed_ledger(notes: Mapping[str, Any], cut: Cut) -> dict[str, Any]:
    """What the recorder said, with damaged pictures and commanders by their new row."""
    damaged = {
        camera: [n - cut.first for n in frames if cut.first <= n < cut.first + cut.count]
        for camera, frames in notes.get("damaged", {}).items()
    }
    trimmed = {**notes, "damaged": damaged} if "damaged" in notes else dict(notes)
    driven = layout.provenance_in(notes, cut.source.root, cut.row.episode, cut.row.length)
    if driven is not None:
        trimmed["provenance"] = driven.cut(cut.first, cut.count).to_json()
    return trimmed


def _with_column(table: pa.Table, name: str, values: NDArray[Any]) -> pa.Table:
    """A table with a column's values replaced, in the type it has, or with a new column."""
    if name not in table.column_names:
        return table.append_column(name, pa.array(values))
    place = table.column_names.index(name)
    field = table.schema.field(place)
    return table.set_column(place, field, pa.array(values).cast(field.type))


def label_feature() -> Feature:
    """The feature of a label, as LeRobot 0.6 declares a bool column."""
    return Feature("bool", (1,))


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _copy(source: Path, path: Path) -> None:
    shutil.copyfile(source, path)
