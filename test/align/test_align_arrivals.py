"""Frames that are old or from the future on arrival, and why."""

import pytest

from armlet.align import Arrivals

LIMIT_S = 0.3


def trouble(*ages, sent_age_s=None):
    arrivals = Arrivals()
    for age_s in ages:
        arrivals.note(age_s, sent_age_s)
    return arrivals.trouble(LIMIT_S)


@pytest.mark.parametrize("ages", [(), (0.05,) * 5, (-0.2,) * 5, (0.9, 0.9), (0.9, 0.05, 0.9, 0.9)])
def test_one_late_frame_is_no_trouble(ages):
    assert trouble(*ages) == ""


def test_a_frame_from_the_future_is_proof_enough():
    said = trouble(-1.0)
    assert "1.00 s from the future on arrival (limit 0.30 s)" in said
    assert "clock of this computer is behind the robot's by about that" in said


@pytest.mark.parametrize(
    ("sent_age_s", "words"),
    [
        (0.03, "the clock of this computer is ahead of the robot's by about that; synchronise"),
        (0.25, "the clock of this computer is ahead of the robot's by about 0.75 s"),
        (0.95, "the aligner is behind: they were 0.95 s old when it sent them"),
        (None, "ahead of the robot's by about that, or the aligner is behind"),
    ],
)
def test_old_frames_are_distinguished_by_their_age_when_they_were_sent(sent_age_s, words):
    said = trouble(1.1, 1.0, 1.2, sent_age_s=sent_age_s)
    assert said.startswith("observations are 1.00 s old on arrival (limit 0.30 s): ")
    assert words in said


def test_simulated_time_beside_the_wall_clock_is_said():
    assert "use_sim_time" in trouble(1.7e9, 1.7e9, 1.7e9)


def test_it_passes_with_the_first_frame_in_time():
    arrivals = Arrivals()
    for age_s in (1.0,) * 10:
        arrivals.note(age_s, None)
    assert arrivals.trouble(LIMIT_S)
    arrivals.note(0.1, None)
    assert arrivals.trouble(LIMIT_S) == ""
