"""Which topics of a bag are which streams: the aligner node's parameters, read without ROS.

The same YAML, the same names and meanings; what becomes of a message is in `align`, for both.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armlet.align import (
    ACTION,
    GIVE_UP_S,
    NONE,
    STATE,
    CommandSource,
    JointPart,
    Policy,
    StreamConfig,
    command_source,
    describe_stream,
)
from armlet.camera import jpeg, raw
from armlet.datasets.format.errors import DatasetError
from armlet.files import FileError, printable, read_yaml, typed, whole_number
from armlet.frozen import fingerprint
from armlet.robots.unit_check import implausible

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
# What every ROS 2 node has.
_OF_EVERY_NODE = ("use_sim_time", "start_type_description_service", "autostart", "lockstep")
_SETTINGS = ("fps", "max_wait_s", "give_up_s", "joints", "streams")


@dataclass(frozen=True)
class BagSource:
    """One topic, which is a stream of its own in the aligner; part: which joints it brings."""

    topic: str
    kind: str
    config: StreamConfig
    part: JointPart | None = None

    def sample(self, message: Any, any_unit: bool = False) -> tuple[Any, int | None]:
        """Value and fingerprint of a message. Raises ValueError if it is no sample.

        any_unit: positions that can be no radians are samples too, for who judges them.
        """
        if self.part is not None:
            values = self.part.sample(message.name, message.position.tolist())
            reason = "" if any_unit else implausible(self.part.joints, values)
            if reason:
                raise ValueError(reason)
            return values, None
        if reason := self.unfit(message):
            raise ValueError(reason)
        return message, fingerprint(message.data)

    def origin(self, message: Any) -> CommandSource | None:
        """Who commanded the joints of a message; None for a picture."""
        return None if self.part is None else command_source.parse(message.header.frame_id)

    def unfit(self, message: Any) -> str:
        """Why a camera's message is no picture that can be taken; empty if it is."""
        if self.kind == "compressed":
            return jpeg.unfit(message.data.tobytes(), message.format)
        return raw.unfit(message)


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


class Stamps(enum.StrEnum):
    """What counts as a message's time: its header's stamp, or when it was recorded."""

    HEADER = "header"
    RECORDED = "recorded"


@dataclass(frozen=True)
class Plan:
    """How a bag's messages become frames."""

    fps: int
    max_wait_s: float
    give_up_s: float
    joints: tuple[str, ...]
    streams: tuple[BagStream, ...]
    stamps: Stamps = Stamps.HEADER
    any_unit: bool = False

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


def parameters(path: Path, namespace: str | None = None) -> dict[str, Any]:
    """The aligner's parameters in a ROS parameter file by their full names. Raises DatasetError.

    Blocks apply as ROS 2 has it: by the node's full name, with * for one part of it and ** for any
    number; of two that name a parameter the later counts. namespace: the aligner's; None: a bag
    does not say, so an aligner in any one namespace is meant.
    """
    try:
        blocks = list(_blocks(read_yaml(path)))
    except (FileNotFoundError, FileError) as error:
        raise DatasetError(
            f"{path} is not a ROS parameter file: {printable(error)}; expected "
            "NODE: {ros__parameters: {NAME: VALUE}}"
        ) from error
    fitting = _fitting(path, [name for name, _ in blocks], namespace)
    own = (block for name, block in blocks if name in fitting)
    found = {name: value for block in own for name, value in _flat(block)}
    ignored = {
        name for name in found if name in _OF_EVERY_NODE or name.startswith("qos_overrides.")
    }
    return {name: value for name, value in found.items() if name not in ignored}


def _blocks(document: Any, name: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Parameters by the names they are of, as they stand: namespaces may be levels of their own."""
    if not isinstance(document, Mapping):
        raise FileError(f"expected a mapping at {printable(name or 'its top')!r}")
    for key, value in document.items():
        if key != "ros__parameters":
            yield from _blocks(value, "/".join(p for p in (name.rstrip("/"), str(key)) if p))
        elif not name:
            raise FileError("ros__parameters stands at its top, of no node")
        elif not isinstance(value, Mapping | None):
            raise FileError("ros__parameters is no mapping")
        else:
            yield "/" + name.lstrip("/"), value or {}


def _fitting(path: Path, names: Sequence[str], namespace: str | None) -> set[str]:
    """The names in a file that mean the aligner. Raises DatasetError if none does, or several."""
    if namespace is None:
        spaces = {name.removesuffix("/aligner") for name in names if _is_aligner(name)}
        if len(spaces) > 1:
            raise DatasetError(
                f"{path} has aligners in several namespaces, {printable(sorted(spaces))}: give "
                "--namespace"
            )
        namespace = next(iter(spaces), "")
    node = absolute("aligner", namespace)
    fitting = {name for name in names if re.fullmatch(_pattern(name), node)}
    if not fitting:
        raise DatasetError(
            f"{path}: expected parameters of {node}, found those of {printable(sorted(names))}; "
            "name the block aligner or /**, or give the aligner's --namespace"
        )
    return fitting


def _is_aligner(name: str) -> bool:
    return name.endswith("/aligner") and "*" not in name


def _pattern(name: str) -> str:
    """A block's name as a regular expression of nodes' full names, as rclcpp makes it."""
    parts = re.split(r"(/\*\*|/\*)", name)
    wild = {"/**": r"(/\w+)*", "/*": r"/\w+"}
    return "".join(wild.get(part, re.escape(part)) for part in parts)


def _flat(block: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in block.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{name}.")
        else:
            found.append((printable(f"{prefix}{name}"), value))
    return found


def plan(stated: Mapping[str, Any], default_joints: Sequence[str], namespace: str = "") -> Plan:
    """The streams that an aligner with these parameters has.

    Relative topics are looked for in the namespace. Raises DatasetError for a parameter that the
    aligner does not have, or a value that it would refuse.
    """
    names = _names(stated, "streams", (STATE, ACTION))
    joints = _names(stated, "joints", default_joints)
    known = {*_SETTINGS, *(f"{name}.{item}" for name in names for item in _DEFAULTS)}
    # The shipped file describes state and action also where they are not used.
    known |= {f"{name}.{item}" for name in (STATE, ACTION) for item in _DEFAULTS}
    unknown = sorted(set(stated) - known)
    if unknown:
        raise DatasetError(
            f"the aligner has no parameters {printable(unknown)}; it has {sorted(known)}"
        )

    def value(name: str) -> Any:
        default = _DEFAULTS[name.rpartition(".")[2]]
        return _as_kind_of(default, stated.get(name, default), name)

    try:
        fps = whole_number(stated.get("fps", 30), "fps", 1, _MOST_FPS)
        max_wait_s = _as_kind_of(0.3, stated.get("max_wait_s", 0.3), "max_wait_s")
        streams = tuple(_stream(name, joints, value, namespace) for name in names)
        give_up_s = _as_kind_of(GIVE_UP_S, stated.get("give_up_s", GIVE_UP_S), "give_up_s")
        return Plan(fps, max_wait_s, give_up_s, joints, streams)
    except (ValueError, TypeError) as error:
        raise DatasetError(f"aligner parameters: {error}") from error


def _names(stated: Mapping[str, Any], name: str, default: Sequence[str]) -> tuple[str, ...]:
    found = stated.get(name, list(default))
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
