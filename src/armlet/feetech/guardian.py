"""Cuts the torque of an arm whose driver died without doing so.

A driver that is killed (SIGKILL, a segmentation fault, out of memory) leaves its servos holding
their last goal for good. Its guardian is a small process of its own that waits on a pipe; when the
pipe closes and the torque was not reported off, it opens the port and cuts it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from armlet.feetech.bus import Bus
from armlet.feetech.errors import BusError
from armlet.feetech.registers import TORQUE_ENABLE
from armlet.priority import Role, raise_process

_START_S = 10.0
_END_S = 15.0
_TRY_FOR_S = 10.0
"""How long the guardian tries: an adapter may be gone for a moment, or the port still locked."""

_PAUSE_S = 0.05
_PROOF_S = 0.1
_WATCHING = b"watching\n"


class Guardian:
    """A running guardian, seen from the driver. Leaving it without `released` has it act.

    Its process outlives the driver, and the signals that end one. Whoever forks the driver without
    exec must close the pipe there, or the guardian cannot see the driver's end.

    Args:
        port: serial device of the bus.
        baudrate: bits per second.
        ids: the servos.

    Raises:
        RuntimeError: the process did not start.
    """

    def __init__(self, port: str, baudrate: int, ids: Sequence[int]) -> None:
        command = [sys.executable, "-m", "armlet.feetech.guardian", port, str(baudrate)]
        self._process = subprocess.Popen(
            [*command, *(str(id) for id in ids)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Of its own session: a terminal's ^C and a supervisor's kill of a group pass it by.
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._words, answers = self._process.stdin, self._process.stdout
        with answers:
            ready, _, _ = select.select([answers], [], [], _START_S)
            if not ready or answers.readline() != _WATCHING:
                self._process.kill()
                self._process.wait()
                raise RuntimeError(
                    f"the guardian of {port} did not start within {_START_S:g} s; its own message, "
                    "if any, is above"
                )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it watches."""
        return self._process.poll() is None

    def armed(self) -> None:
        """Torque is on or may be from now on: as it is taken to be at the start."""
        self._say("armed")

    def released(self) -> None:
        """Torque is proven off: nothing is to be done if the driver ends now."""
        self._say("released")

    def moved(self, port: str) -> None:
        """The arm is on another port from now on."""
        self._say(f"port {port}")

    def close(self) -> None:
        """Ends it, after it has cut the torque unless that was reported off. Close the port first.

        Safe to call twice.
        """
        if not self._words.closed:
            # If it was killed, `alive` has told, and there is nobody left to tell anything.
            with contextlib.suppress(BrokenPipeError):
                self._words.close()
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _say(self, word: str) -> None:
        if self.alive:
            with contextlib.suppress(BrokenPipeError):
                self._words.write(f"{word}\n".encode())
                self._words.flush()


class _Watch:
    """What the guardian knows of its driver."""

    def __init__(self, port: str) -> None:
        self.port = port
        self.armed = True

    def until_the_driver_ends(self) -> None:
        """Reads words until the pipe closes."""
        pending = b""
        while data := os.read(sys.stdin.fileno(), 4096):
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                self._hear(line.decode())

    def _hear(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        match word:
            case "armed":
                self.armed = True
            case "released":
                self.armed = False
            case "port":
                self.port = rest


def cut_torque(port: str, baudrate: int, ids: Sequence[int], try_for_s: float) -> list[int]:
    """Cuts torque and proves it, trying for so long. Returns the ids that could not be proven off.

    Every try begins with one packet that tells all of them.
    """
    left, deadline = list(ids), time.monotonic() + try_for_s
    bus = Bus(port, baudrate)
    while left:
        try:
            bus.open()
            bus.sync_write(TORQUE_ENABLE, dict.fromkeys(left, 0))
            reply = bus.sync_read([TORQUE_ENABLE], left, until=time.monotonic() + _PROOF_S)
            left = [id for id in left if reply.values.get(id, (1,)) != (0,)]
        except BusError as error:
            _report(f"{error}; trying again")
        if time.monotonic() > deadline:
            break
        if left:
            time.sleep(_PAUSE_S)
    bus.close()
    return left


_reported: set[str] = set()


def _report(text: str) -> None:
    if text not in _reported:
        _reported.add(text)
        # Whoever read the driver's messages may be gone with it.
        try:
            print(f"guardian: {text}", file=sys.stderr, flush=True)
        except OSError:
            return


def main(arguments: Sequence[str] | None = None) -> int:
    """Watches a driver over stdin; 0 unless torque could not be proven off."""
    parser = argparse.ArgumentParser(
        description="Cuts the torque of servos when stdin closes, unless 'released' was read."
    )
    parser.add_argument("port")
    parser.add_argument("baudrate", type=int)
    parser.add_argument("ids", type=int, nargs="+")
    options = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    raise_process(Role.BUS.value.nice)
    os.write(sys.stdout.fileno(), _WATCHING)
    watch = _Watch(options.port)
    watch.until_the_driver_ends()
    if not watch.armed:
        return 0
    _report(f"the driver of {watch.port} ended with torque on; cutting it")
    left = cut_torque(watch.port, options.baudrate, options.ids, _TRY_FOR_S)
    if left:
        _report(f"servos {left} on {watch.port} could not be proven off; cut the power")
        return 1
    _report(f"torque is off on all servos of {watch.port}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
