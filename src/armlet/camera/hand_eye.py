"""Where a camera is fixed (hand-eye calibration), from views of a ChArUco board at known poses.

The camera is fixed to one body, the board to another: to a gripper and a table, or the other way
round. Which is which does not matter here: a station says where the camera's body is in the
board's. Both unknown places are found in closed form (Shah, 2013; OpenCV 5 has no function for it
any more), and then by least squares of the corners' reprojection error. Joints are not read
exactly, and corners say more about them: the angles of each pose are unknowns as well, near what
was read. On painted boards that makes a camera's place several times better known.
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
from .intrinsics import Intrinsics

Pose = NDArray[np.float64]
Vector = NDArray[np.float64]
Indices = NDArray[np.intp]

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
# Standard deviations that what was read is weighed by: backlash and flexing of small servo arms.
_CORNER_PX, _JOINT_RAD = 0.3, 0.01
_FOLDS = 5
_ROUNDS = 8
_STARTS, _START_POSES = 30, 5
_STEPS = 40
_CONVERGED = 1e-6
_MOST_DAMPING = 1e6
_DELTA = 1e-6
_NEAR_M = 1e-3
_FISHEYE = "equidistant"


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
        _angle(other[:3, :3].T @ pose[:3, :3]) >= NEW_TURN_RAD
        or float(np.linalg.norm(other[:3, 3] - pose[:3, 3])) >= NEW_METRES
        for other in others
    )


def mounted(stations: Sequence[Station], intrinsics: Intrinsics, square_m: float) -> Mounted:
    """Where the camera of these intrinsics is.

    square_m: side of the board's squares. Raises CameraError, in one sentence with what to do, for
    pictures of another size than the intrinsics', poses that are too few or turn about one axis
    only, and poses of which many do not agree with the others.
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
    corners = _Corners(stations, intrinsics, square_m)
    fit, used = _agreeing(corners)
    out = np.setdiff1d(corners.everybody, used)
    if len(out) > MOST_LEFT_OUT * len(stations):
        raise CameraError(
            f"{len(out)} of {len(stations)} poses do not agree with the others "
            f"({_names(stations, out)}): hold the arm still while a picture is taken, and see that "
            "camera and board do not slip"
        )
    _require(len(used), f", without {_names(stations, out)}")
    _require_turns([stations[index].body for index in used])
    left = np.sqrt(np.square(corners.errors(fit, used)).sum(axis=1).mean())
    places = fit.places
    held_out, deviation_mm, deviation_deg = _cross_validated(corners, fit, used)
    return Mounted(
        places.camera,
        places.board,
        len(used),
        float(left),
        float(np.degrees(np.sqrt(np.square(fit.joints[used]).mean()))),
        held_out,
        deviation_mm,
        deviation_deg,
        tuple((stations[index].name, corners.off(places, index)) for index in out),
    )


def _require(found: int, note: str) -> None:
    if found < FEWEST_POSES:
        raise CameraError(
            f"expected at least {FEWEST_POSES} poses in which the board is seen, found "
            f"{found}{note}: move the arm to others"
        )


def _require_turns(bodies: Sequence[Pose]) -> None:
    turns = [_turn(a[:3, :3].T @ b[:3, :3]) for a, b in combinations(bodies, 2)]
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


# --- what is compared -----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Places:
    """The two unknown places: of the camera in its body, and of the board in its own."""

    camera: Pose
    board: Pose

    def moved(self, step: Vector) -> _Places:
        """By a step (12,): a turn and a shift of each."""
        return _Places(self.camera @ _small(step[:6]), self.board @ _small(step[6:]))


@dataclass(frozen=True, eq=False)
class _Fit:
    """The unknown places, and how far each station's joints are from what was read (n, k), rad."""

    places: _Places
    joints: Vector


class _Corners:
    """Corners of all stations, as a camera without distortion would have them."""

    def __init__(self, stations: Sequence[Station], intrinsics: Intrinsics, square_m: float):
        self.everybody: Indices = np.arange(len(stations))
        self.k = np.array(intrinsics.k).reshape(3, 3)
        self.bodies = np.array([station.body for station in stations])
        self.slopes = np.array([station.slopes for station in stations])
        middle = np.array([COLUMNS / 2, ROWS / 2])
        flat = [(station.view.board - middle) * square_m for station in stations]
        self.board = [np.column_stack([each, np.zeros(len(each))]) for each in flat]
        self.pixels = [_undistorted(station, intrinsics) for station in stations]
        self.seen = np.array([self._seen(index, None) for index in range(len(stations))])
        self.counts = np.array([len(each) for each in self.board])

    def start(self, places: _Places) -> _Fit:
        """With joints as read."""
        return _Fit(places, np.zeros(self.slopes.shape[:2]))

    def errors(self, fit: _Fit, indices: Indices) -> Vector:
        """Of corners (n, 2), px, of some stations."""
        places = fit.places
        # To first order: a degree too far makes a tenth of a millimetre.
        moved = np.einsum("nk,nkij->nij", fit.joints[indices], self.slopes[indices])
        bodies = np.linalg.inv(self.bodies[indices] + moved)
        poses = np.linalg.inv(places.camera) @ bodies @ places.board
        each = np.repeat(np.arange(len(indices)), self.counts[indices])
        board = np.concatenate([self.board[index] for index in indices])
        pixels = np.concatenate([self.pixels[index] for index in indices])
        points = np.einsum("nij,nj->ni", poses[each, :3, :3], board) + poses[each, :3, 3]
        rays = points @ self.k.T
        return np.asarray(rays[:, :2] / np.maximum(rays[:, 2:], _NEAR_M) - pixels)

    def px(self, places: _Places) -> Vector:
        """RMS distance of each station's corners from where they should be, (n,)."""
        errors = self.errors(self.start(places), self.everybody)
        sums = np.bincount(np.repeat(self.everybody, self.counts), np.square(errors).sum(axis=1))
        return np.asarray(np.sqrt(sums / self.counts))

    def off(self, places: _Places, index: int) -> Off:
        """Of one station, with its joints as read."""
        in_body = np.linalg.inv(self.bodies[index]) @ places.board
        expected = np.linalg.inv(places.camera) @ in_body
        # From there, so that a flat board's mirrored pose is not taken for another one.
        seen = self._seen(index, expected)
        metres = float(np.linalg.norm(seen[:3, 3] - expected[:3, 3]))
        turn = _angle(seen[:3, :3].T @ expected[:3, :3])
        return Off(float(self.px(places)[index]), 1000 * metres, float(np.degrees(turn)))

    def _seen(self, index: int, start: Pose | None) -> Pose:
        """The board's pose in the camera by its own corners alone, (4, 4)."""
        given = self.board[index], self.pixels[index], self.k, None
        if start is None:
            _, turn, shift = cv2.solvePnP(*given)
        else:
            near = _turn(start[:3, :3]).reshape(3, 1), start[:3, 3].reshape(3, 1).copy()
            _, turn, shift = cv2.solvePnP(*given, *near, True)
        return _pose(*(np.asarray(each, np.float64).ravel() for each in (turn, shift)))


def _undistorted(station: Station, intrinsics: Intrinsics) -> Vector:
    """A station's corners (n, 2), px, without the lens's distortion."""
    k, d = np.array(intrinsics.k).reshape(3, 3), np.array(intrinsics.d)
    corners = np.asarray(station.view.corners, np.float64).reshape(-1, 1, 2)
    fisheye = intrinsics.distortion_model == _FISHEYE
    undistort = cv2.fisheye.undistortPoints if fisheye else cv2.undistortPoints
    pixels = np.asarray(undistort(corners, k, d, P=k), np.float64).reshape(-1, 2)
    if not np.isfinite(pixels).all():
        raise CameraError(f"{station.name}: corners cannot be undistorted: leave the picture out")
    return pixels


# --- what is found --------------------------------------------------------------------------


def _agreeing(corners: _Corners) -> tuple[_Fit, Indices]:
    """What most stations agree with, and the indices of those."""
    fit, used = _start(corners)
    for _ in range(_ROUNDS):
        px = corners.px(fit.places)
        # The median of all, not of those in use: a bad start may not choose its own judges.
        most = max(_OUTLIER_PX, _OUTLIER_TIMES * float(np.median(px)))
        now = corners.everybody[px <= most]
        if np.array_equal(now, used):
            break
        used = now
        fit = _refined(corners, fit.places, used)
    return fit, used


def _start(corners: _Corners) -> tuple[_Fit, Indices]:
    """What is found from a few stations with the least median error, and its nearest stations."""
    dice = np.random.default_rng(0)
    few = [dice.choice(corners.everybody, _START_POSES, replace=False) for _ in range(_STARTS)]
    found = [_closed_form(corners, group) for group in (corners.everybody, *few)]
    places = found[int(np.argmin([np.median(corners.px(each)) for each in found]))]
    count = max(FEWEST_POSES, len(corners.everybody) // 2)
    nearest = np.sort(np.argsort(corners.px(places))[:count])
    return _refined(corners, places, nearest), nearest


def _closed_form(corners: _Corners, indices: Indices) -> _Places:
    """Shah's: camera · seen = body⁻¹ · board, turns by a Kronecker product, then the shifts."""
    bodies, seen = np.linalg.inv(corners.bodies[indices]), corners.seen[indices]
    pairs = zip(bodies, seen, strict=True)
    product = np.sum([np.kron(b[:3, :3], s[:3, :3]) for b, s in pairs], axis=0)
    left, _, right = np.linalg.svd(product)
    sign = np.sign(np.linalg.det(left[:, 0].reshape(3, 3))) or 1.0
    camera, board = (_nearest_turn(sign * each) for each in (left[:, 0], right[0]))
    rows = [np.column_stack([np.eye(3), -b[:3, :3]]) for b in bodies]
    sides = [b[:3, 3] - camera @ s[:3, 3] for b, s in zip(bodies, seen, strict=True)]
    shifts, *_ = np.linalg.lstsq(np.concatenate(rows), np.concatenate(sides), rcond=None)
    return _Places(_framed(camera, shifts[:3]), _framed(board, shifts[3:]))


def _refined(corners: _Corners, places: _Places, indices: Indices) -> _Fit:
    """The least squares from there, of some stations (Levenberg-Marquardt)."""
    fit, damping = corners.start(places), 1e-3
    cost = _cost(corners, fit, indices)
    for _ in range(_STEPS):
        moved = _stepped(corners, fit, indices, damping)
        after = _cost(corners, moved, indices)
        if after < cost:
            gain = 1 - after / cost
            fit, cost, damping = moved, after, damping / 10
            if gain < _CONVERGED:
                break
        else:
            damping *= 10
            if damping > _MOST_DAMPING:
                break
    return fit


def _cost(corners: _Corners, fit: _Fit, indices: Indices) -> float:
    errors = corners.errors(fit, indices) / _CORNER_PX
    return float(np.square(errors).sum() + np.square(fit.joints[indices] / _JOINT_RAD).sum())


def _stepped(corners: _Corners, fit: _Fit, indices: Indices, damping: float) -> _Fit:
    """One step. Each station's joints are eliminated, as no other station knows them."""
    errors = corners.errors(fit, indices)
    slopes = _slopes(corners, fit, indices, errors) / _CORNER_PX
    begins = np.cumsum([0, *corners.counts[indices][:-1]])
    square = np.add.reduceat(np.einsum("nar,nas->nrs", slopes, slopes), begins)
    down = np.add.reduceat(np.einsum("nar,na->nr", slopes, errors / _CORNER_PX), begins)
    joints, unknown = fit.joints[indices], fit.joints.shape[1]
    own = square[:, 12:, 12:] + np.eye(unknown) / _JOINT_RAD**2
    own_inverse = np.linalg.inv(own * (1 + damping * np.eye(unknown)))
    across = square[:, :12, 12:]
    own_down = down[:, 12:] + joints / _JOINT_RAD**2
    shared = square[:, :12, :12].sum(axis=0) * (1 + damping * np.eye(12))
    folded = across @ own_inverse
    shared -= np.einsum("nij,nkj->ik", folded, across)
    rest = down[:, :12].sum(axis=0) - np.einsum("nij,nj->i", folded, own_down)
    step = -np.linalg.lstsq(shared, rest, rcond=None)[0]
    turned = fit.joints.copy()
    turned[indices] -= np.einsum("nij,nj->ni", own_inverse, own_down + step @ across)
    return _Fit(fit.places.moved(step), turned)


def _slopes(corners: _Corners, fit: _Fit, indices: Indices, errors: Vector) -> Vector:
    """Of errors (n, 2), px, by the places (12) and a station's own joints (k): (n, 2, 12 + k)."""
    moved = [_Fit(fit.places.moved(step), fit.joints) for step in np.eye(12) * _DELTA]
    turns = np.eye(fit.joints.shape[1]) * _DELTA
    moved += [_Fit(fit.places, fit.joints + turn) for turn in turns]
    return np.stack([corners.errors(each, indices) - errors for each in moved], -1) / _DELTA


def _cross_validated(corners: _Corners, fit: _Fit, used: Indices) -> tuple[Off, float, float]:
    """How far held-out stations are off, and the deviations of the camera's place, mm and deg."""
    offs, shifts, turns = [], [], []
    for fold in range(_FOLDS):
        out = np.arange(len(used)) % _FOLDS == fold
        found = _refined(corners, fit.places, used[~out]).places
        offs += [corners.off(found, index) for index in used[out]]
        change = np.linalg.inv(fit.places.camera) @ found.camera
        shifts.append(change[:3, 3])
        turns.append(_turn(change[:3, :3]))
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


# --- turns ----------------------------------------------------------------------------------


def _turn(rotation: Vector) -> Vector:
    """The rotation vector (3,), rad, of a rotation (3, 3)."""
    return np.asarray(cv2.Rodrigues(np.ascontiguousarray(rotation))[0], np.float64).ravel()


def _angle(rotation: Vector) -> float:
    return float(np.linalg.norm(_turn(rotation)))


def _pose(turn: Vector, shift: Vector) -> Pose:
    return _framed(np.asarray(cv2.Rodrigues(np.ascontiguousarray(turn))[0], np.float64), shift)


def _framed(rotation: Vector, shift: Vector) -> Pose:
    pose: Pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, shift
    return pose


def _small(step: Vector) -> Pose:
    return _pose(step[:3], step[3:])


def _nearest_turn(flat: Vector) -> Vector:
    """The rotation nearest to nine numbers that are a multiple of one."""
    left, _, right = np.linalg.svd(flat.reshape(3, 3))
    sign = np.sign(np.linalg.det(left @ right)) or 1.0
    return np.asarray(left @ np.diag([1.0, 1.0, sign]) @ right)
