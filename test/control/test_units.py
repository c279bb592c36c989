"""Ticks, radians and LeRobot's units."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from armlet.robots import SO101_JOINTS, CalibrationError, JointCalibration
from armlet.robots.calibration import fingerprint
from armlet.robots.joints import feature_names
from armlet.robots.units import (
    converter,
    joint_units,
    limits_radians,
    own_converter,
    radians_to_ticks,
    ticks_to_radians,
    unit_of,
)


def one(low: int, high: int, drive_mode: int = 0, joint: str = "elbow_flex"):
    return {joint: JointCalibration(1, drive_mode, 0, low, high)}


ranges = st.tuples(st.integers(0, 2000), st.integers(2100, 4095))


@given(ranges, st.integers(0, 1), st.sampled_from(["degrees", "range_m100_100"]), st.floats(0, 1))
def test_round_trips_inside_the_range(span, drive_mode, units, share):
    for joint in ("elbow_flex", "gripper"):
        calibration = one(*span, drive_mode, joint)
        ticks = np.array([span[0] + share * (span[1] - span[0])])
        there = own_converter(calibration).ticks_to_dataset(ticks, units)
        np.testing.assert_allclose(
            own_converter(calibration).dataset_to_ticks(there, units), ticks, atol=1e-6
        )
        radians = ticks_to_radians(ticks, calibration)
        np.testing.assert_allclose(radians_to_ticks(radians, calibration), ticks, atol=1e-6)
        np.testing.assert_allclose(
            own_converter(calibration).dataset_to_radians(
                own_converter(calibration).radians_to_dataset(radians, units), units
            ),
            radians,
            atol=1e-9,
        )


def test_lerobot_formulas():
    calibration = one(1000, 3000)
    ticks = [500, 1000, 1500, 2000, 3000, 3500]
    column = np.array(ticks, float)[:, None]
    percent = own_converter(calibration).ticks_to_dataset(column, "range_m100_100")[:, 0]
    assert percent.tolist() == [-100, -100, -50, 0, 100, 100]
    degrees = own_converter(calibration).ticks_to_dataset(column, "degrees")[:, 0]
    np.testing.assert_allclose(degrees, [(t - 2000) * 360 / 4095 for t in ticks])
    gripper = own_converter(one(1000, 3000, joint="gripper")).ticks_to_dataset(column, "degrees")[
        :, 0
    ]
    assert gripper.tolist() == [0, 0, 25, 50, 100, 100]


def test_drive_mode_one_negates_the_body_and_mirrors_the_gripper():
    ticks = np.array([1500.0])
    assert own_converter(one(1000, 3000, 1)).ticks_to_dataset(
        ticks, "range_m100_100"
    ) == pytest.approx(50)
    gripper = own_converter(one(1000, 3000, 1, "gripper")).ticks_to_dataset(ticks, "range_m100_100")
    assert gripper == pytest.approx(75)


def test_radian_zero_is_the_calibrated_centre_and_a_turn_is_4096_ticks():
    calibration = one(1000, 3000)
    np.testing.assert_allclose(
        ticks_to_radians([[2000], [2000 + 1024]], calibration)[:, 0], [0, math.pi / 2]
    )
    lower, upper = limits_radians(calibration)
    assert lower == -upper == pytest.approx(-1000 * 2 * math.pi / 4096)


def test_joint_units_names_the_modes():
    assert joint_units("degrees") == "degrees"
    with pytest.raises(ValueError, match="range_m100_100"):
        joint_units("radians")


def test_joint_order_is_lerobots():
    assert SO101_JOINTS[0] == "shoulder_pan"
    assert SO101_JOINTS[-1] == "gripper"


CALIBRATION = {
    joint: JointCalibration(n + 1, n % 2, 0, 400 + 100 * n, 2400 + 150 * n)
    for n, joint in enumerate(SO101_JOINTS)
}


@pytest.mark.parametrize("units", ["degrees", "range_m100_100"])
def test_every_order_of_a_calibration_converts_alike(units):
    radians = np.random.default_rng(0).uniform(-1, 1, (5, 6))
    right = converter(SO101_JOINTS, CALIBRATION)
    values = right.radians_to_dataset(radians, units)
    back = right.dataset_to_radians(values, units)
    orders = list(itertools.permutations(SO101_JOINTS))
    assert len(orders) == 720
    for order in orders:
        calibration = {joint: CALIBRATION[joint] for joint in order}
        convert = converter(feature_names(SO101_JOINTS), calibration)
        assert convert.joints == SO101_JOINTS
        assert (convert.radians_to_dataset(radians, units) == values).all()
        assert (convert.dataset_to_radians(values, units) == back).all()
        assert fingerprint(calibration) == fingerprint(CALIBRATION)


def test_a_vector_in_any_order_is_converted_by_its_names():
    radians = np.linspace(-1, 1, 6)
    values = converter(SO101_JOINTS, CALIBRATION).radians_to_dataset(radians, "degrees")
    for order in itertools.permutations(range(6)):
        convert = converter([SO101_JOINTS[i] for i in order], CALIBRATION)
        assert (convert.radians_to_dataset(radians[[*order]], "degrees") == values[[*order]]).all()


@pytest.mark.parametrize("prefix", ["left_", "left/", "left", "arm.2-"])
def test_a_joint_with_a_prefix_is_what_its_own_name_says(prefix):
    names = [prefix + joint for joint in SO101_JOINTS]
    both = CALIBRATION | {prefix + joint: entry for joint, entry in CALIBRATION.items()}
    radians = np.linspace(-1, 1, 6)
    convert = converter([*names, *SO101_JOINTS], both)
    values = convert.radians_to_dataset(np.tile(radians, 2), "degrees")
    alone = converter(SO101_JOINTS, CALIBRATION).radians_to_dataset(radians, "degrees")
    assert (values == np.tile(alone, 2)).all() and 0 <= values[5] <= 100
    assert unit_of(f"{prefix}gripper.pos", "degrees") == "range_0_100"
    assert unit_of(f"{prefix}elbow_flex.pos", "degrees") == "degrees"


def test_joints_without_a_calibration_are_refused_by_name():
    both = [f"{side}_{joint}" for side in ("left", "right") for joint in SO101_JOINTS]
    with pytest.raises(CalibrationError, match=r"lacks left_shoulder_pan.*left_=FILE,right_=FILE"):
        converter(both, CALIBRATION)
    with pytest.raises(CalibrationError, match=r"lacks wrist_yaw and is of wrist_roll"):
        converter(["wrist_yaw", *(j for j in SO101_JOINTS if j != "wrist_roll")], CALIBRATION)
    with pytest.raises(CalibrationError, match="named once"):
        converter(["gripper", "gripper.pos"], CALIBRATION)
    with pytest.raises(CalibrationError, match="no joint is named"):
        converter([], CALIBRATION)
