"""Nodes of several computers compare their clocks: see `armlet.clock_offset`.

They do so on a hidden topic of the whole ROS domain, once a second, and at once when they meet.
In simulated time there is nothing to compare: all have the time of /clock.
"""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import String

from armlet.clock_offset import Exchange, Node, Offset, trouble

from .messages import MessageError

if TYPE_CHECKING:
    from .node import ArmletNode

TOPIC = "/_armlet_clocks"
PERIOD_S = 1.0
# Of what was lost nothing is of use later.
_QOS = QoSProfile(depth=20, reliability=ReliabilityPolicy.BEST_EFFORT)


class ClockExchange:
    """Of a node whose stamps others compare with their clock, or who compares theirs.

    computer: what tells this computer from others. seconds: a steady clock.
    """

    def __init__(
        self,
        node: ArmletNode,
        computer: Callable[[], str] = lambda: this_computer(),
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._node, self._seconds = node, seconds
        self._publisher: Any = None
        own = Node(node.get_fully_qualified_name(), computer(), socket.gethostname())
        self._exchange = Exchange(own)
        if node.clock.simulated:
            return
        self._publisher = node.create_publisher(String, TOPIC, _QOS)
        node.create_subscription(String, TOPIC, self._hear, _QOS)
        # An offset is measured, too, while a clock is being set.
        node.create_timer(PERIOD_S, self._say, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def offsets(self, names: Iterable[str]) -> dict[Node, Offset]:
        """Of nodes, by full name, on other computers: how far their clocks are ahead."""
        if self._node.clock.simulated:
            return {}
        return self._exchange.offsets(names, self._seconds())

    @property
    def alone(self) -> bool:
        """Whether no node of another computer is heard."""
        return self._exchange.alone(self._seconds())

    def trouble(self, names: Iterable[str], limit_s: float) -> str:
        """Why these nodes' stamps are none of this node's time, in words; empty if they may be."""
        return trouble(self.offsets(names), limit_s)

    def _say(self) -> None:
        if not self._node.clock.simulated:
            self._publisher.publish(String(data=self._exchange.say(self._node.now_ns())))

    def _hear(self, message: String) -> None:
        if self._node.clock.simulated:
            return
        now_ns = self._node.now_ns()
        try:
            answer = self._exchange.hear(message.data, now_ns, self._seconds())
        except ValueError as error:
            raise MessageError(str(error)) from error
        if answer:
            self._say()


def this_computer() -> str:
    """Tells this computer, with all its containers, from others, until it is switched off."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    return hashlib.sha256(boot).hexdigest()[:12]
