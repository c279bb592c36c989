"""What is believed of the servos' replies."""

import numpy as np
import pytest

from armlet.control.plausibility import JointReadings
from armlet.motors.feetech import SyncReply
from armlet.robots import JointCalibration
from armlet.robots.units import own_converter

MS = 1_000_000
CALIBRATION = {
    "a": JointCalibration(1, 0, 0, 1000, 3000),
    "b": JointCalibration(2, 0, 0, 1000, 3000),
}
TICK = 2 * np.pi / 4096


def reply(at_ms, values):
    missing = tuple(id for id in (1, 2) if id not in values)
    return SyncReply(values, missing, {}, at_ms * MS)


@pytest.fixture
def readings():
    made = JointReadings([1, 2], own_converter(CALIBRATION))
    made.note(reply(0, {1: (2000, 0), 2: (2000, 0)}), False)
    assert made.note(reply(10, {1: (2000, 0), 2: (2000, 0)}), False).complete
    return made


def test_the_first_reading_has_to_be_confirmed():
    readings = JointReadings([1, 2], own_converter(CALIBRATION))
    assert readings.note(reply(0, {1: (1234, 0), 2: (2000, 0)}), False) is None
    sample = readings.note(reply(10, {1: (2000, 0), 2: (2001, 0)}), False)
    assert sample.fresh.tolist() == [False, True]
    assert np.isnan(sample.position[0])
    sample = readings.note(reply(20, {1: (2002, 0), 2: (2001, 0)}), False)
    assert sample.complete
    assert sample.position[0] == pytest.approx(2 * TICK)
    assert readings.implausible == 1


@pytest.mark.parametrize("wrong", [(0, 0), (2200, 0), (-3335, 5000), (2000, 16000), (2000, -9000)])
def test_what_cannot_be_is_held_back(readings, wrong):
    sample = readings.note(reply(20, {1: wrong, 2: (2003, 0)}), False)
    assert sample.fresh.tolist() == [False, True]
    assert sample.position[0] == 0.0
    assert sample.stamps_ns.tolist() == [10 * MS, 20 * MS]
    assert readings.note(reply(30, {1: (2000, 0), 2: (2003, 0)}), False).complete
    assert readings.implausible == 1


def test_what_the_next_reading_confirms_was_true(readings):
    assert not readings.note(reply(20, {1: (2900, 0), 2: (2000, 0)}), False).complete
    sample = readings.note(reply(30, {1: (2905, 0), 2: (2000, 0)}), False)
    assert sample.complete
    assert sample.position[0] == pytest.approx(905 * TICK)
    assert readings.implausible == 0


@pytest.mark.parametrize("hz", [30, 100, 400])
def test_the_fastest_hand_is_believed(hz):
    """From rest to 8 rad/s at 90 rad/s^2, and against a stop: every reading counts."""
    readings = JointReadings([1, 2], own_converter(CALIBRATION))
    times = np.arange(0, 0.2, 1 / hz)
    speed = np.minimum(90 * times, 8.0)
    path = np.cumsum(speed) / hz
    speed[-1] = 0.0
    for k, (position, velocity) in enumerate(zip(path, speed, strict=True)):
        row = (1000 + round(position / TICK), round(velocity / TICK))
        sample = readings.note(reply(1000 * k // hz, {1: row, 2: (2000, 0)}), False)
        assert k == 0 or sample.complete
    assert readings.implausible == 0


def test_a_joint_may_be_anywhere_after_a_long_silence(readings):
    assert readings.note(reply(1000, {1: (1000, 0), 2: (3000, 0)}), False).complete
    assert readings.note(reply(500, {1: (1000, 0), 2: (3000, 0)}), False).complete, "clock set back"


def test_nothing_is_made_of_nothing(readings):
    assert readings.note(reply(20, {}), False) is None
    full = {1: (2000, 0, 500), 2: (2000, 0, -20)}
    sample = readings.note(reply(30, full), True)
    assert sample.load.tolist() == [0.5, -0.02]
