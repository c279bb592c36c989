"""D10: another calibration is shown as what moved by how much, and accepted up to a tolerance."""

import dataclasses

import pytest

from armlet.contract import Camera, Contract, fit, parse
from armlet.findings import Severity
from armlet.robots import calibration as calibrations
from armlet.robots.calibration import JointCalibration
from armlet.robots.units import own_converter

ARM = {
    "shoulder_pan": JointCalibration(1, 0, 100, 800, 3200),
    "gripper": JointCalibration(2, 0, -50, 1000, 3000),
}


def contract(arm, ticks=True):
    names = tuple(f"{joint}.pos" for joint in arm)
    return Contract(
        30,
        (Camera("front", 48, 64),),
        names,
        names,
        "degrees",
        calibration=calibrations.fingerprint(arm),
        calibration_ticks=calibrations.ticks(arm) if ticks else None,
    )


def changed(joint="gripper", **values):
    return {**ARM, joint: dataclasses.replace(ARM[joint], **values)}


def line(now, tolerance_deg=0.0, before=ARM):
    (verdict,) = [
        v for v in fit(contract(before), contract(now), tolerance_deg) if v.subject == "calibration"
    ]
    return verdict


def test_one_tick_more_is_shown_as_that_and_not_as_two_hashes():
    verdict = line(changed(range_max=3001))
    assert verdict.severity is Severity.ERROR
    assert "gripper by 0.09° (range_max 3000 -> 3001)" in str(verdict)
    assert "calibration_tolerance_deg 0.09" in str(verdict)
    assert calibrations.fingerprint(ARM) not in str(verdict)


@pytest.mark.parametrize(("tolerance_deg", "ok"), [(0.0, False), (0.08, False), (0.09, True)])
def test_a_person_may_accept_it_up_to_a_tolerance(tolerance_deg, ok):
    verdict = line(changed(range_max=3001), tolerance_deg)
    assert verdict.ok is ok
    assert "gripper by 0.09°" in str(verdict)


def test_the_tolerance_that_is_proposed_is_enough():
    verdict = line(changed(range_max=3017, range_min=992))
    proposed = float(verdict.fix.rpartition(" ")[2])
    assert line(changed(range_max=3017, range_min=992), proposed).ok
    assert not line(changed(range_max=3017, range_min=992), proposed - 0.02).ok


def test_a_homing_offset_and_a_range_that_moved_with_it_are_the_same_pose():
    """The servo reports its position less the offset."""
    verdict = line(changed(homing_offset=-40, range_min=990, range_max=2990))
    assert "gripper by 0.00°" in str(verdict)
    assert line(changed(homing_offset=-40, range_min=990, range_max=2990), 0.01).ok


def test_the_degrees_bound_what_a_value_means_otherwise():
    """Within the tolerance no dataset value of the joint takes it further away than said."""
    now = changed("shoulder_pan", range_min=790, range_max=3222, homing_offset=103)
    said = float(line(now).found.partition(" by ")[2].partition("°")[0])
    worst = 0.0
    for tick in (900, 2000, 3300):  # of the encoder
        values = []
        for arm in (ARM, now):
            entry = arm["shoulder_pan"]
            middle = (entry.range_min + entry.range_max) / 2
            radians = (tick - entry.homing_offset - middle) * 2 * 3.141592653589793 / 4096
            both = own_converter(arm).radians_to_dataset([radians, 0.0], "degrees")
            values.append(both[0])
        worst = max(worst, abs(values[0] - values[1]))
    assert 0 < worst <= said + 0.01


@pytest.mark.parametrize(
    "now", [changed(drive_mode=1), {"gripper": ARM["gripper"]}, {**ARM, "wrist": ARM["gripper"]}]
)
def test_what_cannot_be_compared_is_never_accepted(now):
    verdict = line(now, 360.0)
    assert verdict.severity is Severity.ERROR
    assert "cannot be compared" in str(verdict)
    assert "calibration_tolerance_deg" not in verdict.fix


def test_contracts_of_before_keep_their_signature_and_their_comparison():
    old = contract(ARM, ticks=False)
    assert "calibration_ticks" not in old.canonical()
    assert parse(old.canonical()) == old
    assert parse(contract(ARM).canonical()).signature() == contract(ARM).signature()
    (verdict,) = [v for v in fit(old, contract(changed(id=3))) if v.subject == "calibration"]
    assert verdict.severity is Severity.ERROR
    assert calibrations.fingerprint(ARM) in str(verdict)
