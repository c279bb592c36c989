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
