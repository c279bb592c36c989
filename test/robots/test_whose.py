"""Whose calibration servos hold, by files alone."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from armlet.robots import calibration as calibrations
from armlet.robots.whose import owner
from armlet.sim import FOLLOWER, LEADER


def held(calibration):
    return {e.id: (e.homing_offset, e.range_min, e.range_max) for e in calibration.values()}


@pytest.fixture
def files(tmp_path):
    """LeRobot's two folders: robots/ of followers, teleoperators/ of leaders."""
    made = {}
    for name, calibration in (("robots/f", FOLLOWER), ("teleoperators/l", LEADER)):
        made[name[-1]] = path = tmp_path / f"{name}.json"
        path.parent.mkdir()
        calibrations.save(calibration, path)
    return made


def test_its_own_file_is_nobody_elses(files):
    shutil.copy(files["f"], files["f"].with_name("copy.json"))
    assert owner(held(FOLLOWER), files["f"], {"leader": files["l"]}) is None


def test_exchanged_files_are_named_by_arm(files):
    found = owner(held(FOLLOWER), files["l"], {"leader": files["f"]})
    assert (found.name, found.file) == ("leader", files["f"])
    assert str(found) == (
        f"these servos hold the calibration of the leader ({files['f']}): the calibration files of "
        "two arms are exchanged, or their ports"
    )


def test_another_follower_of_the_same_folder_is_named_by_its_file(files):
    other = {
        joint: dataclasses.replace(entry, homing_offset=entry.homing_offset + 1)
        for joint, entry in FOLLOWER.items()
    }
    given = files["f"].with_name("black.json")
    calibrations.save(other, given)
    found = owner(held(FOLLOWER), given, {"leader": files["l"]})
    assert (found.name, found.file) == ("", files["f"])
    assert str(found).endswith(f"{files['f']}: give this arm that file")


def test_no_file_is_blamed_for_an_arm_that_was_calibrated_since_or_answers_in_part(files):
    others = {"leader": files["l"]}
    moved = {**held(FOLLOWER), 3: (5, 1000, 3000)}
    assert owner(moved, files["f"], others) is None
    in_part = {id: values for id, values in held(LEADER).items() if id != 6}
    assert owner(in_part, files["f"], others) is None
    assert owner({}, files["f"], others) is None


def test_a_file_that_is_gone_or_torn_names_nobody(files):
    files["f"].with_name("torn.json").write_text("{")
    others = {"leader": Path("/nowhere/l.json"), "right": files["f"].with_name("torn.json")}
    assert owner(held(LEADER), files["f"], others) is None
