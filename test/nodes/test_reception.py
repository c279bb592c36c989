"""What a node knows of a message's way, through the inbox that judges messages first."""

import time

import pytest
import rclpy
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CompressedImage, JointState

from armlet.nodes.inbox import GuardedInbox
from armlet.nodes.node import make_executor
from armlet.nodes.reception import with_reception
from armlet.nodes.teardown import destroy

END_S = 120.0


class Node(GuardedInbox, LifecycleNode):
    pass


@pytest.fixture
def node(private_domain):
    context = rclpy.Context()
    rclpy.init(context=context)
    node = Node("receiver", context=context)
    executor = make_executor(context)
    executor.add_node(node)
    yield node, executor
    executor.shutdown()
    destroy(node)
    context.try_shutdown()


@pytest.mark.parametrize("kind", [JointState, CompressedImage])
def test_when_a_message_was_sent_and_came_passes_the_inbox(kind, node):
    """It was lost there: what waited for a busy aligner was taken for late by its publisher."""
    node, executor = node
    heard = []
    node.create_subscription(kind, "topic", with_reception(lambda *given: heard.append(given)), 10)
    publisher = node.create_publisher(kind, "topic", 10)
    begun_ns, end_s = time.time_ns(), time.monotonic() + END_S
    while not heard and time.monotonic() < end_s:
        publisher.publish(kind())
        executor.spin_once(timeout_sec=0.1)
    message, way = heard[0]
    assert isinstance(message, kind)
    assert begun_ns <= way.sent_ns <= way.received_ns <= time.time_ns()
    assert not node.dropped
