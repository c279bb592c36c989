"""Stock LeRobot 0.4.4 opens, trains on and appends to our datasets, and we read its own."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import forked_python
import numpy as np
import pytest
from crash_child import finished, kill_at_every_step
from kill_child import LENGTH
from made_episodes import CONTRACT, QUICK, frame, made, record
from test_episodes_kill import kill

from armlet.contract import Camera
from armlet.datasets import Dataset, DatasetWriter, check, recover
from armlet.datasets.format import tables

REPOSITORY = Path(__file__).resolve().parents[2]
ORACLE = Path(os.environ.get("ARMLET_ORACLE", REPOSITORY / ".oracle")) / "v04/bin/python"
SHARED = REPOSITORY.parent / "shared/oracle"

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(
        not ORACLE.exists(), reason=f"no stock LeRobot at {ORACLE} (set ARMLET_ORACLE)"
    ),
    pytest.mark.skipif(
        not (SHARED / "av_decode.py").exists(), reason=f"no oracle scripts at {SHARED}"
    ),
]

LENGTHS = (6, 4, 7)
MERGED = ("data", "meta/episodes")
STOCK_FAULT = "a bug of LeRobot"
# One picture is large enough for LeRobot's spatial sampling to set in.
LARGE = dataclasses.replace(CONTRACT, cameras=(Camera("front", 240, 320), Camera("wrist", 32, 48)))


@pytest.fixture(scope="module")
def stock() -> Iterator[Path]:
    """The folder in which stock_lerobot.py has done everything."""
    with tempfile.TemporaryDirectory(dir=QUICK) as name:
        folder = Path(name)
        made(folder / "ours", LENGTHS, LARGE, intervention=True, merge_files=2)
        assert [len(list(folder.glob(f"ours/{each}/*/*"))) for each in MERGED] == [1, 1]
        np.savez(folder / "raw.npz", **raw_columns())
        base = made(folder / "base", (3, 2))
        (folder / "killed").mkdir()
        kept = {root.name for root in kill_at_every_step(base, folder / "killed", "record", 2)}
        for root in (folder / "killed").iterdir():
            if root.name not in kept:
                root.rename(folder / f"same-as-another-{root.name}")
        shot(folder / "shot")
        run_stock(ORACLE, "stock_lerobot.py", folder)
        yield folder


def shot(folder: Path) -> None:
    """Datasets whose recorders were killed at random, and the same recovered."""
    folder.mkdir()
    for root in kill(folder, 10, seed=7):
        root.with_suffix(".json").unlink()
        if finished(root):
            shutil.copytree(root, folder / f"{root.name}-recovered")
            recover(folder / f"{root.name}-recovered")
        elif root.exists():
            shutil.rmtree(root)


def run_stock(python: Path, script: str, folder: Path) -> None:
    command = [Path(__file__).with_name(script), SHARED, folder]
    done = forked_python.run(python, forked_python.LEROBOT, command)
    assert done.returncode == 0, done.stdout + done.stderr


def test_killed_at_random_every_finished_episode_shows_its_frames(stock):
    shown = json.loads((stock / "report.json").read_text())["shot"]
    assert len(shown) >= 4
    for name, cameras in shown.items():
        lengths = [e.length for e in Dataset(stock / "shot" / name).episodes]
        assert lengths and set(lengths[:-1]) <= {LENGTH}
        expected = [(i + k) % 64 for k, length in enumerate(lengths) for i in range(length)]
        assert cameras == {f"observation.images.{c.name}": expected for c in CONTRACT.cameras}


def test_we_resume_its_own_on_request(stock, tmp_path):
    shutil.copytree(stock / "stock", tmp_path / "set")
    with DatasetWriter(tmp_path / "set", LARGE, adopt=True) as writer:
        assert writer.repaired == []
        record(writer, 3, contract=LARGE)
    dataset = Dataset(tmp_path / "set")
    assert [e.length for e in dataset.episodes] == [4, 3, 5, 3]
    assert [problem for problem in check(dataset.root) if STOCK_FAULT not in problem] == []


def raw_columns() -> dict[str, np.ndarray]:
    """What was recorded, column by column."""
    frames = [frame(i, k, LARGE) for k, length in enumerate(LENGTHS) for i in range(length)]
    numbers = np.concatenate([np.arange(length) for length in LENGTHS])
    return {
        "action": np.float32([f.action for f in frames]),
        "observation.state": np.float32([f.state for f in frames]),
        "armlet.stamp_ns": np.array([f.stamp_ns for f in frames]),
        "armlet.skew_s": np.float32([list(f.skew_s.values()) for f in frames]),
        "intervention": numbers % 3 > 0,
        "timestamp": np.float32(numbers / 30),
        "frame_index": numbers,
        "episode_index": np.repeat(np.arange(len(LENGTHS)), LENGTHS),
        "index": np.arange(len(frames)),
        "task_index": np.repeat([0, 1, 0], LENGTHS),
        **{
            f"observation.images.{c.name}": np.stack([f.images[c.name] for f in frames])
            for c in LARGE.cameras
        },
    }


def test_every_item_is_what_was_recorded(stock):
    loaded = dict(np.load(stock / "loaded.npz"))
    for key, values in raw_columns().items():
        if values.ndim == 4:
            assert np.abs(loaded[key].astype(int) - values).mean() < 5
        else:
            assert loaded[key].shape == values.shape
            assert np.array_equal(loaded[key], values), key
    assert loaded["task"].tolist() == np.repeat(["pick", "fold", "pick"], LENGTHS).tolist()


def test_we_decode_the_same_pictures(stock):
    loaded = dict(np.load(stock / "loaded.npz"))
    dataset = Dataset(stock / "ours")
    for camera in LARGE.cameras:
        ours = np.concatenate([dataset.images(k, camera.name) for k in range(len(LENGTHS))])
        theirs = loaded[f"observation.images.{camera.name}"]
        assert np.abs(ours.astype(int) - theirs).max() <= 3


def test_statistics_are_lerobots(stock):
    *episodes, whole = json.loads((stock / "stats.json").read_text())
    dataset = Dataset(stock / "ours")
    ours_of = [*(row.stats for row in tables.read_episodes(dataset.root)), dataset.statistics]
    for ours_all, expected in zip(ours_of, [*episodes, whole], strict=True):
        assert set(ours_all) == set(expected)
        for key, stats in expected.items():
            if key == "armlet.stamp_ns":
                stats.pop("std")  # LeRobot squares int64 nanoseconds, which overflow
            # LeRobot has the least of a bool column as a bool.
            span = np.asarray(stats["max"], float) - np.asarray(stats["min"], float)
            for name, value in stats.items():
                ours, value = ours_all[key][name], np.asarray(value)
                assert ours.shape == value.shape, (key, name)
                # LeRobot's sums, and its bin edges, are float32 for float32 columns.
                slack = 1e-6 * np.abs(value) + 1e-3 * span * (name in ("std", "mean"))
                slack += span / 5000 * name.startswith("q")
                assert (np.abs(ours - value) <= slack + 1e-9).all(), (key, name)


def test_it_trains(stock):
    trained = json.loads((stock / "report.json").read_text())["trained"]
    assert trained["features"] == [
        "action",
        "observation.images.front",
        "observation.images.wrist",
        "observation.state",
    ]
    assert np.isfinite(trained["loss"])


def test_a_killed_recording_loads_as_it_lies(stock):
    loaded = json.loads((stock / "report.json").read_text())["killed"]
    assert len(loaded) > 10
    for name, lengths in loaded.items():
        assert lengths in ([3, 2], [3, 2, 2]), name
        assert len(lengths) <= finished(stock / "killed" / name), name
    assert [3, 2, 2] in loaded.values()


def test_it_appends_to_ours_and_we_to_that(stock):
    dataset = Dataset(stock / "resumed")
    assert [e.length for e in dataset.episodes] == [*LENGTHS, 3, 2]
    assert dataset.episodes[4].tasks == ("added by LeRobot",)
    assert dataset.episode(4).state[:, 0].tolist() == [3, 4]
    assert np.abs(dataset.images(4, "wrist").astype(int).mean(axis=(1, 2, 3)) - [30, 40]).max() < 3
    with DatasetWriter(stock / "resumed", LARGE) as writer:
        assert writer.repaired == []
        record(writer, 3, contract=LARGE)
    dataset = Dataset(stock / "resumed")
    assert [e.length for e in dataset.episodes] == [*LENGTHS, 3, 2, 3]
    assert np.array_equal(
        dataset.episode(5).state, np.float32([frame(i, 5).state for i in range(3)])
    )
    assert [problem for problem in check(stock / "resumed") if STOCK_FAULT not in problem] == []


def test_we_read_its_own(stock):
    dataset = Dataset(stock / "stock")
    assert [e.length for e in dataset.episodes] == [4, 3, 5]
    assert len(list((stock / "stock").rglob("*.mp4"))) == 2  # episodes share a file per camera
    seed = 0
    for k, info in enumerate(dataset.episodes):
        levels = np.arange(seed, seed + info.length)
        assert np.array_equal(dataset.episode(k).action[:, 3], levels.astype(np.float32))
        pictures = dataset.images(k, "front").astype(int)
        assert np.abs(pictures.mean(axis=(1, 2, 3)) - 10 * levels).max() < 3
        seed += info.length
    assert dataset.contract is None
    assert [problem for problem in check(dataset.root) if STOCK_FAULT not in problem] == []
