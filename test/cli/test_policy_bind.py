"""`armlet policy bind`: a checkpoint of LeRobot gets the contract of its training data."""

import dataclasses
import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the policy extra is not installed")

sys.path.insert(0, str(Path(__file__).parents[1] / "policies"))
sys.path.insert(0, str(Path(__file__).parents[1] / "datasets"))

import check_world as w  # noqa: E402
import small_datasets as data  # noqa: E402
from narrow_network import narrow_network  # noqa: E402, F401
from safetensors.torch import load_file, save_file  # noqa: E402
from small_policies import make_act  # noqa: E402
from test_not_finite import poison  # noqa: E402

from armlet.cli.main import main  # noqa: E402
from armlet.contract import Lag, load  # noqa: E402
from armlet.datasets import Dataset  # noqa: E402
from armlet.policies import read_checkpoint, save_checkpoint  # noqa: E402
from armlet.policies.fit.check import check  # noqa: E402
from armlet.policies.fit.feature_stats import IMAGENET  # noqa: E402

CONTRACT = "armlet_contract.json"


def bind(*arguments):
    return main(["policy", "bind", *map(str, arguments)])


def hashes(folder):
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.iterdir()
        if file.name != CONTRACT
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A dataset of armlet, and a checkpoint with its statistics and no contract: LeRobot's."""
    folder = tmp_path_factory.mktemp("bind")
    data.record(folder / "data")
    config = w.small_config()
    statistics = Dataset(folder / "data").statistics
    save_checkpoint(folder / "plain", make_act(config), config, statistics, dtype=torch.float16)
    return folder


@pytest.fixture
def plain(world, tmp_path):
    """A copy whose files may be changed; its weights are linked."""
    target = tmp_path / "checkpoint"
    target.mkdir()
    for file in (world / "plain").iterdir():
        if file.name == w.WEIGHTS:
            (target / file.name).symlink_to(file)
        else:
            shutil.copy(file, target / file.name)
    return target


def test_the_contract_is_what_armlets_own_training_writes(world, plain, capsys):
    before = hashes(plain)
    assert bind(plain, "--dataset", world / "data") == 0
    said = capsys.readouterr().out
    checkpoint = read_checkpoint(plain)
    detail = checkpoint.contract.detail
    assert [each.camera for each in detail] == ["front", "wrist"]
    assert all(0 < each.value < 4 for each in detail)
    assert checkpoint.contract == dataclasses.replace(
        data.CONTRACT,
        preprocessing=checkpoint.preprocessor.describe(),
        tasks=("reach",),
        detail=detail,
    )
    for line in (
        f"contract       {checkpoint.contract.signature()}",
        "rate           30 Hz",
        "shoulder_pan.pos (degrees)",
        "gripper.pos (range_0_100)",
        "camera         wrist 64x48",
        f"calibration    {data.CONTRACT.calibration}",
        "task           reach",
        "statistics     the same numbers",
    ):
        assert line in said, line
    assert hashes(plain) == before
    # What the node asks for and a plain checkpoint leaves open is stated now.
    assert check(checkpoint, driving=True).joint_units == "degrees"
    assert not check(read_checkpoint(plain, contract=False), driving=True).ok


def test_the_contract_states_how_far_the_arm_was_behind_its_commands(world, plain, monkeypatch):
    stated, given = Lag(0.1, 0.01), []

    def lag_of(contract, episodes):
        given.extend(episodes)
        return stated

    monkeypatch.setattr("armlet.policies.fit.bind.lag_of", lag_of)
    assert bind(plain, "--dataset", world / "data") == 0
    assert read_checkpoint(plain).contract.lag == stated
    recorded = [Dataset(world / "data").episode(k) for k in range(2)]
    for (states, actions), episode in zip(given, recorded, strict=True):
        assert np.array_equal(states, episode.state)
        assert np.array_equal(actions, episode.action)


def test_again_changes_nothing_and_another_contract_is_kept(world, plain, capsys):
    bind(plain, "--dataset", world / "data")
    (before,) = [(plain / CONTRACT).read_bytes()]
    assert bind(plain, "--dataset", world / "data") == 0
    assert "already, nothing was changed" in capsys.readouterr().out
    assert not (plain / f"{CONTRACT}.bak").exists()
    other = dataclasses.replace(load(plain / CONTRACT), joint_units="range_m100_100")
    other.save(plain / CONTRACT)
    altered = (plain / CONTRACT).read_bytes()
    assert bind(plain, "--dataset", world / "data") == 0
    assert f"is now {plain / CONTRACT}.bak" in capsys.readouterr().out
    assert (plain / f"{CONTRACT}.bak").read_bytes() == altered
    assert (plain / CONTRACT).read_bytes() == before


def test_a_contract_that_cannot_be_read_is_no_obstacle_and_is_kept(world, plain):
    (plain / CONTRACT).write_text("{")
    with pytest.raises(ValueError, match=CONTRACT):
        read_checkpoint(plain)
    assert bind(plain, "--dataset", world / "data") == 0
    assert read_checkpoint(plain).contract.joint_units == "degrees"
    assert (plain / f"{CONTRACT}.bak").read_text() == "{"


def test_rows_that_are_not_finite_are_of_no_dataset_to_bind_to(tmp_path, capsys):
    """In any episode, also in one that is not looked at for its pictures."""
    data.record(tmp_path / "data", 11, 3)
    statistics = Dataset(tmp_path / "data").statistics
    config = w.small_config()
    save_checkpoint(tmp_path / "plain", make_act(config), config, statistics)
    assert bind(tmp_path / "plain", "--dataset", tmp_path / "data") == 0
    (tmp_path / "plain" / CONTRACT).unlink()
    poison(tmp_path / "data", "action", np.inf, episode=4)
    capsys.readouterr()
    assert bind(tmp_path / "plain", "--dataset", tmp_path / "data") == 1
    said = capsys.readouterr().out
    assert "ERROR action of episode 4" in said and "[dataset.value-not-finite]" in said
    assert not (tmp_path / "plain" / CONTRACT).exists()


def _imagenet(tensors):
    for camera in (w.FRONT, w.WRIST):
        for name, values in zip(("mean", "std"), IMAGENET, strict=True):
            tensors[f"{camera}.{name}"] = torch.tensor(values, dtype=torch.float32).view(3, 1, 1)


def test_imagenet_statistics_are_lerobots_default_and_no_sign_of_another_dataset(world, plain):
    for file in (w.BEFORE_STATE, w.AFTER_STATE):
        w.retensor(file, _imagenet)(w.World(plain))
    assert bind(plain, "--dataset", world / "data") == 0
    # Of other pictures min and max are still other numbers.
    w.retensor(w.BEFORE_STATE, lambda t: t.update({f"{w.FRONT}.max": t[f"{w.FRONT}.max"] * 0.9}))(
        w.World(plain)
    )
    assert bind(plain, "--dataset", world / "data") == 1


def _one_more_episode(tensors):
    for name in list(tensors):
        if name.endswith(".count"):
            tensors[name] += 12


def _scaled(tensors):
    for name in ("mean", "std", "min", "max"):
        tensors[f"action.{name}"] *= 1.001


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (w.statistics(_one_more_episode), "others of observation.state"),
        (w.statistics(_scaled), "others of action"),
    ],
)
def test_what_was_trained_on_other_data_is_refused(change, message, world, plain, capsys):
    change(w.World(plain))
    assert bind(plain, "--dataset", world / "data") == 1
    said = capsys.readouterr().out
    assert "ERROR" in said and message in said and "nothing was changed" in said
    assert not (plain / CONTRACT).exists()


def test_pictures_of_another_size_are_refused(world, tmp_path, capsys):
    config = w.small_config(size=(24, 32))
    statistics = Dataset(world / "data").statistics
    save_checkpoint(tmp_path / "small", make_act(config), config, statistics, dtype=torch.float16)
    assert bind(tmp_path / "small", "--dataset", world / "data") == 1
    assert "expected (24, 32, rgb), found (48, 64, rgb)" in capsys.readouterr().out.replace("'", "")
    assert not (tmp_path / "small" / CONTRACT).exists()


def test_another_dataset_is_refused(world, plain, tmp_path, capsys):
    """As many frames of the same arm, and one joint is elsewhere by a hair."""
    shutil.copytree(world / "data", tmp_path / "other")
    file = tmp_path / "other" / "meta" / "stats.json"
    document = json.loads(file.read_text())
    document["observation.state"]["mean"][1] += 0.01
    file.write_text(json.dumps(document))
    assert bind(plain, "--dataset", tmp_path / "other") == 1
    assert "others of observation.state" in capsys.readouterr().out


def test_joints_in_another_order_are_refused(world, plain, tmp_path, capsys):
    names = data.NAMES[::-1]
    other = dataclasses.replace(data.CONTRACT, state_names=names, action_names=names)
    data.record(tmp_path / "other", contract=other)
    # The values in the same order as before, so the numbers agree: what is named gripper is not.
    assert bind(plain, "--dataset", tmp_path / "other") == 1
    assert "ERROR" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [("hub:somebody/something", "hf download"), ("absent", "absent")],
)
def test_what_is_no_checkpoint_is_refused_in_words(checkpoint, message, world, tmp_path, capsys):
    path = checkpoint if checkpoint.startswith("hub:") else tmp_path / checkpoint
    assert bind(path, "--dataset", world / "data") in (1, 2)
    captured = capsys.readouterr()
    assert message in captured.out + captured.err


def test_a_dataset_without_a_contract_says_how_to_write_one(world, plain, tmp_path, capsys):
    shutil.copytree(world / "data", tmp_path / "edited")
    (tmp_path / "edited" / "meta" / CONTRACT).unlink()
    assert bind(plain, "--dataset", tmp_path / "edited") == 2
    assert "armlet dataset bind" in capsys.readouterr().err
    assert not (plain / CONTRACT).exists()


def test_a_camera_that_the_policy_does_not_read_is_left_out(world, tmp_path):
    config = w.small_config(cameras=("wrist",))
    statistics = Dataset(world / "data").statistics
    save_checkpoint(tmp_path / "one", make_act(config), config, statistics, dtype=torch.float16)
    assert bind(tmp_path / "one", "--dataset", world / "data") == 0
    assert [c.name for c in read_checkpoint(tmp_path / "one").contract.cameras] == ["wrist"]


def test_weights_are_never_opened_for_writing(world, plain):
    path = plain / w.WEIGHTS
    stamp = path.stat().st_mtime_ns
    assert bind(plain, "--dataset", world / "data") == 0
    assert path.is_symlink() and path.stat().st_mtime_ns == stamp
    tensors = load_file(path)
    assert all(np.isfinite(t.float().numpy()).all() for t in tensors.values())


def test_statistics_without_an_action_prove_nothing(world, plain, capsys):
    """LeRobot stores none with IDENTITY where a dataset had none."""

    def bare(tensors):
        kept = {key: value for key, value in tensors.items() if not key.startswith("action.")}
        tensors.clear()
        tensors.update(kept)

    def identity(document):
        document["normalization_mapping"]["ACTION"] = "IDENTITY"

    for file in (w.BEFORE_STATE, w.AFTER_STATE):
        tensors = load_file(plain / file)
        bare(tensors)
        save_file({k: v.contiguous() for k, v in tensors.items()}, plain / file)
    w.edit("config.json", identity)(w.World(plain))
    for file in ("policy_preprocessor.json", "policy_postprocessor.json"):
        document = json.loads((plain / file).read_text())
        for step in document["steps"]:
            if "norm_map" in step.get("config", {}):
                step["config"]["norm_map"]["ACTION"] = "IDENTITY"
        (plain / file).write_text(json.dumps(document))
    assert bind(plain, "--dataset", world / "data") == 1
    assert "none of action in both" in capsys.readouterr().out


def test_nothing_is_written_through_a_link(world, plain, tmp_path, capsys):
    outside = tmp_path / "outside.json"
    (plain / "armlet_contract.json").symlink_to(outside)
    assert bind(plain, "--dataset", world / "data") == 2
    assert "is a symbolic link: nothing is written through it" in capsys.readouterr().err
    assert not outside.exists()
