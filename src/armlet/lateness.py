"""How late a periodic thread is run beside busy loops: what priority is worth on this computer.

Run as a program (`python -m armlet.lateness`), it is the thread that is measured, as a node's
control cycle would be: a session of its own, that sleeps until its next turn. The busy loops are
sessions of their own too, as programs started from other terminals are.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from armlet.priority import Role, raise_process, raise_thread

PERIOD_S = 0.01
WORK_S = 0.002
"""What a turn computes: a control cycle and its messages. Who only sleeps is rarely delayed."""

_LOOPS = 3
_START_S = 30.0
_LOOP = "import time\nuntil = time.monotonic() + {seconds}\nwhile time.monotonic() < until: pass"
"""Ends by itself, so that nothing stays behind if whoever started it is killed."""


@dataclass(frozen=True)
class Lateness:
    """How late a cycle's turns came, ms. realtime: the SCHED_RR priority it had, 0: none."""

    p50_ms: float
    p99_ms: float
    max_ms: float
    turns: int
    realtime: int = 0
    first: bool = False
    """Whether its niceness went before other sessions."""


def of_turns(late_s: Sequence[float], realtime: int = 0, first: bool = False) -> Lateness:
    """From each turn's lateness, s; ValueError if there is none."""
    if not late_s:
        raise ValueError("lateness is of at least one turn, found none")
    late_ms = sorted(1000 * late for late in late_s)

    def quantile(share: float) -> float:
        return late_ms[min(len(late_ms) - 1, math.ceil(share * len(late_ms)) - 1)]

    return Lateness(quantile(0.5), quantile(0.99), late_ms[-1], len(late_ms), realtime, first)


def turns(seconds: float, period_s: float = PERIOD_S, work_s: float = WORK_S) -> list[float]:
    """Sleep from turn to turn for so long; how late each came, s.

    A turn that is due before the one before it was run counts as late as it is.
    """
    late = []
    begun_s = time.monotonic()
    for turn in range(1, round(seconds / period_s) + 1):
        due_s = begun_s + turn * period_s
        time.sleep(max(0.0, due_s - time.monotonic()))
        late.append(time.monotonic() - due_s)
        done_s = time.thread_time() + work_s
        while time.thread_time() < done_s:
            pass
    return late


@contextlib.contextmanager
def busy_loops(count: int, seconds: float, cpu: int | None = None) -> Iterator[list[int]]:
    """Programs of other sessions that take all the processor they get, for so long at most.

    cpu: they share this one; None: they run anywhere. Yields their process ids.
    """
    command = [sys.executable, "-c", _LOOP.format(seconds=seconds)]
    loops = [subprocess.Popen(command, start_new_session=True) for _ in range(count)]
    try:
        for loop in loops:
            # Whoever measures may have been given a priority: a person's program has none.
            os.setpriority(os.PRIO_PROCESS, loop.pid, max(0, os.getpriority(os.PRIO_PROCESS, 0)))
            if cpu is not None:
                os.sched_setaffinity(loop.pid, {cpu})
        yield [loop.pid for loop in loops]
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def measure(
    raised: bool,
    seconds: float = 1.0,
    cpu: int | None = None,
    command: Sequence[str] = (sys.executable, "-m", __name__),
) -> Lateness:
    """How late a cycle of 10 ms is run in a process of its own, beside what runs now.

    raised: it takes the priority the servo bus takes. command: starts `main`, by another user or
    with other limits. Raises RuntimeError if the process fails.
    """
    command = [*command, "--seconds", str(seconds)]
    if raised:
        command.append("--raised")
    if cpu is not None:
        command += ["--cpu", str(cpu)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=seconds + _START_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the cycle to measure failed: {done.stderr.strip()}")
    return Lateness(**json.loads(done.stdout))


def compare(seconds: float = 1.0) -> tuple[Lateness, Lateness]:
    """Plain, and raised as far as this user may, beside three busy loops on the same processor."""
    cpu = min(os.sched_getaffinity(0))
    with busy_loops(_LOOPS, 2 * (seconds + _START_S), cpu):
        return measure(False, seconds, cpu), measure(True, seconds, cpu)


def main(arguments: Sequence[str] | None = None) -> int:
    """The process that is measured: prints a line of JSON."""
    parser = argparse.ArgumentParser(description="Measures how late a cycle of 10 ms is run.")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--raised", action="store_true", help="with the servo bus's priority")
    parser.add_argument("--cpu", type=int, help="processor to run on")
    options = parser.parse_args(arguments)
    if options.cpu is not None:
        os.sched_setaffinity(0, {options.cpu})
    realtime, first = 0, False
    if options.raised:
        first = raise_process(Role.BUS.value.nice).effective
        realtime = raise_thread(Role.BUS.value.realtime)
    print(json.dumps(asdict(of_turns(turns(options.seconds), realtime, first))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
