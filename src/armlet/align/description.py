"""Which topics make up a stream and how it is aligned, as the aligner's parameters say.

Live and from a bag, streams are described by the same names with the same meanings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .joints import JointPart, joint_parts
from .stream import Policy, StreamConfig

STATE = "state"
ACTION = "action"

# Samples held at most, by kind: seconds of them, where a frame waits for fractions of one.
DEPTHS = {"joint_state": 4096, "compressed": 512, "raw": 128}

# As ROS has them. Nothing else: in the permissions of DDS an asterisk is any name.
_STREAM = re.compile(r"[a-z]\w*", re.ASCII | re.IGNORECASE)
_TOPIC = re.compile(r"(~?/)?[a-z_]\w*(/[a-z_]\w*)*", re.ASCII | re.IGNORECASE)

# rclpy takes an empty list for one of bytes; an empty entry stands for none.
NONE = [""]


@dataclass(frozen=True)
class SourceDescription:
    """One topic, which is a stream of its own in the aligner; part: which joints it brings."""

    topic: str
    config: StreamConfig
    part: JointPart | None


@dataclass(frozen=True)
class StreamDescription:
    """A stream by its name in frames and contract, of one topic or, joints, several.

    kind: joint_state, compressed or raw.
    """

    name: str
    kind: str
    policy: Policy
    tolerance_s: float
    sources: tuple[SourceDescription, ...]


def describe_stream(
    name: str, joints: Sequence[str], value: Callable[[str], Any]
) -> StreamDescription:
    """A stream as its parameters, by their full names, say. Raises ValueError."""
    if not _STREAM.fullmatch(name):
        raise ValueError(
            f"streams: expected names of letters, digits and _, a letter first, found {name!r}"
        )
    kind = value(f"{name}.type")
    if kind not in DEPTHS:
        raise ValueError(f"{name}.type must be one of {sorted(DEPTHS)}, found {kind!r}")
    joint_state = kind == "joint_state"
    if (name in (STATE, ACTION)) != joint_state:
        raise ValueError(f"streams state and action are joint_state, cameras are not: {name}")
    topics = _topics(name, joint_state, value)
    policy = value(f"{name}.policy")
    if policy not in tuple(Policy):
        raise ValueError(
            f"{name}.policy must be one of {[p.value for p in Policy]}, found {policy!r}; "
            "there is no default"
        )
    if not joint_state and policy == Policy.LINEAR:
        raise ValueError(f"{name}.policy: pictures cannot be interpolated")
    parts: Sequence[JointPart | None] = [None]
    if joint_state:
        parts = joint_parts(name, joints, _prefixes(name, topics, value))
    tolerance_s = float(value(f"{name}.tolerance_s"))

    def config(stream: str) -> StreamConfig:
        return StreamConfig(
            stream,
            Policy(policy),
            tolerance_s,
            reorder_s=float(value(f"{name}.reorder_s")),
            frozen_s=0.0 if joint_state else float(value(f"{name}.frozen_s")),
            depth=DEPTHS[kind],
        )

    sources = tuple(
        SourceDescription(topic, config(part.stream if part else name), part)
        for topic, part in zip(topics, parts, strict=True)
    )
    return StreamDescription(name, kind, Policy(policy), tolerance_s, sources)


def _topics(name: str, joint_state: bool, value: Callable[[str], Any]) -> list[str]:
    topics = [topic for topic in value(f"{name}.topics") if topic]
    if topics and not joint_state:
        raise ValueError(f"{name}.topics: a camera has one topic")
    if not topics and not value(f"{name}.topic"):
        raise ValueError(f"{name}.topic is empty")
    topics = topics or [value(f"{name}.topic")]
    if wrong := [topic for topic in topics if not _TOPIC.fullmatch(topic)]:
        raise ValueError(
            f"{name}.topic: expected the name of a topic, such as /front/image_raw, found "
            f"{wrong[0]!r}"
        )
    return topics


def _prefixes(name: str, topics: list[str], value: Callable[[str], Any]) -> list[str]:
    """The prefixes stated; else nothing for one topic, and the namespace of each of several."""
    stated = list(value(f"{name}.prefixes"))
    if stated != NONE:
        if len(stated) != len(topics):
            raise ValueError(f"{name}.prefixes: {len(topics)} topics, but {len(stated)} prefixes")
        return stated
    if len(topics) == 1:
        return [""]
    return [f"{topic.strip('/').split('/')[0]}_" if "/" in topic else "" for topic in topics]
