"""Takes the last episodes out of a dataset, into its trash.

The order is the reverse of the writer's: the totals first, then the metadata, whose rename removes
an episode, then the files that nothing speaks of any more. A kill leaves a dataset that loads, with
the episode or without it; totals that say otherwise are corrected when it is opened again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from armlet.datasets.format import jsonl, layout, stats, tables
from armlet.datasets.format.errors import DatasetError
from armlet.datasets.format.layout import Info
from armlet.datasets.format.stats import Stats
from armlet.datasets.format.tables import EpisodeRow
from armlet.datasets.format.trash import Trash, replace_file


@dataclass(frozen=True)
class Removal:
    """Episodes that stay and the last ones, which go with their files."""

    kept: list[EpisodeRow]
    gone: list[EpisodeRow]
    files: list[Path]


def plan(root: Path, info: Info, count: int) -> Removal:
    """What removing the last `count` episodes means. Changes nothing.

    Raises DatasetError if fewer are there or one shares a file with an episode that stays.
    """
    rows = tables.read_episodes(root)
    if not 0 < count <= len(rows):
        raise DatasetError(f"{root} has {len(rows)} episodes; {count} cannot be removed")
    kept, gone = rows[:-count], rows[-count:]
    # Rows first: where LeRobot 0.3.3 looks, they must go with their line.
    files = sorted((path for row in gone for path in _files(info, row)), key=_is_not_rows)
    shared = set(files) & {path for row in kept for path in _files(info, row)}
    if shared:
        raise DatasetError(
            f"{root}: {min(shared)} holds rows of other episodes too; nothing was removed: delete "
            "the episode with LeRobot's own tools"
        )
    return Removal(kept, gone, files)


def remove(root: Path, info: Info, planned: Removal) -> tuple[Info, dict[str, Stats]]:
    """Move episodes to the trash; what the dataset is then. Raises DatasetError, OSError."""
    kept, gone, files = planned.kept, planned.gone, planned.files
    trash = Trash(root)
    frames = kept[-1].dataset_to if kept else 0
    info = info.with_totals(len(kept), frames, len(tables.read_tasks(root)))
    replace_file(root, layout.INFO, info.dumps(), trash)
    if info.is_v2:
        return info, _remove_lines(root, info, gone, files, trash)
    statistics = stats.aggregate([row.stats for row in kept]) if kept else {}
    if kept:
        replace_file(root, layout.STATS, stats.dumps(statistics), trash)
    else:
        _put(root, [layout.STATS], trash)
    _put(root, [layout.episodes_path(info.number_of(row.episode)) for row in gone[::-1]], trash)
    _put(root, files, trash)
    return info, statistics


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
