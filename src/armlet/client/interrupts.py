"""Ctrl-C where ROS 2 calls Python: noted by the signal, raised between two turns."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType


class Interrupts:
    """Notes SIGINT and SIGTERM while it is entered; `check` raises KeyboardInterrupt for them.

    A KeyboardInterrupt raised inside a callback from C++ is lost or becomes another error there.
    A second signal is raised wherever the program is, should it never come to `check`.
    """

    def __init__(self) -> None:
        self._came = False
        self._before: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> Interrupts:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    @property
    def came(self) -> bool:
        """Whether a signal came that `check` has not raised."""
        return self._came

    def check(self) -> None:
        """Raise KeyboardInterrupt, once, if a signal came."""
        came, self._came = self._came, False
        if came:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._came:
            raise KeyboardInterrupt
        self._came = True
