"""Where a camera is, from boards whose places are known; and what is refused."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armlet.camera import CameraError

if not hasattr(getattr(cv2, "aruco", None), "CharucoDetector"):
    pytest.skip("this OpenCV knows no ChArUco boards", allow_module_level=True)

from arm_and_board import INTRINSICS, OPTICAL, OUTSIDE, SQUARE_M, WRIST, off, pose

from armlet.camera.hand_eye import FEWEST_POSES, differs, mounted

JOINT_NOISE = 0.006
"""rad: a third of a degree."""


@pytest.fixture(scope="module")
def wrist():
    return WRIST.stations(WRIST.poses(14), JOINT_NOISE)


@pytest.fixture(scope="module")
def result(wrist):
    return mounted(wrist, INTRINSICS, SQUARE_M)


@pytest.mark.parametrize(("scene", "most_mm"), [(WRIST, 2.0), (OUTSIDE, 5.0)])
def test_a_camera_on_the_hand_or_beside_it_is_found_though_joints_are_read_badly(scene, most_mm):
    """Within 2 mm of a camera on the gripper, 5 mm of one 0.6 m away, and 0.3 degrees."""
    found = mounted(scene.stations(scene.poses(14), JOINT_NOISE), INTRINSICS, SQUARE_M)
    mm, deg = off(found.camera, scene.camera)
    assert mm < most_mm and deg < 0.3
    assert off(found.board, scene.board)[0] < most_mm
    assert found.poses == 14 and not found.left_out and not found.doubt
    # The joints' noise explains it all: corners were made with 0.1 px in each direction.
    assert found.corners_px < 0.2 and 0.1 < found.joints_deg < np.degrees(JOINT_NOISE)
    # The numbers that say how good it is are no better than it is, and not ten times worse.
    assert mm < 4 * found.deviation_mm < 40 and deg < 4 * found.deviation_deg < 4
    assert 1 < found.held_out.mm < 8 and 0.2 < found.held_out.deg < 2


@settings(max_examples=3, deadline=None)
@given(
    st.tuples(*[st.floats(-0.05, 0.05)] * 3),
    st.tuples(st.floats(-3, 3), st.floats(-0.5, 0.5), st.floats(-0.3, 0.3)),
    st.tuples(st.floats(-0.04, 0.04), st.floats(-0.04, 0.04), st.floats(-0.02, 0.05)),
    st.floats(-3.1, 3.1),
)
def test_any_mount_before_any_board_is_found(xyz, rpy, aside, yaw):
    """Of joints that are read exactly: to half a millimetre and a tenth of a degree."""
    table = WRIST.board @ pose(aside, (0, 0, yaw))
    scene = replace(WRIST, camera=pose(np.add((-0.02, 0, 0.04), xyz), rpy) @ OPTICAL, board=table)
    found = mounted(aimed(scene, 10), INTRINSICS, SQUARE_M)
    mm, deg = off(found.camera, scene.camera)
    assert mm < 1.0 and deg < 0.15 and not found.doubt


def aimed(scene, count):
    """Stations with the board where each pose sees it, whatever the camera's mount is.

    An arm of any number of joints: it stands wherever its camera sees the board.
    """
    dice, made = np.random.default_rng(1), []
    for number in range(count):
        tilt = dice.uniform(-0.6, 0.6, 3)
        away = pose((*dice.uniform(-0.05, 0.05, 2), dice.uniform(0.3, 0.45)), tilt)
        hand = scene.board @ np.linalg.inv(scene.camera @ away)
        made.append(scene.seen_from(f"pose {number}", hand, dice))
    return made


def test_poses_that_do_not_agree_are_named_and_left_out(wrist):
    """The arm moved while two pictures were taken."""
    moved = list(wrist)
    for index in (2, 9):
        moved[index] = replace(
            wrist[index], body=wrist[index].body @ pose((0.05, 0, 0), (0, 0.2, 0))
        )
    found = mounted(moved, INTRINSICS, SQUARE_M)
    assert [name for name, _ in found.left_out] == ["pose 3", "pose 10"]
    assert found.poses == 12 and all(each.mm > 20 for _, each in found.left_out)
    assert off(found.camera, WRIST.camera)[0] < 2.0


def test_a_board_of_another_size_is_doubted(wrist):
    """Printed at 80 %, and the size given is that of the unscaled one."""
    assert "the squares have the size given" in mounted(wrist, INTRINSICS, SQUARE_M / 0.8).doubt


def test_joints_that_are_read_far_off_are_no_result(wrist):
    """By five degrees at random, as of a calibration of another arm."""
    noisy = WRIST.stations(WRIST.poses(14), 0.09)
    try:
        assert "poses held out are off" in mounted(noisy, INTRINSICS, SQUARE_M).doubt
    except CameraError as error:
        assert "do not agree with the others" in str(error)


def test_what_is_no_number_is_doubted(result):
    for part in ("mm", "deg"):
        assert replace(result, held_out=replace(result.held_out, **{part: np.nan})).doubt
    for part in ("deviation_mm", "deviation_deg"):
        assert "take more poses" in replace(result, **{part: np.nan}).doubt


def test_too_few_poses_are_refused(wrist):
    with pytest.raises(CameraError, match=r"at least 8 poses .*, found 7: move the arm"):
        mounted(wrist[: FEWEST_POSES - 1], INTRINSICS, SQUARE_M)


def test_turns_about_one_axis_are_refused():
    """The pan alone: how high the camera is cannot be known."""
    joints = np.tile(WRIST.poses(1), (10, 1))
    joints[:, 0] += np.linspace(-0.3, 0.3, 10)
    with pytest.raises(CameraError, match=r"too alike: .* about two axes, found 0\.\d°"):
        mounted(WRIST.stations(joints, 0.003), INTRINSICS, SQUARE_M)


def test_pictures_of_another_size_are_refused(wrist):
    small = replace(INTRINSICS, width=320, height=240)
    with pytest.raises(CameraError, match="pose 1 has 640x480 pixels, the intrinsics are for 320x"):
        mounted(wrist, small, SQUARE_M)


@pytest.mark.parametrize("part", ["body", "slopes"])
def test_poses_that_are_not_finite_are_refused(wrist, part):
    broken = getattr(wrist[4], part).copy()
    broken.flat[3] = np.nan
    stations = [*wrist[:4], replace(wrist[4], **{part: broken}), *wrist[5:]]
    with pytest.raises(CameraError, match="pose 5: the arm's pose is not finite"):
        mounted(stations, INTRINSICS, SQUARE_M)


def test_corners_that_are_not_finite_are_refused(wrist):
    view = replace(wrist[1].view, corners=np.full_like(wrist[1].view.corners, np.nan))
    with pytest.raises(CameraError, match="pose 2: corners cannot be undistorted"):
        mounted([wrist[0], replace(wrist[1], view=view), *wrist[2:]], INTRINSICS, SQUARE_M)


@pytest.mark.parametrize(
    "changes",
    [{"d": (1e300, 0.0, 0.0, 0.0, 0.0)}, {"k": (1e300, *INTRINSICS.k[1:])}],
    ids=["all corners in one place", "overflow"],
)
def test_intrinsics_of_no_camera_are_said_to_be_so(wrist, changes):
    """Finite, so its file is read: OpenCV's error, or numpy's, reached the terminal."""
    with pytest.raises(CameraError, match="see that camera_info_file is of this camera and lens"):
        mounted(wrist, replace(INTRINSICS, **changes), SQUARE_M)


def test_a_fisheye_is_undistorted_by_its_own_model(wrist):
    """An equidistant camera's corners, of the same boards."""
    k, d = np.array(INTRINSICS.k).reshape(3, 3), np.array([0.02, -0.01, 0.0, 0.0])
    stations = []
    for station, joints in zip(wrist[:10], WRIST.poses(14), strict=False):
        seen, count = WRIST.seen(joints), len(station.view.board)
        flat = np.column_stack([(station.view.board - (4, 3)) * SQUARE_M, np.zeros(count)])
        turn, _ = cv2.Rodrigues(seen[:3, :3])
        corners, _ = cv2.fisheye.projectPoints(flat[:, None], turn, seen[:3, 3], k, d)
        view = replace(station.view, corners=np.float32(corners.reshape(-1, 2)))
        stations.append(replace(station, view=view))
    fisheye = replace(INTRINSICS, distortion_model="equidistant", d=tuple(d))
    found = mounted(stations, fisheye, SQUARE_M)
    assert off(found.camera, WRIST.camera)[0] < 2.0 and found.corners_px < 0.2


def test_a_pose_is_new_where_it_is_turned_or_moved_enough():
    here = np.eye(4)
    assert differs(here, [])
    assert not differs(pose((0.03, 0, 0), (0, 0.1, 0)), [here])
    assert differs(pose((0.06, 0, 0), (0, 0, 0)), [here])
    assert differs(pose((0, 0, 0), (0, 0.2, 0)), [here])
    assert not differs(pose((0.06, 0, 0), (0, 0, 0)), [here, pose((0.05, 0, 0), (0, 0, 0))])
