"""Arithmetic that was rewritten to cost less gives what the plain formulas give, to the bit."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from armlet.control import Teleoperation
from armlet.control.plausibility import JointReadings
from armlet.control.setpoint import _Limits, _step
from armlet.motors.feetech import SyncReply
from armlet.robots import JointCalibration
from armlet.robots.units import RADIANS_PER_TICK, own_converter

angles = st.floats(-1e3, 1e3)
ticks = st.integers(0, 4095)


def brakeable(distance, acceleration, change):
    return math.sqrt(change * change + 2 * acceleration * distance) - change


def plain_step(limits, position, velocity, last_target, target, dt_s, share):
    """A joint's step as it is explained in `Setpoint`: by min and max alone."""
    lower, upper, top, acceleration = limits
    top *= share
    change = acceleration * dt_s
    own = min(max((target - last_target) / dt_s, -top), top)
    ahead = target - position - own * dt_s
    catching_up = math.copysign(brakeable(abs(ahead), acceleration, change), ahead)
    wanted = min(max(own + catching_up, -top), top)
    wanted = min(max(wanted, velocity - change), velocity + change)
    up = brakeable(max(upper - position, 0.0), acceleration, change)
    down = brakeable(max(position - lower, 0.0), acceleration, change)
    velocity = min(max(wanted, -down), up)
    high, low = max(upper, position), min(lower, position)
    position = min(max(position + velocity * dt_s, low), high)
    return position, velocity, abs(target - position)


def bits(values):
    return np.array(values, np.float64).tobytes()


@settings(max_examples=1000, deadline=None)
@given(
    st.tuples(st.floats(-3, 0), st.floats(0.01, 3), st.floats(0.01, 10), st.floats(0.1, 1e3)),
    st.floats(-4, 4),
    st.floats(-12, 12),
    angles,
    angles,
    st.floats(1e-6, 0.05),
    st.sampled_from([0.05, 0.2, 1.0]),
)
def test_a_step_is_the_formula_s(numbers, position, velocity, last, target, dt_s, share):
    limits = _Limits(*numbers)
    given_ = (limits, position, velocity, last, target, dt_s, share)
    assert bits(_step(*given_)) == bits(plain_step(*given_))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2000), st.integers(2100, 4095)), min_size=3, max_size=3),
    st.lists(st.tuples(ticks, st.integers(-3000, 3000)), min_size=3, max_size=3),
)
def test_readings_are_the_converter_s(ranges, rows):
    calibration = {
        f"joint{i}": JointCalibration(i + 1, 0, 0, low, high)
        for i, (low, high) in enumerate(ranges)
    }
    made = JointReadings([1, 2, 3], own_converter(calibration))
    values = dict(enumerate(rows, start=1))
    for stamp_ns in (0, 10_000_000):
        sample = made.note(SyncReply(values, (), {}, stamp_ns), False)
    believed = [abs(speed) * RADIANS_PER_TICK <= 20.0 for _, speed in rows]
    if sample is None:
        assert not any(believed)
        return
    positions = own_converter(calibration).ticks_to_radians([row[0] for row in rows])
    velocities = np.array([row[1] for row in rows]) * RADIANS_PER_TICK
    fresh = sample.fresh
    assert sample.position.dtype == sample.velocity.dtype == np.float64
    assert bits(sample.position[fresh]) == bits(positions[fresh])
    assert bits(sample.velocity[fresh]) == bits(velocities[fresh])
    assert (sample.stamps_ns[fresh] == 10_000_000).all()


LEADER = {
    "elbow_flex": JointCalibration(3, 1, 0, 1003, 3000),
    "wrist_roll": JointCalibration(5, 0, 0, 100, 3931),
    "gripper": JointCalibration(6, 1, 0, 2000, 2400),
}
FOLLOWER = {
    "elbow_flex": JointCalibration(3, 0, 0, 900, 3200),
    "wrist_roll": JointCalibration(5, 1, 0, 77, 4000),
    "gripper": JointCalibration(6, 0, 0, 1500, 3000),
}


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(list(LEADER)), min_size=1, max_size=3, unique=True),
    st.lists(st.floats(-4, 4), min_size=3, max_size=3),
    st.sampled_from(["degrees", "range_m100_100"]),
    st.sampled_from([1.0, 0.5, 1.7]),
)
def test_teleoperation_is_two_conversions_of_units(joints, positions, units, scale):
    made = Teleoperation(LEADER, FOLLOWER, units, scale)
    leader = np.array(positions[: len(joints)])
    scales = np.array([1.0 if joint == "gripper" else scale for joint in joints])
    shared = (
        own_converter({j: LEADER[j] for j in joints}).radians_to_dataset(leader, units) * scales
    )
    wanted = own_converter({j: FOLLOWER[j] for j in joints}).dataset_to_radians(shared, units)
    assert bits(made.follow(joints, leader)) == bits(wanted)
    assert bits(made.follow(list(joints), leader)) == bits(wanted), "asked a second time"
