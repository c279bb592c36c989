"""What other packages add by entry points: found by name, loaded one at a time.

A package that cannot be loaded is named when its own name is asked for, and blocks no other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


class PluginError(ValueError):
    """A plug-in that is not clear or cannot be loaded; the message names group, name, package."""


def names(group: str) -> tuple[str, ...]:
    """The names other packages add to a group. Nothing is loaded."""
    return tuple(sorted({point.name for point in _points(group)}))


def load(group: str, name: str) -> Any:
    """What a name of a group leads to; None if no package has it. Raises PluginError."""
    points = [point for point in _points(group) if point.name == name]
    if not points:
        return None
    if len({point.value for point in points}) > 1:
        packages = " and ".join(_package(point) for point in points)
        raise PluginError(f"{group}: {name!r} comes from several packages ({packages}); remove one")
    point = points[0]
    try:
        return point.load()
    # Whatever somebody else's package raises is its own fault, and is reported as such.
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise PluginError(
            f"{where(group, name)} cannot be loaded: {what}; repair or remove that package"
        ) from error


def where(group: str, name: str) -> str:
    """A plug-in in an error message: its group, name, package and place."""
    point = next(point for point in _points(group) if point.name == name)
    return f"{group}: {name!r} of the package {_package(point)} ({point.value})"


def _points(group: str) -> Iterable[EntryPoint]:
    from importlib.metadata import entry_points

    return entry_points(group=group)


def _package(point: EntryPoint) -> str:
    return "an unknown package" if point.dist is None else f"{point.dist.name} {point.dist.version}"
