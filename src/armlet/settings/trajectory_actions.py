"""Parameters of trajectory_actions."""

from __future__ import annotations

from .setting import Change, Fixed, Setting

ARM = Fixed("the arm is the same as long as the node runs")

SETTINGS = (
    Setting("calibration_file", "", "LeRobot calibration JSON of the arm.", change=ARM),
    Setting(
        "path_tolerance_rad",
        0.4,
        "Abort a trajectory when a joint is further off than this (rad), where the goal does not "
        "say.",
        0.001,
        10.0,
        change=Change.FREE,
    ),
    Setting(
        "goal_tolerance_rad",
        0.08,
        "How near its end a joint must come (rad), where the goal does not say.",
        0.001,
        10.0,
        change=Change.FREE,
    ),
    Setting(
        "goal_time_s",
        2.0,
        "Time after a trajectory's end in which it must be reached (s), where the goal does not "
        "say.",
        0.0,
        60.0,
        change=Change.FREE,
    ),
    Setting(
        "gripper_rad_s",
        1.5,
        "Speed of the gripper (rad/s), where the goal does not say.",
        0.01,
        5.0,
        change=Change.FREE,
    ),
    Setting(
        "gripper_tolerance_rad",
        0.05,
        "How near a place the gripper has reached it (rad).",
        0.001,
        1.0,
        change=Change.FREE,
    ),
    Setting(
        "stall_s",
        0.5,
        "A gripper that is not where it should be and stands for this long (s) has stalled.",
        0.05,
        10.0,
        change=Change.FREE,
    ),
    Setting(
        "allow_stalling",
        True,
        "A gripper that stalls, as on an object, has succeeded.",
        change=Change.FREE,
    ),
    Setting(
        "max_state_age_s",
        0.5,
        "The arm's state, and its goal, must not be older than this (s).",
        0.05,
        5.0,
        change=Change.FREE,
    ),
)
