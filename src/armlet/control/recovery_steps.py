"""How a servo is treated between cycles: one small transaction a step.

Each treatment is an iterator; every `next` of it asks or tells one servo once and returns at once,
so that a treatment costs the control cycle no more than that. A lost reply is tried again at the
next step. They raise ArmError when a servo does not do what it is told, and PortError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .protection import Protection, Remedy, Treatment
from .servos import ArmError, Servos

Steps = Iterator[None]

_TRIES = 12
_SAME_TICKS = 8
"""How far the goal may be from where a sagging joint stands when its torque comes back."""


def treat(
    remedy: Remedy, servos: Servos, protection: Protection, wanted: Callable[[], bool]
) -> Steps:
    """The steps of a remedy. Torque comes on only while it is wanted."""
    joint = remedy.joint
    match remedy.treatment:
        case Treatment.RELAX:
            limit = round(protection.settings.relaxed_torque * 1000)
            return _set(servos, joint, "Torque_Limit", limit)
        case Treatment.RECOVER:
            return _recover(servos, joint, protection, wanted)
        case Treatment.RELEASE:
            return _set(servos, joint, "Torque_Enable", 0)
        case Treatment.RESTORE:
            return _restore(servos, joint)


def _set(servos: Servos, joint: str, name: str, value: int) -> Steps:
    """Writes until it reads back."""
    for _ in range(_TRIES):
        servos.tell(joint, name, value)
        yield
        told = servos.ask(joint, [name])
        if told is not None and told[0] == (value,):
            return
        yield
    raise ArmError(f"{servos.told([joint])} does not take {name} = {value}")


def _restore(servos: Servos, joint: str) -> Steps:
    """The torque limit the servo's EEPROM asks for."""
    for _ in range(_TRIES):
        told = servos.ask(joint, ["Max_Torque_Limit"])
        yield
        if told is not None:
            yield from _set(servos, joint, "Torque_Limit", told[0][0])
            return
    raise ArmError(f"{servos.told([joint])} does not answer")


def _recover(
    servos: Servos, joint: str, protection: Protection, wanted: Callable[[], bool]
) -> Steps:
    """Torque off, goal where the joint stands, torque on: clears a latched overload.

    The control cycle sends the position of a joint without torque as its goal; here that is
    waited for.
    """
    yield from _set(servos, joint, "Torque_Enable", 0)
    protection.set_torque_off(joint, True)
    yield
    for _ in range(_TRIES):
        told = servos.ask(joint, ["Goal_Position", "Present_Position"])
        yield
        if told is not None and abs(told[0][0] - told[0][1]) <= _SAME_TICKS:
            break
    else:
        raise ArmError(f"{servos.told([joint])} does not take its position as its goal")
    if not wanted():
        raise ArmError("torque stays off: a stop was requested")
    yield from _set(servos, joint, "Torque_Enable", 1)
