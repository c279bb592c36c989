"""Folders for as long as a program runs; what a killed one left goes when the next one begins."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

_MARK = ".armlet-scratch"


@contextlib.contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """A new folder of this program's, removed at the end.

    parent: where, under a hidden name; None: among the system's temporary ones. First the folders
    go that killed programs of this user left there. Raises OSError.
    """
    prefix = "armlet-" if parent is None else ".armlet-"
    place = Path(tempfile.gettempdir()) if parent is None else parent
    _remove_remains(place, prefix)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
    try:
        mark = _marked(folder)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(mark)


@contextlib.contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Meanwhile nobody removes a scratch folder, should whoever made it be killed.

    Of another folder, or one that is gone, nothing is asked.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            mark = os.open(folder / _MARK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            stack.callback(os.close, mark)
            fcntl.flock(mark, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield


def _remove_remains(place: Path, prefix: str) -> None:
    """Remove scratch folders of this user that no living process holds, and nothing else."""
    for folder in sorted(place.glob(f"{prefix}*")):
        with contextlib.suppress(OSError):  # another program was quicker, or it is no folder
            _remove_if_left(folder)


def _marked(folder: Path) -> int:
    """The mark of a new folder, locked: a file that says which folder may be removed."""
    mark = os.open(folder / _MARK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    # The words come after the lock: without them, or where nothing can be locked, the folder stays.
    with contextlib.suppress(OSError):
        fcntl.flock(mark, fcntl.LOCK_SH)
        os.write(mark, _words(folder))
    return mark


def _remove_if_left(folder: Path) -> None:
    """Raises OSError where it is not, or a living process holds it."""
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        mark = os.open(_MARK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place)
        try:
            own = os.fstat(place).st_uid == os.fstat(mark).st_uid == os.geteuid()
            if not own or not stat.S_ISREG(os.fstat(mark).st_mode):
                return
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A copy, or one under another name, is a person's.
            if os.pread(mark, len(_words(folder)) + 1, 0) == _words(folder):
                shutil.rmtree(folder)
        finally:
            os.close(mark)
    finally:
        os.close(place)


def _words(folder: Path) -> bytes:
    return f"armlet removes {folder.name} once no process locks this file\n".encode()
