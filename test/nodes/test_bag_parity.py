"""Recorded live and bagged at once: the bag gives the rows that were recorded live.

Converted, and played under /clock into an aligner and a recorder that know of nothing else.
"""

import contextlib
import threading
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import yaml

pytest.importorskip("rosbags", reason="reading bags needs rosbags (pip install 'armlet[bag]')")

from awaited import wait_until
from bag_player import CLOCK_STEP_NS, BagPlayer
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from node_processes import CALIBRATION, over_udp, running, running_graph, until_taken
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import CompressedImage, JointState
from std_msgs.msg import Float64MultiArray

from armlet.bringup import graph
from armlet.cli.main import main
from armlet.client.graph import GraphError
from armlet.datasets import Dataset, check
from armlet.datasets.format import layout
from armlet.nodes.lockstep import InLockstep
from armlet.nodes.messages import parse_skew, to_ns
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


CALIBRATION_FILE = str(CALIBRATION / "emulated_follower.json")
EPISODE_S = 2.0
FPS = 30
# The player is never further ahead of the frames: of a picture, and what it took to come. Of the
# rows it may be further: of these the recorder says five times a second how many there are.
LAG_NS, BEHIND_ROWS = 200_000_000, 20


def rows(root, key):
    dataset = Dataset(root)
    return np.concatenate([dataset.episode(k).columns[key] for k in range(len(dataset.episodes))])


def seconds(stamp_ns):
    """Exact, which a float is not."""
    return f"{stamp_ns // 10**9}.{stamp_ns % 10**9:09d}"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A dataset recorded live, and a bag of the raw topics from before that to after it."""
    live, bag = (tmp_path_factory.mktemp("recorded") / name for name in ("live", "bag"))
    given = {"emulated": "true", "width": "64", "height": "48", "task": "wave"}
    given |= {"root": str(live), "episode_s": str(EPISODE_S)}
    with running_graph("record", **given) as running:
        running.wait("actions", lambda: running.seen.count("action") > 3)
        running.wait_for_status("recorder: dataset", "idle")
        with contextlib.closing(BagRecorder(bag, running.lockstep)) as recorder:
            running.wait("messages", lambda: min(recorder.counts.values()) > 60)
            running.director.trigger("recorder/start_recording")
            # Frames need samples from both sides of them.
            running.let_pass(EPISODE_S + 0.5)
    (episode,) = Dataset(live).episodes
    assert episode.length == EPISODE_S * FPS
    return live, bag


@pytest.mark.thorough
def test_a_bag_of_the_raw_topics_gives_the_rows_recorded_live(recorded, tmp_path):
    (live, bag), converted = recorded, tmp_path / "converted"
    words = ["--calibration", CALIBRATION_FILE, "--task", "wave"]
    # The bench's pictures repeat while nothing moves; bringup tells the live aligner so, too.
    words += ["--param", "front.frozen_s:=0.0", "--param", "wrist.frozen_s:=0.0"]
    stamps = rows(live, layout.STAMP)
    words += ["--episode", f"{seconds(stamps[0])}:{seconds(stamps[-1] + 1)}"]
    assert main(["dataset", "convert", str(bag), str(converted), *words]) == 0
    assert check(converted) == []
    assert_same_rows(converted, live)


@pytest.mark.thorough
def test_a_bag_played_under_clock_gives_the_rows_recorded_live(recorded, tmp_path):
    (live, bag), replayed = recorded, tmp_path / "replayed"
    with running(listeners(replayed, tmp_path)) as started:
        listener = Listener(started.director)
        player = BagPlayer(bag, started.director._node, TOPICS, listener.keep_up)
        # Who hears the paused player's time before it is active says nothing while that stands.
        for node in started.processes:
            wait_until(partial(is_active, started.director, node), f"{node} to be active")
        player.stand_until(lambda: listener.clock_ns >= player.start_ns)
        first_ns = int(rows(live, layout.STAMP)[0])
        while listener.said != "idle":
            assert player.now_ns < first_ns - 10 * CLOCK_STEP_NS, started.said()
            player.play(player.now_ns + CLOCK_STEP_NS)
            listener.wait(lambda: listener.said == "idle", 1.0)
        player.play(first_ns - 5_000_000)
        until_taken(lambda: started.director.trigger("recorder/start_recording"))
        listener.first_ns = first_ns
        player.play(player.end_ns)
        saved, said = lambda: listener.status["episodes"] == "1", started.said
        player.stand_until(saved, said=lambda: f"{listener.said}, {listener.status}; {said()}")
        assert "[ERROR]" not in started.said(), started.said()
    assert check(replayed) == []
    assert_same_rows(replayed, live)


def is_active(director, node):
    with contextlib.suppress(GraphError):
        state = director.call(GetState, f"{node}/get_state", GetState.Request(), 5.0)
        return state.current_state.id == State.PRIMARY_STATE_ACTIVE


def listeners(root, folder):
    """The aligner and the recorder of a real robot's graph, and nothing else of it."""
    file = folder / "parameters.yaml"
    frozen = {"front.frozen_s": 0.0, "wrist.frozen_s": 0.0}
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": frozen}}))
    given = {"robot": "none", "follower_calibration": CALIBRATION_FILE, "use_sim_time": "true"}
    given |= {"cameras": "front=bag,wrist=bag", "only": "aligner,recorder", "root": str(root)}
    given |= {"task": "wave", "episode_s": str(EPISODE_S)}
    aligner, recorder = graph("robot").nodes(given)
    aligner = replace(aligner, parameter_files=(str(file),))
    # By UDP: time passes by the wall clock here, and one that is not run for a second may be deaf.
    return [over_udp(aligner), over_udp(recorder)]


class Listener:
    """What aligner and recorder say, by which the player waits for them.

    first_ns: stamp of the first row that is to be recorded; 0 before that is asked for.
    """

    def __init__(self, director):
        self._come = threading.Condition()
        self._newest_ns = {"observation/skew": 0, "action/skew": 0}
        self.clock_ns, self.said, self.status, self.first_ns = 0, "", {}, 0
        for topic in self._newest_ns:
            director.listen(Float64MultiArray, topic, self._taking(topic))
        director.listen(DiagnosticArray, "aligner/ledger", self._on_ledger)
        director.listen(DiagnosticStatus, "recorder/status", self._on_status)

    def _taking(self, topic):
        def take(message):
            with self._come:
                self._newest_ns[topic] = parse_skew(message)[0]
                self._come.notify_all()

        return take

    def _on_ledger(self, message):
        self.clock_ns = to_ns(message.header.stamp)

    def _on_status(self, message):
        with self._come:
            self.said = message.message
            self.status = {item.key: item.value for item in message.values}
            self._come.notify_all()

    def wait(self, ready, guard_s=240.0):
        """Whether something is so, in time."""
        with self._come:
            return self._come.wait_for(ready, guard_s)

    def keep_up(self, now_ns):
        """Wait until the frames of a little while ago have come, and are recorded."""
        if not self._newest_ns["action/skew"]:
            self.wait(lambda: self._newest_ns["action/skew"], CLOCK_STEP_NS * 1e-9)
            return
        came = self.wait(lambda: min(self._newest_ns.values()) >= now_ns - LAG_NS)
        assert came, f"no frame near {now_ns}: {self._newest_ns}; {self.said}"
        rows = (now_ns - self.first_ns) * FPS // 10**9 - BEHIND_ROWS
        came = not self.first_ns or self.wait(lambda: self._has(rows))
        assert came, f"not {rows} rows: {self.said}, {self.status}"

    def _has(self, rows):
        assert self.status["failures"] == "0", self.said
        return self.status["episodes"] == "1" or int(self.status["open_frames"]) >= rows


def assert_same_rows(found, live):
    ours, theirs = Dataset(found), Dataset(live)
    assert [episode.length for episode in ours.episodes] == [e.length for e in theirs.episodes]
    for key in (layout.STAMP, layout.STATE, layout.ACTION, layout.SKEW):
        assert rows(found, key).tobytes() == rows(live, key).tobytes(), key
    for camera in ("front", "wrist"):
        a, b = (dataset.images(0, camera).astype(int) for dataset in (ours, theirs))
        # The messages are the same by their skews; how they are decoded differs by a level.
        assert np.abs(a - b).mean() < 3.0
    assert ours.contract == theirs.contract
