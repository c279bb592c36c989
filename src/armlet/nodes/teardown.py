"""Destroys a ROS node in bounded time, whatever the middleware does.

Fast DDS can deadlock when another process leaves the domain: the thread that removes it holds the
lock that the event thread waits for, and waits for the event thread (eProsima/Fast-DDS issues 6193
and 6502, open in 3.2). From then on no entity of that process can be deleted.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rclpy.node import Node

DESTROY_S = 20.0
"""A node is destroyed in milliseconds; beside other programs in less than a second."""

_LOGGER = logging.getLogger(__name__)


def destroy(node: Node, wait_s: float = DESTROY_S) -> bool:
    """Destroy a node and its entities; False if the middleware did not finish in time.

    The node is then left as it is, and a warning says so. The process can go on with other nodes;
    its ordinary exit may hang as well (use os._exit).
    """
    errors: list[BaseException] = []

    def work() -> None:
        try:
            node.destroy_node()
        except BaseException as error:
            errors.append(error)

    name = node.get_name()
    thread = threading.Thread(target=work, name=f"destroy {name}", daemon=True)
    thread.start()
    thread.join(wait_s)
    if errors:
        raise errors[0]
    if thread.is_alive():
        _LOGGER.warning(
            "node %s: the middleware did not delete its entities within %g s; leaving them "
            "(a known deadlock of Fast DDS, eProsima/Fast-DDS issue 6193)",
            name,
            wait_s,
        )
        return False
    return True
