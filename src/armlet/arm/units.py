"""The one place where ticks, radians and LeRobot's dataset units meet.

Three spaces: ticks (0..4095, the servo), radians (every topic) and dataset units (LeRobot's).
All conversions go through ticks with the arm's own calibration. Ticks are kept as floats here;
only the driver rounds. Radian zero is the calibrated centre, (range_min + range_max) / 2.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .calibration import MAX_TICK, Calibration, JointCalibration
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


class JointConverter:
    """The conversions of one arm's calibration, its constants worked out once.

    Takes and gives arrays (..., n) in the calibration's joint order; cheap enough for every cycle.
    `converter` gives the one that is already made for a calibration.
    """

    def __init__(self, calibration: Calibration):
        joints = tuple(calibration.values())
        self._low = _constants([joint.range_min for joint in joints])
        self._high = _constants([joint.range_max for joint in joints])
        self._center = _constants((self._low + self._high) / 2)
        self._span = _constants(self._high - self._low)
        self._reversed = np.array([joint.drive_mode == 1 for joint in joints])
        self._gripper = np.array([joint == GRIPPER for joint in calibration])

    @property
    def centers(self) -> Vector:
        """Ticks (n,) of radian zero."""
        return self._center

    def ticks_to_radians(self, ticks: ArrayLike) -> Vector:
        return (np.asarray(ticks, np.float64) - self._center) * RADIANS_PER_TICK

    def radians_to_ticks(self, radians: ArrayLike) -> Vector:
        """Not rounded."""
        return np.asarray(radians, np.float64) / RADIANS_PER_TICK + self._center

    def ticks_to_dataset(self, ticks: ArrayLike, units: JointUnits) -> Vector:
        """With LeRobot's clamping in the range modes."""
        ticks = np.asarray(ticks, np.float64)
        fraction = (np.minimum(np.maximum(ticks, self._low), self._high) - self._low) / self._span
        directed = np.where(self._reversed, 1 - fraction, fraction)
        if units == "degrees":
            body = (ticks - self._center) * DEGREES_PER_TICK
        else:
            body = 200 * directed - 100
        return np.where(self._gripper, 100 * directed, body)

    def dataset_to_ticks(self, values: ArrayLike, units: JointUnits) -> Vector:
        """Not rounded; inverse of `ticks_to_dataset`.

        As in LeRobot the range modes clamp to the calibrated range and degrees do not.
        """
        values = np.asarray(values, np.float64)
        share = np.where(self._gripper, values / 100, (values + 100) / 200)
        share = np.minimum(np.maximum(share, 0.0), 1.0)
        ticks = np.where(self._reversed, 1 - share, share) * self._span + self._low
        if units == "degrees":
            return np.where(self._gripper, ticks, values / DEGREES_PER_TICK + self._center)
        return ticks

    def limits_radians(self) -> tuple[Vector, Vector]:
        """Lower and upper calibrated limits, radians (n,) each."""
        return self.ticks_to_radians(self._low), self.ticks_to_radians(self._high)


def converter(calibration: Calibration) -> JointConverter:
    """The calibration's converter, made at its first use."""
    return _converter(tuple(calibration.items()))


@lru_cache(maxsize=64)
def _converter(items: tuple[tuple[str, JointCalibration], ...]) -> JointConverter:
    return JointConverter(dict(items))


def _constants(values: ArrayLike) -> Vector:
    array = np.array(values, np.float64)
    array.setflags(write=False)
    return array


def ticks_to_radians(ticks: ArrayLike, calibration: Calibration) -> Vector:
    """Ticks (..., n) to radians (..., n)."""
    return converter(calibration).ticks_to_radians(ticks)


def radians_to_ticks(radians: ArrayLike, calibration: Calibration) -> Vector:
    """Radians (..., n) to ticks (..., n), not rounded."""
    return converter(calibration).radians_to_ticks(radians)


def ticks_to_dataset(ticks: ArrayLike, calibration: Calibration, units: JointUnits) -> Vector:
    """Ticks (..., n) to LeRobot's units (..., n), with LeRobot's clamping in the range modes."""
    return converter(calibration).ticks_to_dataset(ticks, units)


def dataset_to_ticks(values: ArrayLike, calibration: Calibration, units: JointUnits) -> Vector:
    """LeRobot's units (..., n) to ticks (..., n), not rounded; inverse of `ticks_to_dataset`."""
    return converter(calibration).dataset_to_ticks(values, units)


def radians_to_dataset(radians: ArrayLike, calibration: Calibration, units: JointUnits) -> Vector:
    """Radians (..., n) to LeRobot's units (..., n)."""
    made = converter(calibration)
    return made.ticks_to_dataset(made.radians_to_ticks(radians), units)


def dataset_to_radians(values: ArrayLike, calibration: Calibration, units: JointUnits) -> Vector:
    """LeRobot's units (..., n) to radians (..., n)."""
    made = converter(calibration)
    return made.ticks_to_radians(made.dataset_to_ticks(values, units))


def limits_radians(calibration: Calibration) -> tuple[Vector, Vector]:
    """Lower and upper calibrated limits, radians (n,) each."""
    return converter(calibration).limits_radians()
