"""What a node declares, found by the name of its executable."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping

from .setting import AT_START, Setting

AUTOSTART = Setting(
    "autostart",
    True,
    "Configure and activate at start, without a lifecycle manager.",
    change=AT_START,
)
LOCKSTEP = Setting(
    "lockstep",
    "",
    "Socket of the bench that advances simulated time in lockstep with this node.",
    change=AT_START,
)
EVERY_NODE = (AUTOSTART, LOCKSTEP)

# Parameters rclpy gives every node.
BUILT_IN = ("use_sim_time", "start_type_description_service")


def settings_of(executable: str) -> tuple[Setting, ...]:
    """The settings that every node of a kind has. Raises ModuleNotFoundError for no such kind."""
    module = importlib.import_module(f"armlet.settings.{executable}")
    own: tuple[Setting, ...] = module.SETTINGS
    return own


def repeated(executable: str) -> tuple[str, Callable[[str], tuple[Setting, ...]]] | None:
    """What a node declares once for each of something: what that is, and the settings by name."""
    module = importlib.import_module(f"armlet.settings.{executable}")
    found: tuple[str, Callable[[str], tuple[Setting, ...]]] | None = getattr(
        module, "REPEATED", None
    )
    return found


def declared(executable: str, names: Iterable[str] = ()) -> Mapping[str, Setting]:
    """Every setting of a node by its name; names: of what it declares some for each."""
    found = [*EVERY_NODE, *settings_of(executable)]
    each = repeated(executable)
    if each is not None:
        found += [setting for name in names for setting in each[1](name)]
    return {setting.name: setting for setting in found}
