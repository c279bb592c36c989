"""What a check finds, and how checks are run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from armlet.findings import Code, Finding, Severity


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
        except Exception as trouble:
            text = " ".join(str(trouble).split())
            found = f"the check itself failed: {type(trouble).__name__}: {text}"
            fix = "report this with the line above"
            yield check, error(Code.COMPUTER_CHECK_FAILED, check.subject, found, fix)


def ok(code: Code, subject: str, found: str) -> Finding:
    """Checked and right."""
    return Finding(code, Severity.OK, subject, found=found)


def note(code: Code, subject: str, found: str, fix: str = "") -> Finding:
    """Good to know."""
    return Finding(code, Severity.NOTE, subject, found=found, fix=fix)


def warning(code: Code, subject: str, found: str, fix: str) -> Finding:
    """May cause harm."""
    return Finding(code, Severity.WARNING, subject, found=found, fix=fix)


def error(code: Code, subject: str, found: str, fix: str) -> Finding:
    """Does cause harm."""
    return Finding(code, Severity.ERROR, subject, found=found, fix=fix)
