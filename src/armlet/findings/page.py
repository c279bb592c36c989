"""The page of all codes, docs/findings.md, from the table."""

from __future__ import annotations

from itertools import groupby

from .codes import Code

_TITLES = {
    "computer": "Computer",
    "robot": "Robot file",
    "port": "Serial ports",
    "servo": "Servos",
    "arm": "An arm while it is driven",
    "calibration": "Calibration",
    "camera": "Cameras",
    "ros": "ROS",
    "contract": "Contract: recording, training and robot compared",
    "policy": "Policies",
    "dataset": "Datasets",
}

_HEAD = """# Findings

`armlet doctor`, `armlet dataset check`, `armlet policy check`, the nodes' refusals and /diagnostics
report findings. Each has a code, printed in brackets at the end of its line, as `code` in JSON and
under `codes` in /diagnostics. A code keeps its name and its meaning from release to release; the
sentence beside it may change, so programs match the code.

A finding is `ok`, `open` (cannot be decided from what was given), `note`, `warning` or `error`. A
check that has an error exits with status 1; with `--strict` a warning counts too. An `ok` finding
has the code of the fault that was looked for and not found.

This page is made from `armlet/findings/codes.py`: `python -m armlet.findings > docs/findings.md`.
"""


def page() -> str:
    """Markdown, one section a room and one heading a code."""
    parts = [_HEAD]
    for room, codes in groupby(Code, key=lambda code: code.room):
        parts.append(f"## {_TITLES[room]}\n")
        parts += [_entry(code) for code in codes]
    return "\n".join(parts)


def _entry(code: Code) -> str:
    return f"### {code}\n\n{code.meaning}\n\n- **Cause:** {code.cause}\n- **Fix:** {code.remedy}\n"
