"""The judge of a driver's signs of life, with a clock of the test's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armlet.control.liveness import DEAD_S, DOUBT_S, LOOK_S, Liveness, Verdict

PARTS = ("topics", "stop")


def looks(judge, now_s, count, signs=(), excused=(), every_s=LOOK_S):
    """So many looks, with signs of some parts before each; the verdicts, and the time then."""
    verdicts = []
    for _ in range(count):
        for part in signs:
            judge.sign(part)
        now_s += every_s
        verdicts.append(judge.look(now_s, excused))
    return verdicts, now_s


def test_one_silent_part_is_doubted_then_dead_however_well_the_others_do():
    judge = Liveness(PARTS, 0.0)
    verdicts, _ = looks(judge, 0.0, 11, signs=["topics"])
    assert verdicts == [
        *[Verdict.ALIVE] * int(DOUBT_S),
        *[Verdict.DOUBTFUL] * int(DEAD_S - DOUBT_S),
        Verdict.DEAD,
    ]
    assert judge.silent() == "stop for 11 s"


def test_a_sign_ends_the_doubt_at_the_next_look():
    judge = Liveness(PARTS, 0.0)
    verdicts, now_s = looks(judge, 0.0, 8, signs=["topics"])
    assert verdicts[-1] is Verdict.DOUBTFUL
    judge.sign("stop")
    judge.sign("topics")
    assert judge.look(now_s + LOOK_S) is Verdict.ALIVE
    assert judge.silent() == ""


def test_what_is_excused_is_not_silent_and_is_given_all_its_time_after_that():
    judge = Liveness(PARTS, 0.0)
    verdicts, now_s = looks(judge, 0.0, 100, signs=["topics"], excused=["stop"])
    assert set(verdicts) == {Verdict.ALIVE}
    verdicts, _ = looks(judge, now_s, int(DOUBT_S), signs=["topics"])
    assert set(verdicts) == {Verdict.ALIVE}


@pytest.mark.parametrize("slept_s", [60.0, 1e6, -1e6])
def test_time_in_which_nobody_looked_is_no_silence(slept_s):
    """A process that was stopped, a computer that slept, a clock that was set back."""
    judge = Liveness(PARTS, 0.0)
    _, now_s = looks(judge, 0.0, 1)
    assert judge.look(now_s + slept_s) is Verdict.ALIVE
    assert judge.look(now_s + slept_s + LOOK_S) is not Verdict.DEAD


# Sums of these are exact: the judge's and the test's are on the same side of a limit.
STEPS_S = st.integers(1, 30 * 64).map(lambda parts: parts / 64)


@given(st.lists(st.tuples(STEPS_S, st.booleans()), max_size=40))
def test_who_gives_a_sign_before_each_look_is_never_doubted_and_who_gives_none_is_dead(steps):
    """However irregular the looks are, where the process has little time."""
    judge, silent = Liveness(["lives"], 0.0), Liveness(["silent"], 0.0)
    now_s = counted_s = 0.0
    for step_s, both in steps:
        now_s += step_s
        judge.sign("lives")
        assert judge.look(now_s) is Verdict.ALIVE
        if both:
            judge.sign("lives")
        counted_s += min(step_s, 2 * LOOK_S)
        verdict = silent.look(now_s)
        assert (verdict is Verdict.DEAD) == (counted_s > DEAD_S)
        assert (verdict is Verdict.ALIVE) == (counted_s <= DOUBT_S)


def test_parts_that_may_never_give_a_sign_count_once_they_are_expected_to():
    judge = Liveness(PARTS, 0.0, unproven=["stop"])
    verdicts, now_s = looks(judge, 0.0, 100, signs=["topics"])
    assert set(verdicts) == {Verdict.ALIVE}
    judge.expect()
    verdicts, _ = looks(judge, now_s, 11, signs=["topics"])
    assert verdicts[-1] is Verdict.DEAD


def test_a_sign_of_what_is_not_judged_is_no_matter():
    judge = Liveness(["topics"], 0.0)
    judge.sign("events")
    assert judge.look(LOOK_S) is Verdict.ALIVE
