"""Which topics of a bag are which streams: the aligner node's parameters, read without ROS.

The same YAML, the same names and meanings; what becomes of a message is in `align`, for both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armlet.align import (
    ACTION,
    GIVE_UP_S,
    NONE,
    STATE,
    JointPart,
    Policy,
    StreamConfig,
    describe_stream,
    fingerprint,
)
from armlet.camera import jpeg
from armlet.files import FileError, printable, read_yaml, typed, whole_number

from .errors import DatasetError

TYPES = {
    "joint_state": "sensor_msgs/msg/JointState",
    "compressed": "sensor_msgs/msg/CompressedImage",
    "raw": "sensor_msgs/msg/Image",
}

_DEFAULTS: dict[str, Any] = {
    "topic": "",
    "topics": [],
    "prefixes": NONE,
    "type": "",
    "policy": "",
    "tolerance_s": 0.0,
    "reorder_s": 0.0,
    "frozen_s": 1.0,
    "reliable": True,
}
_MOST_FPS = 1000
_SETTINGS = ("fps", "max_wait_s", "give_up_s", "joints", "streams")


@dataclass(frozen=True)
class BagSource:
    """One topic, which is a stream of its own in the aligner; part: which joints it brings."""

    topic: str
    kind: str
    config: StreamConfig
    part: JointPart | None = None

    def sample(self, message: Any) -> tuple[Any, int | None]:
        """Value and fingerprint of a message. Raises ValueError if it is no sample."""
        if self.part is not None:
            return self.part.sample(message.name, message.position.tolist()), None
        if self.kind == "compressed" and not jpeg.is_whole(message.data.tobytes()):
            raise ValueError(f"torn picture of {len(message.data)} bytes")
        return message, fingerprint(message.data)


@dataclass(frozen=True)
class BagStream:
    """A stream by its name in frames and contract."""

    name: str
    kind: str
    policy: Policy
    tolerance_s: float
    sources: tuple[BagSource, ...]

    @property
    def parts(self) -> tuple[JointPart, ...]:
        return tuple(source.part for source in self.sources if source.part is not None)


@dataclass(frozen=True)
class Plan:
    """How a bag's messages become frames."""

    fps: int
    max_wait_s: float
    give_up_s: float
    joints: tuple[str, ...]
    streams: tuple[BagStream, ...]

    @property
    def cameras(self) -> tuple[BagStream, ...]:
        return tuple(stream for stream in self.streams if stream.kind != "joint_state")

    def sources(self) -> dict[str, list[BagSource]]:
        """Sources by the topic they take messages of."""
        found: dict[str, list[BagSource]] = {}
        for stream in self.streams:
            for source in stream.sources:
                found.setdefault(source.topic, []).append(source)
        return found


def parameters(path: Path) -> dict[str, Any]:
    """A ROS parameter file's parameters by their full names. Raises DatasetError."""
    try:
        document = read_yaml(path)
        blocks = [node["ros__parameters"] or {} for node in document.values()]
        if not all(isinstance(block, Mapping) for block in blocks):
            raise FileError("ros__parameters is no mapping")
    except (FileNotFoundError, FileError, AttributeError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{path} is not a ROS parameter file: {printable(error)}; expected "
            "NODE: {ros__parameters: {NAME: VALUE}}"
        ) from error
    return {name: value for block in blocks for name, value in _flat(block)}


def _flat(block: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in block.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{name}.")
        else:
            found.append((printable(f"{prefix}{name}"), value))
    return found


def plan(told: Mapping[str, Any], default_joints: Sequence[str], namespace: str = "") -> Plan:
    """The streams that an aligner with these parameters has.

    Relative topics are looked for in the namespace. Raises DatasetError for a parameter that the
    aligner does not have, or a value that it would refuse.
    """
    names = _names(told, "streams", (STATE, ACTION))
    joints = _names(told, "joints", default_joints)
    known = {*_SETTINGS, *(f"{name}.{item}" for name in names for item in _DEFAULTS)}
    # The shipped file describes state and action also where they are not used.
    known |= {f"{name}.{item}" for name in (STATE, ACTION) for item in _DEFAULTS}
    unknown = sorted(set(told) - known)
    if unknown:
        raise DatasetError(
            f"the aligner has no parameters {printable(unknown)}; it has {sorted(known)}"
        )

    def value(name: str) -> Any:
        default = _DEFAULTS[name.rpartition(".")[2]]
        return _as_kind_of(default, told.get(name, default), name)

    try:
        fps = whole_number(told.get("fps", 30), "fps", 1, _MOST_FPS)
        max_wait_s = _as_kind_of(0.3, told.get("max_wait_s", 0.3), "max_wait_s")
        streams = tuple(_stream(name, joints, value, namespace) for name in names)
        give_up_s = _as_kind_of(GIVE_UP_S, told.get("give_up_s", GIVE_UP_S), "give_up_s")
        return Plan(fps, max_wait_s, give_up_s, joints, streams)
    except (ValueError, TypeError) as error:
        raise DatasetError(f"aligner parameters: {error}") from error


def _names(told: Mapping[str, Any], name: str, default: Sequence[str]) -> tuple[str, ...]:
    found = told.get(name, list(default))
    if not isinstance(found, list | tuple) or not all(isinstance(item, str) for item in found):
        raise DatasetError(f"aligner parameters: {name}: expected texts, found {printable(found)}")
    return tuple(found)


def _as_kind_of(default: Any, value: Any, name: str) -> Any:
    """A parameter's value if it is of its default's kind. Raises FileError."""
    if isinstance(default, list | tuple):
        listed = list(value) if isinstance(value, tuple) else value
        return list(typed(tuple[str, ...], listed, name))
    found = typed(type(default), value, name)
    return float(found) if isinstance(default, float) else found


def _stream(
    name: str, joints: Sequence[str], value: Callable[[str], Any], namespace: str
) -> BagStream:
    described = describe_stream(name, joints, value)
    kind = described.kind
    sources = tuple(
        BagSource(absolute(s.topic, namespace), kind, s.config, s.part) for s in described.sources
    )
    return BagStream(name, kind, described.policy, described.tolerance_s, sources)


def absolute(topic: str, namespace: str) -> str:
    """A topic's full name, as a node in a namespace resolves it."""
    if topic.startswith("/"):
        return topic
    return "/" + "/".join(part for part in (namespace.strip("/"), topic) if part)
