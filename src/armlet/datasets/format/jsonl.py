"""The JSON-lines files of a v2 dataset: tasks, episodes and, in v2.1, statistics per episode.

Each is rewritten whole by one rename, never appended to in place: a line is there or it is not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armlet.files import FileError, Shape, json_lines, printable, shown, typed, whole_number

from .errors import DatasetError
from .layout import EPISODE_LINES, STATS_LINES, TASK_LINES, locate
from .stats import QUANTILES, Stats, stats_of

# A million episodes' lines; statistics take some kilobytes an episode.
_LINES = Shape(size=64 << 20)
_MOST = 2**40


@dataclass(frozen=True)
class EpisodeLine:
    """An episode as episodes.jsonl states it."""

    episode: int
    tasks: tuple[str, ...]
    length: int


def read_tasks(root: Path) -> list[str]:
    """Tasks by index. Raises DatasetError unless task_index counts 0, 1, 2, …"""
    found = task_names(root, read(root, TASK_LINES))
    if sorted(found) != list(range(len(found))):
        raise DatasetError(f"{root / TASK_LINES}: task_index is not 0, 1, 2, …")
    return [found[index] for index in range(len(found))]


def task_names(root: Path, lines: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    """Tasks by index, from the file's lines. Raises DatasetError, also for an index twice."""
    found: dict[int, str] = {}
    try:
        for line in lines:
            index = whole_number(line.get("task_index"), "task_index", 0, _MOST)
            task = typed(str, line.get("task"), "task")
            if found.setdefault(index, task) != task:
                names = " and ".join(printable(repr(one), 80) for one in (found[index], task))
                raise FileError(f"task_index {index} is there twice, as {names}; keep one line")
    except FileError as error:
        raise DatasetError(f"{root / TASK_LINES} is not a tasks file: {error}") from error
    return found


def read_episodes(root: Path) -> list[EpisodeLine]:
    """The lines in the file's order. Raises DatasetError."""
    return [episode_line(root, line) for line in read(root, EPISODE_LINES)]


def episode_line(root: Path, line: Mapping[str, Any]) -> EpisodeLine:
    """A line of episodes.jsonl. Raises DatasetError."""
    try:
        where = f"{shown(line)}: episode_index"
        number = whole_number(line.get("episode_index"), where, 0, _MOST)
        where = f"episode {number}"
        tasks = typed(tuple[str, ...], line.get("tasks"), f"{where}: tasks")
        length = whole_number(line.get("length"), f"{where}: length", 0, _MOST)
        return EpisodeLine(number, tasks, length)
    except FileError as error:
        raise DatasetError(f"{root / EPISODE_LINES} is not an episodes file: {error}") from error


def read_stats(root: Path) -> dict[int, dict[str, Stats]]:
    """Statistics by episode; empty where there is no file. Raises DatasetError."""
    found = {}
    for line in read(root, STATS_LINES):
        try:
            number = whole_number(line.get("episode_index"), "episode_index", 0, _MOST)
            found[number] = stats_of(line.get("stats"), f"episode {number}")
        except FileError as error:
            path = root / STATS_LINES
            raise DatasetError(f"{path} is not a statistics file: {error}") from error
    return found


def tasks(names: Sequence[str]) -> bytes:
    """tasks.jsonl."""
    return joined({"task_index": index, "task": name} for index, name in enumerate(names))


def with_episode(root: Path, line: EpisodeLine) -> bytes:
    """episodes.jsonl with one more episode behind those before it."""
    added = {"episode_index": line.episode, "tasks": list(line.tasks), "length": line.length}
    return _extended(root, EPISODE_LINES, line.episode, added)


def with_stats(root: Path, episode: int, stats: Mapping[str, Stats]) -> bytes:
    """episodes_stats.jsonl with one more episode. v2.1 knows no quantiles."""
    document = {
        feature: {name: value.tolist() for name, value in found.items() if name not in QUANTILES}
        for feature, found in stats.items()
    }
    added = {"episode_index": episode, "stats": document}
    return _extended(root, STATS_LINES, episode, added)


def before(root: Path, path: Path, episode: int) -> bytes:
    """A file of lines by episode without this one and what follows."""
    return joined(_before(root, path, episode))


def _before(root: Path, path: Path, episode: int) -> list[dict[str, Any]]:
    return [line for line in read(root, path) if _number(line, path) < episode]


def _extended(root: Path, path: Path, episode: int, added: dict[str, Any]) -> bytes:
    return joined([*_before(root, path, episode), added])


def _number(line: Mapping[str, Any], path: Path) -> int:
    try:
        return whole_number(line.get("episode_index"), "episode_index", 0, _MOST)
    except FileError as error:
        raise DatasetError(f"{path}: {error}") from error


def joined(documents: Iterable[Mapping[str, Any]]) -> bytes:
    """Objects as the content of a JSON-lines file."""
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in documents).encode()


def read(root: Path, path: Path, torn: bool = False) -> list[dict[str, Any]]:
    """A file's objects; none if it is absent. torn: without a last line that was cut short.

    Raises DatasetError naming the line.
    """
    try:
        return list(json_lines(locate(root, path), _LINES, torn))
    except FileNotFoundError:
        return []
    except FileError as error:
        raise DatasetError(printable(error, 1000)) from error
