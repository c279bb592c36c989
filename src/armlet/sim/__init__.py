"""A bench without hardware: emulated arms, a rendered scene, a scripted demonstrator. No ROS.

Names are imported when they are first used: the process of the emulated arms must start without
the painter.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .arms import Arms as Arms
    from .arms import ArmsError as ArmsError
    from .arms import EmulatedArms as EmulatedArms
    from .arms_process import ArmsProcess as ArmsProcess
    from .bench import Bench as Bench
    from .calibrations import FOLLOWER as FOLLOWER
    from .calibrations import LEADER as LEADER
    from .scene import Scene as Scene
    from .scene import View as View
    from .shared_time import SharedTime as SharedTime

_HOMES = {
    "Arms": "arms",
    "ArmsError": "arms",
    "ArmsProcess": "arms_process",
    "Bench": "bench",
    "EmulatedArms": "arms",
    "FOLLOWER": "calibrations",
    "LEADER": "calibrations",
    "Scene": "scene",
    "SharedTime": "shared_time",
    "View": "scene",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
