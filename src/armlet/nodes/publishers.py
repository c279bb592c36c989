"""Why a topic is silent: who publishes it, and what does not fit."""

from __future__ import annotations

import difflib

from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible
from rclpy.topic_endpoint_info import TopicEndpointInfo

from armlet.files import printable

HINTS = 3
NAMELESS = "a publisher"

# An endpoint is discovered before the node it is of.
_UNKNOWN = "_NODE_NAME_UNKNOWN_"


def type_name(kind: type) -> str:
    """`sensor_msgs/msg/Image` of a message class."""
    return f"{kind.__module__.partition('.')[0]}/msg/{kind.__name__}"


def misfits(node: Node, topic: str, kind: type, qos: QoSProfile) -> list[str]:
    """Publishers of a topic that this subscription cannot hear, each with the reason."""
    infos = node.get_publishers_info_by_topic(node.resolve_topic_name(topic))
    said = [(info, _misfit(info, type_name(kind), qos)) for info in infos]
    return [f"{_full_name(info)} {reason}" for info, reason in said if reason]


def publishers_of(node: Node, topic: str) -> list[str]:
    """Full names of the nodes that publish a topic, where they are known."""
    return [_full_name(info) for info in node.get_publishers_info_by_topic(topic)]


def why_silent(node: Node, topic: str, kind: type, qos: QoSProfile) -> str:
    """What is known of a topic from which nothing comes, and topics it may have been meant for."""
    name = node.resolve_topic_name(topic)
    wrong = misfits(node, topic, kind, qos)
    if wrong:
        return f"{name}: {'; '.join(wrong)}"
    publishers = node.get_publishers_info_by_topic(name)
    if publishers:
        return f"{name}: {', '.join(map(_full_name, publishers))} publishes it, but sends nothing"
    like = _similar(node, name, type_name(kind))
    hint = f"; there is {', '.join(like)}" if like else ""
    return f"{name}: nobody publishes it{hint}"


def _misfit(info: TopicEndpointInfo, wanted: str, qos: QoSProfile) -> str:
    if info.topic_type != wanted:
        return f"publishes {info.topic_type}, not {wanted}"
    compatibility, reason = qos_check_compatible(info.qos_profile, qos)
    if compatibility != QoSCompatibility.ERROR:
        return ""
    if info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT:
        return "publishes best effort, which a reliable subscription does not receive"
    return f"publishes with another quality of service: {reason.strip()}"


def _is_published_by_another(node: Node, topic: str) -> bool:
    own = node.get_fully_qualified_name()
    return any(_full_name(info) != own for info in node.get_publishers_info_by_topic(topic))


def _full_name(info: TopicEndpointInfo) -> str:
    if info.node_name == _UNKNOWN:
        return NAMELESS
    # A program that speaks DDS by itself may call itself anything.
    return printable(f"{info.node_namespace.rstrip('/')}/{info.node_name}")


def _similar(node: Node, name: str, wanted: str) -> list[str]:
    """Published topics of the type wanted whose names are most like it."""
    published = [
        topic
        for topic, types in node.get_topic_names_and_types()
        if wanted in types and topic != name and _is_published_by_another(node, topic)
    ]
    return difflib.get_close_matches(name, published, HINTS, 0.3)
