"""The sweep of one joint, with the seam of its encoder anywhere."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armlet.calibrate.sweep import (
    MAX_GAP_S,
    MAX_STEP,
    MIDDLE,
    MOVED_LEAST,
    SEAM_MARGIN,
    WIDEST,
    Sweep,
    SweepState,
)

TURN = 4096
POLL_S = 0.005


def walked(horn, stops, *, steps=None, kept=None, full_turn=False):
    """A sweep that visits the stops in turn: ticks from the middle pose, which stands at `horn`.

    steps: ticks between two readings (cycled); kept: which readings arrive (cycled, the last does).
    """
    steps, kept = steps or [40], kept or [True]
    sweep = Sweep(horn % TURN, 0.0, full_turn=full_turn)
    walk(sweep, horn, [0, *stops], steps, kept)
    return sweep


def walk(sweep, horn, stops, steps, kept):
    here, number = stops[0], 0
    for stop in stops[1:]:
        while here != stop:
            step = steps[number % len(steps)]
            here += max(-step, min(step, stop - here))
            number += 1
            if kept[number % len(kept)] or here == stop:
                sweep.update((horn + here) % TURN, number * POLL_S)


@st.composite
def joints(draw):
    """A horn's offset, and a range around the middle pose that fits in one turn."""
    horn = draw(st.integers(0, TURN - 1))
    span = draw(st.integers(MOVED_LEAST, WIDEST))
    below = draw(st.integers(0, span))
    return horn, -below, span - below


@settings(max_examples=300, deadline=None)
@given(
    joints(),
    st.lists(st.integers(0, 100), max_size=5),
    st.lists(st.integers(1, 120), min_size=1, max_size=7),
    # Eight readings lost in a row leave steps below a quarter turn.
    st.lists(st.booleans(), max_size=7),
    st.booleans(),
)
def test_the_range_found_is_the_range_swept(joint, percents, steps, kept, upwards):
    horn, low, high = joint
    wandering = [low + (high - low) * percent // 100 for percent in percents]
    ends = [high, low] if upwards else [low, high]
    sweep = walked(horn, [*wandering, *ends, 0], steps=steps, kept=[*kept, True])
    assert sweep.state.is_done
    place = sweep.placement
    assert abs(place.homing_offset) <= 2047
    assert 0 <= place.range_min < place.range_max <= 4095
    assert place.range_max - place.range_min == high - low

    def reads(ticks_from_middle):
        return (horn + ticks_from_middle - place.homing_offset) % TURN

    # As the servo will read it: both ends, and everything between without a jump.
    assert reads(low) == place.range_min
    assert reads(high) == place.range_max
    readings = [reads(at) for at in range(low, high + 1)]
    assert readings == list(range(place.range_min, place.range_max + 1))


@given(joints())
def test_ranges_away_from_the_seam_are_lerobots(joint):
    horn, low, high = joint
    sweep = walked(horn, [low, high])
    middle = MIDDLE if horn < 4095 else MIDDLE + 1
    clear = middle + low >= SEAM_MARGIN and middle + high <= 4095 - SEAM_MARGIN
    assert (sweep.state is SweepState.OK) == clear
    if clear:
        place = sweep.placement
        assert (place.range_min, place.range_max) == (middle + low, middle + high)
        assert place.homing_offset == sweep.homing_offset == min(horn - MIDDLE, 2047)


@given(joints())
def test_a_range_keeps_its_distance_from_the_seam_where_it_can(joint):
    horn, low, high = joint
    place = walked(horn, [low, high]).placement
    if high - low <= 4095 - 2 * SEAM_MARGIN - 2:
        assert place.range_min >= SEAM_MARGIN
        assert place.range_max <= 4095 - SEAM_MARGIN


def test_every_horn_has_a_storable_offset():
    for horn in range(TURN):
        sweep = Sweep(horn, 0.0)
        assert -2047 <= sweep.homing_offset <= 2047
        assert (horn - sweep.homing_offset) % TURN == (2048 if horn == 4095 else 2047)


@given(joints(), st.integers(0, 100))
def test_a_sweep_begun_again_anywhere_finds_the_same(joint, percent):
    horn, low, high = joint
    start = low + (high - low) * percent // 100
    again = walked(horn, [low, high, start])
    first = again.placement
    again.restart()
    assert again.span == 0
    walk(again, horn, [start, high, low], [50], [True])
    assert again.state.is_done
    assert again.placement.homing_offset == first.homing_offset
    assert again.placement.range_min == first.range_min
    assert again.placement.range_max == first.range_max


@pytest.mark.parametrize(
    ("stops", "state"),
    [
        ([], SweepState.NOT_MOVED),
        ([8], SweepState.NOT_MOVED),
        ([-60], SweepState.HARDLY_MOVED),
        ([MOVED_LEAST], SweepState.OK),
        ([1000, -1000], SweepState.OK),
        ([2000], SweepState.NEAR),
        ([2100], SweepState.CROSSED),
        ([-2100], SweepState.CROSSED),
        ([WIDEST], SweepState.CROSSED),
        ([WIDEST + 1], SweepState.TOO_FAR),
        ([2000, -2500], SweepState.TOO_FAR),
    ],
)
@pytest.mark.parametrize("horn", [0, 1, 2047, 4094, 4095])
def test_states(stops, state, horn):
    # One tick of the middle reading 2048 must not matter here.
    assert walked(horn, stops).state is state


@pytest.mark.parametrize("horn", [0, 2047, 4095])
def test_a_joint_moved_to_one_side_of_its_middle_is_not_done(horn):
    """Its range was taken for whole, and its zero for the middle between middle pose and stop."""
    sweep = Sweep(horn, 0.0, both_sides=True)
    walk(sweep, horn, [0, 900, 0, 50 - MOVED_LEAST], [40], [True])
    assert sweep.state is SweepState.ONE_SIDE
    sweep.restart()
    walk(sweep, horn, [50 - MOVED_LEAST, 900], [40], [True])
    assert sweep.state is SweepState.ONE_SIDE
    walk(sweep, horn, [900, -MOVED_LEAST], [40], [True])
    assert sweep.state is SweepState.OK


def test_a_joint_that_turns_round_needs_no_sweep():
    for stops in ([], [10_000, -300]):
        sweep = walked(3000, stops, full_turn=True)
        assert sweep.state is SweepState.FULL_TURN
        place = sweep.placement
        assert (place.homing_offset, place.range_min, place.range_max) == (953, 0, 4095)


def test_a_sweep_without_its_middle_pose_is_not_done():
    sweep = walked(100, [900])
    sweep.restart()
    time_s = 900.0
    sweep.update(1000, time_s)
    sweep.restart()
    for here in range(1000, 500, -20):
        sweep.update(here, time_s)
    assert sweep.state is SweepState.MIDDLE_MISSED
    for here in range(500, 0, -20):
        sweep.update(here, time_s)
    assert sweep.state is SweepState.OK


@pytest.mark.parametrize(
    ("encoder", "time_s"), [(MIDDLE + MAX_STEP + 1, 0.01), (MIDDLE, MAX_GAP_S + 0.01)]
)
def test_an_uncertain_step_is_never_passed_over(encoder, time_s):
    sweep = Sweep(MIDDLE, 0.0)
    sweep.update(encoder, time_s)
    for step in range(1, 60):
        sweep.update((encoder - 20 * step) % TURN, time_s)
    assert sweep.state is SweepState.LOST
    sweep.restart()
    assert sweep.state is SweepState.NOT_MOVED
