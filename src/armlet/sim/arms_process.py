"""The emulated arms in a process of their own.

Emulated servos must answer within tens of microseconds; beside a painter in the same Python process
they would wait for the interpreter. The two processes speak over a pair of sockets, a request and
its answer at a time; time they share (`SharedTime`), so that setting it needs no message.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import enum
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from armlet.files import in_use
from armlet.priority import Role, raise_process, raise_thread

from .arms import ArmsError, EmulatedArms, Motion, Side, Vector
from .demonstrator import Demonstration, Glide, Move
from .domain import ORDINARY, read_domain
from .shared_time import SharedTime
from .task import Layout, Standing, State, find

if TYPE_CHECKING:
    from .physics import World

_START_S = 60.0
_ANSWER_S = 20.0
_RELEASE_S = 8.0
_END_S = 10.0
"""How long the other process is waited for: generous, for a computer that is busy otherwise."""

_LONGEST_MESSAGE = 1 << 16
_PR_SET_PDEATHSIG = 1
_SWITCH_S = 0.0002
"""Servos answer in tens of microseconds; in Python's 5 ms turns the arms would delay each other."""

_JOINTS = struct.Struct("<6d")
_SIDE = struct.Struct("<B")
_SECONDS = struct.Struct("<d")
_START = struct.Struct("<dB")
_MOVE = struct.Struct("<6d6ddd")
"""Start and end of a move, its duration, and when it begins in its motion, s."""

_GLIDE = 0
"""In place of a number of moves."""


class _Ask(enum.IntEnum):
    """First byte of a request; an answer's is the request's own, or `FAILED` before a text."""

    READY = 1
    PORT = 2
    JOINTS = 3
    MOVE_LEADER = 4
    PLACE = 5
    STATE = 6
    FAILED = 255


class ArmsProcess:
    """The arms in a child process, which ends with this one, however this one ends.

    Enter it to start the process and to have the ports appear. See `Arms` for what it does.

    Args:
        links: folder in which the serial ports appear as `leader` and `follower`.
        paced: the buses take the time a 1 Mbaud line takes.
        clock: of all motion; it must be shared memory. None: real time, until it is set.
        task: name or file of a task whose things the follower can touch, in a world with physics;
            empty: no physics.
        domain: file of the world's settings; None: the ordinary ones.
    """

    def __init__(
        self,
        links: Path | None = None,
        paced: bool = True,
        clock: SharedTime | None = None,
        task: str = "",
        domain: Path | None = None,
    ) -> None:
        self.clock = SharedTime() if clock is None else clock
        self._links, self._paced = links, paced
        self._task, self._domain = task, domain
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._answers = False

    @property
    def pid(self) -> int:
        """Its process id. Raises ArmsError if it is not started."""
        return self._running()[0].pid

    def __enter__(self) -> Self:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self._process = self._start(theirs)
            self._ask(_Ask.READY, b"", _START_S)
            self._answers = True
        except BaseException:  # whoever waits may be interrupted
            self._end()
            raise
        return self

    def _start(self, line: socket.socket) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", __name__, str(line.fileno()), str(self.clock.fd)]
        command += ["--parent", str(os.getpid())]
        if self._paced:
            command.append("--paced")
        if self._links is not None:
            command += ["--links", str(self._links)]
        if self._task:
            command += ["--task", self._task]
        if self._domain is not None:
            command += ["--domain", str(self._domain)]
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            pass_fds=(line.fileno(), self.clock.fd),
            # A terminal's ^C must not take the servos away before the nodes that use them.
            start_new_session=True,
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def port(self, side: Side) -> str:
        """Path of an arm's serial port. Raises ArmsError if the process failed."""
        return self._ask(_Ask.PORT, _SIDE.pack(side)).decode()

    def joints(self, side: Side) -> Vector:
        """Where an arm's shafts are now (6,), radians. Raises ArmsError if the process failed."""
        return np.array(_JOINTS.unpack(self._ask(_Ask.JOINTS, _SIDE.pack(side))))

    def move_leader(self, motion: Motion, start_s: float) -> None:
        """Have the hand move the leader, from a time of the clock on.

        Raises:
            ValueError: a motion that is not a `Move`, a `Demonstration` or a `Glide`.
            ArmsError: the process failed.
        """
        self._ask(_Ask.MOVE_LEADER, pack_motion(motion, start_s))

    def place(self, layout: Layout) -> None:
        """Put things on the table. Raises ArmsError if the process failed."""
        self._ask(_Ask.PLACE, pack_layout(layout))

    def state(self, age_s: float = 0.0) -> State:
        """The follower and the things, of one instant, that long ago.

        Raises ArmsError if the process failed.
        """
        answer = self._ask(_Ask.STATE, _SECONDS.pack(age_s))
        joints = np.array(_JOINTS.unpack_from(answer))
        return State(joints, unpack_layout(answer[_JOINTS.size :]))

    def _running(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        if self._process is None or self._socket is None:
            raise ArmsError("the emulated arms' process is not started; enter it first")
        return self._process, self._socket

    def _ask(self, what: _Ask, payload: bytes, wait_s: float = _ANSWER_S) -> bytes:
        with self._lock:
            process, line = self._running()
            line.settimeout(wait_s)
            try:
                line.send(bytes([what]) + payload)
                answer = line.recv(_LONGEST_MESSAGE)
            except TimeoutError:
                # An answer that comes after all would be taken for the next question's.
                self._socket = None
                line.close()
                raise ArmsError(
                    f"the emulated arms' process {process.pid} did not answer for {wait_s:g} s"
                ) from None
            except OSError:
                answer = b""
        if not answer:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1.0)
            raise ArmsError(
                f"the emulated arms' process ended with status {process.returncode}; "
                "its own message, if any, is above"
            )
        if answer[0] == _Ask.FAILED:
            raise ArmsError(answer[1:].decode())
        return answer[1:]

    def _end(self) -> None:
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None
            if self._process is not None:
                if not self._answers:  # it may be loading still, and see nothing of the socket
                    self._process.terminate()
                try:
                    self._process.wait(_END_S)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()
                self._process, self._answers = None, False


def pack_motion(motion: Motion, start_s: float) -> bytes:
    """A motion as bytes, for `unpack_motion`. ValueError if it is of another kind."""
    if isinstance(motion, Glide):
        way = _MOVE.pack(*motion.start, *motion.end, motion.duration_s, 0.0)
        return _START.pack(start_s, _GLIDE) + way
    if isinstance(motion, Move):
        moves = [(motion, 0.0)]
    elif isinstance(motion, Demonstration):
        moves = [(motion.over, 0.0), (motion.down, motion.down_at_s)]
    else:
        raise ValueError(
            "arms in a process of their own can play a Move, a Demonstration or a Glide, found "
            f"{type(motion).__name__}; for other motions use a Bench with arms in this process"
        )
    packed = [_MOVE.pack(*m.start, *m.end, m.duration_s, at_s) for m, at_s in moves]
    return _START.pack(start_s, len(moves)) + b"".join(packed)


def unpack_motion(data: bytes) -> tuple[Move | Demonstration | Glide, float]:
    """The motion and its start, s of the arms' clock."""
    start_s, count = _START.unpack_from(data)
    if count == _GLIDE:
        numbers = _MOVE.unpack_from(data, _START.size)
        return Glide(np.array(numbers[:6]), np.array(numbers[6:12]), numbers[12]), start_s
    moves, ats = [], []
    for index in range(count):
        numbers = _MOVE.unpack_from(data, _START.size + index * _MOVE.size)
        moves.append(Move(np.array(numbers[:6]), np.array(numbers[6:12]), numbers[12]))
        ats.append(numbers[13])
    return (moves[0] if count == 1 else Demonstration(moves[0], moves[1], ats[1])), start_s


def pack_layout(layout: Layout) -> bytes:
    """A layout as bytes, to the bit, for `unpack_layout`."""
    numbers = {
        name: [*one.position.tolist(), *one.quaternion.tolist(), *one.velocity.tolist()]
        for name, one in layout.items()
    }
    return json.dumps(numbers).encode()


def unpack_layout(data: bytes) -> dict[str, Standing]:
    """Where each thing is, by name."""
    return {
        name: Standing(np.array(n[:3]), np.array(n[3:7]), np.array(n[7:]))
        for name, n in json.loads(data).items()
    }


def _answer(arms: EmulatedArms, request: bytes) -> bytes:
    payload = request[1:]
    match request[0]:
        case _Ask.READY:
            return b""
        case _Ask.PORT:
            return arms.port(Side(*_SIDE.unpack(payload))).encode()
        case _Ask.JOINTS:
            return _JOINTS.pack(*arms.joints(Side(*_SIDE.unpack(payload))))
        case _Ask.MOVE_LEADER:
            arms.move_leader(*unpack_motion(payload))
            return b""
        case _Ask.PLACE:
            arms.place(unpack_layout(payload))
            return b""
        case _Ask.STATE:
            state = arms.state(*_SECONDS.unpack(payload))
            return _JOINTS.pack(*state.joints) + pack_layout(state.things)
        case unknown:
            raise ArmsError(f"the emulated arms' process does not know request {unknown}")


def _serve(arms: EmulatedArms, line: socket.socket) -> None:
    """Answers requests until the other end is closed, which its process's end does too."""
    with contextlib.suppress(ConnectionError):
        while request := line.recv(_LONGEST_MESSAGE):
            try:
                answer = bytes([request[0]]) + _answer(arms, request)
            except Exception as error:
                if not isinstance(error, ArmsError):
                    traceback.print_exc()
                answer = bytes([_Ask.FAILED]) + str(error).encode()[: _LONGEST_MESSAGE - 1]
            line.send(answer)


def _end_with(parent: int, end: Callable[[], None]) -> None:
    """End when the parent has, even where a fork of it keeps our socket open. Linux only."""

    def on_death(number: int, frame: FrameType | None) -> None:
        # The kernel reports the end of the *thread* that started us, too.
        if os.getppid() != parent:
            end()

    signal.signal(signal.SIGUSR1, on_death)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGUSR1)
    if os.getppid() != parent:
        end()


def _world(task: str, domain: Path | None) -> World:
    from .physics import World  # it needs MuJoCo

    return World(find(task).things, ORDINARY if domain is None else read_domain(domain))


def main(arguments: Sequence[str] | None = None) -> int:
    """The child process: serves until its parent closes the socket or ends."""
    parser = argparse.ArgumentParser(description="Emulates the two arms of a bench.")
    parser.add_argument("socket", type=int, help="descriptor of the socket to the bench")
    parser.add_argument("time", type=int, help="descriptor of the shared time")
    parser.add_argument("--parent", type=int, required=True, help="process id of the bench")
    parser.add_argument("--links", type=Path, help="folder of the serial ports")
    parser.add_argument("--paced", action="store_true", help="bytes take their time on the wire")
    parser.add_argument("--task", default="", help="task whose things the follower can touch")
    parser.add_argument("--domain", type=Path, help="file of the world's settings")
    options = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    sys.setswitchinterval(_SWITCH_S)
    with socket.socket(fileno=options.socket) as line:

        def end(*_: object) -> None:
            with contextlib.suppress(OSError):  # the other end may be gone already
                line.shutdown(socket.SHUT_RDWR)

        _end_with(options.parent, end)
        raise_process(Role.EMULATOR.value.nice)
        if options.paced:  # else its time is simulated, and waits for it
            raise_thread(Role.EMULATOR.value.realtime, inherited=True)
        clock = SharedTime(options.time)
        world = _world(options.task, options.domain) if options.task else None
        # Up to here it ends the process: no port is there yet that anybody holds.
        signal.signal(signal.SIGTERM, end)
        with (
            contextlib.nullcontext() if options.links is None else in_use(options.links),
            EmulatedArms(options.links, options.paced, clock, world=world) as arms,
        ):
            _serve(arms, line)
            # A ^C may end the bench before the nodes that are to prove the torque off on its ports.
            arms.wait_until_released(_RELEASE_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
