"""What a command passes on its way to the wire."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armlet.control import CommandRefused, Guard, Setpoint, Trajectory, blend

S = 1_000_000_000
DT = 0.01
LOWER, UPPER = np.array([-1.0, -2.0]), np.array([1.0, 2.0])
VELOCITY, ACCELERATION = np.array([4.0, 1.0]), np.array([100.0, 20.0])


def guard(beyond_limits="clamp") -> Guard:
    return Guard(("a", "b"), LOWER, UPPER, VELOCITY, ACCELERATION, beyond_limits)


def test_order_by_name_with_gaps():
    np.testing.assert_equal(guard().order(["b"], [0.5]), [np.nan, 0.5])
    np.testing.assert_equal(guard().order(["b", "a"], [0.5, 0.1]), [0.1, 0.5])


@pytest.mark.parametrize(
    ("names", "positions"),
    [
        (["c"], [0.0]),
        (["a", "a"], [0.0, 0.0]),
        ([], []),
        (["a", "b"], [0.0]),
        (["a"], [float("nan")]),
        (["a"], [float("inf")]),
    ],
)
def test_refused_and_counted(names, positions):
    protection = guard()
    with pytest.raises(CommandRefused):
        protection.order(names, positions)
    assert protection.counts.refused == 1


def test_beyond_the_limits_is_clamped_or_refused_as_configured():
    assert guard().order(["a"], [9.0])[0] == 9.0, "clamped on its way, not here"
    strict = guard("refuse")
    with pytest.raises(CommandRefused, match=r"outside the calibrated range: a by 0\.500 rad"):
        strict.order(["b", "a"], [0.0, 1.5])
    assert strict.counts.refused == 1
    strict.order(["b", "a"], [2.0 + 1e-9, -1.0 - 1e-9])
    with pytest.raises(ValueError, match="BeyondLimits"):
        guard("ignore")


def test_limits_by_joint():
    from armlet.robots import JointCalibration

    calibration = {
        "a": JointCalibration(1, 0, 0, 1000, 3000),
        "b": JointCalibration(2, 0, 0, 1000, 3000),
    }
    made = Guard.from_calibration(calibration, {"b": 2.0, "a": 1.0}, 50.0)
    assert made.velocity.tolist() == [1.0, 2.0]
    assert made.acceleration.tolist() == [50.0, 50.0]
    with pytest.raises(ValueError, match="max_velocity must be given for each"):
        Guard.from_calibration(calibration, {"b": 2.0})
    with pytest.raises(ValueError, match="positive"):
        Guard.from_calibration(calibration, 0.0)
    with pytest.raises(ValueError, match="finite"):
        Guard.from_calibration(calibration, 1.0, float("nan"))


positions = st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)).map(np.array)
walks = st.lists(
    st.tuples(positions, st.floats(0, 0.05), st.sampled_from([0.1, 1.0])), min_size=1, max_size=60
)


@settings(max_examples=200, deadline=None)
@given(st.tuples(st.floats(-1, 1), st.floats(-2, 2)).map(np.array), walks)
def test_no_limit_is_ever_passed_whatever_the_target_and_the_clock_do(start, walk):
    setpoint = Setpoint(guard(), start)
    for target, dt, share in walk:
        before, velocity = setpoint.position, setpoint.velocity
        after = setpoint.step(target, dt, share)
        assert (after >= LOWER).all()
        assert (after <= UPPER).all()
        if dt < 1e-6:
            assert (after == before).all()
            continue
        allowed = np.maximum(VELOCITY * share, np.abs(velocity) - ACCELERATION * dt)
        assert (np.abs(setpoint.velocity) <= allowed + 1e-9).all()
        assert (np.abs(setpoint.velocity - velocity) <= ACCELERATION * dt + 1e-9).all()
        assert (np.abs(after - before) <= np.abs(setpoint.velocity) * dt + 1e-9).all()


@settings(max_examples=50, deadline=None)
@given(
    st.tuples(st.floats(-1, 1), st.floats(-2, 2)).map(np.array),
    st.tuples(st.floats(-1, 1), st.floats(-2, 2)).map(np.array),
    st.lists(st.floats(0.001, 0.03), min_size=1, max_size=20),
)
def test_a_standing_target_is_reached_without_overshoot(start, target, steps):
    setpoint = Setpoint(guard(), start)
    setpoint.aim(target)
    side = np.sign(target - start)
    elapsed, i = 0.0, 0
    while elapsed < 6.0:
        dt = steps[i % len(steps)]
        position = setpoint.step(target, dt)
        assert (side * (target - position) >= -1e-9).all()
        elapsed, i = elapsed + dt, i + 1
    np.testing.assert_allclose(setpoint.position, target, atol=1e-9)
    np.testing.assert_allclose(setpoint.velocity, 0, atol=1e-6)


def test_a_smooth_motion_within_the_limits_is_followed_exactly():
    setpoint = Setpoint(guard(), np.array([0.5, 0.0]))
    times = np.arange(0, 5, DT)
    targets = np.stack([0.5 * np.sin(4 * times) + 0.3, 0.3 * np.cos(2 * times) - 0.3], -1)
    errors = np.array([np.abs(setpoint.step(t, DT) - t).max() for t in targets])
    assert errors[:20].max() > 0.1, "it begins elsewhere"
    assert errors[100:].max() < 1e-12


def test_a_motion_beyond_the_limits_is_caught_up_with_soon_after():
    """A target that jumps while it moves: caught at the limits, then followed exactly again."""
    setpoint = Setpoint(guard(), np.array([0.0, 0.0]))
    times = np.arange(0, 2, DT)
    targets = np.stack([0.2 * times, 0 * times], -1)
    targets[100:, 0] += 0.4
    errors = np.array([np.abs(setpoint.step(t, DT) - t).max() for t in targets])
    assert errors[20:100].max() < 1e-12
    assert errors[100] > 0.3
    # 0.4 rad at 4 rad/s and 100 rad/s^2: 0.1 s and the time to speed up and brake.
    assert errors[116:].max() < 1e-9
    assert setpoint._guard.counts.slowed > 0


def test_it_stops_within_the_limits_of_acceleration():
    setpoint = Setpoint(guard(), np.array([0.0, 0.0]))
    for k in range(30):
        setpoint.step(np.array([0.03 * k, 0.0]), DT)
    assert setpoint.velocity[0] == pytest.approx(3.0)
    stop = setpoint.stop()
    reached = setpoint.position[0] + 9 / 200
    assert stop[0] == pytest.approx(min(reached, 1.0))
    path = np.array([setpoint.step(stop, DT)[0] for _ in range(30)])
    assert (np.diff(path) >= -1e-9).all()
    assert path[-1] == pytest.approx(stop[0])


@pytest.mark.parametrize("lowered", [10.0, 1.0, 0.1, 1e-9])
def test_a_joint_that_moves_stops_as_well_when_its_acceleration_is_lowered(lowered):
    """It coasted to its limit, and was stopped there at once."""
    setpoint = Setpoint(guard(), LOWER.copy())
    while setpoint.position[0] < 0:
        setpoint.step(UPPER, DT)
    distance = setpoint.velocity**2 / (2 * ACCELERATION)
    place = setpoint.position + distance
    limits = setpoint._guard.velocity / 8, np.full(2, lowered)
    setpoint._guard.limit(
        *(dict(zip(setpoint._guard.joints, each, strict=True)) for each in limits)
    )
    setpoint.limits_changed()
    np.testing.assert_allclose(setpoint.stop(), place)
    velocities = [setpoint.velocity]
    for _ in range(round(5 / DT)):
        setpoint.step(place, DT)
        velocities.append(setpoint.velocity)
    changes = np.abs(np.diff(velocities, axis=0))
    assert (changes <= ACCELERATION * DT + 1e-9).all()
    assert (setpoint.position <= place + 1e-9).all()
    np.testing.assert_allclose(setpoint.velocity, 0, atol=1e-6)
    setpoint.step(LOWER, DT)
    assert (np.abs(setpoint.velocity) <= lowered * DT + 1e-9).all(), "it stood: it is the new one"


shares = st.floats(1e-3, 1.0)


@given(
    st.lists(
        st.tuples(shares, shares, positions, st.floats(0.001, 0.03), st.booleans()),
        min_size=1,
        max_size=60,
    )
)
def test_limits_that_change_in_motion_move_nothing_and_exceed_none_it_began_with(steps):
    """Any limits up to the first ones at any step, lowered and raised back, whatever the target."""
    setpoint = Setpoint(guard(), np.zeros(2))
    first = setpoint._guard.velocity.copy(), setpoint._guard.acceleration.copy()
    place = np.zeros(2)
    for slower, weaker, target, dt_s, holds in steps:
        velocity, acceleration = first[0] * slower, first[1] * weaker
        names = setpoint._guard.joints
        setpoint._guard.limit(
            dict(zip(names, velocity, strict=True)), dict(zip(names, acceleration, strict=True))
        )
        before, speed = setpoint.position.copy(), setpoint.velocity.copy()
        setpoint.limits_changed()
        assert (setpoint.position == before).all(), "a limit moves nothing"
        place = setpoint.stop() if holds else target
        setpoint.step(place, dt_s)
        assert (np.abs(setpoint.velocity) <= first[0] + 1e-9).all()
        assert (np.abs(setpoint.velocity - speed) <= first[1] * dt_s + 1e-9).all()
        assert (setpoint.position >= LOWER - 1e-9).all()
        assert (setpoint.position <= UPPER + 1e-9).all()
        if holds and (speed == 0).all():
            np.testing.assert_array_equal(setpoint.position, before)


def test_a_joint_outside_its_range_is_brought_in_smoothly():
    setpoint = Setpoint(guard(), np.array([1.08, 0.0]))
    path = [1.08]
    for _ in range(30):
        path.append(setpoint.step(np.array([1.5, 0.0]), DT)[0])
    assert np.abs(np.diff(path, 2)).max() <= 100 * DT * DT + 1e-9
    assert path[-1] == pytest.approx(1.0)


def test_a_step_refuses_what_is_not_a_number_and_time_that_runs_backwards():
    setpoint = Setpoint(guard(), np.zeros(2))
    with pytest.raises(CommandRefused, match="finite"):
        setpoint.step(np.array([np.nan, 0.0]), DT)
    with pytest.raises(CommandRefused, match="finite"):
        setpoint.step(np.array([0.0, np.nan]), DT)
    with pytest.raises(CommandRefused, match="clock"):
        setpoint.step(np.zeros(2), -0.001)
    assert (setpoint.position == 0).all()


def test_what_was_done_is_counted():
    protection = guard()
    Setpoint(protection, np.array([0.999, 0.0])).step(np.array([1.005, 0.0]), DT)
    Setpoint(protection, np.zeros(2)).step(np.array([0.5, 0.0]), DT)
    assert (protection.counts.clamped, protection.counts.slowed) == (1, 1)


def test_trajectory_is_sampled_by_time():
    motion = Trajectory(5 * S, np.array([0.0, 1.0, 3.0]), np.array([[0.0], [1.0], [5.0]]))
    assert [motion.sample(round(t * S))[0] for t in (4, 5, 5.25, 6, 7, 8, 99)] == pytest.approx(
        [0, 0, 0.25, 1, 3, 5, 5]
    )
    assert motion.end_ns == 8 * S


def test_a_single_point_is_a_trajectory():
    assert Trajectory(0, np.array([0.5]), np.array([[2.0]])).sample(0)[0] == 2.0


def test_a_trajectory_is_joined_at_the_point_due_or_led_up_to():
    motion = Trajectory(5 * S, np.array([0.0, 1.0, 3.0]), np.array([[0.0], [1.0], [5.0]]))
    late = motion.starting(round(6.5 * S), np.array([9.0]))
    assert late.times_s.tolist() == [0.0, 1.5]
    assert late.positions.ravel().tolist() == [2.0, 5.0]
    early = motion.starting(4 * S, np.array([9.0]))
    assert early.times_s.tolist() == [0.0, 1.0, 2.0, 4.0]
    assert early.positions.ravel().tolist() == [9.0, 0.0, 1.0, 5.0]
    assert motion.starting(8 * S, np.array([9.0])).positions.ravel().tolist() == [5.0]


@given(
    st.floats(-3, 3),
    st.floats(-3, 3),
    st.floats(-1, 1),
    st.floats(-1, 1),
    st.floats(0.02, 0.5),
    st.floats(0, 0.9),
)
def test_a_blend_begins_as_the_old_and_becomes_the_new(slope_a, slope_b, a, b, blend_s, into_s):
    old = Trajectory(0, np.array([0.0, 2.0]), np.array([[a], [a + 2 * slope_a]]))
    new = Trajectory(S // 2, np.array([0.0, 2.0]), np.array([[b], [b + 2 * slope_b]]))
    at_ns = S // 2 + round(into_s * S)
    mixed = blend(old, new, at_ns, blend_s)
    assert mixed.sample(at_ns)[0] == pytest.approx(old.sample(at_ns)[0], abs=1e-9)
    for after_s in (blend_s, blend_s + 0.1, 1.5, 3.0):
        at = at_ns + round(after_s * S)
        if at >= at_ns + blend_s * S:
            assert mixed.sample(at)[0] == pytest.approx(new.sample(at)[0], abs=1e-6)
    times = at_ns + (np.linspace(0, blend_s, 40) * S).astype(int)
    path = np.array([mixed.sample(int(t))[0] for t in times])
    speed = np.abs(np.diff(path)).max() / (blend_s / 39)
    gap = max(abs(old.sample(int(t))[0] - new.sample(int(t))[0]) for t in times)
    # The weight's steepest slope is 1.5 / blend_s.
    bound = max(abs(slope_a), abs(slope_b)) + 1.5 * gap / blend_s
    assert speed <= 1.05 * bound + 1e-6


@pytest.mark.parametrize(
    ("times", "positions", "message"),
    [
        ([], np.empty((0, 1)), "at least one"),
        ([0.0, 0.0], [[1.0], [1.0]], "ascend"),
        ([0.0, 1.0], [[1.0]], "2 times"),
        ([0.0], [[np.nan]], "finite"),
    ],
)
def test_what_is_no_trajectory(times, positions, message):
    with pytest.raises(ValueError, match=message):
        Trajectory(0, np.array(times), np.array(positions))
