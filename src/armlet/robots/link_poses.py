"""Where the links of an arm are, by its URDF: forward kinematics of any tree of joints."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from armlet.files import FileError, printable, shown

from .description import about, rotation_of, vector_of
from .joints import is_gripper

Pose = NDArray[np.float64]
"""(4, 4), metres: a frame's place in another one."""

_TURNING = ("revolute", "continuous")
_STEP_RAD = 1e-5
_MOVING = (*_TURNING, "prismatic", "planar", "floating")


@dataclass(frozen=True, eq=False)
class _Joint:
    name: str
    kind: str
    parent: str
    origin: Pose
    axis: NDArray[np.float64]


class LinkPoses:
    """The links of a URDF, as `description.describe` gives it: its angles are those of topics.

    Raises FileError for a text that is no tree of links.
    """

    def __init__(self, urdf: str) -> None:
        try:
            robot = ElementTree.fromstring(urdf)
        except ElementTree.ParseError as error:
            raise FileError(f"URDF: expected XML, found {error}") from error
        self.links = tuple(str(link.get("name")) for link in robot.findall("link"))
        self._above: dict[str, _Joint] = {}
        self._held_by: dict[str, str] = {}
        for element in robot.findall("joint"):
            child, joint = _read(element)
            if child in self._above:
                raise FileError(f"URDF: link {shown(child)}: expected one joint above, found two")
            self._above[child] = joint
            self._held_by[joint.name] = joint.parent

    def joints_above(self, link: str) -> tuple[str, ...]:
        """The joints that move a link, from the base on. Raises FileError if it is not there."""
        return tuple(joint.name for joint in self._chain(link) if joint.kind in _MOVING)

    def hand(self) -> str:
        """The link that holds what the gripper grips: the one that its moving finger is on.

        Raises FileError where there is no gripper, or more than one.
        """
        held = [link for joint, link in self._held_by.items() if is_gripper(joint)]
        if len(held) != 1:
            raise FileError(f"URDF: expected one gripper joint, found {len(held)}")
        return held[0]

    def pose(self, link: str, angles: Mapping[str, float]) -> Pose:
        """The place of a link in the base, for the angles, rad, of the joints above it.

        Raises FileError for a link that is not there, and a joint without an angle or that does not
        turn.
        """
        pose: Pose = np.eye(4)
        for joint in self._chain(link):
            pose = pose @ joint.origin
            if joint.kind in _MOVING:
                pose = pose @ _turned(joint, angles)
        return pose

    def slopes(self, link: str, angles: Mapping[str, float]) -> NDArray[np.float64]:
        """How a link's place changes with each of the joints above it: (k, 4, 4), per rad.

        Raises FileError as `pose`.
        """
        changes = []
        for joint in self.joints_above(link):
            before, after = (
                self.pose(link, {**angles, joint: angles.get(joint, math.nan) + step})
                for step in (-_STEP_RAD, _STEP_RAD)
            )
            changes.append((after - before) / (2 * _STEP_RAD))
        return np.array(changes).reshape(-1, 4, 4)

    def _chain(self, link: str) -> list[_Joint]:
        if link not in self.links:
            known = printable(", ".join(self.links))
            raise FileError(f"URDF: expected a link of {known}, found {shown(link)}")
        chain: list[_Joint] = []
        while link in self._above:
            chain.append(self._above[link])
            link = chain[-1].parent
            if len(chain) > len(self._above):
                raise FileError(f"URDF: link {shown(link)} hangs on itself")
        return chain[::-1]


def _read(element: ElementTree.Element) -> tuple[str, _Joint]:
    name = str(element.get("name"))
    ends = [element.find(tag) for tag in ("parent", "child")]
    parent, child = (None if end is None else end.get("link") for end in ends)
    if parent is None or child is None:
        raise FileError(f"URDF: joint {shown(name)}: expected a parent and a child, found none")
    origin, axis_of = element.find("origin"), element.find("axis")
    pose: Pose = np.eye(4)
    if origin is not None:
        pose[:3, :3] = rotation_of(vector_of(origin, "rpy", "0 0 0"))
        pose[:3, 3] = vector_of(origin, "xyz", "0 0 0")
    axis = np.array([1.0, 0, 0]) if axis_of is None else vector_of(axis_of, "xyz", "1 0 0")
    return child, _Joint(name, str(element.get("type")), parent, pose, axis)


def _turned(joint: _Joint, angles: Mapping[str, float]) -> Pose:
    angle = angles.get(joint.name)
    if joint.kind not in _TURNING or not 0 < np.linalg.norm(joint.axis) < math.inf:
        raise FileError(
            f"URDF: joint {shown(joint.name)}: expected one that turns about an axis, found a "
            f"{shown(joint.kind)} one"
        )
    if angle is None or not math.isfinite(angle):
        raise FileError(f"joint {shown(joint.name)}: expected an angle, found {shown(angle)}")
    pose: Pose = np.eye(4)
    pose[:3, :3] = about(joint.axis, float(angle))
    return pose
