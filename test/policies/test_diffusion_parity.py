"""armlet's Diffusion Policy against stock LeRobot 0.4.4, over every way it can be built.

LeRobot makes the checkpoint and runs it; armlet loads the same files. Both draw from one seed on
the CPU, so the same noise goes in at each step. Needs the oracle, see lerobot_oracle; some golden
numbers are in test_diffusion_network.
"""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("torch", reason="the policy extra is not installed")

import torch
from lerobot_oracle import missing
from small_diffusion import diffusion_config, make_arrays, make_diffusion, observations
from small_policies import make_statistics

from armlet.policies import Window, load_policy, save_checkpoint
from armlet.policies.observation import latest

SEED, STEPS, RESET = 100, 9, 5
# Of the normalized action, which is -1..1; LeRobot's own arithmetic, so what is left is rounding.
ROUNDING = 1e-6
# Layers that are fused round otherwise, and the steps of denoising carry that on: how, is the
# processor's. 1.4e-4 was found on one with AVX2 only, less than 1e-4 on those with AVX512.
OTHERWISE_ROUNDED = 3e-4

ONE, TWO = ("front",), ("front", "wrist")
CASES = {
    "defaults": diffusion_config(TWO),
    "one camera, one observation": diffusion_config(ONE, n_obs_steps=1),
    "three observations, separate encoders": diffusion_config(
        TWO, n_obs_steps=3, n_action_steps=2, use_separate_rgb_encoder_per_camera=True
    ),
    "crop": diffusion_config(ONE, crop_shape=(33, 50), n_obs_steps=3),
    "resize and crop": diffusion_config(
        TWO, resize_shape=(40, 44), crop_ratio=0.8, use_separate_rgb_encoder_per_camera=True
    ),
    "resize": diffusion_config(ONE, resize_shape=(64, 80)),
    "batch normalization": diffusion_config(ONE, use_group_norm=False),
    "deeper backbone": diffusion_config(ONE, vision_backbone="resnet50", n_obs_steps=1),
    "DDIM": diffusion_config(ONE, noise_scheduler_type="DDIM", num_inference_steps=4),
    "DDIM, sample": diffusion_config(
        (), noise_scheduler_type="DDIM", num_inference_steps=3, prediction_type="sample"
    ),
    "DDIM, all steps, not clipped": diffusion_config(
        (), noise_scheduler_type="DDIM", clip_sample=False, beta_schedule="linear"
    ),
    "DDPM, fewer steps": diffusion_config((), num_inference_steps=4, n_obs_steps=3),
    "DDPM, one step": diffusion_config((), num_inference_steps=1),
    "DDPM, sample, linear": diffusion_config(
        (), prediction_type="sample", beta_schedule="linear", num_train_timesteps=25
    ),
    "scaled linear, range 2": diffusion_config(
        (), beta_schedule="scaled_linear", clip_sample_range=2.0, beta_end=0.2
    ),
    "environment beside a camera": diffusion_config(ONE, environment=True, n_obs_steps=3),
    "shift only, three levels": diffusion_config(
        (), use_film_scale_modulation=False, down_dims=(16, 32, 48), n_groups=4, horizon=24
    ),
    "one level": diffusion_config((), down_dims=(16,), kernel_size=5, horizon=6, n_action_steps=5),
    "MEAN_STD": diffusion_config(
        (), normalization_mapping=dict.fromkeys(("STATE", "ACTION", "ENV"), "MEAN_STD")
    ),
}

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(bool(missing("0.4.4")), reason=missing("0.4.4")),
]


def settings_of(config):
    """What LeRobot's own configuration class is given."""
    names = {field.name for field in dataclasses.fields(config) if field.init}
    names -= {"input_features", "output_features"}
    return {name: getattr(config, name) for name in sorted(names)}


def job(config, place, do="make"):
    statistics = make_statistics(config)
    return {
        "do": do,
        "kind": "diffusion",
        "checkpoint": str(place / "checkpoint"),
        "input": str(place / "in.npz"),
        "output": str(place / "out.npz"),
        "seed": SEED,
        "reset": RESET,
        "inputs": {key: (f.type, f.shape) for key, f in config.input_features.items()},
        "actions": config.action_size,
        "settings": settings_of(config),
        "stats": {
            key: {name: value.tolist() for name, value in table.items()}
            for key, table in statistics.items()
        },
    }


def errors(path, arrays, lerobots, **options):
    """Largest difference of chunks and of consecutive actions, in the network's units."""
    policy = load_policy(path, **options)
    ends = policy.preprocessor.unnormalize_action(torch.tensor([[0.0], [1.0]]).expand(2, 6))
    spread = np.abs(np.diff(ends.numpy(), axis=0))[0]
    steps, window, chunks = observations(arrays), Window(policy.config.n_obs_steps), []
    for t, step in enumerate(steps):
        policy.reset(SEED + t)
        chunks.append(policy.predict_chunk(latest(window.add(step, t))))
    actions = []
    for t, step in enumerate(steps):
        if t in (0, RESET):
            policy.reset(SEED)
        actions.append(policy.select_action(step))
    past = policy.config.n_obs_steps - 1
    expected = lerobots["chunks"][:, past:]
    assert np.stack(chunks).shape == expected.shape
    # The chunks differ from one another: they are of what was observed, and drawn.
    assert np.ptp(expected / spread, axis=0).max() > 1e-2
    return (
        float(np.abs((np.stack(chunks) - expected) / spread).max()),
        float(np.abs((np.stack(actions) - lerobots["actions"]) / spread).max()),
    )


@pytest.mark.parametrize("name", CASES)
def test_chunks_and_sequences_are_lerobots(name, lerobot, tmp_path, one_thread):
    config = CASES[name]
    arrays = make_arrays(config, STEPS)
    np.savez(tmp_path / "in.npz", **arrays)
    lerobot("0.4.4").do(job(config, tmp_path))
    lerobots = dict(np.load(tmp_path / "out.npz"))
    for optimize in (False, True):
        chunk, actions = errors(tmp_path / "checkpoint", arrays, lerobots, optimize=optimize)
        print(f"{name}, optimize {optimize}: {chunk:.2g} {actions:.2g}")
        assert max(chunk, actions) <= (OTHERWISE_ROUNDED if optimize else ROUNDING)


@pytest.mark.parametrize("name", ["defaults", "batch normalization"])
def test_lerobot_runs_what_armlet_saves(name, lerobot, tmp_path, one_thread):
    config = CASES[name]
    network = make_diffusion(config)
    save_checkpoint(tmp_path / "checkpoint", network, config, make_statistics(config))
    arrays = make_arrays(config, STEPS)
    np.savez(tmp_path / "in.npz", **arrays)
    lerobot("0.4.4").do(job(config, tmp_path, do="run_diffusion"))
    lerobots = dict(np.load(tmp_path / "out.npz"))
    assert max(errors(tmp_path / "checkpoint", arrays, lerobots, optimize=False)) <= ROUNDING


def test_the_noise_can_be_given(lerobot, tmp_path, one_thread):
    """Drawn by hand, in the order LeRobot draws it."""
    config = CASES["DDPM, fewer steps"]
    arrays = make_arrays(config, 1)
    np.savez(tmp_path / "in.npz", **arrays)
    lerobot("0.4.4").do(job(config, tmp_path))
    torch.manual_seed(SEED)
    drawn = [torch.randn(1, config.horizon, 6) for _ in range(config.steps)]
    noise = torch.cat(drawn).numpy()
    policy = load_policy(tmp_path / "checkpoint", optimize=False)
    (first,) = observations(arrays)
    chunk = policy.predict_chunk(first.at_start(3), noise=noise)
    expected = np.load(tmp_path / "out.npz")["chunks"][0, 2:]
    np.testing.assert_allclose(chunk, expected, atol=1e-4)
