"""LeRobot's unit modes by name. Loads nothing, so that command lines can list them."""

from __future__ import annotations

from typing import Literal, get_args

JointUnits = Literal["degrees", "range_m100_100"]
"""LeRobot's mode of the body joints; the gripper is `range_0_100` in both."""

MODES: tuple[JointUnits, ...] = get_args(JointUnits)


def joint_units(name: str) -> JointUnits:
    """Check a name of a unit mode. Raises ValueError listing the modes."""
    for mode in MODES:
        if name == mode:
            return mode
    raise ValueError(f"joint_units must be one of {MODES}, found {name!r}")
