"""Statistics computed again from rows and videos, compared with those stored, and repaired."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from armlet.datasets.format import atomic_files, layout, stats, tables, video
from armlet.datasets.format.errors import DatasetError
from armlet.datasets.format.layout import Info
from armlet.datasets.format.pictures import sampled, stored_picture
from armlet.datasets.format.stats import QUANTILES, Stats
from armlet.datasets.format.tables import EpisodeRow
from armlet.datasets.format.trash import Trash, replace_file
from armlet.findings import Code, Finding, Severity

_BATCH = 16  # pictures decoded at a time

# Stored picture statistics are of the camera's pixels, those computed here of the video's.
PICTURE_TOLERANCE = 0.03
# A spread of more than an encoder's noise, of which less than a third is stored: who trains with it
# divides by it.
_CONTRAST, _LOST = 0.01, 3.0
VECTOR_TOLERANCE = 1e-3
QUANTILE_TOLERANCE = 0.02
_COMPARED = ("mean", "std")
_UNREAD = (*layout.COUNTERS, layout.STAMP)
"""Columns that no policy reads: LeRobot's own edits leave old statistics of some behind."""


@dataclass(frozen=True)
class Recount:
    """Statistics by episode as they should be, of all of them, and what is stored otherwise.

    combined: quantiles of the whole that are made of the episodes' by LeRobot's rules; of data that
    differ between episodes they are not the data's. unread: other values of columns that no policy
    reads, such as counters.
    """

    episodes: list[dict[str, Stats]]
    whole: dict[str, Stats]
    differences: list[Finding]
    combined: list[Finding]
    unread: list[Finding]


@dataclass
class Material:
    """What a feature's statistics are computed from: rows of numbers, or pictures' level counts."""

    picture: bool
    rows: list[NDArray[Any]] = field(default_factory=list)
    levels: NDArray[np.int64] = field(default_factory=lambda: np.zeros((3, 256), np.int64))
    pictures: int = 0

    def count(self, picture: NDArray[np.uint8]) -> None:
        """Take a picture (h, w, 3)."""
        self.levels += stats.count_levels(sampled(picture))
        self.pictures += 1

    def add(self, other: Material) -> None:
        """Take another episode's, too."""
        self.rows += other.rows
        self.levels += other.levels
        self.pictures += other.pictures

    def stats(self) -> Stats:
        """Of all that was taken together: quantiles are those of the whole."""
        if self.picture:
            return stats.picture_stats(self.levels, self.pictures)
        return stats.vector_stats(np.concatenate(self.rows))


def episode_stats(root: Path, info: Info, row: EpisodeRow, keys: Iterable[str]) -> dict[str, Stats]:
    """Statistics of an episode's features by their rows and decoded pictures.

    Features without numbers, and distances, are left out. Raises DatasetError if rows or a video
    cannot be read.
    """
    return {key: found.stats() for key, found in _material(root, info, row, keys).items()}


def _material(root: Path, info: Info, row: EpisodeRow, keys: Iterable[str]) -> dict[str, Material]:
    asked = set(keys)
    wanted = [key for key in info.features if key in asked and is_counted(info, key)]
    columns = [key for key in wanted if info.features[key].dtype != "video"]
    found: dict[str, Material] = {}
    if columns:
        path = layout.locate(root, info.data_path(row.data))
        table = tables.read(path, columns, [("episode_index", "=", row.episode)])
        if table.num_rows != row.length:
            raise DatasetError(f"{path}: {table.num_rows} rows of episode {row.episode}")
        found |= _of_table(table, info, columns, f"episode {row.episode}")
    for key in wanted:
        if info.features[key].dtype == "video":
            found[key] = _of_video(root, info, row, key)
    return {key: found[key] for key in wanted}


def table_stats(table: pa.Table, info: Info, keys: Iterable[str]) -> dict[str, Stats]:
    """Statistics of features by an episode's rows; those that have no column are left out.

    Raises DatasetError for values that are not finite.
    """
    there = [k for k in keys if k in table.column_names and is_counted(info, k)]
    return {key: found.stats() for key, found in _of_table(table, info, there, "rows").items()}


def _of_table(table: pa.Table, info: Info, keys: Iterable[str], where: str) -> dict[str, Material]:
    found = {}
    for key in keys:
        values = tables.column(table, key, info.features[key])
        if said := tables.not_finite(values):
            raise DatasetError(f"{where}: {key} has {said}")
        stored = info.features[key].dtype == "image"
        found[key] = _of_stored(values) if stored else Material(False, [values])
    return found


def is_counted(info: Info, key: str) -> bool:
    """Whether armlet computes a feature's statistics; those of the others are kept as they are."""
    feature = info.features[key]
    return feature.dtype not in ("string", "language") and not feature.is_depth


def _of_video(root: Path, info: Info, row: EpisodeRow, key: str) -> Material:
    if key not in row.videos:
        raise DatasetError(f"episode {row.episode}: the metadata names no video for {key}")
    span = row.videos[key]
    path = layout.locate(root, info.video_path(key, span.number))
    first = round(span.from_s * info.fps)
    chosen, found = stats.sample_indices(row.length), Material(True)
    for start in range(0, len(chosen), _BATCH):
        numbers = (first + chosen[start : start + _BATCH]).tolist()
        for picture in video.decode(path, numbers, info.fps):
            found.count(picture)
    return found


def _of_stored(pictures: NDArray[Any]) -> Material:
    found = Material(True)
    for number in stats.sample_indices(len(pictures)).tolist():
        found.count(stored_picture(pictures[number], f"row {number}"))
    return found


def recount(
    root: Path, pictures: bool = True, progress: Callable[[int, int], None] | None = None
) -> Recount:
    """Compute a dataset's statistics again and compare. pictures: those too, by decoding.

    What is stored stays where it agrees: picture statistics were taken of the camera's pixels,
    which are better than what a video kept of them. Quantiles of the whole are those of all rows,
    not the mean of the episodes'. Raises DatasetError.
    """
    info = layout.load_info(root)
    rows = tables.read_episodes(root)
    names = [
        key
        for key, feature in info.features.items()
        if is_counted(info, key) and (pictures or not feature.is_picture)
    ]
    corrected: list[dict[str, Stats]] = []
    found_wrong: list[Finding] = []
    together: dict[str, Material] = {}
    for row in rows:
        material = _material(root, info, row, names)
        for key, found in material.items():
            together.setdefault(key, Material(found.picture)).add(found)
        fresh = {key: found.stats() for key, found in material.items()}
        wrong = _differences(row.stats, fresh, info, row.episode)
        # v2.0 has none of an episode.
        found_wrong += [] if info.is_v2_0 else wrong.values()
        corrected.append(_corrected(row.stats, fresh, wrong, info))
        if progress is not None:
            progress(row.episode + 1, len(rows))
    corrected = [{key: s[key] for key in info.features if key in s} for s in corrected]
    whole = _aggregated(corrected, set(together))
    combined: dict[str, Finding] = {}
    if not info.is_v2 or info.is_v2_0:
        stored = _stored_whole(root, info)
        right = {key: whole[key] | _quantiles_of(found) for key, found in together.items()}
        wrong = _differences(stored, right, info, None)
        combined = _combined(wrong, stored, [dict(row.stats) for row in rows])
        found_wrong += [one for key, one in wrong.items() if key not in combined]
        kept = {key: known for key, known in stored.items() if key not in together}
        whole = whole | kept | right
        whole = {key: whole[key] for key in info.features if key in whole}
    unread = [one for one in found_wrong if one.severity is Severity.NOTE]
    differences = [one for one in found_wrong if one.severity is not Severity.NOTE]
    return Recount(corrected, whole, differences, list(combined.values()), unread)


def _aggregated(episodes: list[dict[str, Stats]], computed: set[str]) -> dict[str, Stats]:
    """Of all episodes. What was not computed here and cannot be used is left out."""
    broken = {
        key
        for found in episodes
        for key, one in found.items()
        if key not in computed and stats.problem(one)
    }
    usable = [{k: one for k, one in found.items() if k not in broken} for found in episodes]
    return stats.aggregate(usable)


def _corrected(
    stored: Mapping[str, Stats],
    fresh: Mapping[str, Stats],
    wrong: Mapping[str, Finding],
    info: Info,
) -> dict[str, Stats]:
    """An episode's statistics as they should be."""
    right = dict(stored)
    for key, finding in wrong.items():
        there = stored.get(key)
        if finding.code is Code.DATASET_QUANTILES_WRONG and there:
            right[key] = there | {name: fresh[key][name] for name in QUANTILES}
        elif (
            there
            and not _deviation(there, fresh[key], _is_picture(info, key))
            and not stats.problem(fresh[key] | there)
        ):
            # Only quantiles or the count are lacking (LeRobot's own conversion): the rest stays.
            right[key] = fresh[key] | there
        else:
            right[key] = fresh[key]
    return right


def _quantiles_of(material: Material) -> Stats:
    found = material.stats()
    return {name: found[name] for name in QUANTILES}


def _combined(
    wrong: Mapping[str, Finding], stored: Mapping[str, Stats], episodes: list[dict[str, Stats]]
) -> dict[str, Finding]:
    """Differences of quantiles alone that LeRobot's averaging of episodes explains: no errors."""
    return {
        key: dataclasses.replace(finding, severity=Severity.NOTE)
        for key, finding in wrong.items()
        if finding.code is Code.DATASET_QUANTILES_WRONG
        and stats.quantiles_combined(stored[key], [found.get(key, {}) for found in episodes])
    }


def _is_picture(info: Info, key: str) -> bool:
    return info.features[key].is_picture


def _differences(
    stored: Mapping[str, Stats], fresh: Mapping[str, Stats], info: Info, episode: int | None
) -> dict[str, Finding]:
    """By feature: statistics that are not those of the data. episode None: of all episodes."""
    found = {}
    for key, right in fresh.items():
        picture, there = _is_picture(info, key), stored.get(key)
        said = _difference(there, right, picture, info.is_v2)
        if said:
            code = Code.DATASET_STATISTICS_WRONG
            found[key] = _difference_finding(code, key, episode, said)
            if key in _UNREAD and there is not None and not stats.problem(there):
                found[key] = dataclasses.replace(found[key], severity=Severity.NOTE)
        elif there is not None and key not in _UNREAD:
            # An episode's pictures: a video's noise moves the ends of so few levels.
            slack = 2 * PICTURE_TOLERANCE if picture else QUANTILE_TOLERANCE
            said = stats.quantile_deviation(there, right, slack)
            if said:
                code = Code.DATASET_QUANTILES_WRONG
                found[key] = _difference_finding(code, key, episode, said)
    return found


def _difference_finding(code: Code, key: str, episode: int | None, found: str) -> Finding:
    subject = key if episode is None else f"episode {episode} {key}"
    return Finding(code, Severity.ERROR, subject, found=found)


def _difference(stored: Stats | None, right: Stats, picture: bool, is_v2: bool) -> str:
    if stored is None:
        return "no statistics are stored"
    said = stats.problem(stored) or _deviation(stored, right, picture)
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
        distance = np.abs(there - here) / slack
        if picture and name == "std":
            lost = (here > _CONTRAST) & (there < here / _LOST)
            distance = np.where(
                lost, np.maximum(distance, here / np.maximum(there, 1e-12)), distance
            )
        if (distance > 1).any():
            worst = int(np.argmax(distance))
            return (
                f"{name}[{worst}] is stored as {there[worst]:.6g}, the data's is {here[worst]:.6g}"
            )
    return ""


def _stored_whole(root: Path, info: Info) -> dict[str, Stats]:
    try:
        stored = stats.load(layout.locate(root, layout.STATS))
    except (FileNotFoundError, DatasetError):  # what cannot be read is written again
        return {}
    if not info.is_v2_0:
        return stored
    # v2.0 counts nothing.
    return {key: {"count": np.ones(1, np.int64), **known} for key, known in stored.items()}


def write(root: Path, recounted: Recount) -> None:
    """Store statistics: those of the episodes in their metadata, then those of all.

    Raises DatasetError if the dataset is being written.
    """
    handle = atomic_files.lock(root)
    try:
        info, trash = layout.load_info(root), Trash(root)
        layout.require_current(root, info)
        if info.is_v2:
            replace_file(root, layout.STATS_LINES, _lines(recounted.episodes), trash)
            return
        for path in tables.episode_files(root):
            table = with_stats(tables.read(path), recounted.episodes)
            replace_file(root, path.relative_to(root), tables.encode(table), trash)
        replace_file(root, layout.STATS, stats.dumps(recounted.whole), trash)
    finally:
        atomic_files.unlock(handle)


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


def with_stats(table: pa.Table, episodes: Sequence[Mapping[str, Stats]]) -> pa.Table:
    """The episodes metadata with these statistics, found by episode_index."""
    numbers = table["episode_index"].to_pylist()
    kept = [name for name in table.column_names if not name.startswith("stats/")]
    place = next(
        (i for i, name in enumerate(table.column_names) if name.startswith("stats/")), len(kept)
    )
    columns = {name: table[name] for name in kept[:place]}
    for key in dict.fromkeys(key for number in numbers for key in episodes[number]):
        for name in dict.fromkeys(n for number in numbers for n in episodes[number].get(key, {})):
            values = _alike([episodes[number].get(key, {}).get(name) for number in numbers])
            columns[f"stats/{key}/{name}"] = pa.array(map(_listed, values))
    columns |= {name: table[name] for name in kept[place:]}
    return pa.table(columns)


def _alike(values: list[NDArray[Any] | None]) -> list[NDArray[Any] | None]:
    """Integers beside floats, as LeRobot stores them, become one of both as in `tables.joined`."""
    there = [value for value in values if value is not None]
    real = [value for value in there if value.dtype.kind == "f"]
    if len(real) in (0, len(there)):
        return values
    whole = all((value == np.round(value)).all() and (abs(value) < 2**63).all() for value in real)
    kind = np.int64 if whole else np.float64
    return [None if value is None else value.astype(kind) for value in values]


def _listed(value: NDArray[Any] | None) -> Any:
    return None if value is None else value.tolist()
