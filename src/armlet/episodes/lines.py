"""The JSON-lines files of a v2.1 dataset: tasks, episodes, statistics per episode.

Each is rewritten whole by one rename, never appended to in place: a line is there or it is not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import DatasetError
from .layout import EPISODE_LINES, STATS_LINES, TASK_LINES
from .stats import QUANTILES, Stats


@dataclass(frozen=True)
class EpisodeLine:
    """An episode as episodes.jsonl tells it."""

    episode: int
    tasks: tuple[str, ...]
    length: int


def read_tasks(root: Path) -> list[str]:
    """Tasks by index. Raises DatasetError unless task_index counts 0, 1, 2, …"""
    found = {int(task["task_index"]): str(task["task"]) for task in _read(root / TASK_LINES)}
    if sorted(found) != list(range(len(found))):
        raise DatasetError(f"{root / TASK_LINES}: task_index is not 0, 1, 2, …")
    return [found[index] for index in range(len(found))]


def read_episodes(root: Path) -> list[EpisodeLine]:
    """The lines in the file's order. Raises DatasetError."""
    try:
        return [
            EpisodeLine(int(line["episode_index"]), tuple(line["tasks"]), int(line["length"]))
            for line in _read(root / EPISODE_LINES)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{root / EPISODE_LINES} is not an episodes file: {error!r}") from error


def read_stats(root: Path) -> dict[int, dict[str, Stats]]:
    """Statistics by episode; empty where there is no file. Raises DatasetError."""
    if not (root / STATS_LINES).exists():
        return {}
    try:
        return {
            int(line["episode_index"]): {
                feature: {name: np.array(value) for name, value in stats.items()}
                for feature, stats in line["stats"].items()
            }
            for line in _read(root / STATS_LINES)
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DatasetError(f"{root / STATS_LINES} is not a statistics file: {error!r}") from error


def tasks(names: Sequence[str]) -> bytes:
    """tasks.jsonl."""
    return _joined({"task_index": index, "task": name} for index, name in enumerate(names))


def with_episode(root: Path, line: EpisodeLine) -> bytes:
    """episodes.jsonl with one more episode behind those before it."""
    added = {"episode_index": line.episode, "tasks": list(line.tasks), "length": line.length}
    return _extended(root / EPISODE_LINES, line.episode, added)


def with_stats(root: Path, episode: int, stats: Mapping[str, Stats]) -> bytes:
    """episodes_stats.jsonl with one more episode. v2.1 knows no quantiles."""
    document = {
        feature: {name: value.tolist() for name, value in found.items() if name not in QUANTILES}
        for feature, found in stats.items()
    }
    added = {"episode_index": episode, "stats": document}
    return _extended(root / STATS_LINES, episode, added)


def _extended(path: Path, episode: int, added: dict[str, Any]) -> bytes:
    before = [line for line in _read(path) if line["episode_index"] < episode]
    return _joined([*before, added])


def _joined(documents: Iterator[dict[str, Any]] | Sequence[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in documents).encode()


def _read(path: Path) -> list[dict[str, Any]]:
    """The file's objects; none if it is absent. Raises DatasetError naming the line."""
    found: list[dict[str, Any]] = []
    if not path.exists():
        return found
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            try:
                found.append(dict(json.loads(line)))
            except (ValueError, TypeError) as error:
                raise DatasetError(f"{path}, line {number}, cannot be read: {error}") from error
    return found
