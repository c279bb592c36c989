"""A table of how an arm's joints stood in pictures: CSV, radians as in `joint_states`.

    picture,shoulder_pan,shoulder_lift,elbow_flex,wrist_flex,wrist_roll,gripper
    pose_01.jpg,0.12,-0.80,0.65,1.10,0.02,-0.85

Other columns are ignored.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from armlet.files import FileError, printable, read_text, shown

NAME = "joints.csv"
PICTURE = "picture"

BEYOND_RAD = 0.2
"""A joint may be read so far beyond its calibrated range."""

_LARGEST = 4 << 20


def read_joint_table(
    path: Path, limits: Mapping[str, tuple[float, float]]
) -> dict[str, dict[str, float]]:
    """The angles of joints, rad, by picture, in the table's order.

    limits: the calibrated range of each joint that is wanted, rad. Raises FileError naming the
    line: a joint or a number that is missing, is not finite or is far beyond its range.
    """
    try:
        lines = csv.reader(read_text(path, _LARGEST).splitlines(), strict=True)
        header, *rows = [[word.strip() for word in line] for line in lines] or [[]]
    except FileNotFoundError:
        raise FileError(f"no table of joints {printable(path)}: {_form(limits)}") from None
    except csv.Error as error:
        raise FileError(f"{printable(path)}: expected CSV, found {error}") from error
    missing = [name for name in (PICTURE, *limits) if header.count(name) != 1]
    if missing:
        found = printable(", ".join(header)) or "none"
        raise FileError(
            f"{printable(path)}: expected one column {', '.join(missing)}, found columns {found}; "
            f"{_form(limits)}"
        )
    table: dict[str, dict[str, float]] = {}
    for number, row in enumerate(rows, 2):
        if not any(row):
            continue
        where = f"{printable(path)}, line {number}"
        if len(row) != len(header):
            raise FileError(f"{where}: expected {len(header)} values, found {len(row)}")
        given = dict(zip(header, row, strict=True))
        if given[PICTURE] in table:
            raise FileError(f"{where}: {shown(given[PICTURE])} stands in two lines: remove one")
        table[given[PICTURE]] = {
            joint: _angle(given[joint], limit, f"{where}: {joint}")
            for joint, limit in limits.items()
        }
    return table


def joint_table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """The text of a table of angles, rad, by picture; all of the same joints."""
    joints = next(iter(rows.values()), {})
    lines = [",".join((PICTURE, *joints))]
    for picture, angles in rows.items():
        lines.append(",".join((picture, *(f"{angles[joint]:.6f}" for joint in joints))))
    return "\n".join(lines) + "\n"


def _form(joints: Iterable[str]) -> str:
    return f"its first line is {PICTURE},{','.join(joints)}, and angles are radians"


def _angle(text: str, limit: tuple[float, float], where: str) -> float:
    try:
        angle = float(text)
    except ValueError:
        angle = math.nan
    if not math.isfinite(angle):
        raise FileError(f"{where}: expected a finite number, found {shown(text)}")
    low, high = limit
    if not low - BEYOND_RAD <= angle <= high + BEYOND_RAD:
        raise FileError(
            f"{where}: expected radians from {low:.2f} to {high:.2f}, as in joint_states, found "
            f"{angle:g}"
        )
    return angle
