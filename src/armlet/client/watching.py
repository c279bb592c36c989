"""A running graph for people who look at it: what it says of itself, and its cameras' pictures.

Listens to no more than somebody looks at. What it hears is best effort: no publisher waits for it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import GetParameters
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.parameter import parameter_value_to_python
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import CompressedImage, JointState
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import SetBool, Trigger

from armlet.nodes.messages import MessageError, parse_skew, to_ns
from armlet.nodes.node import LATCHED_QOS
from armlet.nodes.status_names import JOYSTICK, status_name
from armlet.robots.joints import in_namespace

from .driving import Ask, Driving, Measured, driving, followers, policy_node
from .driving_watch import DrivingWatch
from .hand_trials import HandTrials
from .recording import _ENGAGE, _LEVELS, RecordGraph
from .sight import Heard, Positions, Sight, Status, drivers, limits_of, sight, topic_of

_NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
_KEEP_UP_S = 0.1
_FIND_CAMERAS_S = 1.0
# Nobody has asked for so long: nobody looks any more.
LOOKED_S = 3.0
_SIGHT_S = 0.1
_RATED_OVER = 30
_PICTURES = "/image_raw/compressed"
_CLOCK = "/clock"
_SKEWS = ("observation/skew", "action/skew")
_JOINTS = ("joint_states", "applied_joint_commands")
_DESCRIPTION = "robot_description"
_POLICY, _HAND_BACK = "policy", "jog/hand_back"
SETTINGS_S = 5.0
_MOST_JOINT_BYTES = 64 << 10
_LARGEST_PICTURE = 16 << 20


@dataclass(frozen=True)
class Picture:
    """A camera's newest picture: JPEG as it was published.

    number: counts what was heard. age_s: since it was taken, when it was asked for. rate_hz: over
    the last pictures, None of fewer than two. skew_s: to the last frame; None without an aligner.
    """

    jpeg: bytes
    number: int
    age_s: float
    rate_hz: float | None
    skew_s: float | None


class Camera:
    """A viewer's hold on a camera: as long as it is open its pictures are listened to.

    heard: called in the graph's thread for each new one; it must not wait. Context manager.
    """

    def __init__(self, graph: WatchedGraph, name: str, heard: Callable[[], None]) -> None:
        self._graph, self.name, self.heard = graph, name, heard
        graph._open(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._graph._close(self)

    def picture(self) -> Picture | None:
        """The newest; None before the first."""
        return self._graph._picture(self.name)


class _Pictures:
    """Of one camera that is looked at."""

    def __init__(self) -> None:
        self.viewers: list[Camera] = []
        self.message: CompressedImage | None = None
        self.number = 0
        self.stamps_ns: deque[int] = deque(maxlen=_RATED_OVER)

    def rate_hz(self) -> float | None:
        if len(self.stamps_ns) < 2 or self.stamps_ns[-1] <= self.stamps_ns[0]:
            return None
        return (len(self.stamps_ns) - 1) / ((self.stamps_ns[-1] - self.stamps_ns[0]) * 1e-9)


class WatchedGraph(RecordGraph):
    """What `RecordGraph` is, and more to look at. Context manager; for several threads."""

    def __init__(self, namespace: str = "") -> None:
        self._all: dict[str, Status] = {}
        self._watch_lock = threading.Lock()
        self._looked_s = self._searched_s = self._made_s = float("-inf")
        self._made = Sight()
        self._names: tuple[str, ...] = ()
        self._open_cameras: dict[str, _Pictures] = {}
        self._heard: dict[str, Any] = {}
        self._limits: dict[str, dict[str, tuple[float, float]]] = {}
        self._skew_s: dict[str, float] = {}
        self._clock_ns = 0
        self._subscriptions: dict[str, Any] = {}
        self._driving = DrivingWatch(_measured, self._clock_s)
        self._driving_s = self._drove_s = float("-inf")
        self._drove = Driving()
        super().__init__(namespace, "console")
        self._moving |= {Ask.RUN: _POLICY, Ask.TAKE_OVER: "teleop"}
        self._actions |= {
            Ask.RUN: lambda: self._set_running(True),
            Ask.PAUSE: lambda: self._set_running(False),
            Ask.TAKE_OVER: self._take_over,
            Ask.GIVE_BACK: self._give_back,
        }
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._node.create_timer(_KEEP_UP_S, self._keep_up, clock=steady)

    # --- for who looks ----------------------------------------------------------------------

    def sight(self) -> Sight:
        """What the graph says of itself now. Who asks looks: it is listened to a little longer."""
        now_s = time.monotonic()
        with self._watch_lock:
            self._looked_s = now_s
            if now_s - self._made_s < _SIGHT_S:
                return self._made
            raw = dict(self._heard)
            heard = Heard(dict(self._all), {}, dict(self._limits), self._names)
        read = {topic: _positions(data) for topic, data in raw.items()}
        positions = {topic: each for topic, each in read.items() if each is not None}
        made = sight(Heard(heard.statuses, positions, heard.limits, heard.cameras))
        with self._watch_lock:
            self._made, self._made_s = made, now_s
        return made

    def driving(self) -> Driving:
        """What the policy says, and how the arm follows it. Who asks looks, as at `sight`."""
        seen = self.sight()
        now_s = time.monotonic()
        with self._watch_lock:
            self._driving_s = now_s
            if now_s - self._drove_s < _SIGHT_S:
                return self._drove
            statuses = dict(self._all)
        heard = self._driving.heard(followers(arm.node for arm in seen.arms))
        made = driving(seen, statuses, heard)
        with self._watch_lock:
            self._drove, self._drove_s = made, now_s
        return made

    def settings_of(self, node: str, names: Sequence[str]) -> dict[str, Any]:
        """Parameters of a node of the graph by name, those that it has; empty if it is silent.

        Waits for the answer: for a thread of whoever asks.
        """
        service = f"{node}/get_parameters"
        with self._lock:
            if service not in self._clients:
                self._add_clients("", ((GetParameters, service),))
        request = GetParameters.Request(names=list(names))
        response = self._spinning.answer(self._clients[service], request, SETTINGS_S)
        if response is None:
            return {}
        values = map(parameter_value_to_python, response.values)
        return {name: v for name, v in zip(names, values, strict=False) if v is not None}

    @property
    def namespace(self) -> str:
        """Of the graph, without slashes around it."""
        return str(self._node.get_namespace()).strip("/")

    def camera(self, name: str, heard: Callable[[], None]) -> Camera:
        """Look at a camera. KeyError unless it was found; who asks has them looked for."""
        if name not in self._names:
            with self._watch_lock:
                self._looked_s = time.monotonic()
            raise KeyError(name)
        return Camera(self, name, heard)

    def hand_trials(self) -> HandTrials:
        """Trials of the graph's policy that a person judges; it listens until that is closed."""
        return HandTrials(graph=self)

    @property
    def listening(self) -> frozenset[str]:
        """The topics that are listened to beside those of `RecordGraph`, relative to the graph."""
        with self._watch_lock:
            return frozenset(self._subscriptions)

    def _open(self, camera: Camera) -> None:
        with self._watch_lock:
            self._open_cameras.setdefault(camera.name, _Pictures()).viewers.append(camera)

    def _close(self, camera: Camera) -> None:
        with self._watch_lock:
            pictures = self._open_cameras[camera.name]
            pictures.viewers.remove(camera)
            if not pictures.viewers:
                del self._open_cameras[camera.name]

    def _picture(self, name: str) -> Picture | None:
        with self._watch_lock:
            pictures = self._open_cameras.get(name)
            if pictures is None:
                return None
            message, number, rate_hz = pictures.message, pictures.number, pictures.rate_hz()
            skew_s = self._skew_s.get(f"observation.images.{name}", self._skew_s.get(name))
            now_ns = self._clock_ns or time.time_ns()
        if message is None:
            return None
        age_s = (now_ns - to_ns(message.header.stamp)) * 1e-9
        return Picture(bytes(message.data), number, age_s, rate_hz, skew_s)

    # --- what a person asks of a policy, in the thread of keys ------------------------------

    def _set_running(self, running: bool) -> None:
        """The policy begins a new episode, or is paused and the arm holds."""
        self._switch(self._policy_service(), running)

    def _policy_service(self) -> str:
        with self._watch_lock:
            node = policy_node(self._all.values()) or _POLICY
        service = f"{node}/set_running"
        if service not in self._clients:
            self._add_clients("", ((SetBool, service),))
        return service

    def _take_over(self) -> None:
        """Each leader of this graph moves its follower, as with `e` of the session."""
        self._engage_all(True)

    def _give_back(self) -> None:
        """What leaders and joysticks have goes to whoever commands next."""
        sticks = [s for s in self._own_sides() if self._has_stick(s)]
        for side in sticks:
            self._trigger(in_namespace(side, _HAND_BACK))
        if not sticks or self.has_leader:
            self._engage_all(False)

    def _engage_all(self, wanted: bool) -> None:
        for side in self._own_sides():
            if self._switch(in_namespace(side, _ENGAGE), wanted):
                self._engaged[side] = wanted

    def _has_stick(self, side: str) -> bool:
        service = in_namespace(side, _HAND_BACK)
        if service not in self._clients:
            self._add_clients(side, ((Trigger, _HAND_BACK),))
        with self._watch_lock:
            return status_name(in_namespace(side, "jog"), JOYSTICK) in self._all

    # --- in the graph's thread --------------------------------------------------------------

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        super()._on_diagnostics(message)
        own = f"{self._node.get_namespace().strip('/')}/".lstrip("/")
        stamp_ns = to_ns(message.header.stamp)
        with self._watch_lock:
            for each in message.status:
                if each.name.startswith(own):
                    name = each.name.removeprefix(own)
                    values = {value.key: value.value for value in each.values}
                    level = _LEVELS.get(each.level, "bad")
                    self._all[name] = Status(name, level, each.message, values, stamp_ns)

    def _keep_up(self) -> None:
        """Listen to what is looked at, and to nothing else."""
        now_s = time.monotonic()
        with self._watch_lock:
            wanted = self._wanted(now_s - self._looked_s < LOOKED_S)
        for topic in self._subscriptions.keys() - wanted.keys():
            with self._watch_lock:
                subscription = self._subscriptions.pop(topic)
                self._heard.pop(topic, None)
                if topic == _CLOCK:
                    self._clock_ns = 0
            self._node.destroy_subscription(subscription)
        for topic in wanted.keys() - self._subscriptions.keys():
            kind, handler, qos, raw = wanted[topic]
            made = self._node.create_subscription(kind, topic, handler, qos, raw=raw)
            with self._watch_lock:
                self._subscriptions[topic] = made
        if wanted and now_s - self._searched_s > _FIND_CAMERAS_S:
            self._searched_s = now_s
            self._find_cameras()

    def _wanted(self, looked_at: bool) -> dict[str, tuple[Any, Callable[[Any], None], Any, bool]]:
        wanted: dict[str, tuple[Any, Callable[[Any], None], Any, bool]] = {
            f"{name}{_PICTURES}": (CompressedImage, self._hears_pictures(name), _NEWEST, False)
            for name in self._open_cameras
        }
        if looked_at or wanted:
            wanted[_CLOCK] = (ClockMessage, self._on_clock, _NEWEST, False)
            wanted |= dict.fromkeys(_SKEWS, (Float64MultiArray, self._on_skew, _NEWEST, False))
        if looked_at:
            arms = drivers(self._all.values())
            if time.monotonic() - self._driving_s < LOOKED_S:
                policy = policy_node(self._all.values())
                wanted |= self._driving.wanted(followers(arms), policy)
            else:
                self._driving.forget()
            for node in arms:
                for name in _JOINTS:
                    topic = topic_of(node, name)
                    hears = self._hears_joints(topic, node if name == _JOINTS[0] else "")
                    wanted[topic] = (JointState, hears, _NEWEST, True)
                topic = topic_of(node, _DESCRIPTION)
                wanted[topic] = (String, self._hears_description(topic), LATCHED_QOS, False)
        return wanted

    def _find_cameras(self) -> None:
        own = self._node.get_namespace().rstrip("/") + "/"
        found = []
        for topic, _ in self._node.get_topic_names_and_types():
            name = topic.removeprefix(own).removesuffix(_PICTURES)
            if topic.startswith(own) and topic.endswith(_PICTURES) and self._is_there(topic):
                found.append(name)
        with self._watch_lock:
            self._names = tuple(sorted(found))

    def _is_there(self, topic: str) -> bool:
        return self._node.count_publishers(topic) > 0

    def _hears_pictures(self, name: str) -> Callable[[CompressedImage], None]:
        def hear(message: CompressedImage) -> None:
            with self._watch_lock:
                pictures = self._open_cameras.get(name)
                if pictures is None or len(message.data) > _LARGEST_PICTURE:
                    return
                pictures.message = message
                pictures.number += 1
                pictures.stamps_ns.append(to_ns(message.header.stamp))
                viewers = list(pictures.viewers)
            for viewer in viewers:
                viewer.heard()

        return hear

    def _hears_joints(self, topic: str, arm: str) -> Callable[[bytes], None]:
        """arm: whose positions they are, which a plot of a policy shows; empty for goals."""

        def hear(message: bytes) -> None:
            # Parsed by who looks, a few times a second, and not as often as it comes.
            if len(message) <= _MOST_JOINT_BYTES:
                with self._watch_lock:
                    self._heard[topic] = message
                    plotted = time.monotonic() - self._driving_s < LOOKED_S
                if arm and plotted:
                    self._driving.hear_joints(arm, message)

        return hear

    def _hears_description(self, topic: str) -> Callable[[String], None]:
        def hear(message: String) -> None:
            limits = limits_of(message.data)
            with self._watch_lock:
                self._limits[topic] = limits

        return hear

    def _on_skew(self, message: Float64MultiArray) -> None:
        try:
            _, skews = parse_skew(message)
        except MessageError:
            return
        with self._watch_lock:
            self._skew_s |= skews

    def _clock_s(self) -> float:
        """The graph's time where it is simulated, else one that goes on."""
        return self._clock_ns * 1e-9 or time.monotonic()

    def _on_clock(self, message: ClockMessage) -> None:
        with self._watch_lock:
            self._clock_ns = to_ns(message.clock)


def _positions(data: bytes) -> Positions | None:
    message = _joint_state(data)
    return None if message is None else Positions(_by_joint(message), str(message.header.frame_id))


def _measured(data: bytes) -> Measured | None:
    message = _joint_state(data)
    return None if message is None else Measured(to_ns(message.header.stamp), _by_joint(message))


def _joint_state(data: bytes) -> JointState | None:
    try:
        return deserialize_message(data, JointState)
    except RuntimeError:  # bytes that are no such message; its driver's own trouble
        return None


def _by_joint(message: JointState) -> dict[str, float]:
    return dict(zip(message.name, map(float, message.position), strict=False))
