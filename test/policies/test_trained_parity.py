"""What `armlet train` makes, in stock LeRobot 0.4.4: it loads, and was trained with its presets.

Needs the oracle, see lerobot_oracle.
"""

import dataclasses
import json

import numpy as np
import pytest

pytest.importorskip("torch", reason="the policy extra is not installed")
pytest.importorskip("tokenizers", reason="the policy extra is not installed")

import torch
from lerobot_oracle import missing
from parity_matrix import exchange
from small_datasets import record
from small_diffusion import make_arrays
from test_diffusion_parity import STEPS, errors, job
from test_smolvla_parity import small_case

from armlet.datasets import Dataset
from armlet.policies import Observation, load_policy
from armlet.training import TrainingSettings, train
from armlet.training.learners import learner_of
from armlet.training.samples import load_samples

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(bool(missing("0.4.4")), reason=missing("0.4.4")),
]

SMALL = {
    "down_dims": "[16, 32]",
    "diffusion_step_embed_dim": "8",
    "spatial_softmax_num_keypoints": "4",
    "num_train_timesteps": "10",
    "kernel_size": "3",
    "drop_n_last_frames": "2",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return record(tmp_path_factory.mktemp("trained") / "set", 2, 6)


def trained(root, output, settings):
    train(Dataset(root), output, settings, lambda _: None)
    return learner_of(settings, load_samples([Dataset(root)], [[0, 1]]))


def check_preset(learner, checkpoint, lerobot, place):
    """Optimizer, clipping and the rate of every step, of short trainings and of long ones."""
    for steps in (10, 700, 2000):
        given = {"checkpoint": str(checkpoint), "steps": steps, "output": str(place / "out.json")}
        lerobot("0.4.4").do({"do": "preset", **given})
        theirs = json.loads((place / "out.json").read_text())
        learner.settings = dataclasses.replace(learner.settings, steps=steps)
        optimizer = learner.optimizer([torch.nn.Parameter(torch.zeros(1))])
        schedule, (group,) = learner.schedule(optimizer), optimizer.param_groups
        ours = {name: group[name] for name in theirs["settings"]}
        assert {**ours, "betas": list(ours["betas"])} == theirs["settings"]
        assert (type(optimizer).__name__, learner.clip) == (theirs["class"], theirs["clip"])
        (factor,) = schedule.lr_lambdas
        rates = [group["initial_lr"] * factor(step) for step in range(steps)]
        np.testing.assert_allclose(rates, theirs["rates"], rtol=1e-9, atol=1e-18)


def test_lerobot_runs_a_diffusion_policy_that_armlet_trained(root, lerobot, tmp_path, one_thread):
    settings = TrainingSettings(
        steps=2, batch_size=2, policy="diffusion", changes=SMALL, precision="float32"
    )
    learner = trained(root, tmp_path / "checkpoint", settings)
    arrays = make_arrays(learner.config, STEPS)
    np.savez(tmp_path / "in.npz", **arrays)
    lerobot("0.4.4").do(job(learner.config, tmp_path, do="run_diffusion"))
    lerobots = dict(np.load(tmp_path / "out.npz"))
    assert max(errors(tmp_path / "checkpoint", arrays, lerobots, optimize=False)) <= 1e-5
    check_preset(learner, tmp_path / "checkpoint", lerobot, tmp_path)


def test_lerobot_runs_a_smolvla_that_armlet_trained_on(root, lerobot, tmp_path, one_thread):
    """From one that LeRobot made."""
    case = small_case()
    arrays = exchange(case, lerobot("0.4.4"), tmp_path)
    settings = TrainingSettings(
        steps=3,
        batch_size=2,
        policy="smolvla",
        base=str(tmp_path / "checkpoint"),
        precision="float32",
    )
    learner = trained(root, tmp_path / "trained", settings)
    places = {"input": str(tmp_path / "in.npz"), "output": str(tmp_path / "out.npz")}
    places["checkpoint"] = str(tmp_path / "trained")
    lerobot("0.4.4").do({"do": "run", "kind": "smolvla", "reset": None, **places})
    theirs = np.load(tmp_path / "out.npz")["chunk"]
    images = {name: arrays[f"image_{name}"][0] for name in ("front", "wrist")}
    step = Observation(arrays["state"][0], images, case.task)
    chunk = load_policy(tmp_path / "trained").predict_chunk(step, noise=arrays["noise"][0])
    assert np.abs(chunk - theirs).max() <= 1e-4 * np.abs(theirs).max()
    check_preset(learner, tmp_path / "trained", lerobot, tmp_path)
