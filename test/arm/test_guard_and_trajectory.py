"""What a command passes on its way to the wire."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from armlet.arm import CommandRefused, Guard, Trajectory

S = 1_000_000_000


def guard() -> Guard:
    return Guard(("a", "b"), np.array([-1.0, -2.0]), np.array([1.0, 2.0]), np.array([1.0, 1.0]))


def test_order_by_name_with_gaps():
    np.testing.assert_equal(guard().order(["b"], [0.5]), [np.nan, 0.5])
    np.testing.assert_equal(guard().order(["b", "a"], [0.5, 0.1]), [0.1, 0.5])


@pytest.mark.parametrize(
    ("names", "positions"),
    [
        (["c"], [0.0]),
        (["a", "a"], [0.0, 0.0]),
        ([], []),
        (["a", "b"], [0.0]),
        (["a"], [float("nan")]),
        (["a"], [float("inf")]),
    ],
)
def test_refused_and_counted(names, positions):
    protection = guard()
    with pytest.raises(CommandRefused):
        protection.order(names, positions)
    assert protection.counts.refused == 1


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2),
    st.lists(st.floats(-1, 1), min_size=2, max_size=2),
    st.floats(0, 0.02),
    st.floats(0, 1),
)
def test_no_step_leaves_limits_or_exceeds_velocity(target, goal, dt, share):
    protection = guard()
    before = np.array(goal)
    after = protection.step(np.array(target), before, dt, share)
    assert (after >= protection.lower - 1e-12).all()
    assert (after <= protection.upper + 1e-12).all()
    assert (np.abs(after - before) <= protection.velocity * share * dt + 1e-12).all()


def test_step_refuses_what_is_not_a_number():
    with pytest.raises(CommandRefused):
        guard().step(np.array([np.nan, 0.0]), np.zeros(2), 0.01)


def test_step_counts_what_it_did():
    protection = guard()
    protection.step(np.array([5.0, 0.0]), np.array([0.999, 0.0]), 0.01)
    protection.step(np.array([0.5, 0.0]), np.zeros(2), 0.01)
    assert (protection.counts.clamped, protection.counts.slowed) == (1, 1)


def test_trajectory_is_sampled_by_time():
    motion = Trajectory(5 * S, np.array([0.0, 1.0, 3.0]), np.array([[0.0], [1.0], [5.0]]))
    assert [motion.sample(round(t * S))[0] for t in (4, 5, 5.25, 6, 7, 8, 99)] == pytest.approx(
        [0, 0, 0.25, 1, 3, 5, 5]
    )
    assert motion.end_ns == 8 * S


def test_a_single_point_is_a_trajectory():
    assert Trajectory(0, np.array([0.5]), np.array([[2.0]])).sample(0)[0] == 2.0


@pytest.mark.parametrize(
    ("times", "positions", "message"),
    [
        ([], np.empty((0, 1)), "at least one"),
        ([0.0, 0.0], [[1.0], [1.0]], "ascend"),
        ([0.0, 1.0], [[1.0]], "2 times"),
        ([0.0], [[np.nan]], "finite"),
    ],
)
def test_what_is_no_trajectory(times, positions, message):
    with pytest.raises(ValueError, match=message):
        Trajectory(0, np.array(times), np.array(positions))
