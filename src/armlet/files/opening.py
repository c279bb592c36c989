"""Opens regular files only, never waits for one, and looks at the size before reading."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path

from .errors import FileError, PointerError, UnreadableError
from .obstacles import reason
from .text import printable

_LFS = b"version https://git-lfs.github.com/spec/"
_LONGEST_POINTER = 1024
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def open_file(path: Path, limit: int | None = None) -> BufferedReader:
    """A regular file, opened for reading; limit: bytes it may have.

    Raises FileNotFoundError, or FileError for a folder, pipe, device, Git LFS pointer, a file that
    is too large or cannot be opened.
    """
    try:
        # Before opening: opening alone moves the lines of a serial port.
        _require_regular(os.stat(path).st_mode, path)  # noqa: PTH116
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(error.errno, error.strerror, str(path)) from error
    except OSError as error:
        why, fix = reason(error)
        raise UnreadableError(f"{_name(path)} cannot be opened: {why}", fix) from error
    except ValueError as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{_name(path)} cannot be opened: {printable(error)}") from error
    try:
        _require_regular(os.fstat(handle).st_mode, path)
        file = os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise
    try:
        _check_content(file, path, limit)
    except BaseException:
        file.close()
        raise
    return file


def check_file(path: Path, limit: int | None = None) -> int:
    """The size of a file that a library is going to open by its name. Raises as `open_file`."""
    with open_file(path, limit) as file:
        return os.fstat(file.fileno()).st_size


def read_bytes(path: Path, limit: int) -> bytes:
    """A file's content, at most `limit` bytes. Raises as `open_file`."""
    with open_file(path, limit) as file:
        try:
            content = file.read(limit + 1)
        except OSError as error:
            why, fix = reason(error)
            raise UnreadableError(f"{_name(path)} cannot be read: {why}", fix) from error
    if len(content) > limit:  # a file that states no size, as those of /proc
        raise FileError(f"{_name(path)} is longer than {limit:,} bytes, more than armlet reads")
    return content


def read_text(path: Path, limit: int) -> str:
    """A file's content as UTF-8, which may begin with a byte order mark. Raises as `open_file`."""
    try:
        return read_bytes(path, limit).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(
            f"{_name(path)} is not UTF-8 text: byte {error.start} is "
            f"{error.object[error.start]:#04x}",
            "restore the file, or save it as UTF-8",
        ) from error


def _require_regular(mode: int, path: Path) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise FileError(f"{_name(path)}: expected a file, found {kind}")


def _check_content(file: BufferedReader, path: Path, limit: int | None) -> None:
    size = os.fstat(file.fileno()).st_size
    if limit is not None and size > limit:
        raise FileError(
            f"{_name(path)} has {size:,} bytes, expected at most {limit:,}: it cannot be the "
            "file its name says"
        )
    if 0 < size <= _LONGEST_POINTER:
        if file.read(len(_LFS)) == _LFS:
            raise PointerError(_name(path))
        file.seek(0)


def _name(path: Path) -> str:
    return printable(path)
