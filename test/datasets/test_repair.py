"""Crashes of LeRobot 0.3's save_episode, between any two of its steps, are repaired."""

import json
import shutil

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from made_episodes import CONTRACT, counted, frame, made
from offline import has_oracle, numbered, numbers, with_lerobot

from armlet.datasets import Dataset, DatasetError, DatasetWriter, check
from armlet.datasets.format import layout
from armlet.datasets.transform.repair import repair

LENGTHS = (4, 3, 5)
KEYS = [f"observation.images.{camera.name}" for camera in CONTRACT.cameras]
LAST = 2


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A v2.1 dataset as LeRobot's: no contract."""
    root = numbered(tmp_path_factory.mktemp("fix") / "whole", LENGTHS, version="v2.1")
    (root / layout.CONTRACT).unlink()
    shutil.rmtree(root / "meta/armlet")
    return root


@pytest.fixture
def root(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "set")


def data(root, k=LAST):
    return root / f"data/chunk-000/episode_{k:06d}.parquet"


def film(root, key, k=LAST):
    return root / f"videos/chunk-000/{key}/episode_{k:06d}.mp4"


def drop_line(path):
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def back_to(root, step):
    """The dataset as a crash in saving its last episode leaves it; steps as in the reference."""
    undo = [
        lambda: drop_line(root / layout.STATS_LINES),
        lambda: drop_line(root / layout.EPISODE_LINES),
        lambda: lower_totals(root),
        lambda: film(root, KEYS[1]).unlink(),
        lambda: film(root, KEYS[0]).unlink(),
        lambda: data(root).unlink(),
    ]
    for change in undo[: 8 - step]:
        change()


def lower_totals(root):
    info = layout.load_info(root)
    (root / layout.INFO).write_bytes(info.with_totals(2, 7, 2).dumps())


def save_pictures(root):
    """The PNGs that LeRobot keeps until the end."""
    first = sum(LENGTHS[:LAST])
    for camera, key in zip(CONTRACT.cameras, KEYS, strict=True):
        folder = root / f"images/{key}/episode_{LAST:06d}"
        folder.mkdir(parents=True)
        for n in range(LENGTHS[LAST]):
            picture = counted(first + n, camera.height, camera.width)
            cv2.imwrite(str(folder / f"frame_{n:06d}.png"), picture[..., ::-1])


def problems(root):
    return [line for line in check(root) if "contract" not in line]


def test_a_whole_dataset_is_left_alone(root):
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert repair(root, yes=True) == []
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("step", [2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("pictures", [False, True])
def test_every_crash_is_repaired_and_a_dry_run_changes_nothing(root, whole, step, pictures):
    if pictures:
        save_pictures(root)
    back_to(root, step)
    before = sorted(root.rglob("*"))
    foreseen = [line for line in repair(root, yes=False) if not line.startswith("  ")]
    assert sorted(root.rglob("*")) == before
    assert repair(root, yes=True) == foreseen
    assert foreseen or step == 2
    assert repair(root, yes=False) == []
    assert problems(root) == []
    assert not (root / "images").exists()
    kept = 3 if step >= 5 or (pictures and step > 2) else 2
    assert [e.length for e in Dataset(root).episodes] == list(LENGTHS[:kept])
    count = sum(LENGTHS[:kept])
    for camera in ("front", "wrist"):
        assert numbers(root, camera) == list(range(count))
    if kept == 3:
        assert data(root).read_bytes() == data(whole).read_bytes()
        lines = (root / layout.EPISODE_LINES).read_text().splitlines()
        expected = (whole / layout.EPISODE_LINES).read_text().splitlines()
        assert [json.loads(line) for line in lines] == [json.loads(line) for line in expected]
        ours, theirs = (Dataset(r)._rows[LAST].stats for r in (root, whole))
        for key, found in theirs.items():
            slack = 0.05 if key.startswith("observation.images") else 1e-9
            for name in ("mean", "std"):
                assert np.allclose(ours[key][name], found[name], atol=slack), (key, name)


def test_a_line_cut_short_is_written_again(root):
    path = root / layout.EPISODE_LINES
    path.write_text(path.read_text()[:-12])
    tasks = root / layout.TASK_LINES
    tasks.write_text(tasks.read_text() + '{"task_index": 2, "ta')
    said = repair(root, yes=True)
    assert any("cut short" in line for line in said)
    assert any("add episode 2, 5 frames" in line for line in said)
    assert problems(root) == []


def test_a_wrong_length_is_corrected_by_the_rows(root):
    path = root / layout.EPISODE_LINES
    path.write_text(path.read_text().replace('"length": 5', '"length": 50'))
    assert any("has 5 frames, not 50" in line for line in repair(root, yes=True))
    assert problems(root) == []


def test_a_broken_episode_before_a_whole_one_is_not_dropped(root):
    film(root, KEYS[0], 1).unlink()
    for yes in (False, True):
        with pytest.raises(DatasetError, match=r"episode 1 is broken .* is absent.*counts it"):
            repair(root, yes)
    assert data(root, 1).exists()


def test_a_data_file_without_its_end_is_no_episode(root):
    back_to(root, 5)
    data(root).write_bytes(data(root).read_bytes()[:-50])
    assert any("remove unfinished episode 2" in line for line in repair(root, yes=True))
    assert [e.length for e in Dataset(root).episodes] == [4, 3]
    assert problems(root) == []


def test_armlets_own_unfinished_episode_is_foreseen_and_finished(tmp_path):
    root = made(tmp_path / "set", (3,))
    writer = DatasetWriter(root, CONTRACT)
    writer.begin_episode("pick")
    for index in range(6):
        writer.add_frame(frame(index, 1))
    shutil.copytree(root, tmp_path / "killed")
    writer.close()
    for name, options, lengths in (
        ("kept", {}, [3, 6]),
        ("removed", {"remove": True}, [3]),
    ):
        killed = shutil.copytree(tmp_path / "killed", tmp_path / name)
        said = repair(killed, yes=False, **options)
        assert ("finish unfinished episode 1: 6 frames" in said[0]) == (not options), said
        assert len(Dataset(killed).episodes) == 1
        assert repair(killed, yes=True, **options)
        assert [e.length for e in Dataset(killed).episodes] == lengths
        assert repair(killed, yes=False) == []
        assert check(killed) == []


def test_a_dataset_being_recorded_is_not_touched(tmp_path):
    with (
        DatasetWriter(tmp_path / "set", CONTRACT),
        pytest.raises(DatasetError, match="being written"),
    ):
        repair(tmp_path / "set", yes=False)


@pytest.mark.skipif(not has_oracle("v03"), reason="no stock LeRobot 0.3.3 (set ARMLET_ORACLE)")
def test_lerobot_loads_what_was_repaired(whole, tmp_path):
    roots = []
    for step in (4, 6):
        root = shutil.copytree(whole, tmp_path / f"step{step}")
        save_pictures(root)
        back_to(root, step)
        repair(root, yes=True)
        roots.append(root)
    with_lerobot("v03", tmp_path, *roots)
    for root in roots:
        assert len(np.load(tmp_path / f"{root.name}.npz")["index"]) == sum(LENGTHS)
    assert pq.ParquetFile(data(roots[0])).metadata.num_rows == LENGTHS[LAST]
