"""What anybody on the network may send: refused or ignored, and neither motion nor a node's end."""

import json
import math
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from builtin_interfaces.msg import Duration, Time
from driver_timeouts import with_timeouts
from node_processes import follower, running
from rclpy.serialization import serialize_message
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, Header, MultiArrayDimension, MultiArrayLayout
from thread_times import thread_times
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from armlet.motors.feetech import REGISTERS
from armlet.nodes.cdr import MAX_POINTS, CdrError, read_trajectory
from armlet.nodes.inbox import LIMITS
from armlet.nodes.messages import MessageError, parse_ledger, parse_skew, skew_message
from armlet.robots import SO101_JOINTS
from armlet.sim import Bench

TORQUE, GOAL = REGISTERS["Torque_Enable"], REGISTERS["Goal_Position"]
JOINTS = list(SO101_JOINTS)


def point(positions, sec=0, nanosec=0, **more):
    return JointTrajectoryPoint(
        positions=positions, time_from_start=Duration(sec=sec, nanosec=nanosec), **more
    )


def skew(label, data=()):
    dim = [MultiArrayDimension(label=label, size=len(data), stride=1)]
    return Float64MultiArray(layout=MultiArrayLayout(dim=dim), data=list(data))


# --- a trajectory's bytes -------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2, 7])
@pytest.mark.parametrize("joints", [1, 2, 6])
@pytest.mark.parametrize("velocities", [False, True])
def test_a_trajectory_is_read_from_its_bytes_as_rclpy_reads_it(count, joints, velocities):
    rows = np.arange(count * joints, dtype=float).reshape(count, joints) / 7
    more = {"velocities": [0.5] * joints, "effort": [1.0]} if velocities else {}
    message = JointTrajectory(
        header=Header(stamp=Time(sec=5, nanosec=6), frame_id="base"),
        joint_names=[f"joint{i}" * (i + 1) for i in range(joints)],
        points=[point(row.tolist(), i, 250, **more) for i, row in enumerate(rows)],
    )
    read = read_trajectory(serialize_message(message))
    assert list(read.joint_names) == list(message.joint_names)
    assert read.header.stamp == message.header.stamp
    np.testing.assert_array_equal(read.positions, rows)
    np.testing.assert_allclose(read.times_s, np.arange(count) + 250e-9)


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (JointTrajectory(points=[point([])] * (MAX_POINTS + 1)), "at most"),
        (JointTrajectory(joint_names=["a"] * 1000), "at most"),
        (JointTrajectory(joint_names=["a" * 1000]), "at most"),
        (JointTrajectory(joint_names=["a"], points=[point([0.0, 0.0])]), "every point needs 1"),
        (JointTrajectory(joint_names=["a"], points=[point([0.0], 0, 2**32 - 1)]), "nanoseconds"),
        (JointTrajectory(header=Header(stamp=Time(nanosec=10**9))), "nanoseconds"),
    ],
)
def test_a_trajectory_that_is_none_is_refused_with_the_reason(message, found):
    with pytest.raises(CdrError, match=found):
        read_trajectory(serialize_message(message))


def test_a_million_points_are_refused_by_their_number_alone():
    """Before any of them is looked at: none is there."""
    body = struct.pack("<iIIII", 0, 0, 0, 0, 1_000_000)
    with pytest.raises(CdrError, match="1000000 points"):
        read_trajectory(b"\x00\x01\x00\x00" + body)


def test_a_trajectory_that_is_cut_off_is_refused():
    message = JointTrajectory(joint_names=["a", "b"], points=[point([0.1, 0.2])])
    whole = serialize_message(message)[:88]  # what follows is padding
    assert len(read_trajectory(whole).positions) == 1
    for size in range(len(whole)):
        with pytest.raises(CdrError):
            read_trajectory(whole[:size])


# --- labels of skew messages ----------------------------------------------------------------------

LABELS = [
    "",
    "[]",
    "1",
    '"text"',
    "[" * 20_000,
    '{"stamp_ns": 1e300, "streams": []}',
    '{"stamp_ns": -1, "streams": []}',
    '{"stamp_ns": [1], "streams": []}',
    '{"stamp_ns": null, "streams": []}',
    '{"stamp_ns": 99999999999999999999999999, "streams": []}',
    '{"stamp_ns": 1, "streams": [["a"]]}',
    '{"stamp_ns": 1, "streams": 5}',
    '{"stamp_ns": 1, "streams": ["a"]}',
    '{"stamp_ns": 1, "streams": [], "ledger": 5}',
    '{"stamp_ns": 1, "streams": [], "ledger": {"front": 5}}',
    '{"stamp_ns": 1, "streams": [], "ledger": {"front": {"used": "many"}}}',
    '{"stamp_ns": 1, "streams": [], "ledger": {"front": {"used": 1e300}}}',
    '{"version": 2, "stamp_ns": 1, "streams": []}',
    '{"version": null, "stamp_ns": 1, "streams": []}',
]


@pytest.mark.parametrize("label", LABELS)
def test_a_label_that_is_none_is_a_message_error_and_no_other(label):
    message = skew(label)
    with pytest.raises(MessageError):
        parse_skew(message)
        parse_ledger(message)


def test_a_label_of_another_version_says_so_and_one_of_before_versions_is_read():
    with pytest.raises(MessageError, match="expected version 1, found version 2; use the armlet"):
        parse_skew(skew('{"version": 2, "stamp_ns": 1, "streams": []}'))
    assert parse_skew(skew('{"stamp_ns": 1, "streams": []}')) == (1, {})
    written = skew_message(1, {})
    assert json.loads(written.layout.dim[0].label)["version"] == 1
    assert parse_skew(written) == (1, {})


def test_a_skew_that_is_not_finite_is_refused():
    with pytest.raises(MessageError):
        parse_skew(skew('{"stamp_ns": 1, "streams": ["a"]}', [math.nan]))


# --- a follower under fire ------------------------------------------------------------------------


@pytest.fixture
def bench(tmp_path):
    with Bench(paced=False, links=tmp_path) as bench:
        yield bench


@pytest.fixture
def bus(bench, tmp_path):
    with running([follower(tmp_path / "follower")], popen=with_timeouts()) as bus:
        bus.wait("states", lambda: bus.seen.count("joint_states") > 3)
        bus.wait_for_status("servo_bus: bus", "holding")
        for publisher in (bus.director._commands, bus.director._chunks):
            bus.wait("the bus to listen", lambda it=publisher: it.get_subscription_count() > 0)
        yield bus


def torque(bench):
    return [servo.peek(TORQUE) for servo in bench.follower.servos.values()]


def goals(bench):
    return [servo.peek(GOAL) for servo in bench.follower.servos.values()]


def refused(bus):
    return int(bus.seen.status()["servo_bus: bus"]["refused"])


TRAJECTORIES = {
    "one point of 1e300": [point([1e300] * 6)],
    "one point of 1e308": [point([1e308] * 6)],
    "infinity": [point([math.inf] * 6)],
    "1e300 on the way": [point([0.0] * 6), point([1e300] * 6, 1), point([0.0] * 6, 2)],
    "degrees": [point([45.0] * 6)],
    "a time of 68 years": [point([0.0] * 6), point([0.1] * 6, 2**31 - 1)],
    "nanoseconds of 4 s": [point([0.0] * 6), point([0.1] * 6, 1, 2**32 - 1)],
    "a million seconds before": [point([0.1] * 6, -1_000_000)],
}


def test_no_trajectory_ends_the_node_or_moves_the_arm(bench, bus):
    """The first of them dropped the arm: OverflowError in the cycle's thread."""
    before = goals(bench)
    for count, (what, points) in enumerate(TRAJECTORIES.items(), 1):
        message = JointTrajectory(joint_names=JOINTS, points=points)
        bus.director._chunks.publish(message)
        bus.wait(f"{what} to be refused", lambda count=count: dropped(bus) + refused(bus) >= count)
    assert goals(bench) == before
    assert torque(bench) == [1] * 6
    assert bus.processes["servo_bus"].poll() is None


def dropped(bus):
    return sum(int(n) for n in bus.seen.status().get("servo_bus: messages", {}).values())


def test_commands_in_degrees_are_refused_with_the_unit_and_an_excess_is_reported(bench, bus):
    before = goals(bench)
    bus.director.command(["gripper"], [45.0])
    bus.wait("a refusal", lambda: refused(bus) > 0)
    bus.wait_for_words("positions are radians; 45 for gripper looks like degrees")
    assert goals(bench) == before
    bus.director.command(["gripper"], [bus.seen.latest("joint_states")[5]])

    def clamped():
        # Again and again: one that a busy computer has come late is not followed.
        bus.director.command(["gripper"], [3.0])
        return "outside the calibrated range and clamped to it" in bus.said()

    bus.wait("a word", clamped)


@pytest.mark.thorough
def test_far_stamps_and_crowds_of_names_are_refused(bench, bus):
    now = bus.director.now_ns // 10**9
    wrong = [
        JointState(header=Header(stamp=Time(sec=2**31 - 1)), name=JOINTS, position=[0.0] * 6),
        JointState(header=Header(stamp=Time(sec=-(2**31))), name=JOINTS, position=[0.0] * 6),
        JointState(
            header=Header(stamp=Time(sec=now, nanosec=2**32 - 1)), name=JOINTS, position=[0.0] * 6
        ),
        JointState(name=["x"] * 500, position=[0.0] * 500),
        JointState(name=JOINTS, position=[0.0] * 500),
        JointState(name=["x" * 10_000], position=[0.0]),
    ]
    before = goals(bench)
    for count, message in enumerate(wrong, 1):
        bus.director._commands.publish(message)
        bus.wait("a refusal", lambda count=count: refused(bus) >= count)
    assert goals(bench) == before


@pytest.mark.thorough
@pytest.mark.parametrize("count", [100_000])
def test_a_stop_is_served_while_a_huge_trajectory_comes(bench, bus, count):
    # The director listens too, and would parse it; neither it nor the servos would answer then.
    node = bus.director._node
    for heard in [each for each in node.subscriptions if each.topic_name == "/joint_trajectory"]:
        node.destroy_subscription(heard)
    command = [sys.executable, "-c", HUGE, str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE) as stranger:
        before_s = ran_s(bus)
        assert stranger.stdout.readline() == b"sent\n"
        bus.director.stop()
        assert torque(bench) == [0] * 6
        bus.wait("it to be dropped", lambda: dropped(bus) > 0)
    # Parsed by rclpy it takes a processor seconds; that is what a stop had to wait for.
    assert ran_s(bus) - before_s < parsing_s(count) / 2


HUGE = """
import sys, time, rclpy
from rclpy.qos import QoSProfile
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
rclpy.init()
node = rclpy.create_node("stranger")
publisher = node.create_publisher(JointTrajectory, "joint_trajectory", QoSProfile(depth=1))
points = [JointTrajectoryPoint(positions=[0.0] * 6)] * int(sys.argv[1])
while not publisher.get_subscription_count():
    time.sleep(0.02)
publisher.publish(JointTrajectory(joint_names=["a"] * 6, points=points))
print("sent", flush=True)
sys.stdin.read()
"""


def ran_s(bus):
    """What the driver's main thread, which takes messages, has had of a processor so far, s."""
    pid = bus.processes["servo_bus"].pid
    return thread_times(pid)[str(pid)][0]


def parsing_s(count):
    """What rclpy takes of a processor for so many points, s."""
    data = serialize_message(
        JointTrajectory(joint_names=JOINTS, points=[point([0.0] * 6)] * (count // 10))
    )
    from rclpy.serialization import deserialize_message

    begun_s = time.thread_time()
    deserialize_message(data, JointTrajectory)
    return 10 * (time.thread_time() - begun_s)


def test_every_type_that_can_be_long_is_limited():
    assert {kind.__name__ for kind in LIMITS} >= {
        "JointTrajectory",
        "JointState",
        "Joy",
        "String",
        "Float64MultiArray",
        "DiagnosticArray",
    }
