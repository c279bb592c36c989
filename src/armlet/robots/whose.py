"""Whose calibration an arm's servos hold, where they do not hold the one of its own file.

A calibration file says nothing of its arm: LeRobot's has id, drive_mode, homing_offset, range_min
and range_max of each joint. The servos store all but drive_mode, and two arms, mounted by hand,
do not have eighteen numbers alike: a file whose every number the servos hold is this arm's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .calibration import CalibrationError, load

Held = Mapping[int, tuple[int, int, int]]
"""What servos store, by id: homing offset, lowest and highest position (ticks)."""

# Files beside the arm's own that are looked at: a folder of calibrations has a few.
_MOST_FILES = 64


@dataclass(frozen=True)
class Owner:
    """A file whose calibration the servos hold; name: of the robot's arm it is given for."""

    file: Path
    name: str = ""

    def __str__(self) -> str:
        if not self.name:
            return f"these servos hold the calibration of {self.file}: give this arm that file"
        return (
            f"these servos hold the calibration of the {self.name} ({self.file}): the calibration "
            "files of two arms are exchanged, or their ports"
        )


def owner(held: Held, own: Path, others: Mapping[str, Path]) -> Owner | None:
    """The file whose calibration the servos hold, other than the arm's own; None if none is known.

    others: the files of the robot's other arms, by name. Files in the folders of all of these are
    looked at as well: LeRobot keeps all arms of a kind in one folder.
    """
    if _is_held(own, held):
        return None
    for file, name in _candidates(own, others):
        if _is_held(file, held):
            return Owner(file, name)
    return None


def _candidates(own: Path, others: Mapping[str, Path]) -> Iterator[tuple[Path, str]]:
    mine = own.absolute()
    named = {path.absolute(): name for name, path in others.items() if path.absolute() != mine}
    yield from named.items()
    for folder in dict.fromkeys(path.parent for path in (mine, *named)):
        for path in sorted(folder.glob("*.json"))[:_MOST_FILES]:
            if path not in named and path != mine:
                yield path, ""


def _is_held(file: Path, held: Held) -> bool:
    """Whether the servos hold a file's calibration: every number of every joint, and no other."""
    try:
        calibration = load(file)
    except (CalibrationError, OSError):
        return False  # it names nobody; who uses it says what is wrong with it
    stored = {
        entry.id: (entry.homing_offset, entry.range_min, entry.range_max)
        for entry in calibration.values()
    }
    return bool(held) and stored == dict(held)
