"""A policy is given the same by check, evaluate and the node, also what only a simulator knows."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

torch = pytest.importorskip("torch", reason="the policy extra is not installed")

sys.path.insert(0, str(Path(__file__).parents[1] / "policies"))

import small_datasets as data  # noqa: E402
from small_policies import act_config, make_act  # noqa: E402

from armlet.cli.main import main  # noqa: E402
from armlet.cli.policy.policy_check import dataset_samples  # noqa: E402
from armlet.datasets import Dataset  # noqa: E402
from armlet.datasets.check import recompute_stats  # noqa: E402
from armlet.datasets.format import layout  # noqa: E402
from armlet.evaluation.observations import frames_of, moments  # noqa: E402
from armlet.findings import Code  # noqa: E402
from armlet.policies import Observation, Policy, Window, read_checkpoint, save_checkpoint  # noqa: E402
from armlet.policies.config.base import ENVIRONMENT  # noqa: E402
from armlet.policies.fit.check import check  # noqa: E402
from armlet.policies.observation import latest  # noqa: E402

EPISODES, LENGTH, STEPS, CHUNK = 2, 12, 3, 4


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A dataset with an environment state of two values."""
    root = data.record(tmp_path_factory.mktemp("data") / "set", EPISODES, LENGTH)
    info = json.loads((root / layout.INFO).read_text())
    info["features"][ENVIRONMENT] = {"dtype": "float32", "shape": [2], "names": None}
    (root / layout.INFO).write_text(json.dumps(info))
    random = np.random.default_rng(0)
    for path in sorted((root / "data").rglob("*.parquet")):
        table = pq.ParquetFile(path).read()
        values = random.normal(0, 10, (table.num_rows, 2)).astype(np.float32)
        column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 2)
        pq.write_table(table.append_column(ENVIRONMENT, column), path)
    recompute_stats.write(root, recompute_stats.recount(root, pictures=False))
    return root


@pytest.fixture(scope="module")
def simulators(root, tmp_path_factory):
    """A policy that reads joints and environment state."""
    path, config = tmp_path_factory.mktemp("policy") / "act", act_config((), chunk_size=CHUNK)
    dataset = Dataset(root)
    contract = dataclasses.replace(dataset.contract, cameras=())
    save_checkpoint(path, make_act(config), config, dataset.statistics, contract)
    return path


def same(one, other):
    """Whether two observations are equal, with those before them."""
    vectors = ((one.state, other.state), (one.environment_state, other.environment_state))
    return (
        all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in vectors if a is not None)
        and [a is None for a, _ in vectors] == [b is None for _, b in vectors]
        and list(one.images) == list(other.images)
        and all(np.array_equal(one.images[name], other.images[name]) for name in one.images)
        and one.task == other.task
        and len(one.earlier) == len(other.earlier)
        and all(same(a, b) for a, b in zip(one.earlier, other.earlier, strict=True))
    )


def test_check_evaluate_and_the_nodes_window_give_a_policy_the_same(root):
    dataset = Dataset(root)
    checked = [m.observation for m in dataset_samples(root, STEPS, CHUNK).moments]
    evaluated, windows = [], []
    for k in range(EPISODES):
        episode = dataset.episode(k)
        frames = frames_of(LENGTH, 4)
        seen = moments(dataset, episode, frames, data.CAMERAS, [STEPS])
        evaluated += [moment.observations[STEPS] for moment in seen]
        images = {name: dataset.images(k, name) for name in data.CAMERAS}
        window = Window(STEPS)  # as the policy node fills it, frame by frame
        for row in range(LENGTH):
            observation = Observation(
                episode.state[row],
                {name: pictures[row] for name, pictures in images.items()},
                episode.tasks[row],
                episode.columns[ENVIRONMENT][row],
            )
            held = window.add(observation, row)
            windows += [latest(held)] if row in frames else []
    assert len(checked) == EPISODES * 4
    assert all(map(same, checked, evaluated)) and all(map(same, evaluated, windows))
    assert checked[0].environment_state is not None


def test_a_policy_that_reads_an_environment_state_is_asked_about_recorded_ones(
    root, simulators, monkeypatch, capsys
):
    given, predict = [], Policy.predict_chunk

    def seen(self, observation, *more, **options):
        given.append(observation)
        return predict(self, observation, *more, **options)

    monkeypatch.setattr(Policy, "predict_chunk", seen)
    main(["policy", "check", "--checkpoint", str(simulators), "--dataset", str(root)])
    said = capsys.readouterr().out
    assert "answers to the dataset" in said and "was not asked" not in said
    assert "input from the dataset: passes" in said
    checked, given[:] = given[: EPISODES * 4], []
    options = ("--dataset", str(root), "--chunks", "4")
    assert main(["policy", "evaluate", str(simulators), *options]) == 0
    assert len(given) == EPISODES * 4
    bare = [dataclasses.replace(one, images={}) for one in checked]
    assert all(map(same, bare, given))


def test_the_node_refuses_a_policy_of_a_simulator(simulators):
    (found,) = check(read_checkpoint(simulators), driving=True).wrong
    assert found.code is Code.POLICY_INPUT_REFUSED and ENVIRONMENT in str(found.found)
    assert check(read_checkpoint(simulators)).ok
