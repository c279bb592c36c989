"""The arm's radians inside an exported graph.

armlet.robots.units has the conversions; here they are read off it as clamped lines, which a
graph can hold. Between its clamps every joint's conversion is a line, in every mode of units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from armlet.findings import Code
from armlet.policies.checkpoint.checkpoint import Checkpoint
from armlet.policies.config.errors import CheckpointError
from armlet.robots import SO101_JOINTS
from armlet.robots import calibration as calibrations
from armlet.robots.calibration import Calibration
from armlet.robots.joints import feature_names, joint_names
from armlet.robots.units import JointConverter, JointUnits, converter, joint_units

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
    state, action = _converters(checkpoint, calibration, file)
    stated = None if checkpoint.contract is None else checkpoint.contract.joint_units
    if units is None and stated is None:
        raise CheckpointError.found(
            Code.POLICY_OPTION_REFUSED,
            checkpoint.path,
            "units of the joints",
            expected="degrees or range_m100_100, in the contract or given",
            found="neither",
            fix="give the mode the data was recorded in",
        )
    if units is not None and stated not in (None, units):
        raise CheckpointError.found(
            Code.POLICY_OPTION_REFUSED,
            checkpoint.path,
            "units of the joints",
            expected=f"{stated}, as in the contract",
            found=units,
            fix="leave them out",
        )
    chosen = joint_units(units or stated or "")
    fingerprint = calibrations.fingerprint(calibration)
    return Robot(joint_map(state, action, chosen), chosen, fingerprint)


def joint_map(state: JointConverter, action: JointConverter, units: JointUnits) -> JointMap:
    """The conversions of a policy's state and of its actions, each in its own order."""
    ends = [action.radians_to_dataset(end, units) for end in action.limits_radians()]
    return JointMap(
        _line(lambda radians: state.radians_to_dataset(radians, units), *state.limits_radians()),
        _line(lambda values: action.dataset_to_radians(values, units), *np.sort(ends, 0)),
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


def _converters(
    checkpoint: Checkpoint, calibration: Calibration, file: Path
) -> tuple[JointConverter, JointConverter]:
    """Of state and action. Raises CheckpointError where their joints are not the calibration's."""
    config, contract = checkpoint.config, checkpoint.contract
    if contract is None:
        # Such a checkpoint names no joints. LeRobot's arm has these, in this order.
        action_names = state_names = feature_names(SO101_JOINTS)
        source = "LeRobot's order of the SO-101's joints; the checkpoint does not name its own"
    else:
        action_names, state_names = contract.action_names, contract.state_names
        source = "as in the contract"
    sizes = (config.state_size or len(state_names), config.action_size)
    own = set(calibration)
    fits = sizes == (len(state_names), len(action_names)) and (
        set(joint_names(state_names)) == own == set(joint_names(action_names))
    )
    if not fits:
        raise CheckpointError.found(
            Code.POLICY_OPTION_REFUSED,
            file,
            "joints",
            expected=f"{', '.join(joint_names(action_names))} ({source}), for state and action",
            found=", ".join(calibration),
            fix="give the calibration of the arm the policy was trained for",
        )
    return converter(state_names, calibration), converter(action_names, calibration)
