"""Who moves the arm changes, and just then somebody is gone: it holds, never jumps, and stops."""

import signal
from itertools import pairwise

import numpy as np
import pytest
from node_processes import running, running_graph

from armlet.bringup import graph
from armlet.control.guard import MAX_VELOCITY
from armlet.motors.feetech import REGISTERS
from armlet.robots import SO101_JOINTS
from armlet.robots.units import RADIANS_PER_TICK
from armlet.sim import FOLLOWER, EmulatedArms

GOAL = REGISTERS["Goal_Position"]
PERIOD_S = 0.01
BUS = "servo_bus: bus"


def says(nodes, *texts):
    """Whether the follower's bus says one of these."""
    said = nodes.seen.messages().get(BUS, "")
    return any(text in said for text in texts)


def excess(times_s, goals):
    """By how much each step of goals (k, n) exceeds the limit of velocity, radians."""
    return np.abs(np.diff(goals, axis=0)).max(axis=1) - MAX_VELOCITY * np.diff(times_s)


# --- the leader is unplugged, by the wall clock --------------------------------------------------


@pytest.fixture
def pair(tmp_path):
    """A follower and a leader whose teleoperation is disengaged: (nodes, arms)."""
    given = {"emulated": "true", "use_sim_time": "false", "bench_directory": str(tmp_path)}
    specs = [spec for spec in graph("teleop").nodes(given) if spec.executable != "sim_bench"]
    with EmulatedArms(tmp_path) as arms, running(specs) as nodes:
        nodes.wait("motion", lambda: says(nodes, "following joint_commands"), 240.0)
        nodes.director.set("teleop/set_engaged", False)
        nodes.wait("a hold", lambda: says(nodes, "holding"))
        yield nodes, arms


def chunk(nodes, place):
    """A policy's chunk: from here to a place of the first joint, in four seconds."""
    here = nodes.seen.latest("joint_states")
    there = here.copy()
    there[0] = place
    nodes.director.follow(SO101_JOINTS, 4.0, [here, there])


@pytest.mark.wall_clock
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
    # The policy is heard again; the leader that comes back takes over from it.
    chunk(nodes, -0.4)
    nodes.wait("a chunk", lambda: says(nodes, "following joint_trajectory"))
    arms.leader.plug()
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


# --- the policy is killed, in simulated time ------------------------------------------------------


def test_a_policy_killed_while_it_gets_the_arm_back_leaves_an_arm_that_holds_and_stops(
    private_domain,
):
    pytest.importorskip("torch", reason="the policy extra is not installed")
    with running_graph("sim", task="reach", teleop="true") as sim:
        sim.wait("the policy", lambda: says(sim, "following joint_trajectory"))
        sim.director.set("teleop/set_engaged", True)
        sim.wait("a person", lambda: says(sim, "following joint_commands (took over"))
        sim.director.set("teleop/set_engaged", False)
        sim.wait("the policy", lambda: says(sim, "following joint_trajectory"))
        policy = sim.processes["policy"]
        policy.send_signal(signal.SIGKILL)
        policy.wait()
        sim.wait("a hold", lambda: says(sim, "holding"))
        count = sim.seen.count("applied_joint_commands")
        sim.wait("goals", lambda: sim.seen.count("applied_joint_commands") > count + 100)
        times_s, goals = sim.seen.joint_rows("applied_joint_commands", 0, 2**62)
        assert excess(times_s, goals).max() <= RADIANS_PER_TICK
        assert (goals[-50:] == goals[-1]).all()
        # A person still has it.
        sim.director.set("teleop/set_engaged", True)
        sim.wait("a person", lambda: says(sim, "following joint_commands"))
        sim.director.stop()
        sim.wait("torque off", lambda: says(sim, "not armed"))
