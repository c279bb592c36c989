"""The arithmetic of hand_eye: two unknown places, from corners seen at poses that are nearly known.

Both are found in closed form (Shah, 2013; OpenCV 5 has no function for it any more), and then by
least squares of the corners' reprojection error. Joints are not read exactly, and corners say more
about them: the angles of each pose are unknowns as well, near what was read. On painted boards that
makes a camera's place several times better known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Pose = NDArray[np.float64]
"""(4, 4), metres: a frame's place in another one."""
Vector = NDArray[np.float64]
Indices = NDArray[np.intp]

# Standard deviations that what was read is weighed by: backlash and flexing of small servo arms.
_CORNER_PX, _JOINT_RAD = 0.3, 0.01
_STEPS = 40
_CONVERGED = 1e-6
_MOST_DAMPING = 1e6
_DELTA = 1e-6
_NEAR_M = 1e-3
_PLACES = 12


@dataclass(frozen=True, eq=False)
class Places:
    """The unknown places: of the camera in the body that carries it, of the board in its own."""

    camera: Pose
    board: Pose

    def moved(self, step: Vector) -> Places:
        """By a step (12,): a turn and a shift of each, in itself."""
        camera, board = step.reshape(2, 2, 3)
        return Places(self.camera @ posed(*camera), self.board @ posed(*board))


@dataclass(frozen=True, eq=False)
class Sight:
    """One station. body, slopes: as Station has them. board: its corners, (n, 3), metres.

    pixels: the same in the picture (n, 2), as a camera without distortion would have them.
    """

    body: Pose
    slopes: Vector
    board: Vector
    pixels: Vector


@dataclass(frozen=True, eq=False)
class Fit:
    """Places, and how far each station's joints are from what was read (n, k), rad."""

    places: Places
    joints: Vector


class Sights:
    """Some stations of one camera. k: its matrix (3, 3)."""

    def __init__(self, k: Vector, sights: Sequence[Sight]) -> None:
        self.k, self._sights = k, sights
        self.bodies = np.array([each.body for each in sights])
        self.slopes = np.array([each.slopes for each in sights])
        self._board = np.concatenate([each.board for each in sights])
        self._pixels = np.concatenate([each.pixels for each in sights])
        self._counts = np.array([len(each.board) for each in sights])
        self._station = np.repeat(np.arange(len(sights)), self._counts)

    def __len__(self) -> int:
        return len(self._sights)

    def only(self, indices: Indices) -> Sights:
        """Some of them."""
        return Sights(self.k, [self._sights[index] for index in indices])

    def as_read(self, places: Places) -> Fit:
        """Places, with joints as they were read."""
        return Fit(places, np.zeros(self.slopes.shape[:2]))

    def errors(self, fit: Fit) -> Vector:
        """Of all corners (m, 2), px."""
        # To first order: a degree too far makes a tenth of a millimetre.
        turned = self.bodies + np.einsum("nk,nkij->nij", fit.joints, self.slopes)
        poses = np.linalg.inv(fit.places.camera) @ np.linalg.inv(turned) @ fit.places.board
        to_pixels = (self.k @ poses[:, :3])[self._station]
        rays = (to_pixels[:, :, :3] @ self._board[:, :, None])[:, :, 0] + to_pixels[:, :, 3]
        return np.asarray(rays[:, :2] / np.maximum(rays[:, 2:], _NEAR_M) - self._pixels)

    def sums(self, corners: Vector) -> Vector:
        """Of what corners (m, ...) have, by station (n, ...)."""
        begins = np.cumsum(self._counts) - self._counts
        return np.asarray(np.add.reduceat(corners, begins))

    def px(self, places: Places) -> Vector:
        """RMS distance of a station's corners from where they should be, (n,), joints as read."""
        squares = np.square(self.errors(self.as_read(places))).sum(axis=1)
        return np.asarray(np.sqrt(self.sums(squares) / self._counts))

    def board_in_camera(self, places: Places, index: int) -> Pose:
        """Where the board should be in one station's picture, joints as read."""
        in_body = np.linalg.inv(self.bodies[index]) @ places.board
        return np.asarray(np.linalg.inv(places.camera) @ in_body)

    def seen(self, index: int, near: Pose | None = None) -> Pose:
        """The board's pose in the camera by one station's corners alone.

        near: where it is looked for; a flat board has a second, mirrored pose.
        """
        given = self._sights[index].board, self._sights[index].pixels, self.k, None
        if near is None:
            _, turn, shift = cv2.solvePnP(*given)
        else:
            start = turn_of(near[:3, :3]).reshape(3, 1), near[:3, 3].reshape(3, 1).copy()
            _, turn, shift = cv2.solvePnP(*given, *start, True)
        return posed(*(np.asarray(each, np.float64).ravel() for each in (turn, shift)))


def closed_form(bodies: Vector, seen: Vector) -> Places:
    """Shah's: camera · seen = body⁻¹ · board; turns by a Kronecker product, then the shifts.

    bodies: (n, 4, 4). seen: (n, 4, 4), the board in the camera.
    """
    inverse = np.linalg.inv(bodies)
    pairs = zip(inverse, seen, strict=True)
    left, _, right = np.linalg.svd(sum(np.kron(b[:3, :3], s[:3, :3]) for b, s in pairs))
    sign = np.sign(np.linalg.det(left[:, 0].reshape(3, 3))) or 1.0
    camera, board = (_nearest_turn(sign * each) for each in (left[:, 0], right[0]))
    rows = np.concatenate([np.column_stack([np.eye(3), -b[:3, :3]]) for b in inverse])
    sides = inverse[:, :3, 3] - seen[:, :3, 3] @ camera.T
    shifts, *_ = np.linalg.lstsq(rows, sides.ravel(), rcond=None)
    return Places(framed(camera, shifts[:3]), framed(board, shifts[3:]))


def refined(sights: Sights, places: Places) -> Fit:
    """The least squares from there (Levenberg-Marquardt)."""
    fit, damping = sights.as_read(places), 1e-3
    cost = _cost(sights, fit)
    for _ in range(_STEPS):
        moved = _stepped(sights, fit, damping)
        after = _cost(sights, moved)
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


def _cost(sights: Sights, fit: Fit) -> float:
    corners = np.square(sights.errors(fit) / _CORNER_PX).sum()
    return float(corners + np.square(fit.joints / _JOINT_RAD).sum())


def _stepped(sights: Sights, fit: Fit, damping: float) -> Fit:
    """One step. Each station's joints are eliminated, as no other station knows them."""
    errors = sights.errors(fit)
    slopes = _slopes(sights, fit, errors) / _CORNER_PX
    square = sights.sums(slopes.swapaxes(1, 2) @ slopes)
    down = sights.sums((slopes.swapaxes(1, 2) @ errors[:, :, None])[:, :, 0]) / _CORNER_PX
    damped = 1 + damping * np.eye(square.shape[1])
    own = square[:, _PLACES:, _PLACES:] + np.eye(fit.joints.shape[1]) / _JOINT_RAD**2
    own_inverse = np.linalg.inv(own * damped[_PLACES:, _PLACES:])
    own_down = down[:, _PLACES:] + fit.joints / _JOINT_RAD**2
    across = square[:, :_PLACES, _PLACES:]
    folded = across @ own_inverse
    shared = square[:, :_PLACES, :_PLACES].sum(axis=0) * damped[:_PLACES, :_PLACES]
    shared -= (folded @ across.swapaxes(1, 2)).sum(axis=0)
    rest = down[:, :_PLACES].sum(axis=0) - np.einsum("nij,nj->i", folded, own_down)
    step = -np.linalg.lstsq(shared, rest, rcond=None)[0]
    turns = np.einsum("nij,nj->ni", own_inverse, own_down + step @ across)
    return Fit(fit.places.moved(step), fit.joints - turns)


def _slopes(sights: Sights, fit: Fit, errors: Vector) -> Vector:
    """Of errors (m, 2), px, by the places and by the station's own joints: (m, 2, 12 + k)."""
    moved = [Fit(fit.places.moved(step), fit.joints) for step in np.eye(_PLACES) * _DELTA]
    turns = np.eye(fit.joints.shape[1]) * _DELTA
    moved += [Fit(fit.places, fit.joints + turn) for turn in turns]
    return np.stack([sights.errors(each) - errors for each in moved], -1) / _DELTA


# --- turns ----------------------------------------------------------------------------------


def turn_of(rotation: Vector) -> Vector:
    """The rotation vector (3,), rad, of a rotation (3, 3)."""
    return np.asarray(cv2.Rodrigues(np.ascontiguousarray(rotation))[0], np.float64).ravel()


def angle_of(rotation: Vector) -> float:
    """How far a rotation (3, 3) turns, rad."""
    return float(np.linalg.norm(turn_of(rotation)))


def posed(turn: Vector, shift: Vector) -> Pose:
    """The pose of a rotation vector (3,), rad, and a place (3,)."""
    rotation = cv2.Rodrigues(np.ascontiguousarray(turn))[0]
    return framed(np.asarray(rotation, np.float64), shift)


def framed(rotation: Vector, shift: Vector) -> Pose:
    """The pose of a rotation (3, 3) and a place (3,)."""
    pose: Pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, shift
    return pose


def _nearest_turn(flat: Vector) -> Vector:
    """The rotation nearest to nine numbers that are a multiple of one."""
    left, _, right = np.linalg.svd(flat.reshape(3, 3))
    sign = np.sign(np.linalg.det(left @ right)) or 1.0
    return np.asarray(left @ np.diag([1.0, 1.0, sign]) @ right)
