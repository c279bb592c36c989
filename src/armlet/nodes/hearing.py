"""Proof that a process still hears: a message of its own must come back through the middleware.

Fast DDS can deadlock within a process (see `teardown`): what it plays goes on, and no message, no
request and no newcomer reaches it any more. Nothing fails by that, so the driver asks for proof.
Once a second it publishes on a topic that no other process has: a stranger's messages would pass
for its own, or keep a deadline that must be missed. Three things must come of it: the message to
the node's executor, the message to the executor of the urgent services, and, because the message
comes less often than its deadline says, the event of a missed deadline, which the thread makes that
also keeps the process known to others. `PROFILE` has the message go the way of others' messages,
through the threads that receive; without it Fast DDS hands it over within the process.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from rclpy.duration import Duration
from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
from rclpy.qos import QoSProfile
from std_msgs.msg import Empty

from armlet.control.liveness import LOOK_S, Liveness, Verdict

from .worker import Worker

if TYPE_CHECKING:
    from .node import ArmletNode

QOS = QoSProfile(depth=1, deadline=Duration(seconds=0.6 * LOOK_S))

TOPICS = "topics"
URGENT = "~/stop and ~/set_torque"
EVENTS = "the middleware's events"

_STOP_S = 1.0
# Until the first message has come back; the one before may be sent before anybody listens.
_FIRST_S = 0.1


class Hearing:
    """The proof of one driver, from `start` to `stop`.

    Args:
        node: whose executor, and whose urgent services, must hear.
        others: further parts of the driver that give signs, by `sign`.

    Attributes:
        doubtful: what is silent, in words, while the driver's hearing is in doubt; else empty.
    """

    def __init__(self, node: ArmletNode, others: Sequence[str] = ()) -> None:
        self._node, self._others = node, tuple(others)
        # Hidden, as of ROS's rules for names: no `ros2 bag record -a` has it.
        self._topic = f"~/_hearing/p{os.getpid()}_{secrets.token_hex(4)}"
        self._heard = threading.Event()
        self._events = False
        self._liveness: Liveness | None = None
        self._workers: list[Worker] = []
        self.doubtful = ""

    def make_faces(self) -> None:
        """What goes with each configuration of the node."""
        self._voice = self._node.create_publisher(Empty, self._topic, QOS)
        self._node.create_subscription(Empty, self._topic, self._on_topic, QOS)

    def make_urgent_faces(self) -> None:
        """What lasts as long as the urgent services."""
        missed = SubscriptionEventCallbacks(deadline=self._on_event, use_default_callbacks=False)
        try:
            self._node.hear_urgently(
                Empty, self._topic, self._on_urgent, qos_profile=QOS, event_callbacks=missed
            )
            self._events = True
        except UnsupportedEventTypeError:  # of middlewares that are not DDS
            self._node.hear_urgently(Empty, self._topic, self._on_urgent, qos_profile=QOS)

    def _on_topic(self, message: Any) -> None:
        self.sign(TOPICS)

    def _on_urgent(self, message: Any) -> None:
        if not self._heard.is_set() and (liveness := self._liveness) is not None:
            liveness.expect()
            self._heard.set()
        self.sign(URGENT)

    def _on_event(self, event: Any) -> None:
        self.sign(EVENTS)

    def sign(self, *parts: str) -> None:
        """Parts live. From any thread."""
        liveness = self._liveness
        if liveness is not None:
            for part in parts:
                liveness.sign(part)

    def wait_until_heard(self, timeout_s: float) -> bool:
        """Whether a message has come back since `start`; waits for the first, wall time."""
        return self._heard.wait(timeout_s)

    def start(
        self,
        excused: Callable[[], Collection[str]],
        at_each_look: Callable[[Verdict], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        """Judge from now on. at_each_look: called once a second, in the thread that judges."""
        heard = [TOPICS, URGENT, *([EVENTS] if self._events else [])]
        self._heard.clear()
        liveness = Liveness([*heard, *self._others], time.monotonic(), unproven=heard)
        self._liveness = liveness

        def judge(ending: threading.Event) -> None:
            while not ending.wait(LOOK_S):
                verdict = liveness.look(time.monotonic(), excused())
                self.doubtful = liveness.silent()
                at_each_look(verdict)

        # Two threads: whoever speaks to a middleware that hangs may hang too.
        self._workers = [
            Worker("voice", self._speak, on_failure),
            Worker("hearing", judge, on_failure),
        ]

    def _speak(self, ending: threading.Event) -> None:
        while not ending.wait(LOOK_S if self._heard.is_set() else _FIRST_S):
            self._voice.publish(Empty())

    def stop(self) -> None:
        """Judge no more."""
        for worker in reversed(self._workers):
            worker.stop(_STOP_S)
        self._workers, self._liveness, self.doubtful = [], None, ""
