"""The torque watchdog: cuts the torque of an arm whose driver died without doing so.

A driver that is killed (SIGKILL, a segmentation fault, out of memory) leaves its servos holding
their last goal for good. Its torque watchdog is a pair of small processes that wait on pipes. When
the pipes close and the torque was not reported off, the first opens the port and cuts it; the
second does so if the first dies too. So whichever two processes are killed, one is left.

A driver that hangs keeps its port, and its servos hold. So one that has begun to say that it lives
has to go on: if it does not, with torque on, its watchdog kills it and then cuts the torque.

A port that is not there is waited for: a cable may be put back. Only emulated servos whose program
has ended are not: they ended with it.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from armlet.motors.emulated_port import gives_sign, is_emulated
from armlet.motors.protocol import BusError, MotorFamily
from armlet.motors.registry import load
from armlet.priority import Role, raise_process

TRY_FOR_S = 120.0
"""How long the watchdog tries: the cable may be out when the driver ends."""

CLOSE_S = 3.0
"""How long a driver that ends waits for it; a watchdog that needs longer goes on without it."""

FEETECH = "armlet.motors.feetech.family:FAMILY"
"""Whose servos they are unless something else is said."""

_START_S = 60.0
"""On a busy computer; one that cannot start is seen at once, as its pipes close."""

_PAUSE_S = 0.05
_LONG_PAUSE_S = 0.25
_SOON_S = 5.0
_PROOF_S = 0.1
_AWAKE_S = 0.1
_TAKEN_S = 3.0
"""Who holds the port for longer is another driver, which has the arm now. Only time between looks
counts: one look is no proof, however long this process then stood still."""

HANG_S = 15
"""A driver that has said every second that it lives, and says nothing for so long, hangs."""
_SECOND_LATER_S = 3

_WATCHING = b"watching\n"
_DONE = b"done"


class WatchdogProcess:
    """A running torque watchdog, seen from the driver. Leaving it without `released` has it act.

    Its processes outlive the driver, and the signals that end one. Whoever forks the driver without
    exec must close the pipes there, or the watchdog cannot see the driver's end.

    Args:
        port: serial device of the bus.
        baudrate: bits per second.
        ids: the servos.
        origin: of their family, see `MotorFamily`.
        hang_s: without a `lives` for so many whole seconds, after the first and with torque on, the
            driver is killed.

    Raises:
        RuntimeError: the processes did not start.
    """

    def __init__(
        self,
        port: str,
        baudrate: int,
        ids: Sequence[int],
        origin: str = FEETECH,
        hang_s: int = HANG_S,
    ) -> None:
        reads, self._words = zip(*[os.pipe() for _ in range(2)], strict=True)
        self.alive_fds, alives = zip(*[os.pipe() for _ in range(2)], strict=True)
        self._closed = False
        theirs = (*reads, *alives)
        fds = ",".join(str(fd) for fd in theirs)
        try:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", __name__, port, str(baudrate), *map(str, ids)),
                    *("--fds", fds, "--family", origin),
                    *("--driver", str(os.getpid()), "--hang", str(hang_s)),
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=theirs,
                # Of its own session: a terminal's ^C and a supervisor's kill of a group pass it by.
                start_new_session=True,
            )
        except OSError as error:
            self._close_fds()
            raise RuntimeError(f"the torque watchdog of {port} cannot be started: {error}") from (
                error
            )
        finally:
            for fd in theirs:
                os.close(fd)
        deadline = time.monotonic() + _START_S
        if not all(_read_word(fd, deadline) == _WATCHING for fd in self.alive_fds):
            self._process.kill()
            self._process.wait()
            self._close_fds()
            raise RuntimeError(
                f"the torque watchdog of {port} did not start within {_START_S:g} s; its own "
                "message, if any, is above"
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
        """The process id of the first."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether both watch."""
        # They write nothing more: readable means that the end of one has closed its pipe.
        return not self._closed and not select.select(self.alive_fds, [], [], 0)[0]

    def armed(self) -> None:
        """Torque is on or may be from now on: as it is taken to be at the start."""
        self._say("armed")

    def released(self) -> None:
        """Torque is proven off: nothing is to be done if the driver ends now."""
        self._say("released")

    def moved(self, port: str) -> None:
        """The arm is on another port from now on."""
        self._say(f"port {port}")

    def lives(self) -> None:
        """The driver lives. Once said, to be said once a second while torque is on.

        A watchdog that was suspended (SIGSTOP) watches nothing: it is made to go on.
        """
        if not self._closed:
            with contextlib.suppress(OSError):  # of one that was killed `alive` says so
                os.kill(self._process.pid, signal.SIGCONT)
            for fd in self._words:
                # One that was stopped reads nothing: this must not wait for it.
                if select.select([], [fd], [], 0)[1]:
                    with contextlib.suppress(BrokenPipeError):
                        os.write(fd, b"lives\n")

    def close(self) -> None:
        """Ends it, after it has cut the torque unless that was reported off. Close the port first.

        Waits for that CLOSE_S at most; after that it goes on by itself. Safe to call twice.
        """
        if self._closed:
            return
        self._closed = True
        deadline = time.monotonic() + CLOSE_S
        for fd in self._words:
            os.close(fd)
        for fd in self.alive_fds:
            select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
            os.close(fd)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.05, deadline - time.monotonic()))

    def _say(self, word: str) -> None:
        if not self._closed:
            for fd in self._words:
                # Who was killed cannot be reached; `alive` says so.
                with contextlib.suppress(BrokenPipeError):
                    os.write(fd, f"{word}\n".encode())

    def _close_fds(self) -> None:
        self._closed = True
        for fd in (*self._words, *self.alive_fds):
            os.close(fd)


def _read_word(fd: int, deadline: float) -> bytes:
    ready, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
    return os.read(fd, len(_WATCHING)) if ready else b""


class _Watch:
    """What a watchdog knows of its driver, by the words that come through a pipe."""

    def __init__(self, port: str, words: int, driver: int, hang_s: int) -> None:
        self.port = port
        self.armed = True
        self._words = words
        self._driver, self._hang_s = driver, hang_s
        self._says_it_lives = False
        self._emulated = is_emulated(port)

    def has_gone(self) -> bool:
        """Whether the servos that were armed were emulated, and have ended with their program."""
        return self._emulated and not gives_sign(self.port)

    def until_the_driver_ends(self) -> None:
        """Reads words until the pipe closes, which is brought about if the driver hangs."""
        pending = b""
        while data := self._read():
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                self._hear(line.decode())

    def _read(self) -> bytes:
        silent_s = 0  # whole seconds that this process lived through: a computer's sleep is none
        while not select.select([self._words], [], [], 1.0)[0]:
            silent_s += 1
            if self._says_it_lives and self.armed and silent_s >= self._hang_s:
                self._kill(silent_s)
        return os.read(self._words, 4096)

    def _kill(self, silent_s: int) -> None:
        _report(f"the driver of {self.port} hangs, nothing came for {silent_s} s; killing it")
        # Its pipe is open, so it is this process and no later one of the same number.
        try:
            os.kill(self._driver, signal.SIGKILL)
        except OSError as error:
            _report(f"the driver of {self.port}, process {self._driver}: {error}; cut the power")

    def _hear(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        match word:
            case "lives":
                self._says_it_lives = True
            case "armed":
                self.armed = True
                emulated = is_emulated(self.port)
                # By now, as an emulator may end before, or while, this is read.
                if emulated or Path(self.port).exists():
                    self._emulated = emulated
            case "released":
                self.armed = False
            case "port":
                self.port = rest
                self._emulated = is_emulated(rest)


def cut_torque(
    port: str,
    baudrate: int,
    ids: Sequence[int],
    try_for_s: float,
    family: MotorFamily | None = None,
    has_gone: Callable[[], bool] = lambda: False,
) -> list[int]:
    """Cuts torque and proves it, trying for so long. Returns the ids that could not be proven off.

    Every try begins with one packet to all of them. It ends sooner if another program keeps the
    port for seconds: that one has the arm then. family: None for Feetech. has_gone: whether there
    are no such servos any more, looked at before every try.
    """
    left, begun, taken_s = list(ids), time.monotonic(), 0.0
    bus = (family or load(FEETECH)).make_bus(port, baudrate)
    model = bus.usual_model
    torque, silencer = model.torque_enable, model.watchdog
    while left and not has_gone():
        taken = False
        try:
            bus.open()
            bus.sync_write(torque, dict.fromkeys(left, 0))
            if silencer is not None:  # the servos' own, which would refuse the next program's goals
                bus.sync_write(silencer, dict.fromkeys(left, 0))
            reply = bus.sync_read([torque], left, until=time.monotonic() + _PROOF_S)
            left = [id for id in left if reply.values.get(id, (1,)) != (0,)]
        except BusError as error:
            taken = _is_taken(error)
            _report(f"{error}; trying again")
        tried_s = time.monotonic() - begun
        pause_s = _PAUSE_S if tried_s < _SOON_S else _LONG_PAUSE_S
        taken_s = taken_s + pause_s if taken else 0.0
        if tried_s > try_for_s or taken_s > _TAKEN_S:
            break
        if left:
            time.sleep(pause_s)
    bus.close()
    return left


def _is_taken(error: BaseException) -> bool:
    """Whether the port could not be opened because another program has locked it."""
    return getattr(error.__cause__, "errno", None) in (errno.EAGAIN, errno.EBUSY)


_reported: set[str] = set()


def _report(text: str) -> None:
    if text not in _reported:
        _reported.add(text)
        # Whoever read the driver's messages may be gone with it.
        try:
            print(f"torque watchdog: {text}", file=sys.stderr, flush=True)
        except OSError:
            return


def main(arguments: Sequence[str] | None = None) -> int:
    """Watches a driver through pipes; 0 unless torque could not be proven off."""
    parser = argparse.ArgumentParser(
        description="Cuts the torque of servos when its driver ends, unless 'released' was read."
    )
    parser.add_argument("port")
    parser.add_argument("baudrate", type=int)
    parser.add_argument("ids", type=int, nargs="+")
    parser.add_argument("--fds", required=True, help="pipes: words, words, alive, alive")
    parser.add_argument("--driver", type=int, required=True, help="its process id")
    parser.add_argument("--hang", type=int, default=HANG_S, help="see HANG_S")
    parser.add_argument("--family", default=FEETECH, help="of the servos: package.module:ATTRIBUTE")
    options = parser.parse_args(arguments)
    options.family = load(options.family)  # now: an import could fail when it is needed
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    raise_process(Role.BUS.value.nice)
    words, second_words, alive, second_alive = (int(fd) for fd in options.fds.split(","))
    result, first_result = os.pipe()
    first = os.getpid()
    # Of one program, so that the second costs hardly any memory and no time to start.
    if os.fork():
        _close(second_words, second_alive, result)
        watch = _Watch(options.port, words, options.driver, options.hang)
        status = _guard(watch, alive, options)
        os.write(first_result, _DONE)
        return status
    os.setsid()
    _close(words, alive, first_result)
    hang_s = options.hang + _SECOND_LATER_S
    watch = _Watch(options.port, second_words, options.driver, hang_s)
    return _guard(watch, second_alive, options, first, result)


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)


def _has_done(first: int, result: int) -> bool:
    """Whether the first has done all that can be done; waits for that, or for its end.

    One that is suspended (SIGSTOP) would be waited for without end: it is made to go on.
    """
    while not select.select([result], [], [], _AWAKE_S)[0]:
        # Its pipe is open, so it is this process and no later one of the same number.
        with contextlib.suppress(OSError):
            os.kill(first, signal.SIGCONT)
    return os.read(result, len(_DONE)) == _DONE


def _guard(
    watch: _Watch,
    alive: int,
    options: argparse.Namespace,
    first: int = 0,
    first_result: int | None = None,
) -> int:
    """Waits for the driver's end and cuts the torque; the second only if the first is killed.

    first: process id of the first. first_result: pipe in which it reports that it has done all that
    can be done.
    """
    os.write(alive, _WATCHING)
    watch.until_the_driver_ends()
    if not watch.armed:
        return 0
    if first_result is not None and _has_done(first, first_result):
        return 0
    _report(f"the driver of {watch.port} ended with torque on; cutting it")
    left = cut_torque(
        watch.port, options.baudrate, options.ids, TRY_FOR_S, options.family, watch.has_gone
    )
    if left and watch.has_gone():
        _report(f"the emulated servos of {watch.port} ended with their program: no torque to cut")
        return 0
    if left:
        _report(f"servos {left} on {watch.port} could not be proven off; cut the power")
        return 1
    _report(f"torque is off on all servos of {watch.port}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
