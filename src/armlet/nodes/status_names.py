"""Names of the statuses on /diagnostics, made and taken apart here alone: `<node>: <part>`."""

from __future__ import annotations

from collections.abc import Iterable

ACTIONS = "actions"
BUS = "bus"
COMPUTER = "load of this computer"
DATASET = "dataset"
JOYSTICK = "joystick"
LEADER = "leader"
READINESS = "readiness"


def status_name(node: str, part: str) -> str:
    """node: the node's name without a leading slash, as `Node.label`."""
    return f"{node}: {part}"


def split(name: str) -> tuple[str, str]:
    """Node and part of a status; the part is empty for names that are not armlet's."""
    node, _, part = name.partition(": ")
    return node, part


def frames_of(streams: Iterable[str]) -> str:
    """The aligner's part about frames of these streams, in the order of its configuration."""
    return f"frames of {'/'.join(streams)}"
