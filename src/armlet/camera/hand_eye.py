"""Where a camera is fixed (hand-eye calibration), from views of a ChArUco board at known poses.

The camera is fixed to one body, the board to another: to a gripper and a table, or the other way
round. Which is which does not matter here: a station says where the camera's body is in the
board's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

from .charuco import COLUMNS, ROWS, View
from .errors import CameraError
from .hand_eye_fit import (
    Fit,
    Indices,
    Places,
    Pose,
    Sight,
    Sights,
    Vector,
    angle_of,
    closed_form,
    refined,
    turn_of,
)
from .intrinsics import Intrinsics

Floats = NDArray[np.float64]

POSES = 20
FEWEST_POSES = 8

LEAST_TURN_RAD = 0.15
"""RMS of the turns between poses about a second axis: about one alone, the camera's place along
that axis is not known."""

NEW_TURN_RAD, NEW_METRES = 0.15, 0.05
"""A pose differs from another by at least one of them."""

MOST_OFF_MM, MOST_OFF_DEG = 10.0, 3.0
MOST_DEVIATION_MM, MOST_DEVIATION_DEG = 5.0, 1.5
"""Beyond them a result is refused."""

MOST_LEFT_OUT = 1 / 3

# A pose is left out if its corners are off by more than this, and by so many times the median.
_OUTLIER_PX, _OUTLIER_TIMES = 4.0, 5.0
_FOLDS = 5
_ROUNDS = 8
_STARTS, _START_POSES = 30, 5
_FISHEYE = "equidistant"
# Corners are found to a tenth of it.
_UNDISTORTED_PX = 1.0
_NO_CAMERA = (
    "no mount can be computed of these corners: see that camera_info_file is of this camera and "
    "lens, or measure the intrinsics again"
)


@dataclass(frozen=True, eq=False)
class Station:
    """The arm at one pose, and the board in its picture.

    body: (4, 4), metres, of what carries the camera, in the frame of what carries the board.
    slopes: (k, 4, 4), how that changes with the angle of each joint, per rad.
    """

    name: str
    body: Pose
    slopes: Vector
    view: View


@dataclass(frozen=True)
class Off:
    """How far the board is from where it should be, RMS: its corners in the picture, its middle,
    and its direction."""

    px: float
    mm: float
    deg: float

    def __str__(self) -> str:
        return f"{self.px:.1f} px, {self.mm:.1f} mm, {self.deg:.2f}°"


@dataclass(frozen=True, eq=False)
class Mounted:
    """Where the camera is, and how well that is known.

    camera: (4, 4), metres, its optical frame in the body that carries it. board: (4, 4), its
    middle in the body that carries it. poses: used. corners_px, joints_deg: RMS of what is left of
    the corners' error, and of how far joints are from what was read. held_out: the poses, each by a
    result found without it, with joints as read. deviation_mm, deviation_deg: standard deviations
    of the camera's place and direction (jackknife). left_out: poses that do not agree with the
    others, by name.
    """

    camera: Pose
    board: Pose
    poses: int
    corners_px: float
    joints_deg: float
    held_out: Off
    deviation_mm: float
    deviation_deg: float
    left_out: tuple[tuple[str, Off], ...] = ()

    @property
    def doubt(self) -> str:
        """Why it is not to be used, with what to do; empty if it is."""
        held = self.held_out
        # What is no number is no result.
        if not (held.mm <= MOST_OFF_MM and held.deg <= MOST_OFF_DEG):
            return (
                f"poses held out are off by {held}, expected at most {MOST_OFF_MM:g} mm and "
                f"{MOST_OFF_DEG:g}°: hold the arm still at each pose, see that nothing slips, that "
                "the squares have the size given, and that `armlet doctor` finds the arm's "
                "calibration right"
            )
        if not (
            self.deviation_mm <= MOST_DEVIATION_MM and self.deviation_deg <= MOST_DEVIATION_DEG
        ):
            return (
                f"the mount is only known to ± {self.deviation_mm:.1f} mm and ± "
                f"{self.deviation_deg:.2f}°, expected {MOST_DEVIATION_MM:g} mm and "
                f"{MOST_DEVIATION_DEG:g}°: take more poses, tilted more, in all directions"
            )
        return ""


def differs(pose: Pose, others: Sequence[Pose]) -> bool:
    """Whether a pose (4, 4) is another one than all of these: turned or moved enough."""
    return all(
        angle_of(other[:3, :3].T @ pose[:3, :3]) >= NEW_TURN_RAD
        or float(np.linalg.norm(other[:3, 3] - pose[:3, 3])) >= NEW_METRES
        for other in others
    )


def mounted(stations: Sequence[Station], intrinsics: Intrinsics, square_m: float) -> Mounted:
    """Where the camera of these intrinsics is.

    square_m: side of the board's squares. Raises CameraError, in one sentence with what to do, for
    pictures of another size than the intrinsics', poses that are too few or turn about one axis
    only, poses of which many do not agree with the others, and intrinsics of no camera.
    """
    for station in stations:
        if station.view.size != (intrinsics.width, intrinsics.height):
            (w, h), i = station.view.size, intrinsics
            raise CameraError(
                f"{station.name} has {w}x{h} pixels, the intrinsics are for {i.width}x{i.height}: "
                "take pictures of that size, or measure the intrinsics at this one"
            )
        if not (np.isfinite(station.body).all() and np.isfinite(station.slopes).all()):
            raise CameraError(f"{station.name}: the arm's pose is not finite: leave it out")
    _require(len(stations), "")
    _require_turns([station.body for station in stations])
    k = np.array(intrinsics.k).reshape(3, 3)
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            sights = Sights(k, [_sight(station, intrinsics, square_m) for station in stations])
            return _mounted(stations, sights)
    except (cv2.error, np.linalg.LinAlgError) as error:
        raise CameraError(_NO_CAMERA) from error


def _mounted(stations: Sequence[Station], sights: Sights) -> Mounted:
    """Raises CameraError, and what OpenCV and numpy raise for numbers beyond reckoning."""
    near, used = _agreeing(sights)
    out = np.setdiff1d(np.arange(len(stations)), used)
    if len(out) > MOST_LEFT_OUT * len(stations):
        raise CameraError(
            f"{len(out)} of {len(stations)} poses do not agree with the others "
            f"({_names(stations, out)}): hold the arm still while a picture is taken, and see that "
            "camera and board do not slip"
        )
    _require(len(used), f", without {_names(stations, out)}")
    _require_turns([stations[index].body for index in used])
    agreeing = sights.only(used)
    fit = refined(agreeing, near)
    left = np.square(agreeing.errors(fit)).sum(axis=1).mean()
    held_out, deviation_mm, deviation_deg = _cross_validated(agreeing, fit)
    return Mounted(
        fit.places.camera,
        fit.places.board,
        len(used),
        float(np.sqrt(left)),
        float(np.degrees(np.sqrt(np.square(fit.joints).mean()))),
        held_out,
        deviation_mm,
        deviation_deg,
        tuple((stations[index].name, _off(sights, fit.places, int(index))) for index in out),
    )


def _require(found: int, note: str) -> None:
    if found < FEWEST_POSES:
        raise CameraError(
            f"expected at least {FEWEST_POSES} poses in which the board is seen, found "
            f"{found}{note}: move the arm to others"
        )


def _require_turns(bodies: Sequence[Pose]) -> None:
    turns = [turn_of(a[:3, :3].T @ b[:3, :3]) for a, b in combinations(bodies, 2)]
    second = float(np.linalg.svd(np.array(turns), compute_uv=False)[1])
    rms = second / len(turns) ** 0.5
    if not rms >= LEAST_TURN_RAD:
        raise CameraError(
            "the poses are too alike: expected turns about two axes, found "
            f"{np.degrees(rms):.1f}° about the second, of {np.degrees(LEAST_TURN_RAD):.0f}°; tilt, "
            "roll and pan the gripper more"
        )


def _names(stations: Sequence[Station], indices: Indices) -> str:
    return ", ".join(stations[index].name for index in indices[:8])


def _sight(station: Station, intrinsics: Intrinsics, square_m: float) -> Sight:
    """What a station saw, without the lens's distortion. Raises CameraError."""
    k, d = np.array(intrinsics.k).reshape(3, 3), np.array(intrinsics.d)
    corners = np.asarray(station.view.corners, np.float64).reshape(-1, 1, 2)
    fisheye = intrinsics.distortion_model == _FISHEYE
    undistort = cv2.fisheye.undistortPoints if fisheye else cv2.undistortPoints
    slopes = np.asarray(undistort(corners, k, d), np.float64).reshape(-1, 1, 2)
    # What solvePnP takes is in one piece.
    pixels = np.ascontiguousarray((_homogeneous(slopes) @ k.T)[:, :2])
    if not (np.isfinite(corners).all() and np.isfinite(pixels).all()):
        raise CameraError(f"{station.name}: corners cannot be undistorted: leave the picture out")
    back = _distorted(slopes, k, d, fisheye)
    # How far undistortPoints comes with a lens that is none, differs from one OpenCV to the next.
    if not np.abs(back - corners.reshape(-1, 2)).max() < _UNDISTORTED_PX:
        raise CameraError(_NO_CAMERA)
    flat = (station.view.board - np.array([COLUMNS / 2, ROWS / 2])) * square_m
    board = np.column_stack([flat, np.zeros(len(flat))])
    return Sight(station.body, station.slopes, board, pixels)


def _distorted(slopes: Floats, k: Floats, d: Floats, fisheye: bool) -> Floats:
    """Pixels (n, 2) of undistorted slopes (n, 1, 2), x and y by depth."""
    if fisheye:
        return np.asarray(cv2.fisheye.distortPoints(slopes, k, d), np.float64).reshape(-1, 2)
    points = _homogeneous(slopes)
    pixels = cv2.projectPoints(points, np.zeros(3), np.zeros(3), k, d)[0]
    return np.asarray(pixels, np.float64).reshape(-1, 2)


def _homogeneous(slopes: Floats) -> Floats:
    """(n, 1, 2) as (n, 3)."""
    return np.asarray(cv2.convertPointsToHomogeneous(slopes), np.float64).reshape(-1, 3)


def _agreeing(sights: Sights) -> tuple[Places, Indices]:
    """Places near the result, and the stations that agree with them."""
    places = _start(sights)
    used = np.sort(np.argsort(sights.px(places))[: max(FEWEST_POSES, len(sights) // 2)])
    for _ in range(_ROUNDS):
        places = refined(sights.only(used), places).places
        px = sights.px(places)
        # The median of all, not of those in use: a bad start may not choose its own judges.
        most = max(_OUTLIER_PX, _OUTLIER_TIMES * float(np.median(px)))
        before, used = used, np.flatnonzero(px <= most)
        if np.array_equal(before, used):
            break
    return places, used


def _start(sights: Sights) -> Places:
    """Of places found from a few stations each, those with the least median error."""
    seen = np.array([sights.seen(index) for index in range(len(sights))])
    dice = np.random.default_rng(0)
    few = [dice.choice(len(sights), _START_POSES, replace=False) for _ in range(_STARTS)]
    groups = [np.arange(len(sights)), *few]
    found = [closed_form(sights.bodies[group], seen[group]) for group in groups]
    return found[int(np.argmin([np.median(sights.px(each)) for each in found]))]


def _off(sights: Sights, places: Places, index: int) -> Off:
    """How far one station's board is off, its joints as read."""
    expected = sights.board_in_camera(places, index)
    seen = sights.seen(index, expected)
    metres = float(np.linalg.norm(seen[:3, 3] - expected[:3, 3]))
    turn = angle_of(seen[:3, :3].T @ expected[:3, :3])
    return Off(float(sights.px(places)[index]), 1000 * metres, float(np.degrees(turn)))


def _cross_validated(sights: Sights, fit: Fit) -> tuple[Off, float, float]:
    """How far held-out stations are off, and the deviations of the camera's place, mm and deg."""
    offs, shifts, turns = [], [], []
    for fold in range(_FOLDS):
        out = np.arange(len(sights)) % _FOLDS == fold
        found = refined(sights.only(np.flatnonzero(~out)), fit.places).places
        offs += [_off(sights, found, int(index)) for index in np.flatnonzero(out)]
        change = np.linalg.inv(fit.places.camera) @ found.camera
        shifts.append(change[:3, 3])
        turns.append(turn_of(change[:3, :3]))
    spread = [float(np.sqrt(np.square(_centred(each)).sum() * _SPREAD)) for each in (shifts, turns)]
    return _rms(offs), 1000 * spread[0], float(np.degrees(spread[1]))


# Of a jackknife's sum of squares.
_SPREAD = (_FOLDS - 1) / _FOLDS


def _centred(rows: Sequence[Vector]) -> Vector:
    array = np.array(rows)
    return np.asarray(array - array.mean(axis=0))


def _rms(offs: Sequence[Off]) -> Off:
    rows = np.array([(off.px, off.mm, off.deg) for off in offs])
    return Off(*(float(each) for each in np.sqrt(np.square(rows).mean(axis=0))))
