"""What a check finds, and how checks are run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How a finding is to be taken."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a report.

    Attributes:
        level: OK is fine, NOTE good to know, WARNING may bite, ERROR does.
        subject: what was looked at, a few words.
        found: what was found.
        fix: a command to type, or what to do; empty if nothing need be done.
    """

    level: Level
    subject: str
    found: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """A question and where its answers stand in a report."""

    group: str
    subject: str
    run: Callable[[], Iterable[Finding]]


def examine(checks: Iterable[Check]) -> Iterator[tuple[Check, Finding]]:
    """Each check's findings, as they come. A check that raises is a finding itself."""
    for check in checks:
        try:
            for finding in check.run():
                yield check, finding
        except Exception as error:
            text = " ".join(str(error).split())
            found = f"the check itself failed: {type(error).__name__}: {text}"
            yield (
                check,
                Finding(Level.ERROR, check.subject, found, "report this with the line above"),
            )


def ok(subject: str, found: str) -> Finding:
    """Fine."""
    return Finding(Level.OK, subject, found)


def note(subject: str, found: str, fix: str = "") -> Finding:
    """Good to know."""
    return Finding(Level.NOTE, subject, found, fix)


def warning(subject: str, found: str, fix: str) -> Finding:
    """May bite."""
    return Finding(Level.WARNING, subject, found, fix)


def error(subject: str, found: str, fix: str) -> Finding:
    """Does bite."""
    return Finding(Level.ERROR, subject, found, fix)
