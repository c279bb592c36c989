import errno
import json
import os
import resource
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from small_policies import act_config, make_act, make_observation, make_statistics

from armlet.contract import Camera, Contract
from armlet.policies import (
    CheckpointError,
    load_network,
    load_policy,
    read_checkpoint,
    save_checkpoint,
)

NAMES = tuple(f"joint_{i}.pos" for i in range(6))


@pytest.fixture
def vectors():
    config = act_config(cameras=(), use_vae=True)
    return make_act(config), config, make_statistics(config)


@pytest.mark.thorough
def test_saved_policy_reads_back_as_it_was(vectors, tmp_path):
    network, config, statistics = vectors
    save_checkpoint(tmp_path / "new" / "checkpoint", network, config, statistics)
    checkpoint = read_checkpoint(tmp_path / "new" / "checkpoint")
    assert checkpoint.config == config
    for key, values in statistics.items():
        for name, value in values.items():
            np.testing.assert_array_equal(checkpoint.statistics[key][name], value)
    loaded = load_network(checkpoint).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in network.state_dict().items())


def test_saved_files_are_lerobots(saved_cameras):
    assert sorted(file.name for file in saved_cameras.iterdir()) == [
        "config.json",
        "model.safetensors",
        "policy_postprocessor.json",
        "policy_postprocessor_step_0_unnormalizer_processor.safetensors",
        "policy_preprocessor.json",
        "policy_preprocessor_step_3_normalizer_processor.safetensors",
    ]
    config = json.loads((saved_cameras / "config.json").read_text())
    assert len(config) == 35 and list(config["input_features"])[1:] == [
        "observation.images.front",
        "observation.images.wrist",
    ]


def test_half_precision_keeps_vectors_whole(saved_cameras):
    with safe_open(str(saved_cameras / "model.safetensors"), framework="pt") as file:
        dtypes = {
            (len(file.get_slice(n).get_shape()) >= 2, file.get_slice(n).get_dtype())
            for n in file.keys()  # noqa: SIM118
        }
    assert dtypes == {(True, "F16"), (False, "F32")}
    assert (saved_cameras / "model.safetensors").stat().st_size < 24e6


def test_half_precision_stays_close(saved_cameras):
    config = act_config()
    path_chunk = load_policy(saved_cameras).predict_chunk(make_observation(config))
    policy = load_policy(saved_cameras)
    whole = make_act(config)
    with torch.inference_mode():
        normalized = whole(policy.preprocessor(make_observation(config)))
    expected = policy.preprocessor.unnormalize_action(normalized)[0].numpy()
    assert 0 < np.abs(path_chunk - expected).max() < 1


def test_contract_gets_the_policys_preprocessing(tmp_path):
    config = act_config(cameras=("front",))
    cameras = (Camera("front", 48, 64),)
    contract = Contract(30, cameras, NAMES, NAMES, joint_units="degrees")
    path = tmp_path / "checkpoint"
    save_checkpoint(path, make_act(config), config, make_statistics(config), contract)
    policy = load_policy(path)
    assert policy.contract is not None
    assert policy.contract.preprocessing == policy.preprocessor.describe()
    assert policy.action_names == NAMES


def test_contract_of_another_policy_is_not_saved(vectors, tmp_path):
    network, config, statistics = vectors
    contract = Contract(30, (Camera("front", 48, 64),), NAMES, NAMES)
    with pytest.raises(CheckpointError, match="contract: cameras"):
        save_checkpoint(tmp_path / "checkpoint", network, config, statistics, contract)
    assert not list(tmp_path.iterdir())


def test_directory_with_files_is_not_overwritten(vectors, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="choose another"):
        save_checkpoint(tmp_path, *vectors)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_a_full_disk_is_said_of_the_checkpoint_and_leaves_none(vectors, tmp_path, monkeypatch):
    """Of a small file the system names nothing: it was said of no place."""

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space") as caught:
        save_checkpoint(tmp_path / "checkpoint", *vectors)
    assert caught.value.filename == str(tmp_path / "checkpoint")
    assert list(tmp_path.iterdir()) == []


def test_all_is_on_disk_before_the_name_and_the_name_after(vectors, tmp_path, monkeypatch):
    synced = []
    fsync = os.fsync

    def recorded(handle):
        path = Path(f"/proc/self/fd/{handle}").readlink()
        synced.append((path, (tmp_path / "checkpoint").exists()))
        fsync(handle)

    monkeypatch.setattr("armlet.policies.checkpoint.save.os.fsync", recorded)
    save_checkpoint(tmp_path / "checkpoint", *vectors)
    *before, folder, parent = synced
    names = {path.name for path, _ in before if path.suffix != ".new"}  # before it is renamed
    assert names == {f.name for f in (tmp_path / "checkpoint").iterdir()}
    assert not any(named for _, named in before)
    assert folder[0].parents[1] == tmp_path and not folder[1]
    assert parent == (tmp_path, True)


@pytest.mark.parametrize(
    ("umask", "file", "folder"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700)]
)
def test_permissions_are_what_the_umask_leaves(umask, file, folder, vectors, tmp_path):
    before = os.umask(umask)
    try:
        save_checkpoint(tmp_path / "checkpoint", *vectors)
    finally:
        os.umask(before)
    found = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "checkpoint").iterdir()}
    assert found == {file}
    assert stat.S_IMODE((tmp_path / "checkpoint").stat().st_mode) == folder


def test_empty_directory_is_filled(vectors, tmp_path):
    (tmp_path / "checkpoint").mkdir()
    save_checkpoint(tmp_path / "checkpoint", *vectors)
    load_policy(tmp_path / "checkpoint")


def test_weights_too_large_for_half_precision_are_refused(vectors, tmp_path):
    network, config, statistics = vectors
    with torch.no_grad():
        network.action_head.weight[0, 0] = 1e6
    with pytest.raises(CheckpointError, match="too large for float16"):
        save_checkpoint(tmp_path / "c", network, config, statistics, dtype=torch.float16)
    assert not list(tmp_path.iterdir())


def test_other_dtypes_are_refused(vectors, tmp_path):
    with pytest.raises(ValueError, match="float32 or float16"):
        save_checkpoint(tmp_path / "c", *vectors, dtype=torch.int8)


def test_missing_statistics_are_refused(vectors, tmp_path):
    network, config, statistics = vectors
    del statistics["action"]
    with pytest.raises(CheckpointError, match=r"action\.mean"):
        save_checkpoint(tmp_path / "c", network, config, statistics)


def test_optimized_network_cannot_be_saved(tmp_path):
    config = act_config()
    network = make_act(config).optimize_for_inference()
    with pytest.raises(CheckpointError, match="before optimize_for_inference"):
        save_checkpoint(tmp_path / "c", network, config, make_statistics(config))


def test_crash_while_writing_leaves_nothing(vectors, tmp_path, monkeypatch):
    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("armlet.policies.checkpoint.save.save_file", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(tmp_path / "checkpoint", *vectors)
    assert not list(tmp_path.iterdir())


def test_weights_that_the_disk_does_not_take_are_an_ordinary_error(tmp_path):
    """A full disk was a traceback of safetensors' own at the end of a training."""
    config = act_config()
    network, statistics = make_act(config), make_statistics(config)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"policy was not saved: .*(os error|code:) 27") as failed:
            save_checkpoint(tmp_path / "policy", network, config, statistics)
        assert failed.value.errno == 27
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [*tmp_path.iterdir()] == []
