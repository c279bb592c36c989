"""One graph in a ROS domain: a second one of the same user and namespace is refused.

Two graphs would command one arm, and answer for each other's services. Whoever starts a graph marks
the namespace, each driver of an arm its own name, as ROS's own tools start nodes too. A mark is an
abstract Unix socket: the kernel drops it with its process, however that ends, and no file is left.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

DOMAIN_VARIABLE = "ROS_DOMAIN_ID"
CLOCK = "/clock"
"""Whoever owns simulated time has it."""

_PEER = struct.Struct("3i")
# What an address has room for, without the zero byte at its beginning; see unix(7).
_MARK_BYTES = 107
# As rcl reads ROS_DOMAIN_ID, with strtoul(3): 0x and 0 lead other bases, what follows is ignored.
_NUMBER = re.compile(r"\s*\+?(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
_MARKED = re.compile(r"@armlet-[a-z]+-\d+-(\d+)-")
# A line's own address and port in the kernel's tables.
_PORT = re.compile(r"^ *\d+: [0-9A-F]+:([0-9A-F]{4}) ", re.MULTILINE)
# A domain's nodes have UDP ports in so many from the first on, by domain: the default ports of
# OMG's RTPS (PB and DG), which all of ROS's DDS implementations use.
_FIRST_PORT, _PORTS = 7400, 250
# Nobody accepts the connections of those who ask; the kernel's own limit is below this.
_ASKED = 1 << 16


class MarkError(RuntimeError):
    """A graph or a name cannot be marked; the message says why."""


class AnotherGraph(MarkError):
    """A graph runs here already; the message names it."""


def mark(
    namespace: str,
    environment: Mapping[str, str],
    names: Iterable[str] = (),
    nodes: Iterable[str] = (),
    whole: bool = True,
) -> contextlib.ExitStack:
    """Mark this domain and namespace as this process's, until what is returned is closed.

    names: what the graph will have and only one may: full names of drivers, CLOCK. nodes: full
    names of those it starts. A graph that is not whole shares the namespace with its other parts,
    but no node. Raises AnotherGraph naming the process that has marked the namespace, or has one of
    them, and MarkError where the computer refuses.
    """
    namespace = namespace.strip("/")
    domain = _domain(environment)
    where = f"ROS domain {domain}" + (f", namespace {namespace}" if namespace else "")
    user = os.getuid()
    marks = {f"armlet-graph-{user}-{domain}-{namespace}": ""} if whole else {}
    marks |= {f"armlet-node-{user}-{domain}-/{node.strip('/')}": f" /{node}" for node in nodes}
    with contextlib.ExitStack() as held:
        for each, what in marks.items():
            address = _address(each)
            own = _bound(address)
            if own is None:
                raise AnotherGraph(
                    f"{_who(address)} runs{what} in {where} already; stop it first, or start this "
                    f"graph elsewhere: namespace:=NAME, or {_another_domain(domain)}"
                )
            held.enter_context(own)
        for each in names:
            mark_name(each, environment).close()
        return held.pop_all()


def mark_name(name: str, environment: Mapping[str, str]) -> socket.socket:
    """Mark a driver's full name, or CLOCK, as this process's, until the socket is closed.

    Raises AnotherGraph naming the process that has that name in this domain, and MarkError where
    the computer refuses.
    """
    domain, name = _domain(environment), "/" + name.strip("/")
    marked = _address(f"armlet-name-{os.getuid()}-{domain}-{name}")
    own = _bound(marked)
    if own is None:
        elsewhere = _another_domain(domain)
        if name != CLOCK:
            elsewhere = f"another namespace, or {elsewhere}"
        raise AnotherGraph(
            f"{_who(marked)} has {name} in ROS domain {domain} already, and two would mix; "
            f"stop it first, or choose {elsewhere}"
        )
    return own


def domains_in_use() -> frozenset[int]:
    """ROS domains in which somebody's graph, or any ROS node, runs on this computer; Linux only.

    A node that has no mark, such as one that is left of a graph that was killed, has its ports.
    """
    marked = {int(domain) for domain in _MARKED.findall(_table("unix"))}
    ports = {int(port, 16) for table in ("udp", "udp6") for port in _PORT.findall(_table(table))}
    return frozenset(
        marked | {(port - _FIRST_PORT) // _PORTS for port in ports if port >= _FIRST_PORT}
    )


def _table(name: str) -> str:
    """One of the kernel's tables of sockets; empty where there is none."""
    with contextlib.suppress(OSError):
        return Path("/proc/net", name).read_text(errors="replace")
    return ""


def first_free(domains: Sequence[int]) -> int:
    """The first of these ROS domains that nobody uses here; where all are used, the first."""
    taken = domains_in_use()
    return next((domain for domain in domains if domain not in taken), domains[0])


def _domain(environment: Mapping[str, str]) -> str:
    """The domain's number, however it is written; what is none rcl refuses, with a reason."""
    given = environment.get(DOMAIN_VARIABLE) or "0"
    number = _NUMBER.match(given)
    if number is None:
        return given
    digits = number[1]
    if digits[:2] in ("0x", "0X"):
        return str(int(digits, 16))
    return str(int(digits, 8 if digits[0] == "0" else 10))


def _address(mark: str) -> str:
    """An abstract socket's name, of a mark of any length."""
    if len(os.fsencode(mark)) > _MARK_BYTES:
        mark = f"{mark[:16]}-{hashlib.sha256(os.fsencode(mark)).hexdigest()}"
    return f"\0{mark}"


def _another_domain(domain: str) -> str:
    first = int(domain) + 1 if domain.isdecimal() else 1
    other = first_free([(first + number) % 100 for number in range(100)])
    return f"export {DOMAIN_VARIABLE}={other}"


def _bound(name: str) -> socket.socket | None:
    """A socket of that name; None where another process has it. Raises MarkError."""
    try:
        own = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    except OSError as error:
        raise _refused(error) from error
    try:
        own.bind(name)
        own.listen(_ASKED)
    except OSError as error:
        own.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise _refused(error) from error
    return own


def _refused(error: OSError) -> MarkError:
    fix = "a sandbox or a container may forbid Unix sockets"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        fix = "close programs, or raise the limit of open files (`ulimit -n`)"
    return MarkError(
        "nothing was started: that only one graph runs here is ensured by an abstract Unix socket, "
        f"and the computer gives none: {error.strerror or error}; {fix}"
    )


def _who(name: str) -> str:
    """The process that has a mark, by what it was started with."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)  # where too many have asked
        try:
            asking.connect(name)
            peer = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
            pid = _PEER.unpack(peer)[0]
            words = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
        except OSError:  # it has just ended, or shows nobody what it runs
            return "another program"
    if "up" not in words:
        return f"another program (process {pid})"
    return f"armlet {' '.join(words[words.index('up') :]).strip()} (process {pid})"
