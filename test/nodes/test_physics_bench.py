"""The whole graph on a bench with physics: registers, driver and topics of an arm that pushes."""

import numpy as np
import pytest
from physics_graph import START_S, physics_graph
from sensor_msgs.msg import JointState

pytest.importorskip("mujoco", reason="the sim extra is not installed")

from armlet.nodes.messages import to_ns
from armlet.robots import SO101_JOINTS
from armlet.robots.kinematics import HOME, solve_reach
from armlet.sim.task import find

TASK = find("push")
SEED = 11


def pushed():
    """The block's places and the arm's states by stamp, ns, while the arm pushes the block."""
    states = {}

    def on_states(message):
        states[to_ns(message.header.stamp)] = tuple(message.position), tuple(message.velocity)

    with physics_graph("follower", "push", seed="3") as (graph, places):
        director = graph.director
        director.listen(JointState, "joint_states", on_states)
        director.set_parameters("sim_bench", reset_seed=SEED)
        director.trigger("sim_bench/reset")
        graph.let_pass(0.5)
        director.set("servo_bus/set_torque", True)
        x, y, _ = TASK.initial(SEED)["block"].position
        before, behind = (solve_reach(np.array([x + way, y, 0.02])) for way in (-0.07, 0.04))
        director.follow(SO101_JOINTS, 3.0, [HOME, before, before, behind])
        graph.let_pass(4.0)
    return {stamp: tuple(at[0]) for stamp, at in places.items()}, states


@pytest.mark.thorough
def test_the_arm_pushes_the_block_through_the_graph():
    places, _ = pushed()
    first = TASK.initial(SEED)["block"].position
    begun = next(at for stamp, at in sorted(places.items()) if stamp > START_S * 10**9 + 4 * 10**8)
    np.testing.assert_allclose(begun, first, atol=2e-3)
    last = places[max(places)]
    assert 0.02 < last[0] - first[0] < 0.08, "the block has been pushed forward"
    assert last[2] == pytest.approx(first[2], abs=1e-3), "and lies flat"


@pytest.mark.thorough
def test_the_same_seed_twice_is_the_same_push_bit_for_bit():
    one, other = pushed(), pushed()
    for kind in (0, 1):
        both = sorted(one[kind].keys() & other[kind].keys())
        assert len(both) > 100
        assert [one[kind][stamp] for stamp in both] == [other[kind][stamp] for stamp in both]
