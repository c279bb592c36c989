"""One graph in a ROS domain: a second one of the same user and namespace is refused.

Two graphs would command one arm, and answer for each other's services. The mark is an abstract
Unix socket: the kernel drops it with its process, however that ends, and no file is left behind.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping
from pathlib import Path

DOMAIN_VARIABLE = "ROS_DOMAIN_ID"

_PEER = struct.Struct("3i")


class AnotherGraph(RuntimeError):
    """A graph runs here already; the message names it."""


def mark(namespace: str, environment: Mapping[str, str]) -> socket.socket:
    """Mark this domain and namespace as this process's, until the socket is closed.

    Raises AnotherGraph naming the process that has marked it.
    """
    namespace = namespace.strip("/")
    domain = environment.get(DOMAIN_VARIABLE) or "0"
    name = f"\0armlet-graph-{os.getuid()}-{domain}-{namespace}"
    own = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        own.bind(name)
        own.listen(1)
    except OSError:
        own.close()
        where = f"ROS domain {domain}" + (f", namespace {namespace}" if namespace else "")
        raise AnotherGraph(
            f"{_who(name)} runs in {where} already; stop it first, or start this graph elsewhere: "
            f"namespace:=NAME, or export {DOMAIN_VARIABLE}={_other(domain)}"
        ) from None
    return own


def _who(name: str) -> str:
    """The process that has the mark, by what it was started with."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        try:
            asking.connect(name)
            peer = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
            pid = _PEER.unpack(peer)[0]
            words = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
        except OSError:  # it has just ended, or shows nobody what it runs
            return "another graph"
    if "up" not in words:
        return f"another graph (process {pid})"
    return f"armlet {' '.join(words[words.index('up') :]).strip()} (process {pid})"


def _other(domain: str) -> int:
    return (int(domain) + 1) % 100 if domain.isdecimal() else 1
