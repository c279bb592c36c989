"""Jogging: an arm moved by how far sticks are deflected, along its tip's directions or by joint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from armlet.robots.joints import is_gripper
from armlet.robots.kinematics import PLANAR, tip_jacobian
from armlet.robots.robot_model import SO101_JOINTS
from armlet.robots.units import Vector

TIP = ("x", "y", "z", "pitch", "roll")
"""Directions of a tip: along the base's axes (m/s), and two turns (rad/s): the gripper's pitch,
positive down, and its roll about the direction in which it points."""

RAMP_S = 0.15
"""A full deflection is reached, and left, in so long."""

LEAD_RAD = 0.35
"""The goal goes no further ahead of where a joint was read: what is blocked is not pushed on."""

# Metres that count as much as a radian of pitch, and how near the Jacobian's smallest singular
# value may come to zero in that measure: from the first the arm goes slower, at the second it
# stops. In the middle of the workspace it is 0.03 to 0.05.
_LENGTH_M = 0.1
_SLOW, _EDGE = 0.02, 0.006
_LONGEST_STEP_S = 0.1
_AT_REST = 1e-6
_NO_STEP = 1e-12


@dataclass(frozen=True)
class Speeds:
    """At full deflection: of the tip (m/s); of its turns, of a joint, of a gripper (rad/s)."""

    linear: float
    angular: float
    joint: float
    gripper: float


@dataclass(frozen=True)
class Wish:
    """What is asked for, as shares of full speed, -1 to 1: tip (5,) as TIP, and joints (n,)."""

    tip: Vector
    joints: Vector


class Jog:
    """Goals of an arm that is jogged. It is told when it is, and where the arm is.

    In the directions of the tip an arm of five joints has no yaw of its own: it follows from the
    pan, which the place of the tip needs. Where a direction cannot be kept, at a joint's limit or
    the workspace's edge, the motion stops as a whole rather than turn aside; the way back is open.

    Args:
        joints: names in order.
        lower, upper: their limits, radians (n,).
        speeds: at full deflection.

    Attributes:
        held_back: why the last goal did not move as asked; empty if it did.
    """

    def __init__(self, joints: Sequence[str], lower: Vector, upper: Vector, speeds: Speeds):
        self.joints = tuple(joints)
        self.held_back = ""
        self._lower, self._upper = lower, upper
        self.limit(speeds)
        self._tip = np.zeros(len(TIP))
        self._rates = np.zeros(len(joints))
        self._goal: Vector | None = None
        self._last_s = 0.0
        self._columns = [joints.index(name) for name in SO101_JOINTS if name in joints]

    def limit(self, speeds: Speeds) -> None:
        """Other speeds from now on."""
        grippers = [is_gripper(joint) for joint in self.joints]
        self._speeds = speeds
        self._top = np.where(grippers, speeds.gripper, speeds.joint)

    def stop(self) -> None:
        """Forget the goal and the speed: the next one begins at rest, from where the arm is."""
        self._goal, self.held_back = None, ""
        self._tip, self._rates = np.zeros_like(self._tip), np.zeros_like(self._rates)

    def step(self, wish: Wish | None, held: Vector, read: Vector, now_s: float) -> Vector | None:
        """The next goal (n,), radians; None where nothing is asked for and nothing moves.

        wish: None brakes to a stop. held: the goal that the arm has, with which it begins; read:
        where it stands, radians (n,). now_s: on any clock.
        """
        if wish is None and not self._moves():
            self.stop()
            return None
        if self._goal is None:
            self._goal, self._last_s = np.clip(held, self._lower, self._upper), now_s
        dt_s = min(max(now_s - self._last_s, 0.0), _LONGEST_STEP_S)
        self._last_s, self.held_back = now_s, ""
        change = dt_s / RAMP_S
        self._tip = _towards(self._tip, 0.0 if wish is None else wish.tip, change)
        self._rates = _towards(self._rates, 0.0 if wish is None else wish.joints, change)
        moved = self._goal + self._step(self._goal, read, dt_s)
        self._goal = np.clip(moved, self._lower, self._upper)
        return self._goal.copy()

    def _moves(self) -> bool:
        return bool(max(np.abs(self._tip).max(), np.abs(self._rates).max()) > _AT_REST)

    def _step(self, goal: Vector, read: Vector, dt_s: float) -> Vector:
        step = self._rates * self._top * dt_s
        step *= [self._share(goal, read, step, [index]) for index in range(len(step))]
        if np.abs(self._tip).max() <= _AT_REST:
            return step
        *moving, roll, _ = self._columns
        planar = np.zeros_like(step)
        planar[moving] = self._planar(goal[self._columns], dt_s)
        planar *= self._share(goal, read, planar, moving)
        turn = np.zeros_like(step)
        turn[roll] = self._tip[4] * self._speeds.angular * dt_s
        turn *= self._share(goal, read, turn, [roll])
        both: Vector = step + planar + turn
        return both

    def _planar(self, angles: Vector, dt_s: float) -> Vector:
        """A step of the joints (4,) that move the tip, from angles (6,).

        By the Jacobian in the middle of the step, so that a straight line stays one.
        """
        speeds = self._speeds
        wanted = self._tip[:4] * [*[speeds.linear] * 3, speeds.angular * _LENGTH_M]
        half = _moved(angles, self._solved(angles, wanted) * dt_s / 2)
        step = self._solved(half, wanted) * dt_s
        near, next_near = _nearness(angles), _nearness(_moved(angles, step))
        if next_near < near and near < _SLOW:
            self.held_back = "the edge of the workspace"
            step = step * max(0.0, (near - _EDGE) / (_SLOW - _EDGE))
        return step

    def _solved(self, angles: Vector, wanted: Vector) -> Vector:
        """Rates of the joints (4,) for those of the tip, none above its top speed.

        Damped least squares: below _EDGE, where the rates would grow without limit, by as much as
        keeps them what they are there.
        """
        left, values, right = np.linalg.svd(_scaled_jacobian(angles))
        rates = right.T @ (left.T @ wanted * values / np.maximum(values, _EDGE) ** 2)
        solved: Vector = rates / max(1.0, np.abs(rates).max() / self._speeds.joint)
        return solved

    def _share(self, goal: Vector, read: Vector, step: Vector, together: list[int]) -> float:
        """How much of a step some joints, which move together, may go: 0 to 1."""
        share = 1.0
        for index in together:
            move = step[index]
            if abs(move) < _NO_STEP:
                continue
            end = self._upper[index] if move > 0 else self._lower[index]
            room, lead = (end - goal[index]) / move, (goal[index] - read[index]) * np.sign(move)
            if room < share:
                share, self.held_back = max(0.0, room), f"the limit of {self.joints[index]}"
            if lead > LEAD_RAD:
                share, self.held_back = 0.0, f"{self.joints[index]} does not follow"
        return share


def _towards(now: Vector, wanted: Vector | float, change: float) -> Vector:
    """Nearer to what is wanted, by no more than a change."""
    near: Vector = now + np.clip(wanted - now, -change, change)
    return near


def _moved(angles: Vector, step: Vector) -> Vector:
    moved: Vector = angles.copy()
    moved[:PLANAR] += step
    return moved


def _scaled_jacobian(angles: Vector) -> Vector:
    jacobian = tip_jacobian(angles)
    jacobian[3] *= _LENGTH_M
    return jacobian


def _nearness(angles: Vector) -> float:
    """How far from a singularity: the Jacobian's smallest singular value."""
    return float(np.linalg.svd(_scaled_jacobian(angles), compute_uv=False)[-1])
