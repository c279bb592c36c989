"""Merges a dataset's files to the sizes LeRobot makes them: nothing is encoded again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from armlet.datasets.format import concat, layout, tables
from armlet.datasets.format.data_file import DataFile
from armlet.datasets.format.errors import DatasetError
from armlet.datasets.format.layout import FileNumber, Info
from armlet.datasets.format.tables import EpisodeRow, VideoSpan
from armlet.datasets.format.video_pieces import Piece
from armlet.files import FileError, printable, typed

from .atomic_directory import copy_extras, new_dataset, require_outside

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Compacted:
    """How many files there were and are: data and videos."""

    episodes: int
    files_before: int
    files_after: int


def compact(
    root: Path,
    output: Path,
    data_mb: float | None = None,
    video_mb: float | None = None,
    progress: Progress | None = None,
) -> Compacted:
    """Write a v3.0 dataset again with many episodes to a file. The source stays as it is.

    data_mb, video_mb: sizes at which a next file is begun; None takes info.json's own
    (data_files_size_in_mb and video_files_size_in_mb, LeRobot's 100 and 200 where unsaid).
    Raises DatasetError, also if the source is not whole.
    """
    info = layout.load_info(root)
    if info.is_v2:
        raise DatasetError(
            f"{root} is {info.version}, which has a file for every episode; "
            "convert it to v3.0 first"
        )
    rows = tables.read_episodes(root, stats=False)
    if len(rows) != info.total_episodes:
        raise DatasetError(
            f"{root}: info.json counts {info.total_episodes} episodes, the metadata has "
            f"{len(rows)}; run `armlet dataset repair` first"
        )
    if not rows:
        raise DatasetError(f"{root} has no episodes, so there is nothing to merge")
    info = _sized(info, data_mb, video_mb)
    require_outside(output, [root])
    with new_dataset(output) as folder:
        rows = list(_write_data(root, folder, info, rows))
        for key in info.video_keys:
            if progress is not None:
                progress(key)
            rows = _write_videos(root, folder, info, rows, key)
        _write_metadata(root, folder, info, rows)
        after = _count(folder)
    return Compacted(len(rows), _count(root), after)


def _sized(info: Info, data_mb: float | None, video_mb: float | None) -> Info:
    try:
        sizes = {
            f"{kind}_files_size_in_mb": given
            or typed(float, info.document.get(f"{kind}_files_size_in_mb", usual), f"{kind} size")
            for kind, given, usual in (("data", data_mb, 100), ("video", video_mb, 200))
        }
    except FileError as error:
        raise DatasetError(f"{layout.INFO}: {error}; give --data-mb and --video-mb") from error
    return layout.parse_info({**info.document, **sizes})


def _limit(info: Info, kind: str) -> float:
    return float(info.document[f"{kind}_files_size_in_mb"]) * 2**20


def _next(number: FileNumber, chunks_size: int) -> FileNumber:
    if number.file + 1 < chunks_size:
        return FileNumber(number.chunk, number.file + 1)
    return FileNumber(number.chunk + 1, 0)


def _write_data(
    root: Path, folder: Path, info: Info, rows: Sequence[EpisodeRow]
) -> Iterator[EpisodeRow]:
    """Rows of many episodes to a file."""
    number, written = FileNumber(0, 0), 0.0
    file: DataFile | None = None
    sizes = _data_sizes(root, info, rows)
    try:
        for row, table in episode_tables(root, info, rows):
            if file is not None and written + sizes[row.episode] >= _limit(info, "data"):
                file.close()
                file, number = None, _next(number, info.chunks_size)
            if file is None:
                path = layout.place(folder, info.data_path(number))
                path.parent.mkdir(parents=True, exist_ok=True)
                file, written = DataFile(path, table.schema), 0.0
            if table.schema != file.schema:
                table = _cast(table, file.schema, root / info.data_path(row.data))
            file.add(table)
            written += sizes[row.episode]
            yield replace(row, data=number)
    finally:
        if file is not None:
            file.close()


def _cast(table: pa.Table, schema: pa.Schema, path: Path) -> pa.Table:
    """A table with the columns of those before it. Raises DatasetError if it has others."""
    try:
        return table.cast(schema)
    except (pa.ArrowException, ValueError) as error:
        raise DatasetError(
            f"{path} has other columns than the files before it: {printable(error)}"
        ) from error


def _data_sizes(root: Path, info: Info, rows: Sequence[EpisodeRow]) -> dict[int, float]:
    """About what each episode's rows take."""
    frames: dict[FileNumber, int] = defaultdict(int)
    for row in rows:
        frames[row.data] += row.length
    sizes = {}
    for number in frames:
        path = layout.locate(root, info.data_path(number))
        try:
            sizes[number] = path.stat().st_size
        except FileNotFoundError as error:
            raise DatasetError(f"{path} is absent; fetch the dataset's data folder too") from error
    return {row.episode: sizes[row.data] * row.length / frames[row.data] for row in rows}


def episode_tables(
    root: Path, info: Info, rows: Sequence[EpisodeRow]
) -> Iterator[tuple[EpisodeRow, pa.Table]]:
    """Each episode's rows, as they are; a file is read once where its episodes are in a row."""
    known: FileNumber | None = None
    table: Any = None
    for row in rows:
        if row.data != known:
            path = layout.locate(root, info.data_path(row.data))
            known, table = row.data, tables.read(path)
            index = tables.EpisodeIndex(tables.column(table, "episode_index", tables.COUNTER))
        own = index.part(table, row.episode)
        if own.num_rows != row.length:
            raise DatasetError(
                f"{root / info.data_path(row.data)}: expected {row.length} rows of episode "
                f"{row.episode}, found {own.num_rows}; run `armlet dataset check`"
            )
        yield row, own


def _write_videos(
    root: Path, folder: Path, info: Info, rows: Sequence[EpisodeRow], key: str
) -> list[EpisodeRow]:
    """One camera's videos, joined; the rows say where each episode's pictures are then."""
    placed: list[EpisodeRow] = []
    number = FileNumber(0, 0)
    for group in _video_groups(root, info, rows, key):
        path = layout.place(folder, info.video_path(key, number))
        path.parent.mkdir(parents=True, exist_ok=True)
        concat.join(path, [piece for _, piece in group], info.fps)
        start = 0
        for row, piece in group:
            span = VideoSpan(number, start / info.fps, (start + piece.count) / info.fps)
            start += piece.count
            placed.append(replace(row, videos={**row.videos, key: span}))
        number = _next(number, info.chunks_size)
    return placed


def _video_groups(
    root: Path, info: Info, rows: Sequence[EpisodeRow], key: str
) -> Iterator[list[tuple[EpisodeRow, Piece]]]:
    """Episodes that share a file: as many as fit, and as are coded alike."""
    group: list[tuple[EpisodeRow, Piece]] = []
    size = 0.0
    forms: dict[Path, concat.Form] = {}
    for row in rows:
        piece = piece_of(root, info, row, key)
        if piece.path not in forms:
            forms[piece.path] = concat.form(piece.path)
        form = forms[piece.path]
        own = piece.path.stat().st_size * piece.count / max(piece.count, form.pictures)
        if group and (
            size + own >= _limit(info, "video") or not form.fits(forms[group[0][1].path])
        ):
            yield group
            group, size = [], 0.0
        group.append((row, piece))
        size += own
    if group:
        yield group


def piece_of(root: Path, info: Info, row: EpisodeRow, key: str) -> Piece:
    """Where an episode's pictures are. Raises DatasetError if they are nowhere."""
    if key not in row.videos:
        raise DatasetError(f"episode {row.episode}: the metadata names no video for {key}")
    span = row.videos[key]
    path = layout.locate(root, info.video_path(key, span.number))
    if not path.exists():
        raise DatasetError(f"{path} is absent; fetch the dataset's videos folder too")
    return Piece(path, round(span.from_s * info.fps), row.length)


def _write_metadata(root: Path, folder: Path, info: Info, rows: Sequence[EpisodeRow]) -> None:
    copy_extras(root, folder, ("info.json", "episodes"))
    number = FileNumber(0, 0)
    target = folder / layout.episodes_path(number)
    target.parent.mkdir(parents=True, exist_ok=True)
    sources = [tables.read(path) for path in tables.episode_files(root)]
    table = tables.joined(sources).slice(0, len(rows))
    target.write_bytes(tables.encode(_placed(table, rows, number)))
    (folder / layout.INFO).write_bytes(info.dumps())


def _placed(table: pa.Table, rows: Sequence[EpisodeRow], number: FileNumber) -> pa.Table:
    """The episodes metadata with its columns of places renewed, all others as they are."""
    values: dict[str, list[int] | list[float]] = {
        **tables.row_places([row.data for row in rows], number)
    }
    for key in rows[0].videos if rows else ():
        spans = [row.videos[key] for row in rows]
        values[f"videos/{key}/chunk_index"] = [span.number.chunk for span in spans]
        values[f"videos/{key}/file_index"] = [span.number.file for span in spans]
        values[f"videos/{key}/from_timestamp"] = [span.from_s for span in spans]
        values[f"videos/{key}/to_timestamp"] = [span.to_s for span in spans]
    return tables.with_values(table, values)


def _count(root: Path) -> int:
    return sum(1 for pattern in ("data/*/*", "videos/*/*/*") for _ in root.glob(pattern))
