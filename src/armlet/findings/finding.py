"""One result of a check, for people and programs alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from .codes import Code


class Severity(StrEnum):
    """How serious a finding is, from harmless to harmful.

    OK: checked and right. OPEN: cannot be decided from what was given. NOTE: good to know.
    WARNING: may cause harm. ERROR: does cause harm; a check that has one fails.
    """

    OK = "ok"
    OPEN = "open"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"

    @property
    def rank(self) -> int:
        """0 for OK up to 4 for ERROR."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a check. Programs read `code`, `severity` and `values`, people the texts.

    Attributes:
        code: what was found or, for an OK finding, what was looked for.
        severity: how serious it is.
        subject: what was checked, in a few words; empty if the check was of the whole.
        expected: the right value; None if its source does not state it, "" if there is nothing to
            compare with.
        found: the value found, or the trouble in words.
        fix: what to type or to do; empty if nothing need be done.
        because: what the judgement rests on, where that is not the comparison itself.
        values: numbers behind the finding by name, for diagnostics.

    Raises ValueError for a code that is not in the table.
    """

    code: Code
    severity: Severity
    subject: str
    expected: object = ""
    found: object = ""
    fix: str = ""
    because: str = ""
    values: Mapping[str, float] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.code, Code):
            raise ValueError(f"finding code {self.code!r}: expected a member of findings.Code")

    @property
    def ok(self) -> bool:
        """Whether nothing speaks against it: anything but an error."""
        return self.severity is not Severity.ERROR

    def __str__(self) -> str:
        from .render import text

        return text(self)


def compared(
    code: Code, subject: str, expected: object, found: object, fix: str, because: str = ""
) -> Finding:
    """The finding of a comparison: ERROR if the values differ, OPEN if `expected` is None."""
    if expected is None:
        severity = Severity.OPEN
    else:
        severity = Severity.OK if expected == found else Severity.ERROR
    return Finding(code, severity, subject, expected, found, fix, because)


def worst(findings: Iterable[Finding]) -> Severity:
    """The highest severity; OK if there are no findings."""
    return max((f.severity for f in findings), key=lambda s: s.rank, default=Severity.OK)


def exit_status(findings: Iterable[Finding], strict: bool = False) -> int:
    """Exit status of a check: 1 for an error (with `strict`: or a warning), else 0."""
    least = Severity.WARNING if strict else Severity.ERROR
    return int(worst(findings).rank >= least.rank)
