"""Every transition of a policy's state, and what may never happen whatever comes."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from armlet.findings import Severity
from armlet.policies.execution.session import (
    Action,
    ChunkResult,
    Now,
    PolicySession,
    PolicyState,
)

AGE_S, LIMIT_S, CHUNK_S = 0.3, 1.5, 2.0


def at(seconds):
    """An instant that many seconds after the tests' epoch."""
    return Now(round((1e9 + seconds) * 1e9), seconds)


def session(running=True):
    made = PolicySession(running, AGE_S)
    made.inference_limit_s = LIMIT_S
    return made


def driving():
    """A session that is active, warm, fits, and has sent a chunk at 0 s that covers 2 s."""
    made = session()
    made.start()
    made.warmed()
    made.accept()
    assert send(made, 0) is ChunkResult.SEND
    return made


def send(made, seconds, covers_s=CHUNK_S):
    """What becomes of a chunk of an inference in which nothing else happens."""
    made.take_reset()
    stamp_ns = at(seconds).ns
    return made.judge_chunk(stamp_ns, stamp_ns + round(covers_s * 1e9), at(seconds))


def condition(made, seconds, late=""):
    found = made.condition(at(seconds), late)
    return found.state, found.severity, found.text


def test_from_start_to_driving():
    made = session()
    assert made.state(at(0)) is PolicyState.STOPPED
    made.start()
    assert condition(made, 0) == (PolicyState.WARMING, Severity.OK, "warming up")
    made.warmed()
    assert made.unchecked and not made.drives
    assert condition(made, 0)[2] == "running, waiting for the first frames"
    made.accept()
    assert made.drives and not made.unchecked
    assert send(made, 0) is ChunkResult.SEND
    assert condition(made, 1) == (PolicyState.RUNNING, Severity.OK, "running")
    assert made.counts.chunks == 1


@pytest.mark.parametrize("how", ["reset", "resumed", "recorded again", "synchronized"])
def test_a_chunk_of_the_episode_before_is_not_sent(how):
    """A slow inference: meanwhile a person has handed the arm back, where another plan leads."""
    made = driving()
    assert not made.take_reset()
    made.begin_inference(at(1))
    if how == "reset":
        made.reset()
    elif how == "resumed":
        made.pause(at(1.1))
        made.run()
    elif how == "synchronized":
        made.note_clocks("1 s ahead", at(1.1))
        made.note_clocks("", at(1.2))
    else:
        made.note_recorder("disk full", True, at(1.1))
        made.note_recorder("", True, at(1.2))
    assert made.judge_chunk(at(1).ns, at(3).ns, at(1.5)) is ChunkResult.UNWANTED
    made.end_inference()
    assert made.take_reset()
    assert made.judge_chunk(at(1.6).ns, at(3.6).ns, at(2)) is ChunkResult.SEND


def test_one_that_does_not_fit_holds_and_sends_nothing():
    made = driving()
    assert made.refuse("joints differ", at(1)) is Action.HOLD
    assert send(made, 1.1) is ChunkResult.UNWANTED
    assert condition(made, 9) == (PolicyState.REFUSED, Severity.ERROR, "joints differ")
    assert made.run() == "joints differ"


def test_new_frames_are_checked_again_and_the_plan_in_play_is_nobodys():
    made = driving()
    made.frames_changed(at(1))
    assert made.unchecked and send(made, 1.1) is ChunkResult.UNWANTED
    assert made.state(at(9)) is PolicyState.CHECKING
    made.accept()
    assert send(made, 10) is ChunkResult.SEND


def test_a_pause_holds_and_running_on_begins_an_episode():
    made = driving()
    assert made.pause(at(1)) is Action.HOLD
    assert send(made, 1.1) is ChunkResult.UNWANTED
    assert condition(made, 9) == (PolicyState.PAUSED, Severity.OK, "paused")
    assert not made.take_reset()
    assert made.run() == ""
    assert made.take_reset() and not made.take_reset()
    assert send(made, 10) is ChunkResult.SEND


def test_a_pause_for_a_reason_reports_it_until_it_runs_again():
    made = driving()
    assert made.pause(at(1), "paused: drift") is Action.HOLD
    assert condition(made, 2)[1:] == (Severity.ERROR, "paused: drift")
    made.run()
    assert condition(made, 2)[1:] == (Severity.OK, "running")


def test_running_on_while_it_runs_begins_no_episode():
    made = driving()
    assert made.run() == "" and not made.take_reset()


def test_a_recorder_that_cannot_record_holds_once_and_its_return_begins_an_episode():
    made = driving()
    assert made.note_recorder("disk full", True, at(1)) is Action.HOLD
    assert made.note_recorder("disk full", True, at(1.1)) is Action.NONE
    assert condition(made, 1.2)[:2] == (PolicyState.UNRECORDED, Severity.ERROR)
    assert "disk full" in made.run() and send(made, 1.2) is ChunkResult.UNWANTED
    assert made.note_recorder("", True, at(2)) is Action.NONE
    assert made.take_reset() and send(made, 2) is ChunkResult.SEND


def test_a_recorder_not_heard_yet_is_a_warning():
    made = session()
    made.start()
    made.note_recorder("no recorder yet", False, at(0))
    assert condition(made, 0)[:2] == (PolicyState.UNRECORDED, Severity.WARNING)


def test_by_a_clock_that_is_not_the_robots_nothing_is_sent_and_it_holds_once():
    made = driving()
    assert made.note_clocks("1 s ahead", at(1)) is Action.HOLD
    assert made.note_clocks("1.001 s ahead", at(1.1)) is Action.NONE
    found = (
        PolicyState.UNSYNCHRONIZED,
        Severity.ERROR,
        "not driving, the arm holds: 1.001 s ahead",
    )
    assert condition(made, 1.2) == found and send(made, 1.2) is ChunkResult.UNWANTED
    assert made.note_clocks("", at(2)) is Action.NONE
    assert made.take_reset() and send(made, 2) is ChunkResult.SEND


def test_a_clock_that_is_off_is_said_before_the_first_frame():
    made = session()
    made.start()
    made.note_clocks("1 s ahead", at(0))
    assert condition(made, 0)[:2] == (PolicyState.UNSYNCHRONIZED, Severity.ERROR)


def test_a_plan_that_ends_is_held_once_and_the_next_chunk_counts_the_gap():
    made = driving()
    assert made.watch(made.condition(at(1.9)), at(1.9)) is Action.NONE
    over = made.condition(at(2.1))
    assert (over.state, over.severity) == (PolicyState.STARVED, Severity.ERROR)
    assert "no fresh observation for" in over.text
    assert made.watch(over, at(2.1)) is Action.HOLD
    assert made.held and made.watch(over, at(2.2)) is Action.NONE
    assert send(made, 3) is ChunkResult.SEND
    assert not made.held and made.coverage.gaps == 1


def test_a_gap_that_the_strategy_makes_is_no_error():
    made = driving()
    made.gaps_expected = True
    made.note_observation(at(2).ns, at(2))
    over = made.condition(at(2.1))
    assert (over.state, over.severity) == (PolicyState.STARVED, Severity.OK)
    assert made.watch(over, at(2.1)) is Action.NONE
    made.chunk_failed("no action")
    assert made.condition(at(2.1)).severity is Severity.ERROR


def test_an_inference_that_does_not_return_is_reported_before_and_after_the_plan_is_over():
    made = driving()
    made.begin_inference(at(0.1))
    assert condition(made, 1)[0] is PolicyState.RUNNING
    state, severity, text = condition(made, 1.7)
    assert (state, severity) == (PolicyState.HUNG, Severity.ERROR)
    assert text == (
        "inference has taken 1.6 s, expected at most 1.5 s; if it does not return, restart the "
        "policy"
    )
    assert condition(made, 2.5)[2].startswith("no plan for 0.50 s, the arm holds: inference has")
    made.end_inference()
    assert condition(made, 2.5)[0] is PolicyState.STARVED


def test_a_chunk_that_comes_later_than_the_last_one_lasts_is_no_hung_inference():
    made = driving()
    made.begin_inference(at(1.3))
    text = condition(made, 2.02)[2]
    assert text.startswith("no plan for 0.02 s, the arm holds: the last action chunk has ended")
    assert "is being computed, for 0.7 s so far" in text


def test_a_chunk_that_is_over_when_it_comes_is_not_sent():
    made = driving()
    stamp_ns = at(1).ns
    late = made.judge_chunk(stamp_ns, stamp_ns + 10**9, at(2.5))
    assert late is ChunkResult.LATE and made.counts.late == 1
    assert "it covers 1.00 s" in made.trouble and "took 1.50 s" in made.trouble
    assert send(made, 3) is ChunkResult.SEND and made.trouble == ""


def test_a_chunk_with_numbers_that_are_not_finite_is_counted():
    made = driving()
    made.chunk_failed("not finite", not_finite=True)
    made.chunk_failed("a torn picture")
    assert made.counts.refused == 1
    assert condition(made, 1)[1:] == (Severity.ERROR, "a torn picture")


@pytest.mark.parametrize(("age_s", "fresh"), [(0.29, True), (0.31, False), (-0.31, False)])
def test_old_observations_and_those_from_the_future_are_counted_as_stale(age_s, fresh):
    made = driving()
    assert made.note_observation(at(1 - age_s).ns, at(1)) is fresh
    assert made.counts.stale == (not fresh)


def test_late_frames_are_reported_while_there_is_a_plan_and_as_the_cause_when_there_is_none():
    made = driving()
    assert condition(made, 1, "frames are 2 s old")[1:] == (Severity.ERROR, "frames are 2 s old")
    assert condition(made, 3, "frames are 2 s old")[2].endswith("holds: frames are 2 s old")


def test_after_it_was_stopped_nothing_is_sent():
    made = driving()
    assert made.stop(at(1)) is Action.HOLD
    assert send(made, 1) is ChunkResult.UNWANTED and made.state(at(9)) is PolicyState.STOPPED


class AnyOrder(RuleBasedStateMachine):
    """Events in any order. A model keeps what people, recorder and checks last said."""

    @initialize(running=st.booleans())
    def begin(self, running):
        self.session, self.now_s = session(running), 0.0
        self.wanted, self.fits, self.recorder, self.active = running, None, "", False
        self.clocks = ""
        self.sent_since_hold = False

    @property
    def now(self):
        return at(self.now_s)

    @rule(seconds=st.floats(0, 3))
    def time_passes(self, seconds):
        self.now_s += seconds

    @rule()
    def start(self):
        self.session.start()
        self.active = True

    @rule()
    def stop(self):
        self.holds(self.session.stop(self.now))
        self.active = False

    @rule()
    def warmed(self):
        self.session.warmed()

    @rule()
    def frames_changed(self):
        self.session.frames_changed(self.now)
        self.fits = None

    @rule(fits=st.booleans())
    def checked(self, fits):
        if fits:
            self.session.accept()
        else:
            self.holds(self.session.refuse("does not fit", self.now))
        self.fits = fits

    @rule()
    def run(self):
        self.wanted = self.wanted or not (self.fits is False or self.recorder)
        self.session.run()

    @rule()
    def pause(self):
        self.holds(self.session.pause(self.now))
        self.wanted = False

    @rule(refusal=st.sampled_from(["", "disk full"]))
    def note_recorder(self, refusal):
        action = self.session.note_recorder(refusal, True, self.now)
        assert (action is Action.HOLD) == bool(refusal and not self.recorder)
        self.sent_since_hold &= action is not Action.HOLD
        self.recorder = refusal

    @rule(trouble=st.sampled_from(["", "1 s ahead", "2 s ahead"]))
    def note_clocks(self, trouble):
        action = self.session.note_clocks(trouble, self.now)
        assert (action is Action.HOLD) == bool(trouble and not self.clocks)
        self.sent_since_hold &= action is not Action.HOLD
        self.clocks = trouble

    @rule()
    def inference_begins(self):
        self.session.begin_inference(self.now)

    @rule()
    def inference_ends(self):
        self.session.end_inference()

    @rule(age_s=st.floats(0, 3), reset=st.booleans())
    def chunk(self, age_s, reset):
        self.session.take_reset()
        if reset:
            self.session.reset()
        end_ns = self.now.ns + round((CHUNK_S - age_s) * 1e9)
        result = self.session.judge_chunk(end_ns - round(CHUNK_S * 1e9), end_ns, self.now)
        held_up = self.recorder or self.clocks or reset
        may = self.active and self.wanted and self.fits and not held_up
        assert (result is ChunkResult.UNWANTED) == (not may)
        assert (result is ChunkResult.SEND) == bool(may and end_ns > self.now.ns)
        self.sent_since_hold |= result is ChunkResult.SEND

    @rule()
    def watch(self):
        if self.session.watch(self.session.condition(self.now), self.now) is Action.HOLD:
            assert self.sent_since_hold, "held without a plan that had ended"
            assert self.session.condition(self.now).severity is Severity.ERROR
            self.sent_since_hold = False

    def holds(self, action):
        assert action is Action.HOLD
        self.sent_since_hold = False

    @invariant()
    def what_it_says_is_what_it_does(self):
        if not hasattr(self, "session"):
            return
        condition = self.session.condition(self.now)
        assert condition.text
        if condition.state is PolicyState.RUNNING:
            assert self.session.drives
        if self.fits is False and self.active:
            assert condition.state is PolicyState.REFUSED
        if condition.state is PolicyState.STARVED:
            assert self.session.coverage.end_ns is not None


TestAnyOrder = AnyOrder.TestCase
