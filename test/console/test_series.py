"""Episodes one after the other: when the next is begun, and when not."""

from __future__ import annotations

import pytest

from armlet.client.series import LONGEST_TASK, End, Series, Step, Wish


class Heard:
    """A series and what a recorder says to it, at times that a test makes."""

    def __init__(self, reset_s=10.0):
        self.series, self.now_s = Series(), 100.0
        self.series.begin(reset_s, self.now_s)

    def hears(self, state, after_s=0.2, full=False):
        """Whether it asks for a recording."""
        self.now_s += after_s
        return self.series.heard(state, full, self.now_s)

    def answers(self, begun, said=""):
        self.series.answered(begun, said, self.now_s)

    @property
    def step(self):
        return self.series.view(self.now_s).step

    @property
    def end(self):
        return self.series.view(self.now_s).end


def begun():
    """A series whose first recording is going on."""
    heard = Heard()
    assert heard.hears("idle", 10.0)
    heard.answers(True)
    assert not heard.hears("recording") and heard.step is Step.RECORDING
    return heard


def test_the_next_begins_when_the_scene_had_its_time():
    heard = Heard()
    assert not heard.hears("idle", 9.0)
    assert heard.series.view(heard.now_s).left_s == pytest.approx(1.0)
    assert heard.hears("idle", 1.0)
    assert not heard.hears("idle", 1.0)  # it was asked once
    heard.answers(True)
    assert not heard.hears("recording")
    assert not heard.hears("idle", 30.0) and heard.step is Step.RESET
    assert heard.hears("idle", 10.0)


def test_a_status_that_was_on_its_way_is_no_end_of_the_recording():
    heard = Heard(reset_s=0.0)
    assert heard.hears("idle")
    heard.answers(True)
    assert not heard.hears("idle") and heard.step is Step.STARTING
    assert not heard.hears("recording") and heard.step is Step.RECORDING


def test_a_recording_of_which_nothing_was_heard_is_over_too():
    heard = Heard(reset_s=0.0)
    assert heard.hears("idle")
    heard.answers(True)
    assert not heard.hears("idle", 3.0) and heard.step is Step.RESET


def test_it_ends_when_all_are_there():
    heard = begun()
    assert not heard.hears("idle", full=True)
    assert (heard.step, heard.end) == (Step.OFF, End.DONE)
    assert not heard.hears("idle", 100.0)


def test_one_that_has_all_already_begins_none():
    heard = Heard(reset_s=0.0)
    assert not heard.hears("idle", full=True) and heard.end is End.DONE


@pytest.mark.parametrize("full", [False, True])
def test_after_one_that_failed_it_waits_for_the_person(full):
    heard = begun()
    for _ in range(100):
        assert not heard.hears("failed", full=full)
    assert heard.step is Step.HELD
    assert not heard.hears("recording") and heard.step is Step.RECORDING  # recorded again
    heard.hears("failed")
    assert not heard.hears("idle", 0.2) and heard.step is Step.RESET  # gone on


def test_a_refusal_is_kept_until_a_person_has_seen_to_it():
    heard = Heard()
    assert heard.hears("idle", 10.0)
    heard.answers(False, "no frames yet " + "x" * 9999)
    for _ in range(100):
        assert not heard.hears("idle", 1.0)
    view = heard.series.view(heard.now_s)
    assert view.step is Step.HELD and "no frames yet" in view.said and len(view.said) <= 500
    heard.series.begin(5.0, heard.now_s)
    assert heard.step is Step.RESET and heard.hears("idle", 5.0)


def test_of_two_consoles_only_one_begins_and_both_go_on():
    one, other = Heard(), Heard()
    assert one.hears("idle", 10.0) and other.hears("idle", 10.0)
    one.answers(True)
    other.answers(False, "already recording")
    for each in (one, other):
        assert not each.hears("recording") and each.step is Step.RECORDING
        assert not each.hears("idle") and each.step is Step.RESET


def test_two_browsers_that_begin_it_make_one_countdown():
    heard = Heard(reset_s=10.0)
    heard.hears("idle", 6.0)
    heard.series.begin(10.0, heard.now_s)  # the other's press
    assert heard.hears("idle", 4.0)


def test_what_a_person_begins_earlier_is_not_begun_twice():
    heard = Heard()
    assert not heard.hears("recording", 1.0) and not heard.hears("recording", 30.0)


def test_the_stop_key_ends_it_and_so_does_a_person():
    for why in (End.STOPPED, End.ASKED):
        heard = begun()
        heard.series.end(why)
        heard.series.end(End.ASKED)
        assert heard.end is why
        assert not heard.hears("idle", 100.0)
        heard.answers(True)
        assert heard.step is Step.OFF


@pytest.mark.parametrize("state", ["", "of tomorrow"])
def test_a_recorder_that_says_nothing_known_is_left_alone(state):
    heard = Heard(reset_s=0.0)
    assert not heard.hears(state)


@pytest.mark.parametrize("reset_s", [-1.0, float("nan"), float("inf"), 1e9])
def test_a_countdown_that_is_none_is_refused(reset_s):
    with pytest.raises(ValueError, match="expected 0 to 3600 s"):
        Series().begin(reset_s, 0.0)


def test_a_wish_names_only_what_is_to_change():
    assert Wish(episodes=5).parameters() == {"episodes": 5}
    assert Wish("pick", 0, 0.0).parameters() == {"task": "pick", "episodes": 0, "episode_s": 0.0}


def test_a_task_may_be_as_long_as_the_recorders_own():
    messages = pytest.importorskip("armlet.nodes.messages", reason="ROS is not installed")
    assert messages.LONGEST_TASK == LONGEST_TASK
