"""Statistics computed again from rows and videos, compared with those stored, and mended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from . import durable, layout, stats, tables, video
from .errors import DatasetError
from .layout import Info
from .pictures import sampled, stored_picture
from .stats import QUANTILES, Stats
from .tables import EpisodeRow
from .trash import Trash

_BATCH = 16  # pictures decoded at a time

# Stored picture statistics are of the camera's pixels, those computed here of the video's.
PICTURE_TOLERANCE = 0.03
VECTOR_TOLERANCE = 1e-3
_COMPARED = ("mean", "std")


@dataclass(frozen=True)
class Difference:
    """A feature whose stored statistics are not those of its data. episode None: of all."""

    feature: str
    episode: int | None
    found: str

    def __str__(self) -> str:
        where = "" if self.episode is None else f"episode {self.episode}: "
        return f"{where}{self.feature}: {self.found}"


@dataclass(frozen=True)
class Recount:
    """Statistics by episode as they should be, of all of them, and what is stored otherwise."""

    episodes: list[dict[str, Stats]]
    whole: dict[str, Stats]
    differences: list[Difference]


def episode_stats(root: Path, info: Info, row: EpisodeRow, keys: Iterable[str]) -> dict[str, Stats]:
    """Statistics of an episode's features by their rows and decoded pictures.

    Raises DatasetError if rows or a video cannot be read.
    """
    wanted = [key for key in info.features if key in set(keys)]
    columns = [k for k in wanted if info.features[k].dtype not in ("video", "string", "language")]
    found: dict[str, Stats] = {}
    if columns:
        path = layout.locate(root, info.data_path(row.data))
        table = tables.read(path, columns, [("episode_index", "=", row.episode)])
        if table.num_rows != row.length:
            raise DatasetError(f"{path}: {table.num_rows} rows of episode {row.episode}")
        for key in columns:
            values = tables.column(table, key, info.features[key])
            stored = info.features[key].dtype == "image"
            found[key] = _of_stored(values) if stored else stats.vector_stats(values)
    for key in wanted:
        if info.features[key].dtype == "video":
            found[key] = _of_video(root, info, row, key)
    return {key: found[key] for key in wanted if key in found}


def _of_video(root: Path, info: Info, row: EpisodeRow, key: str) -> Stats:
    if key not in row.videos:
        raise DatasetError(f"episode {row.episode}: the metadata names no video for {key}")
    span = row.videos[key]
    path = layout.locate(root, info.video_path(key, span.number))
    first = round(span.from_s * info.fps)
    chosen = stats.sample_indices(row.length)
    total = np.zeros((3, 256), np.int64)
    for start in range(0, len(chosen), _BATCH):
        numbers = (first + chosen[start : start + _BATCH]).tolist()
        for picture in video.decode(path, numbers, info.fps):
            total += stats.count_levels(sampled(picture))
    return stats.picture_stats(total, len(chosen))


def _of_stored(pictures: NDArray[Any]) -> Stats:
    chosen = stats.sample_indices(len(pictures))
    total = np.zeros((3, 256), np.int64)
    for number in chosen.tolist():
        total += stats.count_levels(sampled(stored_picture(pictures[number], f"row {number}")))
    return stats.picture_stats(total, len(chosen))


def recount(
    root: Path, pictures: bool = True, progress: Callable[[int, int], None] | None = None
) -> Recount:
    """Compute a dataset's statistics again and compare. pictures: those too, by decoding.

    What is stored stays where it agrees: picture statistics were taken of the camera's pixels,
    which are better than what a video kept of them. Raises DatasetError.
    """
    info = layout.load_info(root)
    rows = tables.read_episodes(root)
    names = [
        key
        for key, feature in info.features.items()
        if feature.dtype not in ("string", "language") and (pictures or not feature.is_picture)
    ]
    mended: list[dict[str, Stats]] = []
    differences: list[Difference] = []
    for row in rows:
        fresh = episode_stats(root, info, row, names)
        wrong = _differences(row.stats, fresh, info, row.episode)
        differences += wrong
        mended.append(dict(row.stats))
        for key in {difference.feature for difference in wrong}:
            stored = row.stats.get(key)
            # Where only quantiles are lacking (LeRobot's own conversion), the rest stays.
            kept = (
                stored
                if stored and not _deviation(stored, fresh[key], _is_picture(info, key))
                else {}
            )
            mended[-1][key] = fresh[key] | kept
        if progress is not None:
            progress(row.episode + 1, len(rows))
    mended = [{key: s[key] for key in info.features if key in s} for s in mended]
    whole = stats.aggregate(mended) if mended else {}
    if not info.is_v2:
        differences += _whole_differences(root, whole, info)
    return Recount(mended, whole, differences)


def _is_picture(info: Info, key: str) -> bool:
    return info.features[key].is_picture


def _differences(
    stored: Mapping[str, Stats], fresh: Mapping[str, Stats], info: Info, episode: int | None
) -> list[Difference]:
    found = []
    for key, right in fresh.items():
        said = _difference(stored.get(key), right, _is_picture(info, key), info.is_v2)
        if said:
            found.append(Difference(key, episode, said))
    return found


def _difference(stored: Stats | None, right: Stats, picture: bool, is_v2: bool) -> str:
    if stored is None:
        return "no statistics are stored"
    said = _deviation(stored, right, picture)
    lacking = [name for name in QUANTILES if name not in stored]
    if not said and lacking and not is_v2:
        return f"{', '.join(lacking)} are not stored"
    return said


def _deviation(stored: Stats, right: Stats, picture: bool) -> str:
    """What is stored otherwise than it should be; nothing if all of it agrees."""
    for name in _COMPARED if picture else (*_COMPARED, "min", "max"):
        if name not in stored:
            return f"{name} is not stored"
        there, here = np.asarray(stored[name], float).ravel(), right[name].ravel()
        if there.shape != here.shape:
            return f"{name} has {there.size} values, expected {here.size}"
        span = np.asarray(right["max"] - right["min"], float).ravel()
        # A constant's own magnitude, where there is no span to compare with.
        scale = np.maximum(span, np.maximum(np.abs(here) * 1e-3, 1e-6))
        slack = np.full_like(here, PICTURE_TOLERANCE) if picture else VECTOR_TOLERANCE * scale
        off = np.abs(there - here) > slack
        if off.any():
            worst = int(np.argmax(np.abs(there - here) / slack))
            return (
                f"{name}[{worst}] is stored as {there[worst]:.6g}, the data's is {here[worst]:.6g}"
            )
    return ""


def _whole_differences(root: Path, whole: Mapping[str, Stats], info: Info) -> list[Difference]:
    try:
        stored = stats.load(layout.locate(root, layout.STATS))
    except FileNotFoundError:
        return [Difference(str(layout.STATS), None, "the file is absent")]
    return _differences(stored, whole, info, None)


def write(root: Path, recounted: Recount) -> None:
    """Store statistics: those of the episodes in their metadata, then those of all.

    Raises DatasetError if the dataset is being written.
    """
    handle = durable.lock(root)
    try:
        info, trash = layout.load_info(root), Trash(root)
        if info.is_v2:
            replace_file(root, layout.STATS_LINES, _lines(recounted.episodes), trash)
            return
        for path in tables.episode_files(root):
            table = _with_stats(tables.read(path), recounted.episodes)
            replace_file(root, path.relative_to(root), tables.encode(table), trash)
        replace_file(root, layout.STATS, stats.dumps(recounted.whole), trash)
    finally:
        durable.unlock(handle)


def lines_of(episode: int, found: Mapping[str, Stats]) -> dict[str, Any]:
    """A line of v2.1's episodes_stats.jsonl, which knows no quantiles."""
    document = {
        key: {name: value.tolist() for name, value in one.items() if name not in QUANTILES}
        for key, one in found.items()
    }
    return {"episode_index": episode, "stats": document}


def _lines(episodes: list[dict[str, Stats]]) -> bytes:
    texts = [json.dumps(lines_of(k, found), ensure_ascii=False) for k, found in enumerate(episodes)]
    return "".join(text + "\n" for text in texts).encode()


def _with_stats(table: pa.Table, episodes: list[dict[str, Stats]]) -> pa.Table:
    numbers = table["episode_index"].to_pylist()
    kept = [name for name in table.column_names if not name.startswith("stats/")]
    place = next(
        (i for i, name in enumerate(table.column_names) if name.startswith("stats/")), len(kept)
    )
    columns = {name: table[name] for name in kept[:place]}
    for key in dict.fromkeys(key for number in numbers for key in episodes[number]):
        for name in dict.fromkeys(n for number in numbers for n in episodes[number].get(key, {})):
            columns[f"stats/{key}/{name}"] = pa.array(
                [_listed(episodes[number].get(key, {}).get(name)) for number in numbers]
            )
    columns |= {name: table[name] for name in kept[place:]}
    return pa.table(columns)


def _listed(value: NDArray[Any] | None) -> Any:
    return None if value is None else value.tolist()


def replace_file(root: Path, target: Path, content: bytes, trash: Trash) -> None:
    """A file's new content, by one rename; never seen half written. What it was is in the trash."""
    staged = layout.place(root, target.with_name(f".{target.name}.new"))
    durable.make_folder(staged.parent)
    durable.write(staged, content)
    trash.keep(target)
    durable.move([(staged, layout.place(root, target))])
