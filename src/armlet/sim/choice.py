"""Which bench is asked for: physics or none, a task, a domain; whether they go together."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from armlet.files import FileError, expanded
from armlet.missing import how_to_install, require

from .domain import ORDINARY, PHYSICAL, Domain, changed, read_domain
from .task import Task, find

REACH = "reach"
KINEMATIC, MUJOCO = PHYSICS = ("kinematic", "mujoco")


class BenchError(RuntimeError):
    """The bench cannot do that, as it was built."""


def choose(physics: str, task: str, domain: str = "") -> tuple[Task, Domain]:
    """The task and the domain of these names or files, empty: the ordinary domain.

    Raises BenchError for what there is not, what does not go together, and physics without MuJoCo.
    """
    if physics not in PHYSICS:
        raise BenchError(f"physics: expected {' or '.join(PHYSICS)}, found {physics!r}")
    try:
        chosen = find(task), _read(domain) if domain else ORDINARY
    except FileError as error:
        raise BenchError(str(error)) from error
    check(chosen[0], physics == MUJOCO, chosen[1])
    if physics == MUJOCO:
        try:
            require("mujoco")
        except ModuleNotFoundError as error:
            raise BenchError(f"physics: {how_to_install(error)}") from error
    return chosen


def _read(domain: str) -> Domain:
    return read_domain(expanded(domain, Path(), "domain"))


def digest(chosen: Task | Domain) -> str:
    """SHA-256 of what a file means: not of its name, its comments, or how it is written.

    The order of a task's things means something: a seed places one after the other.
    """
    meant = {key: value for key, value in dataclasses.asdict(chosen).items() if key != "name"}
    return hashlib.sha256(json.dumps(_as_floats(meant)).encode()).hexdigest()


def _as_floats(value: Any) -> Any:
    """A file may say 15 or 15.0."""
    if isinstance(value, dict):
        return {key: _as_floats(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_floats(item) for item in value]
    return float(value) if isinstance(value, int) else value


def check(task: Task, physics: bool, domain: Domain) -> None:
    """Raises BenchError if a bench without physics is to do what needs it."""
    if physics:
        return
    if task.needs_physics:
        raise BenchError(f"task {task.name} has things to move; set physics to mujoco")
    needless = [name for name in changed(domain) if name in PHYSICAL]
    if needless:
        raise BenchError(f"domain: {', '.join(needless)} need physics; set physics to mujoco")
