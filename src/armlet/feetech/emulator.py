"""A chain of emulated servos behind a pseudo-terminal, for any program that speaks the protocol."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import select
import struct
import threading
import time
import tty
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from armlet.feetech.emulated_servo import EmulatedServo as EmulatedServo
from armlet.feetech.faults import Faults as Faults
from armlet.feetech.packets import BROADCAST_ID, ErrorBit, Instruction, Packet, Parser, encode

_log = logging.getLogger(__name__)

_WRITES_KEPT = 10_000
_UNREAD_BYTES = 65_536
_SILENCE_S = 0.005
"""A packet whose bytes stop for that long will not be completed."""

_BITS_PER_BYTE = 10
_TERMIOS2 = struct.Struct("4IB19s2I")
_TCGETS2 = 0x802C542A


class Write(NamedTuple):
    """A write a servo carried out: clock seconds, its id at that time, address, data."""

    time: float
    id: int
    address: int
    data: bytes


class EmulatedBus:
    """Servos on a serial line that ends in a pseudo-terminal.

    A thread answers requests as the chain of servos would; it blocks in the kernel while there is
    nothing to do. A servo hears a program only if the program's line speed is the servo's. If the
    thread fails, the error is logged at once and raised by `check`, `hang_up` and `close`.

    Args:
        ids: one servo each.
        link: symbolic link to make to the pseudo-terminal, so that its path stays the same.
        baudrate: speed the servos are set to.
        paced: bytes take their time on the wire, and servos their Return_Delay_Time.
        clock: seconds, monotonic, of the servos' motion; tests give their own.

    Attributes:
        faults: what goes wrong.
        writes: what was written to servos, oldest first, the last 10000.
    """

    def __init__(
        self,
        ids: Iterable[int] = (1, 2, 3, 4, 5, 6),
        *,
        link: str | Path | None = None,
        baudrate: int = 1_000_000,
        paced: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.faults = Faults()
        self.writes: deque[Write] = deque(maxlen=_WRITES_KEPT)
        self._servos = [EmulatedServo(id, baudrate=baudrate, clock=clock) for id in ids]
        self._link = None if link is None else Path(link)
        self._paced = paced
        self._clock = clock
        self._pty: _Pty | None = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    @property
    def servos(self) -> dict[int, EmulatedServo]:
        """The servos by the id they have now."""
        return {servo.id: servo for servo in self._servos}

    @property
    def port(self) -> str:
        """Path to open: the link if there is one, else the pseudo-terminal.

        Raises:
            RuntimeError: not plugged in, and no link.
        """
        if self._link is not None:
            return str(self._link)
        if self._pty is None:
            raise RuntimeError("the emulated bus is not plugged in: enter it, or call plug()")
        return self._pty.path

    def __enter__(self) -> Self:
        self.plug()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def plug(self, power_cycle: bool = False) -> None:
        """Makes the port appear. Servos keep their state unless their power is cycled too.

        Raises:
            RuntimeError: already plugged in.
            FileExistsError: the link's path is taken by something that is no symbolic link.
        """
        if self._pty is not None:
            raise RuntimeError("the emulated bus is plugged in already")
        if power_cycle:
            for servo in self._servos:
                servo.power_cycle()
        self._pty = _Pty(self._link)
        self._thread = threading.Thread(
            target=self._serve, args=(self._pty,), name="emulated-servo-bus", daemon=True
        )
        self._thread.start()

    def hang_up(self) -> None:
        """Unplugs the adapter: programs see a hang-up, the port disappears, servos stay powered.

        Raises:
            RuntimeError: the thread had failed; the cause is attached.
        """
        if self._pty is None or self._thread is None:
            return
        self._pty.stop()
        self._thread.join()
        self._pty.close()
        self._pty = self._thread = None
        self.check()

    def close(self) -> None:
        """Unplugs for good; does nothing if unplugged. Raises RuntimeError as `hang_up` does."""
        self.hang_up()

    def check(self) -> None:
        """Raises RuntimeError, with its cause, if the serving thread has failed."""
        if self._failure is not None:
            raise RuntimeError("the emulated bus stopped serving") from self._failure

    def _serve(self, pty: _Pty) -> None:
        try:
            _Exchange(pty, self._answer, self.faults, self._paced).run()
        except Exception as error:
            self._failure = error
            _log.exception("the emulated bus stopped serving %s", pty.path)

    def _answer(self, request: Packet, baudrate: int) -> list[tuple[float, bytes]]:
        """Carries out one instruction; each reply as (pause before it in s, status packet)."""
        hearing = [
            servo
            for servo in self._servos
            if servo.id not in self.faults.dead and servo.baudrate == baudrate
        ]
        for servo in hearing:
            servo.forced_errors = self.faults.errors.get(servo.id, ErrorBit.NONE)
        if request.code == Instruction.SYNC_READ:
            return self._sync_read(hearing, request.params)
        if request.code == Instruction.SYNC_WRITE:
            return self._sync_write(hearing, request.params)
        broadcast = request.id == BROADCAST_ID
        replies = []
        for servo in sorted(hearing, key=lambda servo: servo.id):
            if broadcast or servo.id == request.id:
                replies += self._carry_out(servo, request)
        return replies if not broadcast or request.code == Instruction.PING else []

    def _carry_out(self, servo: EmulatedServo, request: Packet) -> list[tuple[float, bytes]]:
        """One servo's part; its reply carries the id it had when asked."""
        id, params = servo.id, request.params
        acknowledges = servo.answers_writes
        match request.code, len(params):
            case Instruction.PING, 0:
                return [_status(servo, id, b"")]
            case Instruction.READ, 2:
                return [_status(servo, id, servo.read(params[0], params[1]))]
            case Instruction.WRITE, count if count > 1:
                self._write(servo, params[0], params[1:])
            case Instruction.REG_WRITE, count if count > 1:
                servo.stage(params[0], params[1:])
            case Instruction.ACTION, 0:
                staged = servo.act()
                if staged is not None:
                    self.writes.append(Write(self._clock(), id, *staged))
            case _:
                return []
        return [_status(servo, id, b"")] if acknowledges else []

    def _sync_read(self, hearing: list[EmulatedServo], params: bytes) -> list[tuple[float, bytes]]:
        if len(params) < 3:
            return []
        address, count, *ids = params
        return [
            _status(servo, id, servo.read(address, count))
            for id in ids
            for servo in hearing
            if servo.id == id
        ]

    def _sync_write(self, hearing: list[EmulatedServo], params: bytes) -> list[tuple[float, bytes]]:
        address, count = params[:2] if len(params) > 2 else (0, 0)
        blocks = range(2, len(params) - count, count + 1) if count else range(0)
        for at in blocks:
            for servo in hearing:
                if servo.id == params[at]:
                    self._write(servo, address, params[at + 1 : at + 1 + count])
        return []

    def _write(self, servo: EmulatedServo, address: int, data: bytes) -> None:
        self.writes.append(Write(self._clock(), servo.id, address, data))
        servo.write(address, data)


def _status(servo: EmulatedServo, id: int, params: bytes) -> tuple[float, bytes]:
    return servo.return_delay_s, encode(Packet(id, servo.errors, params))


class _Pty:
    """A pseudo-terminal in raw mode, a link to it, and a way to wake whoever waits for its bytes.

    Our own descriptor of the far end keeps the near end from reporting a hang-up whenever no
    program has it open.
    """

    def __init__(self, link: Path | None) -> None:
        if link is not None and link.exists() and not link.is_symlink():
            raise FileExistsError(f"{link} exists and is no symbolic link; choose another path")
        self.master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self.master, False)
        self.path = os.ttyname(self._slave)
        self.stopped, self._stop = os.pipe()
        self._link = link
        try:
            self._make_link()
        except OSError:
            self.close()
            raise

    def _make_link(self) -> None:
        if self._link is not None:
            new = self._link.with_name(f".{self._link.name}.{os.getpid()}")
            new.unlink(missing_ok=True)
            new.symlink_to(self.path)
            new.replace(self._link)

    def stop(self) -> None:
        """Makes `stopped` readable."""
        os.write(self._stop, b"x")

    def close(self) -> None:
        """Hangs up, and removes the link if it is still ours."""
        link = self._link
        if link is not None and link.is_symlink() and str(link.readlink()) == self.path:
            link.unlink()
        for fd in (self.master, self._slave, self.stopped, self._stop):
            os.close(fd)

    def baudrate(self) -> int:
        """The speed the program has set at the far end, bits/s."""
        settings = fcntl.ioctl(self.master, _TCGETS2, bytes(_TERMIOS2.size))
        return int(_TERMIOS2.unpack(settings)[-1])


class _Exchange:
    """Takes requests from the pty and sends each reply when it is due."""

    def __init__(
        self,
        pty: _Pty,
        answer: Callable[[Packet, int], list[tuple[float, bytes]]],
        faults: Faults,
        paced: bool,
    ) -> None:
        self._pty = pty
        self._answer = answer
        self._faults = faults
        self._paced = paced
        self._parser = Parser()
        self._due: deque[tuple[float, bytes]] = deque()
        self._unsent = b""
        self._line_free_s = 0.0

    def run(self) -> None:
        """Until the pty is stopped."""
        while True:
            readable, _, _ = select.select(
                [self._pty.master, self._pty.stopped],
                [self._pty.master] if self._unsent else [],
                [],
                self._patience_s(),
            )
            if self._pty.stopped in readable:
                return
            if self._pty.master in readable:
                self._receive(os.read(self._pty.master, 4096))
            elif self._parser.pending:
                self._handle(self._parser.flush())
            self._send_due()

    def _patience_s(self) -> float | None:
        """How long nothing needs doing; None for as long as nothing is received."""
        waits = [_SILENCE_S] if self._parser.pending else []
        if self._due:
            waits.append(max(0.0, self._due[0][0] - time.monotonic()))
        return min(waits, default=None)

    def _receive(self, data: bytes) -> None:
        baudrate = self._pty.baudrate()
        if not baudrate:  # B0 means that the program has hung up: no servo hears it
            return
        self._line_free_s = max(self._line_free_s, time.monotonic())
        if self._paced:
            self._line_free_s += len(data) * _BITS_PER_BYTE / baudrate
        self._handle(self._parser.feed(data))

    def _handle(self, requests: list[Packet]) -> None:
        baudrate = self._pty.baudrate()
        for request in requests:
            for pause_s, reply in self._answer(request, baudrate):
                if self._paced:
                    self._line_free_s += pause_s + len(reply) * _BITS_PER_BYTE / baudrate
                due_s = self._line_free_s + self._faults.delay_s
                if self._due:
                    due_s = max(due_s, self._due[-1][0])
                self._due.append((due_s, self._faults.damage(reply)))

    def _send_due(self) -> None:
        now_s = time.monotonic()
        while self._due and self._due[0][0] <= now_s:
            self._unsent += self._due.popleft()[1]
        if not self._unsent:
            return
        with contextlib.suppress(BlockingIOError):  # the program is slow to read: `run` waits
            self._unsent = self._unsent[os.write(self._pty.master, self._unsent) :]
        if len(self._unsent) > _UNREAD_BYTES:
            lost, self._unsent = len(self._unsent), b""
            _log.warning("nobody reads %s: %d bytes of replies lost", self._pty.path, lost)
