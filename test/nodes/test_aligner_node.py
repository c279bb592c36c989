"""The aligner process and messages that are not what they should be."""

import time

import numpy as np
import pytest
from node_processes import running
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, JointState

from armlet.arm import SO101_JOINTS
from armlet.bringup import NodeSpec
from armlet.camera import jpeg
from armlet.nodes.messages import compressed_image, joint_state

SPEC = NodeSpec(
    "aligner",
    "aligner",
    {
        "streams": ["state", "top"],
        "top.topic": "top/image_raw/compressed",
        "top.type": "compressed",
        "top.policy": "nearest",
        "top.tolerance_s": 0.05,
    },
)
PICTURE = jpeg.encode(np.zeros((16, 24, 3), np.uint8))
JOINTS = np.zeros(6)


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
    deadline = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < deadline, f"{what} never came:\n{graph.said()}"
        publish(**message)
        graph.seen.wait_until(ready, 0.02)


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
