"""How a node takes part in lockstep: its messages are counted, its services hold the time."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile
from rclpy.serialization import deserialize_message
from rclpy.time_source import TimeSource
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Float64MultiArray

from armlet.sim.lockstep import Mark, Participant, Turn

from .stamps import to_time

# Nothing in a simulation depends on when these arrive.
_IGNORED = ("/rosout", "/parameter_events", "/clock")
_LEAST_DEPTH = 10
# Of latched messages, which say how things stand, none of a graph's own is near this many bytes.
_LONGEST = 1 << 20


@dataclass(eq=False)
class LockstepTimer:
    """Calls back every period of simulated time, at the first instant at or after it is due."""

    period_ns: int
    next_ns: int
    callback: Callable[[], None]

    def call(self, now_ns: int) -> None:
        """It is due. Periods that no instant fell into are left out."""
        late_ns = now_ns - self.next_ns
        self.next_ns += self.period_ns * (1 + late_ns // self.period_ns)
        self.callback()


class Lockstep:
    """A node's `Participant`, with what ROS has to do with it.

    The clock comes by the bench's socket: a message on /clock would cost every node a turn of its
    executor at every instant. path: the bench's socket.
    """

    def __init__(self, path: Path, node: Any) -> None:
        self._publishers: dict[str, Any] = {}
        self._subscriptions: dict[str, Any] = {}
        self._timers: list[LockstepTimer] = []
        self._lock = threading.Lock()
        # Instants whose timers wait for the executor, or run.
        self._unfinished = 0
        self._begun = False
        self._node = node
        self._source: TimeSource = node._time_source
        self._source.detach_node()
        name = node.get_fully_qualified_name().lstrip("/")
        self._participant = Participant(path, name, self._set_clock, self._match)
        self._services = self._participant.turn("a service", 0)
        self._serving, self._serving_lock = 0, threading.Lock()

    def close(self) -> None:
        self._participant.close()

    def ready(self) -> None:
        """Time need not wait for the node to start."""
        self._participant.ready()

    def turn(self, name: str, order: int) -> Turn:
        """The right to act of a thread of the node's own."""
        return self._participant.turn(name, order)

    def add_timer(self, period_s: float, callback: Callable[[], None]) -> LockstepTimer:
        """Time goes on only when this timer has done what it is due for.

        Its own and not rclpy's: of those an executor may miss that the clock has been set.
        """
        period_ns = round(1e9 * period_s)
        timer = LockstepTimer(period_ns, self._now_ns() + period_ns, callback)
        self._timers.append(timer)
        return timer

    def remove_timer(self, timer: LockstepTimer) -> None:
        self._timers.remove(timer)

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def _set_clock(self, now_ns: int) -> bool:
        """Set the node's clock, in the participant's thread; whether no timer is due by it."""
        self._source.clock_callback(Clock(clock=to_time(now_ns)))
        executor = self._node.executor
        with self._lock:
            if not self._begun:
                # Timers made before the bench said what time it is count from here. Else all would
                # be due now, and their messages lost on who has not found their publisher yet.
                self._begun = True
                for timer in list(self._timers):
                    timer.next_ns += now_ns if timer.next_ns <= timer.period_ns else 0
            due = any(timer.next_ns <= now_ns for timer in list(self._timers))
            # Behind timers that still run, lest their instant be reported after this one.
            if executor is None or not (due or self._unfinished):
                return True
            self._unfinished += 1
        executor.create_task(self._run_timers, now_ns)
        return False

    def _run_timers(self, now_ns: int) -> None:
        """What is due, in the executor's thread."""
        try:
            for timer in list(self._timers):
                if timer.next_ns <= now_ns and timer in self._timers:
                    timer.call(now_ns)
        except Exception as error:
            # A task's exception would stay with the task.
            self._node.fail(error)
        self._participant.worked_off(now_ns)
        with self._lock:
            self._unfinished -= 1

    def watch_publisher(self, publisher: Any, kind: type) -> None:
        """Count what a publisher sends from now on."""
        topic, qos = publisher.topic_name, publisher.qos_profile
        if not _counted(topic, kind, qos):
            return
        self._publishers[topic] = publisher
        latched = _latched(qos)
        self._participant.sends(topic, latched)
        publish = publisher.publish

        def counting(message: Any) -> None:
            self._participant.sending(topic, _fingerprint(message, kind) if latched else 0)
            publish(message)

        publisher.publish = counting

    def counting(
        self, topic: str, kind: type, callback: Callable[[Any], None], qos: Any
    ) -> tuple[Callable[[Any], None], Any]:
        """A callback that counts what it has worked off, and a QoS by which nothing is lost."""
        if not _counted(topic, kind, qos):
            return callback, qos
        latched = _latched(qos)
        self._participant.hears(topic, latched)

        def received(message: Any) -> None:
            try:
                callback(message)
            finally:
                self._participant.received(topic, _fingerprint(message, kind) if latched else 0)

        return received, lossless(qos)

    def watch_subscription(self, subscription: Any, kind: type) -> None:
        if _counted(subscription.topic_name, kind, subscription.qos_profile):
            self._subscriptions[subscription.topic_name] = subscription

    def forget(self, endpoint: Any) -> None:
        """A publisher or a subscription is about to be destroyed."""
        topic = endpoint.topic_name
        for endpoints, forget in (
            (self._publishers, self._participant.sends_no_more),
            (self._subscriptions, self._participant.hears_no_more),
        ):
            if endpoints.get(topic) is endpoint:
                del endpoints[topic]
                forget(topic)

    def holding(self, callback: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """A service that lets no time pass before what it does has been reported."""

        def hold(request: Any, response: Any) -> Any:
            self._serve(1)
            try:
                return callback(request, response)
            finally:
                self._serve(-1)

        return hold

    def _serve(self, change: int) -> None:
        """Services may be served by several threads; the last one lets time go on."""
        with self._serving_lock:
            self._serving += change
            if self._serving:
                self._services.busy()
            else:
                self._services.rest()

    def _match(self, sent: dict[str, Mark], received: dict[str, Mark]) -> None:
        for topic, publisher in list(self._publishers.items()):
            if topic in sent:
                sent[topic].matched = publisher.get_subscription_count()
        for topic, subscription in list(self._subscriptions.items()):
            if topic in received:
                received[topic].matched = subscription.get_publisher_count()


if TYPE_CHECKING:
    _Node: Any
else:
    # What it extends are the methods of the node's class, which is named after it.
    _Node = object


class InLockstep(_Node):  # type: ignore[misc]
    """Of a node whose messages, timers and services simulated time waits for, once it has joined.

    To be named before the class of the node.
    """

    # Before it has joined, rclpy makes publishers and subscriptions of its own.
    _lockstep: Lockstep | None = None

    def join_lockstep(self, path: Path) -> None:
        """Take part in the simulation of the bench that has made the socket."""
        self._lockstep = Lockstep(path, self)

    def leave_lockstep(self) -> None:
        """Simulated time waits for this node no more."""
        if self._lockstep is not None:
            self._lockstep.close()

    def ready(self) -> None:
        """Simulated time need not wait for this node to start."""
        if self._lockstep is not None:
            self._lockstep.ready()

    def take_turns(self, name: str, order: int) -> Turn:
        """The right to act of a thread of this node's own. It must have joined."""
        assert self._lockstep is not None
        return self._lockstep.turn(name, order)

    @property
    def in_lockstep(self) -> bool:
        """Whether simulated time waits for this node."""
        return self._lockstep is not None

    def create_publisher(self, msg_type: Any, topic: str, qos_profile: Any, **given: Any) -> Any:
        if self._lockstep is None:
            return super().create_publisher(msg_type, topic, qos_profile, **given)
        if _counted(self.resolve_topic_name(topic), msg_type, qos_profile):
            qos_profile = lossless(qos_profile)
        publisher = super().create_publisher(msg_type, topic, qos_profile, **given)
        self._lockstep.watch_publisher(publisher, msg_type)
        return publisher

    def create_subscription(
        self, msg_type: Any, topic: str, callback: Any, qos_profile: Any, **given: Any
    ) -> Any:
        if self._lockstep is None:
            return super().create_subscription(msg_type, topic, callback, qos_profile, **given)
        name = self.resolve_topic_name(topic)
        callback, qos_profile = self._lockstep.counting(name, msg_type, callback, qos_profile)
        subscription = super().create_subscription(msg_type, topic, callback, qos_profile, **given)
        self._lockstep.watch_subscription(subscription, msg_type)
        return subscription

    def create_service(self, srv_type: Any, name: str, callback: Any, **given: Any) -> Any:
        if self._lockstep is not None:
            callback = self._lockstep.holding(callback)
        return super().create_service(srv_type, name, callback, **given)

    def destroy_publisher(self, publisher: Any) -> bool:
        if self._lockstep is not None:
            self._lockstep.forget(publisher)
        return bool(super().destroy_publisher(publisher))

    def destroy_subscription(self, subscription: Any) -> bool:
        if self._lockstep is not None:
            self._lockstep.forget(subscription)
        return bool(super().destroy_subscription(subscription))

    def create_timer(self, period_s: float, callback: Any, **given: Any) -> Any:
        if self._lockstep is None or "clock" in given:
            return super().create_timer(period_s, callback, **given)
        return self._lockstep.add_timer(period_s, callback)

    def destroy_timer(self, timer: Any) -> bool:
        if self._lockstep is None or not isinstance(timer, LockstepTimer):
            return bool(super().destroy_timer(timer))
        self._lockstep.remove_timer(timer)
        return True


def _fingerprint(message: Any, kind: type) -> int:
    """What tells a message, or its bytes, from others; 0 for a stranger's bytes that are none.

    By its words: bytes of one message may differ in what they are padded with.
    """
    if isinstance(message, bytes):
        try:
            message = deserialize_message(message, kind) if len(message) < _LONGEST else None
        except Exception:  # rclpy's own are of many kinds; who subscribes says what is wrong
            return 0
    return zlib.crc32(repr(message).encode())


def lossless(qos: Any) -> Any:
    """A QoS by which every message arrives, where an end that is slow is waited for.

    Of a latched topic the last is enough, and more would come to those who subscribe late.
    """
    if not isinstance(qos, QoSProfile) or _latched(qos) or qos.history is HistoryPolicy.KEEP_ALL:
        return qos
    return QoSProfile(depth=max(qos.depth, _LEAST_DEPTH))


def _latched(qos: Any) -> bool:
    """qos: a profile, or a depth."""
    return isinstance(qos, QoSProfile) and qos.durability is DurabilityPolicy.TRANSIENT_LOCAL


def _counted(topic: str, kind: type, qos: Any) -> bool:
    """Whether anything depends on when it arrives: on data, and on how things stand."""
    if topic in _IGNORED:
        return False
    return kind is Float64MultiArray or hasattr(kind, "header") or _latched(qos)
