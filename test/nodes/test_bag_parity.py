"""Recorded live and bagged at once: the bag converts to the rows that were recorded live."""

import contextlib
import threading

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="reading bags needs rosbags (pip install 'armlet[bag]')")

from node_processes import CALIBRATION, running_graph
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import CompressedImage, JointState

from armlet.cli.main import main
from armlet.datasets import Dataset, check
from armlet.datasets.format import layout
from armlet.nodes.lockstep import InLockstep
from armlet.nodes.node import make_executor
from armlet.nodes.teardown import destroy

TOPICS = {
    "/joint_states": JointState,
    "/applied_joint_commands": JointState,
    "/front/image_raw/compressed": CompressedImage,
    "/wrist/image_raw/compressed": CompressedImage,
}


class BagNode(InLockstep, Node):
    """A node for which simulated time waits, so that no message is lost on a busy computer."""

    def __init__(self, lockstep):
        given = [Parameter("use_sim_time", value=True)]
        super().__init__("bag_recorder", parameter_overrides=given)
        self.join_lockstep(lockstep)


class BagRecorder:
    """What `ros2 bag record --use-sim-time` does: messages as they come, with their time."""

    def __init__(self, path, lockstep):
        self.counts = dict.fromkeys(TOPICS, 0)
        self._writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        self._node = BagNode(lockstep)
        types = get_typestore(Stores.ROS2_KILTED)
        for topic, kind in TOPICS.items():
            name = f"sensor_msgs/msg/{kind.__name__}"
            connection = self._writer.add_connection(topic, name, typestore=types)
            self._node.create_subscription(
                kind, topic, self._taking(topic, connection), QoSProfile(depth=500), raw=True
            )
        self._executor = make_executor()
        self._executor.add_node(self._node)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()
        self._node.ready()

    def _spin(self):
        while not self._ending.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def _taking(self, topic, connection):
        def take(content):
            self._writer.write(connection, self._node.get_clock().now().nanoseconds, content)
            self.counts[topic] += 1

        return take

    def close(self):
        self._node.leave_lockstep()
        self._ending.set()
        self._thread.join()
        self._executor.shutdown()
        destroy(self._node)
        self._writer.close()


def rows(root, key):
    dataset = Dataset(root)
    return np.concatenate([dataset.episode(k).columns[key] for k in range(len(dataset.episodes))])


@pytest.mark.thorough
def test_a_bag_of_the_raw_topics_gives_the_rows_recorded_live(tmp_path):
    live, bag, converted = tmp_path / "live", tmp_path / "bag", tmp_path / "converted"
    with running_graph(
        "record", emulated="true", width="64", height="48", root=str(live), task="wave"
    ) as graph:
        graph.wait("actions", lambda: graph.seen.count("action") > 3)
        graph.wait_for_status("recorder: dataset", "idle")
        with contextlib.closing(BagRecorder(bag, graph.lockstep)) as recorder:
            graph.wait("messages", lambda: min(recorder.counts.values()) > 30)
            graph.director.trigger("recorder/start_recording")
            graph.let_pass(2.0)
            graph.director.trigger("recorder/stop_recording")
            # Frames need samples from both sides of them.
            graph.let_pass(0.5)
    recorded = Dataset(live)
    (episode,) = recorded.episodes
    assert 55 <= episode.length <= 60, "two seconds; the last frames were still to come"
    words = ["--calibration", str(CALIBRATION / "emulated_follower.json"), "--task", "wave"]
    # The bench's pictures repeat while nothing moves; bringup tells the live aligner so, too.
    words += ["--param", "front.frozen_s:=0.0", "--param", "wrist.frozen_s:=0.0"]
    for episode in recorded.episodes:
        stamps = recorded.episode(episode.episode).stamp_ns
        words += ["--episode", f"{seconds(stamps[0])}:{seconds(stamps[-1] + 1)}"]
    assert main(["dataset", "convert", str(bag), str(converted), *words]) == 0
    assert check(converted) == []
    assert [e.length for e in Dataset(converted).episodes] == [e.length for e in recorded.episodes]
    for key in (layout.STAMP, layout.STATE, layout.ACTION, layout.SKEW):
        assert rows(converted, key).tobytes() == rows(live, key).tobytes(), key
    for camera in ("front", "wrist"):
        for k in range(len(recorded.episodes)):
            ours = Dataset(converted).images(k, camera).astype(int)
            theirs = recorded.images(k, camera).astype(int)
            # The messages are the same by their skews; how they are decoded differs by a level.
            assert np.abs(ours - theirs).mean() < 3.0
    assert Dataset(converted).contract == recorded.contract


def seconds(stamp_ns):
    """Exact, which a float is not."""
    return f"{stamp_ns // 10**9}.{stamp_ns % 10**9:09d}"
