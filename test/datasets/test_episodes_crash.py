"""kill -9 at every step: finished episodes stay whole, opening again repairs and continues."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from crash_child import finished, kill_at_every_step
from made_episodes import CONTRACT, QUICK, frame, made, record

from armlet.datasets import Dataset, DatasetWriter, check, sweep

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
]


def assert_whole(root: Path, episodes: int) -> None:
    """The first episodes are readable and hold what was recorded, whatever else lies about."""
    dataset = Dataset(root)
    assert len(dataset.episodes) >= episodes
    for k in range(episodes):
        data = dataset.episode(k)
        frames = [frame(i, k) for i in range(dataset.episodes[k].length)]
        assert np.array_equal(data.state, np.float32([f.state for f in frames]))
        pictures = dataset.images(k, "wrist")
        original = np.stack([f.images["wrist"] for f in frames])
        assert np.abs(pictures.astype(int) - original).mean() < 5


def assert_goes_on(root: Path) -> int:
    """Opening to record keeps every finished episode and all that is complete of the other one.

    How many episodes there were then.
    """
    before = finished(root)
    with DatasetWriter(root, CONTRACT) as writer:
        saved = writer.episodes
        assert saved == before + sum(r.episode is not None for r in writer.recovered)
        assert check(root) == []
        record(writer, 2)
    assert_whole(root, saved + 1)
    assert check(root) == []
    assert Dataset(root).statistics["action"]["count"] == Dataset(root).info.total_frames
    return saved


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=QUICK) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def recording() -> Iterator[list[Path]]:
    with tempfile.TemporaryDirectory(dir=QUICK) as name:
        folder = Path(name)
        base = made(folder / "base", (3, 2))
        (folder / "out").mkdir()
        yield kill_at_every_step(base, folder / "out", "record")


def test_killed_while_recording(recording, tmp_path):
    assert len(recording) > 30
    assert {finished(root) for root in recording} == {2, 3}
    saved = []
    for number, root in enumerate(recording):
        assert_whole(root, 2)
        if number % 4:
            continue
        copy = tmp_path / root.name
        shutil.copytree(root, copy)
        saved.append(assert_goes_on(copy))
    # With the first frame complete, everything later ends in a saved episode.
    assert saved == sorted(saved)
    assert set(saved) == {2, 3}
    assert saved.count(3) > len(saved) / 2


def test_sweeping_removes_what_was_not_finished(recording, tmp_path):
    done = set()
    for root in recording[::6]:
        copy = tmp_path / root.name
        shutil.copytree(root, copy)
        done.update(line.split(" ")[0] for line in sweep(copy))
        assert finished(copy) == finished(root)
        assert sweep(copy) == check(copy) == []
    assert "removed" in done


def test_opening_may_remove_instead(recording, tmp_path):
    root = tmp_path / "set"
    shutil.copytree(next(r for r in recording[::-1] if finished(r) == 2), root)
    assert any("was never finished" in line for line in check(root))
    with DatasetWriter(root, CONTRACT, unfinished="remove") as writer:
        assert writer.episodes == 2
        assert writer.recovered == []
        assert any("removed" in line for line in writer.repaired)
    assert check(root) == []


@pytest.mark.parametrize(("action", "version"), [("record", "v3.0"), ("record v2.1", "v2.1")])
def test_killed_while_creating(tmp_path, action, version):
    (tmp_path / "base").mkdir()
    (tmp_path / "out").mkdir()
    killed = kill_at_every_step(tmp_path / "base", tmp_path / "out", action, 4)
    assert len(killed) > 10
    for root in killed:
        if (root / "meta/info.json").exists():
            assert Dataset(root).info.version == version
        assert_goes_on(root)


@pytest.mark.parametrize("action", ["sweep", "recover"])
def test_killed_during_recovery(recording, tmp_path, action):
    finished_one = next(root for root in recording if finished(root) == 3)
    unfinished_one = [root for root in recording if finished(root) == 2][-1]
    base = finished_one if action == "sweep" else unfinished_one
    (tmp_path / "out").mkdir()
    killed = kill_at_every_step(base, tmp_path / "out", action, 3)
    assert len(killed) > 2
    for root in killed:
        assert_whole(root, 2)
        saved = assert_goes_on(root)
        assert saved == 3
