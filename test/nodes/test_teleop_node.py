"""teleop by itself: what it says of a leader that does not come, in simulated time."""

import pytest
from node_processes import CALIBRATION
from sensor_msgs.msg import JointState
from simulated_bench import SimulatedBench

from armlet.bringup import NodeSpec
from armlet.client.graph import GraphError
from armlet.nodes.node import COMMAND_QOS, SENSOR_QOS
from armlet.nodes.stamps import to_time
from armlet.robots import SO101_JOINTS

LEADER = "teleop: leader"


@pytest.fixture(params=[True])
def teleop(tmp_path, request):
    files = {
        f"{arm}_calibration_file": str(CALIBRATION / f"emulated_{arm}.json")
        for arm in ("leader", "follower")
    }
    with (
        SimulatedBench(tmp_path) as bench,
        bench.graph([NodeSpec("teleop", "teleop", {**files, "engaged": request.param})]) as it,
    ):
        yield it


def test_a_leader_that_has_yet_to_start_is_no_warning_and_one_that_never_comes_is(teleop):
    """Every start of a graph began with it."""
    teleop.wait_for_status(LEADER, "waits for the leader")
    teleop.let_pass(3.0)
    assert "waits for the leader" in teleop.seen.messages()[LEADER]
    teleop.wait_for_status(LEADER, "the leader has not been heard yet: the follower holds")


@pytest.mark.thorough
@pytest.mark.parametrize("teleop", [False], indirect=True)
def test_a_leader_that_cannot_command_is_not_engaged(teleop):
    """The policy went on, though a person was told otherwise, until the leader was back."""
    director, commands = teleop.director, []
    director._node.create_subscription(JointState, "joint_commands", commands.append, COMMAND_QOS)
    leader = director._node.create_publisher(JointState, "leader/joint_states", SENSOR_QOS)

    def refused(why):
        with pytest.raises(GraphError, match=f"not engaged: {why}"):
            director.set("teleop/set_engaged", True)
        commands.clear()
        say(0.0)
        teleop.let_pass(0.1)
        assert not commands

    def say(ahead_s):
        stamp = to_time(director.now_ns + round(ahead_s * 1e9))
        message = JointState(name=list(SO101_JOINTS), position=[0.0] * 6)
        message.header.stamp = stamp
        leader.publish(message)
        teleop.let_pass(0.05)

    refused("the leader has not been heard yet")
    teleop.let_pass(2.0)
    teleop.wait_for_status(LEADER, "the leader is silent for")
    assert "the follower holds" not in teleop.seen.messages()[LEADER]
    refused("the leader is silent for")
    say(30.0)
    teleop.wait_for_status(LEADER, "the leader has stamps")
    refused("the leader has stamps .* ahead of this clock")
    director.change_state("teleop", "deactivate")
    refused("teleop is not active")
    director.change_state("teleop", "activate")
    say(0.0)
    director.set("teleop/set_engaged", True)
    say(0.0)
    teleop.wait("a command", lambda: commands)
    # A state of no time is none of now.
    count = len(commands)
    message = JointState(name=list(SO101_JOINTS), position=[0.0] * 6)
    leader.publish(message)
    teleop.let_pass(0.2)
    assert len(commands) == count
