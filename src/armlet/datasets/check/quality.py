"""What a strict reviewer would say of a dataset: not whether it loads, but whether to train on it.

`integrity.check` finds what contradicts itself; here the values are judged: units, motion, timing,
pictures (`review_joints`, `review_pictures`), statistics. Thresholds are constants, each with its
reason.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armlet.contract import Contract, ContractError, load
from armlet.datasets.format import layout, stats, tables
from armlet.datasets.format.errors import DatasetError
from armlet.datasets.format.layout import Info
from armlet.datasets.format.provenance import PERSON, UNKNOWN
from armlet.datasets.format.tables import EpisodeRow
from armlet.files import parted, printable
from armlet.findings import Code, Finding, Severity, as_json

from . import integrity
from .recompute_stats import is_counted
from .review_joints import (
    JointLag,
    action_of,
    lag_findings,
    motion_findings,
    state_of,
    unit_findings,
)
from .review_pictures import OF_VIDEOS, overflown, picture_findings, video_findings
from .rows import Rows, episode_of, of_episode

# A policy's chunk is 1 to 3 s; less is a slip of the finger, not a demonstration.
SHORT_S = 1.0
# More frames than this share made of an old sample: the stream is slower than the dataset.
REUSED = 0.1


# Rows that cannot be read: the integrity check has reported why.
_UNREADABLE = (
    Code.DATASET_METADATA_UNREADABLE,
    Code.DATASET_FILE_MISSING,
    Code.DATASET_PATH_INVALID,
    Code.DATASET_COLUMNS_MISSING,
    Code.DATASET_DATA_UNREADABLE,
    Code.DATASET_COLUMN_INVALID,
)
# The names of checks in JSON from before there were codes; all others are "structure".
_CHECKS = {
    "damaged": (Code.DATASET_IMAGE_DAMAGED,),
    "std": (Code.DATASET_IMAGE_STD_WRONG,),
    "short": (Code.DATASET_EPISODE_SHORT,),
    "empty": (Code.DATASET_EMPTY,),
    "task": (Code.DATASET_TASK_EMPTY, Code.DATASET_TASKS_ALIKE),
    "skew": (Code.DATASET_SKEW_EXCEEDED, Code.DATASET_CAMERA_LATE),
    "reused": (Code.DATASET_SAMPLES_REPEATED,),
    "statistics": (
        Code.DATASET_STATISTICS_WRONG,
        Code.DATASET_QUANTILES_WRONG,
        Code.DATASET_VIDEO_OTHER,
    ),
    "units": (Code.DATASET_UNITS_WRONG, Code.DATASET_UNITS_MIXED),
    "constant": (Code.DATASET_JOINT_CONSTANT,),
    "outlier": (Code.DATASET_OUTLIER,),
    "jump": (Code.DATASET_JUMP,),
    "lag": (
        Code.DATASET_ACTION_IS_STATE,
        Code.DATASET_LAG_TOO_SMALL,
        Code.DATASET_LAG_TOO_LARGE,
    ),
    "picture": (
        Code.DATASET_IMAGE_DARK,
        Code.DATASET_IMAGE_UNIFORM,
        Code.DATASET_BRIGHTNESS_CHANGED,
    ),
    "frozen": (Code.DATASET_CAMERA_FROZEN, Code.DATASET_SCENE_STILL),
    "grid": (Code.DATASET_VIDEO_RATE,),
}
_CHECK_OF = {code: check for check, codes in _CHECKS.items() for code in codes}


def check_name(finding: Finding) -> str:
    """The check that found it, by its name in JSON from before there were codes."""
    return _CHECK_OF.get(finding.code, "structure")


def _json(finding: Finding) -> dict[str, Any]:
    """With the names that a finding's code and subject had before there were codes."""
    return {**as_json(finding), "check": check_name(finding), "where": finding.subject}


@dataclass(frozen=True)
class Review:
    """All findings, gravest first, the lag of every joint, and the names of depth streams.

    values: whether rows could be read, so that values were judged. videos: whether pictures were
    decoded.
    """

    findings: tuple[Finding, ...]
    lags: tuple[JointLag, ...]
    depth: tuple[str, ...] = ()
    values: bool = True
    videos: bool = True

    @property
    def errors(self) -> int:
        return sum(finding.severity is Severity.ERROR for finding in self.findings)

    @property
    def warnings(self) -> int:
        return sum(finding.severity is Severity.WARNING for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """What `armlet dataset check --json` prints."""
        return {
            "errors": self.errors,
            "warnings": self.warnings,
            "depth": list(self.depth),
            "findings": [_json(finding) for finding in self.findings],
            "lag_ms": {
                lag.joint: None if lag.lag_s is None else round(1000 * lag.lag_s, 1)
                for lag in self.lags
            },
        }


def episodes_found(
    root: Path, codes: Collection[Code], progress: Callable[[int, int], None] | None = None
) -> set[int]:
    """Episodes that the check finds one of these codes of; videos are decoded only for codes of
    theirs. progress: as of `review`.

    Raises DatasetError where the dataset cannot be judged, and for a code that is found of the
    dataset as a whole.
    """
    seen = review(root, videos=not OF_VIDEOS.isdisjoint(codes), progress=progress)
    if not seen.values:
        raise DatasetError(f"{root} cannot be judged; `armlet dataset check` says why")
    found = {finding: episode_of(finding) for finding in seen.findings if finding.code in codes}
    for finding, episode in found.items():
        if episode is None:
            raise DatasetError(
                f"{root}: {finding.code}: expected findings of episodes, found one of the whole "
                f"dataset: {finding.found}; repair it, or leave this code out"
            )
    return {episode for episode in found.values() if episode is not None}


def review(
    root: Path,
    videos: bool = True,
    frozen_s: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
) -> Review:
    """Judge a dataset; changes nothing. videos: decode every picture to find frozen ones.

    frozen_s: pictures that stay the same for longer while the arm moves are frozen. progress
    gets episodes looked at, of how many. Raises nothing for a broken dataset: it says so.
    """
    found = integrity.problems(root)
    # The std of images is judged below, by every episode's statistics.
    findings = [one for one in found if one.code is not Code.DATASET_IMAGE_STD_WRONG]
    try:
        info = layout.load_info(root)
        rows = tables.read_episodes(root)
        contract = _contract(root)
        episodes = list(read_vectors(root, info, rows))
    except DatasetError as error:
        if not any(finding.code in _UNREADABLE for finding in findings):
            said, fix = parted(error, integrity.RESTORE)
            code = Code.DATASET_METADATA_UNREADABLE
            findings.append(Finding(code, Severity.ERROR, "", found=said, fix=fix))
        return Review(tuple(findings), (), values=False, videos=False)
    names = names_of(info)
    lags, late = lag_findings(episodes, info.fps, names)
    findings += [
        *_episodes(rows, info, root),
        *unit_findings(episodes, names, contract),
        *motion_findings(episodes, info.fps, names),
        *late,
        *_skews(root, episodes, info, contract),
        *_ledgers(root, rows),
        *_interventions(root, episodes),
        *_statistics(root, info, rows, episodes),
        *picture_findings(info, rows),
    ]
    if videos:
        findings += video_findings(root, info, episodes, frozen_s, progress)
    findings = list(dict.fromkeys(findings))
    findings.sort(key=lambda finding: -finding.severity.rank)
    return Review(tuple(findings), tuple(lags), tuple(info.depth_streams), videos=videos)


def review_episode(root: Path, number: int) -> list[Finding]:
    """What is wrong with the rows and notes of one episode, gravest first; reads no other's rows.

    The statistics and videos that `review` judges are left out. Raises DatasetError, and IndexError
    for an episode that is not there.
    """
    info = layout.load_info(root)
    row = tables.read_episodes(root, stats=False)[number]
    episodes = list(read_vectors(root, info, [row]))
    found = [
        *_episodes([row], info, root),
        *not_finite(episodes),
        *motion_findings(episodes, info.fps, names_of(info)),
        *_skews(root, episodes, info, _contract(root)),
        *_ledgers(root, [row]),
        *_interventions(root, episodes),
    ]
    own = [finding for finding in found if episode_of(finding) == row.episode]
    return sorted(own, key=lambda finding: -finding.severity.rank)


def _contract(root: Path) -> Contract | None:
    try:
        return load(layout.locate(root, layout.CONTRACT))
    except (FileNotFoundError, ContractError):  # the latter is reported by integrity.check
        return None


def names_of(info: Info) -> dict[str, list[str]]:
    """Names of state's and action's elements, numbers where the dataset gives none."""
    found = {}
    for key in (layout.STATE, layout.ACTION):
        feature = info.features.get(key)
        if feature is not None:
            size = int(np.prod(feature.shape))
            found[key] = list(feature.names or map(str, range(size)))[:size]
    return found


def read_vectors(root: Path, info: Info, rows: list[EpisodeRow]) -> Iterator[Rows]:
    """Every episode's vectors; a file with many episodes is read once."""
    wanted = [
        key
        for key in (layout.STATE, layout.ACTION, layout.SKEW)
        if key in info.features and len(info.features[key].shape) == 1
    ]
    said = info.features.get(layout.INTERVENTION)
    if said is not None and said.dtype == "bool" and said.shape == (1,):
        wanted.append(layout.INTERVENTION)
    known: Any = None
    columns: dict[str, NDArray[Any]] = {}
    for row in rows:
        if row.data != known:
            path = layout.locate(root, info.data_path(row.data))
            table = tables.read(path, [*wanted, "episode_index"])
            columns = {
                key: tables.column(table, key, info.features[key]).reshape(table.num_rows, -1)
                for key in wanted
            }
            numbers = tables.column(table, "episode_index", tables.COUNTER)
            index, known = tables.EpisodeIndex(numbers), row.data
        own = index.rows(row.episode)
        empty = np.zeros((len(numbers[own]), 0))
        yield Rows(
            row,
            columns[layout.STATE][own].astype(np.float64) if layout.STATE in columns else empty,
            columns[layout.ACTION][own].astype(np.float64) if layout.ACTION in columns else empty,
            columns[layout.SKEW][own].astype(np.float64) if layout.SKEW in columns else None,
            columns[layout.INTERVENTION][own, 0] if layout.INTERVENTION in columns else None,
        )


def not_finite(episodes: Iterable[Rows]) -> Iterator[Finding]:
    """An error for every episode whose states or actions hold NaN or an infinite number."""
    for episode in episodes:
        for what, values in (("state", episode.state), ("action", episode.action)):
            if said := tables.not_finite(values):
                found, _, fix = said.partition("; ")
                yield Finding(
                    Code.DATASET_VALUE_NOT_FINITE,
                    Severity.ERROR,
                    f"{what} of {episode.where}",
                    values=of_episode(episode.row.episode),
                    found=found,
                    fix=fix,
                )


# --- episodes and tasks -----------------------------------------------------------------------


def _episodes(rows: list[EpisodeRow], info: Info, root: Path) -> Iterator[Finding]:
    short = [row for row in rows if row.length < SHORT_S * info.fps]
    yield from (
        Finding(
            Code.DATASET_EPISODE_SHORT,
            Severity.WARNING,
            f"episode {row.episode}",
            values=of_episode(row.episode),
            found=f"{row.length} frames, {row.length / info.fps:.2f} s",
            fix="remove it: too short to learn from",
        )
        for row in short
    )
    if not rows:
        yield Finding(
            Code.DATASET_EMPTY, Severity.ERROR, "", found="no episodes", fix="record some"
        )
    try:
        tasks = tables.read_tasks(root)
    except DatasetError:
        return  # reported by integrity.check
    for index, task in enumerate(tasks):
        if not task.strip():
            yield Finding(
                Code.DATASET_TASK_EMPTY,
                Severity.WARNING,
                f"task {index}",
                found="its text is empty",
                fix="say in words what the arm does, in the tasks file: a language model reads it",
            )
    alike: dict[str, list[str]] = {}
    for task in tasks:
        alike.setdefault(" ".join(task.lower().split()).rstrip("."), []).append(task)
    for group in alike.values():
        if len(group) > 1 and group[0].strip():
            found, fix = _alike(group)
            yield Finding(Code.DATASET_TASKS_ALIKE, Severity.WARNING, "", found=found, fix=fix)


def _alike(group: list[str]) -> tuple[str, str]:
    """What was found, and the fix: tasks of nearly the same words, or of the very same."""
    if len(set(group)) == 1:
        task = printable(group[0])
        return (
            f"the tasks file has {task!r} {len(group)} times",
            "make them one: `armlet dataset relabel ROOT --replace TEXT --task TEXT`, with that "
            "text twice",
        )
    return (
        f"tasks {group} differ only in how they are written",
        "give them one wording: a language model takes them for different tasks",
    )


# --- timing -------------------------------------------------------------------------------------


def _skews(
    root: Path, episodes: list[Rows], info: Info, contract: Contract | None
) -> Iterator[Finding]:
    if contract is None or layout.SKEW not in info.features:
        return
    streams = info.features[layout.SKEW].names or ()
    tolerances = {stream.name: stream.tolerance_s for stream in contract.alignment}
    cameras = {camera.name for camera in contract.cameras}
    for column, name in enumerate(streams):
        skews = [e.skew_s[:, column] for e in episodes if e.skew_s is not None and len(e.skew_s)]
        if not skews or name not in tolerances:
            continue
        for episode in episodes:
            yield from _beyond(episode, column, name, tolerances[name])
        middle = float(np.median(np.concatenate(skews)))
        if name.rpartition("/")[2] in cameras and abs(middle) > 0.75 / info.fps:
            yield Finding(
                Code.DATASET_CAMERA_LATE,
                Severity.WARNING,
                name,
                found=(
                    f"its pictures lie {1000 * middle:+.0f} ms from their frames' times in "
                    "most frames"
                ),
                fix="its clock or its rate is off: look at the camera node's diagnostics",
            )


def _beyond(episode: Rows, column: int, name: str, tolerance_s: float) -> Iterator[Finding]:
    assert episode.skew_s is not None
    # float32 in the file.
    off = np.abs(episode.skew_s[:, column]) > tolerance_s * (1 + 1e-5)
    if off.any():
        worst = float(np.abs(episode.skew_s[:, column]).max())
        yield Finding(
            Code.DATASET_SKEW_EXCEEDED,
            Severity.ERROR,
            episode.where,
            values=of_episode(episode.row.episode),
            found=f"{name}: {off.sum()} frame(s) of samples up to {1000 * worst:.0f} ms away, more "
            f"than the contract's {1000 * tolerance_s:.0f} ms",
            fix="these rows were not made by armlet's aligner; record again",
        )


def _ledgers(root: Path, rows: list[EpisodeRow]) -> Iterator[Finding]:
    for row in rows:
        try:
            ledger = layout.load_notes(root, row.episode).get("ledger") or {}
        except DatasetError:
            continue  # reported by integrity.check
        for stream, counts in ledger.items():
            used, reused = counts.get("used", 0), counts.get("reused", 0)
            if used and reused > REUSED * used:
                yield Finding(
                    Code.DATASET_SAMPLES_REPEATED,
                    Severity.WARNING,
                    f"episode {row.episode}",
                    values=of_episode(row.episode),
                    found=f"{stream}: {reused} of {used} frames repeat the sample before",
                    fix="the stream is slower than the dataset: lower fps, or make it faster",
                )


def _interventions(root: Path, episodes: list[Rows]) -> Iterator[Finding]:
    """A warning for every episode whose column says otherwise who commanded a row than its notes.

    What nobody noted, or noted as unknown, is no contradiction.
    """
    for episode in episodes:
        number, said = episode.row.episode, episode.intervention
        try:
            noted = layout.load_provenance(root, number, episode.row.length)
        except DatasetError:
            continue  # reported by integrity.check
        if said is None or noted is None or len(said) < noted.length:
            continue
        wrong = [
            row
            for who in noted.rows
            if who != UNKNOWN
            for first, last in noted.ranges(who)
            for row in range(first, last + 1)
            if bool(said[row]) != (who == PERSON)
        ]
        if wrong:
            notes = layout.ledger_path(number)
            yield Finding(
                Code.DATASET_INTERVENTION_DIFFERS,
                Severity.WARNING,
                f"{layout.INTERVENTION} of {episode.where}",
                values=of_episode(episode.row.episode),
                expected=f"who commanded its rows as {notes} has it",
                found=f"{len(wrong)} row(s) otherwise, the first {min(wrong)}",
                fix=f"restore that file, or the rows, from a copy; if the column is right, take "
                f'"provenance" out of {notes}',
            )


# --- statistics -------------------------------------------------------------------------------


def _statistics(
    root: Path, info: Info, rows: list[EpisodeRow], episodes: list[Rows]
) -> Iterator[Finding]:
    fix = integrity.statistics_fix(info)
    # In v2.1 they are all there is, and judged with the rest of the metadata.
    broken = {} if info.is_v2 else _broken(info, rows)
    yield from integrity.invalid_statistics(layout.EPISODES, broken)
    unknown = {key for _, key in broken}
    for key, found in _stored(root, info, rows).items():
        if key in info.features and info.features[key].is_depth:
            continue
        if key in info.features and info.features[key].is_picture:
            if overflown(found):
                yield Finding(
                    Code.DATASET_IMAGE_STD_WRONG,
                    Severity.WARNING,
                    key,
                    found=f"std of its pictures is stored as {float(np.min(found['std'])):.2g}, "
                    f"far below the spread of their values: {stats.STD_BUG}",
                    fix=f"train with ImageNet statistics, or {fix}",
                )
            continue
        pick = {layout.STATE: state_of, layout.ACTION: action_of}.get(key)
        values = [pick(e) for e in episodes if len(pick(e))] if pick else []
        if not values:
            continue
        together = np.concatenate(values)
        code, said = Code.DATASET_STATISTICS_WRONG, _wrong(found, together)
        if not said and key not in unknown:
            code = Code.DATASET_QUANTILES_WRONG
            said = _quantiles_off(found, together, [dict(row.stats.get(key, {})) for row in rows])
        if said:
            yield Finding(code, Severity.ERROR, key, found=said, fix=fix)


def _broken(info: Info, rows: list[EpisodeRow]) -> dict[tuple[int, str], str]:
    """Why statistics of an episode cannot be used, by episode and feature."""
    return {
        (row.episode, key): wrong
        for row in rows
        for key, known in row.stats.items()
        if key in info.features and is_counted(info, key) and (wrong := stats.problem(known))
    }


def _stored(root: Path, info: Info, rows: list[EpisodeRow]) -> Mapping[str, stats.Stats]:
    """stats.json; in v2.1 the episodes' own, together."""
    try:
        if info.is_v2 and not info.is_v2_0:
            return stats.aggregate([row.stats for row in rows]) if rows else {}
        found = stats.load(layout.locate(root, layout.STATS))
    except (FileNotFoundError, DatasetError):  # reported by integrity.check
        return {}
    return {key: known for key, known in found.items() if not stats.problem(known)}


def _quantiles_off(
    found: stats.Stats, values: NDArray[np.float64], episodes: list[stats.Stats]
) -> str:
    """Quantiles that are neither the data's nor made of the episodes' by LeRobot's rules."""
    said = stats.quantile_deviation(found, stats.vector_stats(values))
    return "" if said and stats.quantiles_combined(found, episodes) else said


def _wrong(found: stats.Stats, values: NDArray[np.float64]) -> str:
    right = {
        "mean": values.mean(axis=0),
        "std": values.std(axis=0),
        "min": values.min(axis=0),
        "max": values.max(axis=0),
    }
    slack = 1e-3 * np.maximum(right["max"] - right["min"], 1.0)
    for name, here in right.items():
        there = np.asarray(found.get(name, np.nan), np.float64).ravel()
        if there.shape != here.shape:
            return f"{name} is stored for {there.size} elements, there are {here.size}"
        off = ~(np.abs(there - here) <= slack)
        if off.any():
            first = int(np.argmax(off))
            return (
                f"{name}[{first}] is stored as {there[first]:.4g}, the rows' is {here[first]:.4g}"
            )
    return ""
