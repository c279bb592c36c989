"""What a file from outside is refused with."""

from __future__ import annotations


class FileError(ValueError):
    """A file, or a value in it, that must not be used: what was expected, what was found."""
