"""Lateness of a 10 ms cycle beside 0, 2 and 6 busy programs, with and without armlet's priority.

usage: python benchmarks/lateness.py [--seconds 5] [--loops 0 2 6]

The busy programs are sessions of their own, as those of other terminals are. As root it measures
root, an ordinary user, and one with the limits that `armlet doctor` asks for; else this user. It
prints a table and a line of JSON.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import resource
import struct
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from armlet import lateness
from armlet.priority import Role, autogroup_enabled

NOBODY = 65534
CAP_SYS_NICE = 23
_CAPABILITY_VERSION = 0x20080522
_PR_SET_DUMPABLE, _PR_SET_KEEPCAPS = 4, 8


@dataclass(frozen=True)
class User:
    """Whom the cycle runs as. limited: with the limits that the doctor asks for."""

    name: str
    ordinary: bool = False
    limited: bool = False

    def command(self) -> list[str]:
        """What starts `lateness.main` as this user."""
        if not self.ordinary:
            return [sys.executable, "-m", lateness.__name__]
        limited = ["--limited"] if self.limited else []
        return [sys.executable, str(Path(__file__).resolve()), "--as-ordinary", *limited]


def become_ordinary(limited: bool) -> None:
    """Go on as `nobody`, whose files in /proc are its own, as after a login."""
    libc = ctypes.CDLL(None, use_errno=True)
    mask = 0
    if limited:
        mask = 0 if may_raise_limits() else 1 << CAP_SYS_NICE
    libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    header = struct.pack("Ii", _CAPABILITY_VERSION, 0)
    if libc.capset(header, struct.pack("6I", mask, mask, 0, 0, 0, 0)):
        raise OSError(ctypes.get_errno(), "cannot give up root's capabilities")
    libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def may_raise_limits() -> bool:
    """Set the limits of limits.conf, if this root may (CAP_SYS_RESOURCE, not in each container)."""
    wish = Role.BUS.value
    try:
        resource.setrlimit(resource.RLIMIT_NICE, (20 - wish.nice, 20 - wish.nice))
        resource.setrlimit(resource.RLIMIT_RTPRIO, (wish.realtime, wish.realtime))
    except ValueError:
        return False
    return True


def users() -> list[User]:
    if os.geteuid() != 0:
        return [User("this user")]
    pid = os.fork()
    if pid == 0:
        os._exit(0 if may_raise_limits() else 1)
    by_limits = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    rights = "limits.conf" if by_limits else "CAP_SYS_NICE (limits cannot be raised here)"
    return [
        User("root"),
        User("ordinary", ordinary=True),
        User(f"ordinary, {rights}", ordinary=True, limited=True),
    ]


def table(seconds: float, counts: Sequence[int]) -> list[dict[str, object]]:
    print(f"| user | busy programs | priority | p50 ms | p99 ms | max ms |\n|{'---|' * 6}")
    rows: list[dict[str, object]] = []
    for user in users():
        for count in counts:
            for raised in (False, True):
                with lateness.busy_loops(count, 10 * seconds + 60):
                    late = lateness.measure(raised, seconds, command=user.command())
                taken = "SCHED_RR " * bool(late.realtime) + "first" * late.first
                said = taken.strip() or ("none permitted" if raised else "plain")
                print(
                    f"| {user.name} | {count} | {said} | {late.p50_ms:.2f} | {late.p99_ms:.2f} | "
                    f"{late.max_ms:.2f} |",
                    flush=True,
                )
                row = {"user": user.name, "loops": count, "raised": raised, **asdict(late)}
                rows.append({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()})
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--loops", type=int, nargs="+", default=[0, 2, 6])
    parser.add_argument("--as-ordinary", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--limited", action="store_true", help=argparse.SUPPRESS)
    args, rest = parser.parse_known_args()
    if args.as_ordinary:
        become_ordinary(args.limited)
        return lateness.main([*rest, "--seconds", str(args.seconds)])
    machine = {
        "cpus": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "autogroup": autogroup_enabled(),
    }
    rows = table(args.seconds, args.loops)
    print(json.dumps({"benchmark": "lateness", **machine, "rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
