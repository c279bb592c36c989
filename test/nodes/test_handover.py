"""The leader is unplugged while a person takes over: the arm holds, never jumps, and stops.

The policy gets it only once the person hands it back.
"""

from itertools import pairwise

import numpy as np
import pytest
from driver_timeouts import with_timeouts
from node_processes import running, until_taken
from sensor_msgs.msg import JointState

from armlet.align.command_source import UNTIL_HANDED_BACK
from armlet.bringup import graph
from armlet.client.graph import GraphError
from armlet.control.guard import MAX_VELOCITY
from armlet.motors.feetech import REGISTERS
from armlet.nodes.stamps import to_time
from armlet.robots import SO101_JOINTS
from armlet.robots.units import RADIANS_PER_TICK
from armlet.sim import FOLLOWER, EmulatedArms

GOAL = REGISTERS["Goal_Position"]
PERIOD_S = 0.01
BUS = "servo_bus: bus"

pytestmark = pytest.mark.wall_clock


def says(nodes, text):
    """Whether the follower's bus says this."""
    return text in nodes.seen.messages().get(BUS, "")


@pytest.fixture
def pair(tmp_path):
    """A follower and a leader whose teleoperation is disengaged: (nodes, arms)."""
    given = {"emulated": "true", "use_sim_time": "false", "bench_directory": str(tmp_path)}
    specs = [spec for spec in graph("teleop").nodes(given) if spec.executable != "sim_bench"]
    with EmulatedArms(tmp_path) as arms, running(specs, popen=with_timeouts()) as nodes:
        nodes.wait("motion", lambda: says(nodes, "following joint_commands"), 240.0)
        nodes.director.set("teleop/set_engaged", False)
        nodes.wait("a hold", lambda: says(nodes, "holding"))
        yield nodes, arms


def engage(nodes):
    """The person takes over; that is refused while the leader, on a busy computer, is silent."""
    until_taken(lambda: nodes.director.set("teleop/set_engaged", True))


def preempted(nodes):
    return int(nodes.seen.status()[BUS]["preempted"])


def chunk(nodes, place):
    """A policy's chunk: from here to a place of the first joint, in a minute.

    However late a busy test sees it, the arm follows it still.
    """
    here = nodes.seen.latest("joint_states")
    there = here.copy()
    there[0] = place
    nodes.director.follow(SO101_JOINTS, 60.0, [here, there])


@pytest.mark.thorough
def test_a_leader_unplugged_while_it_takes_over_leaves_an_arm_that_holds_and_stops(pair):
    nodes, arms = pair
    arms.follower.writes.clear()
    chunk(nodes, 0.8)
    nodes.wait("a chunk", lambda: says(nodes, "following joint_trajectory"))
    engage(nodes)
    nodes.wait("a person", lambda: says(nodes, "following joint_commands"))
    arms.leader.hang_up()
    nodes.wait("a hold", lambda: says(nodes, "holding"))
    assert all(servo.torque_on for servo in arms.follower.servos.values())
    assert says(nodes, "and the arm was not handed back")
    nodes.seen.forget_diagnostics()
    nodes.wait("the hold", lambda: says(nodes, "holding"))
    before = preempted(nodes)
    chunk(nodes, -0.4)
    nodes.wait("a chunk that is refused", lambda: preempted(nodes) > before)
    assert says(nodes, "holding")
    # The leader that comes back has it still; then the policy is heard again.
    arms.leader.plug()
    nodes.wait("a person", lambda: says(nodes, "following joint_commands"))
    nodes.director.set("teleop/set_engaged", False)
    nodes.wait("a hold", lambda: says(nodes, "holding"))
    chunk(nodes, -0.4)
    nodes.wait("a chunk", lambda: says(nodes, "following joint_trajectory"))
    engage(nodes)
    nodes.wait("a person", lambda: says(nodes, "following joint_commands"))
    nodes.director.stop()
    assert not any(servo.torque_on for servo in arms.follower.servos.values())
    for joint, calibration in FOLLOWER.items():
        check_goals(joint, [w for w in tuple(arms.follower.writes) if w.id == calibration.id])


@pytest.mark.thorough
def test_neither_anothers_command_nor_an_old_message_takes_the_arm_from_a_leader(pair):
    """A bag that is played, a second leader, a program that was left running."""
    nodes, arms = pair
    arms.follower.writes.clear()
    engage(nodes)
    nodes.wait("a person", lambda: says(nodes, "following joint_commands"))
    stands = nodes.seen.latest("joint_states").copy()
    far = stands + 0.5
    for sender in ("", UNTIL_HANDED_BACK, f"{UNTIL_HANDED_BACK}/another"):
        before = refused(nodes)

        def heard(sender=sender, before=before):
            publish(nodes, sender, far)
            publish(nodes, UNTIL_HANDED_BACK, None)
            assert says(nodes, "following joint_commands")
            return refused(nodes) > before + 3

        nodes.wait("refusals", heard)
    assert np.abs(nodes.seen.latest("joint_states") - stands).max() < 0.1
    arms.leader.hang_up()
    nodes.wait("a hold", lambda: says(nodes, "was not handed back"))
    with pytest.raises(GraphError, match="not engaged: the leader is silent"):
        nodes.director.set("teleop/set_engaged", False)
        nodes.director.set("teleop/set_engaged", True)
    nodes.wait("a hold", lambda: not says(nodes, "was not handed back"))
    nodes.director.stop()


def refused(nodes):
    return int(nodes.seen.status()[BUS]["refused"])


def publish(nodes, sender, place):
    """One of joint_commands; one without a place hands back, as ten minutes ago."""
    director = nodes.director
    message = JointState()
    message.header.frame_id = sender
    message.header.stamp = to_time(director.now_ns - (600 * 10**9 if place is None else 0))
    if place is not None:
        message.name, message.position = list(SO101_JOINTS), place.tolist()
    director._commands.publish(message)


def check_goals(joint, writes):
    goals = [(w.time, GOAL.decode(w.data)) for w in writes if w.address == GOAL.address]
    assert goals
    for (last_s, last), (now_s, now) in pairwise(goals):
        allowed = MAX_VELOCITY * (now_s - last_s + 2 * PERIOD_S) / RADIANS_PER_TICK + 1
        assert abs(now - last) <= allowed, (joint, last, now, now_s - last_s)
