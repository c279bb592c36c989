"""armlet's SmolVLA against stock LeRobot 0.4.4: whole chunks and consecutive actions, given noise.

Needs the oracle, as test_act_parity does. Everything is made by one process of LeRobot.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the policy extra is not installed")
pytest.importorskip("tokenizers", reason="the policy extra is not installed")

from small_policies import make_statistics
from small_smolvla import SCALE, TEXT, VISION

from armlet.policies import (
    Choices,
    Feature,
    LeftOver,
    Observation,
    SmolVlaConfig,
    load_policy,
    save_checkpoint,
)

REPOSITORY = Path(__file__).parents[2]
ORACLE = Path(os.environ.get("ARMLET_ORACLE", REPOSITORY / ".oracle"))
PYTHON = ORACLE / "v04" / "bin" / "python"
RELATIVE = 1e-3
STEPS = 5

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(), reason=f"no LeRobot oracle at {PYTHON}: set ARMLET_ORACLE"
)

VGA = {"front": (48, 64), "wrist": (48, 64)}
SMALL = {
    "chunk_size": 8,
    "n_action_steps": 3,
    "num_steps": 4,
    "num_vlm_layers": 4,
    "resize_imgs_with_padding": [64, 64],
}
RANGES = {"VISUAL": "IDENTITY", "STATE": "MIN_MAX", "ACTION": "QUANTILES"}
SPREAD = {"VISUAL": "MEAN_STD", "STATE": "QUANTILE10", "ACTION": "MIN_MAX"}
LINEAR = {"execution_horizon": 6, "max_guidance_weight": 5.0}

# What differs from two cameras, six joints and SMALL: settings, and the fields of Variant.
VARIANTS = {
    "two cameras": ({}, {}),
    "one camera, ten steps": ({"num_steps": 10}, {"cameras": {"top": (60, 50)}}),
    "one step, ranges": ({"num_steps": 1, "normalization_mapping": RANGES}, {}),
    "pictures normalized": ({"normalization_mapping": SPREAD}, {"states": 3, "actions": 7}),
    "blank camera": ({"empty_cameras": 1}, {}),
    "blank camera, marks": (
        {"empty_cameras": 2, "add_image_special_tokens": True, "prefix_length": 64},
        {"task": "two\nlines\n"},
    ),
    "padded words": ({"pad_language_to": "max_length", "tokenizer_max_length": 40}, {}),
    "long task": ({"tokenizer_max_length": 12}, {"task": "Fold the towel, " * 9}),
    "no words": ({}, {"task": "", "states": 32}),
    "self attention": ({"attention_mode": "self_attn"}, {}),
    "every third": ({"self_attn_every_n_layers": 3}, {}),
    "cross attention only": ({"self_attn_every_n_layers": -1, "num_expert_layers": 2}, {}),
    "few layers": ({"num_vlm_layers": 2, "expert_width_multiplier": 0.5, "max_period": 9.0}, {}),
    "all layers": ({"num_vlm_layers": 0, "max_state_dim": 9, "max_action_dim": 6}, {}),
    "small pictures": ({"resize_imgs_with_padding": [32, 32]}, {"cameras": {"front": (99, 31)}}),
    "absent camera": (
        {"empty_cameras": 1},
        {"cameras": {"camera1": (64, 64), "camera2": (64, 64)}, "absent": ("camera1",)},
    ),
    "stored in bfloat16": ({}, {"halved": True}),
    "linear guidance": ({}, {"guidance": LINEAR, "delay": 2}),
    "exponential guidance": (
        {"num_steps": 10},
        {"guidance": {"prefix_attention_schedule": "EXP", "execution_horizon": 5}, "delay": 1},
    ),
    "guidance of ones": ({}, {"guidance": {"prefix_attention_schedule": "ONES"}, "delay": 3}),
    "guidance of zeros": ({}, {"guidance": {"prefix_attention_schedule": "ZEROS"}, "delay": 9}),
}
# The only one whose vision tower computes in bfloat16; LeRobot rounds there, armlet does not.
ROUNDED = "language model's own weights"
ALL = {**VARIANTS, ROUNDED: ({}, {"vlm_weights": True})}


def job(name, seed, place):
    """What the driver is told of a variant."""
    settings, given = ALL[name]
    cameras = given.get("cameras", VGA)
    states, actions = given.get("states", 6), given.get("actions", 6)
    inputs = {"observation.state": Feature("STATE", (states,))}
    for camera, size in cameras.items():
        inputs[f"observation.images.{camera}"] = Feature("VISUAL", (3, *size))
    config = SmolVlaConfig(inputs, {"action": Feature("ACTION", (actions,))})
    statistics = {
        feature: {name: value.tolist() for name, value in values.items()}
        for feature, values in make_statistics(config, seed).items()
    }
    return {
        "vlm": str(place / "vlm"),
        "checkpoint": str(place / "checkpoint"),
        "input": str(place / "in.npz"),
        "output": str(place / "out.npz"),
        "seed": seed,
        "text": TEXT,
        "vision": VISION,
        "scale": SCALE,
        "cameras": cameras,
        "states": states,
        "actions": actions,
        "settings": {**SMALL, **settings},
        "stats": statistics,
        "vlm_weights": given.get("vlm_weights", False),
        "halved": given.get("halved", False),
        "guidance": given.get("guidance"),
        "delay": given.get("delay", 0),
    }


def record(told, task, absent):
    """Random observations, noise and what is left of a chunk, in the job's input file."""
    random = np.random.default_rng(told["seed"])
    settings = told["settings"]
    arrays = {
        f"image_{name}": random.integers(0, 256, (STEPS, *size, 3)).astype(np.uint8)
        for name, size in told["cameras"].items()
        if name not in absent
    }
    noise = random.normal(size=(settings["chunk_size"], settings.get("max_action_dim", 32)))
    np.savez(
        told["input"],
        **arrays,
        state=random.normal(0, 20, (STEPS, told["states"])).astype(np.float32),
        task=np.array(task),
        noise=noise.astype(np.float32),
        leftover=random.normal(size=(7, told["actions"])).astype(np.float32),
    )


@pytest.fixture(scope="session")
def exchanged(tmp_path_factory):
    """Directory of each variant, made and run by LeRobot."""
    root, jobs, places = tmp_path_factory.mktemp("smolvla"), [], {}
    for seed, name in enumerate(ALL):
        places[name] = place = root / str(seed)
        place.mkdir()
        told, given = job(name, seed, place), ALL[name][1]
        task = given.get("task", "Pick up the red cube and place it in the box")
        record(told, task, given.get("absent", ()))
        jobs.append(told)
    (root / "jobs.json").write_text(json.dumps(jobs))
    driver = Path(__file__).with_name("smolvla_driver.py")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTHONPATH", None)
    command = [str(PYTHON), str(driver), str(root / "jobs.json")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return places


def recorded(place):
    arrays = {**np.load(place / "in.npz"), **np.load(place / "out.npz")}
    cameras = [name.removeprefix("image_") for name in arrays if name.startswith("image_")]
    steps = [
        Observation(state, {name: arrays[f"image_{name}"][t] for name in cameras}, task)
        for t, state in enumerate(arrays["state"])
        for task in [str(arrays["task"])]
    ]
    return arrays, steps


def relative(ours, theirs):
    """Largest difference, by the size of what it differs from."""
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


@pytest.mark.parametrize("name", VARIANTS)
def test_chunks_are_lerobots(name, exchanged):
    choices = Choices(without=ALL[name][1].get("absent", ()))
    policy = load_policy(exchanged[name] / "checkpoint", choices=choices)
    arrays, steps = recorded(exchanged[name])
    chunk = policy.predict_chunk(steps[0], noise=arrays["noise"])
    # The chunk is the policy's, not the noise's.
    size = policy.config.action_size
    assert np.abs(arrays["normalized"] - arrays["noise"][:, :size]).mean() > 0.1
    assert chunk.shape == arrays["chunk"].shape
    assert relative(chunk, arrays["chunk"]) < RELATIVE


@pytest.mark.parametrize("name", ["two cameras", "self attention", "pictures normalized"])
def test_consecutive_actions_are_lerobots(name, exchanged):
    policy = load_policy(exchanged[name] / "checkpoint")
    arrays, steps = recorded(exchanged[name])
    actions = np.stack([policy.select_action(step, arrays["noise"]) for step in steps])
    assert relative(actions, arrays["actions"]) < RELATIVE


@pytest.mark.parametrize("name", [name for name in VARIANTS if "guidance" in ALL[name][1]])
def test_guided_chunks_are_lerobots(name, exchanged):
    given = ALL[name][1]
    path = exchanged[name] / "checkpoint"
    document = json.loads((path / "config.json").read_text())
    document["rtc_config"] = {"enabled": True, **given["guidance"]}
    (path / "config.json").write_text(json.dumps(document))
    policy = load_policy(path)
    arrays, steps = recorded(exchanged[name])
    unfinished = policy.preprocessor.unnormalize_action(
        pytest.importorskip("torch").from_numpy(arrays["leftover"])
    )
    leftover = LeftOver(unfinished.numpy(), given["delay"])
    chunk = policy.predict_chunk(steps[0], leftover, arrays["noise"])
    assert relative(chunk, arrays["guided"]) < RELATIVE
    if given["delay"]:
        assert relative(arrays["guided"], arrays["chunk"]) > RELATIVE


def test_bfloat16_towers_place_pictures_as_they_did(exchanged):
    place = exchanged[ROUNDED]
    arrays, steps = recorded(place)
    chunk = load_policy(place / "checkpoint").predict_chunk(steps[0], noise=arrays["noise"])
    rounding = relative(chunk, arrays["chunk"])
    assert rounding < 0.02
    # As a tower in float32 would place them, the patches are at other positions.
    document = json.loads((place / "checkpoint" / "config.json").read_text())
    document["load_vlm_weights"] = False
    (place / "checkpoint" / "config.json").write_text(json.dumps(document))
    moved = load_policy(place / "checkpoint").predict_chunk(steps[0], noise=arrays["noise"])
    assert relative(moved, arrays["chunk"]) > 2 * rounding


def test_saved_again_it_is_the_same_policy(exchanged, tmp_path):
    place = exchanged["blank camera, marks"]
    policy = load_policy(place / "checkpoint")
    arrays, steps = recorded(place)
    folder = policy.checkpoint.language.folder
    save_checkpoint(
        tmp_path / "again",
        policy._network,
        policy.config,
        policy.checkpoint.statistics,
        vlm=folder,
    )
    written = json.loads((tmp_path / "again" / "config.json").read_text())
    assert written.keys() == json.loads((place / "checkpoint" / "config.json").read_text()).keys()
    for name in ("policy_preprocessor.json", "policy_postprocessor.json"):
        ours, theirs = (
            json.loads((path / name).read_text())
            for path in (tmp_path / "again", place / "checkpoint")
        )
        assert ours == theirs
    (folder / "tokenizer.json").rename(folder / "moved.json")
    try:
        again = load_policy(tmp_path / "again").predict_chunk(steps[0], noise=arrays["noise"])
    finally:
        (folder / "moved.json").rename(folder / "tokenizer.json")
    np.testing.assert_array_equal(again, policy.predict_chunk(steps[0], noise=arrays["noise"]))
