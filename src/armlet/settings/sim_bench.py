"""Parameters of sim_bench."""

from __future__ import annotations

from .setting import Change, Fixed, Setting

BENCH = Fixed("the bench is built with it")

SETTINGS = (
    Setting(
        "directory",
        "",
        "Directory of the emulated serial ports `leader` and `follower`.",
        change=BENCH,
    ),
    Setting("seed", 0, "Seed of targets and motions.", 0, 2**31 - 1, change=BENCH),
    Setting(
        "physics",
        "kinematic",
        "kinematic: the follower moves without weight and touches nothing. mujoco: its servos "
        "drive a simulated arm, which moves what it touches.",
        change=BENCH,
    ),
    Setting(
        "task",
        "reach",
        "What lies on the table and what counts as success: reach, pick_place, push, or a .yaml "
        "file. Things to move need physics.",
        change=BENCH,
    ),
    Setting(
        "domain",
        "",
        "File (.yaml) of friction, masses, backlash, latencies, light and cameras. Empty: the "
        "ordinary bench.",
        change=BENCH,
    ),
    Setting(
        "clumsiness",
        0.0,
        "Share of the demonstrations in which the expert misses, loses or finds moved what it "
        "reaches for, and corrects it. By the seed of each.",
        0.0,
        1.0,
        change=BENCH,
    ),
    Setting(
        "reset_seed",
        -1,
        "Seed that ~/reset places the task's things by. -1: the next of the bench's own.",
        -1,
        2**31 - 1,
        change=Change.FREE,
    ),
    Setting(
        "paced", True, "Send bytes at the speed of 1 Mbaud. Ignored with keeps_time.", change=BENCH
    ),
    Setting("cameras", True, "Render and publish camera images.", change=BENCH),
    Setting("width", 128, "Image width (pixels).", 16, 4096, change=BENCH),
    Setting("height", 96, "Image height (pixels).", 16, 4096, change=BENCH),
    Setting("fps", 30.0, "Frame rate of the cameras (Hz).", 1.0, 240.0, change=BENCH),
    Setting("jpeg_quality", 90, "JPEG quality of the images.", 1, 100, change=BENCH),
    Setting(
        "keeps_time",
        False,
        "Publish /clock and advance it in lockstep with the participants.",
        change=BENCH,
    ),
    Setting(
        "participants", [""], "Nodes that must be there before simulated time starts.", change=BENCH
    ),
    Setting(
        "real_time_factor",
        1.0,
        "Upper limit of simulated seconds per second. 0: as fast as this computer can.",
        0.0,
        1000.0,
        change=BENCH,
    ),
    Setting(
        "start_s",
        0.0,
        "Unix time at which simulated time starts (s). 0: now.",
        0.0,
        4e9,
        change=BENCH,
    ),
)
