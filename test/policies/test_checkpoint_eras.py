"""Checkpoints of every LeRobot era, without LeRobot: test_parity_matrix compares with 0.3.3."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the policy extra is not installed")

import torch
from safetensors.torch import load_file, save_file
from small_policies import act_config, make_act, make_observation, make_statistics

from armlet.policies import CheckpointError, Choices, load_policy, read_checkpoint, save_checkpoint
from armlet.policies.checkpoint.weights import read_header

WEIGHTS = "model.safetensors"
BEFORE_STATE = "policy_preprocessor_step_3_normalizer_processor.safetensors"
AFTER_STATE = "policy_postprocessor_step_0_unnormalizer_processor.safetensors"
NEW_ONLY = ("use_peft", "pretrained_path")
NAMES = {"MEAN_STD": ("mean", "std"), "MIN_MAX": ("min", "max"), "IDENTITY": ()}
RANGES = {"VISUAL": "MEAN_STD", "STATE": "MIN_MAX", "ACTION": "MIN_MAX", "ENV": "IDENTITY"}


def make_old(path, config, statistics, infix=""):
    """The checkpoint at `path` as 0.3.x would have written it."""
    for file in path.glob("policy_*"):
        file.unlink()
    document = json.loads((path / "config.json").read_text())
    for key in NEW_ONLY:
        del document[key]
    (path / "config.json").write_text(json.dumps(document))
    tensors = load_file(path / WEIGHTS)
    for key, feature in config.used_features.items():
        parts = ("normalize_targets", "unnormalize_outputs") if key == "action" else ()
        for part in parts or ("normalize_inputs",):
            for name in NAMES[config.normalization_mapping[feature.type]]:
                buffer = f"{infix}buffer_{key.replace('.', '_')}"
                value = torch.tensor(statistics[key][name])
                tensors[f"{part}.{buffer}.{name}"] = value
    save_file(tensors, path / WEIGHTS)


@pytest.fixture(scope="module")
def policies(tmp_path_factory):
    """Directories of one policy (no cameras) as 0.4 and as 0.3 write it; copy before changing."""
    root = tmp_path_factory.mktemp("eras")
    config = act_config(cameras=())
    statistics = make_statistics(config)
    save_checkpoint(root / "new", make_act(config), config, statistics)
    shutil.copytree(root / "new", root / "old")
    make_old(root / "old", config, statistics)
    return root


@pytest.fixture
def old(policies, tmp_path):
    return shutil.copytree(policies / "old", tmp_path / "old")


@pytest.fixture
def new(policies, tmp_path):
    return shutil.copytree(policies / "new", tmp_path / "new")


def retensor(path, change):
    tensors = load_file(path)
    change(tensors)
    path.unlink()
    save_file(tensors, path)


def chunk(path, **choices):
    policy = load_policy(path, choices=Choices(**choices))
    return policy.predict_chunk(make_observation(act_config(cameras=())))


def test_both_eras_are_one_policy(policies):
    old, new = read_checkpoint(policies / "old"), read_checkpoint(policies / "new")
    assert (old.era, new.era) == ("0.3.x", "0.4.3 to 0.5.1")
    assert old.preprocessor.fingerprint() == new.preprocessor.fingerprint()
    np.testing.assert_array_equal(chunk(policies / "old"), chunk(policies / "new"))


def test_ranges_of_0_3_have_their_own_formulas(tmp_path):
    config = act_config(cameras=(), normalization_mapping=RANGES)
    statistics = make_statistics(config)
    # A joint that hardly moved and one that never did: there the eras differ.
    for key in ("action", "observation.state"):
        statistics[key]["min"][:2], statistics[key]["max"][:2] = (1, 1), (1 + 2e-6, 1)
    save_checkpoint(tmp_path / "old", make_act(config), config, statistics)
    new = read_checkpoint(tmp_path / "old").preprocessor
    make_old(tmp_path / "old", config, statistics)
    old = read_checkpoint(tmp_path / "old").preprocessor
    low, high = (torch.from_numpy(statistics["action"][name]).double() for name in ("min", "max"))
    x = torch.linspace(-30, 30, 6) + low.float()
    expected = 2 * (x - low) / (high - low + 1e-8) - 1
    torch.testing.assert_close(old.normalize_action(x), expected.float(), rtol=1e-3, atol=1e-6)
    y = torch.linspace(-1.5, 2, 6)
    expected = (y + 1) / 2 * (high - low) + low
    torch.testing.assert_close(old.unnormalize_action(y), expected.float())
    assert old.unnormalize_action(y)[1] == 1
    assert not torch.equal(old.normalize_action(x), new.normalize_action(x))
    assert old.fingerprint() != new.fingerprint()
    assert old.to("cpu").fingerprint() == old.fingerprint()


def test_an_underscore_in_a_camera_is_no_dot(tmp_path):
    config = act_config(cameras=("top_left",))
    statistics = make_statistics(config)
    save_checkpoint(tmp_path / "old", make_act(config), config, statistics)
    make_old(tmp_path / "old", config, statistics)
    read = read_checkpoint(tmp_path / "old").statistics["observation.images.top_left"]
    np.testing.assert_array_equal(read["mean"], statistics["observation.images.top_left"]["mean"])
    document = json.loads((tmp_path / "old" / "config.json").read_text())
    picture = document["input_features"]["observation.images.top_left"]
    document["input_features"]["observation.images.top.left"] = picture
    (tmp_path / "old" / "config.json").write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match="gives both one name"):
        read_checkpoint(tmp_path / "old")


ACTION = "buffer_action.mean"
CORRUPTIONS = {
    "never set": (
        lambda t: t["normalize_inputs.buffer_observation_state.mean"].fill_(torch.inf),
        "values of observation.state.mean.*LeRobot fills unset ones with infinity",
    ),
    "missing": (
        lambda t: t.pop("normalize_inputs.buffer_observation_state.std"),
        "observation.state.std.*silence",
    ),
    "of another feature": (
        lambda t: t.update({"normalize_inputs.buffer_observation_gripper.mean": torch.ones(1)}),
        "normalization tensors.*found normalize_inputs.buffer_observation_gripper.mean",
    ),
    "targets otherwise": (
        lambda t: t[f"normalize_targets.{ACTION}"].add_(1),
        "action statistics: expected the same in normalize_targets",
    ),
    "no targets": (
        lambda t: [t.pop(k) for k in list(t) if k.startswith("normalize_targets")],
        "action statistics: expected the same",
    ),
    "other shape": (
        lambda t: t.update({"normalize_inputs.buffer_observation_state.mean": torch.ones(7)}),
        "expected .6,., found .7,.",
    ),
}


@pytest.mark.parametrize(("corrupt", "message"), CORRUPTIONS.values(), ids=CORRUPTIONS.keys())
def test_corrupt_buffers_are_refused(corrupt, message, old):
    retensor(old / WEIGHTS, corrupt)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(old)


def test_buffers_beside_processors_are_refused(new):
    retensor(new / WEIGHTS, lambda t: t.update({f"unnormalize_outputs.{ACTION}": torch.ones(6)}))
    with pytest.raises(CheckpointError, match=r"extra unnormalize_outputs.buffer_action.mean"):
        load_policy(new)


def test_neither_processors_nor_buffers_is_refused(new):
    (new / "policy_preprocessor.json").unlink()
    with pytest.raises(CheckpointError, match=r"processor file missing.*found neither"):
        read_checkpoint(new)


def test_0_3_without_any_normalization_has_no_statistics(tmp_path):
    config = act_config(
        cameras=(), normalization_mapping=dict.fromkeys(("STATE", "ENV", "ACTION"), "IDENTITY")
    )
    save_checkpoint(tmp_path / "new", make_act(config), config, make_statistics(config))
    shutil.copytree(tmp_path / "new", tmp_path / "old")
    make_old(tmp_path / "old", config, {})
    assert read_checkpoint(tmp_path / "old").era == "0.3.x"
    np.testing.assert_array_equal(chunk(tmp_path / "old"), chunk(tmp_path / "new"))
    # From 0.4 on the processors would be missing, and with them what they say beside statistics.
    (tmp_path / "new" / "policy_preprocessor.json").unlink()
    with pytest.raises(CheckpointError, match=r"processor file missing.*found neither"):
        read_checkpoint(tmp_path / "new")


def test_robots_of_0_3_are_asked_for(policies, tmp_path):
    config = act_config(cameras=())
    path = shutil.copytree(policies / "new", tmp_path / "old")
    make_old(path, config, make_statistics(config), "so100_")
    make_both = make_statistics(config, seed=1)
    tensors = load_file(path / WEIGHTS)
    other = shutil.copytree(policies / "new", tmp_path / "other")
    make_old(other, config, make_both, "so100-blue_")
    save_file({**tensors, **load_file(other / WEIGHTS)}, path / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"names of robots.*found so100, so100-blue"):
        read_checkpoint(path)
    with pytest.raises(CheckpointError, match="embodiment so101"):
        read_checkpoint(path, Choices(embodiment="so101"))
    np.testing.assert_array_equal(chunk(path, embodiment="so100"), chunk(policies / "new"))
    assert np.abs(chunk(path, embodiment="so100-blue") - chunk(policies / "new")).max() > 1
    read = read_checkpoint(path, Choices(embodiment="so100"))
    assert any("stored for so100, as asked" in note for note in read.notes)


def test_robots_of_0_4_are_asked_for(new, policies):
    for file in (BEFORE_STATE, AFTER_STATE):
        retensor(
            new / file,
            lambda t: [t.__setitem__("so100.buffer." + k, t.pop(k)) for k in list(t)],
        )
    with pytest.raises(CheckpointError, match=r"found so100 .*so100.buffer.action.max"):
        read_checkpoint(new)
    np.testing.assert_array_equal(chunk(new, embodiment="so100"), chunk(policies / "new"))


def test_a_robot_nobody_stored_is_not_passed_over(new):
    # Without robots' names there is nothing to choose: the statistics are the policy's.
    assert read_checkpoint(new, Choices(embodiment="so100")).statistics
    retensor(new / BEFORE_STATE, lambda t: t.update({"so100.buffer.action.mean": torch.ones(6)}))
    assert read_checkpoint(new).statistics
    with pytest.raises(CheckpointError, match="embodiment so101"):
        read_checkpoint(new, Choices(embodiment="so101"))


@pytest.mark.parametrize("era", ["old", "new"])
@pytest.mark.parametrize("prefix", ["_orig_mod.model.", "model._orig_mod."])
def test_compiled_modules_lose_their_prefix(era, prefix, policies, tmp_path):
    path = shutil.copytree(policies / era, tmp_path / "compiled")

    def compile_names(tensors):
        for name in [name for name in tensors if name.startswith("model.")]:
            tensors[name.replace("model.", prefix, 1)] = tensors.pop(name)

    retensor(path / WEIGHTS, compile_names)
    np.testing.assert_array_equal(chunk(path), chunk(policies / "new"))


def test_bfloat16_of_0_3_is_taken(old, policies):
    retensor(old / WEIGHTS, lambda t: t.update({k: v.bfloat16() for k, v in t.items()}))
    assert 0 < np.abs(chunk(old) - chunk(policies / "new")).max() < 5


def test_a_key_of_main_is_reported(new):
    document = json.loads((new / "config.json").read_text())
    (new / "config.json").write_text(json.dumps({**document, "pretrained_revision": "v1"}))
    notes = read_checkpoint(new).notes
    assert any("pretrained_revision is newer than LeRobot 0.4.4" in note for note in notes)


def header(content, size=None):
    """A file whose first bytes are a safetensors header."""
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return (len(text) if size is None else size).to_bytes(8, "little") + text


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
FILES = {
    "pickle": (b"\x80\x04\x95junk", "a pickled one; unpickling executes"),
    "torch archive": (b"PK\x03\x04junkjunk", "a pickled one"),
    "short": (b"abc", "3 bytes"),
    "header beyond the file": (header({}, 2**60), "which the header claims"),
    "not text": (header(b"\xff\xfe"), "whole safetensors file"),
    "not an object": (header([]), "a header that is a list"),
    "deep": (header(b"[" * 100_000), "whole safetensors file"),
    "twice": (header(b'{"a": 1, "a": 2}'), "occurs twice"),
    "unknown dtype": (header({"a": {**ENTRY, "dtype": "Q4"}}), "a without a known dtype"),
    "no place": (header({"a": {"dtype": "F32", "shape": [2]}}), "a without a known dtype"),
    "negative": (header({"a": {**ENTRY, "shape": [-2]}}), "in bytes 0 to 8"),
    "too large": (header({"a": {**ENTRY, "shape": [2**40]}}) + b"\0" * 8, "a, F32 .1099511627776"),
    "beyond the end": (header({"a": ENTRY}), "0 bytes of content where the header places 8"),
    "overlap": (
        header({"a": ENTRY, "b": {**ENTRY, "data_offsets": [4, 12]}}) + b"\0" * 12,
        "overlap or leave a gap at byte 4",
    ),
    "bytes behind": (header({"a": ENTRY}) + b"\0" * 9, "9 bytes of content"),
}


@pytest.mark.parametrize(("content", "message"), FILES.values(), ids=FILES.keys())
def test_no_file_is_read_before_its_header_is_sound(content, message, old):
    assert read_header(old / WEIGHTS)
    (old / WEIGHTS).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{WEIGHTS}: file not readable: .*{message}"):
        load_policy(old)


def test_pickled_weights_are_named_and_not_read(old):
    (old / WEIGHTS).rename(old / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model.bin: .* pickled one"):
        load_policy(old)


@pytest.fixture
def cache(policies, tmp_path, monkeypatch):
    """A cache of the Hub that holds somebody/reach, and no network."""
    constants = pytest.importorskip("huggingface_hub.constants", reason="no huggingface_hub")
    folder = tmp_path / "hub" / "models--somebody--reach"
    commit = "0" * 39 + "1"
    shutil.copytree(policies / "new", folder / "snapshots" / commit)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return commit


@pytest.mark.parametrize("revision", ["", "@main", "@" + "0" * 39 + "1"])
def test_repositories_come_from_the_cache(revision, cache, policies):
    checkpoint = read_checkpoint(f"hub:somebody/reach{revision}")
    assert checkpoint.path.name == cache
    assert read_checkpoint(Path(f"hub:somebody/reach{revision}")).config == checkpoint.config


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hub:somebody/else", "expected one the Hub, or its cache on this machine, has"),
        ("hub:somebody/reach@v9", "expected one the Hub"),
        ("hub:reach", "expected hub:owner/name or hub:owner/name@revision"),
        ("somebody/reach", "expected a directory"),
    ],
)
def test_repositories_that_are_not_there_are_refused(name, message, cache):
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(name)
