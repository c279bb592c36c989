"""`armlet policy` with a Diffusion Policy: check, inspect, infer, and export, which is refused."""

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the policy extra is not installed")

sys.path.insert(0, str(Path(__file__).parents[1] / "policies"))

from small_diffusion import diffusion_config, make_arrays, make_diffusion, observations
from small_policies import make_statistics

from armlet.cli.main import main
from armlet.policies import load_policy, save_checkpoint

STEPS = 12


def run(*arguments):
    return main(["policy", *map(str, arguments)])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "checkpoint"
    config = diffusion_config((), num_inference_steps=3)
    save_checkpoint(path, make_diffusion(config), config, make_statistics(config))
    return path


def infer(checkpoint, tmp_path, **more):
    arrays = make_arrays(diffusion_config(()), STEPS)
    arrays["environment_state"] = arrays.pop("environment")
    np.savez(tmp_path / "in.npz", **arrays, **more)
    places = ("--input", tmp_path / "in.npz", "--output", tmp_path / "out.npz")
    return run("infer", "--checkpoint", checkpoint, *places)


def test_check_and_inspect_say_what_it_reads(checkpoint, capsys):
    assert run("check", "--checkpoint", checkpoint) == 0
    said = capsys.readouterr().out
    assert "reads 2 observations, at consecutive instants of the training rate" in said
    assert run("inspect", checkpoint) == 0
    said = capsys.readouterr().out
    assert "Diffusion Policy" in said and "no cameras, 3 DDPM steps from noise to chunk" in said
    assert "8 of 15 actions of a chunk" in said


def test_infer_keeps_the_window_of_the_episode(checkpoint, tmp_path):
    """The same noise for every chunk, as IN says: what differs is what was observed."""
    noise = np.random.default_rng(0).normal(size=(3, 16, 6)).astype(np.float32)
    assert infer(checkpoint, tmp_path, noise=noise) == 0
    out = np.load(tmp_path / "out.npz")
    policy = load_policy(checkpoint, optimize=False)
    steps = observations(make_arrays(policy.config, STEPS))
    first = policy.predict_chunk(steps[0].at_start(2), noise=noise)
    np.testing.assert_array_equal(out["chunk"], first)
    np.testing.assert_array_equal(out["actions"][:8], first[:8])
    # The second chunk comes of observations 7 and 8.
    policy.reset()
    expected = [policy.select_action(step, noise) for step in steps]
    np.testing.assert_array_equal(out["actions"], expected)
    assert np.abs(out["actions"][8] - first[8]).max() > 1e-3


def test_noise_of_another_shape_is_refused_in_one_line(checkpoint, tmp_path, capsys):
    assert infer(checkpoint, tmp_path, noise=np.zeros((16, 6))) == 2
    error = capsys.readouterr().err
    assert "expected float32 (3, 16, 6), found float32 (16, 6)" in error
    assert error.count("\n") == 1


def test_export_is_refused_in_one_line(checkpoint, tmp_path, capsys):
    pytest.importorskip("onnx", reason="the export extra is not installed")
    assert run("export", checkpoint, "--output", tmp_path / "graph") == 2
    error = capsys.readouterr().err
    assert "expected an ACT policy, found Diffusion Policy; backend torch runs it" in error
    assert error.count("\n") == 1 and not (tmp_path / "graph").exists()
