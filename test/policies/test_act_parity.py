"""armlet's ACT against stock LeRobot 0.4.4, in both directions.

Needs the oracle: a directory with LeRobot's environment v04/, named by ARMLET_ORACLE, or `.oracle`
in the repository, and the reference scripts in ../shared/oracle. Checkpoints are kept in it.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from small_policies import HEIGHT, WIDTH, act_config, make_act, make_statistics

from armlet.policies import Observation, load_network, load_policy, read_checkpoint, save_checkpoint

REPOSITORY = Path(__file__).parents[2]
ORACLE = Path(os.environ.get("ARMLET_ORACLE", REPOSITORY / ".oracle"))
PYTHON = ORACLE / "v04" / "bin" / "python"
SCRIPTS = REPOSITORY.parent / "shared" / "oracle"
REFERENCES = ("act_small", "act_small_te", "act_small_minmax", "act_full", "act_full_te")
ACTION_UNITS = 1e-4
# Folding and channels-last move rounding; LeRobot's own distance from exact arithmetic is as large.
NORMALIZED_UNITS = 1e-4

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(), reason=f"no LeRobot oracle at {PYTHON}: set ARMLET_ORACLE"
)


def run_lerobot(*arguments, cwd=None):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTHONPATH", None)
    command = [str(PYTHON), *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="session")
def references():
    """Directory of the reference checkpoints, made by the shared script where missing."""
    if not (SCRIPTS / "make_checkpoints.py").exists():
        pytest.skip(f"no reference scripts in {SCRIPTS}")
    directory = ORACLE / "checkpoints"
    missing = [name for name in REFERENCES if not (directory / name / "io.npz").exists()]
    if missing:
        directory.mkdir(exist_ok=True)
        run_lerobot("make_checkpoints.py", directory, *missing, cwd=SCRIPTS)
    return directory


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


SMALL = {
    "dim_model": 64,
    "dim_feedforward": 96,
    "n_encoder_layers": 2,
    "n_vae_encoder_layers": 1,
    "chunk_size": 10,
    "n_action_steps": 3,
    "latent_dim": 8,
    "n_heads": 4,
    "dropout": 0.0,
}
RANGES = {"VISUAL": "MEAN_STD", "STATE": "MIN_MAX", "ACTION": "MIN_MAX"}
QUANTILES = {"VISUAL": "IDENTITY", "STATE": "QUANTILES", "ACTION": "QUANTILE10"}
ENSEMBLED = {"temporal_ensemble_coeff": 0.05, "n_action_steps": 1}
VARIANTS = {
    "one camera": (["front"], 1, {}),
    "one camera, another seed": (["wrist"], 2, {"pre_norm": True}),
    "ranges": (["front", "wrist"], 3, {"normalization_mapping": RANGES}),
    "quantiles, no vae": (
        ["front"],
        4,
        {"normalization_mapping": QUANTILES, "use_vae": False, "feedforward_activation": "gelu"},
    ),
    "ensembled": (["front", "wrist"], 5, {**ENSEMBLED, "n_decoder_layers": 2}),
    "dilated resnet50": (
        ["front"],
        6,
        {"vision_backbone": "resnet50", "replace_final_stride_with_dilation": True},
    ),
}


def listed(statistics):
    return {
        feature: {name: value.tolist() for name, value in values.items()}
        for feature, values in statistics.items()
    }


def recorded(path, cameras, seed, steps=7, size=(HEIGHT, WIDTH)):
    """An input file of random observations; the arrays in it."""
    random = np.random.default_rng(seed)
    arrays = {
        f"image_{name}": random.integers(0, 256, (steps, *size, 3)).astype(np.uint8)
        for name in cameras
    }
    arrays["state"] = random.normal(0, 25, (steps, 6)).astype(np.float32)
    np.savez(path, **arrays)
    return arrays


def training_batch(path, cameras, chunk_size):
    random = np.random.default_rng(0)
    batch = {
        f"observation.images.{name}": random.normal(size=(2, 3, HEIGHT, WIDTH)) for name in cameras
    }
    batch["observation.state"] = random.normal(size=(2, 6))
    batch["action"] = random.normal(size=(2, chunk_size, 6))
    batch = {key: value.astype(np.float32) for key, value in batch.items()}
    batch["action_is_pad"] = np.arange(chunk_size)[None] >= np.array([[chunk_size], [6]])
    np.savez(path, **batch)
    return batch


@pytest.fixture(scope="session")
def exchanged(tmp_path_factory):
    """Everything one LeRobot process makes and runs for the tests below, by variant name."""
    root = tmp_path_factory.mktemp("exchange")
    jobs, made = [], {}
    for name, (cameras, seed, settings) in VARIANTS.items():
        place = root / f"theirs_{seed}"
        place.mkdir()
        statistics = listed(make_statistics(act_config(tuple(cameras)), seed))
        arrays = recorded(place / "in.npz", cameras, seed)
        batch = training_batch(place / "batch.npz", cameras, SMALL["chunk_size"])
        checkpoint = str(place / "checkpoint")
        jobs += [
            {
                "do": "make",
                "checkpoint": checkpoint,
                "seed": seed,
                "cameras": cameras,
                "size": [HEIGHT, WIDTH],
                "settings": {**SMALL, **settings},
                "stats": statistics,
            },
            run_job(place, checkpoint),
            {
                "do": "loss",
                "checkpoint": checkpoint,
                "seed": seed,
                "input": str(place / "batch.npz"),
                "output": str(place / "loss.npz"),
            },
        ]
        made[name] = (place, arrays, batch)
    for name, (settings, dtype) in OURS.items():
        place = root / name.replace(" ", "_")
        place.mkdir()
        config = act_config(**settings)
        statistics = make_statistics(config)
        save_checkpoint(place / "checkpoint", make_act(config), config, statistics, dtype=dtype)
        made[name] = (place, recorded(place / "in.npz", ("front", "wrist"), 9), {})
        jobs.append(run_job(place, str(place / "checkpoint")))
    place = root / "shipped"
    place.mkdir()
    (place / "checkpoint").symlink_to(REPOSITORY / "checkpoints" / "reach")
    made["shipped"] = (place, recorded(place / "in.npz", ("front", "wrist"), 9, size=(96, 128)), {})
    jobs.append(run_job(place, str(place / "checkpoint")))
    (root / "jobs.json").write_text(json.dumps(jobs))
    run_lerobot(Path(__file__).with_name("lerobot_driver.py"), root / "jobs.json")
    return made


def run_job(place, checkpoint):
    return {
        "do": "run",
        "checkpoint": checkpoint,
        "input": str(place / "in.npz"),
        "output": str(place / "out.npz"),
    }


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


@pytest.mark.parametrize("name", [*VARIANTS, *OURS, "shipped"])
def test_exchanged_checkpoints_act_alike(name, exchanged, two_threads):
    place, arrays, _ = exchanged[name]
    arrays = {**arrays, **np.load(place / "out.npz")}
    chunk, actions, _ = deviation(place / "checkpoint", arrays, optimize=False)
    assert np.std(arrays["chunk"]) > 0.1
    assert chunk < ACTION_UNITS and actions < ACTION_UNITS


def test_shipped_checkpoint_is_small(exchanged):
    place, _, _ = exchanged["shipped"]
    assert sum(file.stat().st_size for file in (place / "checkpoint").iterdir()) < 25e6


@pytest.mark.parametrize("name", [*VARIANTS])
def test_training_loss_and_gradient_are_lerobots(name, exchanged, two_threads):
    place, _, batch = exchanged[name]
    theirs = np.load(place / "loss.npz")
    network = load_network(read_checkpoint(place / "checkpoint")).train()
    torch.manual_seed(VARIANTS[name][1])
    loss = network.compute_loss({key: torch.from_numpy(value) for key, value in batch.items()})
    loss.total.backward()
    gradient = sum(p.grad.abs().sum() for p in network.parameters() if p.grad is not None)
    assert loss.total.item() == pytest.approx(float(theirs["total"]), rel=1e-5)
    assert loss.l1.item() == pytest.approx(float(theirs["l1_loss"]), rel=1e-5)
    assert loss.kl.item() == pytest.approx(float(theirs.get("kld_loss", 0.0)), rel=1e-4)
    assert float(gradient) == pytest.approx(float(theirs["gradient"]), rel=1e-4)
