"""The aligner process and messages that are not what they should be."""

import dataclasses
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import rclpy
from node_processes import over_udp, running
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, JointState
from std_msgs.msg import Float64MultiArray

from armlet.align import counts_since
from armlet.bringup import FASTDDS_VARIABLE, NodeSpec, fastdds_profile
from armlet.camera import jpeg
from armlet.nodes.messages import joint_state, parse_ledger, parse_sent_age_s, parse_skew, to_ns
from armlet.nodes.pictures import compressed_image
from armlet.robots import SO101_JOINTS

SPEC = NodeSpec(
    "aligner",
    "aligner",
    {
        "streams": ["state", "top"],
        "top.topic": "top/image_raw/compressed",
        "top.type": "compressed",
        "top.policy": "nearest",
        "top.tolerance_s": 0.05,
        "top.frozen_s": 0.0,
    },
)
PICTURE = jpeg.encode(np.zeros((16, 24, 3), np.uint8))
JOINTS = np.zeros(6)
# By the wall clock, and only so that a broken test ends.
GUARD_S = 180


def publisher():
    """A function that publishes one state and one picture; inside a running graph only."""
    node = Node("streams")
    states = node.create_publisher(JointState, "joint_states", 10)
    pictures = node.create_publisher(CompressedImage, "top/image_raw/compressed", 10)

    def publish(stamp_ns=None, values=JOINTS, picture=PICTURE):
        stamp_ns = time.time_ns() if stamp_ns is None else stamp_ns
        states.publish(joint_state(SO101_JOINTS, stamp_ns, values))
        pictures.publish(compressed_image(picture, stamp_ns, "top"))

    return publish


def feed(graph, publish, what, ready, **message):
    """Publish at about 50 Hz until something has been seen."""
    deadline = time.monotonic() + GUARD_S
    while not ready():
        assert time.monotonic() < deadline, f"{what} never came:\n{graph.said()}"
        publish(**message)
        graph.seen.wait_until(ready, 0.02)


@pytest.mark.representatives(2)
@pytest.mark.parametrize(
    ("message", "stream"),
    [
        ({"stamp_ns": 0}, "state"),
        ({"stamp_ns": 5_000_000_000}, "top"),
        ({"picture": PICTURE[:-9]}, "top"),
        ({"values": JOINTS + np.nan}, "state"),
    ],
    ids=["stamp 0", "stamp of another clock", "torn picture", "not a number"],
)
def test_it_outlives_messages_that_are_wrong_and_counts_them(message, stream):
    with running([SPEC]) as graph:
        publish = publisher()
        refused = f"aligner: {stream}"

        def counted():
            return int(graph.seen.status().get(refused, {}).get("refused", 0)) > 3

        feed(graph, publish, "a counted refusal", counted, **message)
        assert graph.seen.count("observation/state") == 0
        feed(graph, publish, "frames", lambda: graph.seen.count("observation/state") > 5)
        assert graph.processes["aligner"].poll() is None


def test_a_late_first_message_is_no_wrong_clock():
    """As a busy computer's start has them: old when the aligner comes to them, then in time."""
    with running([SPEC]) as graph:
        publish = publisher()

        def refused():
            return int(graph.seen.status().get("aligner: state", {}).get("refused", 0)) > 0

        deadline = time.monotonic() + GUARD_S
        while not (refused() and graph.seen.count("observation/state") > 5):
            assert time.monotonic() < deadline, graph.said()
            # The first ones may find no subscription yet.
            publish(stamp_ns=time.time_ns() - 500_000_000)
            for _ in range(20):
                publish()
                graph.seen.wait_until(lambda: False, 0.01)
        assert "is not the time on this node's clock" not in graph.said()


class Streams:
    """Publishes what it is given, and keeps what the aligner makes of it."""

    def __init__(self, graph, namespace=""):
        self.node, self.graph = Node("streams", namespace=namespace), graph
        self.frames, self.skews = [], []
        self.node.create_subscription(JointState, "observation/state", self.frames.append, 100)
        self.node.create_subscription(Float64MultiArray, "observation/skew", self.skews.append, 100)
        self._publishers = {}

    def publish(self, topic, message, reliable=True, depth=30):
        if topic not in self._publishers:
            reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
            self._publishers[topic] = self.node.create_publisher(
                type(message), topic, QoSProfile(depth=depth, reliability=reliability)
            )
        self._publishers[topic].publish(message)

    def feed(self, what, ready, step, period_s=0.01, timeout_s=GUARD_S):
        """Take a step every period until something has come."""
        deadline, index = time.monotonic() + timeout_s, 0
        while not ready():
            assert time.monotonic() < deadline, (
                f"{what} never came: {self.graph.seen.messages()}\n{self.graph.said()}"
            )
            step(index, time.time_ns())
            until = time.monotonic() + period_s
            while (left := until - time.monotonic()) > 0:
                rclpy.spin_once(self.node, timeout_sec=left)
            index += 1

    def status(self, name):
        return self.graph.seen.status().get(name, {}), self.graph.seen.messages().get(name, "")


# A namespace of its own where the director must not take the states for the arm's.
APART = NodeSpec("aligner", "aligner", {"streams": ["state"]}, "apart")


BEGUN_NS = time.time_ns()


def ramp(stamp_ns):
    return 5e-12 * (stamp_ns - BEGUN_NS)


def test_a_joint_that_is_not_always_read_is_interpolated_and_counted():
    with running([APART]) as graph:
        streams = Streams(graph, "apart")

        def step(index, now_ns):
            # Within what joints can reach; the gripper is in every third message only.
            names = SO101_JOINTS if index % 3 == 0 else SO101_JOINTS[:-1]
            values = np.full(len(names), ramp(now_ns))
            streams.publish("joint_states", joint_state(names, now_ns, values))

        streams.feed("frames", lambda: len(streams.frames) > 20, step)
        for frame in streams.frames:
            assert list(frame.name) == list(SO101_JOINTS)
            np.testing.assert_allclose(frame.position, ramp(to_ns(frame.header.stamp)), atol=1e-6)
        skews = [parse_skew(message)[1]["state"] for message in streams.skews]
        assert max(map(abs, skews)) < 0.05
        # A frame waits for its streams, and is not sent before its time.
        assert all(0 <= parse_sent_age_s(message) < 30 for message in streams.skews)
        streams.feed(
            "the count",
            lambda: int(streams.status("apart/aligner: state")[0].get("partial", 0)) > 10,
            step,
        )


STATE = "apart/aligner: state"


@pytest.mark.wall_clock
def test_what_came_while_it_was_not_run_for_seconds_costs_no_frame():
    with running([over_udp(APART)]) as graph:
        streams = Streams(graph, "apart")
        process = graph.processes["apart/aligner"]
        sent_ns = [time.time_ns()]

        def step(index, now_ns):
            # Every 20 ms by its stamp, however late this process is itself: all that comes in the
            # pause has room in the aligner's queue, also where it is twice as long as asked for.
            while (stamp_ns := sent_ns[-1] + 20_000_000) <= now_ns:
                state = joint_state(SO101_JOINTS, stamp_ns, JOINTS)
                streams.publish("joint_states", state, depth=1000)
                sent_ns.append(stamp_ns)

        def fed(seconds):
            until = time.monotonic() + seconds
            return lambda: time.monotonic() > until

        # By its own account: this process may be too slow to hear each frame of the burst.
        def account():
            return {k: int(n) for k, n in streams.status(STATE)[0].items() if n.isdigit()}

        streams.feed("frames", lambda: account().get("used", 0) > 20, step)
        before, begun_ns = account(), time.time_ns()
        process.send_signal(signal.SIGSTOP)
        try:
            streams.feed("the end of the pause", fed(3.0), step)
        finally:
            process.send_signal(signal.SIGCONT)
        expected = round((time.time_ns() - begun_ns) * 30 / 1e9)

        def caught_up():
            return account()["used"] > before["used"] + expected + 30

        streams.feed("frames from after the pause", caught_up, step)
        lost = ("stale", "future", "never_seen", "refused", "late", "skipped", "overflow")
        counted = {what: account()[what] - before[what] for what in lost}
        assert counted == dict.fromkeys(lost, 0), graph.said()


def test_two_arms_make_one_vector():
    spec = dataclasses.replace(
        APART,
        parameters={
            "streams": ["state"],
            "joints": ["left_shoulder_pan", "right_shoulder_pan", "left_gripper", "right_gripper"],
            "state.topics": ["left/joint_states", "right/joint_states"],
        },
    )
    with running([spec]) as graph:
        streams = Streams(graph, "apart")

        def step(index, now_ns):
            joints = ["shoulder_pan", "gripper"]
            streams.publish("left/joint_states", joint_state(joints, now_ns, np.array([1.0, 2.0])))
            if index % 2:
                right = joint_state(joints[::-1], now_ns, np.array([4.0, 3.0]))
                streams.publish("right/joint_states", right)

        streams.feed("frames", lambda: len(streams.frames) > 10, step)
        frame = streams.frames[-1]
        assert list(frame.name) == spec.parameters["joints"]
        np.testing.assert_allclose(frame.position, [1.0, 3.0, 2.0, 4.0])
        assert set(parse_skew(streams.skews[-1])[1]) == {"state"}
        counts = counts_since(parse_ledger(streams.skews[-1]), parse_ledger(streams.skews[0]))
        assert counts["state.left"]["used"] == counts["state.right"]["used"]
        # How many come is the computer's affair: those of a pause are dropped, arm by arm.
        assert min(counts[f"state.{arm}"]["received"] for arm in ("left", "right")) > 0


def test_what_cannot_be_heard_and_what_is_misspelt_is_named():
    spec = dataclasses.replace(
        SPEC,
        parameters={**SPEC.parameters, "top.topic": "camera/image_raw/compressed"},
    )
    with running([spec]) as graph:
        streams = Streams(graph)

        def step(index, now_ns):
            state = joint_state(SO101_JOINTS, now_ns, JOINTS)
            streams.publish("joint_states", state, reliable=False)
            picture = compressed_image(PICTURE, now_ns, "top")
            streams.publish("cameras/image_raw/compressed", picture)

        expected = {
            "aligner: state": (
                "never seen",
                "/streams publishes best effort",
                "set state.reliable to false",
            ),
            "aligner: top": (
                "never seen",
                "/camera/image_raw/compressed: nobody publishes it",
                "there is /cameras/image_raw/compressed",
            ),
        }

        def named():
            return "publishes best effort, which" in graph.said() and all(
                text in streams.status(name)[1]
                for name, texts in expected.items()
                for text in texts
            )

        streams.feed("the names", named, step)


def test_a_frozen_camera_stops_the_frames_and_is_named():
    spec = dataclasses.replace(SPEC, parameters={**SPEC.parameters, "top.frozen_s": 0.4})
    noise = np.random.default_rng(0)
    with running([spec]) as graph:
        streams, frozen = Streams(graph), []

        def step(index, now_ns):
            streams.publish("joint_states", joint_state(SO101_JOINTS, now_ns, JOINTS))
            pixels = noise.integers(0, 255, (16, 24, 3), np.uint8)
            picture = PICTURE if frozen else jpeg.encode(pixels)
            streams.publish("top/image_raw/compressed", compressed_image(picture, now_ns, "top"))

        streams.feed("frames", lambda: len(streams.frames) > 10, step)
        frozen.append(time.time_ns())
        streams.feed("a word", lambda: "frozen" in streams.status("aligner: top")[1], step)
        newest_s = (to_ns(streams.frames[-1].header.stamp) - frozen[0]) * 1e-9
        assert newest_s < 0.4 + SPEC.parameters["top.tolerance_s"]
        frozen.clear()
        before = len(streams.frames)
        streams.feed("frames again", lambda: len(streams.frames) > before + 10, step)


RAW = NodeSpec(
    "aligner",
    "aligner",
    {
        "streams": ["top"],
        "top.topic": "top/image_raw",
        "top.type": "raw",
        "top.policy": "nearest",
        "top.tolerance_s": 0.04,
        "top.reliable": False,
    },
)
# As many as wait for a subscriber that is not run for a while: none of them may be lost.
BURST, BURSTS = 10, 3
# A process of its own: Fast DDS reads the profile once in a process.
CAMERA = f"""
import sys, time, numpy as np, rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from armlet.nodes.pictures import image
rclpy.init()
node = rclpy.create_node("top")
qos = QoSProfile(depth={BURST}, reliability=ReliabilityPolicy.BEST_EFFORT)
publisher = node.create_publisher(Image, "top/image_raw", qos)
while not publisher.get_subscription_count():
    time.sleep(0.05)
pixels = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
for line in sys.stdin:
    for index in range({BURST}):
        pixels[0, 0] = index
        publisher.publish(image(pixels, time.time_ns(), "top"))
        time.sleep(1 / 30)
    print("sent", flush=True)
rclpy.shutdown()
"""


def arrives_whole(graph, camera):
    """Whether every picture of a burst is heard, by what the aligner says in the seconds after."""

    def received():
        return int(graph.seen.status().get("aligner: top", {}).get("received", 0))

    before = received()
    camera.stdin.write("go\n")
    camera.stdin.flush()
    assert camera.stdout.readline() == "sent\n", "the camera has ended"
    return graph.seen.wait_until(lambda: received() >= before + BURST, 5.0)


@pytest.mark.wall_clock
def test_raw_pictures_arrive_whole_with_the_shipped_profile():
    """Without it most are lost, and so is one at least of each burst."""
    environment = {FASTDDS_VARIABLE: str(fastdds_profile())}
    with running([dataclasses.replace(RAW, environment=environment)]) as graph:
        camera = subprocess.Popen(
            [sys.executable, "-c", CAMERA],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        try:
            whole, end_s = 0, time.monotonic() + GUARD_S
            while whole < BURSTS:
                # Who has just been found may miss some, and so may a computer that stands still.
                whole += arrives_whole(graph, camera)
                assert time.monotonic() < end_s, f"{whole} whole bursts:\n{graph.said()}"
        finally:
            camera.communicate(timeout=GUARD_S)
        assert "raw:=true" not in graph.said()


def test_raw_pictures_without_a_profile_are_warned_of(monkeypatch):
    monkeypatch.delenv(FASTDDS_VARIABLE, raising=False)
    with running([RAW]) as graph:
        graph.wait("the warning", lambda: "raw:=true" in graph.said(), GUARD_S)
        graph.wait_for_status("aligner: top", str(fastdds_profile()))
