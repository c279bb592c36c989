"""Bits of Hardware_Error_Status and Shutdown, as the alarms of every family."""

from __future__ import annotations

from armlet.motors.protocol import Alarm

_ALARMS = {
    0x01: Alarm.VOLTAGE,
    0x04: Alarm.TEMPERATURE,
    0x08: Alarm.ENCODER,
    0x10: Alarm.ELECTRICAL_SHOCK,
    0x20: Alarm.OVERLOAD,
}
"""Bits of Hardware_Error_Status and of Shutdown."""


def hardware_error_bits(alarms: Alarm) -> int:
    """Alarms as Hardware_Error_Status has them; those it has no bit for are left out."""
    return sum(bit for bit, alarm in _ALARMS.items() if alarm in alarms)


def alarms_of(bits: int) -> Alarm:
    """What bits of Hardware_Error_Status report."""
    found = Alarm.NONE
    for bit, alarm in _ALARMS.items():
        if bits & bit:
            found |= alarm
    return found
