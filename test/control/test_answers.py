"""Which servos are silent: by cycles that asked them, not by time in which nobody did."""

import numpy as np
import pytest

from armlet.control.answers import Answers

PERIOD_S, SILENCE_S = 0.01, 0.5


def cycles(answers, count, now_s, fresh=None):
    for _ in range(count):
        now_s += PERIOD_S
        answers.note_some(fresh, now_s)
    return now_s


def test_a_servo_is_silent_after_so_long_and_the_others_are_not():
    answers = Answers(2, 0.0)
    now_s = cycles(answers, 48, 0.0, np.array([True, False]))
    assert not answers.silent(SILENCE_S).any()
    now_s = cycles(answers, 4, now_s, np.array([True, False]))
    assert answers.silent(SILENCE_S).tolist() == [False, True]
    answers.note_some(np.array([False, True]), now_s)
    assert not answers.silent(SILENCE_S).any()


@pytest.mark.parametrize("stood_still_s", [3.0, 1e6])
def test_while_the_process_stood_still_nobody_was_asked(stood_still_s):
    """A stopped or starved driver took its servos for silent, and the arm had to be armed again."""
    answers = Answers(2, 0.0)
    now_s = cycles(answers, 3, stood_still_s)
    now_s = cycles(answers, 30, now_s)
    assert not answers.silent(SILENCE_S).any()
    cycles(answers, 10, now_s)
    assert answers.silent(SILENCE_S).all()


def test_a_clock_that_goes_back_makes_nobody_silent():
    answers = Answers(1, 100.0)
    cycles(answers, 30, 0.0)
    assert not answers.silent(SILENCE_S).any()
