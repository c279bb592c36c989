"""A contract that another tool dropped is written again, and not what the rows exclude."""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from made_episodes import CONTRACT, NAMES, frame

from armlet.cli.main import main
from armlet.contract import load
from armlet.datasets import Dataset, DatasetWriter, EpisodeFrame
from armlet.datasets.check.quality import review
from armlet.datasets.format import atomic_files, layout
from armlet.findings import Code
from armlet.robots import calibration as calibrations
from armlet.robots.calibration import JointCalibration
from armlet.robots.units import own_converter
from armlet.sim import FOLLOWER

REAL = Path(__file__).resolve().parents[3] / "shared/data/so101_real"
FPS, FRAMES = 30, 90
RECORDED = dataclasses.replace(
    CONTRACT,
    cameras=(),
    alignment=CONTRACT.alignment[:1],
    calibration=calibrations.fingerprint(FOLLOWER),
    calibration_ticks=calibrations.ticks(FOLLOWER),
)


def bind(*arguments):
    return main(["dataset", "bind", *map(str, arguments)])


def motion(units):
    """Every joint over nine tenths of its calibrated range and back: state (L, 6), in units."""
    convert = own_converter(FOLLOWER)
    low, high = convert.limits_radians()
    phase = np.arange(FRAMES)[:, None] / FRAMES * 2 * np.pi + np.arange(6)
    radians = (low + high) / 2 + 0.45 * (high - low) * np.sin(phase)
    return convert.radians_to_dataset(radians, units)


def record(root, units="degrees", change=lambda values: values):
    contract = dataclasses.replace(RECORDED, joint_units=units)
    state = change(motion(units))
    with DatasetWriter(root, contract) as writer:
        writer.begin_episode("pick")
        for index, row in enumerate(state):
            stamp = 10**18 + index * 10**9 // FPS
            action = state[max(0, index - 3)]
            writer.add_frame(EpisodeFrame(row, action, {}, stamp, {"state": 0.001}))
        writer.finish_episode()
    return root


def lost(root):
    """As after LeRobot's edit tools."""
    (root / layout.CONTRACT).unlink()
    return root


def hashes(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    return record(tmp_path_factory.mktemp("bind") / "set")


@pytest.fixture
def root(recorded, tmp_path):
    return shutil.copytree(recorded, tmp_path / "set")


@pytest.fixture
def arm(tmp_path):
    calibrations.save(dict(FOLLOWER), tmp_path / "arm.json")
    return tmp_path / "arm.json"


@pytest.mark.parametrize("units", ["degrees", "range_m100_100"])
def test_what_was_lost_is_written_again_from_calibration_and_units(units, tmp_path, arm, capsys):
    root = lost(record(tmp_path / "set", units))
    before = hashes(root)
    assert bind(root, "--calibration", arm, "--joint-units", units) == 0
    said = capsys.readouterr().out
    assert f"shoulder_pan.pos ({units})" in said and "gripper.pos (range_0_100)" in said
    found = Dataset(root).contract
    assert (found.joint_units, found.calibration) == (units, RECORDED.calibration)
    assert found.calibration_ticks == RECORDED.calibration_ticks
    assert (found.fps, found.state_names, found.alignment) == (FPS, NAMES, ())
    after = hashes(root)
    assert after.pop(str(layout.CONTRACT)) and after == before
    assert not [f for f in review(root).findings if f.code is Code.DATASET_CONTRACT_DIFFERS]


def test_the_dataset_before_the_edit_gives_the_same_bytes(recorded, root):
    before = (root / layout.CONTRACT).read_bytes()
    lost(root)
    assert bind(root, "--from", recorded) == 0
    assert (root / layout.CONTRACT).read_bytes() == before
    with DatasetWriter(root, RECORDED) as writer:  # it is resumed as if nothing had been lost
        writer.begin_episode("pick")
        for index in range(3):
            writer.add_frame(frame(index, contract=RECORDED, images={}))
        writer.finish_episode()
    assert len(Dataset(root).episodes) == 2


def test_the_robot_file_names_both(root, arm, tmp_path):
    (tmp_path / "robot.yaml").write_text(
        f"arms:\n  follower: {{model: so101, port: /dev/null, calibration: {arm}}}\n"
        "joint_units: degrees\n"
    )
    lost(root)
    assert bind(root, "--robot", tmp_path / "robot.yaml") == 0
    assert Dataset(root).contract.calibration == RECORDED.calibration


def test_a_contract_that_is_there_is_replaced_only_on_request_and_kept(root, arm, capsys):
    options = (root, "--calibration", arm, "--joint-units", "degrees")
    other = dataclasses.replace(load(root / layout.CONTRACT), calibration="c0ffee")
    other.save(root / layout.CONTRACT)
    before = (root / layout.CONTRACT).read_bytes()
    assert bind(*options) == 2
    assert "--replace" in (said := capsys.readouterr().err) and "calibration" in said
    assert (root / layout.CONTRACT).read_bytes() == before
    assert bind(*options, "--replace") == 0
    assert ".trash/0001" in capsys.readouterr().out
    assert (root / ".trash" / "0001" / layout.CONTRACT).read_bytes() == before
    assert bind(*options) == 0
    assert "bound so already" in capsys.readouterr().out
    assert [path.name for path in (root / ".trash").iterdir()] == ["0001"]


def test_a_damaged_contract_is_replaced_and_kept(root, arm):
    (root / layout.CONTRACT).write_text('{"version": 2')
    assert bind(root, "--calibration", arm, "--joint-units", "degrees") == 0
    assert Dataset(root).contract.joint_units == "degrees"
    assert (root / ".trash" / "0001" / layout.CONTRACT).read_text() == '{"version": 2'


def test_units_that_the_rows_exclude_are_refused(root, arm, capsys):
    before = hashes(lost(root))
    assert bind(root, "--calibration", arm, "--joint-units", "range_m100_100") == 1
    said = capsys.readouterr().out
    assert "[dataset.units-wrong]" in said and "like degrees" in said
    assert hashes(root) == before


def test_where_the_rows_cannot_tell_it_is_said(tmp_path, arm, capsys):
    root = lost(record(tmp_path / "set", change=lambda values: values * 0.5))
    assert bind(root, "--calibration", arm, "--joint-units", "degrees") == 0
    assert "values that fit range_m100_100 too" in capsys.readouterr().out


def _narrow(calibration, joint, share):
    entry = calibration[joint]
    middle, half = (entry.range_min + entry.range_max) // 2, entry.range_max - entry.range_min
    half = round(half * share / 2)
    return calibration | {
        joint: JointCalibration(
            entry.id, entry.drive_mode, entry.homing_offset, middle - half, middle + half
        )
    }


def test_the_calibration_of_another_arm_is_refused(root, tmp_path, capsys):
    """The joint was read far beyond the range that this calibration gives it."""
    before = hashes(lost(root))
    calibrations.save(_narrow(dict(FOLLOWER), "elbow_flex", 0.3), tmp_path / "other.json")
    options = ("--calibration", tmp_path / "other.json", "--joint-units", "degrees")
    assert bind(root, *options) == 1
    said = capsys.readouterr().out
    assert "ERROR state of elbow_flex" in said and "[dataset.calibration-wrong]" in said
    # A leader may be turned further than its follower goes, so that alone is no error.
    assert "WARN  action of elbow_flex" in said
    assert hashes(root) == before


def test_a_calibration_of_other_joints_is_refused(root, tmp_path, capsys):
    entries = {f"left_{name}": entry for name, entry in FOLLOWER.items()}
    calibrations.save(entries, tmp_path / "left.json")
    lost(root)
    assert bind(root, "--calibration", tmp_path / "left.json", "--joint-units", "degrees") == 2
    assert "lacks shoulder_pan" in capsys.readouterr().err
    assert not (root / layout.CONTRACT).exists()


def test_a_dataset_that_was_not_recorded_alike_is_refused(recorded, root, tmp_path, capsys):
    document = json.loads((lost(root) / layout.INFO).read_text())
    document["fps"] = 25
    (root / layout.INFO).write_text(json.dumps(document))
    assert bind(root, "--from", recorded) == 2
    assert "fps: expected 25, found 30" in capsys.readouterr().err
    assert not (root / layout.CONTRACT).exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give --calibration FILE"),
        (("--calibration", "{arm}"), "give --joint-units degrees or range_m100_100"),
        (("--calibration", "absent.json", "--joint-units", "degrees"), "no calibration file"),
        (("--from", "{root}"), "has no contract either"),
    ],
)
def test_what_is_not_given_is_asked_for(options, message, root, arm, capsys):
    lost(root)
    named = [option.format(arm=arm, root=root) for option in options]
    assert bind(root, *named) == 2
    assert message in capsys.readouterr().err


def test_a_dataset_that_is_being_recorded_into_is_left_alone(root, arm, capsys):
    lost(root)
    handle = atomic_files.lock(root)
    try:
        assert bind(root, "--calibration", arm, "--joint-units", "degrees") == 2
    finally:
        atomic_files.unlock(handle)
    assert "being written" in capsys.readouterr().err
    assert not (root / layout.CONTRACT).exists()


@pytest.mark.skipif(not REAL.is_dir(), reason="the real dataset is not there")
def test_a_dataset_of_lerobot_is_bound_and_can_be_resumed(tmp_path, arm):
    root = tmp_path / "real"
    shutil.copytree(REAL, root)
    for path in [root, *root.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o200)
    assert bind(root, "--calibration", arm, "--joint-units", "range_m100_100") == 0
    contract = Dataset(root).contract
    assert contract.joint_units == "range_m100_100"
    assert not [f for f in review(root, videos=False).findings if "contract" in f.code]
    # It has no column of stamps, and neither will the episodes that are recorded into it.
    from armlet.datasets.record.compatibility import misfits

    info = layout.load_info(root)
    codec = next(iter(info.features[key].info["video.codec"] for key in info.video_keys))
    found = misfits(root, info, contract, info.robot_type, {"av1": "libsvtav1"}.get(codec, codec))
    assert [f for f in found if not f.ok] == []
