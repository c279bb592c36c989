"""The name of every task that rows point at, where the tasks file lacks some.

An episode's metadata names its tasks too. Where an episode has one task, and its rows one
task_index, they belong together; so do the last ones that are left of an episode with several.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from armlet.datasets.format import layout, tables
from armlet.datasets.format.errors import DatasetError
from armlet.datasets.format.layout import FileNumber, Info
from armlet.datasets.format.tables import EpisodeRow
from armlet.files import printable


@dataclass(frozen=True)
class Used:
    """An episode: the task_index of its rows, and what its metadata calls its tasks."""

    episode: int
    indices: frozenset[int]
    names: frozenset[str]


def complete(
    root: Path, info: Info, rows: Sequence[EpisodeRow], known: Sequence[str]
) -> tuple[str, ...]:
    """Tasks by index: those of the tasks file, and behind them what the episodes' metadata tells.

    Raises DatasetError for a task_index of which no file tells the name, or two different ones.
    """
    used = [*_used(root, info, rows)]
    found = dict(enumerate(known))
    while (deduced := _deduced(used, found)) is not None:
        found |= deduced
    indices = frozenset[int]().union(*(one.indices for one in used))
    below = [index for index in indices if index < 0]
    count = max([len(known), *(index + 1 for index in indices)])
    lacking = next((k for k in itertools.chain(below, range(count)) if k not in found), None)
    if lacking is not None:
        raise DatasetError(_refusal(root, info, used, lacking))
    return tuple(found[index] for index in range(count))


def _deduced(used: Sequence[Used], found: Mapping[int, str]) -> dict[int, str] | None:
    """The name of one more task_index, by an episode in which it alone is without; None if none.

    A name that another task_index has counts for neither: one file or the other is wrong.
    """
    for one in used:
        indices = one.indices - found.keys()
        names = one.names - {found[index] for index in one.indices & found.keys()}
        if len(indices) == len(names) == 1 and not names & set(found.values()):
            (index,), (name,) = indices, names
            if index >= 0 and not any(
                index in other.indices and name not in other.names for other in used
            ):
                return {index: name}
    return None


def _used(root: Path, info: Info, rows: Sequence[EpisodeRow]) -> list[Used]:
    files: dict[FileNumber, list[EpisodeRow]] = {}
    for row in rows:
        files.setdefault(row.data, []).append(row)
    found = []
    for number, members in files.items():
        path = layout.locate(root, info.data_path(number))
        table = tables.read(path, ["episode_index", "task_index"])
        episodes, tasks = (
            tables.column(table, key, tables.COUNTER) for key in ("episode_index", "task_index")
        )
        index = tables.EpisodeIndex(episodes)
        for row in members:
            own = frozenset(tasks[index.rows(row.episode)].tolist())
            found.append(Used(row.episode, own, frozenset(row.tasks)))
    return found


def _refusal(root: Path, info: Info, used: Sequence[Used], index: int) -> str:
    """What is lacking, and how to say it."""
    file = tables.tasks_path(info)
    episode = next((one for one in used if index in one.indices), None)
    if episode is None:
        where = f"no row has task_index {index}, but rows have higher ones"
    else:
        names = ", ".join(printable(repr(name), 80) for name in sorted(episode.names)[:5])
        where = f"rows of episode {episode.episode} have task_index {index}" + (
            f"; the episode's tasks are {names}" if names else ""
        )
    fix = (
        f'add the line {{"task_index": {index}, "task": "…"}} to it, with what the arm does in '
        "words"
        if info.is_v2 and index >= 0
        else "restore it from a copy"
    )
    return f"{root / file} has no task {index}: {where}; {fix}"
