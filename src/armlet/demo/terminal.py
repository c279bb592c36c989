"""What a person sees while the demo runs."""

from __future__ import annotations

import sys
import time
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

    def wait(self, duration_s: float, what: str) -> None:
        """Let some seconds pass, showing how far they have."""
        begun = time.monotonic()
        while (left := begun + duration_s - time.monotonic()) > 0:
            if self._output.isatty():
                filled = round(_WIDTH * (1 - left / duration_s))
                bar = "█" * filled + "░" * (_WIDTH - filled)
                print(f"{_CLEAR}          {bar} {what}", end="", file=self._output, flush=True)
            time.sleep(min(left, 0.1))
