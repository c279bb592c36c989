"""Trials as the console shows and judges them, without a server and without a graph."""

from __future__ import annotations

import dataclasses
import threading
import time

import pytest

from armlet.console.review.library import LibraryError
from armlet.console.trials.hand import (
    UNSEEN_S,
    HandDesk,
    HandError,
    Phase,
    Say,
    Standing,
    Wish,
)
from armlet.console.trials.shelf import Filter, Label, Shelf, beside
from armlet.evaluation.trials.by_hand import Judged
from armlet.evaluation.trials.report import compare
from armlet.evaluation.trials.results import Plan, Results, read_trials
from armlet.evaluation.trials.statistics import wilson
from armlet.evaluation.trials.trial import Trial
from armlet.files import FileError

PLAN = Plan("reach", "a" * 64, "checkpoints/old", 6.0, task_digest="c" * 64)
OTHER = dataclasses.replace(PLAN, checkpoint="b" * 64, name="checkpoints/new")
BY_HAND = Plan("by hand: cube", "a" * 64, "checkpoints/cube", 0.0)
HOSTILE = "<img src=x onerror=alert(1)>\x1b[2J"


def trial(seed, success=True, **given):
    values = {"duration_s": 3.0, "final": 0.01, "path_rad": 1.0, "path_m": None, "smoothness": -1.5}
    return Trial(seed, success, 2.0 if success else None, **{**values, **given})


def kept(folder, plan, trials):
    with Results(folder, plan) as results:
        for one in trials:
            results.add(one)


@pytest.fixture
def shelf(tmp_path):
    a = [trial(0), trial(1, False), trial(2), trial(3, duration_s=9.0, interventions=2)]
    b = [trial(0), trial(1), trial(2, note=HOSTILE), trial(7)]
    kept(tmp_path / "cube" / "A", PLAN, a)
    kept(tmp_path / "cube" / "B", OTHER, b)
    kept(tmp_path / "deep" / "er" / "A", dataclasses.replace(PLAN, task="push"), [trial(0)])
    (tmp_path / "nothing").mkdir()
    return Shelf((tmp_path,))


def test_output_folders_are_found_and_read_as_the_command_does(shelf):
    places, whole = shelf.look()
    assert [place.name for place in places] == ["cube", "deep/er"] and whole
    a, b = shelf.report("0/cube").sides
    assert (a.successes, len(a.trials), a.plan.name) == (3, 4, "checkpoints/old")
    assert a.interval == wilson(3, 4) and b.interval == wilson(4, 4)
    mark = shelf.mark("0/cube")
    kept(places[0].root / "A", PLAN, [trial(11)])
    assert shelf.mark("0/cube") != mark and shelf.mark("0/gone") == ()


@pytest.mark.parametrize("key", ["", "0/nothing", "0/../cube", "5/cube", "0/cube/A"])
def test_nothing_else_is_shown(shelf, key):
    with pytest.raises(LibraryError):
        shelf.report(key)


def test_a_folder_that_is_none_is_said(tmp_path):
    shelf = Shelf((tmp_path / "no",))
    assert "expected a folder of trials" in shelf.problem and shelf.look() == ((), True)


def test_trials_are_listed_and_filtered_and_their_texts_are_safe(shelf):
    rows = shelf.rows("0/cube", shelf.report("0/cube"))
    assert [(row.side, row.trial.seed) for row in rows][:5] == [
        *[("A", seed) for seed in range(4)],
        ("B", 0),
    ]

    def chosen(**given):
        return [(row.side, row.trial.seed) for row in Filter(**given).chosen(rows)]

    assert chosen(labels=frozenset([Label.FAILURE])) == [("A", 1)]
    assert chosen(longest_s=8.0, sides=frozenset("A")) == [("A", 0), ("A", 1), ("A", 2)]
    assert chosen(shortest_s=8.0) == chosen(intervened=True) == [("A", 3)]
    assert chosen(noted=True) == [("B", 2)]
    assert chosen(disputed=frozenset([1])) == [("A", 1), ("B", 1)]
    assert "\x1b" not in "".join(row.note for row in rows)


def test_two_policies_are_compared_by_the_commands_own_test(shelf):
    a, b = shelf.report("0/cube").sides
    found = beside(a, b)
    assert found.comparison == compare(a.trials, b.trials)
    assert (found.pairs, found.comparison.only_b, found.differs) == (3, (1,), ())
    changed = dataclasses.replace(b, plan=dataclasses.replace(OTHER, physics="mujoco"))
    assert beside(a, changed).differs == ("physics",)
    with pytest.raises(LibraryError, match="expected trials of one task"):
        beside(a, shelf.report("0/deep/er").sides[0])


def test_a_video_is_one_of_the_trials_own(tmp_path, shelf):
    folder = tmp_path / "cube" / "A"
    kept(folder, PLAN, [trial(20, video="videos/seed-20.mp4"), trial(21, video="videos/s.mp4")])
    (folder / "videos").mkdir()
    (folder / "videos" / "seed-20.mp4").write_bytes(b"film")
    (folder / "videos" / "s.mp4").symlink_to("/etc/passwd")
    assert shelf.video("0/cube", "A", 20).read_bytes() == b"film"
    for side, seed in (("A", 0), ("B", 20), ("A", 21), ("A", 999)):
        with pytest.raises((LibraryError, FileError)):
            shelf.video("0/cube", side, seed)
    shown = {row.trial.seed: row.video for row in shelf.rows("0/cube", shelf.report("0/cube"))}
    assert shown[20] and not shown[0]


# --- by hand --------------------------------------------------------------------------------------


class Driver:
    """A graph whose policy a test lets drive."""

    def __init__(self):
        self.policy, self.checkpoint, self.stopped = "{}", "checkpoints/cube", False
        self.running, self.begun, self.closed = False, 0, False
        self.refusing = self.not_pausing = self.refused = ""
        self.entered, self.wait = threading.Event(), None

    def hand_trials(self):
        self.closed = False
        return self

    def refusal(self, weights):
        return self.refused

    def begin(self):
        self.entered.set()
        if self.wait is not None:
            assert self.wait.wait(60.0)
        if not self.refusing:
            self.running, self.stopped = True, False
            self.begun += 1
        return self.refusing

    def pause(self):
        was, self.running = self.running, False
        return self.not_pausing if was else ""

    def trial(self, number, success):
        return trial(number, success, final=None, interventions=1)

    def close(self):
        self.pause()
        self.closed = True


@pytest.fixture
def driver():
    return Driver()


@pytest.fixture
def desk(tmp_path, driver):
    (tmp_path / "evals").mkdir()
    shelf = Shelf((tmp_path / "evals",))
    plan = Judged(BY_HAND, "f" * 64)
    made = HandDesk(driver, shelf, lambda task, checkpoint: plan, watched=False)
    yield made
    made.close()


def now(desk) -> Standing:
    return desk.look(time.monotonic())


def opened(desk, **given):
    desk.open(Wish("cube", **{"count": 3, "name": "cube", **given}), now(desk).revision)
    return now(desk)


def labelled(desk, success=True, note=""):
    desk.begin(now(desk).revision)
    desk.label(now(desk).revision, success, note)
    return now(desk)


def trials_of(tmp_path, side="A"):
    return read_trials(tmp_path / "evals" / "cube" / side)


def test_trials_are_judged_as_by_the_command_and_the_last_label_is_undone(tmp_path, desk, driver):
    seen = opened(desk)
    assert (seen.phase, seen.number, seen.count) == (Phase.READY, 0, 3)
    desk.begin(now(desk).revision)
    assert now(desk).phase is Phase.DRIVING and driver.running
    desk.label(now(desk).revision, False, f" {HOSTILE} ")
    assert not driver.running
    labelled(desk)
    first, second = trials_of(tmp_path)
    assert (first.success, second.success, first.interventions) == (False, True, 1)
    assert first.note.startswith("<img") and "\x1b" not in first.note
    desk.take_back(now(desk).revision, 1)
    assert [one.seed for one in trials_of(tmp_path)] == [0] and now(desk).number == 1
    with pytest.raises(HandError, match="expected trial 1 to be labelled last, found trial 0"):
        desk.take_back(now(desk).revision, 1)
    labelled(desk)
    assert labelled(desk).phase is Phase.DONE
    desk.take_back(now(desk).revision, 2)
    assert now(desk).phase is Phase.READY
    desk.close(now(desk).revision)
    assert driver.closed and now(desk).phase is Phase.NONE
    assert (tmp_path / "evals" / "cube" / "report.html").is_file()
    assert len(trials_of(tmp_path)) == 2


def test_they_go_on_where_they_were_and_the_other_side_is_compared(tmp_path, desk):
    opened(desk)
    labelled(desk)
    desk.close(now(desk).revision)
    key = "0/cube"
    desk.open(Wish("cube", 3, key=key), now(desk).revision)
    assert (now(desk).number, now(desk).labelled, now(desk).key) == (1, 1, key)
    desk.close(now(desk).revision)
    desk.open(Wish("cube", 3, side="B", key=key), now(desk).revision)
    labelled(desk, False)
    desk.close(now(desk).revision)
    a, b = Shelf((tmp_path / "evals",)).report(key).sides
    assert beside(a, b).comparison.only_a == (0,)


def test_two_browsers_label_one_trial_once(tmp_path, desk):
    opened(desk)
    desk.begin(now(desk).revision)
    both = now(desk).revision
    desk.label(both, True)
    for order in (
        lambda: desk.label(both, False),
        lambda: desk.discard(both),
        lambda: desk.begin(both),
        lambda: desk.close(both),
    ):
        with pytest.raises(HandError) as error:
            order()
        assert error.value.code is Say.STALE
    assert [one.success for one in trials_of(tmp_path)] == [True]


def test_an_order_comes_to_nothing_while_another_one_is_done(desk, driver):
    opened(desk)
    driver.wait = threading.Event()
    beginning = threading.Thread(target=desk.begin, args=(now(desk).revision,))
    beginning.start()
    try:
        assert driver.entered.wait(60.0)
        assert now(desk).phase is Phase.BUSY
        with pytest.raises(HandError) as error:
            desk.begin(now(desk).revision)
        assert error.value.code is Say.BUSY
    finally:
        driver.wait.set()
        beginning.join()
    assert driver.begun == 1 and now(desk).phase is Phase.DRIVING


def test_a_stopped_trial_is_none(tmp_path, desk, driver):
    opened(desk)
    desk.begin(now(desk).revision)
    driver.stopped = True
    desk.tick(time.monotonic())
    assert not driver.running and now(desk).said == ((Say.STOPPED, ""),)
    desk.begin(now(desk).revision)
    driver.stopped = True
    desk.label(now(desk).revision, True)
    assert now(desk).said[0][0] is Say.STOPPED and now(desk).phase is Phase.READY
    assert trials_of(tmp_path) == []


def test_no_policy_drives_while_nobody_looks(tmp_path, desk, driver):
    opened(desk)
    desk.begin(now(desk).revision)
    looked_s = time.monotonic()
    desk.look(looked_s)
    desk.tick(looked_s + UNSEEN_S - 0.1)
    assert driver.running
    desk.tick(looked_s + UNSEEN_S + 0.1)
    assert not driver.running and now(desk).said[0][0] is Say.UNSEEN
    assert trials_of(tmp_path) == [] and now(desk).phase is Phase.READY


def test_a_policy_that_does_not_drive_or_pause_is_said_in_its_own_words(tmp_path, desk, driver):
    opened(desk)
    driver.refusing = "camera front does not fit"
    with pytest.raises(HandError, match="camera front does not fit"):
        desk.begin(now(desk).revision)
    assert now(desk).said == ((Say.NOT_DRIVEN, "camera front does not fit"),)
    assert now(desk).phase is Phase.READY
    driver.refusing, driver.not_pausing = "", "policy does not answer"
    labelled(desk)
    assert now(desk).said == ((Say.LABELLED, ""), (Say.NOT_PAUSED, "policy does not answer"))
    assert len(trials_of(tmp_path)) == 1


def test_a_label_that_could_not_be_kept_is_given_again(tmp_path, desk, driver, monkeypatch):
    opened(desk)
    desk.begin(now(desk).revision)
    with monkeypatch.context() as full:

        def no_room(self, one):
            raise OSError(28, "No space left on device", "trials.jsonl")

        full.setattr(Results, "add", no_room)
        with pytest.raises(HandError, match="No space left"):
            desk.label(now(desk).revision, True)
    assert not driver.running and now(desk).phase is Phase.DRIVING
    desk.label(now(desk).revision, True)
    assert len(trials_of(tmp_path)) == 1


@pytest.mark.parametrize(
    "given",
    [
        {"count": 0},
        {"count": 10**9},
        {"side": "C"},
        {"side": "../x"},
        {"first": -1},
        {"name": ""},
        {"name": "../x"},
        {"name": ".x"},
        {"folder": 7},
        {"key": "0/no"},
    ],
)
def test_what_no_form_of_ours_asks_for_begins_nothing(tmp_path, desk, given):
    with pytest.raises(HandError):
        opened(desk, **given)
    assert now(desk).phase is Phase.NONE and list((tmp_path / "evals").iterdir()) == []


def test_a_policy_that_cannot_be_tried_leaves_no_folder(tmp_path, desk, driver):
    for name, value, code in (
        ("refused", "another policy runs", Say.REFUSED),
        ("checkpoint", "", Say.NO_CHECKPOINT),
    ):
        before = getattr(driver, name)
        setattr(driver, name, value)
        with pytest.raises(HandError) as error:
            opened(desk)
        assert error.value.code is code and driver.closed
        setattr(driver, name, before)
    assert list((tmp_path / "evals").iterdir()) == []


def test_a_folder_that_the_command_writes_is_left_to_it(tmp_path, desk, driver):
    with (
        Results(tmp_path / "evals" / "cube" / "A", BY_HAND),
        pytest.raises(HandError, match="is being written by another armlet eval"),
    ):
        opened(desk, key="0/cube")
    assert driver.closed and now(desk).phase is Phase.NONE
