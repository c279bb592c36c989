"""Repairs a v2.1 dataset that a crash of LeRobot left inconsistent.

LeRobot 0.3 saves an episode in this order: tasks.jsonl, the data file, the videos, info.json,
episodes.jsonl, episodes_stats.jsonl, and only then removes the pictures it encoded. A crash leaves
any beginning of that. An episode whose rows are whole and whose videos are whole, or can still be
encoded from its pictures, is completed; one that cannot be is moved to the trash if it is the last,
and neither info.json nor episodes.jsonl counts it yet: LeRobot counts an episode once it is whole.
One that is counted was whole, so its files are elsewhere, and nothing is changed. Rows are the
truth: what info.json, episodes.jsonl and episodes_stats.jsonl say otherwise is corrected.

Everything that is replaced or removed is in the dataset's trash afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armlet.datasets.check import recompute_stats
from armlet.datasets.format import atomic_files, edit_journal, jsonl, layout, tables, video
from armlet.datasets.format.errors import DatasetError
from armlet.datasets.format.layout import Info
from armlet.datasets.format.pictures import Developer, decoded
from armlet.datasets.format.tables import EpisodeRow, VideoSpan
from armlet.datasets.format.trash import Step, Trash, entries, replace_file
from armlet.datasets.record import leftovers, recovery
from armlet.datasets.record.writer import recover
from armlet.files import FileError, read_bytes, whole_number

from . import encode

IMAGES = Path("images")
_MOST_EPISODES, _MOST_DIGITS = 1_000_000, 6
_LARGEST_PICTURE = 64 << 20


@dataclass(frozen=True)
class _Found:
    """What is there of an episode: its rows, and the cameras whose video has to be encoded."""

    rows: int
    tasks: tuple[int, ...]
    to_encode: tuple[str, ...]


@dataclass(frozen=True)
class _Lists:
    """What the lists in meta/ say of episodes, by number, and of tasks."""

    tasks: Mapping[int, str]
    listed: Mapping[int, dict[str, Any]]
    known: Mapping[int, dict[str, Any]]

    @classmethod
    def read(cls, root: Path) -> _Lists:
        tasks = jsonl.task_names(root, jsonl.read(root, layout.TASK_LINES, torn=True))
        listed = jsonl.read(root, layout.EPISODE_LINES, torn=True)
        for line in listed:
            jsonl.episode_line(root, line)
        known = jsonl.read(root, layout.STATS_LINES, torn=True)
        return cls(tasks, _by_episode(root, listed), _by_episode(root, known))


def _by_episode(root: Path, found: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    try:
        return {
            whole_number(line.get("episode_index"), "episode_index", 0, _MOST_EPISODES): line
            for line in found
        }
    except FileError as error:
        raise DatasetError(f"{root / 'meta'}: a line without its episode: {error}") from error


def plan(root: Path) -> list[Step]:
    """What has to be done to a v2.1 dataset, in order; nothing if it is whole. Changes nothing.

    Raises DatasetError where an episode that the metadata counts is not whole, and where the files
    are laid out as v3.0: no crash does that.
    """
    info = layout.load_info(root)
    if not info.is_v2:
        raise DatasetError(f"{root} is {info.version}, not v2.1")
    layout.require_current(root, info)
    found_lists, trash = _Lists.read(root), Trash(root)
    listed = found_lists.listed
    counted = max([info.total_episodes, *(k + 1 for k in listed)])
    if counted > _MOST_EPISODES:
        raise DatasetError(f"{root}: {counted} episodes are counted: metadata is damaged")
    last = max([*_data_episodes(root, info), counted - 1, -1]) + 1
    if last > counted + 1:
        raise DatasetError(
            f"{root}: there are data files up to episode {last - 1}, but the metadata counts "
            f"{counted} episodes; a crash leaves one at most, so nothing was changed: restore "
            f"{layout.EPISODE_LINES} and {layout.INFO} from a copy"
        )
    found = [_look(root, info, k) for k in range(last)]
    for k, episode in enumerate(found[:counted]):
        if isinstance(episode, str):
            raise DatasetError(
                f"{root}: episode {k} is broken ({episode}), but the metadata counts it, so it "
                "was whole once; nothing was changed: fetch what is missing (`git lfs pull`, or "
                "download the dataset again), restore it from a copy, or delete the episode with "
                "LeRobot's own tools"
            )
    kept = [episode for episode in found if isinstance(episode, _Found)]
    _require_tasks(kept, found_lists.tasks)
    return [
        *_encode_steps(root, info, kept, trash),
        *_torn_steps(root, found_lists, trash),
        *_stats_steps(root, info, kept, found_lists, trash),
        *_list_steps(root, kept, found_lists, trash),
        *_info_steps(root, info, kept, len(found_lists.tasks), trash),
        *_removal_steps(root, info, len(kept), [str(e) for e in found[len(kept) :]], trash),
        *_picture_steps(root, trash),
    ]


def _require_tasks(kept: Sequence[_Found], tasks: Mapping[int, str]) -> None:
    """Raises DatasetError where rows have a task without a name: LeRobot writes the name first."""
    for episode, found in enumerate(kept):
        for index in found.tasks:
            if index not in tasks:
                raise DatasetError(
                    f"episode {episode}: its rows refer to task {index}, which "
                    f"{layout.TASK_LINES} lacks; add its text there"
                )


def _data_episodes(root: Path, info: Info) -> Iterator[int]:
    for path in root.glob("data/*/episode_*.parquet"):
        digits = path.stem.removeprefix("episode_")
        if not digits.isdecimal() or len(digits) > _MOST_DIGITS:
            continue
        if root / info.data_path(info.number_of(int(digits))) == path:
            yield int(digits)


def _look(root: Path, info: Info, episode: int) -> _Found | str:
    """An episode's rows if it is whole or can be made so, or what is wrong with it."""
    number = info.number_of(episode)
    path = info.data_path(number)
    try:
        where = layout.locate(root, path)
        if not where.exists():
            return f"{path} is absent"
        columns = {"frame_index": 0, "episode_index": 0, "task_index": 0}
        table = tables.read(where, list(columns))
        found = {key: tables.column(table, key, tables.COUNTER) for key in columns}
    except DatasetError as error:
        return str(error)
    rows = table.num_rows
    if not rows or set(found["episode_index"].tolist()) != {episode}:
        return f"{path} does not hold rows of episode {episode}"
    to_encode = []
    for key in info.video_keys:
        lacking = _video_trouble(root, info, episode, key, rows)
        if lacking and len(_pictures(root, key, episode)) != rows:
            return lacking
        if lacking:
            to_encode.append(key)
    used = tuple(dict.fromkeys(found["task_index"].tolist()))
    return _Found(rows, used, tuple(to_encode))


def _video_trouble(root: Path, info: Info, episode: int, key: str, rows: int) -> str:
    path = info.video_path(key, info.number_of(episode))
    try:
        where = layout.locate(root, path)
        if not where.exists():
            return f"{path} is absent"
        count = video.frame_count(where)
    except DatasetError as error:
        return str(error)
    # Pictures behind the last row harm nothing, and are the recording's.
    return "" if count >= rows else f"{path} holds {count} pictures for {rows} rows"


def _pictures(root: Path, key: str, episode: int) -> list[Path]:
    """The pictures LeRobot keeps until an episode is saved, if they are numbered without a gap."""
    folder = layout.place(root, IMAGES / key / f"episode_{episode:06d}" / "frame")
    folder = folder.parent
    found = sorted(folder.glob("frame_*.png"))
    names = [f"frame_{number:06d}.png" for number in range(len(found))]
    return found if [path.name for path in found] == names else []


def _encode_steps(root: Path, info: Info, kept: list[_Found], trash: Trash) -> Iterator[Step]:
    for episode, found in enumerate(kept):
        for key in found.to_encode:
            path = info.video_path(key, info.number_of(episode))
            pictures = _pictures(root, key, episode)

            def run(path: Path = path, pictures: list[Path] = pictures, key: str = key) -> None:
                trash.keep(path)
                _encode(layout.place(root, path), pictures, info, key)

            said = f"encode {path} from the {len(pictures)} pictures in {IMAGES}/"
            yield Step(said, run, writes=(path,))


def _encode(target: Path, pictures: list[Path], info: Info, key: str) -> None:
    height, width = info.features[key].shape[:2]
    form = encode.form(
        str((info.features[key].info or {}).get("video.codec")), height, width, info.fps
    )
    developer = Developer(height, width)

    def frames() -> Iterator[Any]:
        for path in pictures:
            try:
                pixels = decoded(read_bytes(path, _LARGEST_PICTURE), str(path))
            except (FileError, FileNotFoundError) as error:
                raise DatasetError(str(error)) from error
            if pixels.shape[:2] != (height, width):
                raise DatasetError(f"{path} is not a picture of {width}x{height}")
            yield developer.rgb(pixels).frame

    encode.write_video(target, frames(), form)


def _torn_steps(root: Path, found: _Lists, trash: Trash) -> Iterator[Step]:
    if _is_torn(root, layout.TASK_LINES):
        content = jsonl.joined({"task_index": k, "task": task} for k, task in found.tasks.items())
        yield Step(
            f"remove a line of {layout.TASK_LINES} that was cut short",
            lambda: replace_file(root, layout.TASK_LINES, content, trash),
            writes=(layout.TASK_LINES,),
        )


def _is_torn(root: Path, path: Path) -> bool:
    """Whether the last line was cut short. Raises DatasetError for any other line that is none."""
    whole = jsonl.read(root, path, torn=True)
    try:
        return len(jsonl.read(root, path)) != len(whole)
    except DatasetError:
        return True


def _stats_steps(
    root: Path, info: Info, kept: list[_Found], lists: _Lists, trash: Trash
) -> Iterator[Step]:
    known = lists.known
    lacking = [
        k for k, found in enumerate(kept) if k not in known or _counted(known[k]) != found.rows
    ]
    too_many = sorted(set(known) - set(range(len(kept))))
    if not lacking and not too_many and not _is_torn(root, layout.STATS_LINES):
        return

    def write() -> None:
        fresh = {k: recompute_stats.lines_of(k, _computed(root, info, kept, k)) for k in lacking}
        found = {**known, **fresh}
        content = jsonl.joined([found[k] for k in range(len(kept))])
        replace_file(root, layout.STATS_LINES, content, trash)

    said = [f"compute statistics of episode {k}" for k in lacking]
    said += [f"remove statistics of episode {k}, which is not there" for k in too_many]
    said = said or ["remove a line that was cut short"]
    yield Step(f"{layout.STATS_LINES}: {', '.join(said)}", write, writes=(layout.STATS_LINES,))


def _counted(line: dict[str, Any]) -> int | None:
    """How many rows an episode's statistics are of."""
    try:
        return int(line["stats"]["frame_index"]["count"][0])
    except (KeyError, TypeError, IndexError, ValueError):
        return None


def _computed(root: Path, info: Info, kept: list[_Found], episode: int) -> Any:
    number = info.number_of(episode)
    begin = sum(found.rows for found in kept[:episode])
    rows = kept[episode].rows
    span = VideoSpan(number, 0.0, rows / info.fps)
    videos = dict.fromkeys(info.video_keys, span)
    row = EpisodeRow(episode, (), rows, begin, begin + rows, number, videos)
    keys = [key for key, feature in info.features.items() if feature.dtype != "string"]
    return recompute_stats.episode_stats(root, info, row, keys)


def _list_steps(root: Path, kept: list[_Found], lists: _Lists, trash: Trash) -> Iterator[Step]:
    listed = lists.listed
    right = [_line(k, found, lists.tasks, listed.get(k)) for k, found in enumerate(kept)]
    whole = right == [listed[k] for k in sorted(listed)]
    if whole and not _is_torn(root, layout.EPISODE_LINES):
        return
    said = []
    for line in right:
        there = listed.get(line["episode_index"])
        if there is None:
            said.append(f"add episode {line['episode_index']}, {line['length']} frames")
        elif there != line:
            said.append(
                f"episode {line['episode_index']} has {line['length']} frames, "
                f"not {there.get('length')}"
            )
    yield Step(
        f"{layout.EPISODE_LINES}: {', '.join(said or ['remove a line that was cut short'])}",
        lambda: replace_file(root, layout.EPISODE_LINES, jsonl.joined(right), trash),
        writes=(layout.EPISODE_LINES,),
    )


def _line(
    episode: int, found: _Found, tasks: Mapping[int, str], listed: dict[str, Any] | None
) -> dict[str, Any]:
    if listed is not None:
        return {**listed, "length": found.rows}
    texts = [tasks[index] for index in found.tasks]
    return {"episode_index": episode, "tasks": texts, "length": found.rows}


def _info_steps(
    root: Path, info: Info, kept: list[_Found], tasks: int, trash: Trash
) -> Iterator[Step]:
    frames = sum(found.rows for found in kept)
    right = info.with_totals(len(kept), frames, tasks)
    if right.document == info.document:
        return
    changed = [
        f"{name} {info.document.get(name)} becomes {value}"
        for name, value in right.document.items()
        if info.document.get(name) != value
    ]
    yield Step(
        f"{layout.INFO}: {', '.join(changed)}",
        lambda: replace_file(root, layout.INFO, right.dumps(), trash),
        writes=(layout.INFO,),
    )


def _removal_steps(
    root: Path, info: Info, episode: int, why: list[str], trash: Trash
) -> Iterator[Step]:
    """At most one episode, which nothing counts."""
    for reason in why:
        number = info.number_of(episode)
        paths = [info.data_path(number), *(info.video_path(k, number) for k in info.video_keys)]
        there = tuple(path for path in paths if os.path.lexists(layout.place(root, path)))

        def remove(paths: tuple[Path, ...] = there) -> None:
            for path in paths:
                trash.put(path)

        said = f"remove unfinished episode {episode} ({reason}), which nothing counts yet"
        yield Step(said, remove, removes=there)


def _picture_steps(root: Path, trash: Trash) -> Iterator[Step]:
    folder = layout.place(root, IMAGES)
    if not folder.is_dir() or folder.is_symlink():
        return
    found = tuple(entries(root, IMAGES))
    if found:
        yield Step(
            f"remove {IMAGES}/, {len(found)} pictures of episodes that are saved or cannot be",
            lambda: trash.put(IMAGES),
            removes=found,
        )


# --- any dataset --------------------------------------------------------------------------------


def repair(root: Path, yes: bool, remove: bool = False) -> list[str]:
    """Fix what a crash left in a dataset, or without `yes` say what would be done.

    An unfinished episode of armlet's recorder is finished up to its last complete frame, or with
    `remove` moved to the trash. Returns what was done; or what would be, and under each line the
    files that would be touched. Raises DatasetError if the dataset is being written, or is broken
    in a way no crash leaves.
    """
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder", layout.CHOOSE)
    if atomic_files.is_locked(root):
        raise DatasetError(f"{root} is being written by a recorder; stop that one first")
    finished = _finish_edit(root, yes)
    if finished and not yes:
        return finished
    return [*finished, *_repair(root, yes, remove)]


def _finish_edit(root: Path, yes: bool) -> list[str]:
    """What an edit left goes first: nothing else can be said before it is finished."""
    if not yes:
        return [line for step in edit_journal.plan(root) for line in step.lines()]
    handle = atomic_files.lock(root)
    try:
        return edit_journal.finish(root)
    finally:
        atomic_files.unlock(handle)


def _repair(root: Path, yes: bool, remove: bool) -> list[str]:
    stock = _is_stock_v2(root)
    if not yes:
        steps = plan(root) if stock else _foreseen(root, remove)
        return [line for step in steps for line in step.lines()]
    if stock:
        return _stock(root)
    if remove or recovery.read_header(root / layout.UNFINISHED) is None:
        return leftovers.sweep(root)
    return [str(one) for one in recover(root)]


def _is_stock_v2(root: Path) -> bool:
    known = (root / layout.CONTRACT).exists() or os.path.lexists(root / layout.UNFINISHED)
    return not known and (root / layout.INFO).exists() and layout.load_info(root).is_v2


def _stock(root: Path) -> list[str]:
    handle = atomic_files.lock(root)
    try:
        steps = plan(root)
        for step in steps:
            step.do()
    finally:
        atomic_files.unlock(handle)
    return [step.done_line() for step in steps]


def _foreseen(root: Path, remove: bool) -> list[Step]:
    """What would be done to a v3.0 dataset, or one of armlet's."""
    steps = leftovers.plan(root, keep=not remove)
    unfinished = None if remove else recovery.read_header(root / layout.UNFINISHED)
    if unfinished is None or leftovers.is_fresh(root):
        return steps
    header, contract = unfinished
    info = layout.load_info(root)
    if not leftovers.unfinished(root, len(tables.read_episodes(root, stats=False))):
        return steps
    found = recovery.Remains(root / layout.UNFINISHED, header, contract)
    pictures = ", ".join(f"{count} {name}" for name, count in found.pictures.items())
    there = f"{found.rows} rows, pictures: {pictures or 'none'}"
    used = tuple(entries(root, layout.UNFINISHED))
    if not found.frames:
        said = f"remove an unfinished episode without a complete frame ({there})"
        return [Step(said, _nothing, removes=used), *steps]
    said = f"finish unfinished episode {header.episode}: {found.frames} frames ({there})"
    return [Step(said, _nothing, writes=_written(info, header.episode), removes=used), *steps]


def _nothing() -> None:
    """The writer does it."""


def _written(info: Info, episode: int) -> tuple[Path, ...]:
    """Every file that finishing an episode writes."""
    number = info.number_of(episode)
    lists = (
        (layout.TASK_LINES, layout.STATS_LINES, layout.EPISODE_LINES)
        if info.is_v2
        else (layout.TASKS, layout.episodes_path(number), layout.STATS)
    )
    videos = (info.video_path(key, number) for key in info.video_keys)
    own = (info.data_path(number), *videos, layout.ledger_path(episode))
    return (*own, *lists, layout.INFO)
