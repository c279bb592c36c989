"""Findings as text for a terminal, as JSON for programs, as a status for /diagnostics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from armlet.files import printable

from .finding import Finding, Severity, worst

_LONGEST = 1000
_MARKS = {
    Severity.OK: "ok",
    Severity.OPEN: "open",
    Severity.NOTE: "note",
    Severity.WARNING: "WARN",
    Severity.ERROR: "ERROR",
}
# diagnostic_msgs/DiagnosticStatus: OK, WARN, ERROR.
_LEVELS = {Severity.WARNING: 1, Severity.ERROR: 2}


def text(finding: Finding) -> str:
    """One line: severity, subject, expected and found, reason, fix, and the code in brackets.

    The code leads to the finding's entry in docs/findings.md. OK findings have neither fix nor
    code.
    """
    subject = f"{printable(finding.subject, _LONGEST)}: " if finding.subject else ""
    line = f"{_MARKS[finding.severity]:5} {subject}{summary(finding)}"
    if finding.severity is Severity.OK:
        return line
    fix = f"; {printable(finding.fix, _LONGEST)}" if finding.fix else ""
    return f"{line}{fix} [{finding.code}]"


def summary(finding: Finding) -> str:
    """Expected, found and the reason, without subject, fix or code."""
    reason = f" ({printable(finding.because, _LONGEST)})" if finding.because else ""
    found = _said(finding.found)
    if finding.severity is Severity.OK or finding.expected == "":
        return f"{found}{reason}"
    expected = "not stated" if finding.expected is None else f"expected {_said(finding.expected)}"
    return f"{expected}, found {found}{reason}"


def as_json(finding: Finding) -> dict[str, Any]:
    """For programs; values as texts. `code` and `severity` are stable, the texts are not."""
    return {
        "code": str(finding.code),
        "severity": str(finding.severity),
        "subject": finding.subject,
        "expected": None if finding.expected is None else _said(finding.expected),
        "found": _said(finding.found),
        "because": finding.because,
        "fix": "" if finding.severity is Severity.OK else finding.fix,
    }


def diagnostic(findings: Sequence[Finding], otherwise: str) -> tuple[int, str, dict[str, object]]:
    """Level, message and values of a diagnostic_msgs/DiagnosticStatus.

    The message has every finding that is at least a warning, or `otherwise`; `codes` names their
    codes for programs, and the numbers of all findings are keyed by subject and name.
    """
    wrong = [f for f in findings if f.severity.rank >= Severity.WARNING.rank]
    message = "; ".join(_bare(f) for f in wrong)
    values: dict[str, object] = {}
    for finding in findings:
        prefix = f"{finding.subject} " if finding.subject else ""
        values |= {f"{prefix}{name}": f"{value:.3g}" for name, value in finding.values.items()}
    if wrong:
        values["codes"] = ", ".join(dict.fromkeys(str(f.code) for f in wrong))
    return _LEVELS.get(worst(wrong), 0), message or otherwise, values


def _bare(finding: Finding) -> str:
    subject = f"{finding.subject}: " if finding.subject else ""
    return f"{subject}{summary(finding)}"


def _said(value: object) -> str:
    return "nothing" if value is None else printable(value, _LONGEST)
