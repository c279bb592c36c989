"""A policy graph with a leader and without a dataset: the policy drives until a person does."""

import pytest
from node_processes import running_graph

pytest.importorskip("torch", reason="the policy extra is not installed")

from bench_policies import CONTRACT, HEIGHT, WIDTH, drives, save_random


@pytest.fixture(scope="module")
def graph(tmp_path_factory, private_domain):
    checkpoint = save_random(tmp_path_factory.mktemp("policy") / "checkpoint", CONTRACT)
    given = {"checkpoint": str(checkpoint), "width": str(WIDTH), "height": str(HEIGHT)}
    with running_graph("policy", emulated="true", teleop="true", **given) as graph:
        yield graph


def test_without_a_dataset_nobody_is_waited_for(graph):
    drives(graph)


def test_a_person_takes_over_with_the_leader_and_hands_back(graph):
    drives(graph)
    graph.director.set("teleop/set_engaged", True)
    graph.wait_for_status("servo_bus: bus", "took over from joint_trajectory")
    before = graph.seen.status()["servo_bus: bus"]["preempted"]
    leads = graph.director.trigger("sim_bench/demonstrate")
    graph.wait(
        "the policy's chunks being refused",
        lambda: int(graph.seen.status()["servo_bus: bus"]["preempted"]) > int(before),
    )
    assert leads
    graph.director.set("teleop/set_engaged", False)
    drives(graph)
