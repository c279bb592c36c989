"""Diffusion Policy without LeRobot: golden numbers of 0.4.4, its configuration, its window."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

pytest.importorskip("torch", reason="the policy extra is not installed")

import torch
from golden_diffusion import CASES, complete
from safetensors.torch import load_file, save_file
from small_diffusion import diffusion_config, make_arrays, make_diffusion, observations
from small_policies import make_statistics

from armlet.policies import (
    CheckpointError,
    Choices,
    Execution,
    ObservationError,
    Planner,
    Window,
    load_policy,
    read_checkpoint,
    save_checkpoint,
    warm_up,
)
from armlet.policies.config.diffusion import DiffusionConfig
from armlet.policies.networks.denoising import Denoising
from armlet.policies.networks.diffusion import TimeConv, TimeGrowth, centre
from armlet.policies.observation import latest

# Seed and reset of test_diffusion_parity, which made the golden numbers.
SEED, RESET = 100, 5


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A policy without cameras that reads three observations."""
    path = tmp_path_factory.mktemp("diffusion") / "checkpoint"
    config = diffusion_config((), n_obs_steps=3)
    save_checkpoint(path, make_diffusion(config), config, make_statistics(config))
    return path


@pytest.mark.parametrize("name", CASES)
def test_golden_numbers_of_lerobot(name, tmp_path, one_thread):
    """Other processors round otherwise, and ten passes of the network carry that on."""
    io = complete(name, tmp_path / "checkpoint")
    policy = load_policy(tmp_path / "checkpoint")
    steps, window = observations(io), Window(policy.config.n_obs_steps)
    past = policy.config.n_obs_steps - 1
    for t, step in enumerate(steps):
        policy.reset(SEED + t)
        chunk = policy.predict_chunk(latest(window.add(step, t)))
        np.testing.assert_allclose(chunk, io["chunks"][t, past:], atol=1e-2)
    policy.reset(SEED)
    actions = [policy.select_action(step) for step in steps]
    np.testing.assert_allclose(actions, io["actions"], atol=1e-2)
    # They spread over tens of units: nothing constant passes.
    assert np.ptp(io["chunks"], axis=1).min() > 5


def test_one_observation_too_few_or_too_many_is_refused(saved):
    policy = load_policy(saved)
    step, *_ = observations(make_arrays(policy.config, 1))
    for seen in (step, step.at_start(2), step.at_start(4)):
        with pytest.raises(ObservationError, match="expected 2, found"):
            policy.predict_chunk(seen)
    with pytest.raises(ObservationError, match="NaN"):
        bad = dataclasses.replace(step, state=np.full(6, np.nan, np.float32))
        policy.predict_chunk(dataclasses.replace(step, earlier=(bad, step)))


def test_the_window_counts_in_its_order(saved):
    """What was seen earlier moves the chunk, and so does its order."""
    policy = load_policy(saved)
    steps = observations(make_arrays(policy.config, 3))

    def chunk(*seen):
        policy.reset(7)
        return policy.predict_chunk(latest(seen))

    whole = chunk(*steps)
    np.testing.assert_array_equal(whole, chunk(*steps))
    assert np.abs(whole - chunk(steps[1], steps[0], steps[2])).max() > 1e-3
    assert np.abs(whole - chunk(steps[2], steps[2], steps[2])).max() > 1e-3


def test_a_gap_begins_the_window_again():
    window = Window(3)
    assert window.add("a", 10) == ("a", "a", "a")
    assert window.add("b", 11) == ("a", "a", "b")
    assert window.add("c", 12) == ("a", "b", "c")
    assert window.add("C", 12) == ("a", "b", "C"), "the same instant again"
    assert (window.restarts, window.missed) == (0, 0)
    assert window.add("d", 15) == ("d", "d", "d")
    assert (window.restarts, window.missed) == (1, 2)
    assert window.add("e", 14) == ("e", "e", "e"), "a clock set back"
    assert window.restarts == 2 and window.missed < 0
    window.reset()
    assert window.add("f", 40) == ("f", "f", "f")
    assert window.restarts == 2, "a new episode is no gap"
    single = Window(1)
    assert [single.add(i, 2 * i) for i in range(3)] == [(0,), (1,), (2,)]
    assert single.restarts == 0, "who reads one frame misses none"


def test_actions_are_due_from_the_newest_observation_on(saved):
    """Of horizon rows the first two lie before it; a strategy is given none of them."""
    policy = load_policy(saved)
    assert policy.config.chunk_size == 14
    planner = Planner(policy, Execution(seed=3), fps=30)
    assert planner.name == "n_action_steps"
    assert warm_up(policy, "") > 0
    steps, window = observations(make_arrays(policy.config, 12)), Window(3)
    inferred = []
    for t, step in enumerate(steps):
        seen = latest(window.add(step, 100 + t))
        if planner.wants(100 + t, delay=1):
            plan = planner.infer(seen, 100 + t, delay=1)
            inferred.append(plan.first)
            assert len(plan.rows) == 14
    assert inferred == [100, 108], "every n_action_steps frames"
    policy.reset(3)
    first = policy.predict_chunk(steps[0].at_start(3))
    policy.reset(3)
    played = [policy.select_action(step) for step in steps[:8]]
    np.testing.assert_array_equal(played, first[:8])


def test_denoising_ends_where_the_network_says():
    """A network that always predicts one sample ends there, whatever the noise; DDPM's mean too."""
    for kind in ("DDPM", "DDIM"):
        config = diffusion_config(
            (), noise_scheduler_type=kind, prediction_type="sample", num_inference_steps=5
        )
        denoising = Denoising(config)
        assert denoising.times == [8, 6, 4, 2, 0]
        goal = torch.linspace(-1, 1, 12).reshape(1, 4, 3)
        x = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(0))
        for index in range(5):
            x = denoising.step(index, x, goal, None)
        torch.testing.assert_close(x, goal)


@pytest.mark.parametrize("length", [1, 2, 7, 16])
def test_convolutions_as_products_are_the_same(length):
    torch.manual_seed(0)
    layers = [TimeConv(8, 12, 5), TimeConv(8, 8, 3, stride=2), TimeGrowth(8)]
    x = torch.randn(2, 8, length)
    with torch.inference_mode():
        for layer in layers:
            exact = layer(x)
            layer.as_product = True
            torch.testing.assert_close(layer(x), exact, atol=1e-5, rtol=1e-5)


def test_the_centre_of_an_odd_margin():
    picture = torch.arange(49.0).reshape(1, 1, 7, 7)
    assert centre(picture, 4, 2).shape == (1, 1, 4, 2)
    # (7 - 4) / 2 = 1.5 goes to 2, (7 - 2) / 2 = 2.5 to 2: to the even one, as in torchvision.
    assert centre(picture, 4, 2)[0, 0, 0, 0] == 7 * 2 + 2


WRONG = {
    "n_obs_steps": (0, "at least 1"),
    "n_action_steps": (20, "must not exceed"),
    "horizon": (18, "multiple of 2"),
    "down_dims": ([20, 40], "multiples of n_groups"),
    "kernel_size": (4, "must be odd"),
    "num_inference_steps": (11, "1 to num_train_timesteps"),
    "noise_scheduler_type": ("PNDM", "one of DDPM, DDIM"),
    "beta_schedule": ("sigmoid", "one of linear"),
    "prediction_type": ("v_prediction", "one of epsilon, sample"),
    "crop_shape": ([100, 20], "must fit into the pictures"),
    "crop_ratio": (0.0, "above 0"),
    "resize_shape": ([5], "height, width"),
    "use_peft": (True, "merge the adapters"),
    "chunk_size": (15, "unknown keys"),
    "optimizer_betas": ("0.9", "list of numbers"),
}


@pytest.fixture(scope="module")
def crop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden") / "checkpoint"
    complete("ddim-crop", folder)
    return folder


def changed(source, target, change):
    shutil.copytree(source, target)
    document = json.loads((target / "config.json").read_text())
    change(document)
    (target / "config.json").write_text(json.dumps(document))
    return target


@pytest.mark.parametrize("name", WRONG)
def test_settings_that_contradict_each_other_are_refused(name, crop, tmp_path):
    value, message = WRONG[name]
    path = changed(crop, tmp_path / "wrong", lambda document: document.update({name: value}))
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(path)


def test_settings_whose_default_changed_must_be_stated(crop, tmp_path):
    path = changed(crop, tmp_path / "short", lambda document: document.pop("crop_shape"))
    with pytest.raises(CheckpointError, match=r"crop_shape.*always writes it"):
        read_checkpoint(path)


def test_the_keys_date_the_file(crop, tmp_path):
    assert read_checkpoint(crop).era == "0.4.4 to 0.5.1"
    new = {"gradient_checkpointing": False, "pretrained_revision": None}
    path = changed(crop, tmp_path / "0.6.1", lambda document: document.update(new))
    checkpoint = read_checkpoint(path)
    assert checkpoint.era == "0.6.1"
    assert any("gradient_checkpointing is newer" in note for note in checkpoint.notes)


def test_statistics_among_the_weights_as_lerobot_03_has_them(saved, tmp_path):
    from test_checkpoint_eras import make_old

    shutil.copytree(saved, tmp_path / "old")
    config = read_checkpoint(saved).config
    make_old(tmp_path / "old", config, make_statistics(config))
    document = json.loads((tmp_path / "old" / "config.json").read_text())
    for key in ("resize_shape", "crop_ratio", "compile_model", "compile_mode"):
        del document[key]
    (tmp_path / "old" / "config.json").write_text(json.dumps(document))
    old, new = load_policy(tmp_path / "old"), load_policy(saved)
    assert old.checkpoint.era == "0.3.x"
    steps = observations(make_arrays(config, 4))
    for policy in (old, new):
        policy.reset(1)
    for step in steps:
        # MIN_MAX of 0.3 adds eps to the range; float32 rounds it away.
        np.testing.assert_allclose(old.select_action(step), new.select_action(step), atol=1e-3)


def test_saving_and_loading_gives_every_setting_back(tmp_path):
    config = diffusion_config(
        (), down_dims=(8, 16), optimizer_betas=(0.9, 0.99), num_inference_steps=4, horizon=8,
        n_action_steps=4, resize_shape=(24, 32), crop_ratio=0.5, noise_scheduler_type="DDIM",
    )  # fmt: skip
    save_checkpoint(tmp_path / "a", make_diffusion(config), config, make_statistics(config))
    assert read_checkpoint(tmp_path / "a").config == config
    assert isinstance(config, DiffusionConfig) and config.crop == (12, 16)


def test_missing_and_extra_tensors_are_refused(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "torn")
    weights = tmp_path / "torn" / "model.safetensors"
    tensors = load_file(weights)
    tensors["diffusion.unet.extra.weight"] = tensors.pop("diffusion.unet.final_conv.1.weight")
    save_file(tensors, weights)
    with pytest.raises(CheckpointError, match=r"missing diffusion.unet.final_conv.1.weight"):
        load_policy(tmp_path / "torn")


def test_bfloat16_is_near(saved, with_bfloat16):
    steps = observations(make_arrays(read_checkpoint(saved).config, 1))
    chunks = []
    for precision in ("float32", "bfloat16"):
        policy = load_policy(saved, precision=precision)
        policy.reset(5)
        chunks.append(policy.predict_chunk(steps[0].at_start(3)))
    spread = np.ptp(chunks[0], axis=0).max()
    assert 0 < np.abs(chunks[1] - chunks[0]).max() < 0.2 * spread


def test_another_scheduler_by_choice_is_announced(saved):
    asked = Choices(denoising="DDIM:4")
    policy = load_policy(saved, choices=asked)
    assert (policy.config.noise_scheduler_type, policy.config.steps) == ("DDIM", 4)
    assert any("4 DDIM steps, as asked" in note for note in policy.checkpoint.notes)
    (step,) = observations(make_arrays(policy.config, 1))
    stated = dataclasses.replace(policy.config, noise_scheduler_type="DDIM", num_inference_steps=4)
    assert policy.config == stated
    own = load_policy(saved)
    assert not any("as asked" in note for note in own.checkpoint.notes)
    chunks = []
    for each in (policy, own):
        each.reset(2)
        chunks.append(each.predict_chunk(step.at_start(3)))
    assert np.abs(chunks[0] - chunks[1]).max() > 1e-2


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("DDIM", "DDIM:STEPS"),
        ("PNDM:5", "DDIM:STEPS"),
        ("DDIM:0", "num_inference_steps must be 1"),
        ("DDPM:-1", "DDIM:STEPS"),
        ("DDPM:11", r"1 to num_train_timesteps \(10\)"),
    ],
)
def test_a_scheduler_that_is_none_is_refused(how, message, saved):
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(saved, Choices(denoising=how))


def test_other_policies_have_no_such_choice(saved_vectors):
    with pytest.raises(CheckpointError, match="ACT has one way to its chunk"):
        read_checkpoint(saved_vectors, Choices(denoising="DDIM:10"))
