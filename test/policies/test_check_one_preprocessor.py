"""One preprocessing: the tensors that reach the network are the same, whoever feeds it.

Not by looking for calls: what enters the network is taken at the network, on every road there is
from a frame to it, and compared bit by bit.
"""

import argparse
import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the policy extra is not installed")

import check_world as w  # noqa: E402
from small_policies import make_act  # noqa: E402

from armlet.cli.policy import policy as command  # noqa: E402
from armlet.policies import (  # noqa: E402
    Act,
    CheckpointError,
    Observation,
    Preprocessor,
    load_policy,
    read_checkpoint,
    save_checkpoint,
)
from armlet.policies.fit.check_picture import seen_by_network  # noqa: E402
from armlet.training import trainer as training  # noqa: E402

ROW = 11
KEYS = (w.STATE, w.FRONT, w.WRIST)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """As train makes them: the Preprocessor of training, and the checkpoint it saves."""
    config, data = w.small_config(), w.dataset()
    preprocessor = Preprocessor.from_config(config, data.statistics)
    path = tmp_path_factory.mktemp("one") / "checkpoint"
    save_checkpoint(path, make_act(config), config, data.statistics, w.CONTRACT, torch.float16)
    return preprocessor, path


@pytest.fixture
def entering(monkeypatch):
    """What every ACT network is called with, in training and inference."""
    taken = []
    forward, loss = Act.forward, Act.compute_loss

    def note(batch):
        taken.append({key: batch[key].detach().clone() for key in KEYS})

    monkeypatch.setattr(
        Act, "forward", lambda s, batch, *a, **k: note(batch) or forward(s, batch, *a, **k)
    )
    monkeypatch.setattr(Act, "compute_loss", lambda s, batch, *a: note(batch) or loss(s, batch, *a))
    return taken


def frame():
    data = w.dataset()
    state = data.states["degrees"][ROW].astype(np.float32)
    return Observation(state, {name: taken[ROW] for name, taken in w.seen(0).items()})


def by_training(preprocessor):
    data = w.dataset()
    count = len(data.actions)
    samples = training.Samples(
        datasets=(),
        episodes=((0,),),
        states=data.states["degrees"].astype(np.float32),
        actions=data.actions.astype(np.float32),
        starts=np.zeros(count, np.int64),
        ends=np.full(count, count),
        places=np.zeros((count, 3), np.int64),
        begins=np.arange(count),
        tasks=("",),
        task_of=np.zeros(count, np.int64),
    )
    pictures = {name: taken[[ROW]] for name, taken in w.seen(0).items()}
    batch = training.make_batch(samples, np.array([ROW]), pictures, preprocessor, w.small_config())
    make_act(w.small_config()).compute_loss(batch)


def by_command(path, tmp_path):
    observation = frame()
    arrays = {f"image_{name}": image[None] for name, image in observation.images.items()}
    np.savez(tmp_path / "in.npz", state=observation.state[None], task="", **arrays)
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    places = ["--input", str(tmp_path / "in.npz"), "--output", str(tmp_path / "out.npz")]
    args = parser.parse_args(["policy", "infer", "--checkpoint", str(path), *places])
    assert args.run(args) == 0


def test_training_robot_and_offline_evaluation_feed_the_same_bits(made, entering, tmp_path):
    preprocessor, path = made
    by_training(preprocessor)
    load_policy(path).predict_chunk(frame())  # the policy node's road
    load_policy(path, optimize=False).predict_chunk(frame())
    by_command(path, tmp_path)
    assert len(entering) >= 4
    first = entering[0]
    for other in entering[1:]:
        for key in KEYS:
            assert torch.equal(first[key], other[key]), key


def test_the_policy_runs_with_the_object_the_check_judged(made):
    _, path = made
    policy = load_policy(path)
    judged = policy.checkpoint.preprocessor
    assert policy.preprocessor.fingerprint() == judged.fingerprint()
    assert policy.preprocessor.describe() == policy.contract.preprocessing


def test_a_checkpoint_of_other_preprocessing_than_it_was_trained_with_is_refused(made, tmp_path):
    """The contract carries training's fingerprint, so no second path can slip in by the files."""
    _, path = made
    world = w.World(tmp_path / "copy")
    w.sign(path, world.checkpoint)
    w.statistics(lambda t: t[f"{w.STATE}.std"].mul_(1.0001))(world)
    with pytest.raises(CheckpointError, match="contract: preprocessing"):
        read_checkpoint(world.checkpoint)


def test_what_the_network_sees_is_the_picture_made_visible_again(made):
    _, path = made
    checkpoint, data = read_checkpoint(path), w.dataset()
    for camera in w.CAMERAS:
        shown = seen_by_network(checkpoint, data, camera, "degrees")
        difference = np.abs(shown.astype(int) - data.images[camera][0])
        assert difference.max() <= 1


def test_an_input_normalized_by_others_statistics_looks_wrong(made):
    _, path = made
    checkpoint, data = read_checkpoint(path), w.dataset()
    other = {**data.statistics, w.FRONT: data.statistics[w.WRIST]}
    wrong = dataclasses.replace(
        checkpoint, preprocessor=Preprocessor.from_config(checkpoint.config, other)
    )
    shown = seen_by_network(wrong, data, "front", "degrees")
    assert np.abs(shown.astype(int) - data.images["front"][0]).mean() > 5
