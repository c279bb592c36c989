"""The three kinds of parquet file in a v3.0 dataset: rows, episodes, tasks; v2.1 has the first.

`read_tasks` and `read_episodes` answer for both versions.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from armlet.files import (
    FileError,
    check_file,
    open_file,
    printable,
    reason,
    typed,
    whole_number,
)

from . import jsonl
from .errors import DatasetError
from .layout import (
    EPISODE_LINES,
    EPISODES,
    TASK_LINES,
    TASKS,
    Feature,
    FileNumber,
    Info,
    load_info,
    locate,
)
from .stats import Stats, numbers_of

_ARROW = {
    "float32": pa.float32(),
    "float64": pa.float64(),
    "int64": pa.int64(),
    "int32": pa.int32(),
    "bool": pa.bool_(),
}
# What a row holds that is no number: text, a file's bytes, a list of what was said.
_OBJECTS = ("string", "image", "language")
# What is read at once: ten times the 100 MB at which LeRobot begins a next file would not fit.
_MOST_VALUES, _MOST_BYTES = 50_000_000, 400 << 20
# Fewer are read by one thread in less time than it takes to share them out.
_MANY_VALUES = 1_000_000
_MOST_INDEX = 2**40
# What a Parquet file begins and ends with.
_MARK = b"PAR1"
_RESTORE = "restore it from a copy"
# What Arrow says where a computer has no more memory, processes or threads to give.
_SCARCE = ("Resource temporarily unavailable", "Cannot allocate memory")
_MORE = "end other programs, or raise `ulimit -v` and `ulimit -u`"
# Metadata files that are read at the same time, where there are more than a few of them.
_READERS, _FEW_FILES = 8, 16
# So many take some seconds to open.
_MANY_FILES = 1000
_LONGEST_S = 1e8
_PLACE = re.compile(r"chunk-(\d{1,9})/file-(\d{1,9})\.parquet")
COUNTER = Feature("int64", (1,))
# The name pandas gives to an unnamed index; LeRobot's tasks table is a pandas frame.
_TASK_COLUMN = "__index_level_0__"


@dataclass(frozen=True)
class VideoSpan:
    """Where an episode lies in a video file, seconds."""

    number: FileNumber
    from_s: float
    to_s: float


@dataclass(frozen=True)
class EpisodeRow:
    """One row of the episodes metadata. dataset_from..dataset_to is the half-open row range."""

    episode: int
    tasks: tuple[str, ...]
    length: int
    dataset_from: int
    dataset_to: int
    data: FileNumber
    videos: Mapping[str, VideoSpan]
    stats: Mapping[str, Stats] = field(default_factory=dict, compare=False)


def encode(table: pa.Table) -> bytes:
    """A table as the content of a parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="snappy")
    return bytes(sink.getvalue())


def read(
    path: Path,
    columns: list[str] | Callable[[list[str]], list[str]] | None = None,
    filters: Any = None,
) -> pa.Table:
    """A parquet file. columns: which, or a choice among those that are there; None is all.

    Raises DatasetError if it is absent, broken or too large for its kind.
    """
    try:
        check_file(path)
        with pq.ParquetFile(path) as file:
            chosen = columns(file.schema_arrow.names) if callable(columns) else columns
            values = _check_footer(file, path, chosen)
            if filters is None:
                return file.read(chosen, use_threads=values > _MANY_VALUES)
        return pq.read_table(path, columns=chosen, filters=filters, partitioning=None)
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is absent") from error
    except FileError as error:
        raise DatasetError(str(error)) from error
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        # ArrowInvalid and ArrowKeyError are among ValueError and ArrowException.
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DatasetError:
    if isinstance(error, MemoryError) or any(text in str(error) for text in _SCARCE):
        why = printable(" ".join(str(error).split()))
        return DatasetError(
            f"{path} cannot be read, this computer lacks what it takes: {why}", _MORE
        )
    return DatasetError(f"{path} {_damage(path, error)}", _RESTORE)


def _damage(path: Path, error: Exception) -> str:
    """What is wrong with a Parquet file that Arrow refuses: its ends bear four letters."""
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot be read: {reason(error)[0]}"
    with open_file(path) as file:
        first = file.read(len(_MARK))
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - len(_MARK)))
        last = file.read()
    if first != _MARK:
        return "is no Parquet file: its first bytes are other ones"
    if last != _MARK or size < 3 * len(_MARK):
        return "is cut short: it lacks the end of a Parquet file"
    return f"is damaged (Arrow: {printable(' '.join(str(error).split()))})"


def schema(path: Path) -> pa.Schema:
    """The columns of a parquet file. Raises DatasetError if it is absent or broken."""
    return footer(path).columns


@dataclass(frozen=True)
class Footer:
    """What a parquet file says of itself. size: bytes on disk."""

    rows: int
    columns: pa.Schema
    size: int


def footer(path: Path) -> Footer:
    """How many rows of which columns. Raises DatasetError if the file is absent or broken."""
    try:
        check_file(path)
        with pq.ParquetFile(path) as file:
            return Footer(file.metadata.num_rows, file.schema_arrow, path.stat().st_size)
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is absent") from error
    except FileError as error:
        raise DatasetError(str(error)) from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _check_footer(file: Any, path: Path, columns: list[str] | None) -> int:
    """How many values will be read.

    Raises DatasetError for columns that are not there, or take more memory than rows may.
    """
    footer = file.metadata
    lacking = sorted(set(columns or ()) - set(file.schema_arrow.names))
    if lacking:
        raise DatasetError(
            f"{path} has no column {', '.join(printable(name, 80) for name in lacking)}; it has "
            f"{printable(', '.join(file.schema_arrow.names))}"
        )
    values = size = 0
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        for place in range(footer.num_columns):
            column = group.column(place)
            if columns is None or column.path_in_schema.partition(".")[0] in columns:
                values += column.num_values
                size += column.total_uncompressed_size
    if values < 0 or values > _MOST_VALUES or size < 0 or size > _MOST_BYTES:
        raise DatasetError(
            f"{path}: its footer states {values:,} values in {size:,} bytes, expected at most "
            f"{_MOST_VALUES:,} in {_MOST_BYTES:,}: the file is damaged, or was not made by LeRobot"
        )
    return values


def joined(parts: Sequence[pa.Table]) -> pa.Table:
    """Tables of episodes, one after another. Raises DatasetError if their columns do not fit.

    LeRobot writes least and greatest values of integers as floats. Where all of those are whole,
    they become integers again, which a time in nanoseconds needs; else integers become floats.
    """
    types: dict[str, set[pa.DataType]] = {}
    for part in parts:
        for field_ in part.schema:
            types.setdefault(field_.name, set()).add(field_.type)
    alike = list(parts)
    try:
        for name in [name for name, kinds in types.items() if _mixed(kinds)]:
            alike = _alike(alike, name, types[name])
        return pa.concat_tables(alike, promote_options="permissive")
    except (pa.ArrowException, ValueError) as error:
        raise DatasetError(
            f"{EPISODES}: files have different columns: {printable(error)}"
        ) from error


def _leaf(kind: pa.DataType) -> pa.DataType:
    while pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    return kind


def _mixed(kinds: Iterable[pa.DataType]) -> bool:
    """Whether a column holds integers in one file and floats in another."""
    leaves = [_leaf(kind) for kind in kinds]
    return any(map(pa.types.is_integer, leaves)) and any(map(pa.types.is_floating, leaves))


def _alike(parts: Sequence[pa.Table], name: str, kinds: set[pa.DataType]) -> list[pa.Table]:
    integer = next(kind for kind in kinds if pa.types.is_integer(_leaf(kind)))
    real = next(kind for kind in kinds if pa.types.is_floating(_leaf(kind)))
    try:
        return [_cast(part, name, integer) for part in parts]
    except pa.ArrowInvalid:  # some are not whole
        return [_cast(part, name, real) for part in parts]


def _cast(part: pa.Table, name: str, kind: pa.DataType) -> pa.Table:
    if name not in part.column_names:
        return part
    # As floats, large integers lose bits; as integers, no float may lose anything.
    column = part[name].cast(kind, safe=pa.types.is_integer(_leaf(kind)))
    return part.set_column(part.column_names.index(name), name, column)


def data_table(
    features: Mapping[str, Feature],
    columns: Mapping[str, NDArray[Any]],
    described: bool = False,
    unsaid: Mapping[str, pa.DataType] | None = None,
) -> pa.Table:
    """The rows of an episode: fixed-size lists for vectors, plain values for shape (1,).

    described: with the schema metadata that v2.1 files carry for the `datasets` library, which up
    to 3.6 knows lists as "Sequence" only. unsaid: columns of language and their type; nothing is
    said in any of the rows.
    """
    arrays: dict[str, pa.Array] = {}
    for key, feature in features.items():
        if feature.dtype == "video":
            continue
        if unsaid and key in unsaid:
            arrays[key] = pa.array([[]] * len(columns["index"]), type=unsaid[key])
            continue
        kind = _ARROW[feature.dtype]
        flat = pa.array(columns[key].ravel(), type=kind)
        wide = feature.shape != (1,)
        arrays[key] = pa.FixedSizeListArray.from_arrays(flat, feature.shape[0]) if wide else flat
    table = pa.table(arrays)
    if not described:
        return table
    kinds = {key: _described(features[key]) for key in arrays}
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": kinds}})})


def _described(feature: Feature) -> dict[str, Any]:
    value = {"dtype": feature.dtype, "_type": "Value"}
    if feature.shape == (1,):
        return value
    return {"feature": value, "length": feature.shape[0], "_type": "Sequence"}


def _check_lengths(lists: pa.Array) -> None:
    """Raise TypeError for lists of different lengths, whose values would move to other rows."""
    lengths = pc.unique(pc.list_value_length(lists)).to_pylist()
    if len(lengths) > 1:
        said = " and ".join("none" if n is None else str(n) for n in lengths[:3])
        raise TypeError(f"found rows of {said} values")


def column(table: pa.Table, key: str, feature: Feature) -> NDArray[Any]:
    """One column as an array: (L,) for shape (1,), else (L, *shape). Raises DatasetError.

    Text and language are (L,) objects.
    """
    if key not in table.column_names:
        raise DatasetError(f"there is no column {printable(key, 80)}, which info.json declares")
    if table.column_names.count(key) > 1:
        raise DatasetError(f"column {printable(key, 80)} is there twice")
    values = table[key].combine_chunks()
    if feature.dtype in _OBJECTS:
        objects = np.empty(table.num_rows, dtype=object)
        objects[:] = values.to_pylist()  # one by one: rows of as many words would be a matrix
        return objects
    try:
        while pa.types.is_list(values.type) or pa.types.is_fixed_size_list(values.type):
            _check_lengths(values)
            values = values.flatten()
        plain = values.to_numpy(zero_copy_only=False)
        if plain.dtype.kind not in "iufb":
            raise TypeError(f"found {values.type}")
        if feature.dtype == "bool" and not np.isin(plain, (0, 1)).all():
            # numpy takes NaN and 2 for true.
            raise ValueError(f"found {plain[~np.isin(plain, (0, 1))][0]}")
        array: NDArray[Any] = np.asarray(plain, feature.dtype)
    except (TypeError, ValueError, OverflowError, pa.ArrowException) as error:
        raise DatasetError(
            f"column {printable(key, 80)}: expected {printable(feature.dtype, 40)} values, "
            f"{printable(error)}"
        ) from error
    shape = () if feature.shape == (1,) else feature.shape
    try:
        shaped: NDArray[Any] = array.reshape(table.num_rows, *shape)
        return shaped
    except ValueError as error:
        raise DatasetError(
            f"column {key}: {array.size} values in {table.num_rows} rows, "
            f"info.json says shape {feature.shape}"
        ) from error


class EpisodeIndex:
    """Where each episode's rows are in a file, without looking through the file for each of them.

    episode_index: the file's column (N,).
    """

    def __init__(self, episode_index: NDArray[Any]) -> None:
        # Stable: rows that lie apart keep their order.
        self._order = np.argsort(episode_index, kind="stable")
        self._sorted = episode_index[self._order]
        self._in_order = bool((self._order == np.arange(len(episode_index))).all())

    def rows(self, episode: int) -> slice | NDArray[np.int64]:
        """The rows of an episode, for indexing; a slice where the file has them in order."""
        first, last = np.searchsorted(self._sorted, [episode, episode + 1]).tolist()
        return slice(first, last) if self._in_order else self._order[first:last]

    def part(self, table: pa.Table, episode: int) -> pa.Table:
        """The rows of an episode as a table."""
        rows = self.rows(episode)
        if isinstance(rows, slice):
            return table.slice(rows.start, rows.stop - rows.start)
        return table.take(pa.array(rows))


def not_finite(values: NDArray[Any]) -> str:
    """Which rows (L, ...) hold a value that is NaN or infinite, and what to do; nothing if none."""
    if values.dtype.kind != "f":
        return ""
    rows = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
    if not len(rows):
        return ""
    more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
    return (
        f"non-finite values in row {rows[0]}{more}, of which nothing can be computed; take the "
        "episode out (`armlet dataset delete`), or those rows at its ends (`armlet dataset trim`)"
    )


def tasks_table(tasks: Sequence[str]) -> pa.Table:
    """tasks.parquet: a pandas frame with the task as its index, which pandas has to be given."""
    column_names: dict[str, Any] = {"name": None, "field_name": None, "metadata": None}
    metadata = {
        "index_columns": [_TASK_COLUMN],
        "column_indexes": [column_names | {"pandas_type": "unicode", "numpy_type": "object"}],
        "columns": [
            _pandas_column("task_index", "task_index", "int64", "int64"),
            _pandas_column(None, _TASK_COLUMN, "unicode", "object"),
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.2.0",
    }
    table = pa.table(
        {
            "task_index": pa.array(range(len(tasks)), pa.int64()),
            _TASK_COLUMN: pa.array(list(tasks), pa.string()),
        }
    )
    return table.replace_schema_metadata({"pandas": json.dumps(metadata)})


def _pandas_column(name: str | None, field_name: str, kind: str, numpy: str) -> dict[str, Any]:
    return {
        "name": name,
        "field_name": field_name,
        "pandas_type": kind,
        "numpy_type": numpy,
        "metadata": None,
    }


def tasks_path(info: Info) -> Path:
    """The tasks file of a dataset's version."""
    return TASK_LINES if info.is_v2 else TASKS


def unnamed_task(root: Path, info: Info, rows: Sequence[EpisodeRow], tasks: Sequence[str]) -> str:
    """What shows that the tasks file lacks tasks that rows have; nothing if nothing does.

    By the metadata alone: the file is absent, or has not what an episode is said to show. No crash
    leaves this, as a task is written before the rows that point at it. Another task would get the
    number of the one that is lacking.
    """
    path = tasks_path(info)
    if rows and not tasks:
        return f"{root / path} {'is absent' if not (root / path).exists() else 'has no tasks'}"
    known = set(tasks)
    for row in rows:
        for task in row.tasks:
            if task not in known:
                said = printable(repr(task), 80)
                return f"{root / path} lacks {said}, a task of episode {row.episode}"
    return ""


def require_tasks(root: Path, info: Info, rows: Sequence[EpisodeRow], tasks: Sequence[str]) -> None:
    """Raises DatasetError if the tasks file lacks tasks that rows have; see `unnamed_task`."""
    if lacking := unnamed_task(root, info, rows, tasks):
        raise DatasetError(f"{lacking}, so nothing was changed; restore it from a copy")


def read_tasks(root: Path) -> list[str]:
    """Tasks by row, which is how LeRobot looks them up. Empty if there is no file yet.

    Raises DatasetError if task_index is not the row number.
    """
    if (root / TASK_LINES).exists() and not (root / TASKS).exists():
        return jsonl.read_tasks(root)
    if not (root / TASKS).exists():
        return []
    table = read(locate(root, TASKS))
    names = [name for name in table.column_names if name != "task_index"]
    if len(names) != 1 or "task_index" not in table.column_names:
        raise DatasetError(f"{root / TASKS}: expected task_index and one column of tasks")
    if table["task_index"].to_pylist() != list(range(table.num_rows)):
        raise DatasetError(
            f"{root / TASKS}: task_index is not 0, 1, 2, …; LeRobot looks tasks up by row, "
            "so every task name would be wrong"
        )
    try:
        return [typed(str, task, "task") for task in table[names[0]].to_pylist()]
    except FileError as error:
        raise DatasetError(f"{root / TASKS}: {error}") from error


def episode_table(row: EpisodeRow, number: FileNumber) -> pa.Table:
    """The metadata file of one episode; number is the file's own place."""
    values: dict[str, Any] = {
        "episode_index": row.episode,
        "tasks": list(row.tasks),
        "length": row.length,
        "data/chunk_index": row.data.chunk,
        "data/file_index": row.data.file,
        "dataset_from_index": row.dataset_from,
        "dataset_to_index": row.dataset_to,
    }
    for key, span in row.videos.items():
        values[f"videos/{key}/chunk_index"] = span.number.chunk
        values[f"videos/{key}/file_index"] = span.number.file
        values[f"videos/{key}/from_timestamp"] = span.from_s
        values[f"videos/{key}/to_timestamp"] = span.to_s
    for feature, stats in row.stats.items():
        for name, value in stats.items():
            values[f"stats/{feature}/{name}"] = value.tolist()
    values["meta/episodes/chunk_index"] = number.chunk
    values["meta/episodes/file_index"] = number.file
    return pa.table({name: [value] for name, value in values.items()})


def with_values(table: pa.Table, values: Mapping[str, Sequence[int] | Sequence[float]]) -> pa.Table:
    """A table whose columns of these names, where it has them, hold other numbers."""
    for name, column in values.items():
        if name in table.column_names:
            place = table.column_names.index(name)
            kind = pa.float64() if name.endswith("timestamp") else pa.int64()
            table = table.set_column(place, name, pa.array(column, kind))
    return table


def row_places(data: Sequence[FileNumber], own: FileNumber) -> dict[str, list[int]]:
    """Columns of the episodes metadata: by episode the file of its rows, and the table's own."""
    return {
        "data/chunk_index": [number.chunk for number in data],
        "data/file_index": [number.file for number in data],
        "meta/episodes/chunk_index": [own.chunk] * len(data),
        "meta/episodes/file_index": [own.file] * len(data),
    }


def episode_files(root: Path) -> list[Path]:
    """The metadata files in the order in which LeRobot concatenates them."""
    return sorted((root / EPISODES).glob("*/*.parquet"))


def metadata_number(path: Path) -> FileNumber:
    """A metadata file's number, by its name. Raises DatasetError for a name that has none."""
    found = _PLACE.fullmatch("/".join(path.parts[-2:]))
    if found is None:
        raise DatasetError(f"{path}: expected a name like chunk-000/file-000.parquet")
    return FileNumber(int(found[1]), int(found[2]))


def many_files(root: Path) -> str:
    """Says so where there are so many metadata files that opening the dataset takes long."""
    count = len(episode_files(root))
    if count < _MANY_FILES:
        return ""
    return (
        f"its episodes' metadata is in {count} files, all of which are read whenever it is opened"
    )


def read_episodes(root: Path, stats: bool = True) -> list[EpisodeRow]:
    """All rows of the episodes metadata, in LeRobot's order.

    stats: with each episode's statistics, which are most of what is read; v2.1's come always.
    Raises DatasetError unless row i is episode i and row ranges follow each other: LeRobot looks
    episodes up by row, so a gap would silently shift every later one.
    """
    files = episode_files(root)
    if not files and (root / EPISODE_LINES).exists():
        return _in_order(_line_rows(root))
    columns = None if stats else _without_stats
    if len(files) <= _FEW_FILES:
        return _in_order(_episode_rows(files, (_metadata(root, path, columns) for path in files)))
    with ThreadPoolExecutor(_READERS, "metadata") as pool:
        found = pool.map(lambda path: _metadata(root, path, columns), files)
        return _in_order(_episode_rows(files, found))


def _without_stats(names: list[str]) -> list[str]:
    return [name for name in names if not name.startswith("stats/")]


def _metadata(
    root: Path, path: Path, columns: Callable[[list[str]], list[str]] | None
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read(locate(root, path.relative_to(root)), columns).to_pylist()
    return found


def _episode_rows(
    files: Iterable[Path], found: Iterable[list[dict[str, Any]]]
) -> Iterator[tuple[Path, EpisodeRow]]:
    for path, rows in zip(files, found, strict=True):
        for values in rows:
            yield path, _episode_row(values, path)


def _in_order(found: Iterable[tuple[Path, EpisodeRow]]) -> list[EpisodeRow]:
    rows: list[EpisodeRow] = []
    for path, row in found:
        start = rows[-1].dataset_to if rows else 0
        if row.episode != len(rows):
            raise DatasetError(
                f"{path}: found episode {row.episode} where episode {len(rows)} should be"
            )
        if (row.dataset_from, row.dataset_to) != (start, start + row.length):
            raise DatasetError(
                f"{path}: episode {row.episode} has rows "
                f"{row.dataset_from}..{row.dataset_to}, expected {start}..{start + row.length}"
            )
        rows.append(row)
    return rows


def _line_rows(root: Path) -> Iterator[tuple[Path, EpisodeRow]]:
    """The episodes of v2.1 and v2.0, each with files of its own; v2.0 has no statistics of them.

    A conversion of LeRobot's that was interrupted leaves some, of which nothing is known.
    """
    info = load_info(root)
    known = {} if info.is_v2_0 else jsonl.read_stats(root)
    start = 0
    for values in jsonl.read_episodes(root):
        number = info.number_of(values.episode)
        span = VideoSpan(number, 0.0, values.length / info.fps)
        row = EpisodeRow(
            episode=values.episode,
            tasks=values.tasks,
            length=values.length,
            dataset_from=start,
            dataset_to=start + values.length,
            data=number,
            videos=dict.fromkeys(info.video_keys, span),
            stats=known.get(values.episode, {}),
        )
        start = row.dataset_to
        yield root / EPISODE_LINES, row


def _episode_row(values: Mapping[str, Any], path: Path) -> EpisodeRow:
    try:
        return _parsed(values)
    except FileError as error:
        episode = printable(values.get("episode_index"), 40)
        raise DatasetError(f"{path}: episode {episode}: {error}") from error


def _parsed(values: Mapping[str, Any]) -> EpisodeRow:
    stats: dict[str, Stats] = {}
    videos = {}
    for name, value in values.items():
        kind, _, rest = name.partition("/")
        key, _, item = rest.rpartition("/")
        if kind == "stats" and value is not None:
            stats.setdefault(key, {})[item] = numbers_of(value, name)
        elif kind == "videos" and item == "from_timestamp" and value is not None:
            videos[key] = _span(values, f"videos/{key}")
    return EpisodeRow(
        episode=_whole(values, "episode_index"),
        tasks=typed(tuple[str, ...], values.get("tasks"), "tasks"),
        length=_whole(values, "length"),
        dataset_from=_whole(values, "dataset_from_index"),
        dataset_to=_whole(values, "dataset_to_index"),
        data=_place(values, "data"),
        videos=videos,
        stats=stats,
    )


def _span(values: Mapping[str, Any], place: str) -> VideoSpan:
    times = []
    for name in (f"{place}/from_timestamp", f"{place}/to_timestamp"):
        second = typed(float, values.get(name), name)
        if not 0 <= second <= _LONGEST_S:
            raise FileError(f"{name}: expected 0 to {_LONGEST_S:.0f} s, found {second}")
        times.append(float(second))
    return VideoSpan(_place(values, place), times[0], times[1])


def _place(values: Mapping[str, Any], place: str) -> FileNumber:
    return FileNumber(_whole(values, f"{place}/chunk_index"), _whole(values, f"{place}/file_index"))


def _whole(values: Mapping[str, Any], name: str) -> int:
    return whole_number(values.get(name), name, 0, _MOST_INDEX)
