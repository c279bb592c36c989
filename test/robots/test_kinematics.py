import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from armlet.robots.kinematics import (
    GRIPPER_CLOSED,
    GRIPPER_OPEN,
    HOME,
    REACH_LIMITS,
    UnreachableError,
    forward,
    solve_reach,
    tip_position,
)
from armlet.robots.units import limits_radians
from armlet.sim.calibrations import FOLLOWER, LEADER
from armlet.sim.demonstrator import WORKSPACE_X, WORKSPACE_Y

angles = st.floats(-1.5, 1.5)
poses = st.tuples(*[angles] * 6).map(np.array)
heights = st.floats(0.0, 0.08)
points = st.tuples(st.floats(*WORKSPACE_X), st.floats(*WORKSPACE_Y), heights).map(np.array)


@given(points)
def test_reach_puts_the_tip_on_the_point_within_limits_and_pointing_down(point):
    joints = solve_reach(point)
    assert np.linalg.norm(tip_position(joints) - point) < 1e-9
    assert np.all(np.abs(joints) <= REACH_LIMITS)
    assert forward(joints).rotations[5][2, 0] < -np.sin(np.radians(45))


@given(points)
def test_reach_is_continuous_where_the_arm_is_not_stretched(point):
    """There it changes its pitch in steps, which the elbow feels tenfold."""
    here, near = solve_reach(point), solve_reach(point + np.array([0.0, 0.0, 1e-4]))
    assume(here[1:4].sum() == pytest.approx(near[1:4].sum(), abs=1e-9))
    assert np.abs(near - here).max() < 0.05


@given(points)
def test_jaws_keep_their_direction_on_the_table(point):
    opening = forward(solve_reach(point)).rotations[5][:, 1]
    assert opening[1] > np.cos(np.radians(25))


@given(poses)
def test_link_lengths_do_not_depend_on_the_pose(joints):
    pose = forward(joints)
    lengths = np.linalg.norm(np.diff(pose.origins[2:6], axis=0), axis=1)
    assert lengths == pytest.approx([0.1160, 0.1350, 0.0611], abs=1e-4)
    assert np.linalg.norm(pose.tip - pose.origins[5]) == pytest.approx(0.0981)
    unit = pose.rotations @ pose.rotations.transpose(0, 2, 1)
    assert unit == pytest.approx(np.broadcast_to(np.eye(3), (7, 3, 3)))


def test_zero_pose_is_the_urdfs():
    # so101_new_calib.urdf at zero: tip 353 mm in front of the pan axis, 226 mm above the table,
    # level; our chain leaves out an 8 mm offset at the tip.
    assert tip_position(np.zeros(6)) == pytest.approx([0.353, 0.0, 0.230], abs=0.006)


@pytest.mark.parametrize(
    ("joint", "axis", "sign"),
    [(0, 1, -1), (1, 2, -1), (2, 2, -1), (3, 2, -1)],
    ids=["pan turns right", "lift lowers", "elbow lowers", "flex lowers"],
)
def test_signs_are_the_real_arms(joint, axis, sign):
    moved = np.zeros(6)
    moved[joint] = 0.2
    change = tip_position(moved) - tip_position(np.zeros(6))
    assert np.sign(change[axis]) == sign


def test_jaw_opens_away_from_the_finger():
    shut, wide = HOME.copy(), HOME.copy()
    shut[5], wide[5] = GRIPPER_CLOSED, GRIPPER_OPEN
    tip_shut = forward(shut).rotations[6][:, 0]
    tip_wide = forward(wide).rotations[6][:, 0]
    towards_finger = forward(shut).rotations[5][:, 1]
    assert (tip_wide - tip_shut) @ towards_finger < -0.9


def test_home_and_limits_lie_inside_both_calibrations():
    for calibration in (LEADER, FOLLOWER):
        low, high = limits_radians(calibration)
        body = slice(0, 5)
        assert np.all(-REACH_LIMITS[body] > low[body])
        assert np.all(REACH_LIMITS[body] < high[body])
    assert np.all(np.abs(HOME) <= REACH_LIMITS)
    assert tip_position(HOME)[2] > 0.05


def test_follower_gripper_range_is_the_models():
    low, high = limits_radians(FOLLOWER)
    assert (low[5], high[5]) == pytest.approx((GRIPPER_CLOSED, GRIPPER_OPEN), abs=0.002)
    low, high = limits_radians(LEADER)
    assert high[5] - low[5] < 0.75 * (GRIPPER_OPEN - GRIPPER_CLOSED)


@pytest.mark.parametrize("point", [(0.6, 0, 0), (0.02, 0, 0.01), (0.2, 0, 0.6), (np.nan, 0, 0)])
def test_unreachable_points_are_refused(point):
    with pytest.raises(UnreachableError):
        solve_reach(np.array(point))
