"""Recorded live and bagged at once: the bag converts to the rows that were recorded live."""

import contextlib
import time

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="reading bags needs rosbags (pip install 'armlet[bag]')")

from node_processes import CALIBRATION, running_graph
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import CompressedImage, JointState

from armlet.cli.main import main
from armlet.episodes import Dataset, check, layout

TOPICS = {
    "/joint_states": JointState,
    "/applied_joint_commands": JointState,
    "/front/image_raw/compressed": CompressedImage,
    "/wrist/image_raw/compressed": CompressedImage,
}


class BagRecorder:
    """What `ros2 bag record` does: serialized messages as they come, with their time."""

    def __init__(self, path):
        self.counts = dict.fromkeys(TOPICS, 0)
        self._writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        self._node = Node("bag_recorder")
        types = get_typestore(Stores.ROS2_KILTED)
        for topic, kind in TOPICS.items():
            name = f"sensor_msgs/msg/{kind.__name__}"
            connection = self._writer.add_connection(topic, name, typestore=types)
            self._node.create_subscription(
                kind, topic, self._taking(topic, connection), QoSProfile(depth=500), raw=True
            )
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)

    def _taking(self, topic, connection):
        def take(content):
            self._writer.write(connection, time.time_ns(), content)
            self.counts[topic] += 1

        return take

    def spin_until(self, ready, timeout_s=60.0):
        ending = time.monotonic() + timeout_s
        while not ready():
            self._executor.spin_once(timeout_sec=0.1)
            assert time.monotonic() < ending, self.counts

    def close(self):
        self._executor.shutdown()
        self._node.destroy_node()
        self._writer.close()


def rows(root, key):
    dataset = Dataset(root)
    return np.concatenate([dataset.episode(k).columns[key] for k in range(len(dataset.episodes))])


def test_a_bag_of_the_raw_topics_gives_the_rows_recorded_live(tmp_path):
    live, bag, converted = tmp_path / "live", tmp_path / "bag", tmp_path / "converted"
    with running_graph(
        "record", emulated="true", width="64", height="48", root=str(live), task="wave"
    ) as graph:
        graph.wait("actions", lambda: graph.seen.count("action") > 3)
        graph.wait_for_status("recorder: dataset", "idle")
        with contextlib.closing(BagRecorder(bag)) as recorder:
            recorder.spin_until(lambda: min(recorder.counts.values()) > 30)
            graph.director.trigger("recorder/start_recording")
            frames = graph.seen.count("action")
            recorder.spin_until(lambda: graph.seen.count("action") > frames + 90)
            graph.director.trigger("recorder/stop_recording")
            # Frames need samples from both sides of them.
            counts = dict(recorder.counts)
            recorder.spin_until(lambda: min(n - counts[t] for t, n in recorder.counts.items()) > 15)
    recorded = Dataset(live)
    words = ["--calibration", str(CALIBRATION / "emulated_follower.json"), "--task", "wave"]
    # The bench's pictures repeat while nothing moves; bringup tells the live aligner so, too.
    words += ["--param", "front.frozen_s:=0.0", "--param", "wrist.frozen_s:=0.0"]
    for episode in recorded.episodes:
        stamps = recorded.episode(episode.episode).stamp_ns
        words += ["--episode", f"{seconds(stamps[0])}:{seconds(stamps[-1] + 1)}"]
    assert main(["dataset", "convert", str(bag), str(converted), *words]) == 0
    assert check(converted) == []
    assert layout.load_info(live).total_frames > 40
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
