"""What the steps of `armlet setup` share: the person, the answers given before, the file."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from armlet.cli.terminal.enter_key import EnterKey
from armlet.cli.terminal.listing import say
from armlet.cli.terminal.screen import console
from armlet.robots.robot_writer import RobotWriter


class SetupFailed(Exception):
    """A step cannot go on; the message says why."""


@dataclass(frozen=True)
class Given:
    """Answers of the command line, by arm or camera; what is there is not asked for.

    among: serial ports to look at. also: camera sources to look at.
    """

    arms: tuple[str, ...] = ()
    models: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, str] = field(default_factory=dict)
    calibrations: Mapping[str, str] = field(default_factory=dict)
    cameras: Mapping[str, str] = field(default_factory=dict)
    units: str | None = None
    among: list[str] | None = None
    also: tuple[str, ...] = ()


class Dialogue:
    """Asks and says; what is answered goes into the writer's file at once.

    path: of the robot file. Raises FileError if one is there and cannot be read.
    """

    def __init__(self, path: Path, given: Given) -> None:
        self.writer = RobotWriter(path)
        self.given = given
        self.screen = console()
        self.key = EnterKey()
        self.status = 0
        """The command's exit status, unless a step fails."""

    def heading(self, number: int, what: str) -> None:
        """Begins a step."""
        self.say(f"\n== {number}/6  {what}", "name")

    def say(self, text: str, style: str = "") -> None:
        """One line."""
        say(self.screen, text, style)

    def ask(self, question: str, usual: str = "") -> str:
        """A line of the person's, `usual` for an empty one. Raises EOFError."""
        shown = f"{question} [{usual}]: " if usual else f"{question}: "
        self.screen.print(shown, end="", style="key", markup=False, soft_wrap=True)
        with contextlib.suppress(OSError):
            self.screen.file.flush()
        return (self.key.line() or "") or usual

    def agrees(self, question: str, usual: bool) -> bool:
        """Yes or no. Raises EOFError."""
        while True:
            answer = self.ask(f"{question} (y/n)", "y" if usual else "n").lower()
            if answer in ("y", "yes", "n", "no"):
                return answer.startswith("y")
            self.say("     y or n, please.", "attention")
