"""Reading datasets that armlet did not record."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_episodes import made, picture

from armlet.datasets import Dataset, DatasetError, check
from armlet.datasets.format import layout

REAL = Path(__file__).resolve().parents[3] / "shared/data/so101_real"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"no real dataset at {REAL}")


@needs_real
def test_a_real_dataset_with_many_episodes_in_one_file():
    dataset = Dataset(REAL)
    assert dataset.contract is None
    assert (len(dataset.episodes), dataset.info.total_frames, dataset.info.fps) == (4, 1492, 30)
    whole = [dataset.episode(k) for k in range(4)]
    for data in whole:
        assert data.state.shape == data.action.shape == (data.info.length, 6)
        assert np.allclose(np.diff(data.timestamp), 1 / 30, atol=1e-4)
        assert set(data.tasks) == set(data.info.tasks)
        with pytest.raises(DatasetError, match=r"no column armlet\.stamp_ns"):
            _ = data.stamp_ns
    joined = np.concatenate([data.action for data in whole])
    assert np.allclose(dataset.statistics["action"]["mean"], joined.mean(axis=0), atol=1e-3)
    assert np.concatenate([d.columns["index"] for d in whole]).tolist() == list(range(1492))


@needs_real
def test_absent_videos_are_said_to_be_absent():
    dataset = Dataset(REAL)
    camera = next(iter(dataset.info.cameras))
    with pytest.raises(DatasetError, match="is absent: this copy of the dataset has no pictures"):
        dataset.images(0, camera)
    problems = check(REAL)
    assert any("mp4 is absent" in problem for problem in problems)
    assert any("a bug of LeRobot 0.4.0" in problem for problem in problems)


def test_pictures_kept_in_the_data_file(tmp_path):
    root = made(tmp_path / "set", (3,))
    pictures = [picture(9 * i, 48, 64) for i in range(3)]
    coded = [cv2.imencode(".png", p[..., ::-1])[1].tobytes() for p in pictures]
    path = root / "data/chunk-000/file-000.parquet"
    table = pq.read_table(path, partitioning=None)
    stored = pa.array([{"bytes": c, "path": None} for c in coded])
    pq.write_table(table.append_column("observation.images.front", stored), path)
    document = json.loads((root / layout.INFO).read_text())
    document["features"]["observation.images.front"]["dtype"] = "image"
    (root / layout.INFO).write_text(json.dumps(document))
    found = Dataset(root).images(0, "front", [2, 0])
    assert np.array_equal(found, np.stack([pictures[2], pictures[0]]))


def test_statistics_come_from_the_episodes_if_their_file_is_absent(tmp_path):
    root = made(tmp_path / "set")
    known = Dataset(root).statistics
    (root / layout.STATS).unlink()
    again = Dataset(root).statistics
    assert all(np.allclose(again[f][s], v) for f in known for s, v in known[f].items())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"codebase_version": "v2.0"}, "says v2.0, but data_path is that of v3.0"),
        ({"codebase_version": "v1.6"}, "v1.6.*convert"),
        ({"fps": 29.97}, "fps"),
        ({"features": 3}, "not an info.json"),
        ({"total_episodes": 4}, "counts 4 episodes, the metadata of 3"),
    ],
)
def test_an_info_that_cannot_be_used(tmp_path, change, named):
    root = made(tmp_path / "set")
    path = root / layout.INFO
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DatasetError, match=named):
        Dataset(root)


def test_what_is_not_there(tmp_path):
    with pytest.raises(DatasetError, match="not a LeRobot dataset"):
        Dataset(tmp_path)
    dataset = Dataset(made(tmp_path / "set", (2,)))
    with pytest.raises(DatasetError, match=r"no camera 'top'.*front.*wrist"):
        dataset.images(0, "top")
    with pytest.raises(IndexError):
        dataset.episode(1)
    with pytest.raises(IndexError, match=r"0\.\.1"):
        dataset.images(0, "front", [2])
    shutil.rmtree(dataset.root / "data")
    with pytest.raises(DatasetError, match=r"file-000\.parquet is absent"):
        dataset.episode(0)
