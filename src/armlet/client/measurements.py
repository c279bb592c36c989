"""What the demo saw on the topics, with the times it needs for its report."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from numpy.typing import NDArray
from sensor_msgs.msg import JointState

from armlet.control import Trajectory
from armlet.nodes.messages import positions
from armlet.robots import SO101_JOINTS

Rows = NDArray[np.float64]


@dataclass(frozen=True)
class Chunk:
    """A published action chunk: times (k,) in s since a start, radians (k, n)."""

    times_s: Rows
    rows: Rows


class Measurements:
    """Filled by the director's thread, read by the demo's."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._changes = 0
        self._joints: dict[str, list[tuple[int, Rows]]] = defaultdict(list)
        self._reach: list[tuple[int, float]] = []
        self._latencies: list[list[float]] = []
        self._target = (0.0, 0.0)
        self._error_m: float | None = None
        self._status: dict[str, DiagnosticStatus] = {}
        self._chunks: list[Trajectory] = []

    def joints(self, topic: str, stamp_ns: int, message: JointState) -> None:
        if not set(SO101_JOINTS) <= set(message.name):
            return  # a reading that some servos did not answer in time
        values = positions(message, SO101_JOINTS)
        with self._changed:
            self._joints[topic].append((stamp_ns, values))
            self._note()

    def error(self, error_m: float) -> None:
        """The distance of tip and target, m; `target` says of when."""
        with self._changed:
            self._error_m = error_m
            self._note()

    def target(self, stamp_ns: int, x: float, y: float) -> None:
        with self._changed:
            self._target = (x, y)
            if self._error_m is not None:
                self._reach.append((stamp_ns, self._error_m))
            self._note()

    def latency(self, values: list[float]) -> None:
        with self._changed:
            self._latencies.append(values)
            self._note()

    def chunk(self, chunk: Trajectory) -> None:
        with self._changed:
            self._chunks.append(chunk)
            self._note()

    def diagnostics(self, status: Iterable[DiagnosticStatus]) -> None:
        with self._changed:
            self._status.update({each.name: each for each in status})
            self._note()

    def forget_diagnostics(self) -> None:
        """From here on only what is said from here on."""
        with self._changed:
            self._status.clear()

    def wait_until(self, ready: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until something is so, looked at after every measurement; whether it came to be.

        ready is called without the lock: it may call services, for whose answers measurements
        must be taken meanwhile.
        """
        end_s = time.monotonic() + timeout_s
        while True:
            with self._changed:
                newer = partial(self._newer_than, self._changes)
            if ready():
                return True
            with self._changed:
                left_s = end_s - time.monotonic()
                if left_s <= 0 or not self._changed.wait_for(newer, left_s):
                    return False

    def _newer_than(self, seen: int) -> bool:
        return self._changes > seen

    def _note(self) -> None:
        self._changes += 1
        self._changed.notify_all()

    def count(self, topic: str) -> int:
        return len(self._joints[topic])

    def distance(self, goal: Rows) -> float:
        """Furthest joint of the latest joint_states from a pose, rad; infinite if none came."""
        with self._changed:
            rows = self._joints["joint_states"]
            return float(np.abs(rows[-1][1] - goal).max()) if rows else float("inf")

    def target_xy(self) -> tuple[float, float]:
        with self._changed:
            return self._target

    def joint_rows(self, topic: str, since_ns: int, until_ns: int) -> tuple[Rows, Rows]:
        """Times (k,) in s since since_ns and positions (k, n) of a topic."""
        with self._changed:
            rows = [row for row in self._joints[topic] if since_ns <= row[0] <= until_ns]
        times = np.array([(stamp - since_ns) * 1e-9 for stamp, _ in rows])
        return times, np.array([value for _, value in rows]).reshape(-1, len(SO101_JOINTS))

    def reach_rows(self, since_ns: int, until_ns: int) -> tuple[Rows, Rows]:
        """Times (k,) in s since since_ns and distances (k,) of tip and target, m."""
        with self._changed:
            rows = [row for row in self._reach if since_ns <= row[0] <= until_ns]
        return np.array([(t - since_ns) * 1e-9 for t, _ in rows]), np.array([e for _, e in rows])

    def chunks(self, since_ns: int, until_ns: int) -> list[Chunk]:
        """The action chunks whose observations fall in a span."""
        with self._changed:
            chunks = [c for c in self._chunks if since_ns <= c.stamp_ns <= until_ns]
        return [
            Chunk(chunk.times_s + (chunk.stamp_ns - since_ns) * 1e-9, chunk.positions)
            for chunk in chunks
        ]

    def rate_hz(self, topic: str) -> float:
        """Mean rate of a topic over the whole run, by its stamps."""
        with self._changed:
            stamps = [stamp for stamp, _ in self._joints[topic]]
        if len(stamps) < 2:
            return 0.0
        return (len(stamps) - 1) / ((stamps[-1] - stamps[0]) * 1e-9)

    def latencies(self) -> Rows:
        """(k, 2): observation to chunk, inference; s."""
        with self._changed:
            return np.array([values[:2] for values in self._latencies]).reshape(-1, 2)

    def messages(self) -> dict[str, str]:
        """The latest diagnostics' messages by status name."""
        with self._changed:
            return {name: status.message for name, status in self._status.items()}

    def latest(self, topic: str) -> Rows:
        """The latest positions (n,) on a topic, rad. IndexError if none came."""
        with self._changed:
            return self._joints[topic][-1][1]

    def stamps(self, topic: str) -> list[int]:
        """All stamps of a topic, ns."""
        with self._changed:
            return [stamp for stamp, _ in self._joints[topic]]

    def status(self) -> dict[str, dict[str, Any]]:
        """The latest diagnostics' values by status name."""
        with self._changed:
            return {
                name: {value.key: value.value for value in status.values}
                for name, status in self._status.items()
            }
