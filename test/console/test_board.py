"""What a person who records is shown and can do: without a library, without ROS."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from armlet.client.series import SeriesView, Step, Wish
from armlet.console import record_tables
from armlet.console.board import Ask, Board, State, board, cue, meant, merged, reset_s, wish
from armlet.console.review.last import Last
from armlet.console.words import Language, Words

EN, ZH = Words(Language.EN), Words(Language.ZH)
HOSTILE = "<img src=x onerror=alert(1)>"
RECORDER = {
    "recording": "False",
    "state": "idle",
    "can_record": "True",
    "failure": "",
    "failures": "0",
    "task": "pick the cube",
    "root": "/data/cube",
    "fps": "30",
    "episodes": "3",
    "episodes_whole": "3",
    "episodes_wanted": "10",
    "episode_s": "20.0",
    "open_frames": "0",
    "saved": "2",
    "success": "",
    "seconds_left": "6000",
}
RECORDING = {"recording": "True", "state": "recording", "open_frames": "375", "saved": ""}


def seen(silent_s=0.0, said="idle", arm="following", **values):
    """What `RecordGraph.view` gives; values: of the recorder's status."""
    recorder = {**RECORDER, **values}
    return SimpleNamespace(
        recorder=recorder,
        recorder_silent_s=silent_s,
        recorder_says=SimpleNamespace(said=said),
        was_recording=recorder["recording"] == "True",
        recording=recorder["recording"] == "True" and not silent_s,
        failed=recorder["state"] == "failed",
        arm=arm,
        arm_silent_s=0.0,
        leader=None,
        computer=None,
        answers=(),
    )


def made(series=None, **values):
    return board(seen(**values), series or SeriesView())


ABSENT = Board()
FAILED = {"state": "failed", "failure": "gap", "failures": "1"}
STATES = [
    (ABSENT, "absent", set()),
    (made(silent_s=4.0, **RECORDING), "silent", set()),
    (made(**FAILED), "failed", {"stop", "d", "r"}),
    (made(**RECORDING), "recording", {"stop", "d", "r"}),
    (made(SeriesView(Step.RESET, 6.2, 10.0)), "reset", {"start", "s", "f"}),
    (made(can_record="False"), "blocked", {"s", "f"}),
    (made(can_record="False", episodes_whole="10"), "done", {"s", "f"}),
    (made(), "ready", {"start", "s", "f"}),
    (made(saved=""), "ready", {"start"}),
]


@pytest.mark.parametrize(("now", "state", "usable"), STATES)
def test_a_person_is_offered_what_the_recorder_would_not_refuse(now, state, usable):
    assert now.state == state and now.usable == usable


@pytest.mark.parametrize(("now", "state", "usable"), STATES)
@pytest.mark.parametrize("say", [EN, ZH], ids=str)
def test_every_state_is_said_in_words_and_by_a_mark(now, state, usable, say):
    html = record_tables.headline(now, say)
    assert say(f"record.state.{state}") in html and f'data-state="{state}"' in html
    assert re.search(r'<span aria-hidden="true">[✓!✗●]</span>', html)
    assert cue(now).key in record_tables.cue_place(now, say)


def test_rows_seconds_and_what_would_be_lost_are_in_large():
    html = record_tables.headline(made(**RECORDING), EN)
    for text in ("12.5 s", "375 rows", "Discard would lose 375 rows, 12.5 s", 'max="20"'):
        assert text in html


def test_why_nothing_is_recorded_stands_there_with_the_fix():
    full = made(can_record="False", episodes_whole="10")
    assert "raise the number of episodes" in record_tables.headline(full, EN)
    html = record_tables.headline(made(can_record="False", task=" ", said="task is empty"), EN)
    assert "task is empty" in html and "Write below what the episodes show" in html
    html = record_tables.headline(made(**FAILED, said="2 frames are missing"), EN)
    assert "2 frames are missing" in html and "Fix the stream that is named" in html
    # A person stopped it too soon: the recorder is idle, and nothing was saved.
    short = made(failure="too_short", failures="1", saved="")
    html = record_tables.headline(short, EN)
    assert "THE LAST RECORDING WAS NOT SAVED" in html and "Shorter than min_episode_s" in html
    assert cue(short).tone == "alarm"
    html = record_tables.headline(made(**{**FAILED, "failure": "of_tomorrow"}), EN)
    assert "See the recorder" in html


@pytest.mark.parametrize("count", ["", "-1", "1e9", "99999999999", "٣", HOSTILE])
def test_counts_that_are_none_are_shown_as_zero(count):
    now = made(open_frames=count, episodes=count, fps=count, saved=count, episode_s=count)
    assert (now.rows, now.episodes, now.fps, now.saved, now.last) == (0, 0, 0, (), None)
    assert now.seconds == 0.0


def test_no_text_from_outside_is_html():
    view = seen(task=HOSTILE, root=HOSTILE, arm=HOSTILE, **RECORDING | {"episode_s": "3"})
    view.answers = (SimpleNamespace(subject=HOSTILE, said=HOSTILE, level="bad"),)
    view.leader = view.computer = SimpleNamespace(said=HOSTILE)
    now = board(view, SeriesView())
    remark = SimpleNamespace(severity="error", code=HOSTILE, said=HOSTILE, fix=HOSTILE)
    last = Last("k", "s", 0, 1, 0.1, (HOSTILE,), HOSTILE, (remark,))
    shown = [
        record_tables.facts(now, view, EN),
        record_tables.answers(view, EN),
        record_tables.last_episode(last, EN),
        record_tables.last_episode(Last(problem=HOSTILE), EN),
        *(
            record_tables.headline(replace(now, state=state, said=HOSTILE, failure=HOSTILE), EN)
            for state in State
        ),
    ]
    assert sum("&lt;img" in html for html in shown) >= 8
    assert not any("<img" in html for html in shown)
    longest = record_tables.answers(
        SimpleNamespace(answers=[SimpleNamespace(subject="", said="x" * 9999, level="bad")]), EN
    )
    assert len(longest) < 1000


@pytest.mark.parametrize(
    ("key", "shown", "meaning"),
    [
        (" ", "ready", "start"),
        (" ", "reset", "start"),
        (" ", "blocked", "start"),  # the recorder says why not
        (" ", "recording", "stop"),
        (" ", "failed", "stop"),
        ("start", "recording", "start"),
        ("d", "recording", "d"),
        ("s", "ready", "s"),
        ("t", "ready", "t"),
    ],
)
def test_a_key_means_what_the_person_saw(key, shown, meaning):
    assert meant({"key": key, "shown": shown, "stops": "3"}) == Ask(meaning, 3)


@pytest.mark.parametrize("args", [None, "d", [], {}, {"key": "x"}, {"key": ["d"]}, {"key": "wish"}])
def test_what_is_no_key_of_this_page_asks_for_nothing(args):
    assert meant(args) is None


@pytest.mark.parametrize("stops", [None, "", "-1", 0, "many", "9" * 99])
def test_who_does_not_say_which_stops_they_saw_saw_none(stops):
    assert meant({"key": "t", "shown": "ready", "stops": stops}) == Ask("t", -1)


def test_only_what_was_changed_is_wished_for():
    now = made()
    assert wish("pick the cube", 10, 20.0, now) is None
    assert wish("  pick  the  sponge ", 10, 20.0, now) == Wish(task="pick the sponge")
    assert wish("pick the cube", None, "", now) == Wish(episodes=0, episode_s=0.0)


@pytest.mark.parametrize(
    "typed",
    [
        ("", 10, 20.0),
        ("x" * 2001, 10, 20.0),
        ("pick\x00", 10, 20.0),
        ("pick", -1, 20.0),
        ("pick", 1.5, 20.0),
        ("pick", 1e300, 20.0),
        ("pick", "many", 20.0),
        ("pick", 10, float("nan")),
        ("pick", 10, -0.1),
        ("pick", 10, 3601),
        ("pick", [], {}),
    ],
)
def test_what_no_recorder_takes_is_refused_with_what_was_expected(typed):
    with pytest.raises(ValueError, match=r"expected .* found"):
        wish(*typed, made())


@pytest.mark.parametrize("typed", [-1, 3601, "soon", float("inf")])
def test_a_time_that_is_none_is_no_countdown(typed):
    with pytest.raises(ValueError, match=r"expected .* found"):
        reset_s(typed)
    assert reset_s(None) == 0.0


def test_a_field_follows_the_recorder_until_a_person_types():
    assert merged("pick", "pick", "place") == "place"
    assert merged("pick the", "pick", "place") == "pick the"


def test_a_cue_is_new_when_there_is_something_to_hear_and_only_then():
    def counting(left_s):
        return cue(made(SeriesView(Step.RESET, left_s, 10.0))).key

    assert counting(9.9) == counting(3.1) != counting(2.9)
    assert counting(2.9) == counting(2.1) != counting(1.9)
    keys = [cue(now).key for now, _, _ in STATES]
    assert len(set(keys)) == len(keys) - 1  # of the two that are ready one has saved, one blocked
    more = {**RECORDING, "open_frames": "376"}
    assert cue(made(**more)) == cue(made(**RECORDING))
    assert cue(made(**FAILED)) != cue(made(**{**FAILED, "failures": "2"}))


def test_board_and_series_load_neither_ros_nor_the_library_of_pages():
    script = (
        "import sys\n"
        "import armlet.console.board, armlet.console.record_tables, armlet.client.series\n"
        "assert not {'rclpy', 'nicegui'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=240)
