"""Geometry that was rewritten to cost less gives what numpy gives, to the bit."""

import math

import numpy as np
import pytest

from armlet.robots.kinematics import HOME
from armlet.sim import arms, optics, painter
from armlet.sim.calibrations import FOLLOWER, LEADER
from armlet.sim.demonstrator import demonstrate_reach, move_home, random_target


def test_products_and_lengths_are_numpy_s():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, (2, 500, 3)) * 10.0 ** rng.integers(-6, 6, (2, 500, 1))
    assert painter._cross(a, b).tobytes() == np.cross(a, b).tobytes()
    assert painter._lengths(a).tobytes() == np.linalg.norm(a, axis=1).tobytes()
    for one, other in zip(a, b, strict=True):
        assert optics._cross(one, other).tobytes() == np.cross(one, other).tobytes()
        assert math.sqrt(one.dot(one)) == np.linalg.norm(one)


def test_pixels_are_rounded_and_bounded_as_by_clip():
    rng = np.random.default_rng(0)
    points = rng.normal(0, 1, (500, 2)) * 10.0 ** rng.integers(-3, 9, (500, 1))
    wanted = np.clip(np.rint(points * 16), -(1 << 24), 1 << 24).astype(np.int32)
    assert (painter._fixed(points) == wanted).all()
    assert painter._fixed(points).dtype == np.int32


@pytest.mark.parametrize("calibration", [LEADER, FOLLOWER])
def test_a_finger_s_ticks_are_the_hand_s(calibration):
    poses = np.random.default_rng(0).normal(0, 1.2, (300, 6))

    class Poses:
        def joints(self, t_s):
            return poses[int(t_s)]

    hand = arms._Hand(Poses(), calibration, 10.0)
    offsets = [joint.homing_offset for joint in calibration.values()]
    fingers = [hand.finger(index, offsets[index]) for index in range(6)]
    for number, pose in enumerate(poses):
        wanted = arms._to_ticks(pose, calibration) + offsets
        assert [finger(10.0 + number) for finger in fingers] == wanted.tolist()


def test_one_joint_of_a_motion_is_the_motion_s():
    rng = np.random.default_rng(0)
    reach = demonstrate_reach(HOME, random_target(rng), rng)
    for motion in (reach, move_home(reach.joints(2.0)), reach.over):
        for elapsed_s in [0.0, *rng.uniform(-0.1, 6.0, 300), 100.0]:
            wanted = motion.joints(elapsed_s)
            assert [motion.joint(index, elapsed_s) for index in range(6)] == wanted.tolist()
