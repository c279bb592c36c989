"""What a running graph says of itself, in short, and its stop: for the screen of `armlet up`."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.context import Context
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import Trigger

from armlet.enclaves import init_arguments
from armlet.nodes.node import SPIN_S, STATE_QOS
from armlet.nodes.status_names import COMPUTER, split

from .spinning import Spinning

_STOP_TRY_S = 0.5
_NUMBERS = re.compile(r"[0-9.]+")
_WANTED = ("wanted_hz", "nominal_hz")


@dataclass(frozen=True)
class Rate:
    """How often something comes, and how often it should. Hz."""

    subject: str
    rate_hz: float
    wanted_hz: float


def measured(subject: str, values: Mapping[str, str]) -> Rate | None:
    """The rate in a status' values; None where it has none, or has not been measured yet."""
    rate_hz = float(values.get("rate_hz", "nan"))
    wanted_hz = float(next((values[key] for key in _WANTED if key in values), 0.0) or 0.0)
    if math.isnan(rate_hz) or not wanted_hz > 0:
        return None
    return Rate(subject, rate_hz, wanted_hz)


class LiveGraph:
    """Listens to /diagnostics and stops followers. Context manager.

    namespace: of the graph. followers: labels of the servo_bus nodes that may move an arm.
    stopping: set by whoever wants torque off, before this was made or later; it is tried at every
    follower until that has confirmed it.
    """

    def __init__(self, namespace: str, followers: Sequence[str], stopping: threading.Event) -> None:
        context = Context()
        rclpy.init(
            args=init_arguments(namespace),
            context=context,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        node = Node("armlet_up", context=context, use_global_arguments=False)
        self._own = f"{namespace.strip('/')}/" if namespace.strip("/") else ""
        self._followers, self._stopping = followers, stopping
        self._stops: dict[str, Any] = {
            label: node.create_client(Trigger, f"/{label}/stop") for label in followers
        }
        self._lock = threading.Lock()
        self._rates: dict[str, Rate] = {}
        self._arms: dict[str, str] = {}
        self._new: list[str] = []
        self._shown: set[tuple[str, str]] = set()
        self._stop_note = ""
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, STATE_QOS)
        self._spinning = Spinning(node, context)
        self._spinning.start(self._serve_stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._spinning.close()

    def parts(self) -> list[str]:
        """Who moves the arm, and the rates, worst first: each a part of one line."""
        with self._lock:
            if self._stop_note:
                return [self._stop_note]
            arms = [f"{name}: {said}" for name, said in sorted(self._arms.items())]
            rates = sorted(self._rates.values(), key=lambda each: each.rate_hz / each.wanted_hz)
        return [*arms, *(f"{r.subject} {r.rate_hz:.0f}/{r.wanted_hz:.0f} Hz" for r in rates)]

    def warnings(self) -> list[str]:
        """What is wrong and has not been given out before; numbers alone make nothing new."""
        with self._lock:
            new, self._new = self._new, []
        return new

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        with self._lock:
            for status in message.status:
                if status.name.startswith(self._own):
                    self._hear(status)

    def _hear(self, status: DiagnosticStatus) -> None:
        subject = status.name.removeprefix(self._own)
        values = {value.key: value.value for value in status.values}
        short = subject.removesuffix(": bus").replace(": ", " ")
        rate = measured(short, values)
        if rate is None:
            self._rates.pop(subject, None)
        else:
            self._rates[subject] = rate
        label = status.name.removesuffix(": bus")
        if label in self._followers and label != status.name:
            self._arms[subject.removesuffix(": bus")] = status.message
        if status.level != DiagnosticStatus.OK:
            # A busy computer is late with this today and with that a second later.
            busy = split(status.name)[1] == COMPUTER
            kind = subject, "" if busy else _NUMBERS.sub("", status.message)
            if kind not in self._shown:
                self._shown.add(kind)
                self._new.append(f"{subject}: {status.message}")

    def _serve_stop(self) -> None:
        tries, ending = 0, self._spinning.ending
        while not ending.is_set():
            if not self._stopping.wait(SPIN_S):
                continue
            left = list(self._stops)
            while left and not ending.is_set():
                tries += 1
                self._note(f"STOP is being sent ({tries}); cut the power if the arm still moves")
                clients = [self._stops[label] for label in left]
                answers = self._spinning.answers(clients, Trigger.Request(), _STOP_TRY_S)
                left = [
                    label
                    for label, answer in zip(left, answers, strict=True)
                    if answer is None or not answer.success
                ]
            if not left:
                self._stopping.clear()
                self._note("")
                with self._lock:
                    self._new.append(f"STOP: torque is off on {', '.join(self._stops)}")
                tries = 0

    def _note(self, text: str) -> None:
        with self._lock:
            self._stop_note = text
