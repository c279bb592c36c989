"""One clock for several processes: a word of shared memory, so that reading it needs no message."""

from __future__ import annotations

import mmap
import os
import time

_REAL = -1
_SECOND_NS = 1_000_000_000
_SIZE = 8


class SharedTime:
    """Seconds of a clock that one process sets and others read; call it.

    Until it is set, and after `follow_monotonic`, it is `time.monotonic`, which all processes of
    a computer share. Set it to times of that order (not Unix time): as float seconds they are exact
    to far less than a microsecond.

    Args:
        fd: descriptor of the memory, as another process's `SharedTime.fd`; this object owns it.
            None: new memory, at first `time.monotonic`.

    Attributes:
        fd: descriptor of the memory, to pass to a child process.
    """

    def __init__(self, fd: int | None = None) -> None:
        self.fd = os.memfd_create("armlet-time") if fd is None else fd
        if fd is None:
            os.ftruncate(self.fd, _SIZE)
        self._memory = mmap.mmap(self.fd, _SIZE)
        # An aligned word is read and written whole, so no reader sees half of a time.
        self._word = memoryview(self._memory).cast("q")
        if fd is None:
            self.follow_monotonic()

    def __call__(self) -> float:
        ns = self._word[0]
        return time.monotonic() if ns == _REAL else ns / _SECOND_NS

    def set_ns(self, now_ns: int) -> None:
        """The time is this from now on, ns; ValueError if negative."""
        if now_ns < 0:
            raise ValueError(f"a time is 0 ns or later, found {now_ns}")
        self._word[0] = now_ns

    def follow_monotonic(self) -> None:
        """The time is `time.monotonic` from now on."""
        self._word[0] = _REAL

    def close(self) -> None:
        """Give the memory back; other processes keep theirs."""
        self._word.release()
        self._memory.close()
        os.close(self.fd)
