"""Findings as a document that programs hand to each other: read back, they print the same lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from armlet.files import FileError, printable, read_versioned, write_versioned

from .codes import Code
from .finding import Finding, Severity
from .render import as_json

VERSION = 1
_LARGEST = 1 << 20
_MOST = 2000
_TEXTS = ("subject", "found", "because", "fix")
_WHAT = "a list of findings"
_CODES = {str(code): code for code in Code}
_SEVERITIES = {str(severity): severity for severity in Severity}


def write_findings(findings: Iterable[Finding]) -> str:
    """Canonical JSON of findings; their numbers (`values`) are left out."""
    return write_versioned(VERSION, {"findings": [as_json(finding) for finding in findings]})


def read_findings(text: str) -> tuple[Finding, ...]:
    """What `write_findings` wrote. Raises FileError for any other text."""
    _, found = read_versioned(text, _WHAT, (VERSION,), _LARGEST)
    listed = found.get("findings")
    if not isinstance(listed, list) or len(listed) > _MOST:
        raise FileError(f"not {_WHAT}: expected up to {_MOST} of them under `findings`")
    return tuple(map(from_json, listed))


def from_json(item: Any) -> Finding:
    """The finding of which `as_json` made this. Raises FileError for anything else."""
    if not isinstance(item, Mapping) or not all(isinstance(item.get(key), str) for key in _TEXTS):
        raise FileError(f"not a finding: expected texts {', '.join(_TEXTS)}, found {_short(item)}")
    expected = item.get("expected")
    if expected is not None and not isinstance(expected, str):
        raise FileError(f"not a finding: expected a text or null, found {_short(expected)}")
    code, severity = _CODES.get(str(item.get("code"))), _SEVERITIES.get(str(item.get("severity")))
    if code is None or severity is None:
        named = _short([item.get("code"), item.get("severity")])
        raise FileError(f"not a finding of this armlet: {named}; use the same one everywhere")
    subject, found, because, fix = (item[key] for key in _TEXTS)
    return Finding(code, severity, subject, expected, found, fix, because)


def _short(value: object) -> str:
    return printable(repr(value), 80)
