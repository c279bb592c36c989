"""A camera's calibration, from the YAML file ROS's camera_calibration writes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armlet.files import FileError, printable, read_yaml, shown

from .errors import CameraError

# Coefficients by model (REP-104, sensor_msgs/distortion_models.hpp).
_MODELS: Mapping[str, tuple[int, ...]] = {
    "plumb_bob": (4, 5),
    "rational_polynomial": (8, 12, 14),
    "equidistant": (4,),
}
_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Intrinsics:
    """Calibration of one camera at one picture size, as sensor_msgs/CameraInfo has it.

    k: camera matrix 3x3, pixels. d: distortion coefficients of `distortion_model`. r: rectification
    3x3. p: projection 3x4. All by rows.
    """

    width: int
    height: int
    distortion_model: str
    d: tuple[float, ...]
    k: tuple[float, ...]
    r: tuple[float, ...]
    p: tuple[float, ...]
    camera_name: str = ""


def read_intrinsics(path: Path, width: int, height: int) -> Intrinsics:
    """The calibration in a file, for pictures of the given size.

    The format is camera_calibration_parsers' YAML. CameraError names what is wrong: a missing file
    or field, a matrix of another size, numbers that are not finite, another picture size.
    """
    document = _document(path)
    found = _whole(document, "image_width", path), _whole(document, "image_height", path)
    if found != (width, height):
        raise CameraError(
            f"{path} is a calibration for {found[0]}x{found[1]} pictures, the camera gives "
            f"{width}x{height}: calibrate at that size, or set width and height to the file's"
        )
    k = _matrix(document, "camera_matrix", 3, 3, path)
    if k[0] <= 0 or k[4] <= 0:
        raise CameraError(f"{path}: camera_matrix has focal lengths {k[0]:g}, {k[4]:g}; both > 0")
    model, d = _distortion(document, path)
    rectified = "rectification_matrix" in document
    projected = "projection_matrix" in document
    return Intrinsics(
        width,
        height,
        model,
        d,
        k,
        _matrix(document, "rectification_matrix", 3, 3, path) if rectified else _IDENTITY,
        _matrix(document, "projection_matrix", 3, 4, path) if projected else _projection(k),
        printable(document.get("camera_name", ""), 80),
    )


def intrinsics_text(intrinsics: Intrinsics) -> str:
    """The YAML that `read_intrinsics` and ROS's camera_info_manager read."""
    i = intrinsics
    lines = [
        f"image_width: {i.width}",
        f"image_height: {i.height}",
        f"camera_name: {json.dumps(i.camera_name, ensure_ascii=False)}",
        f"distortion_model: {i.distortion_model}",
    ]
    for name, rows, numbers in (
        ("camera_matrix", 3, i.k),
        ("distortion_coefficients", 1, i.d),
        ("rectification_matrix", 3, i.r),
        ("projection_matrix", 3, i.p),
    ):
        data = ", ".join(f"{number:.9f}" for number in numbers)
        lines += [f"{name}:", f"  rows: {rows}", f"  cols: {len(numbers) // rows}"]
        lines.append(f"  data: [{data}]")
    return "\n".join(lines) + "\n"


def _document(path: Path) -> Mapping[str, Any]:
    try:
        document = read_yaml(path)
    except FileNotFoundError:
        raise CameraError(f"no calibration file at {path}: check camera_info_file") from None
    except FileError as error:
        raise CameraError(str(error)) from error
    if not isinstance(document, dict):
        raise CameraError(
            f"{path} holds no calibration: image_width, camera_matrix, ... expected, as ROS's "
            "camera_calibration writes them"
        )
    return document


def _field(document: Mapping[str, Any], name: str, path: Path) -> Any:
    if name not in document:
        raise CameraError(f"{path} lacks {name}; it has {printable(sorted(map(str, document)))}")
    return document[name]


def _whole(document: Mapping[str, Any], name: str, path: Path) -> int:
    value = _field(document, name, path)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CameraError(f"{path}: {name} must be a whole number > 0, found {shown(value)}")
    return value


def _distortion(document: Mapping[str, Any], path: Path) -> tuple[str, tuple[float, ...]]:
    model = _field(document, "distortion_model", path)
    if not isinstance(model, str) or model not in _MODELS:
        raise CameraError(
            f"{path}: distortion_model must be one of {', '.join(_MODELS)}; found {shown(model)}"
        )
    d = _numbers(document, "distortion_coefficients", path)
    if len(d) not in _MODELS[model]:
        counts = " or ".join(map(str, _MODELS[model]))
        raise CameraError(f"{path}: {model} has {counts} distortion_coefficients, found {len(d)}")
    return model, d


def _matrix(
    document: Mapping[str, Any], name: str, rows: int, columns: int, path: Path
) -> tuple[float, ...]:
    numbers = _numbers(document, name, path)
    if len(numbers) != rows * columns:
        raise CameraError(
            f"{path}: {name}.data must hold {rows}x{columns} = {rows * columns} numbers, found "
            f"{len(numbers)}"
        )
    return numbers


def _numbers(document: Mapping[str, Any], name: str, path: Path) -> tuple[float, ...]:
    matrix = _field(document, name, path)
    data = matrix.get("data") if isinstance(matrix, dict) else None
    if not isinstance(data, list):
        raise CameraError(f"{path}: {name} must have rows, cols and data, a list of numbers")
    numbers = tuple(_number(item, name, path) for item in data)
    if not all(math.isfinite(number) for number in numbers):
        raise CameraError(f"{path}: {name} holds numbers that are not finite: {printable(data)}")
    return numbers


def _number(item: Any, name: str, path: Path) -> float:
    # YAML 1.1 reads 1e-05, as yaml-cpp writes it, as a text.
    try:
        if isinstance(item, int | float | str) and not isinstance(item, bool):
            return float(item)
    except (ValueError, OverflowError):
        pass
    raise CameraError(f"{path}: {name} must hold numbers, found {shown(item)}")


def _projection(k: tuple[float, ...]) -> tuple[float, ...]:
    return (*k[:3], 0.0, *k[3:6], 0.0, *k[6:], 0.0)
