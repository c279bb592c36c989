"""Ctrl-C where ROS 2 calls Python: noted by the signal, raised between two turns."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from types import FrameType, TracebackType


class Interrupts:
    """Notes SIGINT, SIGTERM and SIGHUP while it is entered; `check` raises KeyboardInterrupt.

    A KeyboardInterrupt raised inside a callback from C++ is lost or becomes another error there.
    A second signal is raised wherever the program is, should it never come to `check`; a second
    SIGHUP is not, as a closed terminal sends two. One that is ignored, as `nohup` has it, stays
    that. also: further signals.
    """

    def __init__(self, also: Iterable[signal.Signals] = ()) -> None:
        self._numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, *also)
        self._came = False
        self._before: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> Interrupts:
        for number in self._numbers:
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
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
        if self._came and number != signal.SIGHUP:
            raise KeyboardInterrupt
        self._came = True
