"""Whether the system lets files be renamed and removed: asked before an edit replaces any of them.

An edit that is refused in its middle leaves a dataset that nothing opens until it is finished.
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

from armlet.files import printable

from .errors import DatasetError

# ioctl_iflags(2): FS_IOC_GETFLAGS, FS_IMMUTABLE_FL and FS_APPEND_FL.
_GET_FLAGS, _FIXED = 0x80086601, 0x10 | 0x20


def require_replaceable(paths: Iterable[Path]) -> None:
    """Raise DatasetError for the first file that is there and that may not be replaced."""
    for path in paths:
        if not os.path.lexists(path):
            continue
        if why := _held(path):
            raise DatasetError(
                f"{printable(path)} may not be replaced: {why}",
                "nothing was changed; have its owner permit it",
            )


def _held(path: Path) -> str:
    """Why a file may not be renamed or removed; empty if it may."""
    file, folder = path.lstat(), path.parent.stat()
    user = os.geteuid()
    if not os.access(path.parent, os.W_OK | os.X_OK):
        return "its folder may not be written"
    if folder.st_mode & stat.S_ISVTX and user not in (0, file.st_uid, folder.st_uid):
        return "it is another user's, in a folder where only owners remove (sticky)"
    if _is_fixed(path) or _is_fixed(path.parent):
        return "it, or its folder, is marked as one that does not change (see chattr(1))"
    return ""


def _is_fixed(path: Path) -> bool:
    try:
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return False  # not to be read, or a link, which has no flags
    try:
        answer = fcntl.ioctl(number, _GET_FLAGS, bytes(struct.calcsize("l")))
    except OSError:
        return False  # a file system without flags
    finally:
        os.close(number)
    return bool(struct.unpack("l", answer)[0] & _FIXED)
