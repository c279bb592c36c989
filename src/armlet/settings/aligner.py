"""Parameters of aligner."""

from __future__ import annotations

from armlet.robots import SO101_JOINTS

from .setting import Fixed, Setting

# As armlet.align has them.
STATE, ACTION, GIVE_UP_S = "state", "action", 5.0
NONE = [""]

FRAMES = Fixed(
    "it decides what a frame is: frames of one recording, or one policy, are all made alike"
)

SETTINGS = (
    Setting("fps", 30, "Rate of the frames (Hz).", 1, 1000, change=FRAMES),
    Setting(
        "max_wait_s",
        0.3,
        "How long a complete frame waits for samples closer to its time (s).",
        0.0,
        5.0,
        change=FRAMES,
    ),
    Setting(
        "give_up_s",
        GIVE_UP_S,
        "How long an incomplete frame waits for late messages before it is dropped (s).",
        0.0,
        60.0,
        change=FRAMES,
    ),
    Setting(
        "joints",
        list(SO101_JOINTS),
        "Joints of state and action, in the order of the dataset.",
        change=FRAMES,
    ),
    Setting(
        "streams",
        [STATE, ACTION],
        "Streams to align: state, action, and one name for each camera.",
        change=FRAMES,
    ),
)


def stream_settings(name: str) -> tuple[Setting, ...]:
    """The parameters of one stream."""
    return (
        Setting(f"{name}.topic", "", f"Topic of stream {name}.", change=FRAMES),
        Setting(
            f"{name}.topics",
            NONE,
            "Instead of topic, for joint_state: one topic for each arm.",
            change=FRAMES,
        ),
        Setting(
            f"{name}.prefixes",
            NONE,
            "Prefix of each topic's joint names in joints. Empty: the topic's namespace and _.",
            change=FRAMES,
        ),
        Setting(
            f"{name}.type",
            "",
            "Type of the messages: joint_state, compressed or raw.",
            change=FRAMES,
        ),
        Setting(
            f"{name}.policy",
            "",
            "Sampling at a frame's time: linear, nearest or previous. Has no default.",
            change=FRAMES,
        ),
        Setting(
            f"{name}.tolerance_s",
            0.0,
            "Largest distance of a sample from the frame's time (s).",
            change=FRAMES,
        ),
        Setting(
            f"{name}.reorder_s",
            0.0,
            "Accept messages out of order by up to this (s). Adds as much delay.",
            change=FRAMES,
        ),
        Setting(
            f"{name}.frozen_s",
            1.0,
            "Drop images that have been byte-identical for this long (s). 0 disables the check.",
            change=FRAMES,
        ),
        Setting(
            f"{name}.reliable",
            True,
            "Subscribe reliably. Set to false for a publisher that is best effort.",
            change=FRAMES,
        ),
    )


REPEATED = ("stream", stream_settings)
