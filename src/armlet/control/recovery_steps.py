"""How a servo is treated between cycles: one small transaction a step.

Each treatment is an iterator; every `next` of it reads or writes one servo once and returns,
so that a treatment costs the control cycle no more than that. A lost reply is tried again at the
next step. They raise ArmError when a servo does not do what it is ordered, and PortError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from armlet.motors.protocol import Quantity
from armlet.robots.joints import is_gripper

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
            measure = servos.models[joint].measures[Quantity.TORQUE_LIMIT]
            limit = measure.count(protection.settings.relaxed_torque)
            return _set(servos, joint, measure.register.name, limit)
        case Treatment.RECOVER:
            return _recover(servos, joint, protection, wanted)
        case Treatment.RELEASE:
            return _set(servos, joint, servos.models[joint].torque_enable.name, 0)
        case Treatment.RESTORE:
            return _restore(servos, joint)


def _set(servos: Servos, joint: str, name: str, value: int) -> Steps:
    """Writes until it reads back."""
    for _ in range(_TRIES):
        servos.write_once(joint, name, value)
        yield
        reply = servos.ask(joint, [name])
        if reply is not None and reply[0] == (value,):
            return
        yield
    raise ArmError(f"{servos.labels([joint])} does not take {name} = {value}")


def _restore(servos: Servos, joint: str) -> Steps:
    """The torque limit the servo's EEPROM asks for."""
    model = servos.models[joint]
    for _ in range(_TRIES):
        reply = servos.ask(joint, [model.max_torque.name])
        yield
        if reply is not None:
            yield from _set(servos, joint, model.torque_limit.name, reply[0][0])
            return
    raise ArmError(f"{servos.labels([joint])} does not answer")


def _recover(
    servos: Servos, joint: str, protection: Protection, wanted: Callable[[], bool]
) -> Steps:
    """Torque off, goal where the joint stands, torque on: clears a latched overload.

    A servo that keeps its torque off until then is rebooted, and gets its settings again, with the
    torque limit of a relaxed joint. The control cycle sends the position of a joint without torque
    as its goal; here that is waited for.
    """
    model = servos.models[joint]
    torque = model.torque_enable.name
    yield from _set(servos, joint, torque, 0)
    protection.set_torque_off(joint, True)
    yield
    if model.reboots:
        yield from _reboot(servos, joint, protection)
    position = model.measures[Quantity.POSITION].register
    for _ in range(_TRIES):
        reply = servos.ask(joint, [model.goal_position.name, position.name])
        yield
        if reply is not None and abs(reply[0][0] - reply[0][1]) <= _SAME_TICKS:
            break
    else:
        raise ArmError(f"{servos.labels([joint])} does not take its position as its goal")
    if not wanted():
        raise ArmError("torque stays off: a stop was requested")
    yield from _set(servos, joint, torque, 1)
    if model.watchdog is not None:
        yield from _set(servos, joint, model.watchdog.name, model.watchdog_counts)


def _reboot(servos: Servos, joint: str, protection: Protection) -> Steps:
    """Starts the servo up again, relaxed, until it reports nothing that keeps its torque off."""
    model = servos.models[joint]
    status = model.measures[Quantity.STATUS].register
    servos.reboot(joint)
    yield
    for _ in range(_TRIES):
        reply = servos.ask(joint, [status.name])
        yield
        if reply is not None and not model.alarms(Quantity.STATUS, reply[0][0]) & model.cuts_torque:
            break
    else:
        raise ArmError(f"{servos.labels([joint])} still reports its error after it was rebooted")
    limit = model.measures[Quantity.TORQUE_LIMIT]
    relaxed = limit.count(protection.settings.relaxed_torque)
    settings = {**model.setup(joint, is_gripper(joint)).ram, limit.register.name: relaxed}
    for name, value in settings.items():
        yield from _set(servos, joint, name, value)
