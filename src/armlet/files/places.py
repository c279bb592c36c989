"""Paths that a file names: known placeholders only, and never out of their root."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .errors import FileError
from .obstacles import reason
from .text import printable

_LONGEST = 512
_LONGEST_NAME = 200
_PART = re.compile(r"\{([a-z_]+)(?::0([1-9])d)?\}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class PathTemplate:
    """A relative path with {name} and {name:0Nd} in it, nothing else that str.format knows."""

    text: str
    numbers: frozenset[str]

    @classmethod
    def parse(cls, text: object, numbers: frozenset[str], names: frozenset[str]) -> PathTemplate:
        """A template of these placeholders for numbers and for names. Raises FileError."""
        if not isinstance(text, str) or not text or len(text) > _LONGEST:
            raise FileError(f"expected a path, found {printable(repr(text), 120)}")
        rest = _PART.sub("x", text)
        found = _PART.findall(text)
        unknown = sorted({name for name, _ in found} - numbers - names)
        if "{" in rest or "}" in rest or unknown or any(w and n in names for n, w in found):
            allowed = ", ".join(f"{{{name}}}" for name in sorted(numbers | names))
            raise FileError(
                f"expected a path with no placeholders but {allowed}, found {printable(text)!r}"
            )
        _require_relative(rest, text)
        return cls(text, numbers)

    def format(self, **values: int | str) -> Path:
        """The relative path. Raises FileError for a name that is no plain file name."""
        for name, value in values.items():
            if name not in self.numbers:
                check_name(str(value))
        return Path(_PART.sub(lambda part: _filled(part, values), self.text))


def check_name(name: str) -> str:
    """`name` if it can be one part of a path. Raises FileError."""
    if (
        not name
        or len(name) > _LONGEST_NAME
        or name in (".", "..")
        or "/" in name
        or "\\" in name
        or _UNPRINTABLE.search(name)
        or not _is_encodable(name)
    ):
        raise FileError(
            f"expected a name without '/', '\\' and control characters, at most {_LONGEST_NAME} "
            f"characters, found {printable(repr(name), 120)}"
        )
    return name


def resolved(path: Path) -> Path:
    """A path without links. Raises OSError, also for links that lead in a circle.

    `Path.resolve` raises RuntimeError for these before Python 3.13.
    """
    try:
        return path.resolve()
    except RuntimeError as error:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from error


def inside(root: Path, relative: Path) -> Path:
    """`root / relative`, for reading. Raises FileError if, links resolved, it is not below root.

    A snapshot in the Hugging Face Hub's cache consists of links to its `blobs`, which is allowed.
    """
    _require_relative(str(relative), str(relative))
    path = root / relative
    try:
        top, target = resolved(root), resolved(path)
    except OSError as error:
        why, fix = reason(error)
        raise FileError(f"{printable(path)} cannot be resolved: {why}", fix) from error
    except ValueError as error:
        raise FileError(f"{printable(path)} cannot be resolved: {printable(error)}") from error
    allowed = [top, top.parent.parent / "blobs"] if top.parent.name == "snapshots" else [top]
    if not any(target.is_relative_to(place) for place in allowed):
        raise FileError(
            f"{printable(relative)} leads out of {printable(root)}, to {printable(target)}; "
            "put the file itself there"
        )
    return path


def writable(root: Path, relative: Path) -> Path:
    """`root / relative`, for writing, moving or removing. Raises FileError behind a link.

    The last part itself may be a link: it is replaced or moved, never followed.
    """
    _require_relative(str(relative), str(relative))
    path = root
    for part in relative.parts[:-1]:
        path = path / part
        if path.is_symlink():
            raise FileError(
                f"{printable(path)} is a symbolic link: nothing is written or removed through it; "
                "put the folder itself there"
            )
    return root / relative


def _require_relative(text: str, shown: str) -> None:
    pure = PurePosixPath(text)
    strange = "\\" in text or _UNPRINTABLE.search(text) or not _is_encodable(text)
    if pure.is_absolute() or ".." in pure.parts or strange:
        raise FileError(f"expected a path below the folder, found {printable(shown)!r}")


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _filled(part: re.Match[str], values: dict[str, int | str]) -> str:
    value = values[part[1]]
    return f"{value:0{part[2]}d}" if part[2] else str(value)


def expanded(text: str, folder: Path, where: str) -> Path:
    """A path that a person's file names, from that file's folder; ~ is the home directory.

    Raises FileError naming `where` for the home directory of nobody.
    """
    try:
        return folder / Path(text).expanduser()
    except RuntimeError as error:
        raise FileError(f"{where}: {printable(text, 120)}: there is no such user") from error


def visible_files(folder: Path) -> Iterator[Path]:
    """The files below a folder by their paths in it, in order; nothing hidden, no folder's link."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(place, name).relative_to(folder)
