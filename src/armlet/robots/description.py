"""An arm as ROS's tools know it: its kind's URDF with this arm's zero, limits and cameras.

0 rad of every topic is the middle of a joint's calibrated range, which is the middle between its
stops where the arm was swept from stop to stop. So a joint is turned here until its zero is the
middle of the limits that its kind's URDF has. Joints are called as in `joint_states`; links, which
become TF frames, have the arm's prefix.
"""

from __future__ import annotations

import contextlib
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from armlet.files import FileError, printable, read_text, shown

from .calibration import Calibration
from .robot_file import Mount
from .robot_model import RobotModel
from .units import own_converter

Vector = NDArray[np.float64]

OFF_RAD = 0.35
"""A calibrated range may end so far from a stop: people do not press against it."""

OPTICAL_RPY = (-math.pi / 2, 0.0, -math.pi / 2)
"""Of an optical frame (z forward, x right) in its camera's link (x forward, y left): REP-103."""

_LARGEST = 4 << 20
_LEAST_RAD = 1e-9
_LEAST_LENGTH = 1e-6
_TURNS = ("revolute", "continuous")


def describe(
    kind: RobotModel,
    calibration: Calibration,
    prefix: str = "",
    cameras: Mapping[str, Mount] | None = None,
    turned: Collection[str] = (),
) -> str:
    """The URDF of one arm, as text.

    prefix: of its links: left_. cameras: by the name of their frames: front becomes front_link and
    front_optical_frame. turned: joints whose topics count against the URDF's direction. Raises
    FileError where the kind's URDF cannot be read, or lacks a calibrated joint or a camera's link.
    """
    robot = _parsed(kind.urdf)
    low, high = own_converter(calibration).limits_radians()
    for index, name in enumerate(calibration):
        joint = _joint(robot, name, kind.urdf)
        _turn(joint, name in turned)
        joint.set("type", "revolute")  # no servo goes on beyond its calibrated turn
        limit = _child(joint, "limit")
        limit.set("lower", _text(low[index]))
        limit.set("upper", _text(high[index]))
    for mesh in robot.iter("mesh"):
        _place(mesh, Path(kind.urdf).parent)
    own = links(kind)
    for name, mount in (cameras or {}).items():
        _add_camera(robot, name, mount, own)
    _prefix(robot, prefix, own)
    try:
        ElementTree.indent(robot, " ")
        return ElementTree.tostring(robot, encoding="unicode")
    except RecursionError as error:
        raise FileError(f"{printable(kind.urdf)}: elements are nested too deep") from error


def links(kind: RobotModel) -> tuple[str, ...]:
    """The names of a kind's links, without a prefix. Raises FileError."""
    return tuple(str(link.get("name")) for link in _parsed(kind.urdf).findall("link"))


def root(kind: RobotModel) -> str:
    """The link that all others hang on, without a prefix. Raises FileError."""
    children = {child.get("link") for child in _parsed(kind.urdf).iterfind("joint/child")}
    roots = [link for link in links(kind) if link not in children]
    if len(roots) != 1:
        raise FileError(
            f"{printable(kind.urdf)}: expected one link without a joint above it, found "
            f"{printable(', '.join(roots)) or 'none'}"
        )
    return roots[0]


def mount_of(link: str, optical: Vector) -> Mount:
    """The mount of a camera whose optical frame (z forward, x right) has a place in a link (4, 4).

    To micrometres and microradians.
    """
    rpy = rpy_of(optical[:3, :3] @ rotation_of(np.array(OPTICAL_RPY)).T)
    xyz = tuple(round(float(each), 6) + 0.0 for each in optical[:3, 3])
    return Mount(link, xyz, tuple(round(float(each), 6) + 0.0 for each in rpy))


@dataclass(frozen=True)
class Misfit:
    """A joint whose calibrated range and URDF cannot both be right; ranges from end to end, rad."""

    joint: str
    calibrated_rad: float
    mechanical_rad: float

    @property
    def off_rad(self) -> float:
        """How far the calibrated middle may be from the middle between the stops; below 0: none.

        The calibrated range lies between the stops.
        """
        return (self.mechanical_rad - self.calibrated_rad) / 2


def misfits(kind: RobotModel, calibration: Calibration) -> list[Misfit]:
    """Joints whose range is far wider or narrower than their kind's. Raises FileError."""
    robot = _parsed(kind.urdf)
    low, high = own_converter(calibration).limits_radians()
    found = []
    for index, name in enumerate(calibration):
        bounds = _bounds(_joint(robot, name, kind.urdf))
        if bounds is not None:
            calibrated = float(high[index] - low[index])
            found.append(Misfit(name, calibrated, bounds[1] - bounds[0]))
    return [misfit for misfit in found if abs(misfit.off_rad) > OFF_RAD]


# --- reading --------------------------------------------------------------------------------


def _parsed(path: str) -> ElementTree.Element:
    try:
        robot = ElementTree.fromstring(read_text(Path(path), _LARGEST))
    except OSError as error:
        raise FileError(f"no URDF {printable(path)}: {error.strerror or error}") from error
    except ElementTree.ParseError as error:
        raise FileError(f"{printable(path)}: expected XML, found {error}") from error
    if robot.tag != "robot":
        raise FileError(f"{printable(path)}: expected <robot> at the top, found <{robot.tag}>")
    return robot


def _joint(robot: ElementTree.Element, name: str, path: str) -> ElementTree.Element:
    joint = next((each for each in robot.findall("joint") if each.get("name") == name), None)
    kind = None if joint is None else joint.get("type")
    if joint is None or kind not in _TURNS:
        found = "no joint of that name" if joint is None else f"a {shown(kind)} one"
        raise FileError(
            f"{printable(path)}: expected a {' or '.join(_TURNS)} joint {name}, found {found}"
        )
    return joint


def _bounds(joint: ElementTree.Element) -> tuple[float, float] | None:
    """The stops of a joint, rad; None of one that turns all the way round."""
    limit = joint.find("limit")
    if joint.get("type") != "revolute" or limit is None:
        return None
    return _number(limit.get("lower", "0")), _number(limit.get("upper", "0"))


def _number(text: str) -> float:
    with contextlib.suppress(ValueError):
        if math.isfinite(number := float(text)):
            return number
    raise FileError(f"URDF: expected a number, found {shown(text)}")


def vector_of(element: ElementTree.Element, name: str, default: str) -> Vector:
    """Three finite numbers (3,) of an element's attribute. Raises FileError for others."""
    numbers = [_number(word) for word in element.get(name, default).split()]
    if len(numbers) != 3:
        raise FileError(f"URDF: {name}: expected three numbers, found {shown(numbers)}")
    return np.array(numbers)


def _child(element: ElementTree.Element, tag: str) -> ElementTree.Element:
    found = element.find(tag)
    return ElementTree.SubElement(element, tag) if found is None else found


# --- writing --------------------------------------------------------------------------------


def _turn(joint: ElementTree.Element, turned: bool) -> None:
    """Put the joint's zero into the middle between its stops, and turn its direction round."""
    bounds = _bounds(joint)
    middle = 0.0 if bounds is None else sum(bounds) / 2
    axis_of, origin = _child(joint, "axis"), _child(joint, "origin")
    axis = vector_of(axis_of, "xyz", "1 0 0")
    if not _LEAST_LENGTH < np.linalg.norm(axis) < math.inf:
        raise FileError(f"URDF: joint {shown(joint.get('name'))} turns about no axis: {axis}")
    if abs(middle) > _LEAST_RAD:
        rotation = rotation_of(vector_of(origin, "rpy", "0 0 0")) @ about(axis, middle)
        origin.set("rpy", _words(rpy_of(rotation)))
        for tag in ("safety_controller", "calibration"):  # they are in the URDF's own angles
            for element in joint.findall(tag):
                joint.remove(element)
    if turned:
        axis_of.set("xyz", _words(-axis))


def _place(mesh: ElementTree.Element, folder: Path) -> None:
    """A mesh's file as seen from anywhere."""
    name = mesh.get("filename", "")
    if name and "://" not in name:
        mesh.set("filename", f"file://{(folder / name).absolute()}")


def _add_camera(robot: ElementTree.Element, name: str, mount: Mount, own: Collection[str]) -> None:
    link, optical = f"{name}_link", f"{name}_optical_frame"
    if mount.link not in own:
        raise FileError(
            f"camera {name}: expected a link of {printable(', '.join(own))}, found "
            f"{shown(mount.link)}"
        )
    if link in own:
        raise FileError(f"camera {name}: the arm has a link {link}; give the camera another name")
    for each, parent, xyz, rpy in (
        (link, mount.link, mount.xyz, mount.rpy),
        (optical, link, (0.0, 0.0, 0.0), OPTICAL_RPY),
    ):
        ElementTree.SubElement(robot, "link", name=each)
        joint = ElementTree.SubElement(robot, "joint", name=each, type="fixed")
        ElementTree.SubElement(joint, "parent", link=parent)
        ElementTree.SubElement(joint, "child", link=each)
        ElementTree.SubElement(joint, "origin", xyz=_words(xyz), rpy=_words(rpy))


def _prefix(robot: ElementTree.Element, prefix: str, own: Collection[str]) -> None:
    names = set(own)
    for element, key in _names_of_links(robot):
        if element.get(key) in names:
            element.set(key, f"{prefix}{element.get(key)}")


def _names_of_links(robot: ElementTree.Element) -> Iterator[tuple[ElementTree.Element, str]]:
    yield from ((link, "name") for link in robot.findall("link"))
    yield from ((end, "link") for tag in ("parent", "child") for end in robot.iter(tag))
    yield from ((element, "reference") for element in robot.iter("gazebo"))


def _text(number: float) -> str:
    return f"{number + 0.0:.9g}"  # not -0


def _words(numbers: Vector | tuple[float, ...]) -> str:
    return " ".join(_text(float(number)) for number in numbers)


# --- rotations ------------------------------------------------------------------------------


def rotation_of(rpy: Vector) -> Vector:
    """The rotation (3, 3) of roll, pitch and yaw (3,), rad, about fixed axes, as URDF has them."""
    x, y, z = np.eye(3)
    roll, pitch, yaw = (float(angle) for angle in rpy)
    return about(z, yaw) @ about(y, pitch) @ about(x, roll)


def rpy_of(rotation: Vector) -> tuple[float, float, float]:
    """Roll, pitch and yaw, rad, of a rotation (3, 3)."""
    flat = math.hypot(rotation[0, 0], rotation[1, 0])
    pitch = math.atan2(-rotation[2, 0], flat)
    if flat < _LEAST_RAD:  # straight up or down: roll and yaw are one turn
        return 0.0, pitch, math.atan2(-rotation[0, 1], rotation[1, 1])
    roll = math.atan2(rotation[2, 1], rotation[2, 2])
    return roll, pitch, math.atan2(rotation[1, 0], rotation[0, 0])


def about(axis: Vector, angle: float) -> Vector:
    """The rotation (3, 3) about an axis (3,) by an angle, rad."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    turn: Vector = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * (cross @ cross)
    return turn
