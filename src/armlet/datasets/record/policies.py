"""The policies that drive an episode while it is recorded: one line each, as they come.

Rows name a policy by its mark, which is a digest of its line: a line that is torn belongs to no
row, and the policy is then not known.
"""

from __future__ import annotations

import os
from pathlib import Path

from armlet.contract.provenance import Provenance, ProvenanceError, parse
from armlet.datasets.format import atomic_files
from armlet.files import FileError, read_bytes

FILE = "policies.jsonl"
_LARGEST = 16 << 20


def append(folder: Path, policy: Provenance) -> None:
    """Add a policy to those of an unfinished episode. Raises OSError where the disk is full."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    handle = os.open(folder / FILE, flags, 0o644)
    try:
        atomic_files.append(handle, policy.canonical().encode() + b"\n")
        atomic_files.flush(handle)
    finally:
        os.close(handle)


def read(folder: Path) -> dict[str, Provenance]:
    """The policies of an unfinished episode by their marks, as far as they can be read."""
    try:
        lines = read_bytes(folder / FILE, _LARGEST).split(b"\n")
    except (FileError, FileNotFoundError):
        return {}
    found = {}
    for line in lines:
        try:
            policy = parse(line.decode())
        except (ProvenanceError, UnicodeError):
            continue  # torn, or the end: rows that name it say "a policy"
        found[policy.mark()] = policy
    return found
