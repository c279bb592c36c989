"""A serial port that blocks in the kernel and notices when it is unplugged."""

from __future__ import annotations

import contextlib
import math
import os
import select
import termios
import time
from pathlib import Path

import serial

from armlet.motors.protocol import PortError

_GONE = select.POLLHUP | select.POLLERR | select.POLLNVAL
_CHUNK = 4096
_SELECTABLE = 1024
"""File descriptors from this number on are beyond select(2)."""

_TTYS = Path("/sys/class/tty")


class SerialPort:
    """An open serial port, 8N1, locked against other programs.

    pyserial opens and configures the device. Reading and writing go to its file descriptor: its own
    calls neither tell a timeout from an unplugged adapter nor take all that is there at once.

    USB adapters collect received bytes before they hand them over. FTDI's do so for 16 ms unless
    their latency timer is set shorter, which limits a bus to 60 requests per second; the others
    (CH340/CH343, CP210x, CDC) hand over after about a millisecond and have no such setting. The
    port asks the driver for low latency, which sets FTDI's timer to 1 ms, and where the timer is
    still longer, writes it to /sys/class/tty/NAME/device/latency_timer; that needs root or a udev
    rule (ACTION=="add", SUBSYSTEM=="usb-serial", DRIVER=="ftdi_sio", ATTR{latency_timer}="1").

    Attributes:
        path: the device.
        low_latency: whether the driver agreed to low latency; most have no notion of it.
        latency_timer_ms: for how long the adapter collects bytes; None if it has no such timer.

    Args:
        path: device to open.
        baudrate: bits per second.

    Raises:
        PortError: the device cannot be opened, set up or locked.
    """

    def __init__(self, path: str, baudrate: int) -> None:
        self.path = path
        try:
            self._serial = serial.Serial(path, baudrate, timeout=0, exclusive=True)
        except (OSError, ValueError, termios.error) as error:
            # termios.error is no OSError: pyserial lets it through when the adapter goes away.
            number = getattr(error, "errno", None)  # pyserial's words have it twice
            why = os.strerror(number) if number else str(error)
            raise PortError(
                f"cannot open {path} at {baudrate} baud: {why}. Check that the adapter is "
                "plugged in, that you may use it (group dialout), that no other program has it open"
            ) from error
        self._fd: int = self._serial.fileno()
        self._reading = (self._fd,)
        self._readable = select.poll()
        self._readable.register(self._fd, select.POLLIN)
        self._writable = select.poll()
        self._writable.register(self._fd, select.POLLOUT)
        self._shorten_latency()

    def _shorten_latency(self) -> None:
        try:
            self._serial.set_low_latency_mode(True)
        except (OSError, ValueError, NotImplementedError):
            self.low_latency = False
        else:
            self.low_latency = True
        self.latency_timer_ms = shorten_latency_timer(self.path)

    def close(self) -> None:
        """Closes the device. Safe to call twice and after the device is gone."""
        self._serial.close()

    def drain(self) -> bytes:
        """Takes what has been received so far, without waiting. Raises PortError."""
        received = b""
        while data := self._read():
            received += data
        return received

    def write(self, data: bytes, timeout_s: float) -> None:
        """Hands all bytes to the kernel.

        Raises:
            PortError: the port is lost, or takes no bytes for `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        while data:
            try:
                sent = os.write(self._fd, data)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                raise self._lost(str(error)) from error
            data = data[sent:]
            if data and not self._wait(self._writable, deadline):
                raise self._lost(f"it accepted no bytes for {timeout_s:g} s")

    def read(self, deadline: float, awake_until: float = 0.0) -> bytes:
        """Waits for bytes and returns all that are there.

        What already lies in the kernel's buffer is returned even if the deadline has passed, so a
        process that was held up does not mistake its own lateness for the servo's.

        Args:
            deadline: time.monotonic() at which to give up.
            awake_until: time.monotonic() until which it looks for them without sleeping.

        Returns:
            The bytes, empty if none came in time.

        Raises:
            PortError: the port is lost.
        """
        while time.monotonic() < awake_until:
            if data := self._read():
                return data
        while self._wait_readable(deadline):
            data = self._read()
            if data is None:
                continue
            if not data:
                raise self._lost("end of file, or another program reads from it")
            return data
        return b""

    def _read(self) -> bytes | None:
        """One read(2): None if it would block, empty if there is nothing or the device is gone."""
        try:
            return os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return None
        except OSError as error:
            raise self._lost(str(error)) from error

    def _wait_readable(self, deadline: float) -> bool:
        """To the microsecond, where poll(2) as Python has it rounds up to milliseconds."""
        remaining_s = max(0.0, deadline - time.monotonic())
        if self._fd < _SELECTABLE:
            try:
                return bool(select.select(self._reading, (), (), remaining_s)[0])
            except (OSError, ValueError) as error:
                raise self._lost(str(error)) from error
        return self._wait(self._readable, deadline)

    def _wait(self, poller: select.poll, deadline: float) -> bool:
        remaining_ms = max(0, math.ceil((deadline - time.monotonic()) * 1000))
        for _, event in poller.poll(remaining_ms):
            if event & _GONE:
                raise self._lost("hung up")
            return True
        return False

    def _lost(self, how: str) -> PortError:
        return PortError(
            f"lost {self.path} ({how}). Check the USB cable and the adapter, then open it again"
        )


def shorten_latency_timer(path: str) -> int | None:
    """Sets an FTDI adapter's latency timer to 1 ms where permitted.

    Returns:
        What the timer is then, ms; None if the device has none.
    """
    timer = _TTYS / Path(path).resolve().name / "device/latency_timer"
    try:
        if int(timer.read_text()) > 1:
            with contextlib.suppress(PermissionError):
                timer.write_text("1")
        return int(timer.read_text())
    except (OSError, ValueError):
        return None
