"""Waiting for the Enter key while something else goes on."""

from __future__ import annotations

import os
import select
import signal
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager


class EnterKey:
    """Lines typed on stdin, awaited with a time limit.

    Works in a terminal and on a pipe. Reads the descriptor itself: what Python's own buffer takes
    in ahead, select cannot see.
    """

    def __init__(self) -> None:
        self._descriptor = sys.stdin.fileno()
        self._typed = b""

    def line(self, timeout_s: float | None = None) -> str | None:
        """The next line without its end; None if none came in time.

        Raises:
            EOFError: the input has ended; nobody can answer any more.
        """
        while b"\n" not in self._typed:
            readable, _, _ = select.select([self._descriptor], [], [], timeout_s)
            if not readable:
                return None
            data = os.read(self._descriptor, 4096)
            if not data:
                raise EOFError
            self._typed += data
        line, _, self._typed = self._typed.partition(b"\n")
        return line.decode(errors="replace").strip()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Holds Ctrl-C back until the block has ended: for writes that must not stop half way."""
    held: list[int] = []

    def hold(number: int, frame: types.FrameType | None) -> None:
        held.append(number)

    previous = signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if held:
        raise KeyboardInterrupt
