"""A file of a person's, replaced in one step, and the one before kept beside it."""

from __future__ import annotations

import filecmp
import io
import itertools
import os
import re
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from .obstacles import check_output_file
from .places import resolved

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_asking = threading.Lock()


def replace_file(path: Path, content: bytes, follow: bool = True) -> None:
    """Write a file: it is replaced in one step, or stays as it was. Raises OSError.

    Of a symbolic link the file that it leads to is replaced; without `follow`, for a name that no
    person has given, the link itself is. Permissions are kept. What is no file, such as a device
    (/dev/null, for root), is refused.
    """
    check_output_file(path)
    path = resolved(path) if follow else path
    mode = path.stat().st_mode & 0o7777 if path.exists() else 0o666 & ~umask()
    number, temporary = new_beside(path)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):  # of a full disk the system names no file
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def replace_picture(path: Path, figure: Figure, dpi: int, follow: bool = True) -> None:
    """Save a matplotlib figure as `replace_file` does, in its name's format. Raises OSError."""
    content = io.BytesIO()
    figure.savefig(content, dpi=dpi, format=path.suffix.lower().removeprefix(".") or "png")
    replace_file(path, content.getvalue(), follow)


def new_beside(path: Path) -> tuple[int, Path]:
    """A new, empty file in the folder of `path`, open for writing: its descriptor and its name.

    No file had the name before, so that nobody's is written over. Raises OSError.
    """
    try:
        number, name = tempfile.mkstemp(prefix=".armlet-", suffix=".new", dir=path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    return number, Path(name)


def keep_previous(path: Path) -> Path | None:
    """Copy a file that is about to be replaced to FILE.bak, and return that path if there was one.

    Where FILE.bak has other content, the copy is FILE.bak.2, and so on: nothing is written over.
    The copy is beside the file itself, where `path` is a link. Raises OSError.
    """
    if not path.exists():
        return None
    path = resolved(path)
    for number in itertools.count(1):
        kept = path.with_name(path.name + (".bak" if number == 1 else f".bak.{number}"))
        if not os.path.lexists(kept):
            replace_file(kept, path.read_bytes())
            return kept
        if kept.is_file() and not kept.is_symlink() and filecmp.cmp(path, kept, shallow=False):
            return kept
    raise AssertionError("there is always a next number")


def umask() -> int:
    """The process's mask for the permissions of new files.

    Linux says it. Elsewhere it is set to be read, and so meanwhile for every other thread: of two
    that do it at once, one could leave 0 for ever, and all files open to everybody.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        status = ""
    if found := re.search(r"^Umask:\s*([0-7]+)$", status, re.MULTILINE):
        return int(found[1], 8)
    with _asking:
        mask = os.umask(0)
        os.umask(mask)
        return mask
