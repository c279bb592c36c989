import numpy as np
import pytest

from armlet.control import Teleoperation
from armlet.robots import JointCalibration
from armlet.robots.units import limits_radians, own_converter

LEADER = {
    "elbow_flex": JointCalibration(3, 0, 0, 1000, 3000),
    "gripper": JointCalibration(6, 0, 0, 2000, 2400),
}
FOLLOWER = {
    "elbow_flex": JointCalibration(3, 0, 0, 900, 3200),
    "gripper": JointCalibration(6, 0, 0, 1500, 3000),
}
JOINTS = list(LEADER)


def test_both_arms_agree_in_dataset_units():
    leader = np.array([0.7, -0.2])
    follower = Teleoperation(LEADER, FOLLOWER, "degrees").follow(JOINTS, leader)
    np.testing.assert_allclose(
        own_converter(FOLLOWER).radians_to_dataset(follower, "degrees"),
        own_converter(LEADER).radians_to_dataset(leader, "degrees"),
    )


@pytest.mark.parametrize("units", ["degrees", "range_m100_100"])
def test_the_gripper_opens_by_its_share(units):
    closed, opened = limits_radians({"gripper": LEADER["gripper"]})
    teleoperation = Teleoperation(LEADER, FOLLOWER, units)
    low, high = limits_radians({"gripper": FOLLOWER["gripper"]})
    np.testing.assert_allclose(teleoperation.follow(["gripper"], closed), low)
    np.testing.assert_allclose(teleoperation.follow(["gripper"], opened), high)


def test_joints_that_were_not_read_are_not_commanded():
    whole = Teleoperation(LEADER, FOLLOWER, "degrees").follow(JOINTS, np.array([0.3, 0.1]))
    part = Teleoperation(LEADER, FOLLOWER, "degrees").follow(["gripper"], np.array([0.1]))
    np.testing.assert_array_equal(part, whole[1:])


def test_scale_is_about_the_middle_and_leaves_the_gripper():
    full = Teleoperation(LEADER, FOLLOWER, "degrees").follow(JOINTS, np.array([0.4, 0.1]))
    half = Teleoperation(LEADER, FOLLOWER, "degrees", 0.5).follow(JOINTS, np.array([0.4, 0.1]))
    np.testing.assert_allclose(half, [full[0] / 2, full[1]])


def test_arms_with_different_joints_are_refused():
    with pytest.raises(ValueError, match="differ"):
        Teleoperation(LEADER, {"elbow_flex": FOLLOWER["elbow_flex"]}, "degrees")


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_a_scale_that_is_none_is_refused(scale):
    with pytest.raises(ValueError, match="scale"):
        Teleoperation(LEADER, FOLLOWER, "degrees", scale)
