"""A node's time, and its threads' waiting for it: by the wall clock, /clock, or in lockstep."""

from __future__ import annotations

import threading
import time
from typing import Protocol

from rclpy.clock import ClockChange, JumpThreshold, ROSClock, TimeJump
from rclpy.duration import Duration
from rclpy.node import Node

from armlet.motors.protocol import unix_stamp
from armlet.sim.lockstep import Turn
from armlet.unix_clock import UnixClock

# How often a thread that waits looks whether it is to end.
_ENDING_S = 0.1
SET_BACK_NS = 20_000_000
"""A clock set back by less makes no difference."""
# Shorter waits are slept through: waiting for an Event costs a control cycle three times as much.
_SLEEP_S = 0.02


class RosClock:
    """The time of a node, which is simulated where its parameter use_sim_time says so.

    Attributes:
        simulated: whether time comes from /clock. Kept here, because to ask rclpy for it takes ten
            times as long as to read the wall clock, and every message and cycle asks.
        changed: notified whenever simulated time has been set.
    """

    def __init__(self, node: Node) -> None:
        clock = node.get_clock()
        assert isinstance(clock, ROSClock)
        self._clock = clock
        self.changed = threading.Condition()
        self._handle = clock.create_jump_callback(
            JumpThreshold(
                min_forward=Duration(nanoseconds=1),
                min_backward=Duration(nanoseconds=-1),
                on_clock_change=True,
            ),
            post_callback=self._on_jump,
        )
        self.simulated = self._clock.ros_time_is_active
        self._unix = UnixClock()
        self._offset_ns = self._unix.to_unix_ns(0)
        self._back_ns = 0

    def now_ns(self) -> int:
        return int(self._clock.now().nanoseconds) if self.simulated else time.time_ns()

    def steady_ns(self) -> int:
        return int(self._clock.now().nanoseconds) if self.simulated else time.monotonic_ns()

    def seconds(self) -> float:
        """`steady_ns` in seconds."""
        return self.steady_ns() * 1e-9

    def set_back_ns(self) -> int:
        """How far, all in all, the time of `now_ns` has been set back since the node began.

        Stamps from before are from the future then. For one thread.
        """
        if not self.simulated:
            before_ns, self._offset_ns = self._offset_ns, self._unix.to_unix_ns(0)
            self._back_ns += max(0, before_ns - self._offset_ns)
        return self._back_ns

    def stamp(self, monotonic_ns: int) -> int:
        """The stamp of a recent instant of time.monotonic_ns()."""
        return self.now_ns() if self.simulated else unix_stamp(monotonic_ns)

    def _on_jump(self, jump: TimeJump) -> None:
        self.simulated = self._clock.ros_time_is_active
        if jump.clock_change == ClockChange.ROS_TIME_NO_CHANGE:
            self._back_ns += max(0, -jump.delta.nanoseconds)
        with self.changed:
            self.changed.notify_all()


class Pacer(Protocol):
    """How one thread of a node waits for its time to act."""

    def wait_until(self, due_ns: int, ending: threading.Event) -> bool:
        """Wait for a time of `steady_ns`; False once `ending` is set.

        It ends, too, when time is set back, or was since the last wait.
        """

    def plan(self, due_ns: int) -> None:
        """What is being done ends at that time at the earliest: time may go on until then."""

    def busy(self) -> None:
        """What is done now takes no simulated time."""

    def signal(self) -> None:
        """Wake whoever is in `next`: something has come to work on."""

    def next(self, ending: threading.Event) -> bool:
        """Wait until something has come; False once `ending` is set."""

    def rest(self) -> None:
        """It waits for nothing."""


class ClockPacer:
    """Waits by the wall clock, or for /clock as it comes."""

    def __init__(self, clock: RosClock) -> None:
        self._clock = clock
        self._come = threading.Event()
        self._back_ns = clock.set_back_ns() if clock.simulated else 0

    def wait_until(self, due_ns: int, ending: threading.Event) -> bool:
        if not self._clock.simulated:
            wait_s = max(0.0, (due_ns - time.monotonic_ns()) * 1e-9)
            if wait_s > _SLEEP_S:
                return not ending.wait(wait_s)
            time.sleep(wait_s)
            return not ending.is_set()
        with self._clock.changed:
            # Set back since the last wait: due_ns may be of the time before, and far from now.
            while self._clock.steady_ns() < due_ns and self._clock.set_back_ns() == self._back_ns:
                if ending.is_set() or not self._clock.simulated:
                    break
                self._clock.changed.wait(_ENDING_S)
        if self._clock.simulated:
            self._back_ns = self._clock.set_back_ns()
        return not ending.is_set()

    def plan(self, due_ns: int) -> None:
        """Nobody waits for it."""

    def busy(self) -> None:
        """Nobody waits for it."""

    def signal(self) -> None:
        self._come.set()

    def next(self, ending: threading.Event) -> bool:
        while not self._come.wait(_ENDING_S):
            if ending.is_set():
                return False
        self._come.clear()
        return not ending.is_set()

    def rest(self) -> None:
        self._come.clear()


class TurnPacer:
    """Waits for turns in lockstep: simulated time does not pass what this waits for."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._planned_ns: int | None = None

    def wait_until(self, due_ns: int, ending: threading.Event) -> bool:
        if self._planned_ns != due_ns:
            self._turn.ask(due_ns)
        self._planned_ns = None
        return self._turn.wait(ending)

    def plan(self, due_ns: int) -> None:
        self._planned_ns = due_ns
        self._turn.ask(due_ns)

    def busy(self) -> None:
        self._turn.busy()

    def signal(self) -> None:
        self._turn.signal()

    def next(self, ending: threading.Event) -> bool:
        return self._turn.next(ending)

    def rest(self) -> None:
        self._planned_ns = None
        self._turn.rest()
