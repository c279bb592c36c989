"""Who commanded an arm, from the driver's message to a frame."""

import numpy as np
import pytest

from armlet.align import Aligner, Commander, CommandSource, Policy, Sample, StreamConfig
from armlet.align.command_source import UNKNOWN, Origin, merged, origin, parse

HOLD = CommandSource(Commander.HOLD)
PERSON = CommandSource(Commander.PERSON)
OTHER = CommandSource(Commander.TRAJECTORY)
POLICY = CommandSource(Commander.TRAJECTORY, "0123456789abcdef")
CONTINUED = Origin("0123456789abcdef", continues=True)
SECOND = CommandSource(Commander.TRAJECTORY, "fedcba9876543210")


@pytest.mark.parametrize("source", [UNKNOWN, HOLD, PERSON, OTHER, POLICY])
def test_what_is_written_is_read(source):
    assert parse(str(source)) == source


@pytest.mark.parametrize(
    "text",
    [
        "base_link",
        "Joint_commands",
        "joint_commands/0123456789abcdef",
        "joint_trajectory/",
        "joint_trajectory/0123456789ABCDEF",
        "joint_trajectory/0123456789abcdef0",
        "hold/",
        "\x1b[2J",
    ],
)
def test_what_no_driver_of_ours_writes_is_unknown(text):
    assert parse(text) == UNKNOWN


@pytest.mark.parametrize("sender", [Origin(), Origin("0123456789abcdef"), CONTINUED])
def test_an_origin_that_is_written_is_read(sender):
    assert origin(str(sender)) == sender


@pytest.mark.parametrize("text", ["/continued", "base_link/continued", "0123/continued", "x"])
def test_no_other_text_continues_anything(text):
    assert origin(text) == Origin()


@pytest.mark.parametrize(
    ("sources", "who"),
    [
        ([], UNKNOWN),
        ([HOLD, HOLD], HOLD),
        ([HOLD, POLICY], POLICY),
        ([POLICY, SECOND], OTHER),
        ([POLICY, UNKNOWN], UNKNOWN),
        ([POLICY, PERSON, UNKNOWN], PERSON),
    ],
)
def test_who_commanded_several_arms(sources, who):
    assert merged(sources) == merged(reversed(sources)) == who


def origins(samples, policy=Policy.LINEAR):
    aligner = Aligner([StreamConfig("action", policy, 0.05, reorder_s=0.02)], 10, 0.3)
    return [
        (frame.index, frame.origins.get("action"))
        for frame in aligner.replay(
            Sample("action", stamp_ms * 1_000_000, np.array(value, float), origin=origin)
            for stamp_ms, value, origin in samples
        )
    ]


def test_a_frame_has_the_origin_of_the_sample_nearest_to_it():
    samples = [
        (96, [0], POLICY),
        (106, [1], PERSON),
        (194, [2], PERSON),
        (202, [3], POLICY),
        (230, [3], HOLD),
    ]
    assert origins(samples) == [(1, POLICY), (2, POLICY)]
    # That of the sample that is held, whichever is nearer.
    assert origins(samples, Policy.PREVIOUS) == [(1, POLICY), (2, PERSON)]


def test_samples_that_say_nothing_of_their_origin_have_none():
    assert origins([(96, [0], None), (106, [1], None)]) == [(1, None)]


def test_samples_out_of_order_and_with_joints_missing_keep_their_origins():
    nan = float("nan")
    samples = [(90, [0, 0], HOLD), (102, [nan, 3], POLICY), (99, [1, nan], PERSON)]
    samples += [(125, [2, 2], HOLD), (114, [2, 2], HOLD)]
    # The joint whose sample is furthest is two milliseconds off.
    assert origins(samples) == [(1, POLICY)]
