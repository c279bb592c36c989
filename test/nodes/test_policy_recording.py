"""A policy graph that is asked to record does not drive while it cannot."""

import numpy as np
import pytest
from bench_recorders import bench_without_recorder
from std_msgs.msg import String

pytest.importorskip("torch", reason="the policy extra is not installed")

from bench_policies import CONTRACT, chunks, drives, save_random

from armlet.client.graph import GraphError
from armlet.datasets import Dataset


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_random(tmp_path_factory.mktemp("policy") / "checkpoint", CONTRACT)


@pytest.fixture(scope="module")
def bench(checkpoint, private_domain):
    """A graph whose small policy may not drive without a recorder, which tests start themselves.

    Which way it drives is nobody's affair here.
    """
    with bench_without_recorder("sim", checkpoint=str(checkpoint), task="reach") as bench:
        yield bench


@pytest.fixture
def waiting(bench):
    """The bench while no recorder is there, so that the policy waits for one."""
    graph = bench.graph
    graph.seen.forget_diagnostics()
    graph.wait_for_status("policy: inference", "the recorder")
    graph.wait_for_status("servo_bus: bus", "holding")
    return bench


def holds(graph):
    """The arm holds, and goes on holding."""
    graph.wait_for_status("servo_bus: bus", "holding")
    applied, count = graph.seen.latest("applied_joint_commands"), len(chunks(graph))
    graph.let_pass(1.0)
    np.testing.assert_array_equal(graph.seen.latest("applied_joint_commands"), applied)
    assert len(chunks(graph)) == count


@pytest.mark.thorough
def test_it_waits_for_a_recorder_that_refuses_the_dataset_and_says_why(waiting, tmp_path):
    file = tmp_path / "file"
    file.touch()
    count = len(chunks(waiting.graph))
    with waiting.record(file / "dataset") as graph:
        graph.wait_for_status("recorder: dataset", "file")
        graph.wait_for_status("policy: inference", "file")
        assert "the recorder cannot record" in graph.seen.messages()["policy: inference"]
        graph.let_pass(1.0)
        assert len(chunks(graph)) == count
        with pytest.raises(GraphError, match="cannot record"):
            graph.director.set("policy/set_running", True)
        file.unlink()
        graph.director.trigger("recorder/start_recording")
        drives(graph)
        graph.let_pass(1.0)
        graph.director.trigger("recorder/stop_recording")
    assert len(Dataset(file / "dataset").episodes) == 1


def test_it_waits_for_a_task(waiting, tmp_path):
    count = len(chunks(waiting.graph))
    with waiting.record(tmp_path / "dataset", task="") as graph:
        graph.wait_for_status("policy: inference", "parameter task is empty")
        graph.wait_for_status("recorder: dataset", "parameter task is empty")
        assert len(chunks(graph)) == count
        tell = graph.director._node.create_publisher(String, "recorder/task", 1)
        graph.wait("a listener", lambda: tell.get_subscription_count() > 0)
        tell.publish(String(data="reach"))
        drives(graph)


@pytest.mark.thorough
def test_a_recorder_that_dies_while_it_drives_stops_the_arm(waiting, tmp_path):
    with waiting.record(tmp_path / "dataset") as graph:
        drives(graph)
        graph.director.trigger("recorder/start_recording")
        graph.recorder.kill()
        graph.recorder.wait()
        graph.wait_for_status("policy: inference", "no message from the recorder for")
        assert "is it still running?" in graph.seen.messages()["policy: inference"]
        holds(graph)
