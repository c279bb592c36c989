"""What a file from outside is refused with."""

from __future__ import annotations

from typing import ClassVar


class AdvisedError(Exception):
    """An error whose message ends with what to do.

    found, fix: the two parts of its message; fix is empty where only the caller knows one.
    """

    knows_best: ClassVar[bool] = False
    """Whether its fix is better than one of somebody who knows what the file is for."""

    def __init__(self, found: str, fix: str = ""):
        super().__init__(f"{found}; {fix}" if fix else found)
        self.found, self.fix = found, fix


class FileError(AdvisedError, ValueError):
    """A file, or a value in it, that must not be used: what was expected, what was found."""


class UnreadableError(FileError):
    """A file that is there and that the computer does not give: its rights, the disk, ..."""

    knows_best = True


class PointerError(FileError):
    """A Git LFS pointer that stands where a file should."""

    knows_best = True
    instead = "a Git LFS pointer, not the file itself"

    def __init__(self, name: str):
        fix = "run `git lfs pull` in its repository, or download the file"
        super().__init__(f"{name} is {self.instead}", fix)


def parted(error: BaseException, fix: str) -> tuple[str, str]:
    """What an error found, and one advice: `fix`, unless the file's error knows better.

    So that nothing is advised twice where an error is passed on with more specific words.
    """
    text = str(error)
    each: BaseException | None = error
    while each is not None:
        if isinstance(each, AdvisedError) and each.fix:
            return text.removesuffix(f"; {each.fix}"), each.fix if each.knows_best else fix
        each = each.__cause__
    return text, fix


def advised(error: BaseException, fix: str) -> str:
    """An error in one line that ends with one advice, as `parted` has it."""
    return "; ".join(parted(error, fix))
