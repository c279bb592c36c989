"""LoRA checkpoints: merged as the papers say, refused where something lacks or does not fit.

The expected weights are computed here from the formulas, in float64 and row by row, out of adapters
that are made here; peft 0.21.2 gives the same to the bit (tried once, beside the project).
"""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_diffusion import diffusion_config, make_diffusion
from small_policies import make_observation, make_statistics
from small_smolvla import make_language_model, make_smolvla, smolvla_config

from armlet.cli.main import main
from armlet.policies import (
    CheckpointError,
    Choices,
    load_network,
    load_policy,
    read_checkpoint,
    save_checkpoint,
)
from armlet.policies.checkpoint import patterns
from armlet.policies.checkpoint.adapter_config import read_config

WEIGHTS, FILE, SETTINGS = "model.safetensors", "adapter_model.safetensors", "adapter_config.json"
PREFIX = "base_model.model."
# As peft 0.21.2 writes it: many settings that are not set.
USUAL = {
    "alora_invocation_tokens": None,
    "alpha_pattern": {},
    "auto_mapping": {"base_model_class": "ACTPolicy", "parent_library": "lerobot"},
    "bias": "none",
    "corda_config": None,
    "ensure_weight_tying": False,
    "eva_config": None,
    "exclude_modules": None,
    "fan_in_fan_out": False,
    "inference_mode": True,
    "init_lora_weights": True,
    "layer_replication": None,
    "layers_pattern": None,
    "layers_to_transform": None,
    "loftq_config": {},
    "lora_alpha": 16,
    "lora_bias": False,
    "lora_dropout": 0.0,
    "megatron_config": None,
    "megatron_core": "megatron.core",
    "modules_to_save": None,
    "peft_type": "LORA",
    "peft_version": "0.21.2",
    "qalora_group_size": 16,
    "r": 4,
    "rank_pattern": {},
    "revision": None,
    "target_modules": ["linear2", "linear1"],
    "target_parameters": None,
    "task_type": None,
    "trainable_token_indices": None,
    "use_dora": False,
    "use_qalora": False,
    "use_rslora": False,
}
LINEARS = [
    f"model.{s}.layers.{k}.linear{n}"
    for s, k in (("encoder", 0), ("encoder", 1), ("decoder", 0))
    for n in (1, 2)
]
HEAD = "model.action_head"


def adapted(base, path, layers, whole=(), **settings):
    """A LoRA checkpoint of `base` at `path`; layers: rank by module, whole: tensors replaced."""
    shutil.copytree(base, path, ignore=shutil.ignore_patterns(WEIGHTS))
    edit(path / "config.json", use_peft=True)
    (path / SETTINGS).write_text(
        json.dumps({**USUAL, "base_model_name_or_path": str(base), **settings})
    )
    random = torch.Generator().manual_seed(5)
    own, tensors = load_file(base / WEIGHTS), {}
    for module, rank in layers.items():
        out, into, *kernel = own[f"{module}.weight"].shape
        shapes = {"A": (rank, into, *kernel), "B": (out, rank, *(1 for _ in kernel))}
        for part, shape in shapes.items():
            tensors[f"{PREFIX}{module}.lora_{part}.weight"] = torch.randn(shape, generator=random)
        if settings.get("use_dora"):
            shape = (1, out, *(1 for _ in kernel)) if kernel else (out,)
            magnitude = torch.rand(shape, generator=random) + 0.5
            tensors[f"{PREFIX}{module}.lora_magnitude_vector"] = magnitude
    for name in whole:
        tensors[PREFIX + name] = torch.randn(own[name].shape, generator=random)
    save_file(tensors, path / FILE)
    return path


def edit(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def expected(base, path, scales, dora=False):
    """The merged tensors that differ from the base's, from the formulas; scales by module."""
    own, given = load_file(base / WEIGHTS), load_file(path / FILE)
    merged = {}
    for module, scale in scales.items():
        kernel = own[f"{module}.weight"].numpy().astype(np.float64)
        a = given[f"{PREFIX}{module}.lora_A.weight"].numpy().astype(np.float64)
        b = given[f"{PREFIX}{module}.lora_B.weight"].numpy().astype(np.float64)
        value = np.empty_like(kernel)
        for o in range(len(kernel)):
            value[o] = kernel[o] + scale * sum(b[o, r].item() * a[r] for r in range(len(a)))
            if dora:
                length = np.sqrt((value[o] ** 2).sum())
                magnitude = given[f"{PREFIX}{module}.lora_magnitude_vector"].flatten()[o].item()
                value[o] *= magnitude / length
        merged[f"{module}.weight"] = value
    whole = {n: v for n, v in given.items() if "lora_" not in n}
    return merged | {n.removeprefix(PREFIX): v.numpy() for n, v in whole.items()}


def merged_by_armlet(path, base, **choices):
    """What differs from the base, by the names of the checkpoint."""
    network = load_network(read_checkpoint(path, Choices(**choices)))
    own = load_file(base / WEIGHTS)
    found = {network.stored_name(n): v for n, v in network.state_dict().items()}
    return {n: v.numpy() for n, v in found.items() if not torch.equal(v, own[n].float())}


def assert_equal(found, right):
    assert found.keys() == right.keys()
    for name, value in right.items():
        assert np.allclose(found[name], value, rtol=1e-5, atol=1e-5), name


BOTH = dict.fromkeys(LINEARS, 4)
CASES = {
    "list": (BOTH, {}, dict.fromkeys(LINEARS, 4.0)),
    "no rank given is eight": (dict.fromkeys(LINEARS, 8), {"r": 8}, dict.fromkeys(LINEARS, 2.0)),
    "alpha of one and a half": (BOTH, {"lora_alpha": 1.5}, dict.fromkeys(LINEARS, 0.375)),
    "rank stabilized": (
        dict.fromkeys(LINEARS, 9),
        {"r": 9, "use_rslora": True},
        dict.fromkeys(LINEARS, 16 / 3),
    ),
    "regex": (
        {LINEARS[0]: 4, LINEARS[2]: 4, HEAD: 4},
        {"target_modules": r"model\.encoder\..*\.linear1|model\.(action_head|no_such)"},
        {LINEARS[0]: 4.0, LINEARS[2]: 4.0, HEAD: 4.0},
    ),
    # peft takes it for false at every torch.nn.Linear.
    "fan_in_fan_out": (BOTH, {"fan_in_fan_out": True}, dict.fromkeys(LINEARS, 4.0)),
    "patterns": (
        {**BOTH, LINEARS[1]: 2, LINEARS[3]: 2, HEAD: 4},
        {
            "target_modules": ["linear1", "linear2", "action_head"],
            "rank_pattern": {r"encoder\.layers\.\d+\.linear2": 2, "linear2": 4},
            "alpha_pattern": {"^model.action_head": 11},
        },
        {**dict.fromkeys(LINEARS, 4.0), LINEARS[1]: 8.0, LINEARS[3]: 8.0, HEAD: 2.75},
    ),
    "excluded": (
        dict.fromkeys(LINEARS[:4], 4),
        {"exclude_modules": r".*decoder.*"},
        dict.fromkeys(LINEARS[:4], 4.0),
    ),
    "one layer": (
        dict.fromkeys(LINEARS[2:4], 4),
        {"layers_to_transform": [1], "layers_pattern": "layers"},
        dict.fromkeys(LINEARS[2:4], 4.0),
    ),
    "DoRA": (BOTH, {"use_dora": True}, dict.fromkeys(LINEARS, 4.0)),
}


@pytest.mark.parametrize("name", CASES)
def test_weights_are_merged_by_the_formula(name, saved_vectors, tmp_path):
    layers, settings, scales = CASES[name]
    path = adapted(saved_vectors, tmp_path / "lora", layers, **settings)
    right = expected(saved_vectors, path, scales, dora=settings.get("use_dora", False))
    assert_equal(merged_by_armlet(path, saved_vectors), right)


def test_modules_that_were_trained_whole_replace_the_bases(saved_vectors, tmp_path):
    """They are not adapted, also where a target names them."""
    whole = (f"{HEAD}.weight", f"{HEAD}.bias")
    targets = {"target_modules": ["linear1", "linear2", "action_head"]}
    path = adapted(
        saved_vectors, tmp_path / "lora", BOTH, whole, modules_to_save=["action_head"], **targets
    )
    right = expected(saved_vectors, path, dict.fromkeys(LINEARS, 4.0))
    assert right.keys() > set(whole)
    assert_equal(merged_by_armlet(path, saved_vectors), right)


@pytest.fixture(scope="module")
def diffusion(tmp_path_factory):
    path = tmp_path_factory.mktemp("diffusion") / "base"
    config = diffusion_config(())
    save_checkpoint(path, make_diffusion(config), config, make_statistics(config))
    return path


@pytest.mark.parametrize("dora", [False, True])
def test_kernels_of_convolutions_are_merged_too(diffusion, dora, tmp_path):
    own = load_file(diffusion / WEIGHTS)
    name = next(n for n, v in own.items() if v.ndim == 3 and v.shape[2] > 1)
    module = name.removesuffix(".weight")
    settings = {"target_modules": [module], "use_dora": dora}
    path = adapted(diffusion, tmp_path / "lora", {module: 4}, **settings)
    right = expected(diffusion, path, {module: 4.0}, dora=dora)
    assert_equal(merged_by_armlet(path, diffusion), right)


def test_a_smolvla_trained_by_lerobots_defaults(tmp_path):
    vlm = make_language_model(tmp_path / "vlm")
    config = smolvla_config()
    base = tmp_path / "base"
    save_checkpoint(base, make_smolvla(config, vlm), config, make_statistics(config), vlm=vlm)
    # LeRobot's default targets of SmolVLA.
    projections = "state_proj|action_in_proj|action_out_proj|action_time_mlp_in|action_time_mlp_out"
    targets = rf"(model\.vlm_with_expert\.lm_expert\..*\.(q|v)_proj|model\.({projections}))"
    names = [n.removesuffix(".weight") for n in load_file(base / WEIGHTS) if n.endswith(".weight")]
    layers = {
        n: 4
        for n in names
        if ("lm_expert" in n and n.endswith(("q_proj", "v_proj")))
        or n.removeprefix("model.") in projections.split("|")
    }
    assert len(layers) > 6
    path = adapted(base, tmp_path / "lora", layers, target_modules=targets, modules_to_save=[])
    right = expected(base, path, dict.fromkeys(layers, 4.0))
    assert_equal(merged_by_armlet(path, base), right)


@pytest.fixture
def lora(saved_vectors, tmp_path):
    return adapted(saved_vectors, tmp_path / "lora", BOTH)


def whole_of(lora, base, path):
    """An ordinary checkpoint with the weights that LoRA's merge to."""
    shutil.copytree(base, path)
    own = load_file(path / WEIGHTS)
    right = expected(base, lora, dict.fromkeys(LINEARS, 4.0))
    (path / WEIGHTS).unlink()
    own |= {n: torch.from_numpy(v.astype(np.float32)) for n, v in right.items()}
    save_file(own, path / WEIGHTS)
    return path


def test_policy_check_inspect_and_export_see_the_merged_weights(
    lora, saved_vectors, tmp_path, capsys
):
    whole = whole_of(lora, saved_vectors, tmp_path / "whole")
    ours, theirs = load_policy(lora), load_policy(whole)
    observation = make_observation(ours.config)
    right = theirs.predict_chunk(observation)
    assert np.allclose(ours.predict_chunk(observation), right, rtol=1e-4, atol=1e-3)
    base = load_policy(saved_vectors).predict_chunk(observation)
    assert not np.allclose(base, right, rtol=1e-1, atol=1)
    for words in (("check", "--checkpoint"), ("inspect",)):
        main(["policy", *words, str(lora)])
        said = capsys.readouterr().out
        assert "LoRA adapter merged into 6 layers" in said
        assert said.count("SHA-256") == 3
    words = ("export", lora, "--output", tmp_path / "out")
    assert main(["policy", *map(str, words), "--backend", "onnxruntime"]) == 0
    assert capsys.readouterr().out.count("SHA-256") == 3
    ran = load_policy(tmp_path / "out", backend="onnxruntime").predict_chunk(observation)
    assert np.allclose(ran, right, rtol=1e-4, atol=1e-3)


def test_another_adapter_is_another_policy_by_its_digest(lora, saved_vectors, tmp_path):
    found = {read_checkpoint(path).digest() for path in (lora, saved_vectors)}
    edit(lora / SETTINGS, lora_alpha=17)
    found.add(read_checkpoint(lora).digest())
    assert len(found) == 3


def test_the_base_may_be_given(lora, saved_vectors, tmp_path):
    edit(lora / SETTINGS, base_model_name_or_path="somebody/absent", revision="v1")
    with pytest.raises(
        CheckpointError, match=r"somebody/absent@v1, which is not on this machine.*--base"
    ):
        read_checkpoint(lora)
    assert read_checkpoint(lora, Choices(base=str(saved_vectors))).weights.is_file()


def test_the_base_may_lie_in_the_hubs_cache(lora, saved_vectors, tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    from hub_cache import lay_out

    lay_out(tmp_path / "cache", "somebody/base", saved_vectors)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    edit(lora / SETTINGS, base_model_name_or_path="somebody/base")
    right = expected(saved_vectors, lora, dict.fromkeys(LINEARS, 4.0))
    assert_equal(merged_by_armlet(lora, saved_vectors), right)


def test_weights_beside_the_adapter_are_its_base_only_if_that_is_said(lora, saved_vectors):
    shutil.copyfile(saved_vectors / WEIGHTS, lora / WEIGHTS)
    edit(lora / SETTINGS, base_model_name_or_path=None)
    with pytest.raises(
        CheckpointError, match=r"no name of one.*beside the adapter is the base, give"
    ):
        read_checkpoint(lora)
    assert read_checkpoint(lora, Choices(base=str(lora))).weights == lora / WEIGHTS


def test_whole_weights_are_not_adapted_where_the_policy_says_so(lora, saved_vectors):
    shutil.copyfile(saved_vectors / WEIGHTS, lora / WEIGHTS)
    edit(lora / "config.json", use_peft=False)
    checkpoint = read_checkpoint(lora)
    assert checkpoint.adapter is None
    assert any(f"{FILE} is not used" in note for note in checkpoint.notes)


def settings(**values):
    return lambda path: edit(path / SETTINGS, **values)


def tensors(change):
    def apply(path):
        found = load_file(path / FILE)
        change(found)
        (path / FILE).unlink()
        save_file(found, path / FILE)

    return apply


def base_with(name):
    """A tensor of this name in a base of its own."""

    def apply(path):
        base = path.with_name("odd_base")
        shutil.copytree(json.loads((path / SETTINGS).read_text())["base_model_name_or_path"], base)
        own = load_file(base / WEIGHTS)
        save_file({**own, name: torch.ones(2, 2)}, base / WEIGHTS)
        edit(path / SETTINGS, base_model_name_or_path=str(base))

    return apply


FIRST = f"{PREFIX}{LINEARS[0]}.lora_A.weight"
REFUSED = {
    "no settings": (lambda p: (p / SETTINGS).unlink(), "no adapter_config.json; copy the whole"),
    "no adapter": (lambda p: (p / FILE).unlink(), "no adapter_model.safetensors; copy the whole"),
    "a pickled one": (
        lambda p: ((p / FILE).unlink(), (p / "adapter_model.bin").write_bytes(b"PK")),
        "no adapter_model.safetensors",
    ),
    "no processors": (lambda p: (p / "policy_preprocessor.json").unlink(), "file missing"),
    "cut off": (lambda p: (p / FILE).write_bytes((p / FILE).read_bytes()[:-4]), "not readable"),
    "broken JSON": (lambda p: (p / SETTINGS).write_text("{"), "not readable as JSON"),
    "another method": (settings(peft_type="IA3"), "peft_type: expected LORA, found 'IA3'"),
    "unknown setting": (settings(use_magic=True), "unknown keys.*use_magic"),
    "bias trained": (settings(bias="all"), "bias: expected none, found 'all'"),
    "PiSSA": (settings(init_lora_weights="pissa"), "init_lora_weights.*found 'pissa'"),
    "biases of adapters": (settings(lora_bias=True), "lora_bias: expected nothing"),
    "QA-LoRA": (settings(use_qalora=True), "use_qalora: expected nothing"),
    "replicated layers": (settings(layer_replication=[[0, 1]]), "layer_replication"),
    "parameters": (settings(target_parameters=["x"]), "target_parameters"),
    "no targets": (settings(target_modules=None), "target_modules: expected names"),
    "no rank": (settings(r=0), "rank: expected a whole number"),
    "huge rank": (settings(r=10**12), "rank: expected a whole number"),
    "true for a rank": (settings(r=True), "rank: expected a whole number"),
    "infinite alpha": (settings(lora_alpha=1e30), "alpha: expected a number"),
    "no regex": (settings(target_modules="(a"), "pattern: expected a regular expression"),
    "looking back": (settings(target_modules=r"(?<=a)b"), "special kind"),
    "a base's name of a megabyte": (
        settings(base_model_name_or_path="x" * 10**6),
        "which is not on this machine",
    ),
    "a base that is a path": (
        settings(base_model_name_or_path="../nowhere"),
        "--base hub:owner/name ",
    ),
    "a base with a tensor within 3,000 modules": (
        base_with("a." * 3000 + "weight"),
        "odd_base/model.safetensors.*found a tensor with a name of 6006 characters",
    ),
    "another rank": (settings(r=5), r"lora_A\.weight: expected \(5, 32\).*found \(4, 32\)"),
    "huge rank that is allowed": (settings(r=65536), r"expected \(65536, 32\)"),
    "fewer targets": (settings(target_modules=["linear1"]), "extra .*linear2.lora_A"),
    "more targets": (
        settings(target_modules=["linear1", "linear2", "action_head"]),
        "missing model.action_head.lora_A.weight, model.action_head.lora_B.weight",
    ),
    "nothing targeted": (settings(target_modules=["no_such"]), "adapters of 0 layers"),
    "saved modules absent": (
        settings(modules_to_save=["action_head"]),
        "missing model.action_head",
    ),
    "DoRA without magnitudes": (settings(use_dora=True), "missing .*lora_magnitude_vector"),
    "one tensor absent": (tensors(lambda t: t.pop(FIRST)), "missing .*linear1.lora_A.weight"),
    "one too many": (tensors(lambda t: t.update(x=torch.ones(2))), "extra x"),
    "a bias too": (
        tensors(lambda t: t.update({f"{PREFIX}{HEAD}.bias": torch.ones(6)})),
        "extra base_model.model.model.action_head.bias",
    ),
    "turned around": (
        tensors(lambda t: t.update({FIRST: t[FIRST].T.contiguous()})),
        r"expected \(4, 32\).*found \(32, 4\)",
    ),
    "whole numbers": (tensors(lambda t: t.update({FIRST: t[FIRST].to(torch.int32)})), "in I32"),
    "another type": (
        lambda p: edit(p / SETTINGS, base_model_name_or_path=str(p)),
        r"no model\.safetensors",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_lacks_or_does_not_fit_is_refused_by_name(name, lora):
    change, message = REFUSED[name]
    change(lora)
    with pytest.raises(CheckpointError, match=message) as refused:
        read_checkpoint(lora)
    assert "\n" not in str(refused.value)


def test_values_that_are_not_finite_are_refused(lora):
    tensors(lambda found: found[FIRST].fill_(float("nan")))(lora)
    with pytest.raises(CheckpointError, match=r"linear1\.lora_A\.weight: expected finite"):
        load_network(read_checkpoint(lora))


def test_values_that_overflow_when_merged_are_refused(lora):
    tensors(lambda found: [value.fill_(3e38) for value in found.values()])(lora)
    with pytest.raises(CheckpointError, match="with the adapter: expected finite"):
        load_network(read_checkpoint(lora))


def test_a_base_of_another_type_or_with_an_adapter_itself_is_refused(lora, diffusion, tmp_path):
    with pytest.raises(CheckpointError, match="expected whole weights of a policy of type act"):
        read_checkpoint(lora, Choices(base=str(diffusion)))
    second = shutil.copytree(lora, tmp_path / "second")
    shutil.copyfile(diffusion / WEIGHTS, second / WEIGHTS)
    with pytest.raises(CheckpointError, match="found an adapter itself"):
        read_checkpoint(lora, Choices(base=str(second)))


PATTERNS = (
    r"model\.encoder\.layers\.\d+\.linear[12]",
    r".*(q|v)_proj",
    r"(.*\.)?(linear1)",
    r"^model\.(a|b|)c?d{2}$",
    r"a{1,3}b*?[^.]+",
    r"(?:ab|a)(?:b|)+x*",
    r"[]a-]+\.\w\W?",
    r"",
)
TEXTS = (
    "",
    "model.encoder.layers.10.linear2",
    "model.acdd",
    "model.dd",
    "x.q_proj",
    "aabbcc",
    "aaaa.b",
    "ab",
    "abb",
    "abbxx",
    "]a-.z!",
    "a.linear1",
    "linear1",
)


def test_patterns_match_what_re_matches():
    for pattern in PATTERNS:
        for text in TEXTS:
            right = re.fullmatch(pattern, text) is not None
            assert patterns.matches(pattern, text) is right, (pattern, text)


def test_patterns_that_take_re_years_are_matched():
    """`re` tries 2**60 ways and more; here each place of the text is looked at once a part."""
    text = "a" * 60 + "b"
    for pattern in (
        "(" * 30 + "a*" + ")*" * 30 + "c",
        "(a|a)*c",
        "((a|){99}){99}c",
        "a?" * 60 + "a" * 60 + "c",
        "(.*)(.*)(.*)(.*)(.*)(.*)c",
    ):
        assert not patterns.matches(pattern, text)


def test_patterns_that_take_too_many_steps_are_refused(lora):
    settings(target_modules=r"model\..*\.(linear1|linear2)")(lora)
    config = read_config(lora / SETTINGS)
    assert config.adapts(LINEARS[0])
    with pytest.raises(CheckpointError, match="patterns take too long to match"):
        dataclasses.replace(config, _budget=patterns.Budget(20)).adapts(LINEARS[0])
