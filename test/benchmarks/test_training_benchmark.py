"""benchmarks/training.py: what it counts, and that both commands take what it gives them."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the policy extra is not installed")

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SHAPES = {"model.head": (2, 3), "model.bias": (2,)}


@pytest.fixture(scope="module", autouse=True)
def programs():
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


def measured(speed, tensors=SHAPES):
    from training import Measured

    return Measured(speed, 0.1, 500.0, 20.0, "PyAV", tensors)


def test_neither_the_first_steps_nor_the_last_count():
    from training import Failed, rates

    looks = [(0.0, 9.0), (10.0, 10.5), (11.0, 11.5), (12.0, 19.0)]
    assert rates(looks, 1, 8) == (8.0, 0.5)
    with pytest.raises(Failed, match="expected more steps than 4"):
        rates(looks, 3, 8)


def test_ratios_are_of_one_round():
    from training import summary

    found = {
        "lerobot": [measured(speed) for speed in (1.0, 2.0, 10.0)],
        "armlet": [measured(speed) for speed in (3.0, 4.0, 10.0)],
    }
    assert summary(found)["armlet"]["ratio"] == 2.0
    assert summary(found)["lerobot"]["samples_per_s"] == 2.0
    assert "ratio" not in summary({"armlet": found["armlet"]})["armlet"]


def test_other_networks_are_not_compared():
    from training import Failed, require_same_network

    require_same_network({"lerobot": [measured(1)], "armlet": [measured(2)]})
    other = {"lerobot": [measured(1)], "armlet": [measured(2, {**SHAPES, "model.bias": (3,)})]}
    with pytest.raises(Failed, match=r"different networks: .*model\.bias"):
        require_same_network(other)


def test_what_is_counted_is_as_it_came():
    from training_side import timed

    looks = []
    assert list(timed(iter("abc"), looks)) == ["a", "b", "c"]
    assert len(looks) == 3 and all(asked <= came for asked, came in looks)


def test_memory_is_that_of_a_process_and_its_children():
    from training import family, memory_of

    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert {os.getpid(), child.pid} <= {*family(os.getpid())}
        assert memory_of(os.getpid()) > 10**6
    finally:
        child.communicate()
    assert memory_of(child.pid) == 0


@pytest.mark.parametrize("policy", ["act", "diffusion"])
def test_armlet_takes_every_network(policy, tmp_path):
    from training import NETWORKS, Task

    from armlet.cli.graph import train as command

    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    for network in NETWORKS[policy].values():
        task = Task(tmp_path, policy, network, 8, 20, 4, 2, 2)
        args = parser.parse_args(["train", *task.of_armlet(tmp_path / "output")])
        settings = command._settings(args)
        assert (settings.policy, settings.steps, settings.batch_size) == (policy, 20, 8)
        options = {"chunk_size": settings.chunk_size, "n_action_steps": settings.action_steps}
        given = {name: json.loads(value) for name, value in network.items()}
        for name, value in given.items():
            assert options.get(name) == value or settings.changes[name] == network[name], name


def test_the_stand_in_decodes_the_pictures_that_are_asked_for(tmp_path):
    from training import make_dataset
    from training_side import decode

    from armlet.datasets import Dataset

    make_dataset(tmp_path / "set", 2, 12, (32, 48))
    dataset = Dataset(tmp_path / "set")
    (path,) = (tmp_path / "set").glob("videos/observation.images.front/*/file-000.mp4")
    pictures = decode(path, [3 / 30, 8 / 30], 1e-4).permute(0, 2, 3, 1).numpy()
    expected = dataset.images(0, "front", [3, 8])
    assert np.array_equal((pictures * 255).round().astype(np.uint8), expected)
    with pytest.raises(ValueError, match="no frame within"):
        decode(path, [3.5 / 30], 1e-4)


@pytest.mark.thorough
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("policy", ["act", "diffusion"])
def test_it_runs_and_both_train_the_same_network(policy, tmp_path):
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "training.py", "--quick", "--policy", policy],
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["armlet"]["samples_per_s"] > 0 and found["armlet"]["peak_mb"] > 100
    if "not measured" not in found["lerobot"]:
        assert found["armlet"]["ratio"] > 0 < found["armlet:float32"]["ratio"]
    assert not list(tmp_path.iterdir())
