"""Finds what is wrong with a dataset, and mends what a crash of the writer leaves."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from armlet.contract import ContractError, load
from armlet.files import printable

from . import durable, layout, salvage, stats, tables, video
from .errors import DatasetError
from .layout import FileNumber, Info
from .restat import replace_file
from .tables import EpisodeRow
from .trash import TRASH, Step, Trash, entries

_NOT_NUMBERS = ("video", "image", "string", "language")
TIMESTAMP_TOLERANCE_S = 1e-4  # LeRobot's, between a row's time and its picture's
# Statistics of pictures are of values 0..1; slack for what was rounded.
_BRIGHTEST = 1.01


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
    done = []
    for step in plan(root, keep):
        step.do()
        done.append(step.done_line())
    return done


def plan(root: Path, keep: bool = False) -> list[Step]:
    """What `repair` does, with every file that it touches. Changes nothing. Raises DatasetError."""
    salvage.require_own(root)
    trash = Trash(root)
    if is_fresh(root):
        return _unfinished_steps(root, trash)
    info = layout.load_info(root)
    rows = tables.read_episodes(root)
    if info.total_episodes > len(rows):
        raise DatasetError(
            f"{root}: info.json counts {info.total_episodes} episodes, the metadata of "
            f"{len(rows)} is there; armlet never leaves this, so nothing was changed: restore "
            f"{_metadata(info)} or correct the totals"
        )
    pending = unfinished(root, len(rows))
    steps = list(_orphan_steps(root, info, rows, keep, trash)) if pending else []
    if not (keep and pending):
        steps += _unfinished_steps(root, trash)
    return [*steps, *_total_steps(root, info, rows, trash)]


def unfinished(root: Path, episodes: int) -> bool:
    """Whether the episode that would come next was begun, and says what it was to be."""
    told = salvage.read_header(root / layout.UNFINISHED)
    return told is not None and told[0].episode == episodes


def is_fresh(root: Path) -> bool:
    """Whether nothing but what an interrupted creation leaves is there."""
    own = (layout.UNFINISHED, TRASH)
    found = [path for path in entries(root, Path()) if path.parts[0] not in map(str, own)]
    return all(path == layout.CONTRACT for path in found)


def is_empty(root: Path) -> bool:
    """Whether a dataset was created here and no episode of it exists, in words or in files."""
    folders = [Path(name) for name in ("data", "videos", "images", "meta/episodes")]
    if any(path for folder in folders for path in entries(root, folder)):
        return False
    if salvage.read_header(root / layout.UNFINISHED) is not None:
        return False
    return not tables.read_episodes(root) and layout.load_info(root).total_episodes == 0


def put_empty_away(root: Path) -> list[str]:
    """Move the description of an empty dataset to the trash, for another to be made here."""
    trash = Trash(root)
    moved = [path for path in layout.DESCRIPTIONS if os.path.lexists(root / path)]
    for path in moved:
        trash.put(path)
    return [f"moved an empty dataset's {path} to {TRASH}" for path in moved]


def remove_unfinished(root: Path) -> None:
    """Remove `.unfinished` with this recorder's files; what else is in it goes to the trash."""
    folder = layout.place(root, layout.UNFINISHED)
    if not folder.is_dir():
        return
    salvage.require_own(root)
    for path in salvage.own_files(folder):
        durable.remove(path)
    if any(folder.iterdir()):
        Trash(root).put(layout.UNFINISHED)
    else:
        folder.rmdir()


def _metadata(info: Info) -> Path:
    return layout.EPISODE_LINES if info.is_v2 else layout.EPISODES


def _unfinished_steps(root: Path, trash: Trash) -> list[Step]:
    folder = root / layout.UNFINISHED
    if not folder.is_dir():
        return []
    found = tuple(entries(root, layout.UNFINISHED))
    if not found:
        return [Step("remove an empty folder", folder.rmdir, removes=(layout.UNFINISHED,))]
    return [
        Step(
            f"remove an unfinished episode ({len(found)} files)",
            lambda: trash.put(layout.UNFINISHED),
            removes=found,
            done=f"removed an unfinished episode ({len(found)} files)",
        )
    ]


def _orphan_steps(
    root: Path, info: Info, rows: list[EpisodeRow], keep: bool, trash: Trash
) -> Iterator[Step]:
    """Files of the one episode that the recorder was putting into their places when it was killed.

    keep: its videos go back to where they came from, from where the episode is finished.
    """
    known, number, episode = set(_files(info, rows)), info.number_of(len(rows)), len(rows)
    for key in info.video_keys:
        path, back = info.video_path(key, number), layout.UNFINISHED / f"{key}.mp4"
        if path in known or not (root / path).is_file() or (root / back).exists():
            continue  # never ours: ours was moved from there

        def take_back(path: Path = path, back: Path = back) -> None:
            durable.move([(layout.place(root, path), layout.place(root, back))])

        if keep:
            yield Step(f"take {path} of unfinished episode {episode} back", take_back, (back, path))
        else:
            yield _orphan_step(root, path, episode, trash)
    for path in (info.data_path(number), layout.ledger_path(episode)):
        if path not in known and (root / path).is_file():
            yield _orphan_step(root, path, episode, trash)


def _orphan_step(root: Path, path: Path, episode: int, trash: Trash) -> Step:
    layout.place(root, path)
    return Step(
        f"remove {path} of unfinished episode {episode}",
        lambda: trash.put(path),
        removes=(path,),
        done=f"removed {path} of unfinished episode {episode}",
    )


def _total_steps(root: Path, info: Info, rows: list[EpisodeRow], trash: Trash) -> Iterator[Step]:
    """Make stats.json and info.json say what the episodes metadata says."""
    tasks = len(tables.read_tasks(root))
    frames = rows[-1].dataset_to if rows else 0
    whole = info.with_totals(len(rows), frames, tasks)
    bare = [key for key in info.video_keys if info.features[key].info is None]
    if rows and bare:
        places = {
            key: layout.locate(root, info.video_path(key, rows[0].videos[key].number))
            for key in bare
            if key in rows[0].videos
        }
        streams = {key: video.describe(path) for key, path in places.items() if path.exists()}
        whole = whole.with_streams(streams)
    known = tasks if info.total_tasks is None else info.total_tasks
    if (info.total_episodes, info.total_frames, known) == (len(rows), frames, tasks):
        return
    contents = {layout.INFO: whole.dumps()}
    if rows and not info.is_v2 and all(row.stats for row in rows):
        whole_stats = stats.aggregate([row.stats for row in rows])
        contents = {layout.STATS: stats.dumps(whole_stats), **contents}

    def write() -> None:
        for path, content in contents.items():
            replace_file(root, path, content, trash)

    there = f"{info.total_episodes} episodes, {info.total_frames} frames"
    yield Step(
        f"correct {layout.INFO}: it counts {there}; there are {len(rows)}, {frames}",
        write,
        writes=tuple(contents),
        done=f"info.json counted {there}, {_told(info.total_tasks)} tasks; now {len(rows)}, "
        f"{frames}, {tasks}",
    )


def _told(count: int | None) -> str:
    return "unknown" if count is None else str(count)


def _files(info: Info, rows: list[EpisodeRow]) -> Iterator[Path]:
    """Data and video files that the episodes metadata speaks of."""
    for row in rows:
        yield info.data_path(row.data)
        for key, span in row.videos.items():
            if key in info.features:
                yield info.video_path(key, span.number)


# What helps, by what is wrong.
_REPAIR = "run `armlet dataset repair`"
_RESTORE = "restore it from a copy, or record the episode again"
_CORRECT = "correct the file as said, or restore it from a copy"
FETCH = "fetch the file (`git lfs pull`, or download the dataset again), or restore it from a copy"
_COUNT = "compute them again: `armlet dataset stats --write`"


@dataclass(frozen=True)
class Problem:
    """Something that contradicts itself in a dataset, and what helps. warning: it does no harm."""

    found: str
    fix: str = _RESTORE
    warning: bool = False
    kind: str = "structure"


def check(root: Path) -> list[str]:
    """Everything that is wrong with a dataset, one line each. Changes nothing."""
    return [problem.found for problem in problems(root)]


def problems(root: Path) -> list[Problem]:
    """Everything that is wrong with a dataset, each with what helps. Changes nothing."""
    try:
        info = layout.load_info(root)
        rows = tables.read_episodes(root)
        tasks = tables.read_tasks(root)
    except DatasetError as error:
        return [Problem(str(error), _CORRECT)]
    found = [
        *_leftovers(root, len(rows)),
        *_totals(info, rows, tasks),
        *_absent(root, info, rows),
        *_orphans(root, info, rows),
        *_row_problems(root, info, rows, len(tasks)),
        *_video_problems(root, info, rows),
        *_stats_problems(root, info, rows),
        *_told_problems(root, rows),
        *_contract_problems(root, info),
    ]
    return list(dict.fromkeys(found))


def _leftovers(root: Path, episodes: int) -> Iterator[Problem]:
    if not os.path.lexists(root / layout.UNFINISHED) or durable.is_locked(root):
        return
    try:
        salvage.require_own(root)
    except DatasetError as error:
        yield Problem(str(error), "remove it")
        return
    if unfinished(root, episodes):
        yield Problem(
            f"{layout.UNFINISHED}: episode {episodes} was never finished; opening the dataset to "
            "record, or repairing it, finishes it up to its last complete frame",
            _REPAIR,
        )
    else:
        yield Problem(
            f"{layout.UNFINISHED}: an episode was never finished; opening the dataset to "
            f"record, or repairing it, moves it to {TRASH}",
            _REPAIR,
        )


def _totals(info: Info, rows: list[EpisodeRow], tasks: list[str]) -> Iterator[Problem]:
    frames = rows[-1].dataset_to if rows else 0
    counted = (info.total_episodes, info.total_frames, info.total_tasks)
    lacking = info.total_episodes > len(rows)
    for name, there, found in zip(
        ("episodes", "frames", "tasks"), counted, (len(rows), frames, len(tasks)), strict=True
    ):
        if there is not None and there != found:
            yield Problem(
                f"info.json counts {there} {name}, the metadata has {found}",
                f"restore {_metadata(info)} from a copy" if lacking else _REPAIR,
            )
    for row in rows:
        unknown = [task for task in row.tasks if task not in tasks]
        if unknown:
            yield Problem(
                f"episode {row.episode}: task {printable(unknown[0], 80)!r} is not in "
                f"{layout.TASK_LINES if info.is_v2 else layout.TASKS}",
                "restore the file from a copy, or add the task there",
            )


def _absent(root: Path, info: Info, rows: list[EpisodeRow]) -> Iterator[Problem]:
    for path in dict.fromkeys(_files(info, rows)):
        try:
            if not layout.locate(root, path).exists():
                yield Problem(f"{path} is absent", FETCH)
        except DatasetError as error:
            yield Problem(str(error))
    for row in rows:
        for key in info.video_keys:
            if key not in row.videos:
                yield Problem(f"episode {row.episode}: the metadata names no video for {key}")


def _orphans(root: Path, info: Info, rows: list[EpisodeRow]) -> Iterator[Problem]:
    known = set(_files(info, rows))
    for pattern in ("data/*/*.parquet", "videos/*/*/*.mp4"):
        for path in sorted(root.glob(pattern)):
            if path.relative_to(root) not in known and not durable.is_locked(root):
                yield Problem(
                    f"{printable(path.relative_to(root))} belongs to no episode",
                    "restore the metadata that names it, or take the file away yourself",
                )


def _row_problems(root: Path, info: Info, rows: list[EpisodeRow], tasks: int) -> Iterator[Problem]:
    by_file: dict[FileNumber, list[EpisodeRow]] = defaultdict(list)
    for row in rows:
        by_file[row.data].append(row)
    odd = [
        key
        for key in layout.COUNTERS
        if key not in info.features or info.features[key].shape != (1,)
    ]
    if odd:
        yield Problem(f"info.json declares no column {odd[0]} of shape [1], which every row has")
        return
    for number, members in by_file.items():
        path = info.data_path(number)
        try:
            where = layout.locate(root, path)
            if not where.exists():
                continue
            keys = [k for k, f in info.features.items() if f.dtype not in _NOT_NUMBERS]
            table = tables.read(where, keys)
        except DatasetError as error:
            yield Problem(str(error), FETCH)
            continue
        try:
            columns = {key: tables.column(table, key, info.features[key]) for key in keys}
        except DatasetError as error:
            yield Problem(f"{path}: {error}")
            continue
        expected = sum(row.length for row in members)
        if table.num_rows != expected:
            yield Problem(f"{path} has {table.num_rows} rows, its episodes {expected}")
        for row in members:
            mask = columns["episode_index"] == row.episode
            own = {key: values[mask] for key, values in columns.items()}
            for problem in _episode_problems(own, row, info, tasks):
                yield Problem(f"episode {row.episode}: {problem}")


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
    if off > max(TIMESTAMP_TOLERANCE_S, np.spacing(np.float32(row.length / info.fps))):
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


def _video_problems(root: Path, info: Info, rows: list[EpisodeRow]) -> Iterator[Problem]:
    by_file: dict[tuple[str, Path], list[EpisodeRow]] = defaultdict(list)
    for row in rows:
        for key, span in row.videos.items():
            if key in info.video_keys:
                by_file[key, info.video_path(key, span.number)].append(row)
    for (key, path), members in by_file.items():
        try:
            where = layout.locate(root, path)
            if not where.exists():
                continue
            count, size = video.extent(where)
        except DatasetError as error:
            yield Problem(str(error), FETCH)
            continue
        height, width = info.features[key].picture_size
        if size != (height, width):
            yield Problem(
                f"{path} holds pictures of {size[1]}x{size[0]}, info.json says {width}x{height}",
                "correct the feature's shape in info.json if the video is right, else restore it",
            )
        yield from _picture_problems(info, key, path, members, count)


def _picture_problems(
    info: Info, key: str, path: Path, members: list[EpisodeRow], count: int
) -> Iterator[Problem]:
    """A file's pictures against the rows of its episodes: too few, or some behind an episode."""
    rows = sum(row.length for row in members)
    said = f"{path} holds {count} pictures for {rows} rows"
    starts = [round(row.videos[key].from_s * info.fps) for row in members]
    for row, start, end in zip(members, starts, [*starts[1:], count], strict=True):
        behind = end - start - row.length
        if behind < 0:
            yield Problem(
                f"{said}: episode {row.episode} has {row.length} rows and {max(0, end - start)} "
                "pictures"
            )
        elif behind > 0:
            verb = "convert" if info.is_v2 else "compact"
            yield Problem(
                f"{said}: {behind} pictures follow the last row of episode {row.episode}, which "
                "training does not look at",
                f"nothing needs to be done; `armlet dataset {verb} ROOT OUTPUT` writes a copy "
                "without them where episodes begin with a picture that stands for itself",
                warning=True,
            )
    last = members[-1].videos[key].to_s
    if round(last * info.fps) > count:
        yield Problem(f"{path}: its last episode ends at {last:.3f} s of {count} pictures")


def _told_problems(root: Path, rows: list[EpisodeRow]) -> Iterator[Problem]:
    for row in rows:
        try:
            damaged = layout.load_told(root, row.episode).get("damaged", {})
        except DatasetError as error:
            yield Problem(str(error))
            continue
        for camera, frames in damaged.items():
            if frames:
                yield Problem(
                    f"episode {row.episode}: {len(frames)} picture(s) of {printable(camera, 80)} "
                    f"came damaged from the camera, first at frame {frames[0]}",
                    "look at them with `armlet dataset view`; drop the episode if they matter",
                    warning=True,
                    kind="damaged",
                )


def _stats_problems(root: Path, info: Info, rows: list[EpisodeRow]) -> Iterator[Problem]:
    if not info.total_episodes:
        return
    if info.is_v2:
        yield from _line_stats_problems(info, rows)
        return
    try:
        statistics = stats.load(layout.locate(root, layout.STATS))
    except FileNotFoundError:
        yield Problem(f"{layout.STATS} is absent: training needs it for normalization", _COUNT)
        return
    except DatasetError as error:
        yield Problem(str(error), _COUNT)
        return
    for key, feature in info.features.items():
        if key not in statistics:
            if feature.dtype not in ("string", "language"):
                yield Problem(f"{layout.STATS} has no {key}", _COUNT)
        elif wrong := stats.problem(statistics[key]):
            yield Problem(f"{layout.STATS}: {key}: {wrong}", _COUNT)
        elif not feature.is_picture and statistics[key]["count"].item() != info.total_frames:
            yield Problem(
                f"{layout.STATS}: {key} counts {statistics[key]['count'].item()} rows "
                f"of {info.total_frames}",
                _COUNT,
            )
        elif feature.is_depth:
            continue  # of distances, in LeRobot's own way
        elif feature.is_picture and _of_bytes(statistics[key]):
            yield Problem(f"{layout.STATS}: {_bytes_said(key, statistics[key])}", _COUNT)
        elif feature.is_picture and _has_overflown_std(statistics[key]):
            yield Problem(
                f"{layout.STATS}: std of {key} is {statistics[key]['std'].max():.4f}, far below "
                "the spread of its quantiles: the fault of LeRobot 0.4.0–0.5.1",
                "train with ImageNet statistics or compute the statistics again",
                kind="std",
            )


def _of_bytes(picture: stats.Stats) -> bool:
    """Whether a picture's statistics are of values 0..255."""
    return bool((picture["max"] > _BRIGHTEST).any() or (picture["mean"] > _BRIGHTEST).any())


def _bytes_said(key: str, picture: stats.Stats) -> str:
    return (
        f"{printable(key, 80)} has a mean of {float(picture['mean'].max()):.4g}: statistics of "
        "pictures in 0..255, where LeRobot's are of 0..1"
    )


def _line_stats_problems(info: Info, rows: list[EpisodeRow]) -> Iterator[Problem]:
    """v2.1's statistics, which are an episode's own."""
    bare = [row.episode for row in rows if not row.stats]
    if bare:
        yield Problem(
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
    if found:
        (episode, key), wrong = next(iter(found.items()))
        more = f", and {len(found) - 1} more like this" if len(found) > 1 else ""
        yield Problem(
            f"{layout.STATS_LINES}: episode {episode}: {printable(key, 80)}: {wrong}{more}", _COUNT
        )


def _wrong_scale(info: Info, key: str, known: stats.Stats) -> str:
    feature = info.features.get(key)
    if feature is None or not feature.is_picture or feature.is_depth or not _of_bytes(known):
        return ""
    return _bytes_said("", known).strip()


def _has_overflown_std(picture: stats.Stats) -> bool:
    if "q90" not in picture:
        return False
    # A tenth of the values lie beyond either quantile, so std is at least 0.22 of their distance.
    return bool((picture["std"] < 0.1 * (picture["q90"] - picture["q10"])).any())


def _contract_problems(root: Path, info: Info) -> Iterator[Problem]:
    try:
        contract = load(layout.locate(root, layout.CONTRACT))
        wanted = layout.features_of(contract)
    except FileNotFoundError:
        return  # recorded by LeRobot
    except (ContractError, DatasetError) as error:
        yield Problem(str(error))
        return
    for key, feature in wanted.items():
        there = info.features.get(key)
        if there is None or (there.dtype, there.shape, there.names) != (
            feature.dtype,
            feature.shape,
            feature.names,
        ):
            yield Problem(f"feature {key} is not what {layout.CONTRACT} says")
    if info.fps != contract.fps:
        yield Problem(f"info.json says {info.fps} fps, {layout.CONTRACT} {contract.fps}")
