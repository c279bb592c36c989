"""Jogging: straight lines within limits, a stop at every edge, nothing that jumps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armlet.control.jog import LEAD_RAD, RAMP_S, Jog, Speeds, Wish
from armlet.robots import SO101_JOINTS
from armlet.robots.kinematics import HOME, forward, tip_jacobian
from armlet.robots.units import limits_radians
from armlet.sim.calibrations import FOLLOWER

LOWER, UPPER = limits_radians(FOLLOWER)
SPEEDS = Speeds(linear=0.1, angular=0.8, joint=1.0, gripper=1.5)
STEP_S = 0.02
START = np.array([0.0, -0.4, 0.6, 0.6, 0.0, 0.0])
shares = st.floats(-1.0, 1.0)


def jog():
    return Jog(SO101_JOINTS, LOWER, UPPER, SPEEDS)


def wish(joints=(0.0,) * 6, **tip):
    names = ("x", "y", "z", "pitch", "roll")
    return Wish(np.array([tip.get(name, 0.0) for name in names]), np.array(joints, float))


def run(jogging, asked, seconds, begin=START, now_s=0.0, follows=True):
    """Goals (k, 6) of so many seconds, the arm standing where it is sent."""
    read, goals = begin, [begin]
    for number in range(round(seconds / STEP_S)):
        goal = jogging.step(asked, begin, read, now_s + number * STEP_S)
        goals.append(goals[-1] if goal is None else goal)
        read = goals[-1] if follows else begin
    return np.array(goals)


def tips(goals):
    return np.array([forward(goal).tip for goal in goals])


def pitch(goals):
    return goals[..., 1] + goals[..., 2] + goals[..., 3]


@settings(max_examples=20)
@given(st.tuples(*[st.floats(-1.2, 1.2)] * 6).map(np.array))
def test_the_jacobian_is_what_the_tip_does(joints):
    step = 1e-6
    for column in range(4):
        moved = np.eye(6)[column] * step
        ahead, behind = forward(joints + moved), forward(joints - moved)
        rates = tip_jacobian(joints)[:, column]
        assert rates[:3] == pytest.approx((ahead.tip - behind.tip) / (2 * step), abs=1e-6)
        assert rates[3] == (column > 0)


@pytest.mark.parametrize(("direction", "axis"), [("x", 0), ("y", 1), ("z", 2)])
@pytest.mark.parametrize("way", [1.0, -1.0])
def test_the_tip_goes_straight_at_the_speed_asked_and_keeps_its_pitch(direction, axis, way):
    goals = run(jog(), wish(**{direction: way}), 0.4)
    moved = tips(goals) - tips(goals)[0]
    aside = np.delete(moved, axis, axis=1)
    assert np.abs(aside).max() < 2e-4
    assert np.abs(pitch(goals) - pitch(START)).max() < 2e-3
    speed = np.diff(moved[:, axis])[-5:] / STEP_S
    assert speed == pytest.approx(way * SPEEDS.linear, rel=0.01)
    assert (goals[:, 4:] == START[4:]).all()


def test_pitch_and_roll_turn_the_gripper_about_its_tip():
    goals = run(jog(), wish(pitch=-0.5), 0.5)
    assert np.abs(tips(goals) - tips(goals)[0]).max() < 1e-3
    assert pitch(goals)[-1] < pitch(START) - 0.1
    goals = run(jog(), wish(roll=1.0), 0.5)
    assert np.abs(tips(goals) - tips(goals)[0]).max() < 1e-12
    assert goals[-1, 4] > START[4] + 0.2
    assert (np.delete(goals, 4, axis=1) == np.delete(START, 4)).all()


def test_joints_move_one_by_one():
    goals = run(jog(), wish(joints=[0, 0, 0.5, 0, 0, -1.0]), 0.5)
    rates = np.diff(goals, axis=0)[-1] / STEP_S
    assert rates == pytest.approx([0, 0, 0.5 * SPEEDS.joint, 0, 0, -SPEEDS.gripper])


@settings(max_examples=20)
@given(
    st.lists(st.tuples(shares, shares, shares, shares, shares), min_size=1, max_size=4),
    st.sampled_from(["home", "start", "stretched", "folded"]),
)
def test_nothing_jumps_and_nothing_leaves_its_limits_wherever_the_sticks_point(wishes, pose):
    begin = {
        "home": HOME,
        "start": START,
        "stretched": np.array([0.0, 0.3, -1.29, 0.5, 0.0, 0.0]),
        "folded": np.array([0.0, -1.6, 1.4, 1.0, 0.0, 0.0]),
    }[pose]
    begin = np.clip(begin, LOWER, UPPER)
    jogging, read, before = jog(), begin, begin
    for number in range(100):
        asked = wishes[number // 20 % len(wishes)]
        asked = Wish(np.array(asked), np.zeros(6))
        goal = jogging.step(asked, begin, read, number * STEP_S)
        assert (np.abs(goal - before) <= SPEEDS.joint * STEP_S + 1e-9).all()
        assert (goal >= LOWER).all()
        assert (goal <= UPPER).all()
        read = before = goal


@pytest.mark.parametrize("direction", ["x", "z"])
def test_at_the_edge_of_the_workspace_it_stops_and_the_way_back_is_open(direction):
    jogging = jog()
    goals = run(jogging, wish(**{direction: 1.0}), 8.0)
    stopped = goals[-1]
    assert jogging.held_back
    assert np.abs(stopped - goals[-50]).max() < 0.01
    # As a whole: it has not turned aside to get further.
    assert np.abs(pitch(goals) - pitch(START)).max() < 0.05
    back = run(jogging, wish(**{direction: -1.0}), 2.0, begin=stopped, now_s=8.0)
    axis = "xyz".index(direction)
    assert tips(back)[-1, axis] < tips(back)[0, axis] - 0.05


def test_the_limit_of_one_joint_stops_the_tip_and_not_the_roll():
    jogging = jog()
    goals = run(jogging, wish(pitch=1.0, roll=0.2), 4.0)
    assert jogging.held_back == "the limit of wrist_flex"
    assert goals[-1, 3] == pytest.approx(UPPER[3])
    assert np.abs(goals[-1, :4] - goals[-20, :4]).max() < 1e-9
    assert goals[-1, 4] > goals[-20, 4]


def test_it_is_reached_and_left_within_the_ramp():
    jogging = jog()
    run(jogging, wish(x=1.0), 0.5)
    now_s = 0.5
    goals = [jogging.step(None, START, START, now_s + n * STEP_S) for n in range(40)]
    stopped = [number for number, goal in enumerate(goals) if goal is None]
    assert stopped
    assert stopped[0] * STEP_S <= RAMP_S + 2 * STEP_S


def test_it_begins_again_from_where_the_driver_holds():
    jogging = jog()
    run(jogging, wish(x=1.0), 0.3)
    run(jogging, None, 0.5, now_s=0.3)
    goal = jogging.step(wish(x=1.0), HOME, HOME, 10.0)
    assert np.abs(goal - HOME).max() < 1e-9


def test_what_does_not_follow_is_not_pushed_on_and_what_does_is():
    jogging = jog()
    goals = run(jogging, wish(joints=[0.5, 0, 0, 0, 0, 1.0]), 2.0, follows=False)
    ahead = goals[-1] - START
    assert LEAD_RAD < ahead[0] < LEAD_RAD + SPEEDS.joint * STEP_S * 2
    assert "does not follow" in jogging.held_back
    back = run(jogging, wish(joints=[-0.5, 0, 0, 0, 0, 0]), 0.6, now_s=2.0, follows=False)
    assert back[-1, 0] < goals[-1, 0] - 0.05


def test_a_program_that_was_not_run_for_a_while_makes_no_leap():
    jogging = jog()
    before = run(jogging, wish(joints=[1.0, 0, 0, 0, 0, 0]), 0.5)[-1]
    goal = jogging.step(wish(joints=[1.0, 0, 0, 0, 0, 0]), START, before, 5.0)
    assert goal[0] - before[0] <= 0.1 * SPEEDS.joint + 1e-9
    again = jogging.step(wish(joints=[1.0, 0, 0, 0, 0, 0]), START, goal, 4.0)
    assert (again == goal).all()
