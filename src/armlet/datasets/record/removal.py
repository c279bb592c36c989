"""Takes the last episodes out of a dataset, into its trash.

The order is the reverse of the writer's: the totals first, then the metadata, whose rename removes
an episode, then the files that nothing speaks of any more. A kill leaves a dataset that loads, with
the episode or without it; totals that say otherwise are corrected when it is opened again.

What lies in one file with episodes that stay (`compaction`) is taken out of it by an edit: all
files change or none.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from armlet.datasets.format import concat, edit_journal, jsonl, layout, stats, tables
from armlet.datasets.format.data_file import DataFile
from armlet.datasets.format.errors import DatasetError
from armlet.datasets.format.layout import Info
from armlet.datasets.format.stats import Stats
from armlet.datasets.format.tables import EpisodeRow
from armlet.datasets.format.trash import Trash, replace_file
from armlet.datasets.format.video_pieces import Piece


@dataclass(frozen=True)
class Removal:
    """Episodes that stay and the last ones, which go with their files.

    files: those of rows, pictures and ledgers; metadata: v3.0's, the last file first. shared: files
    of either that episodes which stay have rows in.
    """

    kept: list[EpisodeRow]
    gone: list[EpisodeRow]
    files: list[Path]
    metadata: list[Path]
    shared: list[Path]


def plan(root: Path, info: Info, count: int) -> Removal:
    """What removing the last `count` episodes means. Changes nothing.

    Raises DatasetError if fewer are there.
    """
    rows = tables.read_episodes(root)
    if not 0 < count <= len(rows):
        raise DatasetError(f"{root} has {len(rows)} episodes; {count} cannot be removed")
    kept, gone = rows[:-count], rows[-count:]
    # Rows first: where LeRobot 0.3.3 looks, they must go with their line.
    files = sorted((path for row in gone for path in _files(info, row)), key=_is_not_rows)
    shared = sorted(set(files) & {path for row in kept for path in _files(info, row)})
    metadata, cut = ([], []) if info.is_v2 else _metadata(root, gone[0].episode)
    files = [path for path in files if path not in shared]
    return Removal(kept, gone, files, metadata, [*cut, *shared])


def _metadata(root: Path, first: int) -> tuple[list[Path], list[Path]]:
    """Files with the rows of episodes from the first on: those with no others, and those with."""
    whole: list[Path] = []
    for path in reversed(tables.episode_files(root)):
        numbers = tables.column(
            tables.read(path, ["episode_index"]), "episode_index", tables.COUNTER
        )
        relative = path.relative_to(root)
        if not len(numbers) or numbers.max() < first:
            break
        if numbers.min() < first:
            return whole, [relative]
        whole.append(relative)
    return whole, []


def remove(root: Path, info: Info, planned: Removal) -> tuple[Info, dict[str, Stats]]:
    """Move episodes to the trash; what the dataset is then. Raises DatasetError, OSError."""
    kept = planned.kept
    frames = kept[-1].dataset_to if kept else 0
    info = info.with_totals(len(kept), frames, len(tables.read_tasks(root)))
    statistics = stats.aggregate([row.stats for row in kept]) if kept and not info.is_v2 else {}
    if planned.shared:
        _cut(root, info, statistics, planned)
        return info, statistics
    trash = Trash(root)
    replace_file(root, layout.INFO, info.dumps(), trash)
    if info.is_v2:
        return info, _remove_lines(root, info, planned.gone, planned.files, trash)
    if kept:
        replace_file(root, layout.STATS, stats.dumps(statistics), trash)
    else:
        _put(root, [layout.STATS], trash)
    _put(root, planned.metadata, trash)
    _put(root, planned.files, trash)
    return info, statistics


def _cut(root: Path, info: Info, statistics: dict[str, Stats], planned: Removal) -> None:
    """Take the episodes' rows out of files that they share."""
    first, last = planned.gone[0].episode, planned.gone[-1].episode
    removes = [*planned.metadata, *planned.files]
    with edit_journal.prepared(root) as folder:
        for path in planned.shared:
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".mp4":
                _write_pictures(root, info, planned.kept, path, target)
            else:
                _write_rows(root / path, target, first)
        for path, content in (
            (layout.STATS, stats.dumps(statistics)),
            (layout.INFO, info.dumps()),
        ):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        there = [path for path in removes if os.path.lexists(root / path)]
        edit_journal.commit(root, f"remove episodes {first} to {last}", there)


def _write_pictures(
    root: Path, info: Info, kept: list[EpisodeRow], path: Path, target: Path
) -> None:
    """Write a video up to the last picture of the episodes that stay."""
    ends = [
        round(span.from_s * info.fps) + row.length
        for row in kept
        for key, span in row.videos.items()
        if info.video_path(key, span.number) == path
    ]
    concat.join(target, [Piece(layout.locate(root, path), 0, max(ends))], info.fps)


def _write_rows(source: Path, target: Path, episode: int) -> None:
    """Write a file's rows of the episodes before one."""
    table = tables.read(source)
    file = DataFile(target, table.schema)
    try:
        file.add(table.filter(pc.less(table["episode_index"], episode)))
    except pa.ArrowException as error:
        raise DatasetError(f"{source}: rows cannot be taken out: {error}") from error
    finally:
        file.close()


def _remove_lines(
    root: Path, info: Info, gone: list[EpisodeRow], files: list[Path], trash: Trash
) -> dict[str, Stats]:
    """v2.1: two renames with nothing between them, as in the writer."""
    first = gone[0].episode
    replace_file(root, layout.EPISODE_LINES, jsonl.before(root, layout.EPISODE_LINES, first), trash)
    _put(root, files, trash)
    replace_file(root, layout.STATS_LINES, jsonl.before(root, layout.STATS_LINES, first), trash)
    return {}


def _files(info: Info, row: EpisodeRow) -> list[Path]:
    """An episode's own files."""
    videos = [info.video_path(key, span.number) for key, span in row.videos.items()]
    return [info.data_path(row.data), *videos, layout.ledger_path(row.episode)]


def _is_not_rows(path: Path) -> bool:
    return path.suffix != ".parquet"


def _put(root: Path, paths: Iterable[Path], trash: Trash) -> None:
    for path in paths:
        if os.path.lexists(layout.place(root, path)):
            trash.put(path)
