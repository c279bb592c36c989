"""What the tools' screens have in common: one console, one set of colours."""

from __future__ import annotations

import io
import os
import select
import sys
import termios
import tty
from typing import IO, Any, Self

from rich.console import Console
from rich.theme import Theme

THEME = Theme(
    {
        "good": "green",
        "attention": "yellow",
        "bad": "bold red",
        "quiet": "bright_black",
        "name": "bold",
        "key": "bold cyan",
        "here": "bold cyan",
    }
)
"""Colours by meaning. Whatever a colour says is also said in words: some people see none."""


def console(stream: IO[str] | None = None) -> Console:
    """The console of a tool, on stdout unless told otherwise. Numbers and paths stay uncoloured."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal without UTF-8 shows ? for what it lacks; that is no reason to stop.
        sys.stdout.reconfigure(errors="replace")
    return Console(file=stream, theme=THEME, highlight=False)


def is_interactive() -> bool:
    """Whether a person can see the screen and press keys."""
    return sys.stdin.isatty() and sys.stdout.isatty()


class Keyboard:
    """Keys as they are pressed, without Enter and unseen, while entered. Ctrl-C stays SIGINT."""

    def __init__(self) -> None:
        self._descriptor = sys.stdin.fileno()
        self._settings: list[Any] = []
        self._pressed: list[str] = []

    def __enter__(self) -> Self:
        self._settings = termios.tcgetattr(self._descriptor)
        tty.setcbreak(self._descriptor)
        return self

    def __exit__(self, *_: object) -> None:
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._settings)

    def poll(self, patience_s: float) -> str:
        """The next key, "\\n" for Enter, "" if none was pressed in time.

        Arrows and other keys of several characters are passed over. Raises EOFError when the
        terminal is gone.
        """
        if not self._pressed and select.select([self._descriptor], [], [], patience_s)[0]:
            try:
                typed = os.read(self._descriptor, 64).decode(errors="replace")
            except OSError as error:
                raise EOFError("the terminal is gone") from error
            if not typed:
                raise EOFError("the terminal is gone")
            self._pressed = [] if typed.startswith("\x1b") else list(typed)
        return self._pressed.pop(0) if self._pressed else ""
