"""A recording graph as a person at the keyboard sees and directs it."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import TracebackType
from typing import Any, Self

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.srv import GetParameters, SetParametersAtomically
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from armlet.enclaves import init_arguments
from armlet.nodes.messages import to_ns
from armlet.nodes.node import LATCHED_QOS, SENSOR_QOS, STATE_QOS
from armlet.nodes.status_names import COMPUTER, DATASET, LEADER, split, status_name
from armlet.robots.joints import in_namespace
from armlet.settings.servo_bus import GRAPH

from .series import End, Series, SeriesView, Step, Wish
from .spinning import Spinning

_LEVELS = {
    DiagnosticStatus.OK: "good",
    DiagnosticStatus.WARN: "attention",
    DiagnosticStatus.ERROR: "bad",
}

_DEMONSTRATE = "sim_bench/demonstrate"
_TRIGGERS = (
    "recorder/start_recording",
    "recorder/stop_recording",
    "recorder/discard_episode",
    "recorder/rerecord_episode",
    _DEMONSTRATE,
    "sim_bench/reset",
)
_STOP, _SET_TORQUE, _ENGAGE = "servo_bus/stop", "servo_bus/set_torque", "teleop/set_engaged"
_LABEL, _PARAMETERS = "recorder/label_episode", "servo_bus/get_parameters"
_SET_RECORDER = "recorder/set_parameters_atomically"
# Of each side's arm, in the namespace of the side.
_OF_ARM = (
    (Trigger, _STOP),
    (SetBool, _SET_TORQUE),
    (SetBool, _ENGAGE),
    (GetParameters, _PARAMETERS),
)
# By the node of a service, why nobody answers.
_ABSENT = {
    "recorder": "no recorder runs here; `armlet up record`, or a graph with root:=FOLDER, has one",
    "servo_bus": "no arm's driver runs here; start a graph in another terminal (armlet up teleop)",
    "teleop": "no leader runs here; `armlet up teleop`, or a graph with teleop:=true, has one",
    "policy": "no policy runs here; `armlet up policy checkpoint:=...` has one",
    "jog": "no joystick's node runs here; `armlet up jog` has one",
    "sim_bench": "no emulated bench runs here; this key is for its leader and its target",
}
_OF_GRAPH = (
    *((Trigger, service) for service in _TRIGGERS),
    (SetBool, _LABEL),
    (SetParametersAtomically, _SET_RECORDER),
)
# What programs press that know what they mean: the space is the one or the other.
START, STOP = "start", "stop"
_NEXT, _WISH = "next of a series", "wish"
# By which a leader comes to move its follower, once that has torque.
_LEADS = ("e", "m")

# By the wall clock. The recorder says it lives five times a second, the bus a hundred times.
SILENCE_S = 0.9
# Of the graph's own time: every node reports once a second.
DIAGNOSTICS_SILENCE_S = 3.5
_TIMEOUT_S = 5.0
_ANSWER_S = 60.0
_STOP_TRY_S = 0.5
_LOOK_S = 0.05
_FOUND_S = 0.25
_SIDES_S = 0.2
_MEANT_TO_STOP_S = 1.0


@dataclass(frozen=True)
class Line:
    """One status: what it is of, what it says, and how bad it is (good, attention, bad)."""

    subject: str
    said: str
    level: str


def _is_computer(line: Line) -> bool:
    """Whether it says that the computer keeps up; it is shown before others."""
    return split(line.subject)[1] == COMPUTER


@dataclass(frozen=True)
class View:
    """What is known now.

    recorder: values of the recorder's status; empty until it has been heard. recorder_silent_s,
    arm_silent_s: how long nothing has been heard of them, 0 while they are alive. stopping: what
    has become of the stop key, until the arm has confirmed it. computer: whether the computer keeps
    up, where something watches that. leader: what teleop says, where it runs. alarms: how often a
    sound was due.
    """

    arm: str = ""
    arm_silent_s: float = 0.0
    recorder: dict[str, str] = field(default_factory=dict)
    recorder_silent_s: float = 0.0
    recorder_says: Line | None = None
    computer: Line | None = None
    leader: Line | None = None
    stopping: str = ""
    troubles: tuple[Line, ...] = ()
    answers: tuple[Line, ...] = ()
    alarms: int = 0

    @property
    def was_recording(self) -> bool:
        """Whether the last that was heard is that it records."""
        return self.recorder.get("recording") == "True"

    @property
    def recording(self) -> bool:
        return self.was_recording and not self.recorder_silent_s

    @property
    def failed(self) -> bool:
        """Whether the last recording ended by itself, and nobody has taken note of that."""
        return self.recorder.get("state") == "failed"


class Ends:
    """Whether a recording has ended by itself (episode_s) just now: a key so soon was to end it.

    Times are seconds of one clock that goes on.
    """

    def __init__(self) -> None:
        self._state = ""
        self._ended_s = self._asked_s = -math.inf

    def asking(self) -> None:
        """Something is being asked of the recorder: what it says is the answer."""
        self._asked_s = math.inf

    def asked(self, now_s: float) -> None:
        """It has answered; its state may come a little later."""
        self._asked_s = now_s

    def heard(self, state: str, now_s: float) -> None:
        """What the recorder is doing."""
        over = self._state == "recording" and state == "idle"
        if over and now_s - self._asked_s > _MEANT_TO_STOP_S:
            self._ended_s = now_s
        self._state = state

    def just_ended(self, now_s: float) -> bool:
        """Whether a key that is to begin a recording was more likely to end the last one."""
        return now_s - self._ended_s < _MEANT_TO_STOP_S


class RecordGraph:
    """Listens to recorder, servo bus and diagnostics, and calls their services. Context manager.

    Keys are worked off one after the other in a thread; the stop key in one of its own. A graph of
    several followers has each in the namespace of its side. The stop is asked of every driver that
    may be a side's; torque and leaders only where the driver's parameter `graph` names this graph.

    name: of its node.
    """

    def __init__(self, namespace: str = "", name: str = "session") -> None:
        rclpy.init(args=init_arguments(namespace), signal_handler_options=SignalHandlerOptions.NO)
        self._node = Node(name, namespace=namespace)
        self._lock = threading.Lock()
        self._view = View()
        self._statuses: dict[str, tuple[Line, int]] = {}
        self._newest_ns = 0
        self._recorder_s = 0.0
        self._begun_s = time.monotonic()
        self._silence_rung = False
        self._ends = Ends()
        # By side; "" is the only arm's.
        self._arm_s: dict[str, float] = {}
        self._arm_says: dict[str, str] = {}
        self._engaged: dict[str, bool] = {}
        self._found: frozenset[str] = frozenset()
        # Subscriptions that nobody needs any more; they end in the graph's thread.
        self._unwanted: queue.SimpleQueue[Any] = queue.SimpleQueue()
        # Made once, and first: a client that has just been made knows no service yet.
        self._clients: dict[str, Any] = {}
        self._add_clients("", (*_OF_GRAPH, *_OF_ARM))
        self._listen()
        self._listen_to_arm("")
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._node.create_timer(_SIDES_S, self._find_sides, clock=steady)
        self._series = Series()
        self._wishes: queue.SimpleQueue[Wish] = queue.SimpleQueue()
        # By key, of those after which the arm moves, the node that is asked.
        self._moving = dict.fromkeys(_LEADS, "teleop")
        self._actions: dict[str, Callable[[], object]] = {
            " ": self._start_or_stop,
            START: lambda: self._record(True),
            STOP: lambda: self._record(False),
            _NEXT: self._begin_next,
            _WISH: self._set_recorder,
            "d": lambda: self._trigger("recorder/discard_episode"),
            "r": lambda: self._trigger("recorder/rerecord_episode"),
            "s": lambda: self._switch(_LABEL, True),
            "f": lambda: self._switch(_LABEL, False),
            "t": self._hold,
            "e": self._engage,
            "m": self._demonstrate,
            "n": self._reset,
        }
        # With how often the stop key had been pressed until then.
        self._pressed: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()
        self._stops = self._stops_before = 0
        self._stop_wanted = threading.Event()
        # Whether the stop key came after any wish for torque: it is of arms yet to be found, too.
        self._stopped = False
        self._spinning = Spinning(self._node)
        self._ending = self._spinning.ending
        self._spinning.start(self._serve_keys, self._serve_stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        self._stop_wanted.set()
        self._pressed.put(("", 0))
        self._spinning.close()

    def view(self) -> View:
        """What is known now."""
        now_s = time.monotonic()
        with self._lock:
            view = replace(
                self._view,
                recorder_silent_s=_silent_s(self._recorder_s, now_s),
                arm=self._arms_say(),
                arm_silent_s=max(_silent_s(self._arm_s.get(s, 0.0), now_s) for s in self._sides),
                computer=self._of_part(COMPUTER),
                leader=self._of_part(LEADER),
                troubles=tuple(self._troubles()),
                answers=self._view.answers[-4:],
            )
            # A recorder that dies while it records: once.
            if view.recorder_silent_s and view.was_recording and not self._silence_rung:
                self._silence_rung = True
                self._view = replace(self._view, alarms=self._view.alarms + 1)
            return replace(view, alarms=self._view.alarms)

    @property
    def _sides(self) -> tuple[str, ...]:
        """Of every driver that has been found; before, of the graph's own namespace."""
        return tuple(sorted(self._found)) or ("",)

    def _arms_say(self) -> str:
        said = [(side, self._arm_says.get(side, "")) for side in self._sides]
        return "; ".join(f"{side}: {text}" if side else text for side, text in said if text)

    def _of_part(self, part: str) -> Line | None:
        lines = (line for line, _ in self._statuses.values())
        return next((line for line in lines if split(line.subject)[1] == part), None)

    def _troubles(self) -> list[Line]:
        lines = []
        for line, stamp_ns in self._statuses.values():
            silent_s = (self._newest_ns - stamp_ns) * 1e-9
            if silent_s > DIAGNOSTICS_SILENCE_S:
                said = f"silent for {silent_s:.0f} s; last message: {line.said}"
                lines.append(Line(line.subject, said, "bad"))
            elif line.level != "good" and not _is_computer(line):
                lines.append(line)
        return lines

    @property
    def has_bench(self) -> bool:
        """Whether the graph's arms are emulated, and a key may place a new target."""
        return bool(self._clients[_DEMONSTRATE].service_is_ready())

    @property
    def has_leader(self) -> bool:
        """Whether a leader moves a follower here: on a bench it may be emulated."""
        services = (in_namespace(side, _ENGAGE) for side in self._sides)
        return any(self._clients[service].service_is_ready() for service in services)

    def press(self, key: str, stops: int | None = None) -> None:
        """Does what a key stands for; its answer appears in the view.

        Torque that was asked for before a stop, and still waits for its turn, does not come on.
        stops: how many the person knew of, where the key may have been long on its way.
        """
        if key == "x":
            self._series.end(End.STOPPED)
            with self._lock:
                self._stops += 1
                self._stopped = True
                self._want_stop(1)
        else:
            with self._lock:
                known = self._stops if stops is None else stops
                self._stopped = self._stopped and (key != "t" or known != self._stops)
            self._pressed.put((key, known))

    def wish(self, wish: Wish) -> None:
        """Have the recorder's parameters changed; its answer appears in the view."""
        self._wishes.put(wish)
        self.press(_WISH)

    def series(self) -> SeriesView:
        """The series of recordings of this program, as it stands."""
        return self._series.view(time.monotonic())

    def run_series(self, reset_s: float) -> None:
        """Begin each next recording by itself, reset_s after the last. Raises ValueError."""
        self._series.begin(reset_s, time.monotonic())

    def end_series(self) -> None:
        """Begin none by itself any more; one that is going on goes on."""
        self._series.end(End.ASKED)

    def listen(
        self, kind: type, topic: str, handler: Callable[[Any], None], qos: QoSProfile
    ) -> Callable[[], None]:
        """Have messages of another topic handled, in the graph's thread, until it is left.

        What is returned ends it sooner.
        """
        made = self._node.create_subscription(kind, topic, handler, qos)
        return lambda: self._unwanted.put(made)

    @property
    def stops(self) -> int:
        """How often the stop key has been pressed here."""
        return self._stops

    def parameter(self, node: str, name: str) -> str:
        """A text parameter of a node beside the graph's; empty if it does not say."""
        service = f"{node}/get_parameters"
        with self._lock:
            if service not in self._clients:
                self._add_clients("", ((GetParameters, service),))
        request = GetParameters.Request(names=[name])
        response = self._spinning.answer(self._clients[service], request, _TIMEOUT_S)
        values = [] if response is None else response.values
        return next((str(value.string_value) for value in values), "")

    def switch(self, service: str, value: bool) -> str:
        """Call a SetBool service; why it did not succeed, empty if it did."""
        with self._lock:
            if service not in self._clients:
                self._add_clients("", ((SetBool, service),))
        client, request = self._clients[service], SetBool.Request(data=value)
        response = self._spinning.answer(client, request, _TIMEOUT_S)
        if response is None:
            return f"{service} does not answer; is that node running?"
        return "" if response.success else str(response.message)

    # --- what is heard ----------------------------------------------------------------------

    def _listen(self) -> None:
        listen = self._node.create_subscription
        listen(DiagnosticStatus, "recorder/status", self._on_recorder, LATCHED_QOS)
        listen(DiagnosticArray, "/diagnostics", self._on_diagnostics, STATE_QOS)

    def _listen_to_arm(self, side: str) -> None:
        def on_arm(message: String) -> None:
            with self._lock:
                self._arm_says[side] = message.data
                # A bus that has never answered says so, and publishes no joints.
                self._arm_s.setdefault(side, time.monotonic())

        def on_joints(message: object) -> None:
            with self._lock:
                self._arm_s[side] = time.monotonic()

        listen = self._node.create_subscription
        listen(String, in_namespace(side, "servo_bus/status"), on_arm, LATCHED_QOS)
        listen(JointState, in_namespace(side, "joint_states"), on_joints, SENSOR_QOS, raw=True)

    def _add_clients(self, side: str, services: Iterable[tuple[Any, str]]) -> None:
        for kind, service in services:
            name = in_namespace(side, service)
            self._clients[name] = self._node.create_client(kind, name)

    def _find_sides(self) -> None:
        """Takes note of followers, of which each may be in the namespace of its side.

        None is forgotten: the stop is of all that were ever found.
        """
        while not self._unwanted.empty():
            self._node.destroy_subscription(self._unwanted.get())
        nodes = self._node.get_node_names_and_namespaces()
        new = set(sides(nodes, self._node.get_namespace())) - self._found
        for side in sorted(new - {""}):
            self._add_clients(side, _OF_ARM)
            self._listen_to_arm(side)
        if new:
            with self._lock:
                self._found |= new
                if self._stopped:
                    self._want_stop(1)

    def _on_recorder(self, message: DiagnosticStatus) -> None:
        values = {value.key: value.value for value in message.values}
        says = Line("recorder", message.message, _LEVELS.get(message.level, "bad"))
        with self._lock:
            before = self._view.recorder.get("failures", values.get("failures"))
            rings = values.get("failures") != before
            self._ends.heard(values.get("state", ""), time.monotonic())
            self._view = replace(
                self._view,
                recorder=values,
                recorder_says=says,
                alarms=self._view.alarms + rings,
            )
            self._recorder_s, self._silence_rung = time.monotonic(), False
        if self._series.heard(values.get("state", ""), _is_full(values), time.monotonic()):
            self.press(_NEXT)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        own = f"{self._node.get_namespace().strip('/')}/".lstrip("/")
        dataset = status_name(f"{own}recorder", DATASET)
        stamp_ns = to_ns(message.header.stamp)
        with self._lock:
            for status in message.status:
                if status.name in (leaders := self._leaders(own)):
                    values = [(v.key, v.value) for v in status.values]
                    self._engaged[leaders[status.name]] = ("engaged", "True") in values
                if status.name.startswith(own) and status.name != dataset:
                    level = _LEVELS.get(status.level, "bad")
                    line = Line(status.name, status.message, level)
                    self._statuses[status.name] = line, stamp_ns
                    self._newest_ns = max(self._newest_ns, stamp_ns)

    def _leaders(self, own: str) -> dict[str, str]:
        """The sides by the names of their leaders' statuses."""
        labels = {side: in_namespace(side, "teleop") for side in self._sides}
        return {status_name(f"{own}{label}", LEADER): side for side, label in labels.items()}

    # --- what is asked for ------------------------------------------------------------------

    def _serve_keys(self) -> None:
        while not self._ending.is_set():
            key, self._stops_before = self._pressed.get()
            if key in self._moving and self._stops != self._stops_before:
                said = "not done: the stop key came after it"
                self._answer(Line(self._moving[key], said, "bad"))
            elif key in self._actions:
                self._actions[key]()

    def _serve_stop(self) -> None:
        """The stop is tried at once, and again until the arm has confirmed it."""
        tries = 0
        while self._stop_wanted.wait() and not self._ending.is_set():
            tries += 1
            with self._lock:
                stops, asked = self._stops, self._sides
                self._want_stop(tries)
            names = [in_namespace(side, _STOP) for side in asked]
            clients = [self._clients[name] for name in names]
            responses = self._spinning.answers(clients, Trigger.Request(), _STOP_TRY_S)
            if all(response is not None and response.success for response in responses):
                tries = 0
                for name, response in zip(names, responses, strict=True):
                    self._answer(Line(name, response.message, "good"))
                with self._lock:
                    # One that came since may be about torque that did; so may a side.
                    if stops == self._stops and asked == self._sides:
                        self._stop_wanted.clear()
                        self._view = replace(self._view, stopping="")

    def _want_stop(self, tries: int) -> None:
        """Said at once, so that nobody who looks takes a stop that waits for one confirmed.

        With the lock.
        """
        said = f"STOP is being sent ({tries}); cut the power if the arm still moves"
        self._view = replace(self._view, stopping=said)
        self._stop_wanted.set()

    def _start_or_stop(self) -> None:
        if not self._wait(lambda: bool(self._view.recorder), self._wait_s):
            self._answer(Line("recorder", _ABSENT["recorder"], "bad"))
            return
        # A recording that has failed meanwhile: the key was to stop it, and must not start another.
        start = self.view().recorder.get("state") == "idle"
        if start and self._ends.just_ended(time.monotonic()):
            said = "ended by itself just before the key, which did nothing; press it to record"
            self._answer(Line("recorder", f"the recording {said}", "attention"))
            return
        self._record(start)

    def _record(self, start: bool) -> bool:
        """Whether the recorder has done so."""
        done = self._trigger(f"recorder/{'start' if start else 'stop'}_recording")
        if done:
            with self._lock:  # until the recorder says so itself
                known = {"state": "recording" if start else "idle", "recording": str(start)}
                self._view = replace(self._view, recorder={**self._view.recorder, **known})
        return done

    def _begin_next(self) -> None:
        """The next of a series, unless that has ended meanwhile."""
        if self._series.view(time.monotonic()).step is not Step.STARTING:
            return
        begun = self._record(True)
        with self._lock:
            said = self._view.answers[-1].said
        self._series.answered(begun, said, time.monotonic())

    def _set_recorder(self) -> None:
        wished = self._wishes.get().parameters()
        given = [Parameter(name, value=value).to_parameter_msg() for name, value in wished.items()]
        client = self._clients[_SET_RECORDER]
        if not client.wait_for_service(timeout_sec=self._wait_s):
            self._answer(Line("recorder", _ABSENT["recorder"], "bad"))
            return
        request = SetParametersAtomically.Request(parameters=given)
        silent = partial(self._is_silent, _SET_RECORDER, time.monotonic())
        response = self._spinning.answer(client, request, _ANSWER_S, silent)
        if response is None:
            said, level = "has not answered and is silent; is that node running?", "bad"
        elif response.result.successful:
            said, level = ", ".join(f"{name} is {value}" for name, value in wished.items()), "good"
        else:
            said, level = response.result.reason, "bad"
        self._answer(Line("recorder", said, level))

    def _hold(self) -> None:
        for side in self._own_sides():
            self._switch(in_namespace(side, _SET_TORQUE), True)

    def _engage(self) -> None:
        """Of several leaders all, or where one is engaged none."""
        own = self._own_sides()
        wanted = not any(self._engaged.get(side, True) for side in own)
        for side in own:
            if self._switch(in_namespace(side, _ENGAGE), wanted):
                self._engaged[side] = wanted

    def _own_sides(self) -> list[str]:
        """Of the arms that belong to this graph; of which graph others are is answered.

        A key may be pressed before any of them has been found.
        """
        own: list[str] = []
        looked: frozenset[str] = frozenset()
        while not own and (new := self._other_arms(looked)):
            own = [side for side in sorted(new) if self._is_own(side)]
            looked |= new
        return own if looked else [""]

    def _other_arms(self, known: frozenset[str]) -> frozenset[str]:
        """Those found beyond the known, as soon as there are any; none after a while."""
        self._wait(lambda: self._found != known, self._wait_s)
        return self._found - known

    def _is_own(self, side: str) -> bool:
        """Whether a driver's parameter `graph` names this graph."""
        if not side:
            return True
        client = self._clients[in_namespace(side, _PARAMETERS)]
        request = GetParameters.Request(names=[GRAPH])
        response = self._spinning.answer(client, request, _TIMEOUT_S)
        place = self._node.get_namespace().rstrip("/")
        own = f"{place}/{side}"
        if response is None:
            of = "has not said of which graph it is"
        else:
            stated = (
                value.string_value.rstrip("/") or value.string_value for value in response.values
            )
            graph = next(stated, "") or own
            if graph == (place or "/"):
                return True
            of = f"is of graph {graph}"
        said = f"{of}, and left as it is; use armlet session --namespace {own.lstrip('/')}"
        self._answer(Line(in_namespace(side, "servo_bus"), said, "attention"))
        return False

    def _demonstrate(self) -> None:
        """The emulated bench moves its leader; real leaders have people for that."""
        if not self.has_leader and self.has_bench:
            self._answer(Line("teleop", _ABSENT["teleop"], "bad"))
        elif moves_s := self._ask_bench(_DEMONSTRATE):
            self._answer(Line("sim_bench", f"the leader moves for {float(moves_s):.1f} s", "good"))

    def _reset(self) -> None:
        if moves_s := self._ask_bench("sim_bench/reset"):
            goes = f"; the leader goes home for {float(moves_s):.1f} s" if self.has_leader else ""
            self._answer(Line("sim_bench", f"there is a new target{goes}", "good"))

    def _ask_bench(self, service: str) -> str:
        """The bench's answer, seconds; empty if there is none, which is shown."""
        said = _ABSENT["sim_bench"]
        if self.has_bench:
            said = "has not answered; is it running?"
            response = self._spinning.answer(self._clients[service], Trigger.Request(), _ANSWER_S)
            if response is not None and response.success:
                return str(response.message)
            if response is not None:
                said = response.message
        self._answer(Line("sim_bench", said, "bad"))
        return ""

    def _trigger(self, service: str) -> bool:
        return self._call(service, Trigger.Request())

    def _switch(self, service: str, value: bool) -> bool:
        return self._call(service, SetBool.Request(data=value))

    def _call(self, service: str, request: Any) -> bool:
        """Call a service and show its answer; whether it succeeded."""
        client = self._clients[service]
        if not client.wait_for_service(timeout_sec=self._wait_s):
            node = service.split("/")[-2]
            said = _ABSENT.get(node, f"{node} does not run here")
            self._answer(Line(service.rpartition("/")[0], said, "bad"))
            return False
        if service.endswith(_SET_TORQUE) and self._stops != self._stops_before:
            self._answer(Line(service, "torque stays off: the stop key came after it", "bad"))
            return False
        silent = partial(self._is_silent, service, time.monotonic())
        self._ends.asking()
        response = self._spinning.answer(client, request, _ANSWER_S, silent)
        self._ends.asked(time.monotonic())
        if response is None:
            said = "has not answered and is silent; is that node running?"
            self._answer(Line(service, said, "bad"))
            return False
        self._answer(Line(service, response.message, "good" if response.success else "bad"))
        return bool(response.success)

    def _is_silent(self, service: str, asked_s: float) -> bool:
        """asked_s: from when on a node counts that is known by its answers alone."""
        buses = {in_namespace(side, _SET_TORQUE): side for side in self._sides}
        if service in buses:
            heard_s = self._arm_s.get(buses[service], 0.0)
        else:
            heard_s = self._recorder_s if service.startswith("recorder/") else asked_s
        return time.monotonic() - heard_s > _TIMEOUT_S

    @property
    def _wait_s(self) -> float:
        """How long a node that has not been found is waited for: a while after the beginning."""
        return max(_FOUND_S, self._begun_s + _TIMEOUT_S - time.monotonic())

    def _wait(self, ready: Callable[[], bool], timeout_s: float) -> bool:
        end_s = time.monotonic() + timeout_s
        while not ready():
            if time.monotonic() > end_s or self._ending.wait(_LOOK_S):
                return False
        return True

    def _answer(self, line: Line) -> None:
        with self._lock:
            self._view = replace(self._view, answers=(*self._view.answers, line)[-8:])


def sides(nodes: Collection[tuple[str, str]], namespace: str) -> list[str]:
    """Where a graph's followers may be, by the names and namespaces of all nodes.

    "" for the graph's own namespace if that has a driver. Otherwise the names of the sides: of
    namespaces below it that have a driver and no recorder; with one it is a graph of its own.
    namespace: begins with a slash.
    """
    own = namespace.rstrip("/")
    with_driver = {place for name, place in nodes if name == "servo_bus"}
    with_recorder = {place for name, place in nodes if name == "recorder"}
    if (own or "/") in with_driver:
        return [""]
    below = {
        place.removeprefix(f"{own}/")
        for place in with_driver - with_recorder
        if place.startswith(f"{own}/")
    }
    return sorted(side for side in below if "/" not in side and side != "leader")


def _is_full(recorder: Mapping[str, str]) -> bool:
    """Whether a recorder says that its dataset has as many episodes as are wanted."""
    counts = [recorder.get(name, "") for name in ("episodes_whole", "episodes_wanted")]
    if not all(count.isascii() and count.isdigit() and len(count) < 10 for count in counts):
        return False
    whole, wanted = map(int, counts)
    return 0 < wanted <= whole


def _silent_s(heard_s: float, now_s: float) -> float:
    """How long nothing has been heard, 0 while that is not long, or if nothing ever was."""
    silent_s = now_s - heard_s
    return silent_s if heard_s and silent_s > SILENCE_S else 0.0
