"""A serial port that blocks in the kernel and notices when it is unplugged."""

from __future__ import annotations

import math
import os
import select
import termios
import time

import serial

from armlet.feetech.errors import PortError

_GONE = select.POLLHUP | select.POLLERR | select.POLLNVAL
_CHUNK = 4096


class SerialPort:
    """An open serial port, 8N1, locked against other programs.

    pyserial opens and configures the device. Reading and writing go to its file descriptor: its own
    calls neither tell a timeout from an unplugged adapter nor take all that is there at once.

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
            raise PortError(
                f"cannot open {path} at {baudrate} baud: {error}. Check that the adapter is "
                "plugged in, that you may use it (group dialout), that no other program has it open"
            ) from error
        self._fd: int = self._serial.fileno()
        self._readable = select.poll()
        self._readable.register(self._fd, select.POLLIN)
        self._writable = select.poll()
        self._writable.register(self._fd, select.POLLOUT)
        self._shorten_latency()

    def _shorten_latency(self) -> None:
        """FTDI adapters hold received bytes for 16 ms unless told not to; others lack the knob."""
        try:
            self._serial.set_low_latency_mode(True)
        except (OSError, ValueError, NotImplementedError):
            self.low_latency = False
        else:
            self.low_latency = True

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

    def read(self, deadline: float) -> bytes:
        """Waits for bytes and returns all that are there.

        What already lies in the kernel's buffer is returned even if the deadline has passed, so a
        process that was held up does not mistake its own lateness for the servo's.

        Args:
            deadline: time.monotonic() at which to give up.

        Returns:
            The bytes, empty if none came in time.

        Raises:
            PortError: the port is lost.
        """
        while self._wait(self._readable, deadline):
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
