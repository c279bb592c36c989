"""Parameters of jog."""

from __future__ import annotations

from .setting import Change, Fixed, Setting

DEVICE = Fixed("sticks would mean something else while a person holds them")
ARM = Fixed("the arm is the same as long as the node runs")

SETTINGS = (
    Setting("calibration_file", "", "LeRobot calibration JSON of the arm.", change=ARM),
    Setting(
        "kinematics",
        "so101",
        "Arm whose geometry the tip is moved by: so101. Empty: only joints are moved.",
        change=ARM,
    ),
    Setting(
        "device",
        "gamepad",
        "Where axes and buttons are in a message of joy: gamepad (an Xbox pad as joy_node has it) "
        "or spacemouse (as spacenav has it).",
        change=DEVICE,
    ),
    Setting(
        "axes",
        [""],
        "Axes of the tip's directions, NAME=INDEX of x, y, z, pitch, roll and gripper; -INDEX the "
        "other way round. Empty: the device's.",
        change=DEVICE,
    ),
    Setting(
        "joint_axes",
        [""],
        "Axes of joints, such as shoulder_pan=-0. Empty: the device's.",
        change=DEVICE,
    ),
    Setting(
        "buttons",
        [""],
        "Buttons, NAME=INDEX of hold (jog while it is pressed), joints (move joints while it is "
        "pressed), open, close and hand_back. Empty: the device's.",
        change=DEVICE,
    ),
    Setting(
        "linear_m_s",
        0.1,
        "Speed of the tip at full deflection (m/s).",
        0.001,
        1.0,
        change=Change.LOWER,
    ),
    Setting(
        "angular_rad_s",
        0.8,
        "Speed of pitch and roll at full deflection (rad/s).",
        0.01,
        5.0,
        change=Change.LOWER,
    ),
    Setting(
        "joint_rad_s",
        1.0,
        "Speed of a joint at full deflection, and its limit while the tip is moved (rad/s).",
        0.01,
        5.0,
        change=Change.LOWER,
    ),
    Setting(
        "gripper_rad_s",
        1.5,
        "Speed of the gripper at full deflection (rad/s).",
        0.01,
        5.0,
        change=Change.LOWER,
    ),
    Setting(
        "joy_timeout_s",
        0.3,
        "Stop when no message of joy has come for this long (s). The button must be pressed again "
        "then.",
        0.05,
        2.0,
        change=Fixed("the node reads it when it is configured"),
    ),
    Setting(
        "max_state_age_s",
        0.5,
        "Stop when the arm's state or its goal is older than this (s).",
        0.05,
        5.0,
        change=Change.FREE,
    ),
)
