"""Writes a robot file entry by entry, and keeps what it is not about.

Each section (arms, cameras, joint_units) is text of its own: one that changes is written again, and
loses the comments within it; all others stay byte for byte.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from armlet.files import (
    FileError,
    keep_previous,
    new_beside,
    printable,
    read_text,
    read_yaml,
    replace_file,
)

from .robot_file import RobotFile, read

_HEADER = "# This robot, written by `armlet setup`. Paths are relative to this file's folder.\n"
_TOP = re.compile(r"^(\w+)\s*:", re.MULTILINE)
_LARGEST = 256 << 10
# No line is broken: a path is easier to read, and to replace, in one piece.
_WIDTH = 10_000


class RobotWriter:
    """A robot file that is being written; what is set is in the file before the call returns.

    path: of the file; its folder is made if need be. Raises FileError for a file that is there and
    cannot be read: it is not replaced.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.backup: Path | None = None
        """Where the file is kept as it was before this writer's first change."""
        self._written = False
        try:
            self.robot = read(path)
        except FileNotFoundError:
            self.robot = RobotFile(path)

    def set_arm(self, name: str, entry: Mapping[str, Any]) -> None:
        """Add an arm, or change what the entry names. Raises FileError, OSError."""
        self._set_entry("arms", name, entry)

    def set_camera(self, name: str, entry: Mapping[str, Any]) -> None:
        """Add a camera, or change what the entry names. Raises FileError, OSError."""
        self._set_entry("cameras", name, entry)

    def set_units(self, units: str) -> None:
        """Set joint_units. Raises FileError, OSError."""
        self._set("joint_units", units)

    def remove(self, section: str, name: str) -> None:
        """Take an arm or a camera out. Raises FileError, OSError."""
        entries = dict(self._document().get(section) or {})
        entries.pop(name, None)
        self._set(section, entries)

    def _set_entry(self, section: str, name: str, entry: Mapping[str, Any]) -> None:
        entries = dict(self._document().get(section) or {})
        self._set(section, {**entries, name: {**(entries.get(name) or {}), **entry}})

    def _document(self) -> dict[str, Any]:
        return dict(read_yaml(self.path) or {}) if self.path.exists() else {}

    def _set(self, section: str, value: Any) -> None:
        before = self._document()
        if section in before and before[section] == value:
            return
        text = read_text(self.path, _LARGEST) if before else _HEADER
        wanted = {**before, section: value}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        number, draft = new_beside(self.path)
        os.close(number)
        try:
            new = _with_section(text, section, value)
            if not _says(draft, new, wanted):
                # Written in another style than a section a line: as a whole, then.
                new = _HEADER + yaml.safe_dump(wanted, sort_keys=False, width=_WIDTH)
                replace_file(draft, new.encode())
            robot = read(draft)
        except FileError as error:
            said = str(error).replace(printable(draft), printable(self.path))
            raise FileError(said) from error
        finally:
            draft.unlink(missing_ok=True)
        if not self._written:
            self.backup = keep_previous(self.path)
        replace_file(self.path, new.encode())
        self._written = True
        self.robot = dataclasses.replace(robot, path=self.path)


def _says(draft: Path, text: str, wanted: dict[str, Any]) -> bool:
    """Writes the draft; whether that is what it says, read as strictly as any robot file."""
    replace_file(draft, text.encode())
    try:
        return bool(read_yaml(draft) == wanted)
    except FileError:
        return False


def _section(section: str, value: Any) -> str:
    """A line an entry."""
    if not isinstance(value, dict) or not value:
        return yaml.safe_dump({section: value}, sort_keys=False)
    lines = [f"{section}:\n"]
    for name, entry in value.items():
        flow = yaml.safe_dump(entry, sort_keys=False, width=_WIDTH, default_flow_style=True)
        lines.append(f"  {name}: {flow.strip()}\n")
    return "".join(lines)


def _with_section(text: str, section: str, value: Any) -> str:
    """The text with a top-level section written again, at its place or at the end."""
    own = _section(section, value)
    starts = list(_TOP.finditer(text))
    for at, match in enumerate(starts):
        if match[1] != section:
            continue
        end = starts[at + 1].start() if at + 1 < len(starts) else len(text)
        # Comments at the margin after a section are about the next one.
        kept = re.search(r"(?:^[ \t]*(?:#[^\n]*)?\n)*\Z", text[match.start() : end], re.MULTILINE)
        tail = kept[0] if kept else ""
        return text[: match.start()] + own + tail + text[end:]
    return text + ("" if not text or text.endswith("\n") else "\n") + own
