"""LeRobot's calibration JSON."""

import errno
import json
import os

import pytest

from armlet.robots import CalibrationError, JointCalibration
from armlet.robots.calibration import fingerprint, keep_previous, load, load_arms, save

GOOD = {
    "shoulder_pan": {
        "id": 1,
        "drive_mode": 0,
        "homing_offset": -1200,
        "range_min": 800,
        "range_max": 3300,
    }
}


def written(tmp_path, document):
    path = tmp_path / "arm.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def test_round_trip_is_lerobots_file(tmp_path):
    path = written(tmp_path, json.dumps(GOOD, indent=4))
    before = path.read_text()
    calibration = load(path)
    assert calibration == {"shoulder_pan": JointCalibration(1, 0, -1200, 800, 3300)}
    save(calibration, path)
    assert path.read_text() == before


def test_fingerprint_distinguishes_calibrations(tmp_path):
    one = load(written(tmp_path, GOOD))
    other = {"shoulder_pan": JointCalibration(1, 0, -1200, 800, 3301)}
    assert fingerprint(one) == fingerprint(dict(one)) != fingerprint(other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"homing_offset": 1_044_480}, "homing_offset"),
        ({"range_min": 3300}, "range_min < range_max"),
        ({"range_max": 4096}, "4095"),
        ({"drive_mode": 2}, "drive_mode"),
        ({"id": 254}, "id must be"),
        ({"range_min": 1.5}, "whole number"),
        ({"extra": 1}, "expected the keys"),
    ],
)
def test_refusals_name_file_joint_and_fault(tmp_path, change, message):
    path = written(tmp_path, {"shoulder_pan": GOOD["shoulder_pan"] | change})
    with pytest.raises(CalibrationError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "shoulder_pan" in str(caught.value)


def fail(handle):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_torn_files(tmp_path, text):
    with pytest.raises(CalibrationError, match=r"arm\.json"):
        load(written(tmp_path, text))


def test_missing_file(tmp_path):
    with pytest.raises(CalibrationError, match="no calibration file"):
        load(tmp_path / "none.json")


def test_saving_replaces_the_file_in_one_step_or_not_at_all(tmp_path, monkeypatch):
    path = written(tmp_path, GOOD)
    text = path.read_text()
    other = {"gripper": JointCalibration(6, 0, 3, 10, 20)}
    with monkeypatch.context() as full, pytest.raises(OSError, match="No space left"):
        full.setattr(os, "fsync", fail)
        save(other, path)
    assert path.read_text() == text
    assert [found.name for found in tmp_path.iterdir()] == ["arm.json"]
    save(other, path)
    assert load(path) == other
    assert [found.name for found in tmp_path.iterdir()] == ["arm.json"]


def test_the_file_before_is_kept(tmp_path):
    assert keep_previous(tmp_path / "arm.json") is None
    path = written(tmp_path, GOOD)
    kept = keep_previous(path)
    assert kept == tmp_path / "arm.json.bak"
    assert kept.read_bytes() == path.read_bytes()


def test_several_arms_are_given_by_the_prefix_of_their_joints(tmp_path):
    path = written(tmp_path, GOOD)
    entry = load(path)["shoulder_pan"]
    assert load_arms(str(path)) == load(path)
    both = load_arms(f"left_={path}, right/={path}")
    assert both == {"left_shoulder_pan": entry, "right/shoulder_pan": entry}
    assert len({fingerprint(load(path)), fingerprint(both)}) == 2
    odd = tmp_path / "a=b,c.json"
    odd.write_text(path.read_text())
    assert load_arms(str(odd)) == load(path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ("left_={},right_", "PREFIX=FILE"),
        ("={}", "PREFIX=FILE"),
        ("left_=", "PREFIX=FILE"),
        ("left_={},left_={}", "own prefix"),
        ("left_={},right_=nowhere.json", "no calibration file nowhere.json"),
    ],
)
def test_arms_that_are_none_are_refused(tmp_path, files, message):
    path = written(tmp_path, GOOD)
    with pytest.raises(CalibrationError, match=message):
        load_arms(files.replace("{}", str(path)))
