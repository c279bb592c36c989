"""Files that are whole or absent: write, fsync, rename, fsync the folder.

Every change the writer makes to a dataset goes through these few functions, so that a crash can
be simulated between any two of them. None follows a symbolic link to a file, and none writes into
a file that has a second name: a backup made of hard links (`cp -al`) stays what it was.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from .errors import DatasetError


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Where an error of a full disk names no file, `path`; Arrow's says its number twice, too."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def write(path: Path, content: bytes) -> None:
    """Write a file and wait until it is on disk."""
    _leave_other_names(path)
    _fill(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644), content)


def write_beside(path: Path, content: bytes) -> Path:
    """Write a new file into the folder of `path`, to be moved there; on disk when this returns.

    It has a name that no file had: one of a like name is a person's, or what a kill left. After an
    error it is gone again.
    """
    for number in itertools.count():
        staged = path.with_name(f".{path.name}.{number}.new")
        try:
            handle = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        except FileExistsError:
            continue
        try:
            _fill(handle, content)
        except BaseException:
            remove(staged)
            raise
        return staged
    raise AssertionError("there is always a next number")


def _copy_beside(path: Path) -> Path:
    """A copy with a name that no file had, on disk when this returns."""
    staged = write_beside(path, b"")
    with path.open("rb") as source, staged.open("wb") as target:
        shutil.copyfileobj(source, target)
        target.flush()
        os.fsync(target.fileno())
    return staged


def _leave_other_names(path: Path) -> None:
    """Take the name away from a file that has others, which keep its content."""
    with contextlib.suppress(FileNotFoundError):
        if path.lstat().st_nlink > 1 and not path.is_dir():
            os.unlink(path)  # noqa: PTH108


def _fill(handle: int, content: bytes) -> None:
    """Write a whole file, wait until it is on disk, and close it."""
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def append(handle: int, *parts: bytes | memoryview) -> None:
    """Write parts to an open file, one after the other, without waiting for the disk."""
    for part in parts:
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(handle, rest) :]


def create(path: Path) -> int:
    """A new, empty file, open for appending and reading; returns its descriptor."""
    _leave_other_names(path)
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW
    return os.open(path, flags, 0o644)


def reopen(path: Path, size: int) -> int:
    """An existing file cut to this size, open for appending and reading."""
    if path.lstat().st_nlink > 1:
        os.replace(_copy_beside(path), path)  # noqa: PTH105
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW)
    try:
        os.ftruncate(handle, size)
    except BaseException:
        os.close(handle)
        raise
    return handle


def write_at(path: Path, offset: int, content: bytes) -> None:
    """Overwrite a few bytes inside a file."""
    handle = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    try:
        os.pwrite(handle, content, offset)
    finally:
        os.close(handle)


def flush(handle: int) -> None:
    """Wait until what was appended is on disk."""
    os.fdatasync(handle)


def sync(paths: Iterable[Path]) -> None:
    """Wait until files' contents, or folders' entries, are on disk."""
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def make_folder(path: Path) -> None:
    """Make a folder and its parents, each entry on disk before its child is made."""
    if path.is_dir():
        return
    make_folder(path.parent)
    os.mkdir(path)  # noqa: PTH102 — through os, as everything here
    sync([path.parent])


def move(moves: Iterable[tuple[Path, Path]]) -> None:
    """Rename files to their final names, replacing what is there, and wait for the disk."""
    folders: dict[Path, None] = {}
    for source, target in moves:
        make_folder(target.parent)
        os.replace(source, target)  # noqa: PTH105
        folders[target.parent] = None
    sync(folders)


# What link(2) says where there are no second names, between disks, and of a file with too many.
_KNOWS_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK)


def link(source: Path, target: Path) -> None:
    """Give a file a second name; where the disk knows none, copy it. A link stays a link."""
    make_folder(target.parent)
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _KNOWS_NO_LINKS:
            raise
        if source.is_symlink():
            target.symlink_to(source.readlink())
        else:
            write(target, source.read_bytes())
    sync([target.parent])


def remove(path: Path) -> None:
    """Remove a file."""
    os.unlink(path)  # noqa: PTH108


def remove_folder(path: Path) -> None:
    """Remove an empty folder."""
    os.rmdir(path)  # noqa: PTH106


def lock(root: Path) -> int:
    """Take the dataset for writing; the kernel gives it back when the process ends, however.

    Returns the file descriptor to close. Raises DatasetError if another writer has it.
    """
    handle = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise DatasetError(
            f"{root} is being written by another recorder; stop that one first"
        ) from error
    except OSError:
        os.close(handle)
        raise
    return handle


def unlock(handle: int) -> None:
    """Give a dataset back."""
    os.close(handle)


def is_locked(root: Path) -> bool:
    """Whether somebody is writing this dataset now."""
    try:
        unlock(lock(root))
    except DatasetError:
        return True
    return False
