"""A policy graph that is asked to record does not drive while it cannot."""

import numpy as np
import pytest
from bench_recorders import bench_without_recorder
from node_processes import running_graph
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, String

pytest.importorskip("torch", reason="the policy extra is not installed")

from bench_policies import CONTRACT, HEIGHT, WIDTH, chunks, drives, save_random

from armlet.client.graph import GraphError
from armlet.datasets import Dataset
from armlet.datasets.format.layout import INTERVENTION
from armlet.nodes.messages import skew_message
from armlet.nodes.node import RECORDING_QOS
from armlet.nodes.stamps import to_ns
from armlet.policies.checkpoint.checkpoint import read_checkpoint


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


def test_it_waits_for_a_recorder_that_refuses_the_dataset_and_says_why(waiting, tmp_path):
    file = tmp_path / "file"
    file.touch()
    count = len(chunks(waiting.graph))
    with waiting.record(file / "dataset") as graph:
        graph.wait_for_status("recorder: dataset", "file")
        graph.wait_for_status("policy: inference", "the recorder cannot record")
        assert "file" in graph.seen.messages()["policy: inference"]
        graph.let_pass(1.0)
        assert len(chunks(graph)) == count
        with pytest.raises(GraphError, match="cannot record"):
            graph.director.set("policy/set_running", True)
        file.unlink()
        graph.director.trigger("recorder/start_recording")
        drives(graph)
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


def test_a_recorder_that_dies_while_it_drives_stops_the_arm(waiting, tmp_path):
    with waiting.record(tmp_path / "dataset") as graph:
        drives(graph)
        graph.director.trigger("recorder/start_recording")
        graph.recorder.kill()
        graph.recorder.wait()
        graph.wait_for_status("policy: inference", "no message from the recorder for")
        assert "is it still running?" in graph.seen.messages()["policy: inference"]
        holds(graph)


# What no policy says of itself: they are dropped, and the recording goes on.
NO_PROVENANCE = ("x" * 300_000, "{", '"text"', '{"version":1}', "\x1b[2J", "[" * 5000)
ALL_LATCHED = QoSProfile(depth=50, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def test_an_episode_says_who_commanded_its_rows(checkpoint, tmp_path):
    root = tmp_path / "dataset"
    given = {"checkpoint": str(checkpoint), "width": str(WIDTH), "height": str(HEIGHT)}
    given |= {"root": str(root), "task": "reach"}
    with running_graph("policy", emulated="true", teleop="true", **given) as graph:
        sent = commanders(graph)
        drives(graph)
        graph.director.trigger("recorder/start_recording")
        say = graph.director._node.create_publisher(String, "policy/provenance", ALL_LATCHED)
        graph.wait("a listener", lambda: say.get_subscription_count() > 0)
        for text in NO_PROVENANCE:
            say.publish(String(data=text))
        took = graph.director._node.create_publisher(Float64MultiArray, "policy/latency", 1)
        graph.wait("a listener", lambda: took.get_subscription_count() > 0)
        took.publish(skew_message(1, {"inference": -1.0, "observation_to_chunk": 1e300}))
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
        graph.director.set("policy/set_running", False)
        holds(graph)
        graph.director.trigger("recorder/stop_recording")
        graph.director.set("recorder/label_episode", True)
        graph.wait_for_status("recorder: messages", f"{len(NO_PROVENANCE) + 1} messages dropped")
    check_rows(Dataset(root), sent, read_checkpoint(checkpoint))


def commanders(graph):
    """Stamps (ns) and commanders of what is sent to the servos from now on."""
    sent = []

    def note(message):
        sent.append((to_ns(message.header.stamp), message.header.frame_id))

    graph.director._node.create_subscription(
        JointState, "applied_joint_commands", note, RECORDING_QOS
    )
    return sent


def check_rows(dataset, sent, checkpoint):
    """Every row's commander is that of the sample nearest to it; the policy is the one that was."""
    episode, noted = dataset.episode(0), dataset.provenance(0)
    stamps = np.array([stamp for stamp, _ in sent])
    nearest = [sent[np.abs(stamps - stamp).argmin()][1] for stamp in episode.stamp_ns]
    by_person = np.array([source == "joint_commands" for source in nearest])
    np.testing.assert_array_equal(episode.columns[INTERVENTION], by_person)
    assert rows_of(noted, "person") == np.flatnonzero(by_person).tolist()
    assert rows_of(noted, "hold") == [k for k, source in enumerate(nearest) if source == "hold"]
    (policy,) = noted.policies
    mark = f"joint_trajectory/{policy.mark()}"
    assert rows_of(noted, "policy 0") == [k for k, source in enumerate(nearest) if source == mark]
    assert dataset.successes() == {0: True}
    assert min(noted.frames(who) for who in ("person", "hold", "policy 0")) > 10
    assert sum(map(noted.frames, noted.rows)) == episode.info.length
    assert (policy.checkpoint, policy.name) == (checkpoint.digest(), "checkpoint")
    assert policy.statistics == checkpoint.preprocessor.fingerprint()
    assert policy.contract == checkpoint.contract.signature()
    assert (policy.policy, policy.strategy) == ("act", "latest_only")
    assert (policy.backend, policy.precision) == ("torch", "float32")
    assert policy.inference_latency_s == "0.05"
    assert noted.latency.chunks > 3
    assert 0.05 <= noted.latency.inference_p50_s <= noted.latency.inference_p99_s < 0.1
    assert 0.05 <= noted.latency.observation_to_chunk_p50_s < 0.5


def rows_of(noted, who):
    return [row for first, last in noted.ranges(who) for row in range(first, last + 1)]
