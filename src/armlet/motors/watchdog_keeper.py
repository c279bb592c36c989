"""Keeps a driver's torque watchdog running: it is watched, and started again when it dies."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Sequence

from armlet.motors.torque_watchdog import FEETECH, WatchdogProcess

_AGAIN_S = 1.0


class TorqueWatchdog:
    """A `WatchdogProcess`, replaced when either of its processes ends. Safe to use from threads.

    Args:
        port: serial device of the bus.
        baudrate: bits per second.
        ids: the servos.
        report: called with what happened, in words, from a thread of this object's own.
        origin: of their family, see `MotorFamily`.

    Attributes:
        restarts: how often it was started again.

    Raises:
        RuntimeError: it did not start.
    """

    def __init__(
        self,
        port: str,
        baudrate: int,
        ids: Sequence[int],
        report: Callable[[str], None] = lambda text: None,
        origin: str = FEETECH,
    ) -> None:
        self.restarts = 0
        self._port, self._baudrate, self._ids = port, baudrate, tuple(ids)
        self._report, self._origin = report, origin
        self._armed = True
        self._lock = threading.RLock()
        self._running = threading.Condition(self._lock)
        self._ending = threading.Event()
        self._wake, self._waker = os.pipe()
        self._watchdog = WatchdogProcess(port, baudrate, ids, origin)
        self._thread = threading.Thread(target=self._keep, name="torque watchdog", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        """The process id of the first of its processes."""
        return self._watchdog.pid

    @property
    def alive(self) -> bool:
        """Whether all of it watches."""
        return self._watchdog.alive

    def wait_until_alive(self, timeout_s: float) -> bool:
        """Wait for a restart in progress; whether all of it watches."""
        with self._running:
            return self._running.wait_for(lambda: self.alive, timeout_s)

    def armed(self) -> None:
        """Torque is on or may be from now on."""
        with self._lock:
            self._armed = True
            self._watchdog.armed()

    def released(self) -> None:
        """Torque is proven off."""
        with self._lock:
            self._armed = False
            self._watchdog.released()

    def lives(self) -> None:
        """As `WatchdogProcess.lives`."""
        with self._lock:
            self._watchdog.lives()

    def moved(self, port: str) -> None:
        """The arm is on another port from now on."""
        with self._lock:
            self._port = port
            self._watchdog.moved(port)

    def close(self) -> None:
        """As `WatchdogProcess.close`."""
        if not self._ending.is_set():
            self._ending.set()
            os.write(self._waker, b"x")
            self._thread.join()
            os.close(self._wake)
            os.close(self._waker)
            self._watchdog.close()

    def _keep(self) -> None:
        while not self._ending.is_set():
            select.select([self._wake, *self._watchdog.alive_fds], [], [])
            if self._ending.is_set():
                return
            try:
                self._replace()
            except RuntimeError as error:
                self._report(f"{error}; trying again every {_AGAIN_S:g} s")
                self._ending.wait(_AGAIN_S)

    def _replace(self) -> None:
        self._report("the torque watchdog has died and is started again")
        new = WatchdogProcess(self._port, self._baudrate, self._ids, self._origin)
        with self._running:
            old, self._watchdog = self._watchdog, new
            new.moved(self._port)
            if not self._armed:
                new.released()
            self.restarts += 1
            self._running.notify_all()
        # The new one watches; what is left of the old one must not cut in later.
        old.released()
        old.close()
