"""What a training reads: which rows at which step, their pictures, from which datasets."""

import argparse
import dataclasses
import itertools
import json
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the policy extra is not installed")

from test_training import CONTRACT, LENGTHS, TINY, record  # noqa: E402

from armlet.cli.graph.train import finding, weighted  # noqa: E402
from armlet.contract import Camera  # noqa: E402
from armlet.datasets import Dataset, DatasetError  # noqa: E402
from armlet.datasets.check import quality  # noqa: E402
from armlet.datasets.format import layout, video  # noqa: E402
from armlet.datasets.transform.convert import convert  # noqa: E402
from armlet.findings import Code  # noqa: E402
from armlet.policies import load_policy  # noqa: E402
from armlet.training import Loading, Source, select, shared_contract, train  # noqa: E402
from armlet.training.loader import Loader  # noqa: E402
from armlet.training.sampler import Sampler  # noqa: E402
from armlet.training.samples import load_samples  # noqa: E402
from armlet.training.sources import split, statistics_of  # noqa: E402

INFO = "meta/info.json"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return record(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    return record(tmp_path_factory.mktemp("data") / "second")


def groups(*counts):
    return np.split(np.arange(sum(counts)), np.cumsum(counts)[:-1])


def first_rows(sampler, first, count):
    return [rows.tolist() for rows in itertools.islice(sampler.batches(first), count)]


def test_every_row_comes_once_in_an_epoch_in_another_order_each_time():
    rows = np.array(first_rows(Sampler(groups(12), [1.0], 4, seed=3), 0, 9)).reshape(3, 12)
    for epoch in rows:
        assert sorted(epoch) == list(range(12))
    assert len({tuple(epoch) for epoch in rows}) == 3
    assert first_rows(Sampler(groups(12), [1.0], 4, seed=4), 0, 1) != rows[:1, :4].tolist()


@pytest.mark.parametrize("weights", [[1.0, 1.0], [1.0, 0.3], [0.7, 2.0]])
def test_the_order_from_any_step_on_is_the_one_from_the_first(weights):
    """Batches that begin in one epoch and end in the next as well."""
    sampler = Sampler(groups(5, 12), weights, 4, seed=1)
    whole = first_rows(sampler, 0, 40)
    for first in range(40):
        assert first_rows(sampler, first, 3)[: 40 - first] == whole[first : first + 3]


def test_rows_of_a_dataset_are_drawn_by_its_weight_and_each_as_often_as_the_others():
    rows = np.concatenate(first_rows(Sampler(groups(6, 8), [1.0, 0.25], 2, seed=0), 0, 320))
    drawn = np.bincount(rows, minlength=14)
    assert (drawn[:6] == 80).all() and (drawn[6:] == 20).all()


@pytest.mark.representatives(2)
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("cache_mb", [0, 1])
def test_pictures_are_those_of_the_dataset_whoever_decodes_them(root, second, workers, cache_mb):
    """Every batch twice, so that it comes from the cache too; slots are used again and again."""
    samples = load_samples([Dataset(root), Dataset(second)], [[2, 0], [1]])
    whole = {
        (number, k): Dataset(place).images(k, "front")
        for number, (place, episodes) in enumerate(((root, (2, 0)), (second, (1,))))
        for k in episodes
    }
    order = Sampler(samples.groups, [1.0, 1.0], 3, seed=0)
    batches = [*itertools.islice(order.batches(0), 12)]
    loader = Loader(samples, batches * 2, 3, Loading(workers, cache_mb))
    count = 0
    for expected, (rows, images) in zip(batches * 2, loader, strict=True):
        assert rows.tolist() == expected.tolist()
        for row, picture in zip(rows, images["front"], strict=True):
            number, episode, frame = samples.places[row].tolist()
            np.testing.assert_array_equal(picture, whole[number, episode][frame])
            count += 1
    assert count == 72


@pytest.mark.parametrize("workers", [0, 2])
def test_a_video_that_is_not_there_is_named(root, tmp_path, workers):
    copy = shutil.copytree(root, tmp_path / "set")
    samples = load_samples([Dataset(copy)], [[0, 1, 2]])
    shutil.rmtree(copy / "videos")
    loader = Loader(samples, [np.arange(3)], 3, Loading(workers))
    with pytest.raises(DatasetError, match="is absent"):
        next(iter(loader))


def test_of_every_dataset_episodes_are_held_out_and_no_row_is_on_both_sides(root, second):
    sources = [Source(Dataset(root)), Source(Dataset(second), 0.5, (0, 2))]
    training, validation = split(sources, TINY)
    assert [sorted(a + b) for a, b in zip(training, validation, strict=True)] == [[0, 1, 2], [0, 2]]
    assert [len(held_out) for held_out in validation] == [1, 1]


def test_a_dataset_of_which_nothing_is_left_is_named(root, second):
    with pytest.raises(DatasetError, match="second: expected episodes to train on, found none"):
        split([Source(Dataset(root)), Source(Dataset(second), episodes=())], TINY)


def test_several_datasets_become_one_policy(root, second, tmp_path):
    sources = [Source(Dataset(root)), Source(Dataset(second), 0.5)]
    train(sources, tmp_path / "checkpoint", TINY, lambda _: None)
    policy = load_policy(tmp_path / "checkpoint")
    assert dataclasses.replace(policy.contract, preprocessing=None, detail=()) == (
        dataclasses.replace(CONTRACT, tasks=("pick",))
    )
    assert statistics_of(sources)["action"]["count"].tolist() == [2 * sum(LENGTHS)]


def unbound(root, copy):
    shutil.copytree(root, copy)
    (copy / layout.CONTRACT).unlink()
    return copy


@pytest.mark.representatives(1)
@pytest.mark.parametrize("version", ["v3.0", "v2.1"])
def test_a_dataset_without_a_contract_is_trained_on_and_what_is_unknown_is_said(
    root, tmp_path, version
):
    copy = unbound(root, tmp_path / "lerobots")
    if version == "v2.1":
        convert(copy, tmp_path / "older", version)
        copy = tmp_path / "older"
    said = []
    train(Dataset(copy), tmp_path / "checkpoint", TINY, lambda _: None, say=said.append)
    (line,) = said
    assert "has no contract" in line and "joint units, calibration and alignment" in line
    contract = load_policy(tmp_path / "checkpoint").contract
    assert (contract.fps, contract.action_names) == (CONTRACT.fps, CONTRACT.action_names)
    assert contract.joint_units is None and contract.calibration is None


def test_without_names_of_joints_there_is_no_contract(root, tmp_path):
    copy = unbound(root, tmp_path / "nameless")
    info = json.loads((copy / INFO).read_text())
    info["features"]["action"]["names"] = None
    (copy / INFO).write_text(json.dumps(info))
    with pytest.raises(DatasetError, match="a name for each joint"):
        train(Dataset(copy), tmp_path / "checkpoint", TINY, print)


def test_datasets_that_were_not_recorded_alike_are_refused(root, tmp_path):
    other = dataclasses.replace(CONTRACT, cameras=(Camera("front", 32, 48),))
    wide = record(tmp_path / "wide", other)
    with pytest.raises(DatasetError, match=r"cameras: expected front 32x32.*found front 48x32"):
        shared_contract([Source(Dataset(root)), Source(Dataset(wide))])
    with pytest.raises(DatasetError, match="named twice"):
        shared_contract([Source(Dataset(root)), Source(Dataset(root))])


def test_what_datasets_do_not_state_alike_is_left_open(root, second, tmp_path):
    copy = unbound(second, tmp_path / "unbound")
    shared = shared_contract([Source(Dataset(root)), Source(Dataset(copy))])
    assert shared.contract.joint_units is None and len(shared.unknown) == 1


def test_episodes_are_chosen_by_number_and_by_label(root, tmp_path):
    copy = shutil.copytree(root, tmp_path / "labelled")
    for episode, success in ((0, True), (2, False)):
        path = copy / "meta" / "armlet" / f"episode-{episode:06d}.json"
        notes = json.loads(path.read_text()) if path.is_file() else {}
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({**notes, "success": success}))
    dataset = Dataset(copy)
    assert select(dataset).chosen == (0, 1, 2)
    assert select(dataset, "1-2").chosen == (1, 2)
    assert select(dataset, label="success").chosen == (0,)
    assert select(dataset, "1-2", "failure").chosen == (2,)
    assert select(dataset, label="unlabelled").chosen == (1,)
    with pytest.raises(DatasetError, match="label success"):
        select(dataset, "1", "success")


def test_a_weight_stands_behind_a_dataset():
    assert [str(part) for part in weighted("sets/a:0.5")] == ["sets/a", "0.5"]
    assert [str(part) for part in weighted("hub:owner/name")] == ["hub:owner/name", "1.0"]
    for wrong in ("a:0", "a:-1", "a:nan", ":2"):
        with pytest.raises(argparse.ArgumentTypeError, match="weight above 0"):
            weighted(wrong)


@pytest.mark.parametrize(
    ("numbers", "scattered"),
    [([7], True), ([3, 90, 41, 3], True), (range(12), False), (range(0, 90, 3), False)],
)
def test_scattered_pictures_are_decoded_by_one_thread(root, monkeypatch, numbers, scattered):
    """Every thread more decodes a picture more behind each that is wanted."""
    found = []

    def seek(container, stream, wanted, rate):
        found.append(stream.codec_context.thread_count)
        return iter(())

    monkeypatch.setattr(video, "_seek", seek)
    (path, *_) = root.glob("videos/*/*/*.mp4")
    with pytest.raises(video.VideoError, match="has no picture"):
        video.decode(path, numbers, 30)
    assert (found == [1]) is scattered


def test_episodes_with_findings_are_left_out(root, monkeypatch):
    dataset, looked = Dataset(root), []
    monkeypatch.setattr(quality, "SHORT_S", 3.5 / 30)
    monkeypatch.setattr(quality, "video_findings", lambda *_: looked.append(1) or [])
    source = select(dataset, without=[Code.DATASET_EPISODE_SHORT])
    assert source.chosen == (0, 2) and not looked, "no video needs to be decoded for that"
    select(dataset, without=[Code.DATASET_CAMERA_FROZEN])
    assert looked
    with pytest.raises(DatasetError, match=r"without dataset\.episode-short, found none"):
        select(dataset, episodes="1", without=[Code.DATASET_EPISODE_SHORT])
    with pytest.raises(DatasetError, match="found one of the whole dataset"):
        select(dataset, without=[Code.DATASET_UNITS_WRONG])


def test_a_code_is_one_of_the_check():
    assert finding("dataset.outlier") is Code.DATASET_OUTLIER
    for text in ("dataset.outlyer", "policy.drift-lag"):
        with pytest.raises(argparse.ArgumentTypeError, match="expected a code of"):
            finding(text)
