"""A person's robot in one file: its arms, its cameras, and parameters of its nodes.

    arms:
      follower: {port: /dev/ttyACM0, calibration: follower.json}    # model: so101
      leader: {port: /dev/ttyACM1, calibration: leader.json, teleoperates: follower}
    cameras:
      front: {source: /dev/video0, width: 640, height: 480, fps: 30,
              mount: {link: base_link, xyz: [0.3, 0, 0.4], rpy: [0, 1.2, 3.14]}}
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

from armlet.files import FileError, expanded, printable, read_yaml, shown, typed, whole_number

from .robot_model import DEFAULT_MODEL, RobotModel
from .robot_model import find as find_model
from .unit_modes import MODES as UNITS

DEFAULT = Path("~/.config/armlet/robot.yaml")
NO_FILE = "none"
"""Given in place of a file: no robot file, not even the default one."""

FOLLOWER = "follower"

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_SCALARS = (bool, int, float, str)


@dataclass(frozen=True)
class ArmEntry:
    """One arm. port: serial device. calibration: LeRobot's JSON. teleoperates: whom it leads.

    model: name of a kind of arm, or the path of its file, see robot_model.
    """

    port: str
    calibration: str
    model: str = DEFAULT_MODEL
    teleoperates: str | None = None

    @property
    def kind(self) -> RobotModel:
        """What the model says. Raises FileError."""
        return find_model(self.model)


@dataclass(frozen=True)
class Mount:
    """Where a camera is fixed.

    link: of the arm's description, with the arm's side before it where there are two. xyz, metres,
    and rpy, rad, of the camera in it: x forward, where the camera looks, y left, z up.
    """

    link: str
    xyz: tuple[float, ...] = (0.0, 0.0, 0.0)
    rpy: tuple[float, ...] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Pair:
    """A follower, and the leader that leads it. side: "" where there is no other pair."""

    follower: ArmEntry
    leader: ArmEntry | None = None
    side: str = ""

    @property
    def prefix(self) -> str:
        """What the pair's joints have before their own names in a vector of several arms."""
        return f"{self.side}_" if self.side else ""


@dataclass(frozen=True)
class RobotFile:
    """What a robot file says.

    cameras: by name, the parameters of each camera's node; `source` is always there. mounts: where
    cameras are fixed, by name, of those that say. parameters: by node, or by namespace/node.
    """

    path: Path
    arms: Mapping[str, ArmEntry] = field(default_factory=dict)
    cameras: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    joint_units: str | None = None
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    mounts: Mapping[str, Mount] = field(default_factory=dict)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The followers with their leaders, in the file's order.

        Of several, each is of a side, which the follower's name begins with: left_follower, or left
        alone. Raises FileError where that is not so, or an arm has two leaders.
        """
        followers = {name: arm for name, arm in self.arms.items() if not arm.teleoperates}
        pairs = []
        for name, follower in followers.items():
            leaders = [arm for arm in self.arms.values() if arm.teleoperates == name]
            if len(leaders) > 1:
                raise self._wrong(f"{len(leaders)} arms teleoperate {name}, expected one")
            side = name.removesuffix(FOLLOWER).rstrip("_") if len(followers) > 1 else ""
            if len(followers) > 1 and not side:
                raise self._wrong(
                    f"of {len(followers)} followers each is called SIDE_{FOLLOWER}, as left_"
                    f"{FOLLOWER}; found {', '.join(followers)}"
                )
            pairs.append(Pair(follower, leaders[0] if leaders else None, side))
        sides = [pair.side for pair in pairs]
        if len(set(sides)) < len(sides):
            raise self._wrong(f"two followers are of one side, found {', '.join(followers)}")
        return tuple(pairs)

    @property
    def calibration(self) -> str | None:
        """The followers' calibration, of several left_=FILE,right_=FILE. Raises FileError."""
        pairs = self.pairs
        if len(pairs) < 2:
            return pairs[0].follower.calibration if pairs else None
        return ",".join(f"{pair.prefix}={pair.follower.calibration}" for pair in pairs)

    def arm(self, name: str) -> ArmEntry:
        """An arm by name. Raises FileError naming those there are."""
        if name not in self.arms:
            here = ", ".join(self.arms) or "none"
            raise FileError(
                f"{printable(self.path)}: expected an arm {shown(name)}, found arms: {here}"
            )
        return self.arms[name]

    @property
    def follower(self) -> ArmEntry | None:
        """The only follower, if there is one. Raises FileError if there are several."""
        pair = self._only()
        return pair.follower if pair else None

    @property
    def leader(self) -> ArmEntry | None:
        """The only leader, if there is one. Raises FileError if there are several followers."""
        pair = self._only()
        return pair.leader if pair else None

    def _only(self) -> Pair | None:
        pairs = self.pairs
        if len(pairs) > 1:
            raise self._wrong(f"{len(pairs)} arms follow, expected one")
        return pairs[0] if pairs else None

    def _wrong(self, why: str) -> FileError:
        return FileError(f"{printable(self.path)}: arms: {why}")


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
    path = expanded(given, Path.cwd(), "robot file") if given else default_path()
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
        if arm.teleoperates is not None and arms[arm.teleoperates].teleoperates is not None:
            raise FileError(
                f"{where}: arms.{name}.teleoperates: expected a follower, found a leader: "
                f"{arm.teleoperates}"
            )
    units = document.get("joint_units")
    if units is not None and units not in UNITS:
        raise FileError(
            f"{where}: joint_units: expected {' or '.join(UNITS)}, found {shown(units)}"
        )
    entries = _named(document.get("cameras"), f"{where}: cameras")
    mounts = {
        name: _mount(entry["mount"], f"{where}: cameras.{name}.mount")
        for name, entry in entries.items()
        if isinstance(entry, dict) and "mount" in entry
    }
    cameras = {name: _camera(entry, f"{where}: cameras.{name}") for name, entry in entries.items()}
    parameters = {
        name: _parameters(entry, f"{where}: parameters.{printable(name)}")
        for name, entry in _mapping(document.get("parameters"), f"{where}: parameters").items()
    }
    return RobotFile(path, arms, cameras, units, parameters, mounts)


# Linux numbers no more video devices.
_LAST_CAMERA = 255


def _arm(entry: Any, where: str, folder: Path) -> ArmEntry:
    arm: ArmEntry = typed(ArmEntry, entry, where)
    model = arm.model
    try:
        find_model(model, folder)
    except FileError as error:
        raise FileError(f"{where}.model: {error}") from error
    if model.endswith((".yaml", ".yml")):
        model = str(expanded(model, folder, f"{where}.model"))
    if not arm.port or not arm.calibration:
        raise FileError(f"{where}: expected a port and a calibration file, found an empty one")
    calibration = str(expanded(arm.calibration, folder, f"{where}.calibration"))
    return ArmEntry(arm.port, calibration, model, arm.teleoperates)


def _mount(entry: Any, where: str) -> Mount:
    mount: Mount = typed(Mount, entry, where)
    for name, numbers in (("xyz", mount.xyz), ("rpy", mount.rpy)):
        if len(numbers) != 3:
            raise FileError(f"{where}.{name}: expected three numbers, found {shown(numbers)}")
    return mount


def _camera(entry: Any, where: str) -> dict[str, Any]:
    given = _mapping(entry, where)
    parameters = _parameters({key: given[key] for key in given if key != "mount"}, where)
    source = parameters.get("source")
    if isinstance(source, int) and not isinstance(source, bool):
        number = whole_number(source, f"{where}.source", 0, _LAST_CAMERA)
        parameters["source"] = source = str(number)
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
