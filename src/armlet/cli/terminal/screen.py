"""What the tools' screens have in common: one console, one set of colours."""

from __future__ import annotations

import io
import sys
from typing import IO

from rich.console import Console
from rich.theme import Theme

from .keyboard import Keyboard as Keyboard
from .keyboard import is_interactive as is_interactive

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
    """The console of a tool, on stdout by default. Numbers and paths stay uncoloured."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal without UTF-8 shows ? for what it lacks; that is no reason to stop.
        sys.stdout.reconfigure(errors="replace")
    return Console(file=stream, theme=THEME, highlight=False)
