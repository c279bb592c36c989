"""computer: says that this computer does not keep up with the graph, first, in one sentence.

Every other node repeats that sentence before its own, where what it reports may come of it.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node

from armlet.load import Rate, Watcher, nodes_beside
from armlet.settings.computer import SETTINGS

from .clock_exchange import this_computer
from .messages import diagnostic
from .node import LATCHED_QOS, STATE_QOS, ArmletNode, run
from .status_names import COMPUTER, split, status_name

STATUS = "computer/status"
"""Of all computers of a graph; a status's hardware_id says which it is of."""

LOOK_S = 1.0
# Of the node that says it: one that is silent for longer knows nothing of now.
SILENCE_S = 5.0


_QUIET = "this computer keeps up"


class Computer(ArmletNode):
    """Looks at the processes of the graph once a second; those that its own parent has started.

    watcher: makes the sentence. nodes: the processes to look at, by namespace and name. seconds: a
    steady clock.
    """

    def __init__(
        self,
        watcher: Watcher | None = None,
        nodes: Callable[[], Mapping[str, int]] = lambda: nodes_beside(os.getppid()),
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__("computer", SETTINGS)
        self._watcher, self._nodes = watcher or Watcher(), nodes
        self._rates: dict[str, Rate] = {}
        self._last: dict[str, Rate] = {}
        self._seconds, self._begun_s = seconds, seconds()
        self._computer = this_computer()
        self._status = self.create_publisher(DiagnosticStatus, STATUS, LATCHED_QOS)

    def start(self) -> None:
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_rates, STATE_QOS)
        self._looks = self.create_timer(LOOK_S, self.look)

    def stop(self) -> None:
        self.destroy_timer(self._looks)

    def look(self) -> None:
        """Look at the processes now, and publish what is so."""
        now_s = self._seconds()
        if now_s - self._begun_s >= self.value("grace_s"):
            said = self._watcher.look(now_s, self._nodes(), self._rates)
            if said and self._watcher.trouble:
                self.get_logger().warning(said)
            elif said:
                self.get_logger().info(said)
        self._status.publish(self._message())

    def _on_rates(self, message: DiagnosticArray) -> None:
        found: dict[str, Rate] = {}
        for label, rate in _rates(message):
            if label not in found or rate.share < found[label].share:
                found[label] = rate
        # In the second in which an arm is stopped, or armed, there is less to do than in others.
        for label, rate in found.items():
            self._rates[label] = max(rate, self._last.get(label, rate), key=lambda each: each.share)
        self._last |= found

    def _message(self) -> DiagnosticStatus:
        trouble = self._watcher.trouble
        level = DiagnosticStatus.WARN if trouble else DiagnosticStatus.OK
        name = status_name(self.label, COMPUTER)
        return diagnostic(name, level, trouble or _QUIET, {}, self._computer)

    def diagnostics(self) -> list[DiagnosticStatus]:
        return [self._message()]


def _rates(message: DiagnosticArray) -> Iterator[tuple[str, Rate]]:
    """Of each cycle that says how fast it should be; a lost bus is slow for another reason."""
    for status in message.status:
        values = {value.key: value.value for value in status.values}
        if status.level != DiagnosticStatus.ERROR and "wanted_hz" in values:
            try:
                rate = Rate(float(values.get("rate_hz", "nan")), float(values["wanted_hz"]))
            except ValueError:
                continue
            if math.isfinite(rate.is_hz) and math.isfinite(rate.wanted_hz) and rate.wanted_hz > 0:
                yield split(status.name)[0], rate


class ComputerCause:
    """Of a node that repeats what `Computer` says, before what may come of it.

    seconds: a steady clock.
    """

    def __init__(self, node: Node, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._said, self._heard_s = "", -math.inf
        # It is not there in simulated time, which goes at whatever pace the computer keeps.
        self._computer = this_computer()
        node.create_subscription(DiagnosticStatus, STATUS, self._hear, LATCHED_QOS)

    def _hear(self, message: DiagnosticStatus) -> None:
        if message.hardware_id not in ("", self._computer):
            return  # another computer of the graph, which has a watcher of its own
        self._said = "" if message.level == DiagnosticStatus.OK else message.message
        self._heard_s = self._seconds()

    def before(self, symptom: str) -> str:
        """The cause, if this computer does not keep up, then the symptom; nothing without one."""
        if not symptom or not self._said or self._seconds() - self._heard_s > SILENCE_S:
            return symptom
        return symptom if symptom.startswith(self._said) else f"{self._said}; so {symptom}"


def main() -> None:
    run(Computer)
