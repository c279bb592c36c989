"""The time-synchronizing buffer: stamps alone decide, nothing is invented, all is counted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armlet.align import (
    Aligner,
    Assembler,
    Miss,
    Policy,
    StreamConfig,
    grid_index,
    grid_ns,
)
from armlet.frozen import fingerprint

FPS = 30
MS = 1_000_000
START = 1_700_000_000_000_000_000
FIRST = grid_index(START, FPS)


def aligner(*streams: tuple[str, Policy, float], max_wait_s: float = 0.1) -> Aligner:
    return Aligner((StreamConfig(*stream) for stream in streams), FPS, max_wait_s)


def ramp(at_ns: int) -> np.ndarray:
    return np.array([(at_ns - START) * 1e-9, 1.0])


@given(st.integers(0, 2**61), st.integers(1, 240))
def test_grid_index_is_the_first_point_not_before(stamp, fps):
    index = grid_index(stamp, fps)
    assert grid_ns(index, fps) >= stamp
    assert index == 0 or grid_ns(index - 1, fps) < stamp


def test_linear_interpolates_at_the_grid_point():
    buffer = aligner(("state", Policy.LINEAR, 0.05))
    for i in range(30):
        stamp = START + i * 10 * MS
        buffer.push("state", stamp, ramp(stamp))
    frames = list(buffer.frames(START + 300 * MS))
    assert len(frames) >= 8
    for frame in frames:
        np.testing.assert_allclose(frame.values["state"], ramp(frame.stamp_ns), atol=1e-9)


def test_nearest_and_previous_pick_existing_samples():
    buffer = aligner(("near", Policy.NEAREST, 0.02), ("prev", Policy.PREVIOUS, 0.04))
    at = grid_ns(FIRST, FPS)
    for name in ("near", "prev"):
        buffer.push(name, at - 12 * MS, "before")
        buffer.push(name, at + 5 * MS, "after")
    # The grid starts at the first point after the first sample, which is `at`.
    frame = next(iter(buffer.frames(at)))
    assert frame.stamp_ns == at
    assert frame.values == {"near": "after", "prev": "before"}
    assert frame.skew_s == pytest.approx({"near": 0.005, "prev": -0.012})


def test_a_frame_waits_for_its_slowest_stream_and_no_longer_than_max_wait():
    buffer = aligner(("fast", Policy.PREVIOUS, 0.05), ("slow", Policy.PREVIOUS, 0.05))
    at = grid_ns(FIRST, FPS)
    for name in ("fast", "slow"):
        buffer.push(name, at - MS, name)
    buffer.push("fast", at + MS, "fast")
    assert list(buffer.frames(at + 99 * MS)) == []
    assert [frame.stamp_ns for frame in buffer.frames(at + 100 * MS)] == [at]


def test_misses_are_counted_by_stream_and_reason_and_nothing_is_emitted():
    buffer = aligner(
        ("good", Policy.PREVIOUS, 0.05),
        ("never", Policy.PREVIOUS, 0.05),
        ("old", Policy.PREVIOUS, 0.05),
        ("early", Policy.PREVIOUS, 0.05),
    )
    at = grid_ns(FIRST, FPS)
    for stamp in (at - 60 * MS, at):
        buffer.push("good", stamp, 1)
    buffer.push("old", at - 60 * MS, 1)
    buffer.push("early", at + MS, 1)
    assert list(buffer.frames(at + 100 * MS)) == []
    missed = {name: account.missed for name, account in buffer.ledger.streams.items()}
    assert missed["never"] == {Miss.NEVER_SEEN: 2}
    assert missed["old"] == {Miss.STALE: 1}
    assert missed["early"] == {Miss.FUTURE: 2}
    assert missed["good"] == {}
    assert buffer.ledger.missed_frames == 2
    assert buffer.ledger.frames == 0


def test_a_picture_used_twice_is_counted_as_reused():
    buffer = aligner(("cam", Policy.NEAREST, 0.05))
    at = grid_ns(FIRST, FPS)
    buffer.push("cam", at, "picture")
    assert len(list(buffer.frames(at + 140 * MS))) == 2
    assert buffer.ledger.streams["cam"].reused == 1


def test_late_and_duplicate_samples_are_counted():
    buffer = aligner(("cam", Policy.NEAREST, 0.02))
    at = grid_ns(FIRST, FPS)
    buffer.push("cam", at, "a")
    list(buffer.frames(at))
    buffer.push("cam", at - MS, "b")
    buffer.push("cam", at, "a")
    account = buffer.ledger.streams["cam"]
    assert (account.received, account.late, account.duplicate) == (3, 1, 1)


def test_a_sample_that_would_have_changed_a_frame_is_late_though_it_is_newer():
    buffer = aligner(("state", Policy.LINEAR, 0.05), ("cam", Policy.NEAREST, 0.02))
    at = grid_ns(FIRST, FPS)
    buffer.push("state", at - 10 * MS, ramp(at))
    buffer.push("cam", at, "a")
    assert list(buffer.frames(at + 100 * MS)) == []
    buffer.push("state", at + 10 * MS, ramp(at))
    buffer.push("state", at + 20 * MS, ramp(at))
    assert buffer.ledger.streams["state"].late == 1
    assert buffer.ledger.streams["cam"].late == 0


def test_what_is_older_than_its_stream_may_be_is_never_used():
    for calls in ([], [1]):
        buffer = aligner(("cam", Policy.NEAREST, 0.03))
        at = grid_ns(FIRST, FPS)
        buffer.push("cam", at + 12 * MS, "newer")
        emitted = [f for _ in calls for f in buffer.frames(at)]
        buffer.push("cam", at, "older")
        emitted += buffer.frames(at + 140 * MS)
        assert [frame.values["cam"] for frame in emitted] == ["newer"]
        assert buffer.ledger.streams["cam"].late == 1


@pytest.mark.parametrize("back", [False, True])
def test_a_long_silence_is_counted_without_walking_through_it(back):
    buffer = aligner(("cam", Policy.NEAREST, 0.02))
    at = grid_ns(FIRST, FPS)
    buffer.push("cam", at, "a")
    later = at + 86_400 * 1000 * MS
    if back:
        buffer.push("cam", later - 50 * MS, "b")
    assert len(list(buffer.frames(later))) == (2 if back else 1)
    assert buffer.ledger.missed_frames == pytest.approx(86_400 * FPS, abs=2 * FPS)
    assert buffer.ledger.frames + buffer.ledger.missed_frames < 86_400 * FPS + FPS


def test_a_stamp_of_zero_does_not_stall_it():
    buffer = aligner(("cam", Policy.NEAREST, 0.02))
    buffer.push("cam", 0, "unset")
    buffer.push("cam", START, "a")
    values = [frame.values["cam"] for frame in buffer.frames(START + 30 * MS)]
    assert values == ["unset"] or values == ["unset", "a"]


def test_a_clock_set_back_starts_the_grid_again():
    buffer = aligner(("cam", Policy.NEAREST, 0.02))
    hour = 3_600_000 * MS
    for i in range(30):
        stamp = START + i * 33 * MS
        buffer.push("cam", stamp, i)
        list(buffer.frames(stamp))
    frames = []
    for i in range(30):
        stamp = START - hour + i * 33 * MS
        buffer.push("cam", stamp, i)
        frames += buffer.frames(stamp)
    assert len(frames) > 20
    assert buffer.ledger.clock_jumps == 1


def test_no_frame_is_ahead_of_the_clock():
    buffer = aligner(("cam", Policy.NEAREST, 0.02))
    buffer.push("cam", START, "a")
    buffer.push("cam", START + 3_600_000 * MS, "from the future")
    assert all(frame.stamp_ns <= START + 500 * MS for frame in buffer.frames(START + 500 * MS))


def test_a_stamp_from_the_future_costs_no_later_frame():
    buffer = aligner(("cam", Policy.NEAREST, 0.02))
    frames = []
    for i in range(60):
        stamp = START + i * 33 * MS
        buffer.push("cam", stamp, i)
        if i == 20:
            buffer.push("cam", stamp + 3_600_000 * MS, "an hour ahead")
        frames += buffer.frames(stamp)
    assert "an hour ahead" not in [frame.values["cam"] for frame in frames]
    indices = [frame.index for frame in frames]
    assert indices == sorted(set(indices))
    assert len(indices) >= 57
    assert buffer.ledger.clock_jumps == 1


def test_a_stream_that_nobody_reads_is_bounded_and_counted():
    buffer = Aligner([StreamConfig("cam", Policy.NEAREST, 0.02, depth=8)], FPS, 0.1)
    for i in range(100):
        buffer.push("cam", START + i * 33 * MS, bytes(10))
    assert buffer._streams["cam"].held == 8
    assert buffer.ledger.streams["cam"].overflow == 92


def frozen_camera(frozen_s):
    buffer = Aligner([StreamConfig("cam", Policy.NEAREST, 0.02, frozen_s=frozen_s)], FPS, 0.1)
    frames = []
    for i in range(90):
        stamp = grid_ns(FIRST + i, FPS)
        picture = b"same" if 20 <= i < 70 else b"%d" % i
        buffer.push("cam", stamp, picture, fingerprint(picture))
        frames += buffer.frames(stamp)
    return buffer, [frame.index - FIRST for frame in frames]


def test_a_picture_that_repeats_for_too_long_is_no_picture():
    buffer, emitted = frozen_camera(0.5)
    assert emitted == [*range(35), *range(70, 90)]
    account = buffer.ledger.streams["cam"]
    assert account.missed == {Miss.FROZEN: 35}
    assert account.repeated == 49


def test_repeats_are_counted_even_where_they_are_allowed():
    buffer, emitted = frozen_camera(0.0)
    assert emitted == [*range(90)]
    assert buffer.ledger.streams["cam"].repeated == 49


def test_a_resting_arm_is_not_frozen():
    buffer = Aligner([StreamConfig("state", Policy.LINEAR, 0.05, frozen_s=0.1)], FPS, 0.1)
    for i in range(100):
        buffer.push("state", START + i * 10 * MS, np.zeros(6))
    assert len(list(buffer.frames(START + 990 * MS))) >= 29


def test_memory_stays_bounded():
    buffer = aligner(("state", Policy.LINEAR, 0.05), ("cam", Policy.NEAREST, 0.05))
    for i in range(5000):
        stamp = START + i * 10 * MS
        buffer.push("state", stamp, np.zeros(1))
        list(buffer.frames(stamp))
    assert len(buffer._streams["state"]._stamps) < 60


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_frames_depend_on_stamps_not_on_how_the_streams_interleave(data):
    """Every interleaving of streams that each come in order, asked after every sample."""
    jitter = st.lists(st.integers(-4, 4), min_size=40, max_size=40)
    streams = {
        name: [START + i * step * MS + shift * MS for i, shift in enumerate(data.draw(jitter))]
        for name, step in (("state", 10), ("cam", 33))
    }

    def frames(order):
        buffer = aligner(
            ("state", Policy.LINEAR, 0.05), ("cam", Policy.NEAREST, 0.04), max_wait_s=5
        )
        left = {name: iter(stamps) for name, stamps in streams.items()}
        now, emitted = START, []
        for name in order:
            stamp = next(left[name])
            buffer.push(name, stamp, ramp(stamp))
            now = max(now, stamp)
            emitted += buffer.frames(now)
        emitted += buffer.frames(START + 10_000 * MS)
        return [(f.index, {k: v.tobytes() for k, v in f.values.items()}) for f in emitted]

    names = [name for name, stamps in streams.items() for _ in stamps]
    by_stamp = sorted((stamp, name) for name, stamps in streams.items() for stamp in stamps)
    assert frames(data.draw(st.permutations(names))) == frames([name for _, name in by_stamp])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.integers(0, 30))
def test_live_and_offline_give_the_same_frames_bit_for_bit(chunk, delay_ms):
    stamps = {"state": range(0, 600, 10), "cam": range(3, 600, 33)}
    samples = sorted((START + ms * MS, name) for name, times in stamps.items() for ms in times)
    streams = (("state", Policy.LINEAR, 0.05), ("cam", Policy.NEAREST, 0.04))

    def key(frame):
        return frame.index, tuple((k, v.tobytes()) for k, v in frame.values.items())

    offline = aligner(*streams)
    for stamp, name in samples:
        offline.push(name, stamp, ramp(stamp))
    live, emitted = aligner(*streams), []
    for i, (stamp, name) in enumerate(samples):
        live.push(name, stamp, ramp(stamp))
        if i % chunk == 0:
            emitted += live.frames(stamp + delay_ms * MS)
    end = START + 10_000 * MS
    emitted += live.frames(end)
    assert [key(f) for f in emitted] == [key(f) for f in offline.frames(end)]


def test_configuration_errors():
    with pytest.raises(ValueError, match="tolerance_s"):
        StreamConfig("state", Policy.LINEAR, 0.0)
    with pytest.raises(ValueError, match="reorder_s"):
        StreamConfig("state", Policy.LINEAR, 0.1, reorder_s=1.0)
    with pytest.raises(ValueError, match="frozen_s"):
        StreamConfig("state", Policy.LINEAR, 0.1, frozen_s=-1.0)
    with pytest.raises(ValueError, match="depth"):
        StreamConfig("state", Policy.LINEAR, 0.1, depth=1)
    with pytest.raises(ValueError, match="no frame would be complete in time"):
        Aligner([StreamConfig("a", Policy.NEAREST, 0.1, reorder_s=0.5)], 30, 0.1)
    with pytest.raises(ValueError, match="max_wait_s"):
        Aligner([StreamConfig("a", Policy.NEAREST, 0.1)], 30, -0.1)
    with pytest.raises(ValueError, match="fps"):
        Aligner([StreamConfig("a", Policy.NEAREST, 0.1)], 0, 0.1)
    with pytest.raises(ValueError, match="at least one stream"):
        Aligner([], 30, 0.1)
    with pytest.raises(KeyError):
        aligner(("a", Policy.NEAREST, 0.1)).push("b", 1, 1)


def test_assembler_puts_parts_together_in_order_and_counts_what_is_lost():
    assembler = Assembler(["a", "b"])
    assert assembler.add("a", 1, "a1") is None
    assert assembler.add("a", 2, "a2") is None
    assert assembler.add("b", 2, "b2") == {"a": "a2", "b": "b2"}
    assert assembler.incomplete == 1
    assert assembler.add("b", 1, "b1") is None, "its other part is gone"
    with pytest.raises(KeyError):
        assembler.add("c", 3, "c")


def test_assembler_is_bounded():
    assembler = Assembler(["a", "b"], depth=5)
    for stamp in range(100):
        assembler.add("a", stamp, None)
    assert assembler.incomplete == 95
