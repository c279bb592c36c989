"""One vector of joints from the topics of one or several arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST = 1e6
"""Radians or metres of a joint, at most: what is beyond is nonsense, and its square no number."""


class JointError(ValueError):
    """Joint names and positions that are no sample of the joints wanted."""


@dataclass(frozen=True)
class JointPart:
    """The joints of a vector that come from one topic, which is a stream of its own.

    joints: their names in the vector, in its order. prefix: what those names have before the
    topic's own.
    """

    stream: str
    prefix: str
    joints: tuple[str, ...]

    def sample(self, names: Sequence[str], positions: Sequence[float]) -> NDArray[np.float64]:
        """Positions (len(joints),), NaN for a joint that is not among the names.

        Names are the vector's own, or without the prefix. JointError if none of the joints is
        there, a position is not finite or beyond MOST, or names and positions are not equally many.
        """
        if len(names) != len(positions):
            raise JointError(f"{len(names)} joint names but {len(positions)} positions")
        if tuple(names) == self.joints and all(abs(position) <= MOST for position in positions):
            return np.array(positions, np.float64)
        found = dict(zip(names, positions, strict=True))
        missing = float("nan")
        values = [found.get(j, found.get(j[len(self.prefix) :])) for j in self.joints]
        if all(value is None for value in values):
            raise JointError(f"none of {list(self.joints)} is among its joints {list(names)}")
        if not all(value is None or abs(value) <= MOST for value in values):
            raise JointError(f"positions must be finite and plausible, found {list(positions)}")
        return np.array([missing if value is None else value for value in values], np.float64)


def joint_parts(
    stream: str, joints: Sequence[str], prefixes: Sequence[str]
) -> tuple[JointPart, ...]:
    """A vector's joints by the topic they come from, each topic known by its joints' prefix.

    One prefix: one part, named as the stream. Several: parts named `<stream>.<prefix>`, less the
    prefix's closing underscore. A joint belongs to the longest prefix it begins with. JointError
    if a joint has no topic, a topic no joint, or a name is given twice.
    """
    if len(set(joints)) < len(joints) or not joints:
        raise JointError(f"{stream}: joints must be named, each once; found {list(joints)}")
    if len(set(prefixes)) < len(prefixes):
        raise JointError(f"{stream}: every topic needs a prefix of its own; found {list(prefixes)}")
    owned: dict[str, list[str]] = {prefix: [] for prefix in prefixes}
    for joint in joints:
        fitting = [prefix for prefix in prefixes if joint.startswith(prefix)]
        if not fitting:
            raise JointError(f"{stream}: joint {joint} begins with none of {list(prefixes)}")
        owned[max(fitting, key=len)].append(joint)
    for prefix, part in owned.items():
        if not part:
            raise JointError(f"{stream}: no joint of {list(joints)} begins with {prefix!r}")
    return tuple(
        JointPart(_name(stream, prefix, len(prefixes)), prefix, tuple(part))
        for prefix, part in owned.items()
    )


def _name(stream: str, prefix: str, count: int) -> str:
    return stream if count == 1 else f"{stream}.{prefix.rstrip('_') or 'rest'}"


def join(
    parts: Sequence[JointPart], joints: Sequence[str], values: Mapping[str, NDArray[np.float64]]
) -> NDArray[np.float64]:
    """The vector (len(joints),) in the joints' order, of the parts' values by stream."""
    if len(parts) == 1 and parts[0].joints == tuple(joints):
        return values[parts[0].stream]
    found = {
        joint: value
        for part in parts
        for joint, value in zip(part.joints, values[part.stream], strict=True)
    }
    return np.array([found[joint] for joint in joints], np.float64)


def worst_skew_s(parts: Sequence[JointPart], skew_s: Mapping[str, float]) -> float:
    """The skew (s) of the part that is furthest from the frame's time."""
    return max((skew_s[part.stream] for part in parts), key=abs)
