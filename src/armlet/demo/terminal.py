"""What a person sees while the demo runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

_WIDTH = 30
_CLEAR = "\r\033[K"


class Terminal:
    """Lines with the time since start; on a terminal also a bar while something takes its time."""

    def __init__(self, output: TextIO = sys.stdout):
        self._output = output
        self._begun = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line that stays."""
        clear = _CLEAR if self._output.isatty() else ""
        elapsed = time.monotonic() - self._begun
        print(f"{clear}[{elapsed:5.1f} s] {text}", file=self._output, flush=True)

    @contextmanager
    def bar(self, what: str) -> Iterator[Callable[[float], None]]:
        """A bar on a terminal; to be given the share of a wait that is over, 0..1."""

        def show(share: float) -> None:
            if self._output.isatty():
                filled = round(_WIDTH * share)
                bar = "█" * filled + "░" * (_WIDTH - filled)
                print(f"{_CLEAR}          {bar} {what}", end="", file=self._output, flush=True)

        show(0.0)
        yield show
