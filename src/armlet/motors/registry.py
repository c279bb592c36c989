"""Motor families by the names of their models; other packages add theirs by an entry point.

An entry point of the group `armlet.motors` has a model's name and leads to its `MotorFamily`:

    [project.entry-points."armlet.motors"]
    my-servo = "my_package:FAMILY"

A package that is broken is named when its model is asked for, and stands in nobody else's way.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Sequence

from armlet import plugins
from armlet.motors.protocol import MotorFamily, MotorModel
from armlet.suggestions import did_you_mean

GROUP = "armlet.motors"

_DYNAMIXEL = "armlet.motors.dynamixel.family:FAMILY"
_OWN = {
    "sts3215": "armlet.motors.feetech.family:FAMILY",
    "xl330-m077": _DYNAMIXEL,
    "xl330-m288": _DYNAMIXEL,
    "xl430-w250": _DYNAMIXEL,
}


class MotorError(ValueError):
    """A model that is not known, cannot be loaded, or cannot be on one bus with the others."""


def models() -> tuple[str, ...]:
    """Every model's name, armlet's own first. Nothing is loaded."""
    return (*_OWN, *(name for name in plugins.names(GROUP) if name not in _OWN))


def family(model: str) -> MotorFamily:
    """The family of a model, by name. Raises MotorError naming what is wrong, and where."""
    if model in _OWN:
        return load(_OWN[model])
    try:
        found = plugins.load(GROUP, model)
    except plugins.PluginError as error:
        raise MotorError(str(error)) from error
    if found is None:
        hint = did_you_mean([model], models())
        raise MotorError(f"{hint}motors must be one of {', '.join(models())}, found {model!r}")
    if not isinstance(found, MotorFamily):
        raise MotorError(
            f"{plugins.where(GROUP, model)}: expected a MotorFamily, found {type(found).__name__}"
        )
    if model not in found.models:
        raise MotorError(
            f"{plugins.where(GROUP, model)} has no model of that name, only "
            f"{', '.join(found.models)}"
        )
    return found


def families() -> tuple[MotorFamily, ...]:
    """Every family there is, armlet's own first; packages that are broken are left out."""
    found = {each.name: each for each in map(load, dict.fromkeys(_OWN.values()))}
    for name in models():
        if name not in _OWN:
            with contextlib.suppress(MotorError):  # named where its model is asked for
                other = family(name)
                found.setdefault(other.name, other)
    return tuple(found.values())


def load(origin: str) -> MotorFamily:
    """The family at "package.module:ATTRIBUTE". Raises MotorError."""
    module, _, attribute = origin.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    if not isinstance(found, MotorFamily):
        raise MotorError(f"expected {origin} to be a MotorFamily, found {type(found).__name__}")
    return found


def choose(motors: str, joints: Sequence[str]) -> tuple[MotorFamily, tuple[MotorModel, ...]]:
    """The family, and the model of each joint.

    motors: one model for all joints; or one for each, by name: "shoulder_pan=xl430-w250,...", or
    in their order: "xl430-w250,xl330-m288,...". Raises MotorError.
    """
    names = _models_of(motors, joints)
    families = {name: family(name) for name in dict.fromkeys(names)}
    kinds = {one.name: one for one in families.values()}
    if len(kinds) > 1:
        raise MotorError(
            f"servos of {' and '.join(sorted(kinds))} speak different protocols and cannot share a "
            f"bus, found {motors!r}"
        )
    return next(iter(kinds.values())), tuple(families[name].models[name] for name in names)


def _models_of(motors: str, joints: Sequence[str]) -> list[str]:
    """The model of each joint, in the joints' order."""
    words = [word.strip() for word in motors.split(",")]
    if all("=" in word for word in words):
        named = {}
        for word in words:
            joint, _, model = word.partition("=")
            named[joint.strip()] = model.strip()
        if set(named) != set(joints) or len(named) < len(words):
            raise MotorError(f"motors must name each of {', '.join(joints)} once, found {motors!r}")
        return [named[joint] for joint in joints]
    if len(words) == 1:
        return words * max(1, len(joints))
    if len(words) != len(joints):
        raise MotorError(
            f"motors must be one model, or one for each of {', '.join(joints)}; found {len(words)} "
            f"in {motors!r}"
        )
    return words
