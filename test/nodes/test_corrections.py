"""A policy drives, the scripted expert takes over through the leader, and hands back.

In simulated time, with things that have weight. Twice in one episode, whose column `intervention`
has the spans that the driver said.
"""

from itertools import groupby

import numpy as np
import pytest
from physics_graph import physics_graph
from sensor_msgs.msg import JointState

pytest.importorskip("torch", reason="the policy extra is not installed")
pytest.importorskip("mujoco", reason="the sim extra is not installed")

from bench_policies import CONTRACT, HEIGHT, WIDTH, drives, save_random

from armlet.client.trials import Measures
from armlet.control.guard import MAX_VELOCITY
from armlet.datasets import Dataset
from armlet.datasets.format.layout import INTERVENTION
from armlet.nodes.node import RECORDING_QOS
from armlet.nodes.stamps import to_ns
from armlet.robots.units import RADIANS_PER_TICK
from armlet.training.interventions import of_episodes, turns

pytestmark = pytest.mark.thorough

BUS = "servo_bus: bus"
RAMP_RAD_S, CAUGHT_UP_RAD = 1.0, 0.05


def test_an_expert_corrects_a_policy_twice_and_the_rows_say_so(tmp_path):
    checkpoint, root = save_random(tmp_path / "checkpoint", CONTRACT), tmp_path / "dataset"
    given = {"checkpoint": str(checkpoint), "width": str(WIDTH), "height": str(HEIGHT)}
    given |= {"root": str(root), "task": "put the cube into the bin", "teleop": "true"}
    with physics_graph("policy", "pick_place", **given) as (graph, _):
        sent, measures = goals_of(graph), Measures()
        measures.listen(graph.director)
        drives(graph)
        graph.director.trigger("recorder/start_recording")
        graph.let_pass(0.5)
        correct(graph, lambda: graph.let_pass(1.0))
        drives(graph)
        correct(graph, lambda: show(graph, measures))
        drives(graph)
        graph.let_pass(0.5)
        graph.director.trigger("recorder/stop_recording")
        graph.director.stop()
        graph.wait_for_status(BUS, "not armed")
    assert measures.latest("success"), "what the policy had done is no obstacle"
    check_motion(sent)
    check_rows(root, sent)


def correct(graph, act):
    """A person takes over, does something, and hands back."""
    graph.director.set("teleop/set_engaged", True)
    graph.wait_for_status(BUS, "following joint_commands (took over from joint_trajectory)")
    act()
    graph.director.set("teleop/set_engaged", False)


def show(graph, measures):
    """The expert does the task with the leader."""
    limit_s = float(graph.director.trigger("sim_bench/demonstrate"))
    graph.wait("the expert at work", lambda: measures.latest("demonstrates"), 1.0)
    graph.wait("the expert's end", lambda: not measures.latest("demonstrates"), limit_s + 1.0)


def goals_of(graph):
    """(stamp, ns; who commanded; goals, radians) of what is sent to the servos from now on."""
    sent = []

    def note(message):
        stamp_ns, who = to_ns(message.header.stamp), message.header.frame_id
        sent.append((stamp_ns, who.partition("/")[0], np.array(message.position)))

    graph.director._node.create_subscription(
        JointState, "applied_joint_commands", note, RECORDING_QOS
    )
    return sent


def check_motion(sent):
    """No goal jumps; a person who takes over is approached at the ramp's speed."""
    stamps_s = np.array([stamp_ns for stamp_ns, _, _ in sent]) * 1e-9
    goals = np.array([goal for _, _, goal in sent])
    steps = np.abs(np.diff(goals, axis=0)).max(axis=1)
    elapsed_s = np.diff(stamps_s)
    assert (steps <= MAX_VELOCITY * elapsed_s + 2 * RADIANS_PER_TICK).all()
    taken = [k for k in range(1, len(sent)) if (sent[k - 1][1], sent[k][1]) == TAKES_OVER]
    assert len(taken) == 2
    for k in taken:
        # The leader stands at home or where it was left, the follower where the policy has it.
        first = slice(k, k + 10)
        assert (steps[first] <= RAMP_RAD_S * elapsed_s[first] + 2 * RADIANS_PER_TICK).all()
        apart = np.abs(goals[k + 90] - goals[k - 1]).max()
        assert apart > 2 * CAUGHT_UP_RAD, "there was something to approach"


TAKES_OVER = ("joint_trajectory", "joint_commands")


def check_rows(root, sent):
    dataset = Dataset(root)
    (episode,) = dataset.episodes
    stamps = np.array([stamp_ns for stamp_ns, _, _ in sent])
    rows = dataset.episode(0)
    whose = [sent[np.abs(stamps - stamp_ns).argmin()][1] for stamp_ns in rows.stamp_ns]
    by_person = np.array([who == "joint_commands" for who in whose])
    np.testing.assert_array_equal(rows.columns[INTERVENTION], by_person)
    after_each_other = [who for who, _ in groupby(whose) if who != "hold"]
    assert after_each_other == ["joint_trajectory", "joint_commands"] * 2 + ["joint_trajectory"]
    assert of_episodes(dataset, [0]).tolist() == by_person.tolist()
    begins, ends = turns(by_person, np.full(episode.length, episode.length))
    assert 30 < by_person.sum() < episode.length - 30
    assert all(by_person[row : ends[row]].all() for row in begins)
