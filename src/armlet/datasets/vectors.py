"""State and action from the radians of topics into a dataset's units, live and from bags alike."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from armlet.contract import Contract, JointUnit
from armlet.robots import calibration as calibrations
from armlet.robots.calibration import Calibration, CalibrationError
from armlet.robots.joints import joint_names
from armlet.robots.unit_check import Reach
from armlet.robots.units import JointUnits, Vector, converter, unit_of


class Vectors:
    """The conversion of one contract's vectors, each joint matched by its name.

    Attributes:
        contract: the frames' contract with what the conversion adds: mode and unit of every
            joint, and the calibration.

    Raises CalibrationError naming the joints that only the contract or only the calibration has.
    """

    def __init__(self, frames: Contract, calibration: Calibration, units: JointUnits):
        self._state = converter(frames.state_names, calibration)
        self._action = converter(frames.action_names, calibration)
        self._reaches = {
            names: Reach(names, calibration) for names in (frames.state_names, frames.action_names)
        }
        self._frames, self._units = frames, units
        unknown = [j for j in calibration if j not in joint_names(frames.vector_names)]
        if unknown:
            raise CalibrationError(
                f"the calibration also has {', '.join(unknown)}, which are not among the joints "
                f"{', '.join(joint_names(frames.vector_names))}; give the calibration file of this "
                "arm, or name all its joints to the aligner"
            )
        self.contract = dataclasses.replace(
            frames,
            joint_units=units,
            units=tuple(JointUnit(name, unit_of(name, units)) for name in frames.vector_names),
            calibration=calibrations.fingerprint(calibration),
            calibration_ticks=calibrations.ticks(calibration),
        )

    def state(self, radians: ArrayLike) -> Vector:
        """Positions (n,) in the order of the contract's state names, dataset units.

        Raises ValueError for positions that no servo of these joints can read: another unit.
        """
        self._require(self._frames.state_names, radians)
        return self._state.radians_to_dataset(radians, self._units)

    def action(self, radians: ArrayLike) -> Vector:
        """Commands (n,) in the order of the contract's action names, dataset units.

        Raises ValueError as `state` does.
        """
        self._require(self._frames.action_names, radians)
        return self._action.radians_to_dataset(radians, self._units)

    def _require(self, names: tuple[str, ...], radians: ArrayLike) -> None:
        if refusal := self._reaches[names].refusal(np.asarray(radians, np.float64)):
            raise ValueError(refusal)
