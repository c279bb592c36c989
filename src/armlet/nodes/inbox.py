"""What a node lets in: messages are judged by their length first, and none ends the node.

Anybody on the network may publish anything on any topic. A message that is refused here, or that a
callback of ours cannot take, is reported the first time, counted, and dropped.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import JointState, Joy
from std_msgs.msg import Float64MultiArray, String
from trajectory_msgs.msg import JointTrajectory

from .cdr import CdrError, read_trajectory
from .messages import MessageError, diagnostic
from .reception import as_wanted_by, parts

_KIB = 1024
_TEXT_SHOWN = 500


class TooLong(ValueError):
    """A message longer than any that means something."""


@dataclass(frozen=True)
class Limit:
    """How long a serialized message of a type may be, and what makes an object of it."""

    size: int
    parse: Callable[[bytes], Any]


def _limit(kind: type, size: int) -> Limit:
    return Limit(size, lambda data: deserialize_message(data, kind))


# Pictures have no limit: those of a good camera are as long as those of a bad one.
LIMITS: dict[type, Limit] = {
    JointTrajectory: Limit(4 * _KIB * _KIB, read_trajectory),
    JointState: _limit(JointState, 16 * _KIB),
    Joy: _limit(Joy, 16 * _KIB),
    String: _limit(String, 256 * _KIB),
    Float64MultiArray: _limit(Float64MultiArray, 64 * _KIB),
    DiagnosticArray: _limit(DiagnosticArray, 256 * _KIB),
    DiagnosticStatus: _limit(DiagnosticStatus, 64 * _KIB),
}


if TYPE_CHECKING:
    _Node: Any
else:
    # What it extends are the methods of the node's class, which is named after it.
    _Node = object


class GuardedInbox(_Node):  # type: ignore[misc]
    """Of a node whose subscriptions survive what they are sent. Named before the node's class.

    Attributes:
        dropped: messages that were refused or could not be taken, by topic.
    """

    def __init__(self, *arguments: Any, **given: Any) -> None:
        self.dropped: Counter[str] = Counter()
        self._drops_reported: set[tuple[str, type]] = set()
        self._last_drop = ""
        super().__init__(*arguments, **given)

    def create_subscription(
        self, msg_type: Any, topic: str, callback: Any, qos_profile: Any, **given: Any
    ) -> Any:
        """As rclpy's. Callbacks get `cdr.TrajectoryMessage` for a JointTrajectory."""
        limit = LIMITS.get(msg_type)
        name = self.resolve_topic_name(topic)

        def deliver(*taken: Any) -> None:
            message, *info = parts(taken)
            try:
                callback(message if limit is None else _parsed(message, limit), *info)
            except Exception as error:
                self._drop(name, error)

        as_wanted_by(callback, deliver)
        given = given if limit is None else {**given, "raw": True}
        return super().create_subscription(msg_type, topic, deliver, qos_profile, **given)

    def _drop(self, topic: str, error: Exception) -> None:
        self.dropped[topic] += 1
        self._last_drop = f"{topic}: {error}"[:_TEXT_SHOWN]
        if (topic, type(error)) in self._drops_reported:
            return
        self._drops_reported.add((topic, type(error)))
        refused = isinstance(error, TooLong | CdrError | MessageError)
        reason = str(error) if refused else "".join(traceback.format_exception(error))
        self.get_logger().error(
            f"a message on {topic} was dropped, further ones are only counted: {reason}"
        )

    def inbox_status(self, label: str) -> DiagnosticStatus | None:
        """What was dropped, as a warning; None if nothing was."""
        if not self.dropped:
            return None
        text = f"{self.dropped.total()} messages dropped, the last from {self._last_drop}"
        return diagnostic(f"{label}: messages", DiagnosticStatus.WARN, text, dict(self.dropped))


def _parsed(data: bytes, limit: Limit) -> Any:
    if len(data) > limit.size:
        raise TooLong(f"{len(data)} bytes, at most {limit.size} are accepted")
    return limit.parse(data)
