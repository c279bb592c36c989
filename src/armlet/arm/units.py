"""The one place where ticks, radians and LeRobot's dataset units meet.

Three spaces: ticks (0..4095, the servo), radians (every topic) and dataset units (LeRobot's).
All conversions go through ticks with the arm's own calibration. Ticks are kept as floats here;
only the driver rounds. Radian zero is the calibrated centre, (range_min + range_max) / 2.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .calibration import MAX_TICK, Calibration
from .joints import GRIPPER

Vector = NDArray[np.float64]

JointUnits = Literal["degrees", "range_m100_100"]
"""LeRobot's mode of the body joints; the gripper is `range_0_100` in both."""

TICKS_PER_TURN = 4096
RADIANS_PER_TICK = 2 * math.pi / TICKS_PER_TURN

DEGREES_PER_TICK = 360 / MAX_TICK
"""LeRobot divides the turn by 4095, not 4096; its datasets are in these degrees."""


def joint_units(name: str) -> JointUnits:
    """Check a name of a unit mode. Raises ValueError listing the modes."""
    for mode in get_args(JointUnits):
        if name == mode:
            checked: JointUnits = mode
            return checked
    raise ValueError(f"joint_units must be one of {get_args(JointUnits)}, found {name!r}")


def ticks_to_radians(ticks: ArrayLike, calibration: Calibration) -> Vector:
    """Ticks (..., n) to radians (..., n)."""
    low, high = _ranges(calibration)
    return (np.asarray(ticks, np.float64) - (low + high) / 2) * RADIANS_PER_TICK


def radians_to_ticks(radians: ArrayLike, calibration: Calibration) -> Vector:
    """Radians (..., n) to ticks (..., n), not rounded."""
    low, high = _ranges(calibration)
    return np.asarray(radians, np.float64) / RADIANS_PER_TICK + (low + high) / 2


def ticks_to_dataset(ticks: ArrayLike, calibration: Calibration, units: JointUnits) -> Vector:
    """Ticks (..., n) to LeRobot's units (..., n), with LeRobot's clamping in the range modes."""
    low, high = _ranges(calibration)
    ticks = np.asarray(ticks, np.float64)
    fraction = (np.clip(ticks, low, high) - low) / (high - low)
    reverse, gripper = _reversed(calibration), _grippers(calibration)
    percent = 100 * np.where(reverse, 1 - fraction, fraction)
    if units == "degrees":
        body = (ticks - (low + high) / 2) * DEGREES_PER_TICK
    else:
        body = np.where(reverse, 100 - 200 * fraction, 200 * fraction - 100)
    return np.where(gripper, percent, body)


def dataset_to_ticks(values: ArrayLike, calibration: Calibration, units: JointUnits) -> Vector:
    """LeRobot's units (..., n) to ticks (..., n), not rounded; inverse of `ticks_to_dataset`.

    As in LeRobot the range modes clamp to the calibrated range and degrees do not.
    """
    low, high = _ranges(calibration)
    values = np.asarray(values, np.float64)
    reverse, gripper = _reversed(calibration), _grippers(calibration)
    percent = np.clip(values, 0, 100) / 100
    if units == "degrees":
        body = values / DEGREES_PER_TICK + (low + high) / 2
    else:
        half = (np.clip(values, -100, 100) + 100) / 200
        body = np.where(reverse, 1 - half, half) * (high - low) + low
    return np.where(gripper, np.where(reverse, 1 - percent, percent) * (high - low) + low, body)


def radians_to_dataset(radians: ArrayLike, calibration: Calibration, units: JointUnits) -> Vector:
    """Radians (..., n) to LeRobot's units (..., n)."""
    return ticks_to_dataset(radians_to_ticks(radians, calibration), calibration, units)


def dataset_to_radians(values: ArrayLike, calibration: Calibration, units: JointUnits) -> Vector:
    """LeRobot's units (..., n) to radians (..., n)."""
    return ticks_to_radians(dataset_to_ticks(values, calibration, units), calibration)


def limits_radians(calibration: Calibration) -> tuple[Vector, Vector]:
    """Lower and upper calibrated limits, radians (n,) each."""
    low, high = _ranges(calibration)
    return ticks_to_radians(low, calibration), ticks_to_radians(high, calibration)


def _ranges(calibration: Calibration) -> tuple[Vector, Vector]:
    joints = calibration.values()
    return (
        np.array([joint.range_min for joint in joints], np.float64),
        np.array([joint.range_max for joint in joints], np.float64),
    )


def _reversed(calibration: Calibration) -> NDArray[np.bool_]:
    return np.array([joint.drive_mode == 1 for joint in calibration.values()])


def _grippers(calibration: Calibration) -> NDArray[np.bool_]:
    return np.array([joint == GRIPPER for joint in calibration])
