"""What commands print: text of files and messages made safe, a closed pipe taken as the end."""

from __future__ import annotations

import os
import sys
from typing import Any

from armlet.files import printable, printable_json

# More than any command says in one go; a single text from a file is capped where it is put in.
_LONGEST = 100_000
# What a shell reports of a program that SIGPIPE ended.
CLOSED = 141


def show(text: object = "", error: bool = False) -> None:
    """Print text, to stderr with `error`; control characters are written out, lines kept.

    Raises SystemExit where nobody reads any more (`| head`).
    """
    write(printable(text, _LONGEST, lines=True), error)


def show_json(document: Any) -> None:
    """Print JSON for programs."""
    write(printable_json(document))


def show_error(error: Exception, before: str = "") -> None:
    """One line on stderr, whatever a library put into its message."""
    show(before + printable(" ".join(str(error).split()), 2000), error=True)


def write(text: str, error: bool = False) -> None:
    """Print text that is safe already. Raises SystemExit where nobody reads any more."""
    try:
        print(text, file=sys.stderr if error else sys.stdout, flush=True)
    except BrokenPipeError:
        raise SystemExit(end_quietly()) from None


def end_quietly() -> int:
    """Let what is still buffered go nowhere; the exit status for it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    return CLOSED
