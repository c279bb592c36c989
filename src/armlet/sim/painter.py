"""Draws solids on the table: nearest last, each face shaded by one light."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from . import table
from .domain import ORDINARY
from .optics import NEAR, Lens
from .solids import Solid

Picture = NDArray[np.uint8]
Vector = NDArray[np.float64]

_SHIFT = 4  # OpenCV draws with 1/16 pixel
_AMBIENT = 0.46
_DIFFUSE = 0.62
_SKY = np.array([0.10, 0.12, 0.16])  # what comes from above besides the light, per channel
_SHADOW = 0.52
_WALL = (176, 184, 190)


class Painter:
    """Paints a fixed list of solids; all arrays that do not move are laid out once.

    light_from: (x, y, z), where the light comes from; its length means nothing.
    """

    def __init__(
        self, solids: list[Solid], light_from: tuple[float, ...] = ORDINARY.light_from
    ) -> None:
        light = np.array(light_from, np.float64)
        self._light = light / np.linalg.norm(light)
        counts = [len(solid.corners) for solid in solids]
        self._starts: list[int] = np.concatenate([[0], np.cumsum(counts)]).tolist()
        self._counts = np.array(counts)
        self._corners = np.concatenate([solid.corners for solid in solids])
        self._frames = np.repeat([solid.frame for solid in solids], counts)
        self._faces: list[NDArray[np.intp]] = []
        self._face_ranges: list[tuple[int, int]] = []
        for solid, start in zip(solids, self._starts, strict=False):
            first = len(self._faces)
            self._faces += [np.array(face, np.intp) + start for face in solid.faces]
            self._face_ranges.append((first, len(self._faces)))
        # All faces' corners in a row: one look-up a picture, and a slice of it a face.
        self._every = np.concatenate(self._faces)
        ends = np.cumsum([len(face) for face in self._faces]).tolist()
        self._outlines = [
            slice(end - len(f), end) for end, f in zip(ends, self._faces, strict=True)
        ]
        self._triples = np.array([face[:3] for face in self._faces])
        owners = np.repeat(np.arange(len(solids)), [len(solid.faces) for solid in solids])
        colours = np.array([solid.colour for solid in solids], np.float64)
        self._colours = colours[owners]
        self._edges: list[list[float]] = (colours * 0.42).tolist()

    def place(self, origins: Vector, rotations: Vector) -> Vector:
        """World coordinates of all corners for the frames' origins (f, 3), rotations (f, 3, 3)."""
        turned = np.einsum("nij,nj->ni", rotations[self._frames], self._corners)
        return np.asarray(turned + origins[self._frames])

    def paint_shadow(self, picture: Picture, lens: Lens, world: Vector) -> None:
        """Darken the table where the solids keep the light off, softly, in place."""
        height, width = picture.shape[:2]
        shrink = max(1, width // 160)
        small = np.zeros((-(-height // shrink), -(-width // shrink)), np.uint8)
        ground = world - world[:, 2:] * (self._light / self._light[2])
        seen = lens.to_camera(ground)
        pixels = _pixels(lens, seen) // shrink
        depths = seen[:, 2]
        nearest = np.minimum.reduceat(depths, self._starts[:-1]).tolist()
        for (start, end), near in zip(pairwise(self._starts), nearest, strict=True):
            outline = _hull(pixels[start:end], depths[start:end], near)
            if outline is not None:
                cv2.fillConvexPoly(small, outline, 255, cv2.LINE_AA, _SHIFT)
        small = np.asarray(cv2.blur(small, (5, 5)), np.uint8)
        small = np.asarray(cv2.blur(small, (3, 3)), np.uint8)
        x, y, wide, high = cv2.boundingRect(small)
        if not wide:
            return
        light = cv2.convertScaleAbs(small[y : y + high, x : x + wide], alpha=-_SHADOW, beta=0)
        light = cv2.bitwise_not(light)
        full = cv2.resize(light, (wide * shrink, high * shrink), interpolation=cv2.INTER_LINEAR)
        region = picture[y * shrink : (y + high) * shrink, x * shrink : (x + wide) * shrink]
        full = cv2.cvtColor(full[: region.shape[0], : region.shape[1]], cv2.COLOR_GRAY2RGB)
        cv2.multiply(region, full, region, 1 / 255)

    def paint_solids(self, picture: Picture, lens: Lens, world: Vector) -> None:
        """Draw the solids, farthest first, in place."""
        seen = lens.to_camera(world)
        pixels = _pixels(lens, seen)
        first = world[self._triples[:, 0]]
        normals = _cross(world[self._triples[:, 1]] - first, world[self._triples[:, 2]] - first)
        normals /= _lengths(normals)[:, None]
        visible = (np.einsum("ij,ij->i", normals, lens.position - first) > 0).tolist()
        colours = self._shade(normals, first, lens)
        starts = self._starts
        depths = np.add.reduceat(_lengths(seen), starts[:-1]) / self._counts
        ahead = seen[:, 2]
        nearest = np.minimum.reduceat(ahead, starts[:-1]).tolist()
        polygons = pixels[self._every]
        for index in np.argsort(-depths).tolist():
            corners = slice(starts[index], starts[index + 1])
            outline = _hull(pixels[corners], ahead[corners], nearest[index])
            if outline is None or not _inside(outline, picture.shape):
                continue
            # The outline beneath keeps the table from shining through between antialiased faces.
            _fill(picture, outline, self._edges[index])
            whole = nearest[index] > NEAR
            for face in range(*self._face_ranges[index]):
                if not visible[face]:
                    continue
                if whole:
                    _fill(picture, polygons[self._outlines[face]], colours[face])
                    continue
                polygon = _pixels(lens, _clip(seen[self._faces[face]]))
                if len(polygon) >= 3:
                    _fill(picture, polygon, colours[face])

    def _shade(self, normals: Vector, points: Vector, lens: Lens) -> list[list[float]]:
        lit = np.maximum(normals @ self._light, 0)
        strength = (_AMBIENT + _DIFFUSE * lit)[:, None] + _SKY * np.maximum(normals[:, 2:], 0)
        gaze = lens.position - points
        gaze /= _lengths(gaze)[:, None]
        half = gaze + self._light
        half /= _lengths(half)[:, None]
        gloss = 30 * np.maximum(np.einsum("ij,ij->i", normals, half), 0) ** 24
        shaded = np.minimum(np.maximum(self._colours * strength + gloss[:, None], 0), 255)
        colours: list[list[float]] = shaded.tolist()
        return colours


def paint_table(lens: Lens, width: int, height: int, fine: int = 1) -> Picture:
    """Picture of the empty table and the wall behind it; fine: samples per pixel and direction."""
    if fine > 1:
        focal = lens.focal * fine
        centre = ((lens.centre[0] + 0.5) * fine - 0.5, (lens.centre[1] + 0.5) * fine - 0.5)
        large = paint_table(
            Lens(lens.position, lens.rotation, focal, centre), width * fine, height * fine
        )
        return np.asarray(
            cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA), np.uint8
        )
    levels = table.pyramid()
    level = _level(lens, len(levels))
    homography = lens.table_to_pixels() @ table.texture_to_table(level)
    picture: Picture = np.asarray(
        cv2.warpPerspective(
            levels[level],
            homography,
            (width, height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=_WALL,
        ),
        np.uint8,
    )
    _paint_wall(picture, lens)
    return picture


def _level(lens: Lens, count: int) -> int:
    """Pyramid level whose pixels are about as large as the picture's at the nearest table point."""
    height = max(float(lens.position[2]), 0.02)
    ratio = height / lens.focal / (table.METRES / table.PIXELS)
    return int(np.clip(np.floor(np.log2(max(ratio, 1e-6)) + 0.6), 0, count - 1))


def _paint_wall(picture: Picture, lens: Lens) -> None:
    """Cover what lies above the horizon: there the table's homography shows what is behind us."""
    height, width = picture.shape[:2]
    cx, cy = lens.centre
    # World z of the ray through pixel (u, v); the table is seen only where it points down.
    right, down, ahead = lens.rotation[:, 2]
    frame = [(-1.0, -1.0), (width, -1.0), (width, height), (-1.0, height)]
    limit = -0.04
    values = [
        right * (u - cx) / lens.focal + down * (v - cy) / lens.focal + ahead for u, v in frame
    ]
    polygon: list[tuple[float, float]] = []
    for here in range(4):
        there = (here + 1) % 4
        a, b = values[here] - limit, values[there] - limit
        if a >= 0:
            polygon.append(frame[here])
        if (a >= 0) != (b >= 0):
            part = a / (a - b)
            (u0, v0), (u1, v1) = frame[here], frame[there]
            polygon.append((u0 + part * (u1 - u0), v0 + part * (v1 - v0)))
    if len(polygon) >= 3:
        cv2.fillConvexPoly(picture, _fixed(np.array(polygon)), _WALL, cv2.LINE_AA, _SHIFT)


def _cross(a: Vector, b: Vector) -> Vector:
    """As np.cross of (n, 3) and (n, 3), to the bit, without its preparations."""
    (ax, ay, az), (bx, by, bz) = a.T, b.T
    product = np.empty_like(a)
    product[:, 0] = ay * bz - az * by
    product[:, 1] = az * bx - ax * bz
    product[:, 2] = ax * by - ay * bx
    return product


def _lengths(vectors: Vector) -> Vector:
    """As np.linalg.norm of (n, 3) over its rows, to the bit."""
    return np.asarray(np.sqrt(np.add.reduce(vectors * vectors, axis=1)))


def _hull(pixels: NDArray[np.int32], depths: Vector, nearest: float) -> NDArray[np.int32] | None:
    """Outline (n, 2) of a convex body's corners in 1/16 pixel; None if it is behind the lens.

    Of a body that reaches behind, the corners in front stand for the whole. nearest: the least of
    the depths.
    """
    if nearest <= NEAR:
        pixels = pixels[depths > NEAR]
        if len(pixels) < 3:
            return None
    return np.asarray(cv2.convexHull(pixels)[:, 0], np.int32)


def _inside(outline: NDArray[np.int32], shape: tuple[int, ...]) -> bool:
    x, y, wide, high = cv2.boundingRect(outline)
    right, bottom = shape[1] << _SHIFT, shape[0] << _SHIFT
    return x + wide > 0 and y + high > 0 and x < right and y < bottom


def _fill(picture: Picture, polygon: NDArray[np.int32], colour: list[float]) -> None:
    cv2.fillConvexPoly(picture, polygon, colour, cv2.LINE_AA, _SHIFT)


def _pixels(lens: Lens, seen: Vector) -> NDArray[np.int32]:
    """Picture coordinates in 1/16 pixel; those of points behind the lens mean nothing."""
    if not len(seen):
        return np.empty((0, 2), np.int32)
    ahead = np.maximum(seen[:, 2:], NEAR)
    return _fixed(lens.focal * seen[:, :2] / ahead + lens.centre)


def _clip(polygon: Vector) -> Vector:
    """The part of a polygon (n, 3) in camera coordinates that lies beyond the near plane."""
    kept: list[Vector] = []
    for here, there in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if here[2] >= NEAR:
            kept.append(here)
        if (here[2] >= NEAR) != (there[2] >= NEAR):
            kept.append(here + (there - here) * (NEAR - here[2]) / (there[2] - here[2]))
    return np.array(kept).reshape(-1, 3)


def _fixed(points: Vector) -> NDArray[np.int32]:
    # Beyond this range OpenCV's fixed-point coordinates would overflow.
    fixed = np.rint(points * (1 << _SHIFT))
    return np.minimum(np.maximum(fixed, -(1 << 24)), 1 << 24).astype(np.int32)
