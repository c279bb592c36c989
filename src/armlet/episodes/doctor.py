"""Finds what is wrong with a dataset, and mends what a crash of the writer leaves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from armlet.contract import ContractError, load

from . import durable, layout, salvage, stats, tables, video
from .errors import DatasetError
from .layout import FileNumber, Info
from .tables import EpisodeRow

_TIMESTAMP_TOLERANCE_S = 1e-4  # LeRobot's, between a row's time and its picture's


def sweep(root: Path) -> list[str]:
    """Remove an unfinished episode's files and reconcile totals with the finished episodes.

    Returns what was done, one line each; nothing to do is an empty list. Raises DatasetError if
    the dataset is being written, or is damaged in a way armlet's writer cannot have caused.
    """
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder")
    handle = durable.lock(root)
    try:
        return repair(root)
    finally:
        durable.unlock(handle)


def repair(root: Path, keep: bool = False) -> list[str]:
    """`sweep` for a caller that holds the dataset's lock.

    keep: an unfinished episode stays, with every file it needs back in `.unfinished`.
    """
    if is_fresh(root):
        return remove_unfinished(root)
    info = layout.load_info(root)
    rows = tables.read_episodes(root)
    if info.total_episodes > len(rows):
        raise DatasetError(
            f"{root}: info.json counts {info.total_episodes} episodes, the metadata of "
            f"{len(rows)} is there; armlet never leaves this, so nothing was changed: restore "
            f"{_metadata(info)} or correct the totals"
        )
    pending = unfinished(root, len(rows))
    if keep and pending:
        said = []
        _take_back(root, info, rows)
    else:
        said = remove_unfinished(root)
    ours = pending or (root / layout.CONTRACT).exists()
    return [
        *said,
        *(_remove_orphans(root, info, rows) if ours else []),
        *_roll_forward(root, info, rows),
    ]


def unfinished(root: Path, episodes: int) -> bool:
    """Whether the episode that would come next was begun, and says what it was to be."""
    told = salvage.read_header(root / layout.UNFINISHED)
    return told is not None and told[0].episode == episodes


def _metadata(info: Info) -> Path:
    return layout.EPISODE_LINES if info.is_v2 else layout.EPISODES


def _take_back(root: Path, info: Info, rows: list[EpisodeRow]) -> None:
    """Move videos of the unfinished episode back that were already in their places."""
    known, number = set(_files(info, rows)), info.number_of(len(rows))
    moves = [
        (root / info.video_path(key, number), root / layout.UNFINISHED / f"{key}.mp4")
        for key in info.video_keys
        if info.video_path(key, number) not in known
    ]
    durable.move([(source, target) for source, target in moves if source.exists()])


def is_fresh(root: Path) -> bool:
    """Whether nothing but what an interrupted creation leaves is there."""
    names = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return all(layout.UNFINISHED in name.parents or name == layout.CONTRACT for name in names)


def remove_unfinished(root: Path) -> list[str]:
    """Remove `.unfinished` with its files; says so if there were any."""
    folder = root / layout.UNFINISHED
    if not folder.is_dir():
        return []
    paths = sorted(folder.iterdir())
    for path in paths:
        durable.remove(path)
    folder.rmdir()
    return [f"removed an unfinished episode ({len(paths)} files)"] if paths else []


def _remove_orphans(root: Path, info: Info, rows: list[EpisodeRow]) -> list[str]:
    """Remove data and videos of the one episode the writer may have been publishing."""
    number = info.number_of(len(rows))
    own = [info.data_path(number), *(info.video_path(key, number) for key in info.video_keys)]
    own.append(layout.ledger_path(len(rows)))
    known = set(_files(info, rows))
    orphans = [path for path in own if path not in known and (root / path).exists()]
    for path in orphans:
        durable.remove(root / path)
    return [f"removed {path} of unfinished episode {len(rows)}" for path in orphans]


def _roll_forward(root: Path, info: Info, rows: list[EpisodeRow]) -> list[str]:
    """Make stats.json and info.json say what the episodes metadata says."""
    tasks = len(tables.read_tasks(root))
    frames = rows[-1].dataset_to if rows else 0
    whole = info.with_totals(len(rows), frames, tasks)
    bare = [key for key in info.video_keys if info.features[key].info is None]
    if rows and bare:
        places = {key: root / info.video_path(key, rows[0].videos[key].number) for key in bare}
        streams = {key: video.describe(path) for key, path in places.items() if path.exists()}
        whole = whole.with_streams(streams)
    if whole.document == info.document:
        return []
    folder = root / layout.UNFINISHED
    was_there = folder.is_dir()
    durable.make_folder(folder)
    if rows and not info.is_v2 and all(row.stats for row in rows):
        durable.write(folder / "stats.json", stats.dumps(stats.aggregate([r.stats for r in rows])))
        durable.move([(folder / "stats.json", root / layout.STATS)])
    durable.write(folder / "info.json", whole.dumps())
    durable.move([(folder / "info.json", root / layout.INFO)])
    if not was_there:
        folder.rmdir()
    return [
        f"info.json counted {info.total_episodes} episodes, {info.total_frames} frames, "
        f"{info.total_tasks} tasks; now {len(rows)}, {frames}, {tasks}"
    ]


def _files(info: Info, rows: list[EpisodeRow]) -> Iterator[Path]:
    """Data and video files that the episodes metadata speaks of."""
    for row in rows:
        yield info.data_path(row.data)
        for key, span in row.videos.items():
            yield info.video_path(key, span.number)


def check(root: Path) -> list[str]:
    """Everything that is wrong with a dataset, one line each. Changes nothing."""
    try:
        info = layout.load_info(root)
        rows = tables.read_episodes(root)
        tasks = tables.read_tasks(root)
    except DatasetError as error:
        return [str(error)]
    return [
        *_leftovers(root, len(rows)),
        *_totals(info, rows, tasks),
        *_absent(root, info, rows),
        *_orphans(root, info, rows),
        *_row_problems(root, info, rows, len(tasks)),
        *_video_problems(root, info, rows),
        *_stats_problems(root, info),
        *_told_problems(root, rows),
        *_contract_problems(root, info),
    ]


def _leftovers(root: Path, episodes: int) -> Iterator[str]:
    if not (root / layout.UNFINISHED).exists() or durable.is_locked(root):
        return
    if unfinished(root, episodes):
        yield (
            f"{layout.UNFINISHED}: episode {episodes} was never finished; opening the dataset to "
            "record, or repairing it, finishes it up to its last complete frame"
        )
    else:
        yield (
            f"{layout.UNFINISHED}: an episode was never finished; opening the dataset to "
            "record removes it"
        )


def _totals(info: Info, rows: list[EpisodeRow], tasks: list[str]) -> Iterator[str]:
    frames = rows[-1].dataset_to if rows else 0
    counted = (info.total_episodes, info.total_frames, info.total_tasks)
    for name, there, found in zip(
        ("episodes", "frames", "tasks"), counted, (len(rows), frames, len(tasks)), strict=True
    ):
        if there != found:
            yield f"info.json counts {there} {name}, the metadata has {found}"
    for row in rows:
        unknown = [task for task in row.tasks if task not in tasks]
        if unknown:
            yield f"episode {row.episode}: task {unknown[0]!r} is not in {layout.TASKS}"


def _absent(root: Path, info: Info, rows: list[EpisodeRow]) -> Iterator[str]:
    for path in dict.fromkeys(_files(info, rows)):
        if not (root / path).exists():
            yield f"{path} is absent"
    for row in rows:
        for key in info.video_keys:
            if key not in row.videos:
                yield f"episode {row.episode}: the metadata names no video for {key}"


def _orphans(root: Path, info: Info, rows: list[EpisodeRow]) -> Iterator[str]:
    known = set(_files(info, rows))
    for pattern in ("data/*/*.parquet", "videos/*/*/*.mp4"):
        for path in sorted(root.glob(pattern)):
            if path.relative_to(root) not in known and not durable.is_locked(root):
                yield f"{path.relative_to(root)} belongs to no episode"


def _row_problems(root: Path, info: Info, rows: list[EpisodeRow], tasks: int) -> Iterator[str]:
    by_file: dict[FileNumber, list[EpisodeRow]] = defaultdict(list)
    for row in rows:
        by_file[row.data].append(row)
    for number, members in by_file.items():
        path = info.data_path(number)
        if not (root / path).exists():
            continue
        try:
            keys = [k for k, f in info.features.items() if f.dtype not in ("video", "image")]
            table = tables.read(root / path, keys)
            columns = {key: tables.column(table, key, info.features[key]) for key in keys}
        except (DatasetError, KeyError) as error:
            yield f"{path}: {error}"
            continue
        expected = sum(row.length for row in members)
        if table.num_rows != expected:
            yield f"{path} has {table.num_rows} rows, its episodes {expected}"
        for row in members:
            mask = columns["episode_index"] == row.episode
            own = {key: values[mask] for key, values in columns.items()}
            for problem in _episode_problems(own, row, info, tasks):
                yield f"episode {row.episode}: {problem}"


def _episode_problems(
    columns: dict[str, np.ndarray], row: EpisodeRow, info: Info, tasks: int
) -> Iterator[str]:
    steps = np.arange(row.length)
    if len(columns["index"]) != row.length:
        yield f"{len(columns['index'])} rows, the metadata says {row.length}"
        return
    if not np.array_equal(columns["frame_index"], steps):
        yield "frame_index is not 0, 1, 2, …"
    if not np.array_equal(columns["index"], row.dataset_from + steps):
        yield f"index does not run from {row.dataset_from} to {row.dataset_to - 1}"
    off = np.abs(columns["timestamp"] - steps / info.fps).max()
    # float32 itself is coarser than LeRobot's tolerance beyond about 17 minutes.
    if off > max(_TIMESTAMP_TOLERANCE_S, np.spacing(np.float32(row.length / info.fps))):
        yield f"timestamp is up to {off:.4f} s away from frame_index / fps"
    if not np.isin(columns["task_index"], np.arange(tasks)).all():
        yield f"task_index points beyond the {tasks} tasks"
    for key, values in columns.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            yield f"{key} has non-finite values"
    if layout.STAMP in columns:
        gaps = np.abs(np.diff(columns[layout.STAMP]) * 1e-9 - 1 / info.fps) > 0.5 / info.fps
        if gaps.any():
            yield f"{gaps.sum()} gap(s) in {layout.STAMP}, first at frame {gaps.argmax() + 1}"


def _video_problems(root: Path, info: Info, rows: list[EpisodeRow]) -> Iterator[str]:
    lengths: dict[Path, int] = defaultdict(int)
    ends: dict[Path, float] = defaultdict(float)
    for row in rows:
        for key, span in row.videos.items():
            path = info.video_path(key, span.number)
            lengths[path] += row.length
            ends[path] = max(ends[path], span.to_s)
    for path, expected in lengths.items():
        if not (root / path).exists():
            continue
        try:
            found = video.frame_count(root / path)
        except DatasetError as error:
            yield str(error)
            continue
        if found != expected:
            yield f"{path} holds {found} pictures for {expected} rows"
        elif round(ends[path] * info.fps) != expected:
            yield f"{path}: its last episode ends at {ends[path]:.3f} s of {expected} pictures"


def _told_problems(root: Path, rows: list[EpisodeRow]) -> Iterator[str]:
    for row in rows:
        try:
            damaged = layout.load_told(root, row.episode).get("damaged", {})
        except DatasetError as error:
            yield str(error)
            continue
        for camera, frames in damaged.items():
            yield (
                f"episode {row.episode}: {len(frames)} picture(s) of {camera} came damaged from "
                f"the camera, first at frame {frames[0]}"
            )


def _stats_problems(root: Path, info: Info) -> Iterator[str]:
    if not info.total_episodes or info.is_v2:
        return
    try:
        statistics = stats.load(root / layout.STATS)
    except FileNotFoundError:
        yield f"{layout.STATS} is absent: training needs it for normalization"
        return
    except DatasetError as error:
        yield str(error)
        return
    for key, feature in info.features.items():
        if key not in statistics:
            if feature.dtype != "string":
                yield f"{layout.STATS} has no {key}"
        elif not feature.is_picture and statistics[key]["count"].item() != info.total_frames:
            yield (
                f"{layout.STATS}: {key} counts {statistics[key]['count'].item()} rows "
                f"of {info.total_frames}"
            )
        elif feature.is_picture and _has_overflown_std(statistics[key]):
            yield (
                f"{layout.STATS}: std of {key} is {statistics[key]['std'].max():.4f}, far below "
                "the spread of its quantiles: the fault of LeRobot 0.4.0–0.5.1; train with "
                "ImageNet statistics or compute the statistics again"
            )


def _has_overflown_std(picture: stats.Stats) -> bool:
    if "q90" not in picture:
        return False
    # A tenth of the values lie beyond either quantile, so std is at least 0.22 of their distance.
    return bool((picture["std"] < 0.1 * (picture["q90"] - picture["q10"])).any())


def _contract_problems(root: Path, info: Info) -> Iterator[str]:
    try:
        contract = load(root / layout.CONTRACT)
    except FileNotFoundError:
        return  # recorded by LeRobot
    except ContractError as error:
        yield str(error)
        return
    wanted = layout.features_of(contract)
    for key, feature in wanted.items():
        there = info.features.get(key)
        if there is None or (there.dtype, there.shape, there.names) != (
            feature.dtype,
            feature.shape,
            feature.names,
        ):
            yield f"feature {key} is not what {layout.CONTRACT} says"
    if info.fps != contract.fps:
        yield f"info.json says {info.fps} fps, {layout.CONTRACT} {contract.fps}"
