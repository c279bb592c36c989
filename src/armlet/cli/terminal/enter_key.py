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
    """Holds back what would end the program until the block has: for writes not to stop half way.

    Ctrl-C, a closed terminal, a SIGTERM; then they do what they would have done.
    """
    held: list[int] = []

    def hold(number: int, frame: types.FrameType | None) -> None:
        held.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = {number: signal.signal(number, hold) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    # An error of the block ends the program as well, and tells more.
    for each in held:
        signal.raise_signal(each)
