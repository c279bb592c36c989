"""A line of a comparison: how it stands, and what it says to people and programs."""

import dataclasses

import pytest

from armlet.contract import Standing, Verdict


@pytest.mark.parametrize(
    ("expected", "found", "standing"),
    [
        (30, 30, Standing.OK),
        (30, 15, Standing.WRONG),
        (30, None, Standing.WRONG),
        (None, 15, Standing.OPEN),
        (None, None, Standing.OPEN),
    ],
)
def test_what_is_not_judged_stands_by_comparison(expected, found, standing):
    verdict = Verdict("fps", expected, found, "set it")
    assert verdict.standing is standing
    assert verdict.ok is (standing is not Standing.WRONG)


@pytest.mark.parametrize("standing", Standing)
def test_a_judgement_outweighs_the_comparison(standing):
    assert Verdict("fps", 30, 30, "set it", standing).standing is standing


def test_a_line_says_what_helps_and_no_more():
    wrong = Verdict("colours", "RGB", "BGR", "convert once", Standing.WRONG, "0.4 against 0.01")
    assert str(wrong) == ("WRONG colours: expected RGB, found BGR (0.4 against 0.01); convert once")
    good = dataclasses.replace(wrong, judged=Standing.OK, found="RGB")
    assert str(good) == "ok    colours: RGB (0.4 against 0.01)"
    unknown = Verdict("calibration", None, "abc", "give it")
    assert str(unknown) == "open  calibration: not stated, found abc; give it"
    assert str(Verdict("units", "degrees", None, "give them")) == (
        "WRONG units: expected degrees, found nothing; give them"
    )


def test_json_has_the_same_words():
    verdict = Verdict("fps", 30, None, "set it", because="as recorded")
    assert verdict.to_json() == {
        "item": "fps",
        "expected": "30",
        "found": "nothing",
        "verdict": "wrong",
        "because": "as recorded",
        "fix": "set it",
    }
    assert Verdict("fps", 30, 30, "set it").to_json()["fix"] == ""
