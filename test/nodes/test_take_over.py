"""A policy graph with a leader and without a dataset: who moves the arm changes.

Also when the policy is gone just then: the arm holds, never jumps, and stops.
"""

import signal

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from node_processes import SLOW_HZ, running_graph

pytest.importorskip("torch", reason="the policy extra is not installed")

from bench_policies import CONTRACT, HEIGHT, WIDTH, chunks, drives, save_random

from armlet.control.guard import MAX_VELOCITY
from armlet.nodes.messages import diagnostic
from armlet.nodes.node import LATCHED_QOS
from armlet.robots.units import RADIANS_PER_TICK

BUS = "servo_bus: bus"


@pytest.fixture(scope="module")
def graph(tmp_path_factory, private_domain):
    checkpoint = save_random(tmp_path_factory.mktemp("policy") / "checkpoint", CONTRACT)
    given = {"checkpoint": str(checkpoint), "width": str(WIDTH), "height": str(HEIGHT)}
    with running_graph("policy", emulated="true", teleop="true", rate_hz=SLOW_HZ, **given) as graph:
        yield graph


def preempted(graph):
    return int(graph.seen.status()[BUS]["preempted"])


@pytest.mark.thorough
def test_without_a_dataset_nobody_is_waited_for(graph):
    drives(graph)


def test_a_person_takes_over_with_the_leader_and_hands_back(graph):
    drives(graph)
    graph.director.set("teleop/set_engaged", True)
    graph.wait_for_status(BUS, "took over from joint_trajectory")
    before = preempted(graph)
    leads = graph.director.trigger("sim_bench/demonstrate")
    graph.wait("the policy's chunks being refused", lambda: preempted(graph) > before)
    assert leads
    graph.director.set("teleop/set_engaged", False)
    drives(graph)


def test_commands_that_fall_silent_leave_an_arm_that_waits_for_being_handed_back(graph):
    """A person, whose hands are near the arm, corrects the policy, and teleop is gone."""
    drives(graph)
    graph.director.set("teleop/set_engaged", True)
    graph.wait_for_status(BUS, "following joint_commands (took over")
    graph.director.change_state("teleop", "deactivate")
    graph.wait_for_status(BUS, "and the arm was not handed back")
    before = preempted(graph)
    graph.wait("chunks being refused", lambda: preempted(graph) > before + 3)
    assert "and the arm was not handed back" in graph.seen.messages()[BUS]
    graph.director.change_state("teleop", "activate")
    graph.wait_for_status(BUS, "following joint_commands")
    graph.director.set("teleop/set_engaged", False)
    drives(graph)


@pytest.mark.thorough
def test_the_policy_begins_again_where_it_gets_the_arm_back(graph):
    """It plays a whole chunk before it plans again; what it had planned led from elsewhere."""
    graph.director.set_parameters("policy", strategy="n_action_steps")
    drives(graph)
    graph.director.set("teleop/set_engaged", True)
    graph.wait_for_status(BUS, "following joint_commands (took over")
    begun = len(chunks(graph))
    graph.wait("a whole plan", lambda: len(chunks(graph)) > begun + 2)
    graph.let_pass(0.1)
    graph.director.set("teleop/set_engaged", False)
    count = len(chunks(graph))
    drives(graph)
    stamps_s = [chunk.times_s[0] for chunk in chunks(graph)]
    plan_s = stamps_s[begun + 1] - stamps_s[begun]
    assert stamps_s[count] - stamps_s[count - 1] < plan_s / 2
    graph.director.set_parameters("policy", strategy="auto")


@pytest.mark.thorough
def test_it_begins_again_though_teleop_that_hands_back_was_started_meanwhile(graph):
    """The policy was not told by that one that a person had the arm."""
    graph.director.set_parameters("policy", strategy="n_action_steps")
    drives(graph)
    hands_back = engagement(engaged=False, handed_back_ns=graph.director.now_ns)
    begun = len(chunks(graph))
    graph.wait("a whole plan", lambda: len(chunks(graph)) > begun + 2)
    graph.let_pass(0.1)
    announce(graph, hands_back)
    count = len(chunks(graph))
    graph.wait("a chunk", lambda: len(chunks(graph)) > count)
    stamps_s = [chunk.times_s[0] for chunk in chunks(graph)]
    assert stamps_s[count] - stamps_s[count - 1] < (stamps_s[begun + 1] - stamps_s[begun]) / 2
    graph.director.set_parameters("policy", strategy="auto")


def engagement(**values):
    message = DiagnosticArray()
    message.status = [diagnostic("teleop: leader", DiagnosticStatus.OK, "", values)]
    return message


def announce(graph, message):
    node = graph.director._node
    publisher = node.create_publisher(DiagnosticArray, "teleop/engagement", LATCHED_QOS)
    publisher.publish(message)


def excess(times_s, goals):
    """By how much each step of goals (k, n) exceeds the limit of velocity, radians."""
    return np.abs(np.diff(goals, axis=0)).max(axis=1) - MAX_VELOCITY * np.diff(times_s)


@pytest.mark.thorough
def test_a_policy_killed_while_it_gets_the_arm_back_leaves_an_arm_that_holds_and_stops(graph):
    graph.wait_for_status(BUS, "following joint_trajectory")
    graph.director.set("teleop/set_engaged", True)
    graph.wait_for_status(BUS, "following joint_commands (took over")
    graph.director.set("teleop/set_engaged", False)
    graph.wait_for_status(BUS, "following joint_trajectory")
    policy = graph.processes["policy"]
    policy.send_signal(signal.SIGKILL)
    policy.wait()
    graph.wait_for_status(BUS, "holding")
    count = graph.seen.count("applied_joint_commands")
    graph.wait("goals", lambda: graph.seen.count("applied_joint_commands") > count + 100)
    times_s, goals = graph.seen.joint_rows("applied_joint_commands", 0, 2**62)
    assert excess(times_s, goals).max() <= RADIANS_PER_TICK
    assert (goals[-50:] == goals[-1]).all()
    # A person still has it.
    graph.director.set("teleop/set_engaged", True)
    graph.wait_for_status(BUS, "following joint_commands")
    graph.director.stop()
    graph.wait_for_status(BUS, "not armed")
