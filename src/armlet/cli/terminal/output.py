"""What commands print: text made safe; a closed pipe or a full disk is the end of it."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

from armlet.files import explained, is_of_the_computer, printable, printable_json

# More than any command says in one go; a single text from a file is capped where it is put in.
_LONGEST = 100_000
# What a shell reports of a program that SIGPIPE ended.
CLOSED = 141
# The exit statuses of every command, beside 0; docs/reference/commands.md has them for people.
FAILED = 1
"""It was done and found something wrong, or it failed on the way."""
UNUSABLE = 2
"""Not started, or nothing was changed: what was given cannot be used."""
STOPPED = 130
"""Ctrl-C."""


def show(text: object = "", error: bool = False) -> None:
    """Print text, to stderr with `error`; control characters are written out, lines kept.

    Raises SystemExit where it cannot be printed (`| head`, a full disk).
    """
    write(printable(text, _LONGEST, lines=True), error)


def show_json(document: Any) -> None:
    """Print JSON for programs."""
    write(printable_json(document))


def refuse(command: str, why: object, status: int | None = None, *, lines: bool = False) -> int:
    """Print `armlet COMMAND: why` on stderr; the exit status.

    status: UNUSABLE or FAILED; None: as the kind of `why` has it. In one line, whatever a library
    put into its message; lines: why has lines of its own, of things that differ, say.
    """
    said = explained(why) if isinstance(why, OSError) else str(why)
    text = said if lines else " ".join(said.split())
    show(f"armlet {command}: {printable(text, 4000, lines=lines)}", error=True)
    if status is None:
        status = FAILED if isinstance(why, Exception) and _lacks(why) else UNUSABLE
    return status


def _lacks(why: Exception) -> bool:
    """Whether the computer has no room, or not a package, for what was rightly asked."""
    return is_of_the_computer(why) or isinstance(why.__cause__, ImportError)


def write(text: str, error: bool = False) -> None:
    """Print text that is safe already. Raises SystemExit where it cannot be printed."""
    try:
        print(text, file=sys.stderr if error else sys.stdout, flush=True)
    except OSError as reason:
        raise SystemExit(end(reason)) from None


def take_any_text() -> None:
    """Have stdout take what its encoding cannot say, too: escaped, as Python's stderr has it."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def flush() -> None:
    """Write what is buffered for stdout. Raises OSError; without a stdout (`>&-`) nothing."""
    if sys.stdout is not None:
        sys.stdout.flush()


def fails() -> bool:
    """Whether stdout takes no more: what is buffered, or a line end where nothing is buffered."""
    try:
        if getattr(sys.stdout, "write_through", False):
            print()
        flush()
    except OSError:
        return True
    return False


def end(error: OSError) -> int:
    """The exit status where stdout cannot be written; what is still buffered is dropped.

    A closed pipe (`| head`) is the end of the output and not reported. A full disk is.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return CLOSED
    reason = printable(error.strerror or str(error))
    try:
        print(
            f"armlet: stdout cannot be written: {reason}; free space there, or write elsewhere",
            file=sys.stderr,
            flush=True,
        )
    except OSError:  # neither can stderr: the status is all that is left
        os.dup2(nowhere, sys.stderr.fileno())
    return 1
