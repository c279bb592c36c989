"""Priority by what the kernel honours: what a process asked for is what the kernel says it has."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from armlet import lateness, priority
from armlet.priority import Role

LONG_S = 120.0
AS_ROOT = pytest.mark.skipif(
    os.geteuid() != 0, reason="needs root, to become an ordinary user with given limits"
)

# Becomes an ordinary user, whose files in /proc are its own, as after a login.
NOBODY = """
import ctypes, os, resource, struct, sys
for which, soft, hard in {limits}:
    try:
        resource.setrlimit(which, (soft, hard))
    except ValueError:
        sys.exit("no right")
libc = ctypes.CDLL(None)
libc.prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
mask = {capabilities}
header, data = struct.pack("Ii", 0x20080522, 0), struct.pack("6I", mask, mask, 0, 0, 0, 0)
assert libc.capset(header, data) == 0
libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE
"""
NICE = (resource.RLIMIT_NICE, 30, 30)
CAP_SYS_NICE = 1 << 23

# What the kernel says of a process that asked for the bus's priority, in its own session.
ASK = """
import json, os, threading
from armlet.priority import Role, raise_process, raise_thread
other = threading.Event()
thread = threading.Thread(target=other.wait, daemon=True)
thread.start()
granted = raise_process(Role.BUS.value.nice)
realtime = raise_thread(Role.BUS.value.realtime)
try:
    # Empty in a session that no group was made for, as the first one in some containers.
    group = (open("/proc/self/autogroup").read().split() or [None])[-1]
except FileNotFoundError:
    group = None
nice = [os.getpriority(os.PRIO_PROCESS, int(t)) for t in os.listdir("/proc/self/task")]
late = []
def look():
    late.append(os.sched_getscheduler(0))
child = threading.Thread(target=look)
child.start()
child.join()
print(json.dumps({
    "nice": nice, "group": group, "session": granted.session.name, "effective": granted.effective,
    "realtime": realtime, "policy": os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK,
    "priority": os.sched_getparam(0).sched_priority, "child": late[0],
}))
other.set()
"""


def ask(before="", session=True):
    code = ASK.replace("other = ", f"{before}\nother = ", 1)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        start_new_session=session,
        timeout=LONG_S,
    )
    if done.stderr == "no right\n":
        pytest.skip("this root may not raise limits (CAP_SYS_RESOURCE)")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def grouped():
    return priority.autogroup_enabled()


def test_the_order_of_need():
    order = (Role.BUS, Role.EMULATOR, Role.CAMERA, Role.ALIGNER, Role.RECORDER)
    assert tuple(Role) == order
    nices = [role.value.nice for role in order]
    assert nices == sorted(nices) and len(set(nices)) == len(nices)
    # Real time is for threads that sleep: pictures are worked on by none of them.
    assert [role for role in order if role.value.realtime] == [Role.BUS, Role.EMULATOR]


@AS_ROOT
def test_who_may_gets_all_of_it():
    had = ask()
    assert set(had["nice"]) == {-10}
    assert had["effective"]
    if grouped():
        assert (had["session"], had["group"]) == ("RAISED", "-10")
    assert (had["realtime"], had["policy"], had["priority"]) == (20, os.SCHED_RR, 20)
    # What a real-time thread starts is not real-time: an encoder would stop the computer.
    assert had["child"] == os.SCHED_OTHER


@AS_ROOT
@pytest.mark.parametrize(
    ("limits", "nice", "realtime"),
    [
        ([], 0, 0),
        ([NICE], -10, 0),
        ([(resource.RLIMIT_RTPRIO, 20, 20)], 0, 20),
        ([(resource.RLIMIT_RTPRIO, 0, 5)], 0, 5),
        ([NICE, (resource.RLIMIT_RTPRIO, 50, 50)], -10, 20),
    ],
)
def test_an_ordinary_user_gets_what_the_limits_permit(limits, nice, realtime):
    check_ordinary(ask(NOBODY.format(limits=limits, capabilities=0)), nice, realtime)


@AS_ROOT
def test_an_ordinary_user_with_the_capability_gets_all_of_it():
    check_ordinary(ask(NOBODY.format(limits=[], capabilities=CAP_SYS_NICE)), -10, 20)


def check_ordinary(had, nice, realtime):
    # Without the right to it, what this suite itself was given (`nice make test`).
    assert min(had["nice"]) == (nice or os.getpriority(os.PRIO_PROCESS, 0))
    assert had["effective"] == (nice < 0)
    if grouped():
        assert had["session"] == ("RAISED" if nice else "REFUSED")
        assert had["group"] == str(nice)
    assert had["realtime"] == had["priority"] == realtime
    assert had["policy"] == (os.SCHED_RR if realtime else os.SCHED_OTHER)


SLICES = """
import threading
from armlet.priority import Role, raise_thread
{nobody}
def slice_ns():
    attr = ctypes.create_string_buffer(48)
    number = {"x86_64": 315, "aarch64": 275}[os.uname().machine]
    assert ctypes.CDLL(None).syscall(number, 0, attr, 48, 0) == 0  # sched_getattr
    return struct.unpack("=IIQiIQQQ", attr.raw)[5]
slices = [slice_ns()]
raise_thread(Role.EMULATOR.value.realtime, inherited=True)
child = threading.Thread(target=lambda: slices.append(slice_ns()))
child.start()
child.join()
print(os.getpriority(os.PRIO_PROCESS, 0), *slices, slice_ns())
"""


@AS_ROOT
@pytest.mark.parametrize("limits", [[], [NICE]])
def test_a_thread_without_the_right_to_real_time_has_a_short_slice(limits):
    code = SLICES.replace("{nobody}", NOBODY.format(limits=limits, capabilities=0))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=LONG_S
    )
    if done.stderr == "no right\n":
        pytest.skip("this root may not raise limits (CAP_SYS_RESOURCE)")
    assert done.returncode == 0, done.stderr
    nice, before, child, after = map(int, done.stdout.split())
    if not before:
        pytest.skip("a kernel before 6.12 knows no slices of threads")
    assert after == child == 100_000 < before
    assert nice == os.getpriority(os.PRIO_PROCESS, 0)


@AS_ROOT
def test_a_session_shared_with_other_programs_is_left_alone():
    before = Path("/proc/self/autogroup").read_text() if grouped() else ""
    had = ask(session=False)
    assert set(had["nice"]) == {-10}
    if grouped():
        assert had["session"] == "SHARED" and not had["effective"]
        assert Path("/proc/self/autogroup").read_text() == before


SPIN = """
import os, threading, time
from armlet.priority import bound_realtime, raise_thread
bound_realtime()
def spin():
    raise_thread(5)
    print(os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK, flush=True)
    while os.sched_getscheduler(0):
        pass
    print(os.sched_getscheduler(0), flush=True)
thread = threading.Thread(target=spin)
thread.start()
thread.join()
"""


@AS_ROOT
def test_a_real_time_thread_that_does_not_sleep_becomes_ordinary():
    done = subprocess.run(
        [sys.executable, "-c", SPIN], capture_output=True, text=True, check=True, timeout=LONG_S
    )
    assert done.stdout.split() == [str(os.SCHED_RR), str(os.SCHED_OTHER)]
    assert "did not sleep" in done.stderr


# A search that never ends, in which no other thread of Python's is run.
HOLD = """
import re, threading
from armlet.priority import bound_realtime, raise_thread
bound_realtime()
def hold():
    raise_thread(5)
    print("holds", flush=True)
    re.match("(a*)*b", "a" * 60)
thread = threading.Thread(target=hold)
thread.start()
thread.join()
"""


@pytest.mark.thorough
@AS_ROOT
def test_the_kernel_ends_a_process_whose_real_time_thread_lets_nobody_take_that_away():
    command = [sys.executable, "-c", HOLD]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONG_S)
    assert done.stdout == "holds\n"
    assert done.returncode == -signal.SIGKILL


TURNS = """
import sys, threading
from armlet.priority import raise_thread
thread = threading.Thread(target=raise_thread, args=(1,))
thread.start()
thread.join()
print(sys.getswitchinterval())
sys.setswitchinterval(1e-4)
raise_thread(1)
print(sys.getswitchinterval())
"""


def test_a_real_time_thread_waits_less_than_half_a_cycle_for_the_interpreter():
    command = [sys.executable, "-c", TURNS]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=LONG_S)
    first, second = map(float, done.stdout.split())
    assert first == pytest.approx(0.0005, rel=0.05)
    assert second == pytest.approx(0.0001, rel=0.05), "a shorter one stays"


def test_lateness_is_of_every_turn():
    late = lateness.of_turns([0.001 * n for n in range(1, 101)])
    assert (late.p50_ms, late.p99_ms, late.max_ms, late.turns) == pytest.approx((50, 99, 100, 100))
    assert lateness.of_turns([0.002]).p99_ms == pytest.approx(2.0)
    with pytest.raises(ValueError, match="at least one turn"):
        lateness.of_turns([])


@pytest.mark.thorough
@AS_ROOT
def test_the_priority_shortens_the_wait_beside_busy_programs():
    plain, raised = lateness.compare(2.0)
    assert raised.realtime and raised.first and not plain.realtime
    assert raised.p99_ms < plain.p99_ms / 2


def test_busy_loops_end_with_what_they_were_for():
    with lateness.busy_loops(2, LONG_S) as mine:
        assert len(mine) == 2
    for pid in mine:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
