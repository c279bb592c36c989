"""How a simulated bench differs from another: a file of physical and optical settings."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

from armlet.files import FileError, printable, read_yaml, typed

_BOUNDS = {
    "friction": (0.01, 5.0),
    "arm_mass": (0.1, 10.0),
    "object_mass": (0.01, 100.0),
    "backlash_deg": (0.0, 5.0),
    "servo_latency_s": (0.0, 0.5),
    "camera_latency_s": (0.0, 0.5),
    "light": (0.1, 4.0),
}
# From the arm: a bench is not larger.
_FURTHEST_M = 10.0
_NEAREST_M = 0.001
_CAMERAS = (("front_camera", "front_target"), ("wrist_camera", "wrist_target"))
_POINTS = ("light_from", "front_camera", "front_target", "wrist_camera", "wrist_target")


@dataclass(frozen=True)
class Domain:
    """Settings of a simulated bench; the defaults are the ordinary bench.

    Attributes:
        friction: sliding friction of everything that touches.
        arm_mass, object_mass: factors on the masses of the arm's links and of what lies about.
        backlash_deg: play of each joint's gear, from end to end. The servo's data sheet says 0.5
            or less; 0.9 to 1 was measured (SO-ARM100 issue 134).
        servo_latency_s: how late a goal reaches a servo's loop.
        camera_latency_s: how old what a picture shows is at the picture's stamp.
        light: factor on the brightness of all pictures.
        light_from: (x, y, z), where the light comes from; its length means nothing.
        front_camera, front_target: (x, y, z), metres, where the front camera stands and what it
            looks at.
        wrist_camera, wrist_target: the same of the wrist camera, in the gripper's frame.
    """

    friction: float = 1.0
    arm_mass: float = 1.0
    object_mass: float = 1.0
    backlash_deg: float = 0.5
    servo_latency_s: float = 0.0
    camera_latency_s: float = 0.0
    light: float = 1.0
    light_from: tuple[float, ...] = (0.30, 0.42, 0.86)
    front_camera: tuple[float, ...] = (0.640, 0.200, 0.460)
    front_target: tuple[float, ...] = (0.150, 0.012, 0.077)
    wrist_camera: tuple[float, ...] = (-0.012, 0.0, 0.066)
    wrist_target: tuple[float, ...] = (0.115, 0.0, 0.010)

    def __post_init__(self) -> None:
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise FileError(f"{name}: expected {low:g} to {high:g}, found {value:g}")
        if len(self.light_from) == 3 and not self.light_from[2] > 0:
            raise FileError(
                f"light_from: expected a light above the table, found {self.light_from}"
            )
        for name in _POINTS:
            if len(getattr(self, name)) != 3:
                raise FileError(f"{name}: expected three numbers, found {getattr(self, name)}")
            if max(map(abs, getattr(self, name))) > _FURTHEST_M:
                raise FileError(
                    f"{name}: expected metres within {_FURTHEST_M:g}, found {getattr(self, name)}"
                )
        for camera, target in _CAMERAS:
            if math.dist(getattr(self, camera), getattr(self, target)) < _NEAREST_M:
                raise FileError(f"{camera} is where {target} is; a camera looks at another place")


ORDINARY = Domain()

PHYSICAL = (
    "friction",
    "arm_mass",
    "object_mass",
    "backlash_deg",
    "servo_latency_s",
    "camera_latency_s",
)
"""Settings that a kinematic arm cannot have."""


def read_domain(path: Path) -> Domain:
    """The domain of a YAML file; what it does not name is as on the ordinary bench.

    Raises FileError for a file that is none.
    """
    where = printable(path)
    try:
        document = read_yaml(path)
    except OSError as error:
        raise FileError(f"no domain file {where}: {error.strerror or error}") from error
    if document is None:
        return ORDINARY
    domain: Domain = typed(Domain, document, where)
    return domain


def changed(domain: Domain) -> tuple[str, ...]:
    """Names of the settings that are not the ordinary bench's."""
    names = (field.name for field in dataclasses.fields(Domain))
    return tuple(name for name in names if getattr(domain, name) != getattr(ORDINARY, name))
