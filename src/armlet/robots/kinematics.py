"""The arm's geometry: where the links are for given joint angles, and the reverse.

Lengths are those of the SO-101's published URDF (TheRobotStudio/SO-ARM100,
Simulation/SO101/so101_new_calib.urdf), rounded to tenths of a millimetre and laid into one plane:
the URDF's sideways offsets of shoulder and tip (18 and 8 mm) are left out, and roll zero is turned
so that the jaws open sideways. World frame: x forward, y left, z up, origin on the table under the
pan axis.

Zero pose (every joint at its calibrated centre): upper arm upright, forearm and gripper level and
forward. Signs as on the real arm: pan positive turns right (clockwise from above); shoulder lift,
elbow and wrist flex positive pitch down; wrist roll positive turns clockwise about the gripper's
pointing direction seen from in front of it; gripper -0.9 closed to +0.9 open.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

FRAMES = ("base", "pan", "upper_arm", "forearm", "wrist", "gripper", "jaw")
"""The rigid parts, each with a frame at its joint: see Pose."""

GRIPPER_CLOSED = -0.9
GRIPPER_OPEN = 0.9

REACH_LIMITS = np.array([1.7, 1.7, 1.5, 1.6, 2.7, 0.9])
"""Angles solve_reach keeps to, +- rad: inside both emulated arms' calibrated ranges."""

HOME = np.array([0.0, -1.10, 0.85, 1.25, 0.0, GRIPPER_CLOSED])
"""Rest pose, radians: gripper over the near edge of the workspace, looking down at it."""

_SHOULDER = np.array([0.0304, 0.0, 0.1166])
_ELBOW = np.array([0.0280, 0.0, 0.1126])
_WRIST = np.array([0.1349, 0.0, 0.0052])
_ROLL = np.array([0.0611, 0.0, 0.0])
_TIP = np.array([0.0981, 0.0, 0.0])
_JAW = np.array([0.0234, -0.0180, 0.0])

_UPPER_LENGTH = math.hypot(_ELBOW[0], _ELBOW[2])
_UPPER_LEAN = math.atan2(_ELBOW[0], _ELBOW[2])
_FOREARM_LENGTH = math.hypot(_WRIST[0], _WRIST[2])
_FOREARM_RISE = math.atan2(_WRIST[2], _WRIST[0])
_HAND_LENGTH = float(_ROLL[0] + _TIP[0])


class UnreachableError(ValueError):
    """No joint angles within limits put the tip there."""


@dataclass(frozen=True, eq=False)
class Pose:
    """Where the arm's parts are, in world coordinates.

    origins: float64 (7, 3), metres, the frame origin of each of FRAMES (the joint that moves it).
    rotations: float64 (7, 3, 3), columns are the frame's axes; the gripper's x axis points along
    the fingers, its y axis from the moving jaw to the fixed finger. tip: float64 (3,), metres,
    between the fingertips when closed.
    """

    origins: Vector
    rotations: Vector
    tip: Vector


def forward(joints: Vector) -> Pose:
    """Pose for joint angles (6,), radians."""
    pan, lift, elbow, flex, roll, gripper = (float(angle) for angle in joints)
    rotations = np.empty((7, 3, 3))
    rotations[0] = np.eye(3)
    rotations[1] = _about_z(-pan)
    rotations[2] = rotations[1] @ _about_y(lift)
    rotations[3] = rotations[2] @ _about_y(elbow)
    rotations[4] = rotations[3] @ _about_y(flex)
    rotations[5] = rotations[4] @ _about_x(-roll)
    rotations[6] = rotations[5] @ _about_z(-(gripper - GRIPPER_CLOSED))
    origins = np.zeros((7, 3))
    origins[2] = rotations[1] @ _SHOULDER
    origins[3] = origins[2] + rotations[2] @ _ELBOW
    origins[4] = origins[3] + rotations[3] @ _WRIST
    origins[5] = origins[4] + rotations[4] @ _ROLL
    origins[6] = origins[5] + rotations[5] @ _JAW
    return Pose(origins, rotations, origins[5] + rotations[5] @ _TIP)


def tip_position(joints: Vector) -> Vector:
    """Fingertip point (3,), metres, for joint angles (6,), radians."""
    return forward(joints).tip


PLANAR = 4
"""Joints that move the tip: pan, lift, elbow, flex. The roll turns the gripper about it."""


def tip_jacobian(joints: Vector) -> Vector:
    """Rates of the tip (x, y, z, m) and of the gripper's pitch (rad, down) by those of the joints.

    float64 (4, 4): a column for each of the first PLANAR joints, at joint angles (6,), radians.
    The roll moves none of the four, and pan not the pitch.
    """
    pose = forward(joints)
    across = pose.rotations[1][:, 1]
    rates = np.zeros((PLANAR, PLANAR))
    rates[:3, 0] = np.cross([0.0, 0.0, -1.0], pose.tip)
    rates[:3, 1:] = np.cross(across, pose.tip - pose.origins[2:5]).T
    rates[3, 1:] = 1.0
    return rates


def solve_reach(target_xyz: Vector, gripper: float = GRIPPER_CLOSED) -> Vector:
    """Joint angles (6,), radians, that put the tip at `target_xyz` (3,), metres, pointing down.

    The gripper points as steeply down as suits the distance (86 degrees near the base, flatter far
    out), and rolls so that the jaws keep their direction on the table while the arm pans. Raises
    UnreachableError.
    """
    x, y, z = (float(value) for value in target_xyz)
    if not (math.isfinite(x) and math.isfinite(y) and math.isfinite(z)):
        raise UnreachableError(f"the target {target_xyz} is not a point")
    distance = math.hypot(x, y)
    pan = -math.atan2(y, x)
    wanted = _preferred_pitch(distance)
    # Pitches from the wanted one outwards: the nearest that the limits allow.
    for step in range(_PITCH_STEPS):
        for pitch in {wanted - step * _PITCH_STEP, wanted + step * _PITCH_STEP}:
            planar = _solve_plane(distance, z, pitch)
            if planar is None or not _FLATTEST <= pitch <= _STEEPEST:
                continue
            joints = np.array([pan, *planar, pan, gripper])
            if np.all(np.abs(joints) <= REACH_LIMITS):
                return joints
    raise UnreachableError(
        f"the tip cannot reach ({x:.3f}, {y:.3f}, {z:.3f}) m within the joint limits: choose a "
        "point in front of the arm, 0.12 to 0.36 m from its pan axis"
    )


_PITCH_STEP = 0.02
_PITCH_STEPS = 45
_FLATTEST = 0.7
_STEEPEST = 1.7  # pointing back further would be into the base


def _preferred_pitch(distance: float) -> float:
    """Downward pitch of the gripper, rad: flattens smoothly with distance, as a reaching arm."""
    far = max(0.0, distance - 0.16)
    return 1.5 - 3.0 * far * far / (far + 0.04)


def _solve_plane(distance: float, height: float, pitch: float) -> tuple[float, float, float] | None:
    """Lift, elbow, flex for a tip in the arm's plane and a gripper pitch; elbow-up solution."""
    across = distance - _HAND_LENGTH * math.cos(pitch) - float(_SHOULDER[0])
    up = height + _HAND_LENGTH * math.sin(pitch) - float(_SHOULDER[2])
    span = math.hypot(across, up)
    cosine = (span**2 - _UPPER_LENGTH**2 - _FOREARM_LENGTH**2) / (
        2 * _UPPER_LENGTH * _FOREARM_LENGTH
    )
    if abs(cosine) > 1:
        return None
    bend = math.acos(cosine)  # of the forearm against the upper arm, downward
    # Angles above the horizontal of the two straight lines joint to joint.
    upper = math.atan2(up, across) + math.atan2(
        _FOREARM_LENGTH * math.sin(bend), _UPPER_LENGTH + _FOREARM_LENGTH * math.cos(bend)
    )
    forearm = upper - bend
    lift = math.pi / 2 - upper - _UPPER_LEAN
    forearm_pitch = _FOREARM_RISE - forearm
    return lift, forearm_pitch - lift, pitch - forearm_pitch


def _about_x(angle: float) -> Vector:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def _about_y(angle: float) -> Vector:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def _about_z(angle: float) -> Vector:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
