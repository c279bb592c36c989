"""Finds what is wrong with a dataset: what contradicts itself in it. Changes nothing."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from armlet.contract import ContractError, load
from armlet.datasets.format import atomic_files, layout, stats, tables, video
from armlet.datasets.format.errors import DatasetError
from armlet.datasets.format.layout import Feature, FileNumber, Info
from armlet.datasets.format.tables import EpisodeRow
from armlet.datasets.format.trash import TRASH
from armlet.datasets.format.video_pieces import Piece, is_cuttable
from armlet.datasets.record import recovery
from armlet.datasets.record.leftovers import metadata_of, named_files, unfinished
from armlet.files import parted, printable
from armlet.findings import Code, Finding, Severity

from .recompute_stats import is_counted
from .rows import of_episode

TIMESTAMP_TOLERANCE_S = 1e-4  # LeRobot's, between a row's time and its picture's
# Statistics of pictures are of values 0..1, whose std is 0.5 at most; slack for what was rounded.
_MOST_OF = {"mean": 1.01, "max": 1.01, "std": 0.505}


# What helps, by what is wrong.
_REPAIR = "run `armlet dataset repair`"
RESTORE = "restore it from a copy, or record the episode again"
_CORRECT = "correct what the message names, or restore it from a copy"
FETCH = "fetch the file (`git lfs pull`, or download the dataset again), or restore it from a copy"
_COUNT = "compute them again: `armlet dataset stats --write`"
# Of distances: armlet computes no statistics of them, and gives them to no policy.
_NOT_COUNTED = (
    "`armlet dataset stats` does not compute those of distances: restore the file from a copy, or "
    "compute them with LeRobot, if a policy is to be trained on distances",
    Severity.WARNING,
)
_CONVERT = "`armlet dataset convert ROOT OUTPUT` writes a copy in v3.0 with statistics of the data"


COMPACT = "`armlet dataset compact ROOT OUTPUT` merges them, and recording goes on in OUTPUT"


def statistics_fix(info: Info) -> str:
    """What computes statistics again: of v2.0 only a copy can have others."""
    return _CONVERT if info.is_v2_0 else _COUNT


def _problem(
    code: Code,
    found: str,
    fix: str = RESTORE,
    severity: Severity = Severity.ERROR,
    episode: int | None = None,
) -> Finding:
    """Something that contradicts itself in a dataset. WARNING: it does no harm.

    episode: the one that it is about, if it is about one.
    """
    values = {} if episode is None else of_episode(episode)
    return Finding(code, severity, "", found=found, fix=fix, values=values)


def check(root: Path) -> list[str]:
    """Everything that is wrong with a dataset, one line each. Changes nothing."""
    return [str(problem.found) for problem in problems(root)]


def problems(root: Path) -> list[Finding]:
    """Everything that is wrong with a dataset, each with what helps. Changes nothing."""
    try:
        info = layout.load_info(root)
        rows = tables.read_episodes(root, stats=False)
        tasks = tables.read_tasks(root)
    except DatasetError as error:
        if os.path.lexists(root / layout.EDIT_JOURNAL):
            return [_problem(Code.DATASET_EDIT_INTERRUPTED, *parted(error, _REPAIR))]
        fix = _CORRECT if (root / layout.INFO).parent.is_dir() else layout.CHOOSE
        return [_problem(Code.DATASET_METADATA_UNREADABLE, *parted(error, fix))]
    found = [
        *_leftovers(root, len(rows)),
        *_version_notes(info),
        *_newer_columns(info),
        *_many_files(root),
        *_totals(info, rows, tasks),
        *_tasks_problems(root, info, rows, tasks),
        *_absent(root, info, rows),
        *_orphans(root, info, rows),
        *_row_problems(root, info, rows, len(tasks)),
        *_video_problems(root, info, rows),
        *_stats_problems(root, info, rows),
        *_note_problems(root, rows),
        *_contract_problems(root, info),
    ]
    return list(dict.fromkeys(found))


def _leftovers(root: Path, episodes: int) -> Iterator[Finding]:
    if os.path.lexists(root / layout.EDIT) and not atomic_files.is_locked(root):
        yield _problem(
            Code.DATASET_EDIT_INTERRUPTED,
            f"{layout.EDIT}: an edit was interrupted before it changed anything; repairing the "
            f"dataset, or the next edit, moves it to {TRASH}, or removes it if it is a copy",
            _REPAIR,
        )
    if not os.path.lexists(root / layout.UNFINISHED) or atomic_files.is_locked(root):
        return
    try:
        recovery.require_own(root)
    except DatasetError as error:
        yield _problem(Code.DATASET_UNFINISHED_NOT_OURS, *parted(error, "remove it"))
        return
    if unfinished(root, episodes):
        yield _problem(
            Code.DATASET_EPISODE_UNFINISHED,
            f"{layout.UNFINISHED}: episode {episodes} was never finished; opening the dataset to "
            "record, or repairing it, finishes it up to its last complete frame",
            _REPAIR,
        )
    else:
        yield _problem(
            Code.DATASET_EPISODE_UNFINISHED,
            f"{layout.UNFINISHED}: an episode was never finished; opening the dataset to "
            f"record, or repairing it, moves it to {TRASH}",
            _REPAIR,
        )


def _version_notes(info: Info) -> Iterator[Finding]:
    if info.is_v2_0:
        yield _problem(
            Code.DATASET_VERSION_OLD,
            "the dataset is v2.0: its statistics are of the whole only, without quantiles, and "
            "LeRobot 0.4 and later does not open it; it is read and never changed here",
            _CONVERT,
            Severity.WARNING,
        )


def _many_files(root: Path) -> Iterator[Finding]:
    if said := tables.many_files(root):
        yield _problem(Code.DATASET_FILES_MANY, said, COMPACT, Severity.WARNING)


def _newer_columns(info: Info) -> Iterator[Finding]:
    if info.is_v2 and info.language_keys:
        yield _problem(
            Code.DATASET_COLUMN_INVALID,
            f"{printable(', '.join(info.language_keys))}: columns of dtype 'language', which "
            f"{info.version} does not have: LeRobot cannot open the dataset",
            "convert the v3.0 dataset it was made of again; without it `armlet dataset convert "
            "ROOT COPY --to v3.0` keeps the columns, and `convert COPY OUTPUT --to v2.1` leaves "
            "them out",
        )


def _totals(info: Info, rows: list[EpisodeRow], tasks: list[str]) -> Iterator[Finding]:
    frames = rows[-1].dataset_to if rows else 0
    counted = (info.total_episodes, info.total_frames, info.total_tasks)
    lacking, known = info.total_episodes > len(rows), set(tasks)
    for name, there, found in zip(
        ("episodes", "frames", "tasks"), counted, (len(rows), frames, len(tasks)), strict=True
    ):
        if name == "tasks" and any(task not in known for row in rows for task in row.tasks):
            continue  # the file is lacking, or lacks some, which has a line of its own
        if there is not None and there != found:
            yield _problem(
                Code.DATASET_TOTAL_WRONG,
                f"info.json counts {there} {name}, the metadata has {found}",
                f"restore {metadata_of(info)} from a copy" if lacking else _REPAIR,
            )


def _tasks_problems(
    root: Path, info: Info, rows: list[EpisodeRow], tasks: list[str]
) -> Iterator[Finding]:
    """Tasks of the episodes' metadata that the tasks file lacks."""
    file, known = tables.tasks_path(info), set(tasks)
    if rows and not tasks:
        said = "has no tasks" if os.path.lexists(root / file) else "is absent"
        yield _problem(
            Code.DATASET_TASK_UNKNOWN,
            f"{file} {said}: the rows' task_index points at nothing",
            "restore the file from a copy; `armlet dataset convert ROOT OUTPUT` writes a copy with "
            "the names that the episodes' metadata has",
        )
        return
    for row in rows:
        unknown = [task for task in row.tasks if task not in known]
        if unknown:
            yield _problem(
                Code.DATASET_TASK_UNKNOWN,
                f"episode {row.episode}: task {printable(unknown[0], 80)!r} is not in {file}",
                "restore the file from a copy, or add the task there",
                episode=row.episode,
            )


def _absent(root: Path, info: Info, rows: list[EpisodeRow]) -> Iterator[Finding]:
    for path in dict.fromkeys(named_files(info, rows)):
        try:
            if not layout.locate(root, path).exists():
                yield _problem(Code.DATASET_FILE_MISSING, f"{path} is absent", FETCH)
        except DatasetError as error:
            yield _problem(Code.DATASET_PATH_INVALID, *parted(error, RESTORE))
    keys = info.video_keys
    for row in rows:
        for key in keys:
            if key not in row.videos:
                yield _problem(
                    Code.DATASET_VIDEO_UNDECLARED,
                    f"episode {row.episode}: the metadata names no video for {key}",
                    episode=row.episode,
                )


def _orphans(root: Path, info: Info, rows: list[EpisodeRow]) -> Iterator[Finding]:
    known = set(named_files(info, rows))
    for pattern in ("data/*/*.parquet", "videos/*/*/*.mp4"):
        for path in sorted(root.glob(pattern)):
            if path.relative_to(root) not in known and not atomic_files.is_locked(root):
                yield _problem(
                    Code.DATASET_FILE_ORPHANED,
                    f"{printable(path.relative_to(root))} belongs to no episode",
                    "restore the metadata that names it, or remove the file yourself",
                )


def _row_problems(root: Path, info: Info, rows: list[EpisodeRow], tasks: int) -> Iterator[Finding]:
    by_file: dict[FileNumber, list[EpisodeRow]] = defaultdict(list)
    for row in rows:
        by_file[row.data].append(row)
    odd = [
        key
        for key in layout.COUNTERS
        if key not in info.features or info.features[key].shape != (1,)
    ]
    if odd:
        yield _problem(
            Code.DATASET_COLUMNS_MISSING,
            f"info.json declares no column {odd[0]} of shape [1], which every row has",
        )
        return
    for number, members in by_file.items():
        path = info.data_path(number)
        try:
            where = layout.locate(root, path)
            if not where.exists():
                continue
            for said in _objects_problems(tables.schema(where), info):
                yield _problem(Code.DATASET_COLUMN_INVALID, f"{path}: {said}")
            keys = [k for k, f in info.features.items() if f.dtype not in layout.NOT_NUMBERS]
            table = tables.read(where, keys)
        except DatasetError as error:
            yield _problem(Code.DATASET_DATA_UNREADABLE, *parted(error, FETCH))
            continue
        try:
            columns = {key: tables.column(table, key, info.features[key]) for key in keys}
        except DatasetError as error:
            said, fix = parted(error, RESTORE)
            yield _problem(Code.DATASET_COLUMN_INVALID, f"{path}: {said}", fix)
            continue
        expected = sum(row.length for row in members)
        if table.num_rows != expected:
            yield _problem(
                Code.DATASET_ROW_COUNT_WRONG,
                f"{path} has {table.num_rows} rows, its episodes {expected}",
            )
        index = tables.EpisodeIndex(columns["episode_index"])
        for row in members:
            rows_of = index.rows(row.episode)
            own = {key: values[rows_of] for key, values in columns.items()}
            for code, said in _episode_problems(own, row, info, tasks):
                yield _problem(code, f"episode {row.episode}: {said}", episode=row.episode)


def _objects_problems(schema: pa.Schema, info: Info) -> Iterator[str]:
    """Columns of text and language that are not as declared, and columns that nobody declared.

    Those of numbers are judged when they are read. LeRobot cannot cast such a file to its features.
    """
    for key, feature in info.features.items():
        if feature.dtype not in ("string", "language"):
            continue
        if key not in schema.names:
            yield f"there is no column {printable(key, 80)}, which info.json declares"
        elif not _fits(schema.field(key).type, feature.dtype):
            yield (
                f"column {printable(key, 80)}: expected {feature.dtype} values, found "
                f"{printable(schema.field(key).type, 80)}"
            )
    for name in sorted({*schema.names} - {*info.features}):
        yield f"column {printable(name, 80)} is not declared in info.json"


def _fits(kind: pa.DataType, dtype: str) -> bool:
    while dtype == "string" and (pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)):
        kind = kind.value_type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_null(kind):
        return True
    if dtype == "string":
        return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _episode_problems(
    columns: dict[str, np.ndarray], row: EpisodeRow, info: Info, tasks: int
) -> Iterator[tuple[Code, str]]:
    if len(columns["index"]) != row.length:
        yield (
            Code.DATASET_ROW_COUNT_WRONG,
            f"{len(columns['index'])} rows, the metadata says {row.length}",
        )
        return
    steps = np.arange(row.length)
    if not np.array_equal(columns["frame_index"], steps):
        yield Code.DATASET_INDEX_WRONG, "frame_index is not 0, 1, 2, …"
    if not np.array_equal(columns["index"], row.dataset_from + steps):
        yield (
            Code.DATASET_INDEX_WRONG,
            f"index does not run from {row.dataset_from} to {row.dataset_to - 1}",
        )
    off = np.abs(columns["timestamp"] - steps / info.fps).max()
    # float32 itself is coarser than LeRobot's tolerance beyond about 17 minutes.
    if off > max(TIMESTAMP_TOLERANCE_S, np.spacing(np.float32(row.length / info.fps))):
        yield (
            Code.DATASET_TIMESTAMP_WRONG,
            f"timestamp is up to {off:.4f} s away from frame_index / fps",
        )
    if tasks and not np.isin(columns["task_index"], np.arange(tasks)).all():
        yield Code.DATASET_INDEX_WRONG, f"task_index points beyond the {tasks} tasks"
    for key, values in columns.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            yield Code.DATASET_VALUE_NOT_FINITE, f"{key} has non-finite values"
    if layout.STAMP in columns:
        gaps = np.abs(np.diff(columns[layout.STAMP]) * 1e-9 - 1 / info.fps) > 0.5 / info.fps
        if gaps.any():
            yield (
                Code.DATASET_FRAMES_MISSING,
                f"{gaps.sum()} gap(s) in {layout.STAMP}, first at frame {gaps.argmax() + 1}",
            )


def _video_problems(root: Path, info: Info, rows: list[EpisodeRow]) -> Iterator[Finding]:
    by_file: dict[tuple[str, FileNumber], list[EpisodeRow]] = defaultdict(list)
    keys = set(info.video_keys)
    for row in rows:
        for key, span in row.videos.items():
            if key in keys:
                by_file[key, span.number].append(row)
    for (key, number), members in by_file.items():
        path = info.video_path(key, number)
        try:
            where = layout.locate(root, path)
            if not where.exists():
                continue
            count, size = video.extent(where)
        except DatasetError as error:
            yield _problem(Code.DATASET_VIDEO_UNREADABLE, *parted(error, FETCH))
            continue
        height, width = info.features[key].picture_size
        if size != (height, width):
            yield _problem(
                Code.DATASET_VIDEO_SIZE_WRONG,
                f"{path} holds pictures of {size[1]}x{size[0]}, info.json says {width}x{height}",
                "correct the feature's shape in info.json if the video is right, else restore it",
            )
        how = partial(_copy_without, info, key, where, members, len(rows))
        yield from _picture_problems(info, key, path, members, count, how)


def _copy_without(
    info: Info, key: str, where: Path, members: list[EpisodeRow], episodes: int
) -> str:
    """What writes a copy without the pictures that follow an episode's last row, in words."""
    starts = [round(row.videos[key].from_s * info.fps) for row in members]
    pieces = [Piece(where, k, row.length) for k, row in zip(starts, members, strict=True)]
    try:
        cuttable = all(is_cuttable(piece, info.fps) for piece in pieces)
    except DatasetError:  # too few pictures, or at other times: that is said for itself
        return ""
    if cuttable:
        verb = "convert" if info.is_v2 else "compact"
        return f"; `armlet dataset {verb} ROOT OUTPUT` writes a copy without them"
    if len(members) == 1:
        return "; no command leaves them out, because the episode's own pictures need them"
    # Whole files are copied. Where a file's episodes go apart, those that need others are encoded.
    last, end = members[0].episode, episodes - 1
    parts = [f"{a}-{b}" if a < b else str(b) for a, b in ((0, last), (last + 1, end))]
    return (
        "; pictures of episodes need others, so a copy without them encodes those episodes again: "
        f"`armlet dataset split ROOT --output PARTS a={parts[0]} b={parts[1]}`, then "
        "`armlet dataset merge PARTS/a PARTS/b --output OUTPUT`"
    )


def _picture_problems(
    info: Info,
    key: str,
    path: Path,
    members: list[EpisodeRow],
    count: int,
    how: Callable[[], str],
) -> Iterator[Finding]:
    """A file's pictures against the rows of its episodes: too few, or some behind an episode."""
    rows = sum(row.length for row in members)
    said = f"{path} holds {count} pictures for {rows} rows"
    starts = [round(row.videos[key].from_s * info.fps) for row in members]
    fix = ""
    for row, start, end in zip(members, starts, [*starts[1:], count], strict=True):
        behind = end - start - row.length
        if behind < 0:
            yield _problem(
                Code.DATASET_VIDEO_TOO_SHORT,
                f"{said}: episode {row.episode} has {row.length} rows and {max(0, end - start)} "
                "pictures",
            )
        elif behind > 0:
            fix = fix or f"nothing needs to be done{how()}"
            yield _problem(
                Code.DATASET_VIDEO_LONGER,
                f"{said}: {behind} pictures follow the last row of episode {row.episode}, which "
                "training does not look at",
                fix,
                Severity.WARNING,
            )
    last = members[-1].videos[key].to_s
    if round(last * info.fps) > count:
        yield _problem(
            Code.DATASET_VIDEO_TOO_SHORT,
            f"{path}: its last episode ends at {last:.3f} s of {count} pictures",
        )


def _note_problems(root: Path, rows: list[EpisodeRow]) -> Iterator[Finding]:
    notes = layout.notes_reader(root)
    for row in rows:
        try:
            noted = notes(row.episode)
            damaged = noted.get("damaged", {})
            layout.provenance_in(noted, root, row.episode, row.length)
        except DatasetError as error:
            yield _problem(Code.DATASET_NOTES_UNREADABLE, *parted(error, RESTORE))
            continue
        for camera, frames in damaged.items():
            if frames:
                yield _problem(
                    Code.DATASET_IMAGE_DAMAGED,
                    f"episode {row.episode}: {len(frames)} picture(s) of {printable(camera, 80)} "
                    f"came damaged from the camera, first at frame {frames[0]}",
                    "look at them with `armlet dataset view`; drop the episode if they matter",
                    Severity.WARNING,
                    row.episode,
                )


def _stats_problems(root: Path, info: Info, rows: list[EpisodeRow]) -> Iterator[Finding]:
    if not info.total_episodes:
        return
    if info.is_v2_0:
        yield from _old_stats_problems(root, info)
        return
    if info.is_v2:
        yield from _line_stats_problems(info, rows)
        return
    try:
        statistics = stats.load(layout.locate(root, layout.STATS))
    except FileNotFoundError:
        yield _problem(
            Code.DATASET_STATISTICS_MISSING,
            f"{layout.STATS} is absent: training needs it for normalization",
            _COUNT,
        )
        return
    except DatasetError as error:
        yield _problem(Code.DATASET_STATISTICS_UNREADABLE, *parted(error, _COUNT))
        return
    # The rows say how many there are, unless metadata of episodes is lost.
    lacking = info.total_episodes > len(rows)
    frames = info.total_frames if lacking else sum(row.length for row in rows)
    for key, feature in info.features.items():
        fix, severity = (_COUNT, Severity.ERROR) if is_counted(info, key) else _NOT_COUNTED
        if key not in statistics:
            if feature.dtype not in ("string", "language"):
                found = f"{layout.STATS} has no {key}"
                yield _problem(Code.DATASET_STATISTICS_MISSING, found, fix, severity)
        elif wrong := stats.problem(statistics[key]):
            found = f"{layout.STATS}: {key}: {wrong}"
            yield _problem(Code.DATASET_STATISTICS_INVALID, found, fix, severity)
        elif not feature.is_picture and statistics[key]["count"].item() != frames:
            yield _problem(
                Code.DATASET_STATISTICS_COUNT,
                f"{layout.STATS}: {key} counts {statistics[key]['count'].item()} rows of {frames}",
                _COUNT,
            )
        elif feature.is_depth:
            continue  # of distances, in LeRobot's own way
        elif feature.is_picture and _of_bytes(statistics[key]):
            yield _problem(
                Code.DATASET_STATISTICS_INVALID,
                f"{layout.STATS}: {_bytes_said(key, statistics[key])}",
                _COUNT,
            )
        elif feature.is_picture and stats.std_below_quantiles(statistics[key]):
            yield _problem(
                Code.DATASET_IMAGE_STD_WRONG,
                f"{layout.STATS}: std of {key} is {statistics[key]['std'].min():.2g}, far below "
                f"the spread of its quantiles: {stats.STD_BUG}",
                "train with ImageNet statistics or compute the statistics again",
            )


def _of_bytes(picture: stats.Stats) -> str:
    """Which of a picture's statistics is of values 0..255; nothing if none is."""
    return next((name for name, most in _MOST_OF.items() if (picture[name] > most).any()), "")


def _bytes_said(key: str, picture: stats.Stats) -> str:
    name = _of_bytes(picture)
    return (
        f"{printable(key, 80)} has a {name} of {float(picture[name].max()):.4g}: statistics of "
        "pictures in 0..255, where LeRobot's are of 0..1"
    )


def _old_stats_problems(root: Path, info: Info) -> Iterator[Finding]:
    """v2.0's statistics, which are of the whole and count nothing."""
    try:
        statistics = stats.load(layout.locate(root, layout.STATS))
    except FileNotFoundError:
        found = f"{layout.STATS} is absent: training needs it for normalization"
        yield _problem(Code.DATASET_STATISTICS_MISSING, found, _CONVERT)
        return
    except DatasetError as error:
        yield _problem(Code.DATASET_STATISTICS_UNREADABLE, *parted(error, _CONVERT))
        return
    for key, known in statistics.items():
        if wrong := stats.problem({"count": np.ones(1), **known}) or _wrong_scale(info, key, known):
            found = f"{layout.STATS}: {printable(key, 80)}: {wrong}"
            yield _problem(Code.DATASET_STATISTICS_INVALID, found, _CONVERT)


def _line_stats_problems(info: Info, rows: list[EpisodeRow]) -> Iterator[Finding]:
    """v2.1's statistics, which are an episode's own."""
    bare = [row.episode for row in rows if not row.stats]
    if bare:
        yield _problem(
            Code.DATASET_STATISTICS_MISSING,
            f"{layout.STATS_LINES} has no statistics of episode {bare[0]}"
            + (f" and {len(bare) - 1} more" if len(bare) > 1 else "")
            + ": LeRobot cannot open the dataset",
            _COUNT,
        )
    found = {
        (row.episode, key): wrong
        for row in rows
        for key, known in row.stats.items()
        if (wrong := stats.problem(known) or _wrong_scale(info, key, known))
    }
    yield from invalid_statistics(layout.STATS_LINES, found)


def invalid_statistics(file: Path, wrong: Mapping[tuple[int, str], str]) -> Iterator[Finding]:
    """Statistics of episodes that cannot be used: why, by episode and feature; one line for all."""
    if not wrong:
        return
    (episode, key), said = next(iter(wrong.items()))
    more = f", and {len(wrong) - 1} more like this" if len(wrong) > 1 else ""
    yield _problem(
        Code.DATASET_STATISTICS_INVALID,
        f"{file}: episode {episode}: {printable(key, 80)}: {said}{more}",
        _COUNT,
    )


def _wrong_scale(info: Info, key: str, known: stats.Stats) -> str:
    feature = info.features.get(key)
    if feature is None or not feature.is_picture or feature.is_depth or not _of_bytes(known):
        return ""
    return _bytes_said("", known).strip()


def _is_like(there: Feature, wanted: Feature) -> bool:
    """Whether a feature is the one wanted. How pictures are stored, and called, is the tool's."""
    if wanted.is_picture and there.is_picture and not there.is_depth:
        return there.picture_size == wanted.picture_size
    return (there.dtype, there.shape, there.names) == (wanted.dtype, wanted.shape, wanted.names)


def _contract_problems(root: Path, info: Info) -> Iterator[Finding]:
    try:
        contract = load(layout.locate(root, layout.CONTRACT))
        wanted = layout.features_of(contract)
    except FileNotFoundError:
        return  # recorded by LeRobot
    except (ContractError, DatasetError) as error:
        yield _problem(Code.DATASET_CONTRACT_UNREADABLE, *parted(error, RESTORE))
        return
    for key, feature in wanted.items():
        there = info.features.get(key)
        if there is None and key == layout.STAMP and not contract.alignment:
            continue  # recorded by LeRobot, and bound to a contract afterwards
        if there is None or not _is_like(there, feature):
            yield _problem(
                Code.DATASET_CONTRACT_DIFFERS, f"feature {key} is not what {layout.CONTRACT} says"
            )
    if info.fps != contract.fps:
        yield _problem(
            Code.DATASET_CONTRACT_DIFFERS,
            f"info.json says {info.fps} fps, {layout.CONTRACT} {contract.fps}",
        )
