"""What a file from outside is refused with."""

from __future__ import annotations


class FileError(ValueError):
    """A file, or a value in it, that must not be used: what was expected, what was found."""


class UnreadableError(FileError):
    """A file that is there and that the computer does not give: its rights, the disk, ..."""


class PointerError(FileError):
    """A Git LFS pointer that stands where a file should.

    found, fix: the two parts of its message, without the file's name.
    """

    found = "a Git LFS pointer, not the file itself"
    fix = "run `git lfs pull` in its repository, or download the file"

    def __init__(self, name: str):
        super().__init__(f"{name} is {self.found}: {self.fix}")
