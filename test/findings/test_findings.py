"""A finding: how serious it is, and what it says to people and programs."""

import dataclasses

import pytest

from armlet.findings import (
    Code,
    Finding,
    Severity,
    as_json,
    compared,
    diagnostic,
    exit_status,
    text,
    worst,
)

CODE = Code.CONTRACT_RATE


def finding(severity, **changed):
    return Finding(CODE, severity, **{"subject": "fps", "found": 30, **changed})


@pytest.mark.parametrize(
    ("expected", "found", "severity"),
    [
        (30, 30, Severity.OK),
        (30, 15, Severity.ERROR),
        (30, None, Severity.ERROR),
        (None, 15, Severity.OPEN),
        (None, None, Severity.OPEN),
    ],
)
def test_a_comparison_decides_the_severity(expected, found, severity):
    made = compared(CODE, "fps", expected, found, "set it")
    assert made.severity is severity
    assert made.ok is (severity is not Severity.ERROR)


def test_a_line_says_what_helps_and_no_more():
    wrong = Finding(
        Code.POLICY_CHANNELS_SWAPPED,
        Severity.ERROR,
        *("colours", "RGB", "BGR", "convert once", "0.4 against 0.01"),
    )
    assert text(wrong) == (
        "ERROR colours: expected RGB, found BGR (0.4 against 0.01); convert once "
        "[policy.channels-swapped]"
    )
    good = dataclasses.replace(wrong, severity=Severity.OK, found="RGB")
    assert text(good) == "ok    colours: RGB (0.4 against 0.01)"
    unknown = compared(CODE, "calibration", None, "abc", "give it")
    assert text(unknown) == "open  calibration: not stated, found abc; give it [contract.rate]"
    assert text(compared(CODE, "units", "degrees", None, "give them")) == (
        "ERROR units: expected degrees, found nothing; give them [contract.rate]"
    )


def test_nothing_to_compare_with_and_no_subject_leave_no_gap():
    assert text(finding(Severity.WARNING, subject="", found="too slow", fix="wait")) == (
        "WARN  too slow; wait [contract.rate]"
    )
    assert text(finding(Severity.NOTE, found="rather slow")) == (
        "note  fps: rather slow [contract.rate]"
    )


def test_what_others_wrote_cannot_change_the_terminal():
    said = text(finding(Severity.ERROR, subject="\x1b[2J", found="a\nb" * 1000, fix="\x07"))
    assert "\x1b" not in said and "\n" not in said and "\x07" not in said
    assert len(said) < 2500


def test_json_has_the_code_and_the_same_words():
    made = compared(CODE, "fps", 30, None, "set it", "as recorded")
    assert as_json(made) == {
        "code": "contract.rate",
        "severity": "error",
        "subject": "fps",
        "expected": "30",
        "found": "nothing",
        "because": "as recorded",
        "fix": "set it",
    }
    assert as_json(compared(CODE, "fps", 30, 30, "set it"))["fix"] == ""
    assert as_json(compared(CODE, "fps", None, 30, "set it"))["expected"] is None


def test_diagnostics_name_codes_and_numbers():
    slow = finding(Severity.WARNING, found="slow", values={"rate": 12.3456})
    late = dataclasses.replace(slow, code=Code.CAMERA_FROZEN, subject="", found="frozen", values={})
    assert diagnostic([finding(Severity.OK)], "fine") == (0, "fine", {})
    assert diagnostic([], "fine") == (0, "fine", {})
    level, message, values = diagnostic([slow, slow, late], "fine")
    assert (level, message) == (1, "fps: slow; fps: slow; frozen")
    assert values == {"fps rate": "12.3", "codes": "contract.rate, camera.frozen"}
    assert diagnostic([slow, finding(Severity.ERROR)], "fine")[0] == 2


@pytest.mark.parametrize("severity", Severity)
def test_the_exit_status_follows_the_severities(severity):
    findings = [finding(Severity.OK), finding(severity)]
    assert worst(findings) is severity
    assert exit_status(findings) == (severity is Severity.ERROR)
    assert exit_status(findings, strict=True) == (severity in (Severity.WARNING, Severity.ERROR))
    assert exit_status([], strict=True) == 0


@pytest.mark.parametrize("code", ["contract.rate", "no.such-code", None])
def test_a_code_outside_the_table_is_refused(code):
    with pytest.raises(ValueError, match="expected a member"):
        Finding(code, Severity.OK, "fps")
