"""Parameters of recorder."""

from __future__ import annotations

from .setting import Change, Fixed, Setting

DATASET = Fixed("the dataset is opened with it")

SETTINGS = (
    Setting(
        "root",
        "",
        "Directory of the dataset. Created if missing; continued if the setup fits.",
        change=DATASET,
    ),
    Setting("task", "", "What the episodes show, in words.", change=Change.FREE),
    Setting("robot_type", "so101_follower", "LeRobot's name of the robot.", change=DATASET),
    Setting(
        "calibration_file",
        "",
        "LeRobot calibration JSON of the follower. Two arms: left_=FILE,right_=FILE.",
        change=DATASET,
    ),
    Setting(
        "calibration_tolerance_deg",
        0.0,
        "Continue a dataset although joints moved up to this much by calibration (degrees).",
        0.0,
        10.0,
        change=DATASET,
    ),
    Setting(
        "joint_units", "degrees", "Units of the dataset: degrees or range_m100_100.", change=DATASET
    ),
    Setting("codec", "h264", "Video codec: h264, hevc or libsvtav1.", change=DATASET),
    Setting(
        "on_gap",
        "refuse",
        "What to do with an episode when a frame is missing: refuse it, or split it there.",
        formerly="on_hole",
        change=Change.FREE,
    ),
    Setting(
        "max_gaps",
        5,
        "End a recording at the next gap after it was split this often. 0: no limit.",
        0,
        10_000,
        formerly="max_holes",
        change=Change.FREE,
    ),
    Setting(
        "min_episode_s",
        1.0,
        "Do not save episodes shorter than this (s).",
        0.0,
        60.0,
        change=Change.FREE,
    ),
    Setting(
        "max_frame_age_s",
        0.5,
        "Refuse to start a recording when the newest frame is older than this (s).",
        0.05,
        5.0,
        change=Change.FREE,
    ),
    Setting(
        "max_silence_s",
        6.0,
        "Treat this long without frames as a gap (s).",
        0.2,
        60.0,
        change=Change.FREE,
    ),
    Setting(
        "episode_s",
        0.0,
        "End an episode by itself after this long (s). 0: never.",
        0.0,
        3600.0,
        change=Change.FREE,
    ),
    Setting(
        "episodes",
        0,
        "Stop at this many episodes in the dataset. Parts of split ones do not count. 0: no limit.",
        0,
        1_000_000,
        change=Change.FREE,
    ),
    Setting(
        "dataset_version",
        "v3.0",
        "Format of a new dataset: v3.0, or v2.1 for LeRobot before 0.4.",
        change=DATASET,
    ),
    Setting(
        "intervention",
        False,
        "Give a new dataset LeRobot's bool column intervention: whether a person commanded a row. "
        "Set in graphs in which a policy may drive.",
        change=DATASET,
    ),
    Setting(
        "unfinished",
        "recover",
        "What to do with the episode of a recorder that was killed: recover or remove it.",
        change=DATASET,
    ),
    Setting(
        "adopt",
        False,
        "Continue a dataset that LeRobot recorded. Only if its units and calibration are the same.",
        change=DATASET,
    ),
)
