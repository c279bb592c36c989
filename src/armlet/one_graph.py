"""One graph in a ROS domain: a second one of the same user and namespace is refused.

Two graphs would command one arm, and answer for each other's services. Whoever starts a graph marks
the namespace, each driver of an arm its own name, as ROS's own tools start nodes too. A mark is an
abstract Unix socket: the kernel drops it with its process, however that ends, and no file is left.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

DOMAIN_VARIABLE = "ROS_DOMAIN_ID"

_PEER = struct.Struct("3i")
# Nobody accepts the connections of those who ask; the kernel's own limit is below this.
_ASKED = 1 << 16


class AnotherGraph(RuntimeError):
    """A graph runs here already; the message names it."""


def mark(
    namespace: str, environment: Mapping[str, str], drivers: Iterable[str] = ()
) -> socket.socket:
    """Mark this domain and namespace as this process's, until the socket is closed.

    drivers: full names of the drivers that the graph will start. Raises AnotherGraph naming the
    process that has marked the namespace, or drives an arm under one of these names.
    """
    namespace = namespace.strip("/")
    domain = environment.get(DOMAIN_VARIABLE) or "0"
    where = f"ROS domain {domain}" + (f", namespace {namespace}" if namespace else "")
    advice = (
        "stop it first, or start this graph elsewhere: "
        f"namespace:=NAME, or export {DOMAIN_VARIABLE}={_other(domain)}"
    )
    name = _graph(domain, namespace)
    own = _bound(name)
    if own is None:
        raise AnotherGraph(f"{_who(name)} runs in {where} already; {advice}")
    for driver in drivers:
        name = _driver(domain, driver)
        free = _bound(name)
        if free is None:
            own.close()
            raise AnotherGraph(f"{_who(name)} is /{driver.strip('/')} in {where} already; {advice}")
        free.close()
    return own


def mark_driver(name: str, environment: Mapping[str, str]) -> socket.socket:
    """Mark that this process drives an arm under a node's full name, until the socket is closed.

    Raises AnotherGraph naming the process that has that name in this domain.
    """
    domain = environment.get(DOMAIN_VARIABLE) or "0"
    own = _bound(_driver(domain, name))
    if own is None:
        raise AnotherGraph(
            f"{_who(_driver(domain, name))} is /{name.strip('/')} in ROS domain {domain} already; "
            "one name drives one arm: stop it first, or start this one in another namespace"
        )
    return own


def _graph(domain: str, namespace: str) -> str:
    return f"\0armlet-graph-{os.getuid()}-{domain}-{namespace}"


def _driver(domain: str, name: str) -> str:
    return f"\0armlet-driver-{os.getuid()}-{domain}-{name.strip('/')}"


def _bound(name: str) -> socket.socket | None:
    """A socket of that name; None where another process has it."""
    own = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        own.bind(name)
        own.listen(_ASKED)
    except OSError:
        own.close()
        return None
    return own


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


def _other(domain: str) -> int:
    return (int(domain) + 1) % 100 if domain.isdecimal() else 1
