"""The leader is unplugged while a person takes over: the arm holds, never jumps, and stops.

The policy gets it only once the person hands it back.
"""

from itertools import pairwise

import pytest
from driver_timeouts import with_timeouts
from node_processes import running

from armlet.bringup import graph
from armlet.control.guard import MAX_VELOCITY
from armlet.motors.feetech import REGISTERS
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


def test_a_leader_unplugged_while_it_takes_over_leaves_an_arm_that_holds_and_stops(pair):
    nodes, arms = pair
    arms.follower.writes.clear()
    chunk(nodes, 0.8)
    nodes.wait("a chunk", lambda: says(nodes, "following joint_trajectory"))
    nodes.director.set("teleop/set_engaged", True)
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
    nodes.director.set("teleop/set_engaged", True)
    nodes.wait("a person", lambda: says(nodes, "following joint_commands"))
    nodes.director.stop()
    assert not any(servo.torque_on for servo in arms.follower.servos.values())
    for joint, calibration in FOLLOWER.items():
        check_goals(joint, [w for w in tuple(arms.follower.writes) if w.id == calibration.id])


def check_goals(joint, writes):
    goals = [(w.time, GOAL.decode(w.data)) for w in writes if w.address == GOAL.address]
    assert goals
    for (last_s, last), (now_s, now) in pairwise(goals):
        allowed = MAX_VELOCITY * (now_s - last_s + 2 * PERIOD_S) / RADIANS_PER_TICK + 1
        assert abs(now - last) <= allowed, (joint, last, now, now_s - last_s)
