"""Parameters of computer."""

from __future__ import annotations

from .setting import Change, Setting

SETTINGS = (
    Setting(
        "grace_s",
        15.0,
        "Report nothing for this long after the start (s): starting a graph keeps any "
        "computer busy.",
        0.0,
        600.0,
        change=Change.FREE,
    ),
)
