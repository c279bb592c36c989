"""SmolVLA without LeRobot: what its parts promise, and what loading it refuses."""

import argparse
import dataclasses
import json
import shutil

import numpy as np
import pytest

pytest.importorskip("torch", reason="the policy extra is not installed")
pytest.importorskip("tokenizers", reason="the policy extra is not installed")

import torch
from safetensors.torch import load_file, save_file
from small_policies import make_statistics
from small_smolvla import (
    make_language_model,
    make_noise,
    make_observation,
    make_smolvla,
    smolvla_config,
)

from armlet.cli.policy import policy as cli
from armlet.policies import (
    CheckpointError,
    Choices,
    LeftOver,
    ObservationError,
    load_policy,
    read_checkpoint,
    save_checkpoint,
)
from armlet.policies.networks.llama import Rotation, attend
from armlet.policies.networks.rtc import Guidance, RealTimeChunking, prefix_weights
from armlet.policies.networks.siglip import patch_positions, resize_with_pad
from armlet.policies.networks.smolvla import time_embedding
from armlet.policies.networks.tokens import Words

WEIGHTS = "model.safetensors"
BEFORE = "policy_preprocessor.json"


@pytest.fixture(scope="session")
def vlm(tmp_path_factory):
    return make_language_model(tmp_path_factory.mktemp("language") / "vlm")


@pytest.fixture(scope="session")
def saved(tmp_path_factory, vlm):
    """A whole checkpoint, its language model's two files in it; copy before changing."""
    path = tmp_path_factory.mktemp("smolvla") / "checkpoint"
    config = smolvla_config()
    save_checkpoint(path, make_smolvla(config, vlm), config, make_statistics(config), vlm=vlm)
    return path


@pytest.fixture
def copied(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copied")


def edit(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_same_noise_gives_the_same_chunk(saved):
    policy = load_policy(saved)
    observation, noise = make_observation(policy.config), make_noise(policy.config)
    chunk = policy.predict_chunk(observation, noise=noise)
    assert chunk.shape == (6, 6) and chunk.dtype == np.float32
    np.testing.assert_array_equal(chunk, policy.predict_chunk(observation, noise=noise))
    assert np.abs(chunk - policy.predict_chunk(observation)).max() > 0.1


def test_a_seed_fixes_the_episode(saved):
    policy = load_policy(saved)
    observation = make_observation(policy.config)

    def episode(seed):
        policy.reset(seed)
        return np.stack([policy.select_action(observation) for _ in range(9)])

    first = episode(3)
    np.testing.assert_array_equal(first, episode(3))
    assert np.abs(first - episode(4)).max() > 0.1
    assert np.abs(first - episode(None)).max() > 0.1


def test_every_input_matters(saved):
    policy = load_policy(saved)
    observation, noise = make_observation(policy.config), make_noise(policy.config)
    chunk = policy.predict_chunk(observation, noise=noise)
    images = observation.images
    swapped = {"front": images["wrist"], "wrist": images["front"]}
    for changed in (
        {"task": "open the drawer"},
        {"state": observation.state + 1},
        {"images": {**images, "wrist": images["wrist"][::-1].copy()}},
        {"images": swapped},
    ):
        other = dataclasses.replace(observation, **changed)
        assert np.abs(policy.predict_chunk(other, noise=noise) - chunk).max() > 1e-3


def test_pictures_of_any_size_are_taken_but_not_none(saved):
    policy = load_policy(saved)
    assert policy.predict_chunk(make_observation(policy.config, size=(30, 77))).shape == (6, 6)
    lacking = make_observation(policy.config)
    lacking = dataclasses.replace(lacking, images={"front": lacking.images["front"]})
    with pytest.raises(ObservationError, match="camera 'wrist' is missing"):
        policy.predict_chunk(lacking)
    floats = make_observation(policy.config)
    pictures = {name: image / 255 for name, image in floats.images.items()}
    with pytest.raises(ObservationError, match="expected uint8"):
        policy.predict_chunk(dataclasses.replace(floats, images=pictures))


def test_later_actions_do_not_reach_earlier_ones(vlm):
    network = make_smolvla(smolvla_config(num_steps=1, attention_mode="self_attn"), vlm)
    batch = {
        "observation.state": torch.randn(1, 6),
        "observation.images.front": torch.rand(1, 3, 48, 64),
        "observation.images.wrist": torch.rand(1, 3, 48, 64),
        "observation.language.tokens": torch.tensor([[5, 6]]),
    }
    noise = torch.randn(1, 6, 8)
    later = noise.clone()
    later[:, 4:] += 1
    with torch.inference_mode():
        change = (network(batch, later) - network(batch, noise)).abs().amax(-1)[0]
    assert (change[:4] == 0).all() and (change[4:] > 0).all()


def test_an_absent_camera_is_a_blank_one(copied):
    config = smolvla_config(empty_cameras=1)
    edit(copied / "config.json", lambda d: d.update(empty_cameras=1))
    with pytest.raises(CheckpointError, match=r"cameras to run without.*front, wrist.*found left"):
        read_checkpoint(copied, Choices(without=("left",)))
    policy = load_policy(copied, choices=Choices(without=("wrist",)))
    assert list(policy.config.image_features) == ["observation.images.front"]
    assert policy.config.blanks == 1
    assert any("cameras are absent" in note for note in policy.checkpoint.notes)
    observation = make_observation(config)
    noise = make_noise(config)
    alone = {"front": observation.images["front"]}
    chunk = policy.predict_chunk(dataclasses.replace(observation, images=alone), noise=noise)
    both = load_policy(copied).predict_chunk(observation, noise=noise)
    assert np.abs(chunk - both).max() > 1e-3
    with pytest.raises(CheckpointError, match="needs at least one camera"):
        read_checkpoint(copied, Choices(without=("front", "wrist")))


def test_an_absent_camera_may_have_been_renamed(copied):
    def rename(document):
        wrist = {"observation.images.hand": "observation.images.wrist"}
        document["steps"][0]["config"]["rename_map"] = wrist

    edit(copied / BEFORE, rename)
    assert list(read_checkpoint(copied).config.image_features)[1] == "observation.images.hand"
    config = read_checkpoint(copied, Choices(without=("wrist",))).config
    assert list(config.image_features) == ["observation.images.front"]


def test_an_absent_camera_of_0_3_has_its_statistics_among_the_weights(vlm, tmp_path):
    modes = {"VISUAL": "MEAN_STD", "STATE": "MEAN_STD", "ACTION": "IDENTITY"}
    config = smolvla_config(normalization_mapping=modes)
    statistics = make_statistics(config)
    save_checkpoint(tmp_path / "old", make_smolvla(config, vlm), config, statistics, vlm=vlm)
    for file in (tmp_path / "old").glob("policy_*"):
        file.unlink()
    weights = load_file(tmp_path / "old" / WEIGHTS)
    for key in config.input_features:
        for name in ("mean", "std"):
            buffer = f"normalize_inputs.buffer_{key.replace('.', '_')}.{name}"
            weights[buffer] = torch.from_numpy(statistics[key][name])
    save_file(weights, tmp_path / "old" / WEIGHTS)
    checkpoint = read_checkpoint(tmp_path / "old", Choices(without=("wrist",)))
    assert checkpoint.era == "0.3.x"
    assert list(checkpoint.config.image_features) == ["observation.images.front"]


def test_guidance_holds_a_chunk_to_what_is_planned(saved):
    policy = load_policy(saved)
    config, observation = policy.config, make_observation(policy.config)
    noise = make_noise(config)
    free = policy.predict_chunk(observation, noise=noise)
    planned = free[:5] + 3
    held = policy.predict_chunk(observation, LeftOver(planned, 2), noise)
    gap = np.abs(held[:5] - planned).mean(axis=1)
    assert (gap < np.abs(free[:5] - planned).mean(axis=1)).all()
    assert gap[:2].max() < gap[4]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_patches_of_a_full_axis_have_their_rows(precision):
    rows = patch_positions(32, 32, precision).tolist()
    # Float32 is one row behind, as transformers is: see patch_positions.
    assert rows == ([0, *range(31)] if precision == torch.float32 else list(range(32)))
    assert patch_positions(8, 32, torch.bfloat16).tolist() == list(range(0, 32, 4))


def test_resizing_pads_left_and_top():
    wide = resize_with_pad(torch.ones(1, 3, 48, 64), 32, 32)
    assert wide.shape == (1, 3, 32, 32)
    assert (wide[:, :, :8] == 0).all() and (wide[:, :, 8:] == 1).all()
    tall = resize_with_pad(torch.ones(1, 3, 64, 16), 32, 32)
    assert (tall[..., :24] == 0).all() and (tall[..., 24:] == 1).all()


def test_rotation_knows_distances_only():
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, 1, 1, 8, generator=generator) for _ in range(2))

    def score(a, b):
        turned = (Rotation(torch.tensor([at]), 8)(x) for at, x in ((a, q), (b, k)))
        return float((next(turned) * next(turned)).sum())

    assert score(3, 1) == pytest.approx(score(12, 10), abs=1e-5)
    assert abs(score(3, 1) - score(3, 2)) > 1e-3


def test_attention_shares_keys_among_heads():
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(1, 4, 3, 8, generator=generator)
    k, v = (torch.randn(1, 2, 5, 8, generator=generator) for _ in range(2))
    weights = (q[0, 3] @ k[0, 1].T / 8**0.5).softmax(-1)
    torch.testing.assert_close(attend(q, k, v)[0, 3], weights @ v[0, 1])


def test_time_turns_from_shortest_to_longest_period():
    embedding = time_embedding(0.001, 8, 0.004, 4.0)
    assert embedding[0] == pytest.approx(1, abs=1e-6)  # a quarter of the shortest period
    assert embedding[3] == pytest.approx(2 * np.pi * 0.001 / 4, rel=1e-4)
    assert embedding[:4].square() + embedding[4:].square() == pytest.approx(1)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("ZEROS", [1, 0, 0, 0, 0]),
        ("ONES", [1, 1, 1, 0, 0]),
        ("LINEAR", [1, 2 / 3, 1 / 3, 0, 0]),
        ("EXP", [1, 2 / 3 * np.expm1(2 / 3) / (np.e - 1), np.expm1(1 / 3) / 3 / (np.e - 1), 0, 0]),
    ],
)
def test_schedules_fall_from_one_to_nothing(schedule, expected):
    assert prefix_weights(schedule, 1, 3, 5).tolist() == pytest.approx(expected)


def test_guidance_refuses_what_cannot_be_continued():
    rows = torch.zeros(9, 6)
    with pytest.raises(ValueError, match="1 to 8 unfinished actions"):
        Guidance(RealTimeChunking(), rows, 0, (8, 6))
    with pytest.raises(ValueError, match="prefix_attention_schedule must be one of"):
        RealTimeChunking("SOFT")


def test_words_end_with_a_newline_and_are_cut(vlm):
    whole = Words.read(vlm / "tokenizer.json", None, 300)
    assert whole("ab").tolist() == whole("ab\n").tolist()
    assert whole("ab").shape == (1, 3) and whole("").shape == (1, 1)
    assert Words.read(vlm / "tokenizer.json", 2, 300)("abcdef").shape == (1, 2)
    with pytest.raises(CheckpointError, match="token ids: expected below 7"):
        Words.read(vlm / "tokenizer.json", None, 7)


def test_language_model_is_looked_for_and_asked_for(copied, vlm):
    shutil.rmtree(copied / "vlm")
    with pytest.raises(CheckpointError, match=r"language model nobody/nothing.*given as vlm"):
        read_checkpoint(copied)
    assert read_checkpoint(copied, Choices(vlm=vlm)).language.folder == vlm
    edit(copied / "config.json", lambda d: d.update(vlm_model_name=str(vlm)))
    assert read_checkpoint(copied).language.folder == vlm
    edit(copied / "config.json", lambda d: d.update(vlm_model_name="not a name !"))
    with pytest.raises(CheckpointError, match="language model not a name !"):
        read_checkpoint(copied)


def config(**changed):
    return lambda path: edit(path / "config.json", lambda d: d.update(changed))


def language(part, **changed):
    return lambda path: edit(path / "vlm" / "config.json", lambda d: d[part].update(changed))


def steps(change):
    return lambda path: edit(path / BEFORE, lambda d: change(d["steps"]))


def guidance(**changed):
    return config(rtc_config={"enabled": True, **changed})


REFUSED = {
    "unknown key": (config(use_magic=1), "unknown keys.*use_magic"),
    "attention mode": (config(attention_mode="both"), "attention_mode must be one of"),
    "no cache": (config(use_cache=False), "use_cache must be true"),
    "joints of another robot": (config(adapt_to_pi_aloha=True), "adapt_to_pi_aloha"),
    "no resize": (config(resize_imgs_with_padding=None), "expected .width, height."),
    "no square": (config(resize_imgs_with_padding=[64, 48]), "two equal positive numbers"),
    "vast pictures": (config(resize_imgs_with_padding=[65536] * 2), "at most 4096"),
    "vast chunk": (config(chunk_size=2**40), "chunk_size must be at most"),
    "endless flow": (config(num_steps=2**40), "num_steps must be at most"),
    "wide state": (config(max_state_dim=4), "max_state_dim is 4, but the state has 6"),
    "narrow expert": (config(expert_width_multiplier=0.1), "expected an even width"),
    "odd layers": (config(num_expert_layers=3), "num_expert_layers 3 does not divide"),
    "layers out of step": (config(num_expert_layers=2), "LeRobot itself cannot run"),
    "periods": (config(min_period=5.0), "min_period < max_period"),
    "trained guidance": (guidance(mode="trained"), "mode of real-time chunking.*'guided'"),
    "guidance schedule": (guidance(prefix_attention_schedule="SOFT"), "must be one of ZEROS"),
    "unknown guidance": (guidance(power=2), "rtc_config: unknown keys.*power"),
    "no words": (steps(lambda s: s.pop(3)), "expected the step tokenizer_processor"),
    "no newline": (steps(lambda s: s.pop(2)), "expected the step smolvla_new_line_processor"),
    "words on the left": (
        steps(lambda s: s[3]["config"].update(padding_side="left")),
        "padding_side: expected 'right', found 'left'",
    ),
    "other task": (steps(lambda s: s[3]["config"].update(task_key="goal")), "task_key"),
    "other model": (
        lambda p: edit(p / "vlm" / "config.json", lambda d: d.update(model_type="llama")),
        "model_type: expected 'smolvlm'",
    ),
    "heads": (language("text_config", num_key_value_heads=3), "sizes that divide each other"),
    "gelu text": (language("text_config", hidden_act="gelu"), "hidden_act: expected 'silu'"),
    "four colours": (language("vision_config", num_channels=4), "num_channels: expected 3"),
    "no tokenizer": (lambda p: (p / "vlm" / "tokenizer.json").unlink(), "tokenizer.json: file m"),
    "broken tokenizer": (
        lambda p: (p / "vlm" / "tokenizer.json").write_text("{}"),
        "expected a file of the tokenizers package",
    ),
    "fewer words": (language("text_config", vocab_size=99), "token ids: expected below 99"),
    "more words": (language("text_config", vocab_size=2**40), "vocab_size of config.json"),
    "deep tower": (language("vision_config", num_hidden_layers=2**40), "vision num_hidden_layers"),
    "deeper tower": (language("vision_config", num_hidden_layers=3), "tensor names"),
    "other tower": (language("vision_config", patch_size=8), "shape of model.vlm_with_expert"),
    "marks unknown": (
        lambda p: (
            config(add_image_special_tokens=True)(p),
            edit(
                p / "vlm" / "tokenizer.json",
                lambda d: [t.update(content="<mark>") for t in d["added_tokens"][:1]],
            ),
        ),
        "marks around pictures",
    ),
}


@pytest.mark.parametrize(("corrupt", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_lerobot_would_run_wrongly_is_refused(corrupt, message, copied):
    load_policy(copied)
    corrupt(copied)
    with pytest.raises(CheckpointError, match=message):
        load_policy(copied)


def test_weights_of_a_compiled_module_and_an_unused_head_are_taken(copied, saved):
    tensors = load_file(copied / WEIGHTS)
    compiled = {name.replace("model.", "model._orig_mod.", 1): t for name, t in tensors.items()}
    compiled["model._orig_mod.vlm_with_expert.vlm.lm_head.weight"] = torch.zeros(3, 2)
    save_file(compiled, copied / WEIGHTS)
    observation, noise = make_observation(smolvla_config()), make_noise(smolvla_config())
    np.testing.assert_array_equal(
        load_policy(copied).predict_chunk(observation, noise=noise),
        load_policy(saved).predict_chunk(observation, noise=noise),
    )
    name, value = next(iter(tensors.items()))
    save_file({**compiled, name: value.clone()}, copied / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"expected once, found as model.* and model"):
        load_policy(copied)


def test_0_3_keeps_statistics_among_the_weights(copied, saved):
    statistics = make_statistics(smolvla_config())
    tensors = load_file(copied / WEIGHTS)
    for name in ("mean", "std"):
        state, action = (statistics[key][name] for key in ("observation.state", "action"))
        tensors[f"normalize_inputs.buffer_observation_state.{name}"] = torch.tensor(state)
        for part in ("normalize_targets", "unnormalize_outputs"):
            tensors[f"{part}.buffer_action.{name}"] = torch.tensor(action)
    save_file(tensors, copied / WEIGHTS)
    for file in copied.glob("policy_*"):
        file.unlink()
    old = load_policy(copied)
    assert old.checkpoint.era == "0.3.x"
    observation, noise = make_observation(old.config), make_noise(old.config)
    np.testing.assert_array_equal(
        old.predict_chunk(observation, noise=noise),
        load_policy(saved).predict_chunk(observation, noise=noise),
    )


def run(*arguments):
    parser = argparse.ArgumentParser()
    cli.add_parser(parser.add_subparsers())
    parsed = parser.parse_args(["policy", *map(str, arguments)])
    return parsed.run(parsed)


def test_inspect_fits_on_one_screen(saved, capsys):
    assert run("inspect", saved) == 0
    said = capsys.readouterr().out
    assert len(said.splitlines()) < 40
    for part in ("SmolVLA", "LeRobot 0.4.4 to 0.5.1", "F32", "resize: pad 64x64", "4 of 6 actions"):
        assert part in said
    assert "observation.state [6] MEAN_STD\n" in said and "mean " in said


def test_infer_takes_noise_and_a_language_model(copied, vlm, tmp_path, capsys):
    shutil.rmtree(copied / "vlm")
    observations = [make_observation(smolvla_config(), seed) for seed in range(5)]
    arrays = {
        "state": np.stack([o.state for o in observations]),
        "task": np.array("push the button"),
        "noise": make_noise(smolvla_config()),
        "image_front": np.stack([o.images["front"] for o in observations]),
        "image_wrist": np.stack([o.images["wrist"] for o in observations]),
    }
    np.savez(tmp_path / "in.npz", **arrays)
    places = ("--input", tmp_path / "in.npz", "--output", tmp_path / "out.npz")
    command = ("infer", "--checkpoint", copied, *places)
    assert run(*command) == 2
    assert "language model nobody/nothing" in capsys.readouterr().err
    assert run(*command, "--vlm", vlm) == 0
    out = np.load(tmp_path / "out.npz")
    policy = load_policy(copied, choices=Choices(vlm=vlm))
    chunk = policy.predict_chunk(observations[0], noise=arrays["noise"])
    np.testing.assert_array_equal(out["chunk"], chunk)
    last = policy.predict_chunk(observations[4], noise=arrays["noise"])
    np.testing.assert_array_equal(out["actions"], [*chunk[:4], last[0]])
    np.savez(tmp_path / "in.npz", **{**arrays, "noise": arrays["noise"][:2]})
    assert run(*command, "--vlm", vlm) == 2
    assert "noise: expected float32 (6, 8)" in capsys.readouterr().err
