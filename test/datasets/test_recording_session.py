"""The state machine of a recording: every transition, and what must hold of any sequence."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armlet.datasets import Failure, OnGap, Phase, RecordingSession, Rules, SessionError
from armlet.datasets.record.session import (
    AddAgain,
    BadFrame,
    Begin,
    Discard,
    DiskShort,
    Drop,
    Gap,
    Leave,
    Part,
    RemoveParts,
    Row,
    Save,
    Saved,
    Silence,
    Start,
    Stop,
    WriteFailed,
)

FPS = 10
REFUSE = Rules(FPS)
SPLIT = Rules(FPS, OnGap.SPLIT, max_gaps=2)
ROWS = REFUSE.min_frames
PART = Part(0, ROWS, 1.0)


def rows(session, count, first=0):
    """That many rows; what was to be done at the last."""
    actions = ()
    for k in range(first, first + count):
        actions = session.advance(Row(1 + k * 1_000_000_000 // FPS))
    return actions


def recording(rules=REFUSE, count=ROWS):
    session = RecordingSession(rules)
    assert session.advance(Start(1)) == (Begin(),)
    rows(session, count)
    return session


def failed(session):
    status = session.status
    assert status.phase is Phase.FAILED
    assert status.reason
    return status.failure


def test_a_press_and_another_are_one_episode():
    session = recording()
    assert session.status.phase is Phase.RECORDING
    assert session.advance(Stop()) == (Save(),)
    session.advance(Saved(PART))
    assert session.status.phase is Phase.IDLE
    assert session.status.parts == (PART,)


@pytest.mark.parametrize("event", [Stop(), Discard()])
def test_when_idle_there_is_nothing_to_end(event):
    session = RecordingSession()
    with pytest.raises(SessionError, match="not recording"):
        session.advance(event)
    assert session.status.phase is Phase.IDLE


def test_a_second_start_is_refused():
    session = recording()
    with pytest.raises(SessionError, match="already recording"):
        session.advance(Start(5))
    assert session.status.since_ns == 1
    with pytest.raises(SessionError, match="already recording"):
        session.set_rules(SPLIT)


@pytest.mark.parametrize("event", [Row(1), Gap("x"), Silence("x"), BadFrame("x"), DiskShort("x")])
@pytest.mark.parametrize("ended", [False, True])
def test_frames_on_their_way_when_it_ended_change_nothing(event, ended):
    session = recording()
    session.advance(Gap("lost") if ended else Stop())
    before = session.status
    assert session.advance(event) == ()
    assert session.status == before


@pytest.mark.parametrize(
    ("event", "failure"),
    [
        (Gap("wrist: 3 stale"), Failure.GAP),
        (Silence("wrist"), Failure.SILENCE),
        (BadFrame("wrist"), Failure.BAD_FRAME),
    ],
)
def test_by_default_what_is_missing_refuses_the_episode_at_once(event, failure):
    session = recording(count=10 * ROWS)
    assert session.advance(event) == (Drop(),)
    assert failed(session) is failure
    assert "wrist" in session.status.reason
    assert session.status.failures == 1


def test_a_short_disk_ends_the_episode_which_is_saved():
    session = recording()
    assert session.advance(DiskShort("full")) == (Save(part=1),)
    assert failed(session) is Failure.DISK_SHORT


def test_what_cannot_be_written_is_left_where_it_is():
    session = recording()
    assert session.advance(WriteFailed("no space")) == (Leave(),)
    assert failed(session) is Failure.WRITE_FAILED
    session.explain("no space; 10 frames stay")
    assert session.status.reason == "no space; 10 frames stay"
    # It becomes an episode when the dataset is opened, and is of the recording to be discarded.
    assert session.advance(Discard()) == (RemoveParts(),)


def test_saving_may_fail_after_the_stop():
    session = recording()
    session.advance(Stop())
    assert session.advance(WriteFailed("no space")) == (Leave(),)
    assert failed(session) is Failure.WRITE_FAILED


@pytest.mark.parametrize("event", [Stop(), Discard()])
def test_a_failure_stands_until_a_person_takes_note(event):
    session = recording()
    session.advance(Gap("lost"))
    assert session.advance(event) == ()
    assert session.status.phase is Phase.IDLE
    assert session.status.failure is Failure.GAP, "what the last one failed by can still be read"
    assert session.status.failures == 1


def test_a_failure_hinders_no_start():
    session = recording()
    session.advance(Gap("lost"))
    assert session.advance(Start(7)) == (Begin(),)
    assert session.status.phase is Phase.RECORDING
    assert session.status.failure is None
    assert session.status.rows == 0


def test_nothing_under_a_second_is_saved():
    session = recording(count=ROWS - 1)
    assert session.advance(Stop()) == (Drop(too_short=True),)
    assert failed(session) is Failure.TOO_SHORT
    assert "min_episode_s" in session.status.reason
    session = recording(count=0)
    assert session.advance(Stop()) == (Drop(),)
    assert failed(session) is Failure.SILENCE
    assert "no frame came" in session.status.reason


def test_a_length_ends_the_recording():
    session = recording(Rules(FPS, episode_s=1.5), count=14)
    assert rows(session, 1, first=14) == (Save(),)
    assert session.status.phase is Phase.IDLE


@pytest.mark.parametrize("episode_s", [0.01, 0.99])
def test_a_length_below_the_least_is_a_mistake(episode_s):
    with pytest.raises(ValueError, match="min_episode_s"):
        Rules(episode_s=episode_s)


def test_a_recording_may_be_split_by_choice():
    session = recording(SPLIT)
    assert session.advance(Silence("wrist")) == (), "the next frame shows the gap"
    assert session.advance(Gap("lost")) == (Save(part=1), Begin(), AddAgain())
    session.advance(Saved(PART))
    assert session.status.phase is Phase.RECORDING
    rows(session, ROWS, first=100)
    assert session.advance(Stop()) == (Save(part=2),)


def test_parts_that_are_too_short_are_not_saved():
    session = recording(SPLIT, count=ROWS - 1)
    assert session.advance(Gap("lost")) == (Drop(too_short=True), Begin(), AddAgain())
    rows(session, ROWS, first=100)
    assert session.advance(Stop()) == (Save(part=2),), "half a recording is no episode"


def test_the_last_part_may_be_too_short():
    session = recording(SPLIT)
    session.advance(Gap("lost"))
    session.advance(Saved(PART))
    assert session.advance(Stop()) == (Drop(too_short=True),)
    assert session.status.phase is Phase.IDLE
    assert session.status.parts == (PART,)


def test_one_gap_too_many_ends_it():
    session = recording(SPLIT)
    for _ in range(SPLIT.max_gaps):
        session.advance(Gap("lost"))
        rows(session, ROWS)
    assert session.advance(Gap("lost")) == (Save(part=3),)
    assert failed(session) is Failure.GAP
    assert "gap 3 in one recording" in session.status.reason


def test_a_bad_frame_ends_a_recording_in_parts_too():
    session = recording(SPLIT)
    assert session.advance(BadFrame("size")) == (Save(part=1),)
    assert failed(session) is Failure.BAD_FRAME


@pytest.mark.parametrize("ended", [False, True])
def test_discarding_is_of_all_parts(ended):
    session = recording(SPLIT)
    session.advance(Gap("lost"))
    session.advance(Saved(PART))
    if ended:
        session.advance(DiskShort("full"))
    expected = (RemoveParts(),) if ended else (Drop(), RemoveParts())
    assert session.advance(Discard()) == expected
    assert session.status.phase is Phase.IDLE
    assert session.status.parts == ()


ASKED = [Start(1), Stop(), Stop(True), Discard()]
CAME = [Row(1), Gap("g"), Silence("s"), BadFrame("b"), DiskShort("d"), WriteFailed("w")]
EVENTS = st.sampled_from([*ASKED, *CAME])


@given(st.lists(EVENTS, max_size=60), st.sampled_from(list(OnGap)), st.integers(0, 3))
def test_whatever_happens_one_press_is_one_episode_or_none(events, on_gap, least):
    """Open and closed by turns; saved at most once a press unless split; failed with a reason."""
    session = RecordingSession(Rules(1, on_gap, max_gaps=0, min_episode_s=float(least)))
    is_open, saved = False, 0
    for event in events:
        before = session.status
        try:
            actions = session.advance(event)
        except SessionError:
            assert session.status == before
            continue
        if isinstance(event, Start):
            saved = 0
        for action in actions:
            if isinstance(action, Begin):
                assert not is_open
                is_open = True
            elif isinstance(action, Save | Drop):
                assert is_open
                is_open = False
                saved += isinstance(action, Save)
            elif isinstance(action, Leave):
                is_open = False
        assert is_open == session.status.recording
        assert saved <= 1 or on_gap is OnGap.SPLIT
        assert (session.status.phase is Phase.FAILED) == bool(session.status.reason)


def test_events_of_several_threads_are_taken_one_by_one():
    session = RecordingSession(Rules(FPS, episode_s=0.0))
    session.advance(Start(1))
    barrier = threading.Barrier(4)

    def work():
        barrier.wait()
        rows(session, 2000)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert session.status.rows == 8000
