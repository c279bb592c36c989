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
KEYS = (f"{STOP_KEY}: STOP, torque off · Ctrl-C: end", f"{STOP_KEY}: STOP · Ctrl-C: end")

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

    def show(self, parts: Sequence[str] = (), keys: Sequence[str] = ()) -> None:
        """Another last line; without parts: none.

        parts: most important first; what has no room is left out, and counted. keys: the same words
        at their longest and shorter; they are always there.
        """
        shown = _fitted(parts, keys or ("",), shutil.get_terminal_size().columns - 1)
        with self._lock:
            if shown != self._line:
                self._line = shown
                self._stream.write(_CLEAR + self._line)
                self._stream.flush()


def _fitted(parts: Sequence[str], keys: Sequence[str], width: int) -> str:
    """One line of so many characters at most: as many parts as there is room for, then the keys."""
    for words in keys:
        if len(whole := _line(*parts, words)) <= width:
            return whole
    for count in range(len(parts) - 1, 0, -1):
        if len(some := _line(*parts[:count], f"+{len(parts) - count}", words)) <= width:
            return some
    room = max(0, width - len(_line("", words)))
    return _line(f"{parts[0][: max(0, room - 1)]}…", words)[:width]


def _line(first: str, *others: str) -> str:
    return _BETWEEN.join([first, *filter(None, others)])


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

    def press(key: str) -> bool:
        if key == STOP_KEY:
            stopping.set()
        return True

    with KeyQueue() as keys:
        keys.serve(press)
        drawing = threading.Thread(
            target=_draw, args=(screen, namespace, followers, stopping, ending), daemon=True
        )
        drawing.start()
        try:
            yield screen
        finally:
            ending.set()
            drawing.join()
            screen.show()


def _draw(
    screen: StatusLine,
    namespace: str,
    followers: Sequence[str],
    stopping: threading.Event,
    ending: threading.Event,
) -> None:
    screen.show(["starting"], KEYS)
    from armlet.client.live import LiveGraph

    with LiveGraph(namespace, followers, stopping) as graph:
        while not ending.wait(_LOOK_S):
            for warning in graph.warnings():
                screen.write(f"! {warning}\n")
            screen.show(graph.parts() or ["starting"], KEYS)
