"""LeRobot's calibration file, read and written as it is."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armlet.files import FileError, advised, kind_of, printable, read_json, replace_file
from armlet.files import keep_previous as keep_previous

# LeRobot's file of before mid-2025; some of its robots wrote no calib_mode.
_OLD_KEYS = {"homing_offset", "drive_mode", "start_pos", "end_pos"}
_MOST_JOINTS = 64
MAX_HOMING_OFFSET = 2047
"""The largest that a Feetech servo stores, and that a position within one turn needs."""

LARGEST_HOMING_OFFSET = 1_044_479
"""The largest that any servo stores: a Dynamixel counts turns, and LeRobot's offsets for it are
beyond a turn for a reversed joint, or one that had left its first turn."""

MAX_TICK = 4095


class CalibrationError(ValueError):
    """A calibration file that is missing, torn or does not describe an arm."""


@dataclass(frozen=True)
class JointCalibration:
    """One servo's calibration in ticks, as the servo stores it.

    Present_Position = actual - homing_offset on a Feetech servo, actual + homing_offset on a
    Dynamixel. drive_mode 1: reversed; a Dynamixel does that by itself.
    """

    id: int
    drive_mode: int
    homing_offset: int
    range_min: int
    range_max: int

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise CalibrationError(
                    f"{field.name} must be a whole number, found {printable(repr(value), 80)}"
                )
        if not 0 <= self.id <= 252:
            raise CalibrationError(f"id must be 0..252, found {self.id}")
        if self.drive_mode not in (0, 1):
            raise CalibrationError(f"drive_mode must be 0 or 1, found {self.drive_mode}")
        if abs(self.homing_offset) > LARGEST_HOMING_OFFSET:
            raise CalibrationError(
                f"homing_offset must be within ±{LARGEST_HOMING_OFFSET}, found "
                f"{self.homing_offset}; calibrate again from the middle pose"
            )
        if not 0 <= self.range_min < self.range_max <= MAX_TICK:
            raise CalibrationError(
                f"range must satisfy 0 <= range_min < range_max <= {MAX_TICK}, "
                f"found {self.range_min}..{self.range_max}; calibrate again"
            )


Calibration = dict[str, JointCalibration]
"""Joint name to calibration, in joint order."""


def load(path: Path) -> Calibration:
    """Read a LeRobot calibration JSON.

    Raises CalibrationError naming the file, the joint and what is wrong.
    """
    if path == Path():
        raise CalibrationError(
            "no calibration file is given; calibrate the arm (`armlet calibrate`) and name its file"
        )
    try:
        document = read_json(path)
    except FileNotFoundError as error:
        raise CalibrationError(
            f"no calibration file {path} ({error.strerror}); calibrate the arm "
            "(`armlet calibrate`), or copy LeRobot's calibration/robots/<robot>/<id>.json"
        ) from error
    except FileError as error:
        raise CalibrationError(advised(error, "restore it, or calibrate again")) from error
    if not isinstance(document, dict) or not document:
        raise CalibrationError(f"{path}: expected an object of joints, found {kind_of(document)}")
    if set(document) >= _OLD_KEYS:
        raise CalibrationError(
            f"{path} is a calibration of LeRobot before mid-2025 (lists for all joints), "
            "whose ticks mean something else: calibrate the arm again "
            "(`armlet calibrate`)"
        )
    if len(document) > _MOST_JOINTS:
        raise CalibrationError(f"{path}: {len(document)} joints, expected at most {_MOST_JOINTS}")
    return {joint: _joint(path, joint, entry) for joint, entry in document.items()}


def load_arms(files: str) -> Calibration:
    """The calibration of one arm, `FILE`, or of several by prefix, `left_=FILE,right_=FILE`.

    Of several, each joint is called by its arm's prefix and its own name: `left_gripper`. Raises
    CalibrationError, also where a prefix has no file or two arms have a joint of the same name.
    """
    merged: Calibration = {}
    for prefix, file in arm_files(files).items():
        for joint, entry in load(file).items():
            if prefix + joint in merged:
                raise CalibrationError(
                    f"{files}: two arms have a joint {prefix + joint}; give each its own prefix"
                )
            merged[prefix + joint] = entry
    return merged


def arm_files(files: str) -> dict[str, Path]:
    """The files of `left_=FILE,right_=FILE` by prefix; of a plain `FILE` by the empty prefix.

    Raises CalibrationError where a prefix has no file, or two.
    """
    if "=" not in files or Path(files).exists():
        return {"": Path(files)}
    found: dict[str, Path] = {}
    for part in files.split(","):
        prefix, equals, file = part.strip().partition("=")
        if not equals or not prefix or not file:
            raise CalibrationError(
                f"expected FILE, or PREFIX=FILE for each arm as in left_=FILE,right_=FILE, "
                f"found {part.strip()!r} in {files!r}"
            )
        if prefix in found:
            raise CalibrationError(
                f"{files}: two arms have the prefix {prefix}; give each its own prefix"
            )
        found[prefix] = Path(file)
    return found


def _joint(path: Path, joint: str, entry: Any) -> JointCalibration:
    where = f"{path}: {printable(joint, 80)}"
    keys = {field.name for field in dataclasses.fields(JointCalibration)}
    if not isinstance(entry, dict) or set(entry) != keys:
        found = sorted(entry) if isinstance(entry, dict) else entry
        raise CalibrationError(
            f"{where}: expected the keys {sorted(keys)}, found {printable(found, 200)}"
        )
    try:
        return JointCalibration(**entry)
    except CalibrationError as error:
        raise CalibrationError(f"{where}: {error}") from error


def save(calibration: Calibration, path: Path) -> None:
    """Write LeRobot's JSON (indent 4): the file is replaced in one step or stays as it was.

    Raises OSError.
    """
    document = {joint: dataclasses.asdict(entry) for joint, entry in calibration.items()}
    replace_file(path, json.dumps(document, indent=4).encode())


def ticks(calibration: Calibration) -> dict[str, tuple[int, ...]]:
    """By joint, drive_mode, homing_offset, range_min, range_max: a contract's calibration_ticks."""
    return {
        joint: (entry.drive_mode, entry.homing_offset, entry.range_min, entry.range_max)
        for joint, entry in calibration.items()
    }


def fingerprint(calibration: Calibration) -> str:
    """SHA-256 over joints, ranges and offsets: equal only where every joint converts alike.

    The order of the joints is left out: it means nothing, as joints are matched by name.
    """
    canonical = json.dumps(
        {joint: dataclasses.asdict(entry) for joint, entry in calibration.items()},
        sort_keys=True,
        separators=(",", ":"),
    )
    return hashlib.sha256(canonical.encode()).hexdigest()
