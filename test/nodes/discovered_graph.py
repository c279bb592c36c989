"""What another process knows of the nodes of a running graph."""

import contextlib
import fnmatch
import time

import rclpy

from armlet.nodes.teardown import destroy
from armlet.security import Use

# Discovery lives by the wall clock, so this is generous: no computer is that busy.
DISCOVERY_S, LOOK_S = 120.0, 10.0
NOTHING = (set(), set())


@contextlib.contextmanager
def newcomer():
    """A node that has just come, and hears of every other one again."""
    context = rclpy.Context()
    rclpy.init(context=context, args=[])
    ros = rclpy.create_node("newcomer", context=context)
    try:
        yield ros
    finally:
        destroy(ros)
        context.try_shutdown()


def discovered(graph, ask, expected):
    """What `ask` a node that looks for it, once that is as expected, or what it last was.

    A node's name comes before its topics: another process hears of them in steps, of which Fast DDS
    loses the last to a process that comes at the same time, until something changes again. Whoever
    comes later hears of all.
    """
    end_s = time.monotonic() + DISCOVERY_S
    found = _awaited(graph.director._node, ask, expected)
    while found != expected and time.monotonic() < end_s:
        with newcomer() as ros:
            found = _awaited(ros, ask, expected)
    return found


def _awaited(ros, ask, expected):
    end_s = time.monotonic() + LOOK_S
    while (found := ask(ros)) != expected and time.monotonic() < end_s:
        time.sleep(0.05)
    return found


def unlike(ros, profile):
    """Rights that a node lacks, and rights that it makes no use of."""
    if (profile.node, profile.namespace) not in ros.get_node_names_and_namespaces():
        return set(), set(profile.rights)
    asked = {
        Use.PUBLISH: ros.get_publisher_names_and_types_by_node,
        Use.SUBSCRIBE: ros.get_subscriber_names_and_types_by_node,
        Use.REPLY: ros.get_service_names_and_types_by_node,
        Use.REQUEST: ros.get_client_names_and_types_by_node,
    }
    lacking, unused = set(), set(profile.rights)
    for use, ask in asked.items():
        patterns = {right for right in profile.rights if right.use is use}
        for name, _ in ask(profile.node, profile.namespace):
            granting = {right for right in patterns if fnmatch.fnmatchcase(name, right.name)}
            unused -= granting
            lacking |= set() if granting else {(use, name)}
    return lacking, unused
