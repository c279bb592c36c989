"""FollowJointTrajectory's results by the action's definition, and what a driver is given."""

import math
from dataclasses import replace

import numpy as np
import pytest

from armlet.control.gripper_goal import GripperSettings, Gripping, motion_to
from armlet.control.plans import Plans, led_up_to
from armlet.control.trajectory import Trajectory
from armlet.control.trajectory_goal import (
    FOLLOWED_S,
    Asked,
    Defaults,
    ErrorCode,
    Execution,
    GoalRefused,
    accept,
    smooth,
)

NOW = 1_000_000_000_000
LIMITS = {"pan": (-1.5, 1.5), "lift": (-1.0, 1.0), "gripper": (-0.9, 0.9)}
DEFAULTS = Defaults(path=0.4, goal=0.08, goal_time_s=2.0)
ASKED = Asked(["pan", "lift"], 0, [0.0, 1.0, 2.0], [[0, 0], [0.5, 0.2], [1.0, 0.4]])
END = np.array([1.0, 0.4])


def goal(**changes):
    return accept(replace(ASKED, **changes), LIMITS, DEFAULTS, NOW)


def at(seconds):
    return NOW + round(seconds * 1e9)


def run(execution, seconds, read=None, follows=True):
    """The result after so many seconds; read: of a time, the joints; else they are where wanted."""
    for number in range(round(seconds * 50) + 1):
        now_ns = at(number / 50)
        there = execution.desired(now_ns) if read is None else read(number / 50)
        result = execution.step(now_ns, there, follows, "a person commands it")
        if result is not None:
            return result, number / 50
    return None, seconds


@pytest.mark.parametrize(
    ("changes", "code", "why"),
    [
        ({"joints": []}, ErrorCode.INVALID_JOINTS, "expected joints of"),
        ({"joints": ["pan", "wheel"]}, ErrorCode.INVALID_JOINTS, "found .*wheel"),
        ({"joints": ["pan", "pan"]}, ErrorCode.INVALID_JOINTS, "each once"),
        ({"times_s": [], "positions": []}, ErrorCode.INVALID_GOAL, "no points"),
        ({"positions": [[0, 0]] * 5001}, ErrorCode.INVALID_GOAL, "at most 5000 points"),
        ({"positions": [[0, 0], [0.5], [1, 0]]}, ErrorCode.INVALID_GOAL, "needs 2 positions"),
        ({"positions": [[0, 0], [math.nan, 0], [1, 0]]}, ErrorCode.INVALID_GOAL, "finite"),
        ({"velocities": [[0, 0], [math.inf, 0], [0, 0]]}, ErrorCode.INVALID_GOAL, "finite"),
        (
            {"velocities": [[1e308, 0]] * 3, "times_s": [0.0, 4e4, 8e4]},
            ErrorCode.INVALID_GOAL,
            "finite",
        ),
        ({"stamp_ns": NOW + 3600 * 10**9}, ErrorCode.INVALID_GOAL, "within 3600 s from now"),
        ({"velocities": [[0, 0], [], [0, 0]]}, ErrorCode.INVALID_GOAL, "needs 2 velocities"),
        ({"positions": [[0, 0], [0.5, 0], [1.6, 0]]}, ErrorCode.INVALID_GOAL, "pan: 1.600 rad"),
        ({"positions": [[0, 0], [0.5, -1.2], [1, 0]]}, ErrorCode.INVALID_GOAL, "lift: -1.200 rad"),
        ({"times_s": [0.0, 2.0, 1.0]}, ErrorCode.INVALID_GOAL, "ascend"),
        ({"times_s": [-1.0, 0.0, 1.0]}, ErrorCode.INVALID_GOAL, "negative"),
        ({"times_s": [0.0, 1.0, math.inf]}, ErrorCode.INVALID_GOAL, "finite"),
        ({"stamp_ns": NOW - 2_100_000_000}, ErrorCode.OLD_HEADER_TIMESTAMP, "ended 0.100 s ago"),
        ({"path_tolerance": {"wheel": 0.1}}, ErrorCode.INVALID_JOINTS, "path_tolerance: wheel"),
        ({"goal_tolerance": {"pan": math.nan}}, ErrorCode.INVALID_GOAL, "goal_tolerance must be"),
        ({"goal_time_s": -0.1}, ErrorCode.INVALID_GOAL, "goal_time_tolerance"),
        ({"other": "the arm has no wheels"}, ErrorCode.INVALID_GOAL, "no wheels"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_its_code(changes, code, why):
    with pytest.raises(GoalRefused, match=why) as refused:
        goal(**changes)
    assert refused.value.code is code


def test_the_codes_are_those_of_the_action():
    assert [int(code) for code in ErrorCode] == [0, -1, -2, -3, -4, -5]


def test_a_zero_stamp_is_now_and_one_that_has_not_ended_is_not_old():
    assert goal().motion.stamp_ns == NOW
    assert goal(stamp_ns=at(-1.9)).motion.stamp_ns == at(-1.9)


def test_tolerances_are_the_clients_the_default_or_none():
    found = goal(path_tolerance={"pan": 0.1, "lift": -1.0}, goal_tolerance={"pan": 0.0})
    assert found.path.tolist() == [0.1, math.inf]
    assert found.goal.tolist() == [DEFAULTS.goal, DEFAULTS.goal]
    assert found.goal_time_s == DEFAULTS.goal_time_s


def test_success_at_the_end_and_not_before():
    result, seconds = run(Execution(goal(), NOW), 3.0)
    assert result.code is ErrorCode.SUCCESSFUL
    assert seconds == 2.0


def test_success_within_the_goal_time():
    result, seconds = run(Execution(goal(), NOW), 5.0, read=lambda s: END * min(s / 2.8, 1.0))
    assert result.code is ErrorCode.SUCCESSFUL
    assert 2.0 < seconds <= 2.8


def test_a_goal_that_is_not_reached_in_its_time():
    off = END - [0.0, 0.1]
    execution = Execution(goal(goal_time_s=0.5), NOW)
    result, seconds = run(execution, 5.0, read=lambda s: off * min(s / 2, 1.0))
    assert result.code is ErrorCode.GOAL_TOLERANCE_VIOLATED
    assert result.text == "lift is 0.100 rad off, 0.080 rad are allowed, 0.5 s after the end"
    assert seconds == pytest.approx(2.52)


def test_a_path_that_is_left():
    blocked = [0.25, 0.1]
    execution = Execution(goal(path_tolerance={"pan": 0.2}), NOW)
    result, seconds = run(
        execution, 5.0, read=lambda s: np.minimum(execution.desired(at(s)), blocked)
    )
    assert result.code is ErrorCode.PATH_TOLERANCE_VIOLATED
    assert result.text.startswith("pan is 0.2")
    assert seconds == pytest.approx(0.92)


def test_without_a_path_tolerance_only_the_end_counts():
    asked = {"path_tolerance": {"pan": -1.0, "lift": -1.0}}
    result, _ = run(Execution(goal(**asked), NOW), 5.0, read=lambda s: END * (s >= 2.0))
    assert result.code is ErrorCode.SUCCESSFUL


def test_nothing_is_judged_before_the_trajectory_begins():
    execution = Execution(goal(stamp_ns=at(1.0)), NOW)
    result, seconds = run(
        execution, 5.0, read=lambda s: execution.desired(at(s)) if s >= 1 else END, follows=True
    )
    assert (result.code, seconds) == (ErrorCode.SUCCESSFUL, 3.0)


def test_an_arm_that_does_not_follow_ends_it():
    result, seconds = run(Execution(goal(), NOW), 5.0, follows=False)
    assert result.code is ErrorCode.PATH_TOLERANCE_VIOLATED
    assert result.text == "the arm does not follow: a person commands it"
    assert seconds == pytest.approx(FOLLOWED_S + 0.02)


def test_an_arm_that_is_not_heard_ends_it():
    result = Execution(goal(), NOW).step(at(0.1), None, True, "")
    assert result.code is ErrorCode.PATH_TOLERANCE_VIOLATED
    assert "no joint_states" in result.text


def test_velocities_make_it_smooth_through_the_same_points():
    motion = Trajectory(NOW, np.array([0.0, 1.0, 3.0]), np.array([[0.0], [1.0], [2.0]]))
    found = smooth(motion, np.array([[0.0], [0.75], [0.0]]))
    for time_s, place in zip(motion.times_s, motion.positions, strict=True):
        assert found.sample(at(time_s)) == pytest.approx(place)
    rates = np.diff(found.positions[:, 0]) / np.diff(found.times_s)
    assert np.abs(np.diff(rates)).max() < 0.1
    assert rates[0] == pytest.approx(0.0, abs=0.05)
    assert (np.diff(found.times_s) > 1e-6).all()
    long = Trajectory(NOW, np.array([0.0, 3000.0]), np.array([[0.0], [1.0]]))
    assert len(smooth(long, np.zeros((2, 1))).times_s) < 3000
    alone = Trajectory(NOW, np.array([1.0]), np.array([[0.5]]))
    assert smooth(alone, np.zeros((1, 1))).positions.tolist() == [[0.5]]


# --- what the driver is given --------------------------------------------------------------------

JOINTS = tuple(LIMITS)
HELD = np.array([0.1, 0.2, 0.3])


def test_joints_without_a_goal_stay_where_they_are_held():
    plans = Plans(JOINTS)
    assert not plans
    plans.set("arm", ["pan", "lift"], led_up_to(goal().motion, NOW, HELD[:2]))
    motion = plans.merged(at(0.5), HELD)
    assert motion.stamp_ns == at(0.5)
    assert motion.positions[0] == pytest.approx([0.25, 0.1, 0.3])
    assert motion.positions[-1] == pytest.approx([1.0, 0.4, 0.3])
    assert motion.end_ns == at(2.0)


def test_arm_and_gripper_move_at_once_each_by_its_own_times():
    plans = Plans(JOINTS)
    plans.set("arm", ["pan", "lift"], goal().motion)
    plans.set("gripper", ["gripper"], motion_to(0.9, 0.3, LIMITS["gripper"], 1.5, at(1.0)))
    motion = plans.merged(at(1.0), HELD)
    assert motion.sample(at(1.2)) == pytest.approx([0.6, 0.24, 0.6])
    assert motion.sample(at(3.0)) == pytest.approx([1.0, 0.4, 0.9])
    plans.drop("arm")
    assert plans.merged(at(1.0), HELD).positions[-1] == pytest.approx([0.1, 0.2, 0.9])
    plans.clear()
    assert not plans


def test_a_first_point_that_is_yet_to_come_is_led_up_to_from_where_the_arm_is():
    later = goal(times_s=[1.0, 2.0, 3.0]).motion
    led = led_up_to(later, NOW, HELD[:2])
    assert led.sample(NOW) == pytest.approx(HELD[:2])
    assert led.sample(at(0.5)) == pytest.approx(HELD[:2] / 2)
    waits = led_up_to(goal(stamp_ns=at(1.0), times_s=[1.0, 2.0, 3.0]).motion, NOW, HELD[:2])
    assert waits.sample(at(0.9)) == pytest.approx(HELD[:2])
    assert waits.sample(at(1.5)) == pytest.approx(HELD[:2] / 2)
    begun = goal().motion
    assert led_up_to(begun, NOW, HELD[:2]) is begun


def test_nothing_jumps_to_a_first_point_that_is_due_at_a_stamp_to_come():
    plans = Plans(JOINTS)
    later = goal(stamp_ns=at(1.0), positions=[[1.0, 0.5], [0.5, 0.2], [1.0, 0.4]]).motion
    plans.set("arm", ["pan", "lift"], led_up_to(later, NOW, HELD[:2]))
    motion = plans.merged(NOW, HELD)
    assert motion.sample(NOW) == pytest.approx(HELD)
    assert motion.sample(at(0.5))[:2] == pytest.approx(np.add(HELD[:2], [1.0, 0.5]) / 2)
    assert motion.sample(at(1.0))[:2] == pytest.approx([1.0, 0.5])


# --- the gripper ---------------------------------------------------------------------------------

GRIP = GripperSettings(speed=1.5, tolerance=0.05, stall_s=0.5)


def gripping(target=-0.9, held=0.9):
    return Gripping(motion_to(target, held, LIMITS["gripper"], GRIP.speed, NOW), GRIP)


def test_a_gripper_that_is_where_it_was_sent_has_reached_it():
    one = gripping()
    ends = [s / 50 for s in range(100) if one.step(at(s / 50), max(0.9 - 1.5 * s / 50, -0.9))]
    assert one.step(at(2.0), -0.9).reached
    assert 1.1 < ends[0] < 1.2


def test_a_gripper_that_holds_something_has_stalled():
    one = gripping()
    found = [(s / 50, one.step(at(s / 50), max(0.9 - 1.5 * s / 50, 0.0))) for s in range(100)]
    seconds, grip = next((when, grip) for when, grip in found if grip is not None)
    assert not grip.reached
    assert seconds == pytest.approx(0.6 + GRIP.stall_s, abs=0.06)


def test_a_gripper_that_still_waits_to_move_has_not_stalled():
    one = Gripping(motion_to(0.9, 0.0, LIMITS["gripper"], 0.05, NOW), GRIP)
    assert not any(one.step(at(s / 50), 0.05 * s / 50) for s in range(200))


@pytest.mark.parametrize("position", [math.nan, math.inf, 1.2, -1.0])
def test_a_gripper_position_that_is_none_is_refused(position):
    with pytest.raises(GoalRefused, match=r"expected a position of -0\.900 to 0\.900") as refused:
        motion_to(position, 0.0, LIMITS["gripper"], 1.0, NOW)
    assert refused.value.code is ErrorCode.INVALID_GOAL


@pytest.mark.parametrize("speed", [0.0, -1.0, math.nan, math.inf])
def test_a_gripper_speed_that_is_none_is_refused(speed):
    with pytest.raises(GoalRefused, match="speed above 0"):
        motion_to(0.5, 0.0, LIMITS["gripper"], speed, NOW)


@pytest.mark.parametrize("speed", [1e-4, 1e-300, 5e-324])
def test_a_gripper_speed_that_takes_hours_is_refused(speed):
    with pytest.raises(GoalRefused, match="longer than 3600 s"):
        motion_to(0.5, 0.0, LIMITS["gripper"], speed, NOW)


def test_a_gripper_whose_driver_follows_somebody_else_is_lost():
    one = gripping()
    assert not one.lost(at(0.4), follows=False)
    assert one.lost(at(0.6), follows=False)
    assert not one.lost(at(0.6), follows=True)
    # At its end the driver holds.
    assert not one.lost(at(5.0), follows=False)
