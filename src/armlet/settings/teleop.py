"""Parameters of teleop."""

from __future__ import annotations

from .setting import Change, Fixed, Setting

MAPPING = Fixed("the follower would jump to where another mapping has it")

SETTINGS = (
    Setting(
        "leader_calibration_file", "", "LeRobot calibration JSON of the leader.", change=MAPPING
    ),
    Setting(
        "follower_calibration_file", "", "LeRobot calibration JSON of the follower.", change=MAPPING
    ),
    Setting(
        "joint_units",
        "degrees",
        "Units in which leader and follower have equal values: degrees or "
        "range_m100_100 (as in LeRobot).",
        change=MAPPING,
    ),
    Setting(
        "scale",
        1.0,
        "Motion of the follower divided by that of the leader. Grippers are not scaled.",
        0.05,
        2.0,
        change=MAPPING,
    ),
    Setting(
        "engaged",
        True,
        "Follow the leader from the start. ~/set_engaged switches it.",
        change=Fixed("~/set_engaged switches it"),
        respawned=False,
    ),
    Setting(
        "max_leader_age_s",
        0.5,
        "Report a leader whose last message is older than this (s).",
        0.02,
        10.0,
        change=Change.FREE,
    ),
)
