"""A policy graph that is asked to record does not drive while it cannot."""

import signal
from functools import partial

import numpy as np
import pytest
from node_processes import running_graph
from std_msgs.msg import String

pytest.importorskip("torch", reason="the policy extra is not installed")

from bench_policies import CONTRACT, HEIGHT, WIDTH, save_random

from armlet.client.graph import GraphError
from armlet.datasets import Dataset


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_random(tmp_path_factory.mktemp("policy") / "checkpoint", CONTRACT)


@pytest.fixture(scope="module")
def policy_graph(checkpoint):
    """Starts a graph with a small policy: which way it drives is nobody's affair here."""
    size = {"width": str(WIDTH), "height": str(HEIGHT)}
    return partial(running_graph, "sim", checkpoint=str(checkpoint), **size)


def chunks(graph):
    return graph.seen.chunks(0, 2**62)


def drives(graph):
    count = len(chunks(graph))
    graph.wait("chunks", lambda: len(chunks(graph)) > count + 2)
    graph.wait_for_status("servo_bus: bus", "following joint_trajectory")


def holds(graph):
    """The arm holds, and goes on holding."""
    graph.wait_for_status("servo_bus: bus", "holding")
    applied, count = graph.seen.latest("applied_joint_commands"), len(chunks(graph))
    graph.let_pass(1.0)
    np.testing.assert_array_equal(graph.seen.latest("applied_joint_commands"), applied)
    assert len(chunks(graph)) == count


def test_it_waits_for_a_recorder_that_refuses_the_dataset_and_says_why(policy_graph, tmp_path):
    file = tmp_path / "file"
    file.touch()
    with policy_graph(root=str(file / "dataset"), task="reach") as graph:
        graph.wait_for_status("recorder: dataset", "file")
        graph.wait_for_status("policy: inference", "the recorder cannot record")
        assert "file" in graph.seen.messages()["policy: inference"]
        graph.let_pass(1.0)
        assert chunks(graph) == []
        with pytest.raises(GraphError, match="cannot record"):
            graph.director.set("policy/set_running", True)
        file.unlink()
        graph.director.trigger("recorder/start_recording")
        drives(graph)
        graph.director.trigger("recorder/stop_recording")
    assert len(Dataset(file / "dataset").episodes) == 1


def test_it_waits_for_a_task(policy_graph, tmp_path):
    with policy_graph(root=str(tmp_path / "dataset")) as graph:
        graph.wait_for_status("policy: inference", "parameter task is empty")
        graph.wait_for_status("recorder: dataset", "parameter task is empty")
        assert chunks(graph) == []
        tell = graph.director._node.create_publisher(String, "recorder/task", 1)
        graph.wait("a listener", lambda: tell.get_subscription_count() > 0)
        tell.publish(String(data="reach"))
        drives(graph)


def test_a_person_takes_over_with_the_leader_and_hands_back(checkpoint, tmp_path):
    given = {"checkpoint": str(checkpoint), "width": str(WIDTH), "height": str(HEIGHT)}
    with running_graph("policy", emulated="true", teleop="true", **given) as graph:
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


def test_a_recorder_that_dies_while_it_drives_stops_the_arm(policy_graph, tmp_path):
    with policy_graph(root=str(tmp_path / "dataset"), task="reach") as graph:
        drives(graph)
        graph.director.trigger("recorder/start_recording")
        recorder = graph.processes["recorder"]
        # Where somebody goes on without it: the supervisor of `armlet up` would end the graph.
        graph.director._trouble = lambda: ""
        recorder.send_signal(signal.SIGKILL)
        recorder.wait()
        graph.wait_for_status("policy: inference", "no message from the recorder for")
        assert "is it still running?" in graph.seen.messages()["policy: inference"]
        holds(graph)


def test_without_a_dataset_nobody_is_waited_for(policy_graph):
    with policy_graph() as graph:
        drives(graph)
