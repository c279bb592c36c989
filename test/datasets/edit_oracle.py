"""What an edited dataset has to be, from the one before: used by the tests of edits."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from armlet.datasets import Dataset, EpisodeData, check
from armlet.datasets.check.recompute_stats import recount
from armlet.datasets.format import layout

# Columns that count: their values follow from where a row is.
COUNTING = ("index", "episode_index", "frame_index", "timestamp", "task_index")


@dataclass(frozen=True)
class Expected:
    """An episode of the edited dataset: rows first..first+count of an episode of `root`."""

    root: Path
    episode: int
    first: int = 0
    count: int | None = None
    encoded: bool = False
    task: str | None = None


def all_of(root: Path, episodes: Sequence[int]) -> list[Expected]:
    return [Expected(root, k) for k in episodes]


def assert_is(edited: Path, expected: Sequence[Expected]) -> None:
    """Every column bit for bit, every picture equal where it was not encoded again."""
    new = Dataset(edited)
    known = {root: Dataset(root) for root in {one.root for one in expected}}
    assert new.info.total_episodes == len(new.episodes) == len(expected)
    start = 0
    for k, one in enumerate(expected):
        old = known[one.root]
        there, here = _readable(old, one.episode), _readable(new, k)
        count = there.info.length - one.first if one.count is None else one.count
        rows = slice(one.first, one.first + count)
        assert here.info.length == count
        _assert_same_rows(_table(new, k), _table(old, one.episode).slice(one.first, count))
        steps = np.arange(count)
        assert here.columns["index"].tolist() == (start + steps).tolist()
        assert set(here.columns["episode_index"].tolist()) == {k}
        assert here.columns["frame_index"].tolist() == steps.tolist()
        assert here.timestamp.tobytes() == (steps / new.info.fps).astype(np.float32).tobytes()
        if one.task is None:
            assert here.tasks == there.tasks[rows]
        else:
            assert set(here.tasks) == {one.task}
        assert set(here.tasks) == set(here.info.tasks)
        _assert_pictures(new, k, old, one, count)
        start += count
    assert new.info.total_frames == start
    assert set(new.tasks) == {task for e in new.episodes for task in e.tasks}
    assert new.info.document["total_tasks"] == len(new.tasks)


def _table(dataset: Dataset, k: int) -> pa.Table:
    """An episode's rows as they lie in the file."""
    path = dataset.root / dataset.info.data_path(dataset._rows[k].data)
    table = pq.ParquetFile(path).read()
    return table.filter(pc.equal(table["episode_index"], k))


def _assert_same_rows(here: pa.Table, there: pa.Table) -> None:
    for name in there.column_names:
        assert here.schema.field(name).type == there.schema.field(name).type, name
        if name not in COUNTING:
            assert here[name].combine_chunks().equals(there[name].combine_chunks()), name


def _readable(dataset: Dataset, k: int) -> EpisodeData:
    """An episode without its language, which is compared by itself."""
    features = {key: f for key, f in dataset.info.features.items() if f.dtype != "language"}
    info = layout.parse_info(
        {**dataset.info.document, "features": {k: f.to_json() for k, f in features.items()}}
    )
    dataset.info = info
    return dataset.episode(k)


def _assert_pictures(new: Dataset, k: int, old: Dataset, one: Expected, count: int) -> None:
    for camera in old.info.cameras:
        theirs = old.images(one.episode, camera, range(one.first, one.first + count))
        ours = new.images(k, camera)
        if one.encoded:
            assert np.abs(ours.astype(int) - theirs).mean() < 5
        else:
            assert np.array_equal(ours, theirs), (k, camera)


def assert_sound(root: Path, known: Sequence[str] = ()) -> None:
    """Nothing new is wrong, and statistics are those of the data."""
    assert [line for line in check(root) if line not in known] == []
    assert recount(root).differences == []


def tree(root: Path) -> dict[str, str]:
    """The hash of every file that is the dataset's, not its trash."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".trash" not in path.relative_to(root).parts
    }
