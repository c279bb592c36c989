"""The scripted expert teleoperates through the whole graph, in simulated time."""

import json

import numpy as np
import pytest
from geometry_msgs.msg import PoseArray
from node_processes import running_graph

pytest.importorskip("mujoco", reason="the sim extra is not installed")

from armlet.client.trials import Measures
from armlet.datasets import Dataset
from armlet.demo.demo import DemoPlan, prepare
from armlet.demo.stages import record_only
from armlet.demo.terminal import Terminal
from armlet.nodes.messages import to_ns
from armlet.nodes.node import STATE_QOS
from armlet.sim.task import find

pytestmark = pytest.mark.thorough

TASK = find("pick_place")
START_S = 1735689600


def shown(seeds):
    """For each seed whether the cube got into the bin, and where everything was when, ns."""
    done, places = [], {}
    given = {
        "emulated": "true",
        "physics": "mujoco",
        "bench_task": "pick_place",
        "start_s": str(START_S),
    }
    with running_graph("teleop", **given) as graph:
        director = graph.director

        def on_things(message):
            points = [pose.position for pose in message.poses]
            places[to_ns(message.header.stamp)] = [(at.x, at.y, at.z) for at in points]

        measures = Measures()
        measures.listen(director)
        director._node.create_subscription(PoseArray, "sim_bench/things", on_things, STATE_QOS)
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
    cube, bin_ = (np.array(at) for at in places[max(places)])
    assert np.abs((cube - bin_)[:2]).max() < 0.05, "in the order of the task's file"


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
