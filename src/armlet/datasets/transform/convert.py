"""Between LeRobot's versions 2.1 and 3.0, both ways, and from 2.0: rows and videos as they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from armlet.contract import Camera, Contract
from armlet.datasets.check import recompute_stats
from armlet.datasets.format import concat, jsonl, layout, stats, tables
from armlet.datasets.format.errors import DatasetError
from armlet.datasets.format.layout import Feature, Info
from armlet.datasets.format.stats import QUANTILES, Stats
from armlet.datasets.format.tables import EpisodeRow, VideoSpan

from . import task_names
from .atomic_directory import copy_extras, new_dataset, require_outside
from .compact import episode_tables, piece_of

Progress = Callable[[int, int], None]

# Files of meta/ that the other version has in another form.
REWRITTEN = (
    "info.json",
    "stats.json",
    "tasks.parquet",
    "tasks.jsonl",
    "episodes",
    "episodes.jsonl",
    "episodes_stats.jsonl",
)


@dataclass(frozen=True)
class Converted:
    """What else became of a dataset.

    left_out: columns that the version does not have: v2.1 has none of dtype `language`. named:
    tasks that the tasks file lacked, by index, with the names that episodes' metadata has for them.
    """

    left_out: tuple[str, ...]
    named: Mapping[int, str]


def convert(root: Path, output: Path, version: str, progress: Progress | None = None) -> Converted:
    """Write a dataset again in another version, an episode to a file. The source stays.

    Rows are equal bit for bit, videos are copied, or cut out of a shared file packet by packet.
    v2.1 has no quantiles: towards v3.0 they are computed again, those of pictures from the video.
    v2.0 has no statistics of episodes: all are computed from the data, none are taken.
    Raises DatasetError, also if the source is not whole, or rows have a task without a name.
    """
    info = layout.load_info(root)
    if version not in layout.VERSIONS:
        raise DatasetError(
            f"version must be one of {', '.join(layout.VERSIONS)}, found {version!r}"
        )
    if info.is_v2 == (version == layout.VERSION_2) and not info.is_v2_0:
        raise DatasetError(f"{root} is {info.version} already")
    rows = tables.read_episodes(root)
    known = tables.read_tasks(root)
    if len(rows) != info.total_episodes:
        raise DatasetError(
            f"{root}: info.json counts {info.total_episodes} episodes, the metadata has "
            f"{len(rows)}; run `armlet dataset repair` first"
        )
    tasks = task_names.complete(root, info, rows, known)
    target = _info(info, version, len(rows), rows[-1].dataset_to if rows else 0, len(tasks))
    require_outside(output, [root])
    with new_dataset(output) as folder:
        placed = [
            _write_episode(root, folder, (info, target), row, table)
            for row, table in _counted(episode_tables(root, info, rows), len(rows), progress)
        ]
        copy_extras(root, folder, REWRITTEN)
        _write_metadata(folder, target, placed, tasks)
    left_out = tuple(key for key in info.features if key not in target.features)
    return Converted(left_out, dict(list(enumerate(tasks))[len(known) :]))


def _info(info: Info, version: str, episodes: int, frames: int, tasks: int) -> Info:
    """info.json of the other version: its paths and counts, everything else as it was."""
    document = dict(info.document)
    for name in (
        "total_videos",
        "total_chunks",
        "data_files_size_in_mb",
        "video_files_size_in_mb",
    ):
        document.pop(name, None)
    document |= {name: _fresh(version)[name] for name in ("codebase_version", "data_path")}
    document["video_path"] = _fresh(version)["video_path"] if info.video_keys else None
    if version == layout.VERSION:
        document |= {"data_files_size_in_mb": 100, "video_files_size_in_mb": 200}
    left_out = info.language_keys if version == layout.VERSION_2 else []
    document["features"] = {
        key: _renamed_stream(block)
        for key, block in info.document["features"].items()
        if key not in left_out
    }
    return layout.parse_info(document).with_totals(episodes, frames, tasks)


def _renamed_stream(block: Mapping[str, Any]) -> Mapping[str, Any]:
    """A feature with its stream's description under the name that v2.1 and later have for it."""
    if layout.OLD_STREAM_INFO not in block or "info" in block:
        return block
    return {"info" if key == layout.OLD_STREAM_INFO else key: v for key, v in block.items()}


def _fresh(version: str) -> Mapping[str, Any]:
    """info.json of a new dataset with a camera, for the paths of its version."""
    names = ("joint",)
    contract = Contract(1, (Camera("camera", 2, 2),), names, names)
    return layout.new_info(contract, "", version).document


def _counted(
    found: Iterator[tuple[EpisodeRow, pa.Table]], count: int, progress: Progress | None
) -> Iterator[tuple[EpisodeRow, pa.Table]]:
    for done, item in enumerate(found, 1):
        yield item
        if progress is not None:
            progress(done, count)


def _write_episode(
    root: Path, folder: Path, infos: tuple[Info, Info], row: EpisodeRow, table: pa.Table
) -> EpisodeRow:
    """An episode's data and videos under their new names; its row says where they are."""
    info, target = infos
    number = target.number_of(row.episode)
    path = layout.place(folder, target.data_path(number))
    path.parent.mkdir(parents=True, exist_ok=True)
    left_out = [k for k in info.features if k not in target.features and k in table.column_names]
    path.write_bytes(tables.encode(described(table.drop_columns(left_out), target)))
    for key in info.video_keys:
        place = layout.place(folder, target.video_path(key, number))
        place.parent.mkdir(parents=True, exist_ok=True)
        concat.join(place, [piece_of(root, info, row, key)], info.fps)
    span = VideoSpan(number, 0.0, row.length / info.fps)
    return replace(
        row,
        data=number,
        videos=dict.fromkeys(info.video_keys, span),
        stats=_stats(root, info, row),
    )


def _stats(root: Path, info: Info, row: EpisodeRow) -> dict[str, Stats]:
    """An episode's statistics: those stored, and what is not stored or lacks quantiles again."""
    needed = [
        key
        for key, feature in info.features.items()
        if feature.dtype != "string" and _lacks(row.stats.get(key), info.is_v2)
    ]
    fresh = recompute_stats.episode_stats(root, info, row, needed)
    # A camera's own pixels are better than what its video kept of them.
    found = {**row.stats, **{key: fresh[key] | row.stats.get(key, {}) for key in fresh}}
    return {key: found[key] for key in info.features if key in found}


def _lacks(stored: Stats | None, is_v2: bool) -> bool:
    return stored is None or (is_v2 and not set(QUANTILES) <= set(stored))


def described(table: pa.Table, target: Info) -> pa.Table:
    """With the schema metadata that LeRobot 0.3's `datasets` reads; v3.0 goes by info.json."""
    if not target.is_v2:
        return table.replace_schema_metadata(None)
    kinds = {
        name: _kind(target.features[name]) for name in table.column_names if name in target.features
    }
    text = json.dumps({"info": {"features": kinds}})
    return table.replace_schema_metadata({"huggingface": text})


def _kind(feature: Feature) -> dict[str, Any]:
    """A feature as `datasets` up to 3.6 describes it, which knows lists as "Sequence" only."""
    if feature.dtype == "image":
        return {"_type": "Image"}
    value = {"dtype": feature.dtype, "_type": "Value"}
    if feature.shape == (1,) or feature.dtype == "string":
        return value
    if len(feature.shape) == 1:
        return {"feature": value, "length": feature.shape[0], "_type": "Sequence"}
    return {
        "shape": list(feature.shape),
        "dtype": feature.dtype,
        "_type": f"Array{len(feature.shape)}D",
    }


def _write_metadata(
    folder: Path, info: Info, rows: Sequence[EpisodeRow], tasks: Sequence[str]
) -> None:
    if info.is_v2:
        contents = _line_files(rows, tasks)
    else:
        contents = {layout.TASKS: tables.encode(tables.tasks_table(tasks))}
        for row in rows:
            number = info.number_of(row.episode)
            table = tables.episode_table(row, number)
            contents[layout.episodes_path(number)] = tables.encode(table)
        contents[layout.STATS] = stats.dumps(stats.aggregate([row.stats for row in rows]))
    for target, content in {**contents, layout.INFO: info.dumps()}.items():
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        (folder / target).write_bytes(content)


def _line_files(rows: Sequence[EpisodeRow], tasks: Sequence[str]) -> dict[Path, bytes]:
    return {
        layout.TASK_LINES: jsonl.tasks(tasks),
        layout.EPISODE_LINES: jsonl.joined(
            {"episode_index": row.episode, "tasks": list(row.tasks), "length": row.length}
            for row in rows
        ),
        layout.STATS_LINES: jsonl.joined(
            recompute_stats.lines_of(row.episode, row.stats) for row in rows
        ),
    }
