"""Stops single threads of a process of ours, as a deadlock would: by ptrace(2), Linux only."""

import ctypes
import os
import time
from contextlib import contextmanager, suppress
from pathlib import Path

_SEIZE, _INTERRUPT, _DETACH = 0x4206, 0x4207, 17
_WALL = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def threads(pid):
    """Names of a process's threads by their ids."""
    names = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            names[int(task.name)] = (task / "comm").read_text().strip()
    return names


def _ptrace(request, thread):
    if _libc.ptrace(request, thread, None, None) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace: {os.strerror(number)}")


class Stopped:
    """Stopped threads; this process's thread that stopped them has to end it too."""

    def __init__(self, pid, wanted):
        self.names = []
        self._threads = []
        for thread, name in threads(pid).items():
            if wanted(thread, name):
                _ptrace(_SEIZE, thread)
                _ptrace(_INTERRUPT, thread)
                os.waitpid(thread, _WALL)
                self.names.append(name)
                self._threads.append(thread)

    def go_on(self):
        """Let them go on; of a process that has ended, let it be buried."""
        for thread in self._threads:
            try:
                _ptrace(_DETACH, thread)
            except OSError:  # it has ended
                os.waitpid(thread, _WALL)
        self._threads = []

    def reap(self, timeout_s=120.0):
        """Wait until they have ended with their process, which cannot end before that."""
        end_s = time.monotonic() + timeout_s
        while self._threads:
            assert time.monotonic() < end_s, f"{self.names} have not ended"
            ended, _ = os.waitpid(self._threads[0], _WALL | os.WNOHANG)
            if ended:
                self._threads.pop(0)
            else:
                time.sleep(0.02)


@contextmanager
def stopped(pid, wanted):
    """The threads of a process that are wanted, by id and name, stopped."""
    held = Stopped(pid, wanted)
    try:
        yield held
    finally:
        held.go_on()
