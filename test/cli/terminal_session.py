"""An armlet command in a real terminal, driven and read as a person would.

    with TerminalSession("calibrate", "--port", bus.port, columns=100, rows=30) as session:
        session.wait_for("press Enter")     # awaits output; fails with the screen if it never comes
        session.send(ENTER)
        session.wait_for(r"ok +ok", regex=True)
        session.send(CTRL_C)                # as typed: the terminal makes it SIGINT
        assert session.wait_end() == 130
        print("\n".join(session.screen()))

The command runs as `python -m armlet.cli.main ...` in a session of its own whose controlling
terminal is a pseudo-terminal; everything it prints goes to a pyte screen. Nothing here sleeps: all
waiting is for bytes from the command, so a wait ends as soon as its text is on the screen. Text
that is drawn over before its bytes are read in (some milliseconds) is not seen by `wait_for`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable

import pyte
from awaited_replies import preparation
from forked_python import COMMANDS, Forked

ENTER = "\r"
CTRL_C = "\x03"
# By the wall clock, and only so that a broken test ends.
TIMEOUT_S = 120.0
_PRESSED_AGAIN_S = 8.0

# Makes stdin the controlling terminal, without code between fork and exec: tests have threads.
# A suite that runs in the background ignores SIGINT, and so would all it starts.
_LAUNCHER = (
    "import fcntl, os, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
)


class TerminalSession:
    """A running command and its screen; leaving the `with` block kills what still runs.

    Args:
        arguments: of `armlet`.
        columns: width of the terminal.
        rows: height of the terminal.
        environment: variables beyond this process's; None as value removes one.
        program: what to run instead of a fork, which is as `python -m armlet.cli.main` but for the
            loading of modules; see forked_python.
        prepared: code that the fork runs first.
    """

    def __init__(
        self,
        *arguments: str,
        columns: int = 100,
        rows: int = 30,
        environment: dict[str, str | None] | None = None,
        program: tuple[str, ...] = (),
        prepared: str = "",
    ) -> None:
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self.output = b""
        """Every byte so far, control sequences included."""
        self._master, slave = os.openpty()
        _set_size(slave, columns, rows)
        given = _environment(environment or {})
        self.process: subprocess.Popen[bytes] | Forked
        try:
            if program:
                self.process = subprocess.Popen(
                    [sys.executable, "-ISc", _LAUNCHER, *program, *arguments],
                    stdin=slave,
                    stdout=slave,
                    stderr=slave,
                    env=given,
                    start_new_session=True,
                )
            else:
                command = ["-m", "armlet.cli.main", *arguments]
                files = (slave, slave, slave)
                self.process = Forked(
                    sys.executable,
                    COMMANDS,
                    command,
                    given,
                    files,
                    terminal=True,
                    prepared=preparation() + prepared,
                )
        finally:
            os.close(slave)

    def __enter__(self) -> TerminalSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.process.__exit__(None, None, None)
        os.close(self._master)

    def screen(self) -> list[str]:
        """The screen's lines as they stand, without trailing blanks."""
        return [line.rstrip() for line in self._screen.display]

    def colour_at(self, text: str) -> str:
        """Foreground colour of the first place that shows the text, pyte's name for it."""
        for y, line in enumerate(self._screen.display):
            if text in line:
                return str(self._screen.buffer[y][line.index(text)].fg)
        raise AssertionError(self._said(f"{text!r} is not on the screen"))

    def echoes(self) -> bool:
        """Whether the terminal shows what is typed: false while a program reads single keys."""
        return bool(termios.tcgetattr(self._master)[3] & termios.ECHO)

    def send(self, keys: str) -> None:
        """Types the keys."""
        os.write(self._master, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        """Changes the terminal's size; the command gets SIGWINCH."""
        self._screen.resize(rows, columns)
        _set_size(self._master, columns, rows)

    def wait_for(self, text: str, *, regex: bool = False, timeout_s: float = TIMEOUT_S) -> str:
        """Waits until the text (or a match of the regex, lines joined by newlines) is shown.

        Returns what matched. Raises AssertionError with the screen if it ends or takes too long.
        """
        pattern = re.compile(text if regex else re.escape(text), re.MULTILINE)
        found: list[re.Match[str]] = []

        def shown() -> bool:
            match = pattern.search("\n".join(self.screen()))
            found.extend([match] if match else [])
            return match is not None

        self._read_until(shown, f"wait for {text!r}", timeout_s)
        return found[0][0]

    def press_until(self, keys: str, text: str) -> None:
        """Types the keys, and again until the text is shown: what was ready may not have stayed so.

        For keys that do nothing once it is. Raises AssertionError if it takes too long.
        """
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            self.send(keys)
            try:
                self.wait_for(text, timeout_s=_PRESSED_AGAIN_S)
                return
            except AssertionError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise

    def wait_until(self, condition: Callable[[list[str]], bool], what: str = "condition") -> None:
        """Waits until the condition on the screen's lines holds, looked at after each output."""
        self._read_until(lambda: condition(self.screen()), what, TIMEOUT_S)

    def interrupt(self, timeout_s: float = TIMEOUT_S) -> int:
        """Presses Ctrl-C until the command ends; its exit status.

        One that comes while Python begins to wait for a line is seen with the next key only.
        """
        deadline = time.monotonic() + timeout_s
        while self.process.poll() is None and time.monotonic() < deadline:
            self.send(CTRL_C)
            with contextlib.suppress(AssertionError):
                return self.wait_end(_PRESSED_AGAIN_S)
        return self.wait_end(timeout_s)

    def wait_end(self, timeout_s: float = TIMEOUT_S) -> int:
        """Reads until the command ends; its exit status (negative: the signal that killed it)."""
        deadline = time.monotonic() + timeout_s
        while self._read(deadline, "wait for its end"):
            pass
        return self.process.wait(timeout=max(1.0, deadline - time.monotonic()))

    def _read_until(self, done: Callable[[], bool], what: str, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not done():
            if not self._read(deadline, what):
                status = self.process.wait(timeout=TIMEOUT_S)
                raise AssertionError(self._said(f"{what}: the command ended with {status}"))

    def _read(self, deadline: float, what: str) -> bool:
        """Takes the next output in; False at its end."""
        left_s = deadline - time.monotonic()
        readable, _, _ = select.select([self._master], [], [], max(0.0, left_s))
        if not readable:
            raise AssertionError(self._said(f"{what}: in vain"))
        try:
            data = os.read(self._master, 4096)
        except OSError:  # EIO: nobody has the other end open any more
            return False
        self.output += data
        self._stream.feed(data)
        return bool(data)

    def _said(self, what: str) -> str:
        return "\n".join([what, "the screen:", *(f"|{line}" for line in self.screen())])


def _environment(changes: dict[str, str | None]) -> dict[str, str]:
    plain = {"TERM": "xterm-256color", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
    unset = dict.fromkeys(("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "COLORTERM"))
    merged = {**os.environ, **unset, **plain, **changes}
    return {name: value for name, value in merged.items() if value is not None}


def _set_size(descriptor: int, columns: int, rows: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
