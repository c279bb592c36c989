"""kill -9 at every step: finished episodes stay whole, opening again repairs and continues."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from crash_child import finished, kill_at_every_step
from made_episodes import CONTRACT, frame, made, record

from armlet.episodes import Dataset, DatasetWriter, check, sweep

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


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


def assert_repairable(root: Path) -> None:
    """Opening to record repairs everything, keeps every finished episode, and continues."""
    before = finished(root)
    with DatasetWriter(root, CONTRACT) as writer:
        assert writer.episodes == before
        assert check(root) == []
        record(writer, 2)
    assert_whole(root, before + 1)
    assert check(root) == []
    assert Dataset(root).statistics["action"]["count"] == Dataset(root).info.total_frames


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("recording")
    base = made(folder / "base", (3, 2))
    (folder / "out").mkdir()
    return kill_at_every_step(base, folder / "out", "record")


def test_killed_while_recording(recording, tmp_path):
    assert len(recording) > 10
    assert {finished(root) for root in recording} == {2, 3}
    told = set()
    for root in recording:
        assert_whole(root, 2)
        repaired = tmp_path / root.name
        shutil.copytree(root, repaired)
        told.update(line.split(" ")[0] for line in sweep(repaired))
        assert finished(repaired) == finished(root)
        assert sweep(repaired) == []
        assert_repairable(repaired)
    assert told == {"removed", "info.json"}


def test_killed_while_creating(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "out").mkdir()
    killed = kill_at_every_step(tmp_path / "base", tmp_path / "out", "record")
    assert len(killed) > 10
    for root in killed:
        assert_repairable(root)


def test_killed_while_repairing(recording, tmp_path):
    base = next(root for root in recording if finished(root) == 3)
    (tmp_path / "out").mkdir()
    killed = kill_at_every_step(base, tmp_path / "out", "sweep")
    assert len(killed) > 5
    for root in killed:
        assert_whole(root, 2)
        assert_repairable(root)
