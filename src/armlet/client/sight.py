"""What a running graph says of itself, put in order for a screen. Knows no ROS."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from armlet.findings import Code
from armlet.robots.joints import in_namespace

SILENCE_S = 3.5
"""Every node reports once a second, by the graph's own time."""

_BUS, _COMPUTER, _RECORDER, _FRAMES = "bus", "load of this computer", "recorder", "frames of "
_CODES = {str(code): code for code in Code}
_LARGEST_URDF = 4 << 20


@dataclass(frozen=True)
class Status:
    """One status of /diagnostics. level: good, attention or bad. name: `node: part`."""

    name: str
    level: str
    said: str
    values: Mapping[str, str] = field(default_factory=dict)
    stamp_ns: int = 0

    @property
    def node(self) -> str:
        return self.name.partition(": ")[0]

    @property
    def part(self) -> str:
        return self.name.partition(": ")[2]


@dataclass(frozen=True)
class Positions:
    """One message of joints, radians by joint; source: its header's frame_id."""

    by_joint: Mapping[str, float]
    source: str = ""


@dataclass(frozen=True)
class JointSight:
    """One joint. Radians; load: share of the most, -1 to 1; None: not known."""

    name: str
    position_rad: float | None = None
    goal_rad: float | None = None
    limits_rad: tuple[float, float] | None = None
    load: float | None = None
    temperature_c: float | None = None
    voltage_v: float | None = None
    torque: bool | None = None
    level: str = "good"
    said: str = ""


@dataclass(frozen=True)
class ArmSight:
    """One arm by its driver's node. said: what it does. commander: whose goals it is sent."""

    node: str
    said: str
    level: str
    rate_hz: float | None
    commander: str
    joints: tuple[JointSight, ...]

    def topic(self, name: str) -> str:
        """A topic of this arm, relative to the graph."""
        return topic_of(self.node, name)


@dataclass(frozen=True)
class StreamSight:
    """What became of a stream's messages, as the aligner counts. counts: by name."""

    name: str
    level: str
    said: str
    counts: Mapping[str, str]


@dataclass(frozen=True)
class Trouble:
    """What is wrong: with codes, each with its meaning and its fix."""

    subject: str
    said: str
    level: str
    codes: tuple[Code, ...] = ()


@dataclass(frozen=True)
class Sight:
    """All of it now. computer: its sentence. disk_s: how long there is room to record, s."""

    arms: tuple[ArmSight, ...] = ()
    streams: tuple[StreamSight, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    cameras: tuple[str, ...] = ()
    computer: str = ""
    disk_s: float | None = None


@dataclass(frozen=True)
class Heard:
    """What has been heard: statuses by name; by topic, the newest joints and descriptions."""

    statuses: Mapping[str, Status]
    positions: Mapping[str, Positions] = field(default_factory=dict)
    limits: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    cameras: Sequence[str] = ()


def topic_of(node: str, name: str) -> str:
    """A topic beside a driver's node: in its namespace."""
    return in_namespace(node.rpartition("/")[0], name)


def drivers(statuses: Iterable[Status]) -> list[str]:
    """The nodes of arms' drivers."""
    return sorted({status.node for status in statuses if status.part == _BUS})


def sight(heard: Heard) -> Sight:
    """What has been heard, in order."""
    statuses = heard.statuses
    newest_ns = max((status.stamp_ns for status in statuses.values()), default=0)
    computer = next((s.said for s in statuses.values() if s.part == _COMPUTER), "")
    return Sight(
        arms=tuple(_arm(node, heard) for node in drivers(statuses.values())),
        streams=tuple(_streams(statuses.values())),
        troubles=tuple(_troubles(statuses.values(), newest_ns)),
        cameras=tuple(sorted(heard.cameras)),
        computer=computer,
        disk_s=next(
            (
                number(status.values["seconds_left"])
                for status in statuses.values()
                if "seconds_left" in status.values
            ),
            None,
        ),
    )


def number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def limits_of(urdf: str) -> dict[str, tuple[float, float]]:
    """Each joint's limits, rad, by a URDF; none for a text that is no URDF."""
    found: dict[str, tuple[float, float]] = {}
    if len(urdf) > _LARGEST_URDF:
        return found
    try:
        robot = ElementTree.fromstring(urdf)
    except ElementTree.ParseError:
        return found
    for joint in robot.findall("joint"):
        limit = joint.find("limit")
        if limit is not None:
            low, high = (number(limit.get(end, "")) for end in ("lower", "upper"))
            if low is not None and high is not None and low < high:
                found[str(joint.get("name"))] = low, high
    return found


def _arm(node: str, heard: Heard) -> ArmSight:
    bus = heard.statuses[f"{node}: {_BUS}"]
    measured = heard.positions.get(topic_of(node, "joint_states"), Positions({}))
    applied = heard.positions.get(topic_of(node, "applied_joint_commands"), Positions({}))
    limits = heard.limits.get(topic_of(node, "robot_description"), {})
    parts = [s.part for s in heard.statuses.values() if s.node == node and "mode" in s.values]
    # In the order of the arm, which a message of joints has and statuses come in.
    names = list(dict.fromkeys([*measured.by_joint, *parts]))
    joints = []
    for name in names:
        status = heard.statuses.get(f"{node}: {name}", Status("", "good", ""))
        values = status.values
        joints.append(
            JointSight(
                name,
                measured.by_joint.get(name),
                applied.by_joint.get(name),
                limits.get(name),
                number(values.get("load", "")),
                number(values.get("temperature_c", "")),
                number(values.get("voltage_v", "")),
                _flag(values.get("torque_enabled", "")),
                status.level,
                status.said,
            )
        )
    rate = number(bus.values.get("rate_hz", ""))
    return ArmSight(node, bus.said, bus.level, rate, applied.source, tuple(joints))


def _flag(text: str) -> bool | None:
    return {"True": True, "False": False, "1": True, "0": False}.get(text)


def _streams(statuses: Iterable[Status]) -> Iterable[StreamSight]:
    for status in statuses:
        if "received" in status.values and "used" in status.values:
            yield StreamSight(status.part, status.level, status.said, status.values)


def _troubles(statuses: Iterable[Status], newest_ns: int) -> Iterable[Trouble]:
    """The worst first."""
    found = []
    for status in statuses:
        silent_s = (newest_ns - status.stamp_ns) * 1e-9
        if silent_s > SILENCE_S:
            said = f"silent for {silent_s:.0f} s; last message: {status.said}"
            found.append(Trouble(status.name, said, "bad"))
        elif status.level != "good":
            found.append(Trouble(status.name, status.said, status.level, _codes(status)))
    return sorted(found, key=lambda trouble: trouble.level != "bad")


def _codes(status: Status) -> tuple[Code, ...]:
    texts = (text.strip() for text in status.values.get("codes", "").split(","))
    # A code of a newer version is passed over.
    return tuple(code for code in map(_CODES.get, texts) if code is not None)
