"""Late data: no row is lost because some process was not run for a few seconds, none is false."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armlet.align import (
    GIVE_UP_S,
    WAITING,
    Aligner,
    Backlog,
    Miss,
    Pauses,
    Policy,
    Punctuality,
    Sample,
    StreamConfig,
    Timing,
    counts_since,
    grid_index,
    grid_ns,
    offline,
    troubles,
)

MS = 1_000_000
S = 1000 * MS
START_NS = 1_700_000_000_000_000_000
FPS = 30
FIRST = grid_index(START_NS, FPS)
MAX_WAIT_S = 0.3


def tick(k):
    return grid_ns(FIRST + k, FPS)


def new_aligner(give_up_s=GIVE_UP_S):
    streams = (
        StreamConfig("state", Policy.LINEAR, 0.05),
        StreamConfig("cam", Policy.NEAREST, 0.04),
    )
    return Aligner(streams, FPS, MAX_WAIT_S, give_up_s)


class Live:
    """An aligner as the node runs it: fed in the order things come, asked many times a second."""

    def __init__(self, aligner):
        self.aligner, self.frames, self.emitted_ns = aligner, [], {}
        self.timings = []

    def run(self, arrivals, until_ns, since_ns=START_NS, step_ns=1):
        """arrivals: (received, stream, stamp), ns. step_ns: those of its clock."""
        events = [(at, 1, stream, stamp) for at, stream, stamp in arrivals]
        events += [(at, 0, "", 0) for at in range(since_ns, until_ns, 20 * MS)]
        for at_ns, _, stream, stamp_ns in sorted(events):
            at_ns -= at_ns % step_ns
            if stream:
                sample = Sample(stream, stamp_ns, value_of(stamp_ns), None, at_ns)
                self.timings.append(self.aligner.arrive(sample, at_ns))
            for frame in self.aligner.frames(at_ns):
                self.frames.append(frame)
                self.emitted_ns[frame.index - FIRST] = at_ns
        return self


def value_of(stamp_ns):
    return np.array([(stamp_ns - START_NS) / MS])


def states(seconds):
    return [
        (tick(0) + k * 10 * MS + 2 * MS, "state", tick(0) + k * 10 * MS)
        for k in range(100 * seconds)
    ]


def pictures(seconds, came=lambda stamp_ns: stamp_ns + 20 * MS):
    return [(came(tick(k)), "cam", tick(k)) for k in range(FPS * seconds)]


def held_until(begin_ns, end_ns):
    """Nothing of a stream comes from begin to end; then all of it, in a burst."""

    def came(stamp_ns):
        at_ns = stamp_ns + 20 * MS
        return at_ns if not begin_ns <= at_ns <= end_ns else end_ns + (at_ns - begin_ns) // MS

    return came


def rows(frames):
    return [frame.index - FIRST for frame in frames]


@pytest.mark.parametrize("away_s", [0.25, 1.0, 3.0, 4.5])
def test_a_camera_process_that_is_not_run_for_seconds_costs_no_row(away_s):
    begin = START_NS + 2 * S
    late = pictures(10, held_until(begin, begin + round(away_s * S)))
    live = Live(new_aligner()).run(states(10) + late, START_NS + 10 * S)
    assert rows(live.frames) == list(range(rows(live.frames)[-1] + 1))
    assert rows(live.frames)[-1] > 9.8 * FPS
    # The first frame without its picture is built of the one before it, within tolerance.
    assert sum(frame.skew_s["cam"] != 0.0 for frame in live.frames) <= 1
    assert live.aligner.ledger.missed_frames == 0


@pytest.mark.parametrize("step_ms", [25, 50, 100])
def test_under_a_clock_that_goes_in_steps_the_frames_are_the_same(step_ms):
    """As `ros2 bag play --clock` has it, 40 times a second: messages are ahead of the time."""
    arrivals = states(6) + pictures(6)
    live = Live(new_aligner()).run(arrivals, START_NS + 6 * S)
    played = Live(new_aligner()).run(arrivals, START_NS + 6 * S, step_ns=step_ms * MS)
    assert len(played.frames) > 5.7 * FPS
    assert played.frames == live.frames[: len(played.frames)]
    assert set(played.timings) == {Timing.IN_TIME}


def test_under_a_clock_of_large_steps_messages_are_from_the_future():
    played = Live(new_aligner()).run(states(2) + pictures(2), START_NS + 2 * S, step_ns=250 * MS)
    assert Timing.FUTURE in played.timings


def test_what_this_is_for_without_it_they_are_lost():
    begin = START_NS + 2 * S
    late = pictures(6, held_until(begin, begin + 2 * S))
    live = Live(new_aligner(give_up_s=None)).run(states(6) + late, START_NS + 6 * S)
    assert live.aligner.ledger.missed_frames > 40


def test_one_picture_stamped_before_the_pause_and_sent_after_it_is_used():
    """A process that was stopped between the stamp and the message; what it missed is not there."""
    begin, end = 60, 120
    came = [(tick(k) + 20 * MS, "cam", tick(k)) for k in range(begin)]
    came += [(tick(end) + 5 * MS, "cam", tick(begin))]
    came += [(tick(k) + 20 * MS, "cam", tick(k)) for k in range(end, 240)]
    live = Live(new_aligner()).run(states(8) + came, tick(240))
    found = rows(live.frames)
    assert begin in found
    assert found[:60] == list(range(60))
    assert set(range(120, 235)) <= set(found)


def test_a_late_frame_is_emitted_as_soon_as_its_data_are_there_and_none_behind_it_waits():
    begin = START_NS + 2 * S
    late = pictures(8, held_until(begin, begin + 2 * S))
    live = Live(new_aligner()).run(states(8) + late, START_NS + 8 * S)
    delays = {k: at - tick(k) for k, at in live.emitted_ns.items()}
    recovered = grid_index(begin + 2 * S, FPS) - FIRST
    assert max(delays[k] for k in range(50)) < 60 * MS
    assert max(delays[k] for k in delays if k > recovered + 2) < 60 * MS
    assert max(delays.values()) < 2.1 * S


def test_a_stalled_stream_is_given_up_and_waits_visibly_meanwhile():
    aligner = new_aligner()
    live = Live(aligner).run(states(4) + pictures(2), START_NS + 4 * S)
    waiting = aligner.waiting(START_NS + 4 * S)
    assert waiting.keys() == {"cam"}
    assert waiting["cam"] == pytest.approx((2.0 - MAX_WAIT_S) * FPS, abs=3)
    assert aligner.ledger.missed_frames == 0
    later = [e for e in states(9) if e[0] >= START_NS + 4 * S]
    live.run(later, START_NS + 9 * S, START_NS + 4 * S)
    given_up = aligner.ledger.streams["cam"].missed[Miss.STALE]
    assert given_up == pytest.approx((9 - 2 - GIVE_UP_S) * FPS, abs=3)


def test_a_frame_that_can_be_built_waits_no_longer_than_max_wait():
    aligner = new_aligner()
    aligner.push("state", tick(0) - 4 * MS, value_of(0))
    aligner.push("state", tick(0) + 4 * MS, value_of(0))
    aligner.push("cam", tick(0) - 10 * MS, value_of(0))
    wait_ns = round(MAX_WAIT_S * S)
    assert rows(aligner.frames(tick(0) + wait_ns - MS)) == []
    assert rows(aligner.frames(tick(0) + wait_ns)) == [0]


def test_a_frame_that_never_can_be_built_holds_up_none_that_can():
    """The state has a gap at frame 1; the camera, which may be old, stalls."""
    streams = (StreamConfig("state", Policy.LINEAR, 0.02), StreamConfig("cam", Policy.PREVIOUS, 2))
    aligner = Aligner(streams, FPS, MAX_WAIT_S, GIVE_UP_S)
    aligner.push("cam", tick(0), value_of(0))
    for k in (0, 2, 3):
        for off in (-4, 4):
            aligner.push("state", tick(k) + off * MS, value_of(0))
    frames = list(aligner.frames(tick(3) + round(MAX_WAIT_S * S)))
    assert rows(frames) == [0, 2, 3]
    assert aligner.ledger.streams["state"].missed.total() == 1


def test_memory_is_bounded_while_frames_wait():
    streams = (
        StreamConfig("state", Policy.LINEAR, 0.05, depth=64),
        StreamConfig("cam", Policy.NEAREST, 0.04, depth=8),
    )
    aligner = Aligner(streams, FPS, MAX_WAIT_S, 60.0)
    aligner.arrive(Sample("cam", tick(0), 0), tick(0))
    for k in range(1, 250):
        aligner.push("state", tick(k), value_of(0))
        aligner.arrive(Sample("cam", tick(k), 0), tick(250) + k)
    assert aligner.ledger.streams["state"].overflow == 249 - 64
    assert aligner.ledger.streams["cam"].overflow > 230
    assert len(aligner._held["cam"]) <= 8


# --- a clock that is behind is not late data -------------------------------------------------


def judge(came, usual_s=MAX_WAIT_S, reorder_s=0.0):
    punctuality = Punctuality(usual_s, reorder_s)
    return [punctuality.judge(stamp, at) for at, stamp in came]


def steady(count, late_ms, begin_ms=0, period_ms=33):
    times = [START_NS + (begin_ms + k * period_ms) * MS for k in range(count)]
    return [(at, at - late_ms * MS) for at in times]


@pytest.mark.parametrize("late_ms", [400, 700, 1900, 5000])
def test_a_clock_that_was_behind_from_the_start_is_named_at_once(late_ms):
    assert set(judge(steady(60, late_ms))) == {Timing.OFFSET}


@pytest.mark.parametrize("late_ms", [400, 700, 1900, 5000])
def test_a_clock_that_is_set_back_gives_no_false_row(late_ms):
    """Pictures tell when they were taken; a row with one of another time would be false."""
    back = START_NS + 2 * S
    came = []
    for k in range(FPS * 12):
        taken_ns = tick(k)
        wrong = back <= taken_ns < back + 6 * S
        came.append((taken_ns + 20 * MS, "cam", taken_ns - wrong * late_ms * MS, taken_ns))
    aligner, frames = new_aligner(), []
    state = [(at, name, stamp, stamp) for at, name, stamp in states(12)]
    for at_ns, stream, stamp_ns, taken_ns in sorted(came + state):
        aligner.arrive(Sample(stream, stamp_ns, np.array([taken_ns], float)), at_ns)
        frames += aligner.frames(at_ns)
    assert rows(frames)[:50] == list(range(50)) and rows(frames)[-1] > 11.8 * FPS
    off_ms = [abs(frame.values["cam"][0] - frame.stamp_ns) / MS for frame in frames]
    assert max(off_ms) < 40
    assert aligner.ledger.streams["cam"].refused > 100


def test_a_clock_set_back_while_the_camera_was_away_gives_no_false_row():
    on = steady(30, 10)
    off = steady(30, 700, begin_ms=5000)
    again = steady(5, 10, begin_ms=8000)
    timings = judge(on + off + again)
    assert timings[:30] == [Timing.IN_TIME] * 30
    assert Timing.IN_TIME not in timings[30:60]
    # The first of them may be late for another reason; by the eighth it is known that they are not.
    assert set(timings[38:60]) == {Timing.OFFSET}
    assert timings[60:] == [Timing.IN_TIME] * 5


@pytest.mark.parametrize(("apart_ms", "count"), [(1, 60), (24, 220)])
def test_a_burst_is_late_data(apart_ms, count):
    burst = [
        (START_NS + 3 * S + k * apart_ms * MS, START_NS + S + k * 33 * MS) for k in range(count)
    ]
    timings = judge(steady(30, 10) + burst)
    assert Timing.OFFSET not in timings
    assert timings[-1] is Timing.IN_TIME


def test_a_burst_that_is_blocked_on_its_way_is_late_data():
    """What was lost on the way is repeated some seconds after the first came."""
    first = [(START_NS + 3 * S + k * MS, START_NS + S + k * 10 * MS) for k in range(5)]
    rest = [(START_NS + 5 * S + k * MS, START_NS + S + k * 10 * MS) for k in range(5, 430)]
    timings = judge(steady(30, 10) + first + rest)
    assert Timing.OFFSET not in timings
    assert timings[-1] is Timing.IN_TIME


def test_a_slow_machine_works_off_what_waited_and_refuses_none_of_it():
    """Away for 3 s, then 7 ms for each message of 10 ms: one more comes while two are taken."""
    punctuality, pauses = Punctuality(MAX_WAIT_S), Pauses()
    timings = [punctuality.judge(START_NS, START_NS, pauses.turn(START_NS))]
    taken_ns = START_NS + 3 * S
    for k in range(1, 1200):
        stamp_ns = START_NS + k * 10 * MS
        taken_ns = max(taken_ns + 7 * MS, stamp_ns)
        timings.append(punctuality.judge(stamp_ns, taken_ns, pauses.turn(taken_ns)))
    assert Timing.OFFSET not in timings and Timing.SKIPPED not in timings
    assert timings[-1] is Timing.IN_TIME


@pytest.mark.parametrize(
    ("late_ms", "timing"),
    [
        (-110, Timing.FUTURE),
        (-90, Timing.IN_TIME),
        (290, Timing.IN_TIME),
        (310, Timing.LATE),
        (9_900, Timing.LATE),
        (10_100, Timing.OLD),
    ],
)
def test_a_stamp_may_be_late_but_not_of_the_future(late_ms, timing):
    came = [(START_NS, START_NS), (START_NS + 20 * S, START_NS + 20 * S - late_ms * MS)]
    assert judge(came)[-1] is timing


def test_after_a_pause_of_this_node_what_it_explains_may_come_slowly():
    """Beside other programs the burst takes as long as its stamps span; then it is in time."""
    for paused_ns, kind in ((3 * S, Timing.LATE), (0, Timing.OFFSET)):
        punctuality = Punctuality(MAX_WAIT_S)
        punctuality.judge(START_NS, START_NS)
        timings = [
            punctuality.judge(START_NS + k * 33 * MS, START_NS + 3 * S + k * 30 * MS, paused_ns)
            for k in range(1, 60)
        ]
        assert timings[-1] is kind
        assert (Timing.OFFSET in timings) is (kind is Timing.OFFSET)
        at_ns = START_NS + 10 * S
        assert punctuality.judge(at_ns, at_ns) is Timing.IN_TIME


def test_a_slow_stream_is_in_time_within_the_wait_that_was_asked_for():
    assert set(judge(steady(20, 800), usual_s=1.0)) == {Timing.IN_TIME}


def test_a_recording_by_another_clock_is_judged_by_its_best():
    late = [
        Sample(s, at, value_of(at), None, at + 900 * MS)
        for _, s, at in sorted(states(2) + pictures(2))
    ]
    frames = list(
        offline(
            [StreamConfig("state", Policy.LINEAR, 0.05), StreamConfig("cam", Policy.NEAREST, 0.04)],
            late,
            FPS,
        )
    )
    assert len(frames) > 55


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_whatever_pauses_the_processes_have_no_row_is_lost_or_false(data):
    """Any process pauses for up to 3 s at a time; what it has stamped comes in a burst after it."""
    seconds = 12
    arrivals = []
    for name, events in (("state", states(seconds)), ("cam", pictures(seconds))):
        begin = START_NS + data.draw(st.integers(500, 4000)) * MS
        end = begin + data.draw(st.integers(0, 3000)) * MS
        came = held_until(begin, end)
        arrivals += [(came(stamp), name, stamp) for _, _, stamp in events]
    live = Live(new_aligner()).run(arrivals, START_NS + seconds * S)
    found = rows(live.frames)
    assert found == list(range(len(found))) and found[-1] > (seconds - 0.3) * FPS
    for frame in live.frames:
        assert abs(frame.values["cam"][0] - value_of(frame.stamp_ns)[0]) <= 40


# --- this node itself is behind ---------------------------------------------------------------


def test_a_message_that_waited_here_says_how_far_behind_the_node_is():
    backlog = Backlog()
    assert backlog.take(START_NS, START_NS + 2 * MS)
    assert not backlog.behind
    assert backlog.take(START_NS + S, START_NS + 3 * S)
    assert backlog.behind and "2.0 s behind" in str(backlog)
    assert backlog.turn(START_NS + 3 * S, 0) == 2 * S
    assert backlog.take(START_NS + 4 * S, START_NS + 4 * S + MS)
    assert not backlog.behind


def test_a_node_with_nothing_to_take_is_not_behind():
    backlog = Backlog()
    backlog.take(START_NS, START_NS + 2 * S)
    assert backlog.turn(START_NS + 3 * S, 0) == 2 * S
    assert backlog.turn(START_NS + 5 * S, 20 * MS) == 0
    assert not backlog.behind


def test_a_backlog_beyond_use_is_dropped_whole_and_said_once():
    backlog = Backlog()
    now = START_NS + 6 * S
    waiting = [START_NS + k * 10 * MS for k in range(600)]
    assert not any(backlog.take(received, now + k * MS // 10) for k, received in enumerate(waiting))
    assert backlog.skipped_s() == pytest.approx(6.0)
    assert backlog.skipped_s() == 0.0
    assert backlog.take(now + 100 * MS, now + 101 * MS)
    # A clock that is set back must not have everything dropped.
    assert backlog.take(START_NS - S, START_NS - S)


def test_an_old_stamp_after_a_pause_of_this_node_is_not_the_publishers_fault():
    for paused_s in (0, 1, 15):
        aligner = new_aligner()
        aligner.arrive(Sample("cam", START_NS, 0), START_NS)
        timing = aligner.arrive(Sample("cam", START_NS + S, 0), START_NS + 21 * S, paused_s * S)
        account = aligner.ledger.streams["cam"]
        # A pause that explains a part of its age only is no excuse.
        assert timing is (Timing.SKIPPED if paused_s == 15 else Timing.OLD)
        assert (account.refused, account.skipped) == ((0, 1) if paused_s == 15 else (1, 0))


def test_what_waits_and_what_was_skipped_says_why_rows_are_missing():
    later = {"cam": {"used": 9, WAITING: 12, "skipped": 3}}
    assert troubles(later, {"cam": {"used": 2}}) == {"cam": {"stale": 12, "skipped": 3}}
    assert counts_since(later, {})["cam"][WAITING] == 12


def test_the_wait_for_late_data_is_no_shorter_than_the_one_for_better():
    with pytest.raises(ValueError, match=r"at least max_wait_s, 0.3.* found 0.1"):
        new_aligner(give_up_s=0.1)
