"""Stock LeRobot 0.3.3 opens, trains on and appends to our v2.1 datasets, and we resume its own."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from crash_child import kill_at_every_step
from made_episodes import CONTRACT, QUICK, frame, made, record
from test_episodes_stock import LARGE, LENGTHS, ORACLE, SHARED, raw_columns, run_stock

from armlet.datasets import Dataset, DatasetWriter, check

ORACLE_03 = ORACLE.parents[2] / "v03/bin/python"

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(
        not ORACLE_03.exists(), reason=f"no stock LeRobot 0.3.3 at {ORACLE_03} (set ARMLET_ORACLE)"
    ),
    pytest.mark.skipif(
        not (SHARED / "av_decode.py").exists(), reason=f"no oracle scripts at {SHARED}"
    ),
]


@pytest.fixture(scope="module")
def stock() -> Iterator[Path]:
    """The folder in which stock_lerobot_03.py has done everything."""
    with tempfile.TemporaryDirectory(dir=QUICK) as name:
        folder = Path(name)
        made(folder / "ours", LENGTHS, LARGE, version="v2.1")
        base = made(folder / "base", (3, 2), version="v2.1")
        (folder / "killed").mkdir()
        kept = {root.name for root in kill_at_every_step(base, folder / "killed", "record")}
        for root in (folder / "killed").iterdir():
            if root.name not in kept:
                root.rename(folder / f"same-as-another-{root.name}")
        run_stock(ORACLE_03, "stock_lerobot_03.py", folder)
        yield folder


def test_every_item_is_what_was_recorded(stock):
    loaded = dict(np.load(stock / "loaded.npz"))
    for key, values in raw_columns().items():
        if values.ndim == 4:
            assert np.abs(loaded[key].astype(int) - values).mean() < 5
        else:
            assert np.array_equal(loaded[key], values), key
    assert loaded["task"].tolist() == np.repeat(["pick", "fold", "pick"], LENGTHS).tolist()


def test_it_trains(stock):
    assert np.isfinite(json.loads((stock / "report.json").read_text())["loss"])


def test_a_killed_recording_loads_as_it_lies_but_between_two_renames(stock):
    loaded = json.loads((stock / "report.json").read_text())["killed"]
    assert len(loaded) > 30
    refused = {name for name, lengths in loaded.items() if isinstance(lengths, str)}
    for name in refused:
        root = stock / "killed" / name
        # The format's own gap: rows of an episode that episodes.jsonl does not list yet.
        assert (root / "data/chunk-000/episode_000002.parquet").exists(), loaded[name]
        assert len((root / "meta/episodes.jsonl").read_text().splitlines()) == 2, loaded[name]
        with DatasetWriter(root, CONTRACT) as writer:
            assert writer.episodes == 3
        assert check(root) == []
    assert len(refused) <= 2
    for name in loaded.keys() - refused:
        assert loaded[name] in ([3, 2], [3, 2, 2]), name
    assert [3, 2, 2] in loaded.values()


def test_it_appends_to_ours_and_we_to_that(stock):
    with DatasetWriter(stock / "resumed", LARGE) as writer:
        assert writer.repaired == []
        record(writer, 3, contract=LARGE)
    dataset = Dataset(stock / "resumed")
    assert [e.length for e in dataset.episodes] == [*LENGTHS, 3, 3]
    assert dataset.episodes[3].tasks == ("added by LeRobot",)
    assert (
        np.abs(dataset.images(3, "wrist").astype(int).mean(axis=(1, 2, 3)) - [0, 10, 20]).max() < 3
    )
    assert np.array_equal(
        dataset.episode(4).state, np.float32([frame(i, 4).state for i in range(3)])
    )
    assert check(dataset.root) == []


def test_we_read_and_resume_its_own(stock, tmp_path):
    shutil.copytree(stock / "stock", tmp_path / "set")
    with DatasetWriter(tmp_path / "set", LARGE, adopt=True, codec="libsvtav1") as writer:
        record(writer, 2, contract=LARGE)
    dataset = Dataset(tmp_path / "set")
    assert [e.length for e in dataset.episodes] == [4, 3, 2]
    levels = dataset.images(1, "front").astype(int).mean(axis=(1, 2, 3))
    assert np.abs(levels - [40, 50, 60]).max() < 3
    assert check(dataset.root) == []
