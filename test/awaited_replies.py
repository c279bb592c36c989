"""A bus waits for servos that a test emulates for as long as they have something to do.

When a thread of the emulator gets to run is the computer's affair, and a timeout of 20 ms has long
passed when it does. So a bus of a test, or of a command in a fork, gives up a reply when its
timeout has passed and no servo has anything left to do: whatever the computer does meanwhile,
replies that are made come in time, and those that a test has lost, or made late by more than
`LATE_S`, do not.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from armlet.motors.wire.port import SerialPort

if TYPE_CHECKING:
    import pytest

    from armlet.motors.emulation.line import Exchange, Pty

LATE_S = 0.008
"""An emulator that sleeps for longer than that delays a reply on purpose."""

GUARD_S = 120.0
_LOOK_S = 0.001

_busy: dict[str, Callable[[], bool]] = {}


def is_busy(path: str) -> bool:
    """Whether whoever serves this pseudo-terminal here has something to do."""
    return _busy.get(path, lambda: False)()


@contextlib.contextmanager
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

    def busy(self, pty: Pty) -> bool:
        """Whether bytes wait to be read by the line, or it does something with those it read."""
        with pty._closing:
            if pty._closed:
                return False
            # In this order: who has read them is no more among the idle.
            return bool(select.select([pty.master], [], [], 0)[0]) or pty.master not in self._idle


def install(patch: pytest.MonkeyPatch) -> None:
    """Has every bus of this process wait like that."""
    from armlet.motors.emulation import line

    sleepers = _Sleepers()
    made, run = line.Pty._make_link, line.Exchange.run

    def noted(pty: Pty) -> None:
        made(pty)
        _busy[pty.path] = lambda: sleepers.busy(pty)

    def until_it_ends(exchange: Exchange) -> bool:
        try:
            return run(exchange)
        finally:
            _busy.pop(exchange._pty.path, None)

    patch.setattr(line, "select", SimpleNamespace(select=sleepers.select))
    patch.setattr(line.Pty, "_make_link", noted)
    patch.setattr(line.Exchange, "run", until_it_ends)
    patch.setattr(SerialPort, "_wait_readable", _patient(is_busy))


def _patient(busy: Callable[[str], bool]) -> Callable[[SerialPort, float], bool]:
    wait = SerialPort._wait_readable

    def patient(port: SerialPort, deadline: float) -> bool:
        guard_s = time.monotonic() + GUARD_S
        while not wait(port, deadline):
            if time.monotonic() > guard_s or not busy(_name(port)):
                return wait(port, 0.0)
            deadline = time.monotonic() + _LOOK_S
        return True

    return patient


def _name(port: SerialPort) -> str:
    try:
        return os.ttyname(port._fd)
    except OSError:  # it is gone, as the next look will say
        return ""


# --- for the buses of other processes ---------------------------------------------------------


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """Says to other processes whether this one's servos have something to do."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(_address(os.getpid()))
        listening.listen(64)
        thread = threading.Thread(target=_answer, args=(listening,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def _answer(listening: socket.socket) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:  # shut down
            return
        with connection, contextlib.suppress(ConnectionError):
            path = connection.recv(4096).decode()
            connection.send(b"busy" if is_busy(path) else b"idle")


def preparation() -> str:
    """Code by which a command in a fork waits for the servos of this process."""
    return f"import awaited_replies; awaited_replies.wait_for({os.getpid()})\n"


def wait_for(process: int) -> None:
    """Has every bus of this process wait for servos of that one."""

    def busy(path: str) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            try:
                connection.connect(_address(process))
                connection.send(path.encode())
                return connection.recv(16) == b"busy"
            except OSError:  # it has ended
                return False

    SerialPort._wait_readable = _patient(busy)  # type: ignore[method-assign]


def _address(process: int) -> str:
    return f"\0armlet-awaited-replies-{process}"
