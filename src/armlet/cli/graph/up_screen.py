"""The last line of `armlet up` in a terminal: how the graph does, and its keys."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import TextIO

from armlet.cli.terminal.keyboard import KeyQueue, is_interactive

STOP_KEY = "x"
KEYS = f"{STOP_KEY}: STOP, torque off · Ctrl-C: end"

_LOOK_S = 0.1
_BETWEEN = " · "
_CLEAR = "\r\x1b[K"


class StatusLine:
    """A stream whose last line stays: what is written appears above it. For several threads."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.RLock()
        self._partial = ""
        self._line = ""

    def write(self, text: str) -> int:
        """Whole lines, above the last one; a part of a line waits for its end."""
        with self._lock:
            self._partial += text
            whole, newline, self._partial = self._partial.rpartition("\n")
            if newline:
                self._stream.write(f"{_CLEAR}{whole}\n{self._line}")
        return len(text)

    def flush(self) -> None:
        """As of any stream."""
        with self._lock:
            self._stream.flush()

    def show(self, line: str, keys: str = "") -> None:
        """Another last line; empty: none. What does not fit is cut, but never the keys."""
        width = shutil.get_terminal_size().columns - 1
        room = max(0, width - len(keys) - len(_BETWEEN)) if keys else width
        cut = line if len(line) <= room else f"{line[: max(0, room - 1)]}…"
        shown = f"{cut}{_BETWEEN}{keys}"[:width] if keys else cut[:width]
        with self._lock:
            if shown != self._line:
                self._line = shown
                self._stream.write(_CLEAR + self._line)
                self._stream.flush()


def is_watched() -> bool:
    """Whether a person sees the screen, and this program may read the keyboard."""
    if not is_interactive():
        return False
    # A program in the background would be stopped for touching the terminal.
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except OSError:  # it is another session's (`setsid`), whose keys these are
        return False


@contextlib.contextmanager
def status_line(namespace: str, followers: Sequence[str]) -> Iterator[StatusLine]:
    """The stream for a graph's output; meanwhile keys are read and the last line is kept.

    Keys count from the first instant, before ROS is loaded.
    """
    screen, ending, stopping = StatusLine(sys.stdout), threading.Event(), threading.Event()
    with KeyQueue() as keys:
        pressing = threading.Thread(target=_press, args=(keys, stopping, ending), daemon=True)
        drawing = threading.Thread(
            target=_draw, args=(screen, namespace, followers, stopping, ending), daemon=True
        )
        for thread in (pressing, drawing):
            thread.start()
        try:
            yield screen
        finally:
            ending.set()
            for thread in (pressing, drawing):
                thread.join()
            screen.show("")


def _press(keys: KeyQueue, stopping: threading.Event, ending: threading.Event) -> None:
    with contextlib.suppress(EOFError):
        while not ending.is_set():
            if keys.key(_LOOK_S) == STOP_KEY:
                stopping.set()


def _draw(
    screen: StatusLine,
    namespace: str,
    followers: Sequence[str],
    stopping: threading.Event,
    ending: threading.Event,
) -> None:
    screen.show("starting", KEYS)
    from armlet.client.live import LiveGraph

    with LiveGraph(namespace, followers, stopping) as graph:
        while not ending.wait(_LOOK_S):
            for warning in graph.warnings():
                screen.write(f"! {warning}\n")
            screen.show(graph.line() or "starting", KEYS)
