"""Whether positions can be radians of an arm, or are in another unit.

Topics carry radians with zero at the calibrated centre. Degrees, ticks, percent or metres sent in
their place are numbers too: what gives them away is where they lie.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .calibration import MAX_TICK, Calibration
from .joints import is_gripper
from .units import RADIANS_PER_TICK, Vector, converter

IMPLAUSIBLE_RAD = 3 * math.pi
"""A calibrated range is at most half a turn to either side of zero. A position of three times that
is no excess but another unit, or nonsense."""

# A servo reads 0..4095 ticks. Other drivers' zero may be off by so much; more is another unit.
_MARGIN_RAD = 0.5
# Samples of one joint beyond its reach: fewer are glitches, which are refused one by one.
_LEAST, _SHARE = 3, 0.001
_FULL_TURN_DEGREES = 360.0
_PERCENT = 100.0
# A sample this far outside the calibrated range, in this share of the samples, is worth a word.
_OUTSIDE_RAD, _OUTSIDE_SHARE = 0.35, 0.05
_FIX = "have the publisher send radians, zero at the calibrated centre"


def implausible(
    joints: Sequence[str],
    positions: NDArray[np.float64],
    limits: tuple[Vector, Vector] | None = None,
) -> str:
    """Why positions (..., n) are none that any joint can mean; empty if they may be.

    NaN stands for no position. limits: of the calibrated range, radians (n,) each, if known. The
    reason names a joint, its value and the unit it looks like.
    """
    rows = positions.reshape(-1, len(joints))
    beyond = np.abs(rows) > IMPLAUSIBLE_RAD
    if not beyond.any():
        return ""
    row, column = (int(index) for index in np.argwhere(beyond)[0])
    said = _said(joints[column], float(rows[row, column]))
    return said if limits is None else f"{said} ({_range(limits, column)})"


def _said(joint: str, value: float) -> str:
    degrees = abs(value) <= _FULL_TURN_DEGREES
    guess = "looks like degrees" if degrees else "is beyond what any joint can reach"
    return f"positions are radians; {value:g} for {joint} {guess}"


def _range(limits: tuple[Vector, Vector], column: int) -> str:
    return f"its calibrated range is {limits[0][column]:.2f} to {limits[1][column]:.2f} rad"


class Reach:
    """What the servos of calibrated joints can read: one turn, about each joint's own zero.

    joints: names in the order of the vectors. Raises CalibrationError for one that is not in the
    calibration.
    """

    def __init__(self, joints: Sequence[str], calibration: Calibration):
        conversion = converter(joints, calibration)
        self.joints = conversion.joints
        self.limits = conversion.limits_radians()
        centers = conversion.centers
        self._lower: Vector = -centers * RADIANS_PER_TICK - _MARGIN_RAD
        self._upper: Vector = (MAX_TICK - centers) * RADIANS_PER_TICK + _MARGIN_RAD

    def beyond(self, positions: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of positions (..., n), radians, no servo of these joints can read."""
        return np.asarray((positions < self._lower) | (positions > self._upper))

    def refusal(self, positions: NDArray[np.float64]) -> str:
        """Why positions (n,) are none of this arm; empty if they may be. NaN: no position."""
        beyond = self.beyond(positions)
        if not beyond.any():
            return ""
        column = int(np.flatnonzero(beyond)[0])
        said = _said(self.joints[column], float(positions[column]))
        return f"{said} ({_range(self.limits, column)})"

    def other_unit(self, rows: NDArray[np.float64]) -> str:
        """Why recorded positions (k, n) are in another unit than radians; empty if they may not be.

        A few samples beyond the reach are glitches, and no unit.
        """
        counts = self.beyond(rows).sum(axis=0)
        many = counts >= max(_LEAST, _SHARE * len(rows))
        if not many.any():
            return ""
        worst = int(np.argmax(np.where(many, np.nanmax(np.abs(rows), axis=0), 0.0)))
        column = rows[:, worst]
        low, high = float(np.nanmin(column)), float(np.nanmax(column))
        return (
            f"expected radians, found {self.joints[worst]} from {low:.4g} to {high:.4g} "
            f"({_range(self.limits, worst)}): {_guess(rows)}; {_FIX}"
        )

    def doubts(self, rows: NDArray[np.float64]) -> list[str]:
        """What is odd about recorded positions (k, n) that may be radians; a line a joint."""
        found = []
        for index, joint in enumerate(self.joints):
            column = rows[:, index][np.isfinite(rows[:, index])]
            if not len(column):
                continue
            low, high = float(column.min()), float(column.max())
            excess = np.maximum(self.limits[0][index] - column, column - self.limits[1][index])
            if is_gripper(joint) and low >= 0 and 0 < high <= 1.05:
                found.append(
                    f"{joint} stays between {low:.3g} and {high:.3g}, as metres or a share of 0..1 "
                    f"do; as radians ({_range(self.limits, index)}) it never closes: check the unit"
                )
            elif (excess > _OUTSIDE_RAD).mean() > _OUTSIDE_SHARE:
                found.append(
                    f"{joint} goes from {low:.3g} to {high:.3g} rad "
                    f"({_range(self.limits, index)}): check that the calibration is this arm's, "
                    "and that zero is its calibrated centre"
                )
        return found


def _guess(rows: NDArray[np.float64]) -> str:
    low, high = float(np.nanmin(rows)), float(np.nanmax(rows))
    largest = max(abs(low), abs(high))
    if low >= 0 and _FULL_TURN_DEGREES < high <= MAX_TICK:
        return f"the topic looks like ticks (0..{MAX_TICK})"
    if largest > _FULL_TURN_DEGREES:
        return "the topic is in degrees, ticks or another unit"
    if 0.99 * _PERCENT <= largest <= 1.001 * _PERCENT:
        return "the topic looks like percent (-100..100), or degrees"
    return "the topic looks like degrees"
