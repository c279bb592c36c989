"""The arm's radians inside an exported graph.

armlet.arm.units has the conversions; here they are read off it as clamped lines, which a graph can
hold. Between its clamps every joint's conversion is a line, in every mode of units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from armlet.arm import calibration as calibrations
from armlet.arm.calibration import Calibration
from armlet.arm.units import (
    JointUnits,
    dataset_to_radians,
    joint_units,
    limits_radians,
    radians_to_dataset,
)

from .checkpoint import Checkpoint
from .errors import CheckpointError
from .graph import JointMap, Line

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Robot:
    """Whose radians a graph speaks: the map, the dataset's units, the calibration's fingerprint."""

    joints: JointMap
    joint_units: str
    calibration: str


def robot_of(checkpoint: Checkpoint, file: Path, units: str | None = None) -> Robot:
    """The arm whose LeRobot calibration is in `file`, as this policy's robot.

    units are the dataset's where the contract does not state them. Raises CheckpointError where the
    calibration's joints are not the policy's, or the units are stated nowhere or twice otherwise;
    CalibrationError for a bad file.
    """
    calibration = calibrations.load(file)
    _check_joints(checkpoint, calibration, file)
    stated = None if checkpoint.contract is None else checkpoint.contract.joint_units
    if units is None and stated is None:
        raise CheckpointError.found(
            checkpoint.path,
            "units of the joints",
            expected="degrees or range_m100_100, in the contract or given",
            found="neither",
            mend="give the mode the data was recorded in",
        )
    if units is not None and stated not in (None, units):
        raise CheckpointError.found(
            checkpoint.path,
            "units of the joints",
            expected=f"{stated}, as in the contract",
            found=units,
            mend="leave them out",
        )
    chosen = joint_units(units or stated or "")
    return Robot(joint_map(calibration, chosen), chosen, calibrations.fingerprint(calibration))


def joint_map(calibration: Calibration, units: JointUnits) -> JointMap:
    """The conversions of one calibration, its joints in order."""
    low, high = limits_radians(calibration)
    ends = [radians_to_dataset(end, calibration, units) for end in (low, high)]
    return JointMap(
        _line(lambda radians: radians_to_dataset(radians, calibration, units), low, high),
        _line(lambda values: dataset_to_radians(values, calibration, units), *np.sort(ends, 0)),
    )


def _line(convert: Callable[[Floats], Floats], low: Floats, high: Floats) -> Line:
    """What `convert` does, read off between low and high and beyond."""
    at_low, at_high, span = convert(low), convert(high), high - low
    scale = (at_high - at_low) / span
    return Line(
        low=np.where(convert(low - span) == at_low, low, -np.inf),
        high=np.where(convert(high + span) == at_high, high, np.inf),
        scale=scale,
        offset=at_low - scale * low,
    )


def _check_joints(checkpoint: Checkpoint, calibration: Calibration, file: Path) -> None:
    joints, config, contract = list(calibration), checkpoint.config, checkpoint.contract
    if contract is None:
        sizes = {config.state_size or len(joints), config.action_size}
        expected: object = f"{config.action_size} joints, in the order of the training data"
        fits = sizes == {len(joints)}
    else:
        names = [[n.removesuffix(".pos") for n in contract.action_names]]
        names += [[n.removesuffix(".pos") for n in contract.state_names]]
        expected = f"{', '.join(names[0])}, as in the contract, for state and action"
        fits = all(found == joints for found in names)
    if not fits:
        raise CheckpointError.found(
            file,
            "joints",
            expected=expected,
            found=", ".join(joints),
            mend="give the calibration of the arm the policy was trained for",
        )
