"""The wire, the adapter and the serial port of an emulated bus, down to bytes and their times."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import itertools
import logging
import os
import select
import struct
import threading
import time
import tty
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from armlet.motors.emulated_port import PSEUDO_TERMINALS
from armlet.motors.emulation.faults import Faults
from armlet.motors.wire.framing import Framing, Packet

_log = logging.getLogger(__name__)

Answer = Callable[[Packet, int], Iterable[tuple[float, bytes]]]
"""(instruction, bits/s) -> replies: each a pause before it in s, and the status packet's bytes."""

_UNREAD_BYTES = 65_536
_SILENCE_S = 0.005
"""A packet whose bytes stop for that long will not be completed."""

_SLEEPY_S = 50e-6
"""How late a sleeping thread may wake; a paced line stays awake for so long before a reply."""

_TOGETHER_S = 0.001
"""Replies that follow each other within that time are handed over together when the last is due, as
a full-speed USB adapter does once a frame. Each for itself costs a program and this one 20 wake-ups
for an arm of six, and nobody can use the first before the last is there."""

_BITS_PER_BYTE = 10
_USB_PAYLOAD = 62
"""Bytes of a full-speed bulk packet besides an FTDI chip's two status bytes."""

_LAST_READ_S = 0.1
"""How long an adapter about to be unplugged leaves a program to read what it has received."""

_TRIALS = 16
_LONGEST_TRANSIT_S = 10e-6

_TERMIOS2 = struct.Struct("4IB19s2I")
_TCGETS2 = 0x802C542A
_PR_SET_TIMERSLACK = 29


def check_link(link: Path) -> None:
    """Raises FileExistsError for a path at which something stands that no emulator has made.

    A link to a pseudo-terminal is replaced: an emulator that was killed leaves one.
    """
    if not os.path.lexists(link):
        return
    found = "what is no symbolic link"
    if link.is_symlink():
        target = link.parent / link.readlink()
        if target.is_relative_to(PSEUDO_TERMINALS):
            return
        found = f"a link to {target}"
    raise FileExistsError(
        f"{link} exists: expected nothing, or an emulator's link, found {found}; choose another "
        "path"
    )


def _link_beside(link: Path, target: str) -> Path:
    """A new link in the folder of `link`, by a name that nothing had."""
    for number in itertools.count():
        new = link.with_name(f".{link.name}.{os.getpid()}.{number}")
        with contextlib.suppress(FileExistsError):
            new.symlink_to(target)
            return new
    raise AssertionError("there is always a next number")


class Pty:
    """A pseudo-terminal in raw mode, a link to it, and a way to wake whoever waits for its bytes.

    Our own descriptor of the far end keeps the near end from reporting a hang-up whenever no
    program has it open.

    Attributes:
        master: descriptor of the near end, which does not block.
        path: of the far end.
        stopped: descriptor that becomes readable with `stop`.
        transit_s: least time that bytes need through the kernel, there and back.
    """

    def __init__(self, link: Path | None) -> None:
        if link is not None:
            check_link(link)
        self.master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self.master, False)
        self.path = os.ttyname(self._slave)
        self.stopped, self._stop = os.pipe()
        self._link = link
        self._closing = threading.Lock()
        self._closed = False
        try:
            self.transit_s = self._find_transit_s()
            self._make_link()
        except OSError:
            self.close()
            raise

    def _make_link(self) -> None:
        if self._link is not None:
            _link_beside(self._link, self.path).replace(self._link)

    def _find_transit_s(self) -> float:
        """Without waking up from sleep: nothing is ever faster, so no reply will be early.

        On a busy machine all trials may be slow, hence a bound.
        """
        there = min(_time_a_byte(self._slave, self.master) for _ in range(_TRIALS))
        back = min(_time_a_byte(self.master, self._slave) for _ in range(_TRIALS))
        return min(there + back, _LONGEST_TRANSIT_S)

    def stop(self) -> None:
        """Makes `stopped` readable; does nothing once closed."""
        with self._closing:
            if not self._closed:
                os.write(self._stop, b"x")

    def close(self) -> None:
        """Hangs up, and removes the link if it is still ours; does nothing once closed."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            link = self._link
            if link is not None and link.is_symlink() and str(link.readlink()) == self.path:
                link.unlink()
            for fd in (self.master, self._slave, self.stopped, self._stop):
                os.close(fd)

    @property
    def taken(self) -> bool:
        """Whether a program has the far end open and locked, as `SerialPort` does."""
        with self._closing:
            if self._closed:
                return False
            try:
                fcntl.flock(self._slave, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            fcntl.flock(self._slave, fcntl.LOCK_UN)
            return False

    def baudrate(self) -> int:
        """The speed the program has set at the far end, bits/s."""
        settings = fcntl.ioctl(self.master, _TCGETS2, bytes(_TERMIOS2.size))
        return int(_TERMIOS2.unpack(settings)[-1])

    def let_read(self, timeout_s: float) -> None:
        """Waits until the program has read what was sent, at most that long."""
        deadline = time.monotonic() + timeout_s
        # Asking whether the far end is readable also makes the kernel hand over what was written.
        while select.select([self._slave], [], [], 0)[0] and time.monotonic() < deadline:
            time.sleep(0.0005)


class Exchange:
    """Takes instructions from the pty and sends each reply when it is due.

    Replies are made one by one while the ones before them are on the wire, so that making them
    costs the program no time that a real line would not.

    Args:
        pty: where the program is.
        answer: the servos.
        faults: what goes wrong on the way.
        paced: bytes take their time on the wire.
        framing: the protocol.
    """

    def __init__(
        self, pty: Pty, answer: Answer, faults: Faults, paced: bool, framing: Framing
    ) -> None:
        self._pty = pty
        self._answer = answer
        self._faults = faults
        self._paced = paced
        self._framing = framing
        self._parser = framing.parser()
        self._requests: deque[tuple[Packet, int]] = deque()
        self._replies: Iterator[tuple[float, bytes]] = iter(())
        self._byte_s = 0.0
        self._making = False
        self._due: deque[tuple[float, bytes]] = deque()
        self._held = b""
        self._release_s = 0.0
        self._unsent = b""
        self._line_free_s = 0.0
        self._received_s = 0.0
        self._limit: int | None = None
        self._counted = 0

    def run(self) -> bool:
        """Until the pty is stopped (False), or `hang_up_after_bytes` is used up (True)."""
        _wake_punctually()
        while True:
            readable, _, _ = select.select(
                [self._pty.master, self._pty.stopped],
                [self._pty.master] if self._unsent else [],
                [],
                self._timeout_s(),
            )
            now_s = time.monotonic()
            if self._pty.stopped in readable:
                return False
            if self._pty.master in readable:
                self._receive(os.read(self._pty.master, 4096), now_s)
            elif self._parser.pending and now_s - self._received_s >= _SILENCE_S:
                self._hear(self._parser.flush(), self._pty.baudrate())
            self._make_replies()
            self._deliver()
            if not self._send():
                self._pty.let_read(_LAST_READ_S)
                return True

    def _timeout_s(self) -> float | None:
        """How long nothing needs doing; None for as long as nothing is received."""
        if self._making:
            return 0.0
        until = [self._handover_s()] if self._due else []
        if self._held:
            until.append(self._release_s)
        if self._parser.pending:
            until.append(self._received_s + _SILENCE_S)
        if not until:
            return None
        asleep_s = min(until) - time.monotonic() - (_SLEEPY_S if self._paced else 0.0)
        return max(0.0, asleep_s)

    def _handover_s(self) -> float:
        """When the replies that are due next have come over the wire, all of them or a frame's."""
        first_s, last_s = self._due[0][0], self._due[-1][0]
        return last_s if self._paced and last_s - first_s <= _TOGETHER_S else first_s

    def _receive(self, data: bytes, now_s: float) -> None:
        baudrate = self._pty.baudrate()
        if not baudrate:  # B0 means that the program has hung up: no servo hears it
            return
        self._received_s = now_s
        # The wire's time counts, not that of the pseudo-terminal, which is no part of a real line.
        self._line_free_s = max(self._line_free_s, now_s - self._pty.transit_s)
        if self._paced:
            self._line_free_s += len(data) * _BITS_PER_BYTE / baudrate
        if self._faults.echo:
            self._due.append((self._line_free_s, data))
        self._hear(self._parser.feed(data), baudrate)

    def _hear(self, sent: list[Packet], baudrate: int) -> None:
        for packet in sent:
            whole = self._framing.encode(packet)
            damaged = self._faults.damage_request(whole)
            if damaged == whole:
                self._requests.append((packet, baudrate))
            else:
                ears = self._framing.parser()
                left = ears.feed(damaged) + ears.flush()
                self._requests.extend((packet, baudrate) for packet in left)
        self._making = self._making or bool(self._requests)

    def _make_replies(self) -> None:
        """Makes replies until one is due, or there are no more."""
        while self._making and not (
            self._paced and self._due and self._handover_s() <= time.monotonic()
        ):
            reply = next(self._replies, None)
            if reply is not None:
                self._schedule(*reply)
            elif self._requests:
                packet, baudrate = self._requests.popleft()
                self._byte_s = _BITS_PER_BYTE / baudrate if self._paced else 0.0
                self._replies = iter(self._answer(packet, baudrate))
            else:
                self._making = False

    def _schedule(self, pause_s: float, reply: bytes) -> None:
        if self._paced:
            self._line_free_s += pause_s + len(reply) * self._byte_s
        due_s = self._line_free_s + self._faults.lateness_s()
        if self._due:
            due_s = max(due_s, self._due[-1][0])
        self._due.append((due_s, self._faults.damage(reply)))

    def _deliver(self) -> None:
        """Hands what has come over the wire to the adapter, and what that releases to the port."""
        now_s = time.monotonic()
        if self._due and self._handover_s() <= now_s:
            while self._due and self._due[0][0] <= now_s:
                due_s, data = self._due.popleft()
                self._collect(data, due_s)
        if self._held and self._release_s <= now_s:
            self._unsent += self._held
            self._held = b""

    def _collect(self, data: bytes, now_s: float) -> None:
        latency_s = self._faults.usb_latency_s
        if not self._held:
            self._release_s = now_s + latency_s
        self._held += data
        full = len(self._held) // _USB_PAYLOAD * _USB_PAYLOAD
        if full:
            self._unsent += self._held[:full]
            self._held = self._held[full:]
            self._release_s = now_s + latency_s

    def _send(self) -> bool:
        """Writes what the port takes; False if the adapter has been unplugged by that."""
        if not self._unsent:
            return True
        left = self._left()
        data = self._unsent if left is None else self._unsent[:left]
        sent = 0
        with contextlib.suppress(BlockingIOError):  # the program is slow to read: `run` waits
            sent = os.write(self._pty.master, data) if data else 0
        self._unsent = self._unsent[sent:]
        if left is not None:
            self._counted += sent
            return left > sent
        if len(self._unsent) > _UNREAD_BYTES:
            lost, self._unsent = len(self._unsent), b""
            _log.warning("nobody reads %s: %d bytes of replies lost", self._pty.path, lost)
        return True

    def _left(self) -> int | None:
        """Bytes until the adapter is unplugged.

        They are counted here: written back they would undo what another thread sets meanwhile.
        """
        limit = self._faults.hang_up_after_bytes
        if limit != self._limit:
            self._limit, self._counted = limit, 0
        return None if limit is None else limit - self._counted


def _time_a_byte(start: int, end: int) -> float:
    begun_s = time.monotonic()
    os.write(start, b"x")
    while not select.select([end], [], [], 0)[0]:
        pass
    taken_s = time.monotonic() - begun_s
    os.read(end, 1)
    return taken_s


def _wake_punctually() -> None:
    """Linux lets a thread's timers run 50 us late to save power: half a packet at 1 Mbaud."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"cannot set the timer slack: {os.strerror(number)}")
