"""What the system says of a path, in plain words: what is in the way, and what to do."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from .text import printable

HUB = "hub:"
"""Begins the name of a repository of the Hugging Face Hub, where a path could be given."""

# Refused for what the computer has at the moment, not for the path that was given.
_OF_THE_COMPUTER = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
)
_FIXES = {
    errno.ENOENT: "correct the path",
    errno.EACCES: "change its permissions, or name another path",
    errno.EPERM: "change its permissions, or name another path",
    errno.EROFS: "name a path on another disk",
    errno.EISDIR: "name a file",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "its links lead in a circle, remove one",
    errno.ENOSPC: "free space there, or name a path on another disk",
    errno.EDQUOT: "free space there",
    errno.EIO: "the disk may be failing: copy what is on it",
    errno.EMFILE: "raise `ulimit -n`",
    errno.ENFILE: "end other programs",
}


class OutputError(OSError):
    """A path at which nothing can be written: what is in the way, and what to do."""


def explained(error: OSError) -> str:
    """An error of the system's in one line, without its number; one of armlet's own as it is."""
    if error.errno is None or isinstance(error, OutputError):
        return str(error)
    path = None if error.filename is None else Path(os.fsdecode(error.filename))
    if path is not None and error.errno in (errno.ENOTDIR, errno.EEXIST, errno.ENOENT):
        above = _file_above(path)
        if above is not None:
            return _under_a_file(path, above)
    said = "; ".join(filter(None, reason(error)))
    return said if path is None else f"{printable(path)}: {said}"


def reason(error: OSError) -> tuple[str, str]:
    """Why the system refused, and what to do; "" for what there is no advice for."""
    if error.errno == errno.ENOENT and _folder_is_gone():
        return "the folder that this command was started in was deleted", "cd to one that is there"
    return error.strerror or str(error), _FIXES.get(error.errno or 0, "")


def is_of_the_computer(error: BaseException) -> bool:
    """Whether the computer failed (a full disk, say), not what a person gave."""
    return isinstance(error, OSError) and error.errno in _OF_THE_COMPUTER


def check_output(path: Path) -> None:
    """Raise OutputError if neither a file nor a folder can be made or written at `path`.

    Found before the work whose result goes there: folders that are not there yet are left to it.
    """
    if str(path).startswith(HUB):
        raise OutputError(
            f"{printable(path)}: expected a path here, found a repository of the Hub, which is not "
            "written to in place; name a folder, then `armlet dataset push` or `armlet policy push`"
        )
    try:
        with contextlib.suppress(FileNotFoundError):
            os.lstat(path)
        place = path.absolute()
        while not os.path.lexists(place):
            place = place.parent
        folder = place if place.is_dir() else place.parent
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    except OSError as error:
        error.filename = error.filename or str(path)
        raise OutputError(f"nothing can be written to {explained(error)}") from error


def check_output_file(path: Path) -> None:
    """Raise OutputError unless a file can be written at `path`; its folder must be there."""
    check_output(path)
    if not path.absolute().parent.is_dir():
        raise OutputError(
            f"{printable(path)}: there is no folder {printable(path.parent)}; make it first"
        )
    if path.is_symlink() and not path.exists():
        raise OutputError(
            f"{printable(path)} is a link to {printable(path.readlink())}, which is not there; "
            "make that file first, or remove the link"
        )
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "a device, pipe or socket"
        raise OutputError(
            f"{printable(path)}: expected a file to write, found {kind}; name another"
        )


def _folder_is_gone() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def _file_above(path: Path) -> Path | None:
    """What stands where a folder of the path should be; None if nothing does. Raises OSError."""
    if not path.is_absolute() and _folder_is_gone():
        return None
    for above in path.absolute().parents:
        if os.path.lexists(above):
            return None if above.is_dir() else above
    return None


def _under_a_file(path: Path, above: Path) -> str:
    what = "a file" if above.is_file() else "no folder"
    return (
        f"{printable(path)}: {printable(above)} is {what}, nothing can lie below it; name another "
        "path, or move it away"
    )
