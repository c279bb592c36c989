"""Every way a checkpoint can lie that could change an action, and how reading it ends."""

import dataclasses
import errno
import json
import os

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_policies import act_config, make_observation

from armlet.contract import Camera, Contract, Preprocessing
from armlet.findings import Code
from armlet.policies import CheckpointError, derive_contract, load_policy, read_checkpoint
from armlet.policies.checkpoint.weights import read_header
from armlet.policies.config.strict_json import read_object

BEFORE = "policy_preprocessor.json"
AFTER = "policy_postprocessor.json"
BEFORE_STATE = "policy_preprocessor_step_3_normalizer_processor.safetensors"
AFTER_STATE = "policy_postprocessor_step_0_unnormalizer_processor.safetensors"
WEIGHTS = "model.safetensors"


def edit(file, change):
    """A corruption that changes the JSON document `file`."""

    def apply(path):
        document = json.loads((path / file).read_text())
        change(document)
        (path / file).write_text(json.dumps(document))

    return apply


def retensor(file, change):
    """A corruption that changes the tensors of `file`."""

    def apply(path):
        tensors = load_file(path / file)
        change(tensors)
        (path / file).unlink()
        save_file(tensors, path / file)

    return apply


def assign(*path_and_value):
    *path, key, value = path_and_value

    def change(document):
        for step in path:
            document = document[step]
        document[key] = value

    return change


def drop(*path):
    *path, key = path

    def change(document):
        for step in path:
            document = document[step]
        del document[key]

    return change


def remove(file):
    return lambda path: (path / file).unlink()


def text(file, content):
    return lambda path: (path / file).write_text(content)


NORMALIZER = ("steps", 3, "config")
FRONT = "observation.images.front"

DOCUMENTS = {
    "no config": (remove("config.json"), "config.json: file missing"),
    "broken JSON": (text("config.json", "{"), "not readable as JSON"),
    "NaN in JSON": (text("config.json", '{"type": NaN}'), "NaN is not JSON"),
    "repeated key": (text("config.json", '{"type": "act", "type": "act"}'), "occurs twice"),
    "list for config": (text("config.json", "[]"), "expected a JSON object, found list"),
    "other policy": (
        edit("config.json", assign("type", "difusion")),
        "expected 'act' or 'diffusion' or 'smolvla', found 'difusion'; did you mean diffusion",
    ),
    "unknown key": (edit("config.json", assign("use_magic", True)), "unknown keys.*use_magic"),
    "wrong kind": (edit("config.json", assign("dim_model", "32")), "dim_model.*expected int"),
    "bool as number": (edit("config.json", assign("n_heads", True)), "n_heads.*expected int"),
    "adapters": (edit("config.json", assign("use_peft", True)), "use_peft"),
    "two observations": (edit("config.json", assign("n_obs_steps", 2)), "n_obs_steps must be 1"),
    "actions beyond chunk": (edit("config.json", assign("n_action_steps", 9)), "must not exceed"),
    "ensembling with queue": (
        edit("config.json", assign("temporal_ensemble_coeff", 0.01)),
        "n_action_steps must be 1",
    ),
    "unknown backbone": (
        edit("config.json", assign("vision_backbone", "vit_b_16")),
        "vision_backbone must be",
    ),
    "glu": (edit("config.json", assign("feedforward_activation", "glu")), "cannot run such"),
    "channels last": (
        edit("config.json", assign("input_features", FRONT, "shape", [48, 64, 3])),
        "channels come first",
    ),
    "no action": (edit("config.json", drop("output_features", "action")), "must hold 'action'"),
    "type without mode": (
        edit("config.json", drop("normalization_mapping", "STATE")),
        "no entry for STATE",
    ),
    "no preprocessor": (remove(BEFORE), "processor file missing"),
    "no postprocessor": (remove(AFTER), f"{AFTER}: file missing"),
    "step of a class": (
        edit(BEFORE, assign("steps", 1, {"class": "os.system", "config": {}})),
        "step 1: processor step.*class 'os.system'.*runs no code",
    ),
    "unknown step": (
        edit(BEFORE, assign("steps", 1, {"registry_name": "tokenizer_processor"})),
        "step 1.*'tokenizer_processor'",
    ),
    "no normalizer": (edit(BEFORE, drop("steps", 3)), "expected the step normalizer_processor"),
    "normalizer twice": (
        edit(BEFORE, lambda d: d["steps"].append(d["steps"][3])),
        "order of steps",
    ),
    "rename after normalizer": (
        edit(BEFORE, lambda d: d["steps"].append(d["steps"].pop(0))),
        "order of steps",
    ),
    "no unnormalizer": (edit(AFTER, drop("steps", 0)), "expected the step unnormalizer_processor"),
    "half precision inputs": (
        edit(BEFORE, assign("steps", 2, "config", "float_dtype", "float16")),
        "float_dtype",
    ),
    "unknown option": (edit(BEFORE, assign(*NORMALIZER, "clip", 5)), "unknown keys.*clip"),
    "feature unlisted": (
        edit(BEFORE, drop(*NORMALIZER, "features", FRONT)),
        f"feature {FRONT}.*no such entry",
    ),
    "norm_map incomplete": (
        edit(BEFORE, drop(*NORMALIZER, "norm_map", "STATE")),
        "norm_map of STATE.*no such entry",
    ),
    "norm_map contradicts": (
        edit(AFTER, assign("steps", 0, "config", "norm_map", "ACTION", "IDENTITY")),
        "norm_map of ACTION.*expected MEAN_STD",
    ),
    "unknown mode": (
        edit(BEFORE, assign(*NORMALIZER, "norm_map", "STATE", "ROBUST")),
        "mode of STATE.*'ROBUST'",
    ),
    "selected keys only": (
        edit(BEFORE, assign(*NORMALIZER, "normalize_observation_keys", [FRONT])),
        "normalize_observation_keys.*observation.state",
    ),
    "no state file": (edit(BEFORE, drop("steps", 3, "state_file")), "state_file"),
    "state file elsewhere": (
        edit(BEFORE, assign("steps", 3, "state_file", "../other.safetensors")),
        "beside this one",
    ),
    "state file missing": (remove(BEFORE_STATE), "file not readable"),
    "statistic missing": (
        retensor(BEFORE_STATE, drop("observation.state.std")),
        "observation.state.std.*silence",
    ),
    "statistics under other names": (
        retensor(
            BEFORE_STATE,
            lambda t: [t.__setitem__("so100.buffer." + k, t.pop(k)) for k in list(t)],
        ),
        "names of robots: expected .* found so100 .as in so100.buffer.action.max",
    ),
    "statistics under unknown names": (
        retensor(
            BEFORE_STATE,
            lambda t: [t.__setitem__("my_" + k, t.pop(k)) for k in list(t)],
        ),
        "found none .features: my_action",
    ),
    "statistics not finite": (
        retensor(BEFORE_STATE, assign(f"{FRONT}.mean", torch.full((3, 1, 1), torch.inf))),
        f"{FRONT}.mean.*finite",
    ),
    "statistics of another shape": (
        retensor(BEFORE_STATE, assign("observation.state.mean", torch.zeros(7))),
        "expected \\(6,\\), found \\(7,\\)",
    ),
    "negative std": (
        retensor(BEFORE_STATE, lambda t: t["observation.state.std"].neg_()),
        "std >= 0",
    ),
    "statistics of 0..255 pictures": (
        retensor(BEFORE_STATE, lambda t: t[f"{FRONT}.mean"].mul_(255)),
        f"{FRONT}.mean: expected 0..1",
    ),
    "cameras in another order": (
        edit(
            BEFORE,
            lambda d: d["steps"][3]["config"].update(
                features=dict(reversed(d["steps"][3]["config"]["features"].items()))
            ),
        ),
        "order of cameras: expected .*front, .*wrist, as .* found .*wrist, .*front; ACT itself",
    ),
    "unnormalized action": (retensor(AFTER_STATE, drop("action.mean")), "action.mean"),
    "other action statistics": (
        retensor(AFTER_STATE, lambda t: t["action.mean"].add_(1)),
        "action statistics.*one training run",
    ),
    "rename to nowhere": (
        edit(BEFORE, assign("steps", 0, "config", "rename_map", {"a": "observation.images.b"})),
        "rename_map of a",
    ),
    "rename onto another camera": (
        edit(
            BEFORE,
            assign("steps", 0, "config", "rename_map", {"observation.images.wrist": FRONT}),
        ),
        "different observation key",
    ),
}


@pytest.mark.parametrize(("corrupt", "message"), DOCUMENTS.values(), ids=DOCUMENTS.keys())
def test_corrupt_files_are_refused(corrupt, message, saved_cameras, cloned):
    path = cloned(saved_cameras)
    read_checkpoint(path)
    corrupt(path)
    with pytest.raises(CheckpointError, match=message) as refusal:
        read_checkpoint(path)
    assert str(path) in str(refusal.value)
    assert refusal.value.finding.code in KINDS


def truncate(path):
    content = (path / WEIGHTS).read_bytes()
    (path / WEIGHTS).write_bytes(content[: len(content) // 2])


HEAD = "model.action_head.weight"

TENSORS = {
    "truncated": (truncate, "file not readable.*whole safetensors"),
    "empty": (text(WEIGHTS, ""), "file not readable"),
    "absent": (remove(WEIGHTS), "file not readable"),
    "tensor missing": (
        retensor(WEIGHTS, drop(HEAD)),
        "missing model.action_head.weight, found .* extra none",
    ),
    "many missing": (retensor(WEIGHTS, lambda t: [t.pop(k) for k in sorted(t)[:9]]), "and 4 more"),
    "tensor extra": (retensor(WEIGHTS, assign("model.spy", torch.zeros(1))), "extra model.spy"),
    "other shape": (
        retensor(WEIGHTS, assign(HEAD, torch.zeros(7, 32))),
        "shape of model.action_head.weight: expected \\(6, 32\\), found \\(7, 32\\)",
    ),
    "integers": (
        retensor(WEIGHTS, assign(HEAD, torch.zeros(6, 32, dtype=torch.int32))),
        "dtype of model.action_head.weight.*I32",
    ),
    "NaN weight": (
        retensor(WEIGHTS, lambda t: t[HEAD][2].fill_(torch.nan)),
        "32 NaN or infinite of 192",
    ),
    "larger config": (edit("config.json", assign("dim_model", 64)), "shape of model"),
    **{
        f"absurd {name}": (edit("config.json", assign(name, 2**40)), f"{name} of config.json")
        for name in (
            "dim_model",
            "dim_feedforward",
            "chunk_size",
            "latent_dim",
            "n_encoder_layers",
            "n_decoder_layers",
        )
    },
    "deeper config": (edit("config.json", assign("n_encoder_layers", 3)), "tensor names"),
}


@pytest.mark.parametrize(("corrupt", "message"), TENSORS.values(), ids=TENSORS.keys())
def test_corrupt_weights_are_refused(corrupt, message, saved_vectors, cloned):
    path = cloned(saved_vectors)
    load_policy(path)
    corrupt(path)
    with pytest.raises(CheckpointError, match=message) as refusal:
        load_policy(path)
    assert refusal.value.finding.code in KINDS


KINDS = {
    Code.POLICY_FILE_MISSING: ("no config", "no postprocessor", "state file missing", "absent"),
    Code.POLICY_FILE_DAMAGED: ("broken JSON", "repeated key", "truncated", "empty"),
    Code.POLICY_KIND_UNKNOWN: ("other policy",),
    Code.POLICY_SETTING_UNKNOWN: ("unknown key", "unknown option"),
    Code.POLICY_SETTING_INVALID: ("list for config", "wrong kind", "two observations"),
    Code.POLICY_SETTING_UNSUPPORTED: ("step of a class", "half precision inputs"),
    Code.POLICY_FILES_CONTRADICT: ("norm_map contradicts", "other action statistics"),
    Code.POLICY_STATISTICS_MISSING: ("statistic missing", "unnormalized action"),
    Code.POLICY_STATISTICS_IMPOSSIBLE: ("negative std", "statistics not finite"),
    Code.POLICY_STATISTICS_AMBIGUOUS: ("statistics under other names",),
    Code.POLICY_STATISTICS_IMAGE_SCALE: ("statistics of 0..255 pictures",),
    Code.POLICY_WEIGHTS_MISMATCH: ("tensor missing", "other shape", "integers", "larger config"),
    Code.POLICY_WEIGHTS_NOT_FINITE: ("NaN weight",),
}


@pytest.mark.parametrize(
    ("code", "name"),
    [(code, name) for code, names in KINDS.items() for name in names],
    ids=lambda value: str(value),
)
def test_a_refusal_has_the_code_of_its_kind(code, name, request, cloned):
    weights = name in TENSORS
    corrupt, _ = (TENSORS if weights else DOCUMENTS)[name]
    path = cloned(request.getfixturevalue("saved_vectors" if weights else "saved_cameras"))
    corrupt(path)
    with pytest.raises(CheckpointError) as refusal:
        (load_policy if weights else read_checkpoint)(path)
    assert refusal.value.finding.code is code


def test_a_file_git_lfs_did_not_fetch_has_a_code_of_its_own(saved_cameras, cloned):
    path = cloned(saved_cameras)
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    (path / "config.json").write_text(pointer)
    with pytest.raises(CheckpointError, match="git lfs pull") as refusal:
        read_checkpoint(path)
    assert refusal.value.finding.code is Code.POLICY_FILE_NOT_FETCHED


@pytest.mark.parametrize(("read", "file"), [(read_object, "config.json"), (read_header, WEIGHTS)])
def test_a_file_the_computer_does_not_give_is_not_damaged(
    read, file, saved_cameras, no_descriptors
):
    read(saved_cameras / file)
    with no_descriptors(), pytest.raises(CheckpointError, match="Too many open") as refusal:
        read(saved_cameras / file)
    assert refusal.value.finding.code is Code.POLICY_FILE_UNREADABLE
    assert "copy the file again" not in str(refusal.value)


def test_a_full_disk_is_not_called_a_wrong_name(monkeypatch):
    hub = pytest.importorskip("huggingface_hub")

    def download(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(hub, "snapshot_download", download)
    with pytest.raises(CheckpointError, match=r"No space left.*HF_HOME") as refusal:
        read_checkpoint("hub:owner/name")
    assert refusal.value.finding.code is Code.POLICY_CACHE_FULL


def test_negative_variance_is_refused(saved_cameras, cloned):
    path = cloned(saved_cameras)
    retensor(WEIGHTS, lambda t: t["model.backbone.bn1.running_var"].neg_())(path)
    with pytest.raises(CheckpointError, match="variances, not negative"):
        load_policy(path)


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.write_text("x")])
def test_path_without_a_directory_is_refused(make, tmp_path):
    make(tmp_path / "checkpoint")
    with pytest.raises(CheckpointError, match="expected a directory"):
        load_policy(tmp_path / "checkpoint")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_are_cast(dtype, saved_vectors, cloned):
    path = cloned(saved_vectors)
    retensor(WEIGHTS, lambda t: t.update({k: v.to(dtype) for k, v in t.items()}))(path)
    observation = make_observation(act_config(cameras=()))
    chunk = load_policy(path).predict_chunk(observation)
    whole = load_policy(saved_vectors).predict_chunk(observation)
    assert 0 < np.abs(chunk - whole).max() < 5


def test_rename_map_gives_cameras_the_robots_names(saved_cameras, cloned):
    path = cloned(saved_cameras)
    renaming = {"observation.images.top": FRONT}
    edit(BEFORE, assign("steps", 0, "config", "rename_map", renaming))(path)
    renamed, plain = load_policy(path), load_policy(saved_cameras)
    assert list(renamed.config.image_features) == ["observation.images.top", *CAMERAS[1:]]
    observation = make_observation(plain.config)
    expected = plain.predict_chunk(observation)
    images = dict(observation.images)
    images["top"] = images.pop("front")
    moved = dataclasses.replace(observation, images=images)
    np.testing.assert_array_equal(renamed.predict_chunk(moved), expected)
    assert any("top" in note for note in renamed.checkpoint.notes)


CAMERAS = (FRONT, "observation.images.wrist")


def test_picture_spread_no_camera_has_is_noted(saved_cameras, cloned):
    path = cloned(saved_cameras)
    assert not any("LeRobot 0.4.0" in note for note in read_checkpoint(path).notes)
    retensor(BEFORE_STATE, lambda t: t[f"{FRONT}.std"].fill_(0.0005))(path)
    noted = [note for note in read_checkpoint(path).notes if "LeRobot 0.4.0" in note]
    assert len(noted) == 1 and FRONT in noted[0]


def test_features_act_does_not_read_are_noted(saved_cameras, cloned):
    path = cloned(saved_cameras)
    stamp = {"type": "STATE", "shape": [2]}
    edit("config.json", assign("input_features", "observation.stamps", stamp))(path)
    checkpoint = read_checkpoint(path)
    assert any("observation.stamps" in note for note in checkpoint.notes)


def plain_contract(path, **changed) -> Contract:
    policy = read_checkpoint(path)
    names = tuple(f"joint_{i}.pos" for i in range(6))
    contract = derive_contract(
        policy.config,
        policy.preprocessor.describe(),
        fps=30,
        state_names=names,
        action_names=names,
        joint_units="degrees",
    )
    return dataclasses.replace(contract, **changed)


def test_contract_in_the_checkpoint_is_the_policys(saved_cameras, cloned):
    path = cloned(saved_cameras)
    assert load_policy(path).contract is None and load_policy(path).action_names is None
    contract = plain_contract(path)
    contract.save(path / "armlet_contract.json")
    policy = load_policy(path)
    assert policy.contract == contract
    assert policy.action_names == contract.action_names


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"cameras": ()}, "contract: cameras"),
        (
            {"cameras": (Camera("wrist", 48, 64), Camera("front", 48, 64))},
            "order of cameras: expected .*front, .*wrist, as .* found wrist, front",
        ),
        ({"state_names": ("a", "b")}, "number of state names: expected 6"),
        ({"action_names": ()}, "number of action names"),
        (
            {"preprocessing": Preprocessing("none", "0..1", {"STATE": "IDENTITY"}, "0" * 64)},
            "contract: preprocessing",
        ),
    ],
)
def test_contract_of_another_policy_is_refused(changed, message, saved_cameras, cloned):
    path = cloned(saved_cameras)
    plain_contract(path, **changed).save(path / "armlet_contract.json")
    with pytest.raises(CheckpointError, match=message) as refusal:
        read_checkpoint(path)
    kinds = (Code.POLICY_CONTRACT_UNUSABLE, Code.POLICY_FILES_CONTRADICT)
    assert refusal.value.finding.code in kinds


def test_altered_contract_is_refused(saved_cameras, cloned):
    path = cloned(saved_cameras)
    plain_contract(path).save(path / "armlet_contract.json")
    edit("armlet_contract.json", assign("fps", 15))(path)
    with pytest.raises(CheckpointError, match="altered after signing") as refusal:
        read_checkpoint(path)
    assert refusal.value.finding.code is Code.POLICY_CONTRACT_UNUSABLE


def test_derived_contract_needs_a_name_for_every_entry(saved_cameras):
    checkpoint = read_checkpoint(saved_cameras)
    with pytest.raises(ValueError, match="action names: expected 6"):
        derive_contract(
            checkpoint.config,
            checkpoint.preprocessor.describe(),
            fps=30,
            state_names=tuple("abcdef"),
            action_names=tuple("abc"),
            joint_units=None,
        )
