"""Which topics of a graph a bag is recorded of, and how `ros2 bag record` is run for it.

They are what frames are made of and what says where they come from. What the frames become is left
out: it can be made from these, and two would publish it where the bag is played. Commands are left
out as well: a bag that is played beside a running arm must not move it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

PACKAGES = ("ros2bag", "rosbag2_storage_mcap")
"""Of ROS, which recording takes."""

Qos = dict[str, str | int]

RELIABLE: Qos = {
    "history": "keep_last",
    "depth": 400,
    "reliability": "reliable",
    "durability": "volatile",
}
# A player latches again what was recorded so.
LATCHED: Qos = {**RELIABLE, "depth": 64, "durability": "transient_local"}

_OF_DRIVER = {
    "joint_states": RELIABLE,
    "applied_joint_commands": RELIABLE,
    "servo_bus/status": LATCHED,
    "robot_description": LATCHED,
}
_OF_POLICY = {"policy/provenance": LATCHED, "policy/latency": RELIABLE}
# Topics of the aligner's streams where no parameter says them.
_USUAL = {"state": "joint_states", "action": "applied_joint_commands"}


class Node(Protocol):
    """What is asked of a node of a graph."""

    @property
    def executable(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def parameters(self) -> Mapping[str, Any]: ...
    @property
    def remaps(self) -> tuple[tuple[str, str], ...]: ...


def missing() -> list[str]:
    """What of ROS is not installed that recording takes, by the names of packages."""
    prefixes = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    lacking = [
        name
        for name in PACKAGES
        if not any((prefix / "share" / name / "package.xml").is_file() for prefix in prefixes)
    ]
    return lacking or ([] if shutil.which("ros2") else ["ros2cli"])


def topics(nodes: Iterable[Node]) -> dict[str, Qos | None]:
    """Topics of nodes that are recorded, by their full names, with the QoS of their publishers.

    None: who publishes is not of these nodes, and ros2 bag adapts to it.
    """
    nodes = list(nodes)
    found: dict[str, Qos | None] = {"/diagnostics": None}
    if any(node.executable == "robot_state_publisher" for node in nodes):
        found |= {"/tf": None, "/tf_static": LATCHED}
    # Of a topic the last counts: a publisher of these nodes before a guess from who listens.
    for node in nodes:
        if node.executable == "aligner":
            rendered = any(each.executable == "sim_bench" for each in nodes)
            listened = dict.fromkeys(_aligned(node.parameters), RELIABLE if rendered else None)
            found |= {_full(topic, node): qos for topic, qos in listened.items()}
    for node in nodes:
        found |= {_full(topic, node): qos for topic, qos in _published(node, found).items()}
    return found


def _aligned(parameters: Mapping[str, Any]) -> Iterator[str]:
    """Topics of an aligner's streams."""
    for name in parameters.get("streams", tuple(_USUAL)):
        several = parameters.get(f"{name}.topics") or ()
        yield from several or [parameters.get(f"{name}.topic") or _USUAL.get(name, name)]


def _published(node: Node, aligned: Mapping[str, Qos | None]) -> dict[str, Qos]:
    """What a node publishes that is recorded, by names as the node has them."""
    if node.executable == "policy":
        return _OF_POLICY
    if node.executable == "camera":
        # The form that frames are made of; with nobody there to make them, that which takes less.
        forms = ("image_raw", "image_raw/compressed")
        used = [form for form in forms if _full(form, node) in aligned] or [forms[1]]
        return dict.fromkeys([*used, "camera_info"], RELIABLE)
    if node.executable != "servo_bus":
        return {}
    if node.parameters.get("mode", "follower") != "follower":
        return {"joint_states": RELIABLE}
    described = "robot_description" in node.parameters
    return {name: q for name, q in _OF_DRIVER.items() if described or name != "robot_description"}


def _full(topic: str, node: Node) -> str:
    """A topic's full name as a node has it, by the rules that remap it."""
    name = _absolute(topic, node.namespace)
    for old, new in node.remaps:
        if _absolute(old, node.namespace) == name:
            return _absolute(new, node.namespace)
    return name


def _absolute(topic: str, namespace: str) -> str:
    return topic if topic.startswith("/") else "/".join(("", *filter(None, (namespace, topic))))


def overrides(recorded: Mapping[str, Qos | None]) -> dict[str, Qos]:
    """The content of ros2 bag's file of QoS."""
    return {topic: dict(qos) for topic, qos in recorded.items() if qos is not None}


def arguments(folder: str, node_name: str, simulated: bool) -> list[str]:
    """Words after `ros2`, before those of topics. folder: empty for one named after the time."""
    words = ["bag", "record", "--storage", "mcap", "--disable-keyboard-controls"]
    words += ["--node-name", node_name]
    words += ["--output", folder] if folder else []
    return words + (["--use-sim-time"] if simulated else [])
