"""Whether this computer keeps up: how long our processes wait to be run, and what they still do.

Linux: /proc/<pid>/schedstat has, for each thread, the nanoseconds it ran and those it waited for a
processor while it could have run. A process that waits longer than it runs is starved.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Figures are over so many seconds.
WINDOW_S = 3.0
# A process that waited for this share of the time is starved; below half of it, it is not.
STARVED_SHARE = 0.2
# A cycle that runs at less than this share of its rate is too slow.
SLOW_SHARE = 0.9
# A process with work for this share of the time has none to spare: it is the computer that is slow,
# and not what the process waits for.
BUSY_SHARE = 0.8
# It must be so for this long until it is said, and over for as long.
STEADY_S = 2.0


@dataclass(frozen=True)
class Times:
    """What a process's threads did until now, s: ran, and waited to be run."""

    ran_s: float
    waited_s: float


def times_of(pid: int, proc: Path = Path("/proc")) -> Times | None:
    """All threads of a process and its children; None if it has ended, or this is not Linux."""
    ran_ns = waited_ns = 0
    found = False
    for each in (pid, *_children(pid, proc)):
        with contextlib.suppress(OSError, ValueError):
            for thread in (proc / str(each) / "task").iterdir():
                # A thread may end meanwhile.
                with contextlib.suppress(OSError, ValueError):
                    ran, waited, _ = (thread / "schedstat").read_text().split()
                    ran_ns, waited_ns, found = ran_ns + int(ran), waited_ns + int(waited), True
    return Times(ran_ns * 1e-9, waited_ns * 1e-9) if found else None


def _children(pid: int, proc: Path) -> list[int]:
    """Of all its threads: whichever of them started a process is its parent."""
    found = []
    with contextlib.suppress(OSError, ValueError):
        for thread in (proc / str(pid) / "task").iterdir():
            found += [int(child) for child in (thread / "children").read_text().split()]
    return found


def nodes_beside(pid: int, proc: Path = Path("/proc")) -> dict[str, int]:
    """The ROS nodes that a process has started, by namespace and name; Linux."""
    found = {}
    for child in _children(pid, proc):
        with contextlib.suppress(OSError):
            words = (proc / str(child) / "cmdline").read_bytes().decode(errors="replace")
            given = dict(word.split(":=", 1) for word in words.split("\0") if ":=" in word)
            if "__node" in given:
                found[f"{given.get('__ns', '')}/{given['__node']}".lstrip("/")] = child
    return found


@dataclass(frozen=True)
class Rate:
    """How often a cycle runs and should, Hz."""

    is_hz: float
    wanted_hz: float

    @property
    def share(self) -> float:
        return self.is_hz / self.wanted_hz

    @property
    def slow(self) -> bool:
        return self.share < SLOW_SHARE


@dataclass(frozen=True)
class Shares:
    """What a process's threads did with the time looked at, in shares of it, all together."""

    ran: float
    waited: float

    @property
    def starved(self) -> float:
        """Of the time it had work, the share it waited for a processor."""
        return self.waited / (self.ran + self.waited) if self.waited else 0.0


@dataclass
class _Seen:
    looks: deque[tuple[float, Times]] = field(default_factory=deque)

    def add(self, now_s: float, times: Times) -> None:
        if self.looks and times.waited_s < self.looks[-1][1].waited_s:
            self.looks.clear()  # a thread has ended, and its times are gone with it
        self.looks.append((now_s, times))
        while len(self.looks) > 2 and now_s - self.looks[1][0] >= WINDOW_S:
            self.looks.popleft()

    def shares(self) -> Shares | None:
        (first_s, first), (last_s, last) = self.looks[0], self.looks[-1]
        span_s = last_s - first_s
        if span_s < WINDOW_S / 2:
            return None
        return Shares(
            (last.ran_s - first.ran_s) / span_s, (last.waited_s - first.waited_s) / span_s
        )


class Watcher:
    """Says in one sentence that the computer does not keep up, and that it does again.

    times: of a process, by its id. load: of the last minute. cpus: how many this process may use.
    All times are of one steady clock, s.
    """

    def __init__(
        self,
        times: Callable[[int], Times | None] = times_of,
        load: Callable[[], float] = lambda: os.getloadavg()[0],
        cpus: int | None = None,
    ) -> None:
        self._times, self._load = times, load
        self._cpus = len(os.sched_getaffinity(0)) if cpus is None else cpus
        self._seen: dict[str, _Seen] = {}
        self._rates: dict[str, Rate] = {}
        self._since_s: float | None = None
        self._said = self._is_behind = False

    def look(self, now_s: float, pids: Mapping[str, int], rates: Mapping[str, Rate]) -> str:
        """Look at processes by their labels; what there is to say now, mostly nothing.

        rates: of the cycles that are known, by the label of the process they run in. Call it about
        once a second.
        """
        self._rates = dict(rates)
        self._seen = {label: self._seen.get(label, _Seen()) for label in pids}
        for label, pid in pids.items():
            times = self._times(pid)
            if times is not None:
                self._seen[label].add(now_s, times)
        self._is_behind = self._behind()
        if self._is_behind is self._said:
            self._since_s = None
            return ""
        self._since_s = now_s if self._since_s is None else self._since_s
        if now_s - self._since_s < STEADY_S:
            return ""
        self._said, self._since_s = not self._said, None
        return self.sentence() if self._said else f"this computer keeps up again; {self._machine()}"

    @property
    def trouble(self) -> str:
        """The sentence while the computer does not keep up, from the first figure that shows it."""
        return self.sentence() if self._said or self._is_behind else ""

    def shares(self) -> dict[str, Shares]:
        """Of each process, over the last seconds."""
        found = {label: seen.shares() for label, seen in self._seen.items() if seen.looks}
        return {label: shares for label, shares in found.items() if shares is not None}

    def sentence(self) -> str:
        """How this computer does, with figures, the worst first."""
        shares = self.shares()
        slow = [
            f"{label} at {rate.is_hz:.0f} of {rate.wanted_hz:.0f} Hz"
            for label, rate in self._slow(shares).items()
        ]
        worst = max(shares, key=lambda label: shares[label].waited, default=None)
        if worst is not None and shares[worst].waited > STARVED_SHARE / 2:
            share = 100 * shares[worst].starved
            slow.append(f"{worst} waits for a processor {share:.0f} % of the time it has work")
        return f"this computer does not keep up: {'; '.join([*slow, self._machine()])}"

    def _slow(self, shares: Mapping[str, Shares]) -> dict[str, Rate]:
        """Slow cycles of processes that want more of the computer than they get, slowest first."""
        pressed = {
            label
            for label, of in shares.items()
            if of.waited > STARVED_SHARE / 2 or of.ran + of.waited > BUSY_SHARE
        }
        slow = {of: rate for of, rate in self._rates.items() if rate.slow and of in pressed}
        return dict(sorted(slow.items(), key=lambda item: item[1].share))

    def _behind(self) -> bool:
        shares = self.shares()
        limit = STARVED_SHARE / 2 if self._said else STARVED_SHARE
        return bool(self._slow(shares)) or any(of.waited > limit for of in shares.values())

    def _machine(self) -> str:
        return f"load {self._load():.0f} on {self._cpus} cores"
