"""Keys as a person presses them, from the first instant of a command. Loads nothing slow."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import select
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

_LOOK_S = 0.2
_INPUT, _CHARACTERS = 0, 6  # of what tcgetattr returns

# Arrows and other keys of several characters, of which none is a key by itself: where b is pressed,
# Shift and an arrow, ESC [ b, is not meant. Alt and a key are that key, as is one behind Escape.
_SEQUENCE = re.compile(r"\x1b(?:\[\[?[0-?]*[ -/]*[@-~]|O[0-9;]*[A-Za-z~])|\x1b")
_BEGUN = re.compile(r"\x1b(?:\[\[?[0-?]*[ -/]*|O[0-9;]*)?\Z")
# What is left of one comes within this time; later it is another key.
_TOGETHER_S = 0.1

_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def is_interactive() -> bool:
    """Whether a person can see the screen and press keys."""
    return sys.stdin.isatty() and sys.stdout.isatty()


class Keyboard:
    """Keys as they are pressed, without Enter and unseen, while entered. Ctrl-C stays SIGINT.

    Ctrl-Z and Ctrl-S are keys as others: a suspended program, or one that waits for its screen
    to go on, would hear no stop key, and the arm go on.
    What was typed before it was entered is not lost.
    """

    def __init__(self) -> None:
        self._descriptor = sys.stdin.fileno()
        self._settings: list[Any] = []
        self._pressed: list[str] = []
        self._begun, self._begun_s = "", 0.0

    def __enter__(self) -> Self:
        self._settings = termios.tcgetattr(self._descriptor)
        # By default what is waiting to be read would be thrown away.
        tty.setcbreak(self._descriptor, termios.TCSANOW)
        wanted = termios.tcgetattr(self._descriptor)
        wanted[_INPUT] &= ~termios.IXON
        wanted[_CHARACTERS][termios.VSUSP] = os.fpathconf(self._descriptor, "PC_VDISABLE")
        termios.tcsetattr(self._descriptor, termios.TCSANOW, wanted)
        return self

    def __exit__(self, *_: object) -> None:
        if not self._settings:  # it was interrupted before it began
            return
        with contextlib.suppress(termios.error):  # it is gone
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._settings)

    def poll(self, timeout_s: float) -> str:
        """The next key, "\\n" for Enter, "" if none was pressed in time.

        Arrows and other keys of several characters are passed over. Raises EOFError when the
        terminal is gone.
        """
        if not self._pressed and select.select([self._descriptor], [], [], timeout_s)[0]:
            try:
                typed = os.read(self._descriptor, 64).decode(errors="replace")
            except OSError as error:
                raise EOFError("the terminal is gone") from error
            if not typed:
                raise EOFError("the terminal is gone")
            # Python 3.12.0 and 3.12.1 have Enter come as the key itself does.
            self._pressed = list(self._keys(typed.replace("\r", "\n"), time.monotonic()))
        return self._pressed.pop(0) if self._pressed else ""

    def _keys(self, typed: str, now_s: float) -> str:
        """The keys of what was typed: a sequence may come in two parts, and among others."""
        if now_s - self._begun_s <= _TOGETHER_S:
            typed = self._begun + typed
        begun = _BEGUN.search(typed)
        self._begun, self._begun_s = ("", 0.0) if begun is None else (begun[0], now_s)
        return _SEQUENCE.sub("", typed[: None if begun is None else begun.start()])


class _Endings:
    """While entered, signals that would end the program at once are as Ctrl-C: it cleans up.

    A second one ends it at once, but gives the terminal back first; a second SIGHUP does nothing,
    as a closed terminal sends two. Signals that are ignored (`nohup`), or that the program
    handles, are left as they are, and so are all outside the main thread.
    """

    def __init__(self, keyboard: Keyboard) -> None:
        self._keyboard = keyboard
        self._came = False
        self._noted: list[signal.Signals] = []

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._noted = [n for n in _ENDING if signal.getsignal(n) is signal.SIG_DFL]
        for number in self._noted:
            signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number in self._noted:
            signal.signal(number, signal.SIG_DFL)

    def check(self) -> None:
        """Raise KeyboardInterrupt if a signal came: what is raised in an import may be lost."""
        if self._came:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self._came:
            self._came = True
            raise KeyboardInterrupt
        if number != signal.SIGHUP:
            self._keyboard.__exit__()
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


class KeyQueue:
    """A keyboard that is read by a thread while entered, so that no key waits for anything.

    Meanwhile a signal that ends the program (SIGTERM, SIGHUP, SIGQUIT) raises KeyboardInterrupt, as
    Ctrl-C does: a terminal that is left without echo shows nobody what is typed, and a message that
    a killed program sent last may be heard for seconds.
    """

    def __init__(self) -> None:
        self._keyboard = Keyboard()
        self._endings = _Endings(self._keyboard)
        self._keys: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._served: Callable[[str], bool] = lambda key: False
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._read, name="keys", daemon=True)

    def __enter__(self) -> Self:
        try:
            self._endings.__enter__()
            self._keyboard.__enter__()
            self._thread.start()
        except BaseException:  # this early nobody else calls __exit__
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._ending.set()
            if self._thread.is_alive():
                self._thread.join()
        finally:  # Ctrl-C again, while this waits: the terminal is to show what is typed
            self._keyboard.__exit__()
            self._endings.__exit__()

    def serve(self, served: Callable[[str], bool]) -> None:
        """Have every key given to a function at once, in the order they are pressed.

        That is in the thread that reads them, whatever the program does meanwhile; first, here,
        those that wait already. Where it answers that the key is done, `key` does not return it.
        """
        with self._lock:
            self._served = served
            waiting = [self._keys.get() for _ in range(self._keys.qsize())]
            for key in waiting:
                self._pass_on(key)

    def key(self, timeout_s: float) -> str:
        """The next key, or empty if none was pressed in time.

        Raises EOFError when the terminal is gone.
        """
        self._endings.check()
        try:
            key = self._keys.get(timeout=timeout_s)
        except queue.Empty:
            return ""
        if key is None:
            raise EOFError("the terminal is gone")
        return key

    def _read(self) -> None:
        while not self._ending.is_set():
            try:
                key: str | None = self._keyboard.poll(_LOOK_S)
            except EOFError:
                key = None
            if key != "":
                with self._lock:
                    self._pass_on(key)
            if key is None:
                return

    def _pass_on(self, key: str | None) -> None:
        if key is None or not self._served(key):
            self._keys.put(key)
