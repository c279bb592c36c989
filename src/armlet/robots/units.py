"""The one place where ticks, radians and LeRobot's dataset units meet.

Three spaces: ticks (0..4095, the servo), radians (every topic) and dataset units (LeRobot's).
All conversions go through ticks with the arm's own calibration. Ticks are kept as floats here;
only the driver rounds. Radian zero is the calibrated centre, (range_min + range_max) / 2.
A vector's joints are matched with the calibration by name: the order of a calibration file means
nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .calibration import MAX_TICK, Calibration, CalibrationError, JointCalibration
from .joints import is_gripper, joint_names
from .unit_modes import JointUnits as JointUnits
from .unit_modes import joint_units as joint_units

Vector = NDArray[np.float64]

TICKS_PER_TURN = 4096
RADIANS_PER_TICK = 2 * math.pi / TICKS_PER_TURN

GRIPPER_UNIT = "range_0_100"

DEGREES_PER_TICK = 360 / MAX_TICK
"""LeRobot divides the turn by 4095, not 4096; its datasets are in these degrees."""


def unit_of(name: str, units: JointUnits) -> str:
    """The unit of one joint or feature in a dataset of this mode."""
    return GRIPPER_UNIT if is_gripper(name) else units


class JointConverter:
    """The conversions of some joints, their constants worked out once.

    Takes and gives arrays (..., n) in the order of `joints`; cheap enough for every cycle.
    `converter` makes one by joint name.
    """

    def __init__(self, entries: Sequence[tuple[str, JointCalibration]]):
        self.joints = tuple(name for name, _ in entries)
        joints = [joint for _, joint in entries]
        self._low = _constants([joint.range_min for joint in joints])
        self._high = _constants([joint.range_max for joint in joints])
        self._center = _constants((self._low + self._high) / 2)
        self._span = _constants(self._high - self._low)
        self._reversed = np.array([joint.drive_mode == 1 for joint in joints])
        self._gripper = np.array([is_gripper(name) for name in self.joints])

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

    def radians_to_dataset(self, radians: ArrayLike, units: JointUnits) -> Vector:
        """Radians (..., n) to LeRobot's units (..., n)."""
        return self.ticks_to_dataset(self.radians_to_ticks(radians), units)

    def dataset_to_radians(self, values: ArrayLike, units: JointUnits) -> Vector:
        """LeRobot's units (..., n) to radians (..., n)."""
        return self.ticks_to_radians(self.dataset_to_ticks(values, units))

    def limits_radians(self) -> tuple[Vector, Vector]:
        """Lower and upper calibrated limits, radians (n,) each."""
        return self.ticks_to_radians(self._low), self.ticks_to_radians(self._high)


def converter(names: Sequence[str], calibration: Calibration) -> JointConverter:
    """The converter of vectors whose elements have these names, in that order.

    names: joints, or LeRobot's features of them (`gripper.pos`); each needs an entry of its own in
    the calibration, which may have more. Raises CalibrationError naming the joints that have none.
    """
    return _converter(joint_names(names), tuple(calibration.items()))


@lru_cache(maxsize=64)
def _converter(
    joints: tuple[str, ...], items: tuple[tuple[str, JointCalibration], ...]
) -> JointConverter:
    calibration = dict(items)
    missing = [joint for joint in joints if joint not in calibration]
    if missing or not joints:
        raise CalibrationError(_unmatched(joints, missing, calibration))
    if len(set(joints)) < len(joints):
        raise CalibrationError(f"every joint must be named once, found {', '.join(joints)}")
    return JointConverter([(joint, calibration[joint]) for joint in joints])


def _unmatched(joints: Sequence[str], missing: Sequence[str], calibration: Calibration) -> str:
    said = f"the calibration lacks {', '.join(missing)}" if missing else "no joint is named"
    unknown = [joint for joint in calibration if joint not in joints]
    if unknown:
        said += f" and is of {', '.join(unknown)}, which are not among the joints"
    prefixes = {
        joint.removesuffix(own)
        for joint in missing
        for own in calibration
        if joint.endswith(own) and joint != own
    }
    fix = "give the calibration file of this arm"
    if prefixes:
        files = ",".join(f"{prefix}=FILE" for prefix in sorted(prefixes))
        fix = f"give each arm's calibration file by the prefix of its joints: {files}"
    return f"{said}; {fix}"


def own_converter(calibration: Calibration) -> JointConverter:
    """The converter of vectors in the calibration's own order, as an arm's driver has them."""
    return converter(tuple(calibration), calibration)


def _constants(values: ArrayLike) -> Vector:
    array = np.array(values, np.float64)
    array.setflags(write=False)
    return array


def ticks_to_radians(ticks: ArrayLike, calibration: Calibration) -> Vector:
    """Ticks (..., n) to radians (..., n), both in the calibration's own order."""
    return own_converter(calibration).ticks_to_radians(ticks)


def radians_to_ticks(radians: ArrayLike, calibration: Calibration) -> Vector:
    """Radians (..., n) to ticks (..., n), not rounded; both in the calibration's own order."""
    return own_converter(calibration).radians_to_ticks(radians)


def limits_radians(calibration: Calibration) -> tuple[Vector, Vector]:
    """Lower and upper calibrated limits, radians (n,) each, in the calibration's own order."""
    return own_converter(calibration).limits_radians()
