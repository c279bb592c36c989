"""What a program that was not run for a while must not take for missing."""

import pytest

from armlet.align import (
    Aligner,
    Pauses,
    Policy,
    Sample,
    StreamConfig,
    grid_index,
    grid_ns,
    offline,
    troubles,
)

MS = 1_000_000
START_NS = 1_700_000_000_000_000_000


def turns(pauses, *after_ms):
    now_ns = 5 * MS
    for step in after_ms:
        now_ns += step * MS
        behind_ns = pauses.turn(now_ns)
    return behind_ns // MS


def test_a_program_that_runs_all_the_time_is_not_behind():
    assert turns(Pauses(), 0, *[20] * 50) == 0


def test_that_simulated_time_begins_is_no_pause():
    pauses = Pauses()
    assert [pauses.turn(now_ns) for now_ns in (0, 0, START_NS, START_NS + MS)] == [0] * 4
    assert pauses.turn(START_NS + 1001 * MS) == 1000 * MS


def test_after_a_pause_it_is_behind_for_as_long_as_it_was_away():
    assert turns(Pauses(), 0, 20, 600) == 600
    assert turns(Pauses(), 0, 20, 600, *[20] * 40) == 400
    assert turns(Pauses(), 0, 20, 600, *[20] * 120) == 0


def test_pauses_add_up_to_a_bound():
    assert turns(Pauses(), 0, 300, 20, 300) == 595
    assert turns(Pauses(), 0, 600_000) == 60_000


def played(pauses, *steps_ms, rate=1.0):
    """What `turns` says of a program that runs every 20 ms while a player's clock takes steps."""
    now_ns, ran_ns = START_NS, 5 * MS
    behind_ns = pauses.turn(now_ns, ran_ns)
    for step in steps_ms:
        for _ in range(max(1, round(step / rate / 20))):
            ran_ns += 20 * MS
            behind_ns = pauses.turn(now_ns, ran_ns)
        now_ns += step * MS
        behind_ns = pauses.turn(now_ns, ran_ns)
    return behind_ns // MS


@pytest.mark.parametrize(("step_ms", "rate"), [(100, 1.0), (100, 4.0), (1000, 1.0), (25, 1.0)])
def test_large_steps_of_a_clock_that_is_played_are_no_pauses(step_ms, rate):
    assert played(Pauses(), *[step_ms] * 50, rate=rate) == 0


def test_a_pause_by_the_wall_clock_counts_as_much_as_the_played_clock_went_on():
    pauses = Pauses()
    assert played(pauses, 100, 100) == 0
    # Not run for 0.5 s, while a player at double rate went on. A message is taken first.
    ran_ns = pauses._ran_ns + 500 * MS
    assert pauses.turn(START_NS + 200 * MS, ran_ns) == 0
    assert pauses.turn(START_NS + 1200 * MS, ran_ns + MS) == 1000 * MS
    # And it is worked off with the played time, in steps however large.
    assert pauses.turn(START_NS + 1600 * MS, ran_ns + 21 * MS) == 900 * MS


def test_a_clock_that_is_set_back_puts_a_program_no_further_behind():
    pauses = Pauses()
    assert played(pauses, 100, 100) == 0
    assert pauses.turn(START_NS - 30_000 * MS, pauses._ran_ns + 20 * MS) == 0
    assert pauses.turn(START_NS - 29_900 * MS, pauses._ran_ns + 20 * MS) == 0


def test_a_stream_that_ends_is_given_up_in_time_though_the_clock_takes_large_steps():
    aligner, pauses, found = Aligner(streams(), 30, 0.1), Pauses(), []
    for k in range(60):
        stamp_ns, now_ns = START_NS + k * 33 * MS, START_NS + k * 33 // 100 * 100 * MS
        for name in ("one", "two") if k < 20 else ("one",):
            aligner.push(name, stamp_ns, k)
        found += aligner.frames(now_ns, pauses.turn(now_ns, k * 33 * MS + MS))
    assert len(found) > 10
    assert aligner.ledger.missed_frames > 20


def streams():
    return [StreamConfig(name, Policy.NEAREST, 0.02) for name in ("one", "two")]


@pytest.mark.parametrize("pauses", [True, False])
def test_frames_whose_samples_wait_in_queues_are_not_given_up(pauses):
    """Away for a second; then stream one's queue is taken, and after it stream two's."""
    fps, wait_s = 30, 0.1
    aligner, frames = Aligner(streams(), fps, wait_s), []
    first = grid_index(START_NS, fps)
    stamps = [grid_ns(first + k, fps) for k in range(30)]
    now_ns = stamps[-1] + 5 * MS
    behind_ns = 1000 * MS if pauses else 0
    for name in ("one", "two"):
        for stamp in stamps:
            aligner.push(name, stamp, stamp)
            frames += aligner.frames(now_ns, behind_ns)
    if not pauses:
        assert len(frames) < 10, "what this is for"
        return
    assert [frame.stamp_ns for frame in frames] == stamps
    assert aligner.ledger.missed_frames == 0
    samples = [Sample(name, stamp, stamp) for stamp in stamps for name in ("one", "two")]
    assert frames == list(offline(streams(), samples, fps, wait_s))


def test_a_frame_that_is_complete_does_not_wait_for_a_backlog():
    aligner = Aligner(streams(), 30, 0.1)
    at_ns = grid_ns(grid_index(START_NS, 30), 30)
    for name in ("one", "two"):
        aligner.push(name, at_ns, 1)
    assert len(list(aligner.frames(at_ns, 2000 * MS))) == 1


def test_troubles_are_the_counts_that_say_why_frames_are_missing():
    earlier = {"top": {"received": 5, "used": 5, "stale": 1}, "state": {"received": 9}}
    later = {"top": {"received": 5, "used": 5, "stale": 4}, "state": {"received": 30, "used": 7}}
    assert troubles(later, earlier) == {"top": {"stale": 3}}
    assert troubles({"top": {"frozen": 2, "reused": 3}}, {}) == {"top": {"frozen": 2}}
