"""What registers are for, and what their values say, in words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from armlet.motors.protocol import TICKS_PER_TURN, MotorModel, Register

_CHOICES_SHOWN = 9


def check_value(model: MotorModel, register: Register, value: int) -> None:
    """Raises ValueError saying what the register takes."""
    note = model.note(register)
    if register.access != "rw":
        shows = f": it shows {note.meaning}" if note.meaning else ""
        raise ValueError(f"{register.name} is read only{shows}")
    allowed: Sequence[int] = note.allowed or range(register.minimum, register.maximum + 1)
    if value not in allowed:
        words = note.words
        choices = (
            ", ".join(f"{v} = {words(v)}" for v in allowed)
            if words and len(allowed) < _CHOICES_SHOWN
            else ""
        )
        raise ValueError(
            f"{register.name} takes {allowed[0]}..{allowed[-1]}"
            f"{f' ({choices})' if choices else ''}, found {value}"
        )


def physical(model: MotorModel, register: Register, value: int) -> str:
    """The value in a unit people measure in, or in words; empty if it is a mere number."""
    words = model.note(register).words
    if words is not None:
        return words(value)
    if register.unit == "bits":
        return f"0x{value:02x}"
    match = re.fullmatch(r"([\d.]*) ?(\D.*)", register.unit)
    if match is None:
        return ""
    count, unit = match.groups()
    if unit == "degC":
        unit = "°C"
    if register.unit == "tick":
        return f"{value * 360 / TICKS_PER_TURN:.1f}°"
    return f"{value * float(count or 1):g} {unit}"
