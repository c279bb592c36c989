"""Motions of one vector of joints, to each arm those of its own."""

import numpy as np
import pytest
from trajectory_msgs.msg import JointTrajectory

from armlet.align.joints import JointError
from armlet.nodes.servo_bus import unstamped
from armlet.nodes.stamps import to_time
from armlet.nodes.trajectories import TrajectoryPublisher

STEP_NS = 100_000_000
STAMP_NS = 5 * 10**9


class Topics:
    """A node that keeps what is published, by topic."""

    def __init__(self):
        self.sent = {}

    def create_publisher(self, kind, topic, qos):
        assert kind is JointTrajectory
        self.sent[topic] = []
        return Topic(self.sent[topic])


class Topic:
    def __init__(self, sent):
        self.publish = sent.append


def positions(message):
    return [list(point.positions) for point in message.points]


def test_each_arm_gets_its_own_joints_by_its_own_names():
    topics = Topics()
    publisher = TrajectoryPublisher(topics, ["left_", "right_"])
    joints = ["right_pan", "left_pan", "right_gripper", "left_gripper"]
    rows = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])
    publisher.publish(joints, STAMP_NS, STEP_NS * 1e-9, rows)
    (left,), (right,) = topics.sent["left/joint_trajectory"], topics.sent["right/joint_trajectory"]
    assert list(left.joint_names) == list(right.joint_names) == ["pan", "gripper"]
    assert positions(left) == [[2.0, 4.0], [6.0, 8.0]]
    assert positions(right) == [[1.0, 3.0], [5.0, 7.0]]
    assert left.header == right.header and left.header.stamp.sec == 5
    assert left.points[1].time_from_start.nanosec == STEP_NS
    publisher.hold(STAMP_NS)
    assert [len(sent[-1].points) for sent in topics.sent.values()] == [0, 0]


def test_one_arm_has_the_topic_and_the_names_as_they_are():
    topics = Topics()
    TrajectoryPublisher(topics, [""]).publish(["pan"], STAMP_NS, 0.1, np.zeros((1, 1)))
    assert list(topics.sent["joint_trajectory"][0].joint_names) == ["pan"]


def test_nothing_is_sent_where_a_joint_is_of_no_arm():
    topics = Topics()
    publisher = TrajectoryPublisher(topics, ["left_", "right_"])
    with pytest.raises(JointError, match="pan begins with none"):
        publisher.publish(["left_pan", "pan"], STAMP_NS, 0.1, np.zeros((1, 2)))
    assert not any(topics.sent.values())


@pytest.mark.parametrize(
    ("mark", "stamp_ns", "refused"),
    [("0123456789abcdef", 0, True), ("0123456789abcdef", 1, False), ("", 0, False)],
)
def test_a_policys_chunk_without_a_stamp_is_not_played(mark, stamp_ns, refused):
    message = JointTrajectory()
    message.header.frame_id, message.header.stamp = mark, to_time(stamp_ns)
    assert bool(unstamped(message)) == refused
