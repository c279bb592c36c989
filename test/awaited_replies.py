"""A bus waits for servos emulated in its own process for as long as they have something to do.

When a thread of the emulator gets to run is the computer's affair, and a timeout of 20 ms has long
passed when it does. So a bus of a test gives up a reply when its timeout has passed and no servo
has anything left to do: whatever the computer does meanwhile, replies that are made come in time,
and those that a test has lost, or made late by more than `LATE_S`, do not.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from armlet.motors.emulation import line
from armlet.motors.wire.port import SerialPort

LATE_S = 0.008
"""An emulator that sleeps for longer than that delays a reply on purpose."""

GUARD_S = 120.0
_LOOK_S = 0.001

_busy: dict[str, Callable[[], bool]] = {}


def is_busy(path: str) -> bool:
    """Whether whoever serves this pseudo-terminal here has something to do."""
    return _busy.get(path, lambda: False)()


@contextmanager
def served(path: str, busy: Callable[[], bool]) -> Iterator[None]:
    """A bus on this pseudo-terminal waits while this is true."""
    before, _busy[path] = _busy.get(path), busy
    try:
        yield
    finally:
        del _busy[path]
        if before is not None:
            _busy[path] = before


class _Sleepers:
    """In place of `select` in the emulator's line: knows the lines that have nothing to do."""

    def __init__(self) -> None:
        self._idle: set[int] = set()

    def select(self, *waiting: Any) -> Any:
        """As select.select."""
        near, timeout_s = waiting[0][0], waiting[3]
        if timeout_s is None or timeout_s > LATE_S:
            self._idle.add(near)
        try:
            return select.select(*waiting)
        finally:
            self._idle.discard(near)

    def busy(self, pty: line.Pty) -> bool:
        """Whether bytes wait to be read by the line, or it does something with those it read."""
        with pty._closing:
            if pty._closed:
                return False
            # In this order: who has read them is no more among the idle.
            return bool(select.select([pty.master], [], [], 0)[0]) or pty.master not in self._idle


def install(patch: pytest.MonkeyPatch) -> None:
    """Has every bus of this process wait like that."""
    sleepers = _Sleepers()
    made, run, wait = line.Pty._make_link, line.Exchange.run, SerialPort._wait_readable

    def noted(pty: line.Pty) -> None:
        made(pty)
        _busy[pty.path] = lambda: sleepers.busy(pty)

    def until_it_ends(exchange: line.Exchange) -> bool:
        try:
            return run(exchange)
        finally:
            _busy.pop(exchange._pty.path, None)

    def patient(port: SerialPort, deadline: float) -> bool:
        guard_s = time.monotonic() + GUARD_S
        while not wait(port, deadline):
            if time.monotonic() > guard_s or not is_busy(_name(port)):
                return wait(port, 0.0)
            deadline = time.monotonic() + _LOOK_S
        return True

    patch.setattr(line, "select", SimpleNamespace(select=sleepers.select))
    patch.setattr(line.Pty, "_make_link", noted)
    patch.setattr(line.Exchange, "run", until_it_ends)
    patch.setattr(SerialPort, "_wait_readable", patient)


def _name(port: SerialPort) -> str:
    try:
        return os.ttyname(port._fd)
    except OSError:  # it is gone, as the next look will say
        return ""
