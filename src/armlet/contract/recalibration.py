"""What moved between two calibrations of an arm, and by how much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Ticks = Mapping[str, tuple[int, ...]]
"""By joint: drive_mode, homing_offset, range_min, range_max."""

_NAMES = ("drive_mode", "homing_offset", "range_min", "range_max")
_TURN = 4096
_DEGREES_PER_TICK = 360 / _TURN


@dataclass(frozen=True)
class Moved:
    """A joint that was calibrated otherwise.

    degrees: how far the same dataset value takes it now, at the worse end of its range; None where
    the two cannot be compared (another direction, or a joint that only one of them has).
    """

    joint: str
    changes: str
    degrees: float | None

    def __str__(self) -> str:
        by = "cannot be compared" if self.degrees is None else f"{self.degrees:.2f}°"
        return f"{self.joint} by {by} ({self.changes})"


def moved(before: Ticks, now: Ticks) -> list[Moved]:
    """The joints whose calibration differs, the furthest moved first."""
    found = []
    for joint in dict.fromkeys([*before, *now]):
        if joint not in before or joint not in now:
            found.append(Moved(joint, "absent before" if joint in now else "absent now", None))
        elif before[joint] != now[joint]:
            found.append(_moved(joint, before[joint], now[joint]))
    return sorted(found, key=lambda one: -1e9 if one.degrees is None else -one.degrees)


def accepted(found: list[Moved], tolerance_deg: float) -> bool:
    """Whether every joint moved by no more than a tolerance. False if one cannot be compared."""
    return all(one.degrees is not None and one.degrees <= tolerance_deg for one in found)


def _moved(joint: str, before: tuple[int, ...], now: tuple[int, ...]) -> Moved:
    if len(before) != len(_NAMES) or len(now) != len(_NAMES):
        return Moved(joint, "not described", None)
    changes = ", ".join(
        f"{name} {there} -> {here}"
        for name, there, here in zip(_NAMES, before, now, strict=True)
        if there != here
    )
    if before[0] != now[0]:
        return Moved(joint, changes, None)
    # The servo reports its position less the homing offset.
    ends = [_wrapped(now[1] + now[end] - before[1] - before[end]) for end in (2, 3)]
    return Moved(joint, changes, max(map(abs, ends)) * _DEGREES_PER_TICK)


def _wrapped(ticks: int) -> int:
    return (ticks + _TURN // 2) % _TURN - _TURN // 2
