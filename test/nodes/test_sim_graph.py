"""The whole graph as another program sees it: its own rclpy node, nothing of the director's."""

import signal

import numpy as np
import pytest
import rclpy
from node_processes import running_graph
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, JointState
from trajectory_msgs.msg import JointTrajectory

from armlet.align import grid_index, grid_ns
from armlet.arm import SO101_JOINTS
from armlet.nodes.messages import rgb, to_ns

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


def listen(count):
    """Messages of every topic until each has so many, through a node of our own."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = Node("another_program", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    heard = {topic: [] for topic in TOPICS}
    for topic, kind in TOPICS.items():
        node.create_subscription(kind, topic, heard[topic].append, 50)
    for _ in range(3000):
        executor.spin_once(timeout_sec=0.1)
        if all(len(messages) >= count for messages in heard.values()):
            break
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown(context=context)
    assert {t for t, messages in heard.items() if len(messages) < count} == set()
    return heard


@pytest.fixture(scope="module")
def heard(sim):
    return listen(40)


def stamps(messages):
    return [to_ns(message.header.stamp) for message in messages]


def test_joint_states_name_the_joints_and_come_at_their_rate(heard):
    states = heard["joint_states"]
    whole = [state for state in states if list(state.name) == list(SO101_JOINTS)]
    assert 2 * len(whole) > len(states), "a busy machine may leave some with fewer joints"
    periods = np.diff(stamps(states)) * 1e-9
    assert np.median(periods) == pytest.approx(0.01, rel=0.02)
    assert (periods > 0).all()


def test_observations_share_stamps_on_the_frame_grid(heard):
    parts = [topic for topic in TOPICS if topic.startswith("observation/")]
    common = set.intersection(*(set(stamps(heard[topic])) for topic in parts))
    assert len(common) >= 30
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
    sim.wait("frames", lambda: sim.seen.count("observation/state") > frames + 30)
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
