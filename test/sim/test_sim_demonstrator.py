import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armlet.robots.kinematics import HOME, UnreachableError, tip_position
from armlet.sim.demonstrator import (
    WORKSPACE_X,
    WORKSPACE_Y,
    demonstrate_reach,
    move_home,
    random_target,
)
from armlet.sim.scene import target_point

STEP_S = 0.01


def sampled(motion):
    return np.array([motion.joints(t) for t in np.arange(0.0, motion.duration_s, STEP_S)])


@settings(max_examples=40)
@given(st.integers(0, 2**32))
def test_reach_is_smooth_and_ends_on_the_target(seed):
    rng = np.random.default_rng(seed)
    target = random_target(rng)
    reach = demonstrate_reach(HOME, target, rng)
    path = sampled(reach)
    speed = np.diff(path, axis=0) / STEP_S
    acceleration = np.diff(speed, axis=0) / STEP_S
    assert np.abs(path[0] - HOME).max() < 1e-9
    assert np.abs(speed).max() < 2.5
    assert np.abs(acceleration).max() < 15.0
    assert np.abs(np.diff(acceleration, axis=0)).max() < 2.5
    assert 2.3 < reach.duration_s < 3.2
    assert np.linalg.norm(tip_position(path[-1]) - target_point(target)) < 0.005
    assert min(tip_position(joints)[2] for joints in path[::5]) > 0.008


def test_demonstrations_of_one_target_differ():
    rng = np.random.default_rng(3)
    first, second = (demonstrate_reach(HOME, np.array([0.25, 0.0]), rng) for _ in range(2))
    assert first.duration_s != second.duration_s
    assert np.abs(first.joints(1.0) - second.joints(1.0)).max() > 0.005


def test_same_seed_same_demonstration():
    one, two = (
        demonstrate_reach(HOME, np.array([0.2, 0.1]), np.random.default_rng(5)) for _ in range(2)
    )
    assert np.array_equal(sampled(one), sampled(two))


def test_motion_holds_before_and_after():
    reach = demonstrate_reach(HOME, np.array([0.2, 0.1]), np.random.default_rng(5))
    assert np.array_equal(reach.joints(-1.0), reach.joints(0.0))
    assert np.array_equal(reach.joints(reach.duration_s), reach.joints(100.0))


def test_home_move_ends_at_home():
    start = np.array([0.5, 0.3, -0.4, 1.0, 0.5, 0.2])
    move = move_home(start)
    assert move.joints(0.0) == pytest.approx(start)
    assert move.joints(move.duration_s) == pytest.approx(HOME)


def test_random_targets_fill_the_workspace():
    rng = np.random.default_rng(0)
    targets = np.array([random_target(rng) for _ in range(400)])
    low, high = targets.min(axis=0), targets.max(axis=0)
    assert low == pytest.approx([WORKSPACE_X[0], WORKSPACE_Y[0]], abs=0.01)
    assert high == pytest.approx([WORKSPACE_X[1], WORKSPACE_Y[1]], abs=0.01)


def test_a_target_out_of_reach_is_refused():
    with pytest.raises(UnreachableError, match="reach"):
        demonstrate_reach(HOME, np.array([0.6, 0.0]), np.random.default_rng(0))
