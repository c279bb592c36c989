"""Training on what a person commanded: more of it, or it alone."""

import argparse
import dataclasses
import json
import shutil
from itertools import cycle, islice

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

torch = pytest.importorskip("torch", reason="the policy extra is not installed")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from armlet.align.command_source import Commander, CommandSource  # noqa: E402
from armlet.cli.graph import train as command  # noqa: E402
from armlet.contract import Camera, Contract  # noqa: E402
from armlet.datasets import Dataset, DatasetError, DatasetWriter, EpisodeFrame  # noqa: E402
from armlet.datasets.format import layout  # noqa: E402
from armlet.policies import DiffusionConfig, Preprocessor  # noqa: E402
from armlet.training import TrainingSettings, train  # noqa: E402
from armlet.training import trainer as training  # noqa: E402
from armlet.training.interventions import (  # noqa: E402
    alone,
    of_episodes,
    turns,
    weighed,
    with_person,
)
from armlet.training.learner import features_of  # noqa: E402
from armlet.training.learners import learner_of  # noqa: E402
from armlet.training.sampler import Sampler  # noqa: E402
from armlet.training.samples import load_samples, make_batch  # noqa: E402
from armlet.training.sources import Source  # noqa: E402

NAMES = ("pan.pos", "gripper.pos")
CONTRACT = Contract(30, (Camera("front", 32, 32),), NAMES, NAMES, joint_units="degrees")
# p: a person, A: a policy, h: nobody.
EPISODES = ("AAppphAA", "AAAA", "ppA", "AApp")
COMMANDERS = {"p": Commander.PERSON, "A": Commander.TRAJECTORY, "h": Commander.HOLD}
TINY = TrainingSettings(
    steps=2,
    batch_size=64,
    chunk_size=4,
    dim_model=16,
    dim_feedforward=16,
    n_encoder_layers=1,
    precision="float32",  # whatever the processor has
)


def record(root, episodes=EPISODES, intervention=True):
    """State and action of row i of episode k are 100 k + i, and that plus 0.5."""
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    with DatasetWriter(root, CONTRACT, intervention=intervention) as writer:
        for episode, rows in enumerate(episodes):
            writer.begin_episode("pick")
            for index, letter in enumerate(rows):
                at = 100.0 * episode + index
                writer.add_frame(
                    EpisodeFrame(
                        state=np.array([at, -at]),
                        action=np.array([at + 0.5, -at]),
                        images={"front": picture},
                        stamp_ns=10**18 + episode * 10**12 + index * 10**9 // 30,
                        skew_s={},
                        source=CommandSource(COMMANDERS[letter]),
                    )
                )
            writer.finish_episode()
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return record(tmp_path_factory.mktemp("interventions") / "set")


# --- as such ------------------------------------------------------------------------------------


@given(st.lists(st.booleans(), min_size=2, max_size=40), st.floats(0.1, 10), st.integers(0, 99))
def test_rows_are_drawn_by_their_weight(by_person, weight, seed):
    by_person = np.array(by_person)
    rows = np.arange(len(by_person))
    groups = [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
    if not by_person.any():
        with pytest.raises(DatasetError, match="none that is trained on"):
            weighed(groups, [1.0, 1.0], by_person, weight)
        return
    parts, rates = weighed(groups, [1.0, 1.0], by_person, weight)
    assert sorted(np.concatenate(parts).tolist()) == rows.tolist()
    drawn = next(Sampler(parts, rates, 400, seed).batches(0))
    counts = np.bincount(drawn, minlength=len(rows))
    rate = 400 / (weight * by_person.sum() + (~by_person).sum())
    # Passes are cut where an epoch of the largest weight ends, so by less than one draw each.
    assert np.abs(counts - rate * np.where(by_person, weight, 1.0)).max() <= 2 + len(parts)


@given(st.lists(st.text("pAh", min_size=1, max_size=12), min_size=1, max_size=5))
def test_chunks_of_a_person_end_with_the_turn_and_with_the_episode(episodes):
    by_person = np.array([letter == "p" for rows in episodes for letter in rows])
    lengths = [len(rows) for rows in episodes]
    begins, ends = turns(by_person, np.repeat(np.cumsum(lengths), lengths))
    assert begins.tolist() == np.flatnonzero(by_person).tolist()
    first = 0
    for rows in episodes:
        for index in np.flatnonzero([letter == "p" for letter in rows]):
            turn = len(rows[index:]) - len(rows[index:].lstrip("p"))
            assert ends[first + index] == first + index + turn
        first += len(rows)


# --- of a dataset -------------------------------------------------------------------------------


def test_who_commanded_is_what_the_column_says(root):
    dataset = Dataset(root)
    assert of_episodes(dataset, [2, 0]).tolist() == [c == "p" for c in "ppAAAppphAA"]
    assert [each.chosen for each in with_person([Source(dataset)])] == [(0, 2, 3)]
    assert of_episodes(dataset, []).shape == (0,)


def drawn_chunks(root, settings):
    """States (100 k + i) at which chunks begin, and their actions that are learned, by these."""
    dataset = Dataset(root)
    samples, held_out = training.split_samples([Source(dataset)], settings)
    config = learner_of(settings, samples).config
    preprocessor = Preprocessor.from_config(config, dataset.statistics)
    steps, chunks = training._sampler(samples, (1.0,), settings).batches(0), {}
    for rows in islice(steps, 8):
        batch = make_batch(samples, rows, samples.pictures(rows), preprocessor, config)
        states = batch["observation.state"].numpy()[:, 0]
        frozen = dataset.statistics["observation.state"]
        begun = np.round(states * frozen["std"][0] + frozen["mean"][0]).astype(int)
        actions = preprocessor.unnormalize_action(batch["action"]).numpy()[:, :, 0]
        for begin, action, padded in zip(begun, actions, batch["action_is_pad"], strict=True):
            chunks[int(begin)] = np.round(action[~padded.numpy()] - 0.5).astype(int).tolist()
    return chunks, samples.episodes[0], held_out.episodes[0]


def test_only_interventions_learns_nothing_that_a_policy_did(root):
    settings = dataclasses.replace(TINY, only_interventions=True)
    chunks, trained, held_out = drawn_chunks(root, settings)
    of_person = {0: (2, 3, 4), 2: (0, 1), 3: (2, 3)}
    turns = {k: [100 * k + row for row in rows] for k, rows in of_person.items()}
    assert sorted((*trained, *held_out)) == [0, 2, 3], "episode 1 has nothing of a person"
    assert chunks == {at: turns[k][i:] for k in trained for i, at in enumerate(turns[k])}


def test_chunks_of_a_person_begin_with_the_turn_too(root):
    """Of a policy whose chunks begin before the newest observation."""
    dataset = Dataset(root)
    samples = alone(load_samples([dataset], [[0]]))
    config = DiffusionConfig(**features_of(samples), horizon=8, n_action_steps=4)
    preprocessor = Preprocessor.from_config(config, dataset.statistics)
    rows = samples.begins
    images = samples.pictures(samples.window(rows, 2))
    batch = make_batch(samples, rows, images, preprocessor, config)
    actions = preprocessor.unnormalize_action(batch["action"]).numpy()[:, :, 0]
    learned = [
        np.round(row[~padded.numpy()] - 0.5).astype(int).tolist()
        for row, padded in zip(actions, batch["action_is_pad"], strict=True)
    ]
    assert learned == [[2, 3, 4], [2, 3, 4], [3, 4]]


def test_a_weight_draws_a_persons_rows_more_often_and_leaves_the_rest(root):
    settings = dataclasses.replace(TINY, intervention_weight=9.0, validation_share=0.25)
    chunks, trained, _ = drawn_chunks(root, settings)
    assert sorted(chunks) == sorted(100 * k + i for k in trained for i in range(len(EPISODES[k])))
    # Whole chunks: what the policy did afterwards is learned too.
    assert all(
        len(own) == min(4, len(EPISODES[at // 100]) - at % 100) for at, own in chunks.items()
    )


@pytest.mark.thorough
def test_such_trainings_end_and_differ(root, tmp_path):
    made = []
    for option in ({"intervention_weight": 4.0}, {"only_interventions": True}):
        settings = dataclasses.replace(TINY, batch_size=4, **option)
        output = tmp_path / next(iter(option))
        assert train(Dataset(root), output, settings, lambda _: None) == TINY.steps
        made.append((output / "model.safetensors").read_bytes())
    assert made[0] != made[1]


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("option", [("--intervention-weight", "4"), ("--only-interventions",)])
def test_a_dataset_that_does_not_say_who_commanded_is_refused(option, tmp_path, capsys):
    plain = record(tmp_path / "plain", intervention=False)
    assert run(plain, tmp_path / "checkpoint", *option) == 2
    out, said = capsys.readouterr()
    assert "has no column intervention" in said and said.count("\n") == 1 and not out
    assert not (tmp_path / "checkpoint").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--intervention-weight", "4"), "a person commanded none that is trained on"),
        (("--only-interventions",), "expected 2 episodes or more of which a person commanded rows"),
        (("--intervention-weight", "0"), "intervention_weight must be positive"),
        (("--intervention-weight", "inf"), "intervention_weight must be positive"),
    ],
)
def test_what_cannot_be_is_one_line(option, message, tmp_path, capsys):
    of_policy = record(tmp_path / "set", ("AAAA", "AAA"))
    assert run(of_policy, tmp_path / "checkpoint", *option) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def restated(sound, root, dtype, values, shape=(1,)):
    """A dataset with the column as another program might have it: these values, over and over."""
    shutil.copytree(sound, root)
    info = json.loads((root / layout.INFO).read_text())
    info["features"][layout.INTERVENTION] |= {"dtype": dtype, "shape": list(shape)}
    (root / layout.INFO).write_text(json.dumps(info))
    path = root / layout.load_info(root).data_path(layout.load_info(root).number_of(0))
    table = pq.ParquetFile(path).read()
    place = table.column_names.index(layout.INTERVENTION)
    rows = list(islice(cycle(values), table.num_rows))
    pq.write_table(table.set_column(place, layout.INTERVENTION, pa.array(rows)), path)
    return root


@pytest.mark.parametrize(
    ("dtype", "values", "shape", "said"),
    [
        ("bool", [0.0, float("nan")], (1,), "expected bool values, found nan"),
        ("bool", [1, 2], (1,), "expected bool values, found 2"),
        ("bool", [True, None], (1,), "expected bool values"),
        ("bool", [[True, False]], (2,), "found bool of shape (8, 2)"),
        ("float32", [1.0, float("nan")], (1,), "found nan in row 1"),
        ("float32", [0.0, 0.5], (1,), "found 0.5 in row 1"),
        ("int64", [0, -1], (1,), "found -1 in row 1"),
        ("string", ["False"], (1,), "found object of shape (8,)"),
    ],
)
def test_a_column_that_says_neither_true_nor_false_is_one_line(
    root, dtype, values, shape, said, tmp_path, capsys
):
    """NaN, 2 and any text were a person's rows."""
    hostile = restated(root, tmp_path / "set", dtype, values, shape)
    assert run(hostile, tmp_path / "checkpoint", "--steps", "1", "--intervention-weight", "4") == 2
    found = capsys.readouterr().err
    assert "intervention" in found and said in found and found.count("\n") == 1


@pytest.mark.parametrize(("dtype", "one"), [("int64", 1), ("float32", 1.0), ("bool", True)])
@pytest.mark.parametrize("wrapped", [False, True])
def test_ones_and_zeros_of_any_kind_say_it(root, dtype, one, wrapped, tmp_path):
    values = [one, type(one)(0), one]
    given = [[value] for value in values] if wrapped else values
    other = restated(root, tmp_path / "set", dtype, given)
    assert of_episodes(Dataset(other), [0]).tolist() == [True, False, True] * 2 + [True, False]


def test_of_both_one_is_given(root, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(root, tmp_path / "checkpoint", "--intervention-weight", "4", "--only-interventions")
    assert "not allowed with" in capsys.readouterr().err
    with pytest.raises(ValueError, match="only_interventions"):
        TrainingSettings(intervention_weight=2.0, only_interventions=True)


@pytest.mark.thorough
def test_the_command_says_how_many_rows_are_a_persons(root, tmp_path, capsys):
    settings = ("--steps", "1", "--batch-size", "2", "--chunk-size", "4")
    assert run(root, tmp_path / "checkpoint", *settings, "--intervention-weight", "4") == 0
    said = capsys.readouterr().out
    assert "A person commanded 7 frames: drawn 4 times as often as others." in said


def run(dataset, output, *options):
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    places = ["--dataset", str(dataset), "--output", str(output)]
    args = parser.parse_args(["train", *places, *options])
    return args.run(args)
