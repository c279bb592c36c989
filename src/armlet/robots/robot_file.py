"""A person's robot in one file: its arms, its cameras, and parameters of its nodes.

    arms:
      follower: {port: /dev/ttyACM0, calibration: follower.json}
      leader: {port: /dev/ttyACM1, calibration: leader.json, teleoperates: follower}
    cameras:
      front: {source: /dev/video0, width: 640, height: 480, fps: 30}
    joint_units: degrees
    parameters:
      servo_bus: {max_velocity_rad_s: 2.0}

Paths are relative to the file's folder.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from armlet.files import FileError, printable, read_yaml, shown, typed

from .unit_modes import MODES as UNITS

DEFAULT = Path("~/.config/armlet/robot.yaml")
NO_FILE = "none"
"""Given in place of a file: no robot file, not even the default one."""
MODELS = ("so101",)

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_SCALARS = (bool, int, float, str)


@dataclass(frozen=True)
class ArmEntry:
    """One arm. port: serial device. calibration: LeRobot's JSON. teleoperates: whom it leads."""

    port: str
    calibration: str
    model: str = MODELS[0]
    teleoperates: str | None = None


@dataclass(frozen=True)
class RobotFile:
    """What a robot file says.

    cameras: by name, the parameters of each camera's node; `source` is always there.
    parameters: by node, or by namespace/node.
    """

    path: Path
    arms: Mapping[str, ArmEntry] = field(default_factory=dict)
    cameras: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    joint_units: str | None = None
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def follower(self) -> ArmEntry | None:
        """The arm that leads no other. Raises FileError if there are several."""
        return self._only([arm for arm in self.arms.values() if not arm.teleoperates], "follow")

    @property
    def leader(self) -> ArmEntry | None:
        """The arm that leads another. Raises FileError if there are several."""
        return self._only([arm for arm in self.arms.values() if arm.teleoperates], "lead")

    def arm(self, name: str) -> ArmEntry:
        """An arm by name. Raises FileError naming those there are."""
        if name not in self.arms:
            here = ", ".join(self.arms) or "none"
            raise FileError(
                f"{printable(self.path)}: expected an arm {shown(name)}, found arms: {here}"
            )
        return self.arms[name]

    def _only(self, arms: list[ArmEntry], do: str) -> ArmEntry | None:
        if len(arms) > 1:
            raise FileError(
                f"{printable(self.path)}: {len(arms)} arms {do}, and a graph drives one pair; give "
                "each pair a file of its own, and robot:=FILE"
            )
        return arms[0] if arms else None


def default_path() -> Path:
    """The person's own robot file: `DEFAULT`, or the same below XDG_CONFIG_HOME."""
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) / "armlet" / DEFAULT.name) if home else DEFAULT.expanduser()


def find(given: str) -> RobotFile | None:
    """The robot file that was asked for.

    given: a file's path; "none": no file; "": the person's own, `DEFAULT`, if it is there. Raises
    FileError, also for a file that was named and is not there.
    """
    if given == NO_FILE:
        return None
    path = Path(given).expanduser().absolute() if given else default_path()
    try:
        return read(path)
    except FileNotFoundError:
        if given:
            raise FileError(f"robot file: there is no file {printable(path)}") from None
        return None
    except OSError as error:
        raise FileError(f"{printable(path)}: {error.strerror or error}") from error


def read(path: Path) -> RobotFile:
    """Read a robot file. Raises FileNotFoundError, or FileError naming the file and the entry."""
    document = read_yaml(path)
    where = printable(path)
    if not isinstance(document, dict):
        raise FileError(f"{where}: expected arms, cameras, joint_units, parameters at the top")
    known = ("arms", "cameras", "joint_units", "parameters")
    unknown = [key for key in document if key not in known]
    if unknown:
        raise FileError(f"{where}: expected only {', '.join(known)}, found {shown(unknown[0])}")
    arms = {
        name: _arm(entry, f"{where}: arms.{name}", path.parent)
        for name, entry in _named(document.get("arms"), f"{where}: arms").items()
    }
    for name, arm in arms.items():
        if arm.teleoperates is not None and arm.teleoperates not in set(arms) - {name}:
            raise FileError(
                f"{where}: arms.{name}.teleoperates: expected another arm of the file, found "
                f"{shown(arm.teleoperates)}"
            )
    units = document.get("joint_units")
    if units is not None and units not in UNITS:
        raise FileError(
            f"{where}: joint_units: expected {' or '.join(UNITS)}, found {shown(units)}"
        )
    cameras = {
        name: _camera(entry, f"{where}: cameras.{name}")
        for name, entry in _named(document.get("cameras"), f"{where}: cameras").items()
    }
    parameters = {
        name: _parameters(entry, f"{where}: parameters.{printable(name)}")
        for name, entry in _mapping(document.get("parameters"), f"{where}: parameters").items()
    }
    return RobotFile(path, arms, cameras, units, parameters)


def _arm(entry: Any, where: str, folder: Path) -> ArmEntry:
    arm: ArmEntry = typed(ArmEntry, entry, where)
    if arm.model not in MODELS:
        raise FileError(f"{where}.model: expected {' or '.join(MODELS)}, found {shown(arm.model)}")
    if not arm.port or not arm.calibration:
        raise FileError(f"{where}: expected a port and a calibration file, found an empty one")
    calibration = str(folder / Path(arm.calibration).expanduser())
    return ArmEntry(arm.port, calibration, arm.model, arm.teleoperates)


def _camera(entry: Any, where: str) -> dict[str, Any]:
    parameters = _parameters(entry, where)
    source = parameters.get("source")
    if isinstance(source, int) and not isinstance(source, bool):
        parameters["source"] = source = str(source)
    if not isinstance(source, str) or not source:
        raise FileError(f"{where}.source: expected a device, found {shown(source)}")
    if "fps" in parameters:
        fps = typed(float, parameters["fps"], f"{where}.fps")
        if fps <= 0:
            raise FileError(f"{where}.fps: expected more than 0, found {shown(fps)}")
        parameters["fps"] = float(fps)
    return parameters


def _parameters(entry: Any, where: str) -> dict[str, Any]:
    parameters = _mapping(entry, where)
    for name, value in parameters.items():
        flat = value if isinstance(value, list) else [value]
        if not all(_is_plain(item) for item in flat):
            raise FileError(f"{where}.{printable(name)}: expected a value, found {shown(value)}")
    return parameters


def _is_plain(item: object) -> bool:
    return isinstance(item, _SCALARS) and not (isinstance(item, float) and not math.isfinite(item))


def _named(entry: Any, where: str) -> dict[str, Any]:
    entries = _mapping(entry, where)
    for name in entries:
        if not _NAME.fullmatch(name):
            raise FileError(
                f"{where}: expected names of small letters, digits and _, found {shown(name)}"
            )
    return entries


def _mapping(entry: Any, where: str) -> dict[str, Any]:
    if entry is None:
        return {}
    if not isinstance(entry, dict) or not all(isinstance(key, str) for key in entry):
        raise FileError(f"{where}: expected entries by name, found {shown(entry)}")
    return dict(entry)
