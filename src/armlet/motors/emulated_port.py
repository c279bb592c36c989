"""Whether a port is that of emulated servos, and whether their program still runs.

An emulator gives a sign for as long as it runs, also while its port is unplugged: an abstract Unix
socket, which the kernel takes away with the process, however that ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from pathlib import Path

PSEUDO_TERMINALS = "/dev/pts"


def sign_of(link: Path) -> socket.socket | None:
    """The sign of an emulator whose port is a link; close it when the servos are no more.

    None if another emulator of this link gives one already.
    """
    sign = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        sign.bind(_name(link))
    except OSError:
        sign.close()
        return None
    return sign


def gives_sign(port: str) -> bool:
    """Whether an emulator of a port gives its sign now, plugged in or not."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking, contextlib.suppress(OSError):
        asking.connect(_name(Path(port)))
        return True
    return False


def is_emulated(port: str) -> bool:
    """Whether a port is there, a pseudo-terminal, and an emulator says that it is its own."""
    return os.path.realpath(port).startswith(f"{PSEUDO_TERMINALS}/") and gives_sign(port)


def _name(link: Path) -> bytes:
    """Of the abstract socket; hashed, as a name has 107 bytes at most."""
    path = link.parent.resolve() / link.name
    return b"\0armlet-emulated-" + hashlib.sha256(os.fsencode(path)).hexdigest().encode()
