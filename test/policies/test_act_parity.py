"""armlet's ACT against stock LeRobot 0.4.4, in both directions.

Needs the oracle, see lerobot_oracle, and the reference scripts in ../shared/oracle. Checkpoints are
kept in it. See test_parity_matrix for the policies LeRobot makes.
"""

import numpy as np
import pytest
import torch
from lerobot_oracle import REFERENCES, REPOSITORY, missing
from small_policies import HEIGHT, WIDTH, act_config, make_act, make_statistics

from armlet.policies import (
    Observation,
    load_network,
    load_policy,
    read_checkpoint,
    save_checkpoint,
)

ACTION_UNITS = 1e-4
# Folding and channels-last move rounding; LeRobot's own distance from exact arithmetic is as large.
NORMALIZED_UNITS = 1e-4

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(bool(missing("0.4.4")), reason=missing("0.4.4")),
]


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def observations(arrays):
    cameras = [name.removeprefix("image_") for name in arrays if name.startswith("image_")]
    return [
        Observation(state, {name: arrays[f"image_{name}"][t] for name in cameras})
        for t, state in enumerate(arrays["state"])
    ]


def deviation(path, arrays, optimize):
    """Largest difference of the chunk and of the consecutive actions, in action units."""
    policy, steps = load_policy(path, optimize=optimize), observations(arrays)
    chunk = policy.predict_chunk(steps[0])
    policy.reset()
    actions = np.stack([policy.select_action(step) for step in steps])
    assert chunk.shape == arrays["chunk"].shape
    spread = policy.preprocessor.unnormalize_action(torch.ones(1, chunk.shape[1]))
    spread = spread - policy.preprocessor.unnormalize_action(torch.zeros(1, chunk.shape[1]))
    return (
        np.abs(chunk - arrays["chunk"]).max(),
        np.abs(actions - arrays["actions"]).max(),
        float(spread.max()),
    )


@pytest.mark.parametrize("name", REFERENCES)
def test_chunks_and_actions_are_lerobots(name, references, two_threads):
    arrays = dict(np.load(references / name / "io.npz"))
    chunk, actions, _ = deviation(references / name, arrays, optimize=False)
    assert chunk < ACTION_UNITS and actions < ACTION_UNITS


@pytest.mark.parametrize("name", ["act_small", "act_small_minmax", "act_full_te"])
def test_optimized_policy_differs_by_rounding_only(name, references, two_threads):
    arrays = dict(np.load(references / name / "io.npz"))
    chunk, actions, spread = deviation(references / name, arrays, optimize=True)
    assert max(chunk, actions) < NORMALIZED_UNITS * spread


def test_intermediate_features_are_lerobots(references, two_threads):
    arrays = dict(np.load(references / "act_small" / "io.npz"))
    checkpoint = read_checkpoint(references / "act_small")
    network = load_network(checkpoint)
    batch = checkpoint.preprocessor(observations(arrays)[0])
    with torch.inference_mode():
        for camera in ("front", "wrist"):
            picture = batch[f"observation.images.{camera}"].contiguous()
            np.testing.assert_allclose(
                network.backbone(picture), arrays[f"backbone_{camera}"], atol=1e-5
            )
        np.testing.assert_allclose(network(batch)[0], arrays["chunk_normalized"], atol=1e-5)
    np.testing.assert_allclose(
        batch["observation.state"][0], arrays["normalized_state"], rtol=0, atol=0
    )


ENSEMBLED = {"temporal_ensemble_coeff": 0.05, "n_action_steps": 1}


def recorded(path, seed, size=(HEIGHT, WIDTH), steps=7):
    """An input file of random observations; the arrays in it."""
    random = np.random.default_rng(seed)
    arrays = {
        f"image_{name}": random.integers(0, 256, (steps, *size, 3)).astype(np.uint8)
        for name in ("front", "wrist")
    }
    arrays["state"] = random.normal(0, 25, (steps, 6)).astype(np.float32)
    np.savez(path, **arrays)
    return arrays


# As the policy that ships with the project: small, without VAE, half precision.
DEMO = {
    "dim_model": 128,
    "n_heads": 8,
    "dim_feedforward": 256,
    "n_encoder_layers": 2,
    "chunk_size": 30,
    "n_action_steps": 15,
}
OURS = {
    "saved float32": ({"use_vae": True}, torch.float32),
    "saved float16": ({"use_vae": True, "pre_norm": True, **ENSEMBLED}, torch.float16),
    "saved demo": (DEMO, torch.float16),
}
SHIPPED = REPOSITORY / "checkpoints" / "reach"


@pytest.mark.parametrize("name", [*OURS, "shipped"])
def test_lerobot_runs_what_armlet_saved(name, lerobot, tmp_path, one_thread):
    path, size = SHIPPED, (96, 128)
    if name in OURS:
        path, size = tmp_path / "checkpoint", (HEIGHT, WIDTH)
        settings, dtype = OURS[name]
        config = act_config(**settings)
        save_checkpoint(path, make_act(config), config, make_statistics(config), dtype=dtype)
    arrays = recorded(tmp_path / "in.npz", 9, size)
    files = {"input": str(tmp_path / "in.npz"), "output": str(tmp_path / "out.npz")}
    lerobot("0.4.4").do({"do": "run", "kind": "act", "checkpoint": str(path), **files})
    arrays |= np.load(tmp_path / "out.npz")
    chunk, actions, _ = deviation(path, arrays, optimize=False)
    assert np.std(arrays["chunk"]) > 0.1
    assert chunk < ACTION_UNITS and actions < ACTION_UNITS


def test_shipped_checkpoint_is_small():
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) < 25e6
