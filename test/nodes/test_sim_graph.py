"""The whole graph as another program sees it: its own rclpy node, nothing of the director's."""

import signal
import threading
from contextlib import contextmanager

import numpy as np
import pytest
import rclpy
from node_processes import running_graph
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, JointState
from trajectory_msgs.msg import JointTrajectory

from armlet.align import grid_index, grid_ns
from armlet.nodes.messages import to_ns
from armlet.nodes.pictures import rgb
from armlet.nodes.teardown import destroy
from armlet.robots import SO101_JOINTS

pytest.importorskip("torch", reason="the policy extra is not installed")

FPS = 30
TOPICS = {
    "joint_states": JointState,
    "observation/state": JointState,
    "observation/images/front/compressed": CompressedImage,
    "observation/images/wrist/compressed": CompressedImage,
    "action": JointState,
    "joint_trajectory": JointTrajectory,
}


@pytest.fixture(scope="module")
def sim(tmp_path_factory, private_domain):
    root = tmp_path_factory.mktemp("sim") / "dataset"
    with running_graph("sim", root=str(root), task="reach") as sim:
        sim.wait_for_status("policy: inference", "running")
        topics = ("joint_states", "applied_joint_commands", "observation/state")
        sim.wait("topics", lambda: all(sim.seen.count(topic) > 30 for topic in topics))
        sim.wait("chunks", lambda: len(sim.seen.latencies()) > 3)
        yield sim


@contextmanager
def listening(topics):
    """What comes on topics, {topic: messages}, to a program that simulated time does not wait for.

    It knows the simulation by /clock alone.
    """
    context = rclpy.Context()
    rclpy.init(context=context)
    node = Node("another_program", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    heard = {topic: [] for topic in topics}
    for topic, kind in topics.items():
        node.create_subscription(kind, topic, heard[topic].append, 1000)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    yield heard
    executor.shutdown()
    thread.join()
    destroy(node)
    rclpy.shutdown(context=context)


@pytest.fixture(scope="module")
def heard(sim):
    """Forty messages and more of every topic, ten chunks, and the readings of /clock meanwhile."""
    with listening({**TOPICS, "/clock": Clock}) as heard:
        wanted = {topic: 10 if topic == "joint_trajectory" else 40 for topic in heard}
        sim.wait("messages", lambda: all(len(heard[topic]) >= n for topic, n in wanted.items()))
        yield {topic: list(messages) for topic, messages in heard.items()}


def stamps(messages):
    return [to_ns(message.header.stamp) for message in messages]


def test_joint_states_name_the_joints_and_come_at_their_rate(heard):
    states = heard["joint_states"]
    assert all(list(state.name) == list(SO101_JOINTS) for state in states)
    assert set(np.diff(stamps(states)).tolist()) == {10_000_000}


def test_all_stamps_are_readings_of_the_clock_or_before_it(heard):
    """States and commands bear the very readings; frames their grid, chunks their observation."""
    clock = [to_ns(message.clock) for message in heard["/clock"]]
    assert clock == sorted(clock), "time goes forward only"
    seen = set(clock)
    for topic in TOPICS:
        times = stamps(heard[topic])
        assert times == sorted(set(times)), topic
        assert times[-1] <= clock[-1] + 50_000_000, topic
    between = [t for t in stamps(heard["joint_states"]) if clock[0] <= t <= clock[-1]]
    assert len(between) > 30 and seen.issuperset(between)


def test_observations_share_stamps_on_the_frame_grid(heard):
    parts = [topic for topic in TOPICS if topic.startswith("observation/")]
    common = set.intersection(*(set(stamps(heard[topic])) for topic in parts))
    assert len(common) >= 30
    assert set(np.diff(sorted(common)) // 1_000_000) == {33}, "no frame is left out"
    for stamp in common:
        assert grid_ns(grid_index(stamp, FPS), FPS) == stamp
    assert common & set(stamps(heard["action"])), "actions lie on the same grid"


def test_pictures_show_the_bench(heard):
    picture = rgb(heard["observation/images/front/compressed"][-1])
    assert picture.shape == (96, 128, 3)
    red = (picture[:, :, 0] > 150) & (picture[:, :, 1] < 90)
    assert red.sum() > 5, "the target is in sight"


def test_the_policy_sends_whole_chunks_stamped_with_their_observation(heard):
    chunk = heard["joint_trajectory"][-1]
    assert list(chunk.joint_names) == list(SO101_JOINTS)
    times = [p.time_from_start.sec + p.time_from_start.nanosec * 1e-9 for p in chunk.points]
    np.testing.assert_allclose(times, np.arange(len(times)) / FPS, atol=1e-6)
    stamp = to_ns(chunk.header.stamp)
    assert grid_ns(grid_index(stamp, FPS), FPS) == stamp


def test_a_person_takes_over_by_publishing_joint_commands(sim):
    goal = sim.seen.latest("joint_states")
    goal[0] = 0.5 if goal[0] < 0 else -0.5
    sim.director.drive_to(SO101_JOINTS, goal)
    np.testing.assert_allclose(sim.seen.latest("joint_states"), goal, atol=0.06)


def test_recording_while_the_policy_drives(sim):
    sim.director.trigger("recorder/start_recording")
    frames = sim.seen.count("observation/state")
    sim.wait("frames", lambda: sim.seen.count("observation/state") > frames + 45)
    assert "episode 0" in sim.director.trigger("recorder/stop_recording")


def test_after_a_crash_of_the_policy_the_arm_holds_and_the_rest_goes_on(sim):
    sim.wait_for_status("servo_bus: bus", "following joint_trajectory")
    policy = sim.processes["policy"]
    policy.send_signal(signal.SIGKILL)
    policy.wait()
    sim.wait_for_status("servo_bus: bus", "holding")
    applied = sim.seen.latest("applied_joint_commands")
    count = sim.seen.count("applied_joint_commands")
    sim.wait("commands", lambda: sim.seen.count("applied_joint_commands") > count + 50)
    np.testing.assert_array_equal(sim.seen.latest("applied_joint_commands"), applied)
    assert sim.processes["servo_bus"].poll() is None
