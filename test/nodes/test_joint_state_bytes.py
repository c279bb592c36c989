"""Joint states that are sent as bytes are the messages that rclpy would have sent."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import JointState

from armlet.nodes.joint_states import JointStatePublisher
from armlet.nodes.messages import joint_state

names = st.lists(st.text("abcdefgh_0", max_size=9), max_size=8)
numbers = st.floats(allow_nan=False)
stamps = st.integers(0, 2**31 * 10**9 - 1)
sources = st.sampled_from(["", "hold", "joint_commands", "joint_trajectory/0123456789abcdef"])


# Refuses a message with anything behind it.
BAGS = get_typestore(Stores.ROS2_JAZZY)
JOINT_STATE = "sensor_msgs/msg/JointState"


class Wire(list):
    publish = list.append


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(names, stamps, st.booleans(), sources, st.data()), min_size=1, max_size=4)
)
def test_bytes_are_the_message_s(messages):
    wire = Wire()
    publisher = JointStatePublisher(wire)
    for joints, stamp, moving, source, data in messages:
        vectors = st.lists(numbers, min_size=len(joints), max_size=len(joints)).map(np.array)
        position = data.draw(vectors)
        velocity = data.draw(vectors) if moving else None
        for _ in range(2):  # a form is made the first time and filled again the second
            publisher.publish(joints, stamp, position, velocity, source)
            wanted = joint_state(joints, stamp, position, velocity)
            wanted.header.frame_id = source
            # rclpy's own are as long as its estimate, with rubbish behind.
            read = BAGS.deserialize_cdr(wire[-1], JOINT_STATE)
            assert len(BAGS.serialize_cdr(read, JOINT_STATE)) == len(wire[-1])
            assert deserialize_message(wire[-1], JointState) == wanted


def test_forms_are_not_kept_without_bound():
    publisher = JointStatePublisher(Wire())
    for count in range(1000):
        publisher.publish(["gripper"] * count, 0, np.zeros(count))
    assert len(publisher._forms) <= 64
