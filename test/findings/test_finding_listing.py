"""Findings from program to program: the same line comes out, and nothing else is let in."""

import json

import pytest

from armlet.files import FileError
from armlet.findings import Code, Finding, Severity, compared, read_findings, text, write_findings

CODE = Code.CONTRACT_RATE
FINDINGS = (
    compared(CODE, "fps", 30, 15, "set it", "because of that"),
    compared(CODE, "fps", None, None, "set it"),
    compared(CODE, "fps", 30, 30, "set it"),
    Finding(CODE, Severity.WARNING, "", found="\x1b[2J<b>", fix="line\nbreak", values={"x": 1.0}),
    Finding(CODE, Severity.NOTE, "camera front", found=None),
)


def test_what_was_written_prints_the_same_lines():
    read = read_findings(write_findings(FINDINGS))
    assert [text(one) for one in read] == [text(one) for one in FINDINGS]
    assert [(one.code, one.severity) for one in read] == [(f.code, f.severity) for f in FINDINGS]


def changed(**members):
    document = json.loads(write_findings(FINDINGS))
    document["findings"][0] |= members
    return json.dumps(document)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (changed(code="no_such"), "use the same one everywhere"),
        (changed(severity="loud"), "loud"),
        (changed(subject=3), "expected texts"),
        (changed(expected=[1]), "a text or null"),
        ('{"version": 1, "findings": 3}', "not a list of findings"),
        ('{"version": 1, "findings": ["x"]}', "not a finding"),
        ('{"version": 2, "findings": []}', "expected version 1"),
        ("[" * 100_000, "not a list of findings"),
    ],
)
def test_another_text_is_refused(document, said):
    with pytest.raises(FileError, match=said):
        read_findings(document)
