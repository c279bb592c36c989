"""Kinds of arms as data: joints in order, each with its role and its servo.

A model is a YAML file: armlet's own in `models/`, a person's by its path, other packages' by an
entry point of the group `armlet.robots`, whose value is the path of such a file:

    [project.entry-points."armlet.robots"]
    my_arm = "my_package:MODEL"
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from armlet import plugins
from armlet.files import FileError, expanded, printable, read_yaml, shown, typed, whole_number
from armlet.suggestions import did_you_mean

from .joints import is_gripper

GROUP = "armlet.robots"
ROLES = ("body", "gripper")
DEFAULT_MODEL = "so101"
DEFAULT_SERVO = "sts3215"

_OWN = Path(__file__).parent / "models"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_KEYS = {"joints", "title", "urdf"}
_MOST_JOINTS = 64
_LAST_ID = 252


@dataclass(frozen=True)
class JointModel:
    """One joint. id: its servo's, as delivered. servo: the servo's model.

    full_turn: it turns all the way round, so that calibration needs no sweep of it. reversed: its
    servo is mounted the other way round, and is configured so where it can be (drive_mode).
    """

    id: int
    servo: str = DEFAULT_SERVO
    role: str = ROLES[0]
    full_turn: bool = False
    reversed: bool = False


@dataclass(frozen=True)
class RobotModel:
    """A kind of arm: its joints by name, in dataset order.

    title: what people call it. urdf: path of its URDF, see `description`; empty if it has none.
    """

    name: str
    title: str
    joints: Mapping[str, JointModel]
    urdf: str = ""

    @property
    def ids(self) -> dict[str, int]:
        """Servo id by joint."""
        return {name: joint.id for name, joint in self.joints.items()}

    @property
    def servos(self) -> tuple[str, ...]:
        """Servo model by joint, in order."""
        return tuple(joint.servo for joint in self.joints.values())

    @property
    def full_turn(self) -> tuple[str, ...]:
        """Joints that turn all the way round."""
        return tuple(name for name, joint in self.joints.items() if joint.full_turn)

    @property
    def reversed(self) -> tuple[str, ...]:
        """Joints whose servo is mounted the other way round."""
        return tuple(name for name, joint in self.joints.items() if joint.reversed)


def names() -> tuple[str, ...]:
    """The models that have a name: the default, armlet's others, then those of other packages."""
    own = sorted(path.stem for path in _OWN.glob("*.yaml"))
    own.sort(key=lambda name: name != DEFAULT_MODEL)
    return (*own, *(name for name in plugins.names(GROUP) if name not in own))


def is_file(model: str) -> bool:
    """Whether it is the path of a model's file, not a name."""
    return model.endswith((".yaml", ".yml"))


@lru_cache(maxsize=32)
def find(model: str, folder: Path = Path()) -> RobotModel:
    """A model by its name, or by the path of its file (one that ends in .yaml), from a folder.

    Raises FileError for an unknown name, a plug-in that cannot be loaded, or a wrong file.
    """
    if is_file(model):
        path = expanded(model, folder, "model")
        return _read(path, path.stem)
    own = _OWN / f"{model}.yaml"
    if _NAME.fullmatch(model) and own.is_file():
        return _read(own, model)
    try:
        found = plugins.load(GROUP, model)
    except plugins.PluginError as error:
        raise FileError(str(error)) from error
    if found is None:
        known = names()
        raise FileError(
            f"{did_you_mean([model], known)}expected {' or '.join(known)}, found {shown(model)}; a "
            "model of your own is named by its .yaml file"
        )
    if not isinstance(found, str | os.PathLike):
        raise FileError(
            f"{plugins.where(GROUP, model)}: expected the path of a YAML file, found "
            f"{type(found).__name__}"
        )
    return _read(Path(found), model)


def _read(path: Path, name: str) -> RobotModel:
    where = printable(path)
    try:
        document = read_yaml(path)
    except OSError as error:
        raise FileError(f"no robot model {where}: {error.strerror or error}") from error
    if not isinstance(document, dict) or not {"joints"} <= set(document) <= _KEYS:
        raise FileError(f"{where}: expected joints at the top, a title and a urdf, nothing else")
    title = typed(str, document.get("title", name), f"{where}: title")
    entries = document["joints"]
    if not isinstance(entries, dict) or not 0 < len(entries) <= _MOST_JOINTS:
        raise FileError(f"{where}: joints: expected 1 to {_MOST_JOINTS} joints by name")
    joints = {key: _joint(key, entry, f"{where}: joints") for key, entry in entries.items()}
    ids = [joint.id for joint in joints.values()]
    if len(set(ids)) < len(ids):
        raise FileError(f"{where}: joints: expected different ids, found {ids}")
    urdf = typed(str, document.get("urdf", ""), f"{where}: urdf")
    found = str(expanded(urdf, path.parent, f"{where}: urdf")) if urdf else ""
    return RobotModel(name, title, joints, found)


def _joint(name: object, entry: object, where: str) -> JointModel:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise FileError(
            f"{where}: expected names of small letters, digits and _, found {shown(name)}"
        )
    where = f"{where}.{name}"
    joint: JointModel = typed(JointModel, entry, where)
    whole_number(joint.id, f"{where}.id", 0, _LAST_ID)
    if joint.role not in ROLES:
        raise FileError(f"{where}.role: expected {' or '.join(ROLES)}, found {shown(joint.role)}")
    if is_gripper(name) != (joint.role == "gripper"):
        # Datasets and checkpoints have names and nothing else to know a gripper by.
        raise FileError(
            f"{where}: a joint is a gripper if its name ends so, and its role says the same"
        )
    return joint


SO101 = find(DEFAULT_MODEL)
SO101_JOINTS = tuple(SO101.joints)
