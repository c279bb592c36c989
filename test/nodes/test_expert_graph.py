"""The scripted expert teleoperates through the whole graph, in simulated time."""

import json

import numpy as np
import pytest
from physics_graph import physics_graph

pytest.importorskip("mujoco", reason="the sim extra is not installed")

from armlet.client.trials import Measures
from armlet.datasets import Dataset
from armlet.demo.demo import DemoPlan, prepare
from armlet.demo.stages import record_only
from armlet.demo.terminal import Terminal

pytestmark = pytest.mark.thorough


def shown(seeds):
    """For each seed whether the cube got into the bin, and where everything was when, ns."""
    done = []
    with physics_graph("teleop", "pick_place") as (graph, places):
        director = graph.director
        measures = Measures()
        measures.listen(director)
        for seed in seeds:
            director.set_parameters("sim_bench", reset_seed=seed)
            graph.let_pass(float(director.trigger("sim_bench/reset")) + 0.5)
            assert not measures.latest("success")
            limit_s = float(director.trigger("sim_bench/demonstrate"))
            graph.wait("the expert at work", lambda: measures.latest("demonstrates"), 1.0)
            graph.wait(
                "the expert's end", lambda: not measures.latest("demonstrates"), limit_s + 1.0
            )
            done.append(bool(measures.latest("success")))
    return done, places


def test_it_puts_the_cube_into_the_bin_through_the_graph():
    done, places = shown(range(200, 203))
    assert done == [True, True, True]
    cube, bin_ = places[max(places)]
    assert np.abs((cube - bin_)[:2]).max() < 0.05, "in the order of the task's file"


def test_the_same_seed_twice_is_the_same_demonstration_bit_for_bit():
    (_, one), (_, other) = shown([210]), shown([210])
    both = sorted(one.keys() & other.keys())
    assert len(both) > 200
    np.testing.assert_array_equal([one[at] for at in both], [other[at] for at in both])


def test_what_a_clumsy_expert_shows_is_recorded_with_its_seeds(tmp_path):
    plan = DemoPlan(tmp_path, demonstrations=2, seed=41, physics="mujoco", clumsiness=1.0)
    prepare(plan)
    record_only(plan, Terminal())
    lines = (tmp_path / "demonstrations.jsonl").read_text().splitlines()
    shown = [json.loads(line) for line in lines]
    assert [(one["episode"], one["seed"]) for one in shown] == [(0, 41), (1, 42)]
    assert {one["mishap"] for one in shown} <= {"miss", "nudge"}
    dataset = Dataset(tmp_path / "dataset")
    assert len(dataset.episodes) == 2
    # The leader is held higher than the arm comes: what is recorded has the arm's weight in it.
    end = dataset.episode(0)
    assert float(end.action[-1, 1]) < float(end.state[-1, 1]) - 1.0
