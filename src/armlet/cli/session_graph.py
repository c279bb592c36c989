"""A recording graph as a person at the keyboard sees and directs it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from armlet.nodes.node import LATCHED_QOS, STATE_QOS

_LEVELS = {
    DiagnosticStatus.OK: "good",
    DiagnosticStatus.WARN: "attention",
    DiagnosticStatus.ERROR: "bad",
}


_TRIGGERS = (
    "recorder/start_recording",
    "recorder/stop_recording",
    "recorder/discard_episode",
    "recorder/rerecord_episode",
    "servo_bus/stop",
)
_PATIENCE_S = 2.0
_SWITCHES = ("servo_bus/set_torque", "teleop/set_engaged")


@dataclass(frozen=True)
class Line:
    """One status: what it is of, what it says, and how bad it is (good, attention, bad)."""

    subject: str
    said: str
    level: str


@dataclass(frozen=True)
class View:
    """What is known now.

    recorder: values of the recorder's status; empty until it has been heard.
    """

    arm: str = ""
    recorder: dict[str, str] = field(default_factory=dict)
    recorder_says: Line | None = None
    troubles: tuple[Line, ...] = ()
    answers: tuple[Line, ...] = ()

    @property
    def recording(self) -> bool:
        return self.recorder.get("recording") == "True"


class RecordGraph:
    """Listens to recorder, servo bus and diagnostics, and calls their services. Context manager."""

    def __init__(self, namespace: str = "") -> None:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        self._node = Node("session", namespace=namespace)
        self._lock = threading.Lock()
        self._view = View()
        self._statuses: dict[str, Line] = {}
        self._answers: list[Line] = []
        self._engaged = True
        self._listen()
        # Made once: a client that has just been made knows no service yet.
        self._clients = {
            service: self._node.create_client(kind, service)
            for kind, services in ((Trigger, _TRIGGERS), (SetBool, _SWITCHES))
            for service in services
        }
        self._actions: dict[str, Callable[[], None]] = {
            " ": self._start_or_stop,
            "d": lambda: self._call("recorder/discard_episode", Trigger.Request()),
            "r": lambda: self._call("recorder/rerecord_episode", Trigger.Request()),
            "t": lambda: self._call("servo_bus/set_torque", SetBool.Request(data=True)),
            "x": lambda: self._call("servo_bus/stop", Trigger.Request()),
            "e": self._engage,
        }
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._executor.spin, name="session", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._executor.shutdown()
        self._thread.join()
        self._node.destroy_node()
        rclpy.try_shutdown()

    def view(self) -> View:
        """What is known now."""
        with self._lock:
            troubles = tuple(line for line in self._statuses.values() if line.level != "good")
            view = self._view
            return View(
                view.arm, view.recorder, view.recorder_says, troubles, tuple(self._answers[-4:])
            )

    def press(self, key: str) -> None:
        """Does what a key stands for; its answer appears in the view."""
        self._actions[key]()

    def _listen(self) -> None:
        self._node.create_subscription(String, "servo_bus/status", self._on_arm, LATCHED_QOS)
        self._node.create_subscription(
            DiagnosticStatus, "recorder/status", self._on_recorder, LATCHED_QOS
        )
        self._node.create_subscription(
            DiagnosticArray, "/diagnostics", self._on_diagnostics, STATE_QOS
        )

    def _on_arm(self, message: String) -> None:
        with self._lock:
            self._view = View(message.data, self._view.recorder, self._view.recorder_says)

    def _on_recorder(self, message: DiagnosticStatus) -> None:
        values = {value.key: value.value for value in message.values}
        says = Line("recorder", message.message, _LEVELS.get(message.level, "bad"))
        with self._lock:
            self._view = View(self._view.arm, values, says)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        own = self._node.get_namespace().strip("/")
        with self._lock:
            for status in message.status:
                if status.name.startswith(own) and not status.name.endswith("recorder: dataset"):
                    level = _LEVELS.get(status.level, "bad")
                    self._statuses[status.name] = Line(status.name, status.message, level)

    def _start_or_stop(self) -> None:
        verb = "stop" if self.view().recording else "start"
        self._call(f"recorder/{verb}_recording", Trigger.Request())

    def _engage(self) -> None:
        self._engaged = not self._engaged
        self._call("teleop/set_engaged", SetBool.Request(data=self._engaged))

    def _call(self, service: str, request: Any) -> None:
        client = self._clients[service]
        if not client.wait_for_service(timeout_sec=_PATIENCE_S):
            self._answer(Line(service, "is not there; is that node running?", "bad"))
            return
        future = client.call_async(request)
        future.add_done_callback(lambda _: self._answer(_answered(service, future.result())))

    def _answer(self, line: Line) -> None:
        with self._lock:
            self._answers.append(line)


def _answered(service: str, response: Any) -> Line:
    return Line(service, response.message, "good" if response.success else "bad")
