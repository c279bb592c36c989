"""What a crash of the writer leaves in a dataset, and how it is put right."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from armlet.datasets.format import atomic_files, edit_journal, layout, stats, tables, video
from armlet.datasets.format.errors import DatasetError
from armlet.datasets.format.layout import Info
from armlet.datasets.format.tables import EpisodeRow
from armlet.datasets.format.trash import TRASH, Step, Trash, entries, replace_file

from . import recovery


def sweep(root: Path) -> list[str]:
    """Remove an unfinished episode's files and reconcile totals with the finished episodes.

    Returns what was done, one line each; nothing to do is an empty list. Raises DatasetError if
    the dataset is being written, or is damaged in a way armlet's writer cannot have caused.
    """
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder", layout.CHOOSE)
    handle = atomic_files.lock(root)
    try:
        return repair(root)
    finally:
        atomic_files.unlock(handle)


def repair(root: Path, keep: bool = False) -> list[str]:
    """`sweep` for a caller that holds the dataset's lock; finishes an interrupted edit first.

    keep: an unfinished episode stays, with every file it needs back in `.unfinished`.
    """
    done = edit_journal.finish(root)
    for step in plan(root, keep):
        step.do()
        done.append(step.done_line())
    return done


def plan(root: Path, keep: bool = False) -> list[Step]:
    """What `repair` does, with every file that it touches. Changes nothing. Raises DatasetError."""
    recovery.require_own(root)
    trash = Trash(root)
    if is_fresh(root):
        return _unfinished_steps(root, trash)
    info = layout.load_info(root)
    layout.require_current(root, info)
    rows = tables.read_episodes(root, stats=False)
    if info.total_episodes > len(rows):
        raise DatasetError(
            f"{root}: info.json counts {info.total_episodes} episodes, the metadata of "
            f"{len(rows)} is there; armlet never leaves this, so nothing was changed: restore "
            f"{metadata_of(info)} or correct the totals"
        )
    tables.require_tasks(root, info, rows, tables.read_tasks(root))
    pending = unfinished(root, len(rows))
    steps = list(_orphan_steps(root, info, rows, keep, trash)) if pending else []
    if not (keep and pending):
        steps += _unfinished_steps(root, trash)
    return [*steps, *_total_steps(root, info, rows, trash)]


def unfinished(root: Path, episodes: int) -> bool:
    """Whether the episode that would come next was begun, and says what it was to be."""
    found = recovery.read_header(root / layout.UNFINISHED)
    return found is not None and found[0].episode == episodes


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
    if recovery.read_header(root / layout.UNFINISHED) is not None:
        return False
    rows = tables.read_episodes(root, stats=False)
    return not rows and layout.load_info(root).total_episodes == 0


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
    recovery.require_own(root)
    for path in recovery.own_files(folder):
        atomic_files.remove(path)
    if any(folder.iterdir()):
        Trash(root).put(layout.UNFINISHED)
    else:
        folder.rmdir()


def metadata_of(info: Info) -> Path:
    """The file or folder that says which episodes there are."""
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
    known, number, episode = set(named_files(info, rows)), info.number_of(len(rows)), len(rows)
    for key in info.video_keys:
        path, back = info.video_path(key, number), layout.UNFINISHED / f"{key}.mp4"
        if path in known or not (root / path).is_file() or (root / back).exists():
            continue  # never ours: ours was moved from there

        def take_back(path: Path = path, back: Path = back) -> None:
            atomic_files.move([(layout.place(root, path), layout.place(root, back))])

        if keep:
            yield Step(f"move {path} of unfinished episode {episode} back", take_back, (back, path))
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
    known_stats = [] if info.is_v2 else [row.stats for row in tables.read_episodes(root)]
    if known_stats and all(known_stats):
        whole_stats = stats.aggregate(known_stats)
        contents = {layout.STATS: stats.dumps(whole_stats), **contents}

    def write() -> None:
        for path, content in contents.items():
            replace_file(root, path, content, trash)

    there = f"{info.total_episodes} episodes, {info.total_frames} frames"
    yield Step(
        f"correct {layout.INFO}: it counts {there}; there are {len(rows)}, {frames}",
        write,
        writes=tuple(contents),
        done=f"info.json counted {there}, {_or_unknown(info.total_tasks)} tasks; now {len(rows)}, "
        f"{frames}, {tasks}",
    )


def _or_unknown(count: int | None) -> str:
    return "unknown" if count is None else str(count)


def named_files(info: Info, rows: list[EpisodeRow]) -> Iterator[Path]:
    """Data and video files that the episodes metadata speaks of, each once."""
    for number in dict.fromkeys(row.data for row in rows):
        yield info.data_path(number)
    for key in info.features:
        spans = (row.videos[key] for row in rows if key in row.videos)
        for number in dict.fromkeys(span.number for span in spans):
            yield info.video_path(key, number)
