"""What the scene is made of: convex solids, each fixed to one frame of the arm or to the target."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from armlet.robots.kinematics import FRAMES

from .task import Thing, bin_walls

Vector = NDArray[np.float64]
Colour = tuple[int, int, int]

TARGET_FRAME = len(FRAMES)
"""Frame index of the target, after those of the arm; its origin lies on the table."""

TARGET_RADIUS = 0.017
TARGET_HEIGHT = 0.010

# The target alone is red, so that "red pixels" means "target" to tests and to a policy.
_RED: Colour = (222, 38, 44)
_DARK: Colour = (52, 56, 66)
_STEEL: Colour = (150, 158, 170)
_TEAL: Colour = (42, 157, 143)
_SAND: Colour = (240, 200, 96)
_CORAL: Colour = (244, 150, 88)
_SAGE: Colour = (138, 190, 120)
_WHITE: Colour = (226, 230, 236)
_LILAC: Colour = (176, 124, 214)


@dataclass(frozen=True, eq=False)
class Solid:
    """A convex body: corners (n, 3) in its frame, faces as corner indices, counterclockwise."""

    frame: int
    colour: Colour
    corners: Vector
    faces: tuple[tuple[int, ...], ...]


def prism(
    frame: int, colour: Colour, outline: Vector, start: Vector, end: Vector, taper: float = 1.0
) -> Solid:
    """Solid between an outline (n, 3) moved to `start` and the same, scaled by `taper`, at `end`.

    The outline runs counterclockwise seen from `end`, about its own origin.
    """
    n = len(outline)
    corners = np.concatenate([outline + start, outline * taper + end])
    sides = [(i, (i + 1) % n, n + (i + 1) % n, n + i) for i in range(n)]
    caps = [tuple(range(n - 1, -1, -1)), tuple(range(n, 2 * n))]
    return Solid(frame, colour, corners, (*sides, *caps))


def disc(radius: float, axis: int, sides: int = 20) -> Vector:
    """Regular outline (sides, 3), counterclockwise about coordinate axis 0, 1 or 2."""
    angle = 2 * math.pi * (np.arange(sides) + 0.5) / sides
    outline = np.zeros((sides, 3))
    outline[:, (axis + 1) % 3] = radius * np.cos(angle)
    outline[:, (axis + 2) % 3] = radius * np.sin(angle)
    return outline


def oblong(first: float, second: float, axis: int, corner: float = 0.25) -> Vector:
    """Rectangle with bevelled corners (8, 3) about coordinate axis 0, 1 or 2.

    first, second: its full sizes along the two axes that follow cyclically.
    """
    a, b = first / 2, second / 2
    cut = corner * min(a, b)
    plane = [(a, -b + cut), (a, b - cut), (a - cut, b), (-a + cut, b)]
    plane += [(-u, -v) for u, v in plane]
    outline = np.zeros((8, 3))
    outline[:, (axis + 1) % 3] = [u for u, _ in plane]
    outline[:, (axis + 2) % 3] = [v for _, v in plane]
    return outline


def _at(x: float, y: float, z: float) -> Vector:
    return np.array([x, y, z])


def _axle(frame: int, centre: Vector, radius: float, width: float, colour: Colour) -> Solid:
    """Servo drum across the arm (along y) at a joint."""
    half = _at(0, width / 2, 0)
    return prism(frame, colour, disc(radius, 1), centre - half, centre + half)


def _bar(
    frame: int, colour: Colour, start: Vector, end: Vector, size: tuple[float, float], taper: float
) -> Solid:
    """Tapered bevelled bar; size: (across the arm, in the arm's plane) at its start."""
    along = end - start
    length = float(np.linalg.norm(along))
    axis = along / length
    across = _at(0, 1, 0)
    normal = np.cross(axis, across)
    plane = oblong(size[0], size[1], 2)
    outline = plane[:, :1] * across + plane[:, 1:2] * np.cross(axis, across)
    if np.dot(np.cross(across, normal), axis) < 0:
        outline = outline[::-1]
    return prism(frame, colour, outline, start, end, taper)


def _base() -> list[Solid]:
    frame = FRAMES.index("base")
    plate = oblong(0.120, 0.100, 2, 0.3)
    body = oblong(0.084, 0.070, 2, 0.3)
    return [
        prism(frame, _DARK, plate, _at(-0.012, 0, 0), _at(-0.012, 0, 0.012)),
        prism(frame, _STEEL, body, _at(-0.012, 0, 0.012), _at(-0.010, 0, 0.056), 0.88),
    ]


def _pan() -> list[Solid]:
    frame = FRAMES.index("pan")
    shoulder = _at(0.0304, 0, 0.1166)
    return [
        prism(frame, _DARK, disc(0.030, 2), _at(0, 0, 0.056), _at(0, 0, 0.070)),
        prism(frame, _TEAL, oblong(0.062, 0.054, 2), _at(0.006, 0, 0.070), _at(0.022, 0, 0.110)),
        _axle(frame, shoulder, 0.021, 0.060, _DARK),
    ]


def _upper_arm() -> list[Solid]:
    frame = FRAMES.index("upper_arm")
    elbow = _at(0.0280, 0, 0.1126)
    return [
        _bar(frame, _SAND, _at(0.002, 0, 0.012), elbow, (0.040, 0.034), 0.86),
        _axle(frame, elbow, 0.019, 0.054, _DARK),
    ]


def _forearm() -> list[Solid]:
    frame = FRAMES.index("forearm")
    wrist = _at(0.1349, 0, 0.0052)
    return [
        _bar(frame, _CORAL, _at(0.010, 0, 0), wrist, (0.036, 0.030), 0.86),
        _axle(frame, wrist, 0.017, 0.048, _DARK),
    ]


def _wrist() -> list[Solid]:
    frame = FRAMES.index("wrist")
    return [
        prism(frame, _SAGE, oblong(0.034, 0.032, 0), _at(0.010, 0, 0), _at(0.052, 0, 0)),
        prism(frame, _DARK, disc(0.0175, 0), _at(0.052, 0, 0), _at(0.061, 0, 0)),
    ]


def _gripper() -> list[Solid]:
    frame = FRAMES.index("gripper")
    palm = oblong(0.058, 0.030, 0)
    finger = oblong(0.010, 0.020, 0)
    tip = _at(0.0981, 0.0045, 0)
    return [
        prism(frame, _WHITE, palm, _at(0.000, 0, 0), _at(0.030, 0, 0), 0.92),
        prism(frame, _WHITE, finger * 1.3, _at(0.028, 0.020, 0), _at(0.058, 0.019, 0), 0.85),
        prism(frame, _WHITE, finger * 1.1, _at(0.058, 0.019, 0), tip, 0.60),
    ]


def _jaw() -> list[Solid]:
    frame = FRAMES.index("jaw")
    finger = oblong(0.010, 0.020, 0)
    up = _at(0, 0, 0.018)
    return [
        prism(frame, _DARK, disc(0.011, 2, 12), -up, up),
        prism(frame, _LILAC, finger * 1.3, _at(0.004, -0.001, 0), _at(0.036, -0.001, 0), 0.85),
        prism(frame, _LILAC, finger * 1.1, _at(0.036, -0.001, 0), _at(0.0747, 0.0135, 0), 0.60),
    ]


def _target() -> list[Solid]:
    puck = disc(TARGET_RADIUS, 2, 24)
    return [prism(TARGET_FRAME, _RED, puck, _at(0, 0, 0), _at(0, 0, TARGET_HEIGHT), 0.92)]


def arm_solids() -> list[Solid]:
    """The arm's."""
    parts = (_base, _pan, _upper_arm, _forearm, _wrist, _gripper, _jaw)
    return [solid for part in parts for solid in part()]


def all_solids() -> list[Solid]:
    """The arm's solids and the target's."""
    return [*arm_solids(), *_target()]


def thing_solids(frame: int, thing: Thing) -> list[Solid]:
    """A thing's, in its own frame: see `task.Standing` for where that is."""
    red, green, blue = thing.colour
    colour = (red, green, blue)
    x, z = thing.size_m[0], thing.size_m[2]
    if thing.shape == "mark":
        return [prism(frame, colour, disc(x / 2, 2, 24), _at(0, 0, 0), _at(0, 0, z))]
    if thing.shape == "box":
        return [_block(frame, colour, np.zeros(3), np.array(thing.size_m))]
    return [_block(frame, colour, centre, size) for centre, size in bin_walls(thing.size_m)]


def _block(frame: int, colour: Colour, centre: Vector, size: Vector) -> Solid:
    half = _at(0, 0, size[2] / 2)
    outline = oblong(float(size[0]), float(size[1]), 2, 0.0)[[0, 1, 4, 5]]
    return prism(frame, colour, outline, centre - half, centre + half)


def target_point(target_xy: Vector) -> Vector:
    """Where the tip touches a target at `target_xy` (2,): the middle of its top (3,), metres."""
    return np.array([target_xy[0], target_xy[1], TARGET_HEIGHT])
