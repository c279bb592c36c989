"""An episode that a policy drove says who commanded each of its rows, and which policy it was."""

import numpy as np
import pytest
from node_processes import SLOW_HZ, running_graph
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, String

pytest.importorskip("torch", reason="the policy extra is not installed")

from bench_policies import CONTRACT, HEIGHT, WIDTH, drives, save_random

from armlet.datasets import Dataset
from armlet.datasets.format.layout import INTERVENTION
from armlet.nodes.messages import skew_message
from armlet.nodes.node import RECORDING_QOS
from armlet.nodes.stamps import to_ns
from armlet.policies.checkpoint.checkpoint import read_checkpoint

# What no policy says of itself: they are dropped, and the recording goes on.
NO_PROVENANCE = ("x" * 300_000, "{", '"text"', '{"version":1}', "\x1b[2J", "[" * 5000)
ALL_LATCHED = QoSProfile(depth=50, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.mark.thorough
def test_an_episode_says_who_commanded_its_rows(tmp_path):
    checkpoint, root = save_random(tmp_path / "checkpoint", CONTRACT), tmp_path / "dataset"
    given = {"checkpoint": str(checkpoint), "width": str(WIDTH), "height": str(HEIGHT)}
    given |= {"root": str(root), "task": "reach"}
    with running_graph("policy", emulated="true", teleop="true", rate_hz=SLOW_HZ, **given) as graph:
        sent = commanders(graph)
        drives(graph)
        graph.director.trigger("recorder/start_recording")
        graph.let_pass(0.5)
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
        graph.let_pass(0.5)
        graph.director.set("teleop/set_engaged", False)
        drives(graph)
        graph.director.set("policy/set_running", False)
        graph.wait_for_status("servo_bus: bus", "holding")
        graph.let_pass(1.0)
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
