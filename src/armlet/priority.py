"""How soon a process is run when others want the processor too: by what the kernel honours.

Niceness counts only among the processes of one session where the kernel groups them by session
(sched_autogroup, the default of desktop kernels), and every node is a session of its own. There the
session's own niceness counts, /proc/<pid>/autogroup. Neither shortens the wait of a thread that
slept for its turn as SCHED_RR does, for which a user needs a limit (RLIMIT_RTPRIO). A thread that
asks for a short time slice is run sooner too, since Linux 6.12, and any user may.
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
import os
import resource
import signal
import struct
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

_AUTOGROUP_ENABLED = Path("/proc/sys/kernel/sched_autogroup_enabled")
_TRIES = 5
_PAUSE_S = 0.12
"""The kernel lets ordinary users change one autogroup in 0.1 s, all of them together."""

_AWAKE_S = 0.5
"""A real-time thread that has not slept for so much processor time is no longer one."""

_AWAKE_LIMIT_S = 5.0
"""And after so much the kernel ends its process: its main thread could not act on the signal."""

_SWITCH_S = 0.0005
"""Python lets a thread run for 5 ms while another waits for the interpreter: half a control cycle,
and a real-time thread waits as long as any other."""

_CAP_SYS_NICE = 23

_LOWEST = 19
"""The niceness of what has time."""

_SLICE_NS = 100_000
"""The shortest time slice the kernel grants. Who asks for less at a time has its turn sooner."""

_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
"""The system call's number by machine; the C library has no function of it."""

_SCHED_ATTR = struct.Struct("=IIQiIQQQ")
"""struct sched_attr: size, policy, flags, nice, priority, runtime (of an ordinary thread: its
slice), deadline, period."""


@dataclass(frozen=True)
class Wish:
    """What a process asks for. nice: of its threads and session. realtime: of SCHED_RR, 0: not."""

    nice: int
    realtime: int = 0


class Role(enum.Enum):
    """What a process does, the most urgent first.

    Real time is for threads that sleep most of the time and hold nothing up: the control cycle and
    the emulated servos, which stand in for hardware. What works on pictures is not among them.
    """

    BUS = Wish(-10, 20)
    EMULATOR = Wish(-9, 15)
    CAMERA = Wish(-8)
    ALIGNER = Wish(-7)
    RECORDER = Wish(-5)


class Session(enum.StrEnum):
    """What became of the niceness of the session."""

    RAISED = "raised"
    REFUSED = "this user may not raise it"
    SHARED = "it is shared with other programs"
    UNGROUPED = "the kernel does not group sessions"


@dataclass(frozen=True)
class Granted:
    """What `raise_process` could do. nice: whether the threads have it."""

    nice: bool
    session: Session

    @property
    def effective(self) -> bool:
        """Whether the process goes before those of other sessions."""
        return self.nice and self.session in (Session.RAISED, Session.UNGROUPED)


def raise_process(nice: int) -> Granted:
    """Give this process's threads, and its session if it leads one, at most this niceness.

    Threads started later inherit it from the one that starts them. All threads, because the
    interpreter lock is held by any of them: one left behind would delay the others.
    """
    return Granted(_raise_threads(nice), _raise_session(nice))


def lower_process() -> None:
    """Run this process behind all others: its threads, and its session if it leads one."""
    os.setpriority(os.PRIO_PROCESS, 0, _LOWEST)
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):  # as precise as it can be had
            Path("/proc/self/autogroup").write_text(str(_LOWEST))


def _raise_threads(nice: int) -> bool:
    for thread in _threads():
        try:
            if os.getpriority(os.PRIO_PROCESS, thread) > nice:
                os.setpriority(os.PRIO_PROCESS, thread, nice)
        except ProcessLookupError:
            continue  # it has ended meanwhile
        except PermissionError:
            return False
    return True


def _raise_session(nice: int) -> Session:
    if not autogroup_enabled():
        return Session.UNGROUPED
    if os.getsid(0) != os.getpid():
        return Session.SHARED
    group = Path("/proc/self/autogroup")
    for _ in range(_TRIES):
        try:
            group.write_text(str(nice))
        except BlockingIOError:
            time.sleep(_PAUSE_S)
        except PermissionError:
            return Session.REFUSED
        else:
            return Session.RAISED
    return Session.REFUSED


def autogroup_enabled() -> bool:
    """Whether the kernel shares the processor among sessions rather than among processes."""
    try:
        return _AUTOGROUP_ENABLED.read_text().strip() == "1"
    except OSError:
        return False


def raise_thread(realtime: int, inherited: bool = False) -> int:
    """Run the calling thread by SCHED_RR at this priority, or as much of it as is permitted.

    Only for a thread whose every wait is known. Never for those of a library: Fast DDS's threads
    spin while one of another process is not run, which they, being real-time, do not let run.

    A thread that does not sleep for half a second of processor time goes back to ordinary, with a
    message; where even that can't be done the kernel ends the process after five. So a fault here
    cannot stop the computer. inherited: threads and processes that this one starts are real-time
    too. Other threads give the interpreter up sooner from now on, whether that is permitted or not.

    Returns:
        The priority it has now, 0: not permitted.
    """
    sys.setswitchinterval(min(_SWITCH_S, sys.getswitchinterval()))
    granted = min(realtime, realtime_limit())
    if granted <= 0:
        _shorten_slice()
        return 0
    bound_realtime()
    policy = os.SCHED_RR if inherited else os.SCHED_RR | os.SCHED_RESET_ON_FORK
    try:
        os.sched_setscheduler(0, policy, os.sched_param(granted))
    except PermissionError:  # in a sandbox, or in a group without a share
        _shorten_slice()
        return 0
    return granted


def _shorten_slice() -> None:
    """Have the calling thread, and those it starts, run sooner after they slept.

    What else it can do is done already, so a kernel that does not know of it is none the worse.
    """
    number = _SCHED_SETATTR.get(os.uname().machine)
    if number is None:
        return
    nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    wish = _SCHED_ATTR.pack(_SCHED_ATTR.size, os.SCHED_OTHER, 0, nice, 0, _SLICE_NS, 0, 0)
    ctypes.CDLL(None).syscall(number, 0, wish, 0)


def bound_realtime() -> None:
    """Have the kernel report a real-time thread that does not sleep (RLIMIT_RTTIME, SIGXCPU).

    Only the main thread can act on that signal: call this there first, if another one is to
    `raise_thread`. In a program that did not, there is no bound. It cannot be undone.
    """
    if threading.current_thread() is not threading.main_thread():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGXCPU})
        return
    signal.signal(signal.SIGXCPU, _on_awake)
    _, hard = resource.getrlimit(resource.RLIMIT_RTTIME)
    limits = [round(1e6 * limit_s) for limit_s in (_AWAKE_S, _AWAKE_LIMIT_S)]
    if hard != resource.RLIM_INFINITY:
        limits = [min(limit, hard) for limit in limits]
    resource.setrlimit(resource.RLIMIT_RTTIME, (limits[0], limits[1]))


def realtime_limit() -> int:
    """The highest SCHED_RR priority this user may take; 0: none. Linux."""
    if sys.platform != "linux":
        return 0
    if _capable():
        return os.sched_get_priority_max(os.SCHED_RR)
    soft, hard = resource.getrlimit(resource.RLIMIT_RTPRIO)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_RTPRIO, (hard, hard))
    highest = os.sched_get_priority_max(os.SCHED_RR)
    return highest if hard == resource.RLIM_INFINITY else min(hard, highest)


def lowest_nice() -> int:
    """The lowest niceness this user may take."""
    if _capable():
        return -20
    _, hard = resource.getrlimit(resource.RLIMIT_NICE)
    return -20 if hard == resource.RLIM_INFINITY else max(-20, 20 - hard)


def _capable() -> bool:
    """Whether this process may take any priority (capabilities(7), CAP_SYS_NICE)."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return os.geteuid() == 0
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) >> _CAP_SYS_NICE & 1)


def _threads() -> list[int]:
    return [int(thread.name) for thread in Path("/proc/self/task").iterdir()]


def _on_awake(number: int, frame: FrameType | None) -> None:
    """Take real time away from all threads."""
    for thread in _threads():
        with contextlib.suppress(ProcessLookupError):
            if os.sched_getscheduler(thread) & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR:
                os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))
    print(
        f"a real-time thread of process {os.getpid()} did not sleep for {_AWAKE_S} s of processor "
        "time: all its threads are ordinary again",
        file=sys.stderr,
        flush=True,
    )
