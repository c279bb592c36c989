"""An arm before a board: which link moves, where the board has to be, when the arm stands still."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

if not hasattr(getattr(cv2, "aruco", None), "CharucoDetector"):
    pytest.skip("this OpenCV knows no ChArUco boards", allow_module_level=True)

from arm_and_board import LINKS, OUTSIDE, URDF, WRIST

from armlet.calibrate.camera_mount import STILL_RAD, Carrier, Stillness
from armlet.files import FileError
from armlet.robots import SO101_JOINTS

MS = 1_000_000


@pytest.mark.parametrize("scene", [WRIST, OUTSIDE])
def test_a_station_is_where_the_arm_is(scene):
    carrier, joints = Carrier(URDF, scene.link), scene.poses(1)[0]
    assert carrier.joints == SO101_JOINTS[:5] and carrier.moves == (scene is WRIST)
    assert carrier.board == (
        "fixed beside the arm" if carrier.moves else "fixed to the link gripper"
    )
    (expected,) = scene.stations([joints])
    angles = dict(zip(SO101_JOINTS, joints, strict=True))
    found = carrier.station("pose 1", angles, expected.view)
    np.testing.assert_allclose(found.body, expected.body, atol=1e-12)
    np.testing.assert_allclose(carrier.moving(angles), LINKS.pose("gripper", angles), atol=1e-12)
    # Its slopes are those of its own place.
    step = 1e-4
    angles["elbow_flex"] += step
    moved = carrier.station("pose 1", angles, expected.view)
    change = (moved.body - found.body) / step
    np.testing.assert_allclose(found.slopes[2], change, atol=1e-4)


def test_a_link_that_is_not_there_is_refused():
    with pytest.raises(FileError, match="found 'elbow'"):
        Carrier(URDF, "elbow")


def test_an_arm_that_stands_still_for_half_a_second_stands_still():
    still, here = Stillness(), np.zeros(6)
    said = [still.add(100 * MS * n, here) for n in range(7)]
    assert said == [False] * 5 + [True] * 2
    assert not still.add(700 * MS, here + 2 * STILL_RAD)
    assert not still.add(1100 * MS, here + 2 * STILL_RAD)
    assert [still.add(t * MS, here + 2 * STILL_RAD) for t in (1200, 1300)] == [True] * 2


def test_two_readings_far_apart_are_no_standstill():
    still = Stillness()
    assert not still.add(0, [0.0]) and not still.add(900 * MS, [0.0])


def test_a_clock_set_back_begins_again():
    still = Stillness()
    for n in range(8):
        still.add(10_000 * MS + 100 * MS * n, [0.0])
    assert [still.add(100 * MS * n, [0.0]) for n in range(6)] == [False] * 5 + [True]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 400), st.floats(-0.02, 0.02)), min_size=1, max_size=40))
def test_it_is_still_only_where_no_reading_of_the_last_half_second_is_far_away(readings):
    still, stamp, seen = Stillness(), 0, []
    for gap_ms, angle in readings:
        stamp += gap_ms * MS
        seen.append((stamp, angle))
        if still.add(stamp, [angle]):
            recent = [a for t, a in seen if t > stamp - 500 * MS]
            assert max(recent) - min(recent) <= STILL_RAD
            assert stamp - seen[0][0] >= 500 * MS
