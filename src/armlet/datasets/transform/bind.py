"""Writes a dataset's contract again, from what a person knows of the recording.

Tools of LeRobot write datasets without it, and LeRobot never wrote one. What a contract says cannot
be read off the data, but much that it might say can be excluded by them: they are examined first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from armlet.contract import Camera, Contract, ContractError, fit, load
from armlet.datasets.check.quality import names_of, not_finite, read_vectors
from armlet.datasets.check.review_joints import suspect_units, unit_findings
from armlet.datasets.check.rows import Rows
from armlet.datasets.format import atomic_files, layout
from armlet.datasets.format.errors import DatasetError
from armlet.datasets.format.layout import Info
from armlet.datasets.format.trash import TRASH, Trash, replace_file
from armlet.datasets.vectors import Vectors
from armlet.files import printable
from armlet.findings import Code, Finding, Severity
from armlet.robots.calibration import Calibration, CalibrationError, JointCalibration
from armlet.robots.joints import joint_names
from armlet.robots.unit_check import Reach
from armlet.robots.unit_modes import MODES, JointUnits, joint_units
from armlet.robots.units import DEGREES_PER_TICK, RADIANS_PER_TICK, converter, unit_of

from .cuts import Source

# Rows beyond what a servo can read: fewer are glitches.
_LEAST, _SHARE = 3, 0.001
# A person moves each joint over its whole range to calibrate it. States this far beyond it
# (degrees), in this share of the rows, are those of another calibration.
_OUTSIDE_DEG, _OUTSIDE_SHARE = 20.0, 0.05
_FIX_CALIBRATION = "give the calibration file that the arm had while it was recorded"
_FIX_UNITS = "give the joint units it was recorded in (LeRobot's use_degrees)"


@dataclass(frozen=True)
class Rebound:
    """What became of a dataset's contract.

    findings: what the data say of it; nothing was written if one of them is an error. changed is
    False where the same contract was there. trash: where the one before is, if there was one.
    """

    contract: Contract
    findings: tuple[Finding, ...]
    changed: bool = False
    trash: Path | None = None

    @property
    def ok(self) -> bool:
        return all(finding.ok for finding in self.findings)


def contract_of(info: Info, calibration: Calibration, units: JointUnits) -> Contract:
    """The contract of a dataset recorded with a calibration, in these units.

    Alignment is not stated. Raises DatasetError where info.json names no joints, or others than the
    calibration has.
    """
    try:
        return Vectors(described_contract(info), calibration, units).contract
    except CalibrationError as error:
        raise DatasetError(f"joints of info.json and of the calibration: {error}") from error


def contract_like(info: Info, other: Contract) -> Contract:
    """The contract of a dataset recorded as another was, whose contract is given.

    Cameras, joints and rate must be the same. Alignment is taken over where this dataset has the
    same streams in its column of skews. Raises DatasetError naming each difference.
    """
    described = described_contract(info)
    compared = (
        Code.CONTRACT_RATE,
        Code.CONTRACT_STATE_NAMES,
        Code.CONTRACT_ACTION_NAMES,
        Code.CONTRACT_CAMERA_MISSING,
        Code.CONTRACT_CAMERA_FORMAT,
    )
    wrong = [f for f in fit(described, other) if f.code in compared and not f.ok]
    if wrong:
        lines = (
            str(dataclasses.replace(one, fix="name a dataset recorded as this one was"))
            for one in wrong
        )
        raise DatasetError("the two were not recorded alike:\n" + "\n".join(lines))
    skews = info.features.get(layout.SKEW)
    streams = () if skews is None else skews.names
    alike = streams == tuple(stream.name for stream in other.alignment)
    there = {camera.name: camera for camera in other.cameras}
    return dataclasses.replace(
        other,
        cameras=tuple(there[camera.name] for camera in described.cameras),
        alignment=other.alignment if alike else (),
    )


def bind(root: Path, contract: Contract, replace: bool = False) -> Rebound:
    """Write a contract into a dataset that it may be of, as a whole or not at all.

    What was there goes to the trash; a whole contract that says something else is replaced only
    with `replace`. Raises DatasetError for a dataset that is being recorded into, is not whole, or
    has such a contract; OSError.
    """
    handle = atomic_files.lock(root)
    try:
        source = Source.open(root)
        findings = tuple(examine(source, contract))
        rebound = Rebound(contract, findings)
        if not rebound.ok or not _is_new(root, contract, replace):
            return rebound
        trash = Trash(root)
        replace_file(root, layout.CONTRACT, contract.signed(), trash)
        before = TRASH / trash.name() if trash.has(layout.CONTRACT) else None
        return dataclasses.replace(rebound, changed=True, trash=before)
    finally:
        atomic_files.unlock(handle)


def _is_new(root: Path, contract: Contract, replace: bool) -> bool:
    """Whether there is something to write. Raises DatasetError if another contract is there."""
    try:
        stored = load(layout.locate(root, layout.CONTRACT))
    except (FileNotFoundError, ContractError):
        return True
    if stored == contract:
        return False
    if not replace:
        lines = [str(finding) for finding in fit(stored, contract) if not finding.ok]
        raise DatasetError(
            f"{root} has a contract that says something else; --replace puts it into the trash:\n"
            + ("\n".join(lines) or "one of the two states more than the other")
        )
    return True


def described_contract(info: Info) -> Contract:
    """What info.json says of frames: rate, cameras, names; no units, calibration or alignment.

    Raises DatasetError for joints without names.
    """
    names = {}
    for key in (layout.STATE, layout.ACTION):
        feature = info.features.get(key)
        if feature is None or feature.names is None or (len(feature.names),) != feature.shape:
            raise DatasetError(
                f"info.json: expected a column {key} with a name for each joint, found "
                f"{'no column' if feature is None else 'no names'}; correct info.json first"
            )
        names[key] = feature.names
    return Contract(
        fps=info.fps,
        cameras=tuple(Camera(name, *f.picture_size) for name, f in info.cameras.items()),
        state_names=names[layout.STATE],
        action_names=names[layout.ACTION],
    )


# --- what the data say --------------------------------------------------------------------------


def examine(source: Source, contract: Contract) -> Iterator[Finding]:
    """Whether a dataset's rows can be of a contract: errors where they cannot.

    Raises DatasetError if they cannot be read.
    """
    names = names_of(source.info)
    episodes = list(read_vectors(source.root, source.info, list(source.rows)))
    broken = [*not_finite(episodes)]
    yield from broken
    if broken:
        return
    wrong = [
        dataclasses.replace(finding, fix=_FIX_UNITS)
        for finding in unit_findings(episodes, names, contract)
    ]
    yield from wrong
    if wrong or contract.joint_units not in MODES:
        return
    units = joint_units(contract.joint_units)
    yield from _calibration_findings(episodes, contract, units)
    yield from _other_mode(episodes, names, units)


def _other_mode(
    episodes: list[Rows], names: dict[str, list[str]], units: JointUnits
) -> Iterator[Finding]:
    """Says so where the values could be of the other mode as well."""
    (other,) = (mode for mode in MODES if mode != units)
    values = {layout.STATE: _together(episodes, False), layout.ACTION: _together(episodes, True)}
    if not any(suspect_units(rows, names[key], other) for key, rows in values.items()):
        yield Finding(
            Code.DATASET_UNITS_WRONG,
            Severity.OPEN,
            "joint units",
            units,
            f"values that fit {other} too",
            f"be sure of it: {_FIX_UNITS}",
            "the data cannot decide; the contract says what you gave",
        )


def _together(episodes: list[Rows], actions: bool) -> NDArray[np.float64]:
    """All rows (N, n) of action or state."""
    return np.concatenate([rows.action if actions else rows.state for rows in episodes])


def _calibration_findings(
    episodes: list[Rows], contract: Contract, units: JointUnits
) -> Iterator[Finding]:
    """Positions that no servo of this calibration reads, or that lie far beyond its ranges.

    The range modes are cut off at the ends of the range whatever it is, so only degrees show it.
    """
    calibration = _calibration(contract)
    if calibration is None or units != "degrees":
        return
    for names, actions in ((contract.state_names, False), (contract.action_names, True)):
        values = _together(episodes, actions)
        reach = Reach(names, calibration)
        radians = converter(names, calibration).dataset_to_radians(values, units)
        body = np.array([unit_of(name, units) == units for name in names])
        unreadable = reach.beyond(radians).sum(axis=0) >= max(_LEAST, _SHARE * len(values))
        low, high = (limit / RADIANS_PER_TICK * DEGREES_PER_TICK for limit in reach.limits)
        excess = np.maximum(low - values, values - high)
        outside = (excess > _OUTSIDE_DEG).mean(axis=0) > _OUTSIDE_SHARE
        for joint in np.flatnonzero(body & (unreadable | outside)):
            # A leader's joint may be turned further than the follower's can.
            leads = actions and not unreadable[joint]
            yield Finding(
                Code.DATASET_CALIBRATION_WRONG,
                Severity.WARNING if leads else Severity.ERROR,
                f"{'action' if actions else 'state'} of {names[joint].removesuffix('.pos')}",
                f"{low[joint]:.0f}..{high[joint]:.0f} degrees, its calibrated range",
                f"{values[:, joint].min():.0f}..{values[:, joint].max():.0f}",
                _FIX_CALIBRATION,
                "no servo can read that" if unreadable[joint] else "",
            )


def _calibration(contract: Contract) -> Calibration | None:
    """The calibration by the contract's ticks, in which servos' ids are not stated.

    None where they are not stated of every joint. Raises DatasetError for those of no servo.
    """
    if contract.calibration_ticks is None:
        return None
    found = {}
    for joint in joint_names(contract.vector_names):
        if joint not in contract.calibration_ticks:
            return None
        try:
            drive, offset, low, high = contract.calibration_ticks[joint]
            found[joint] = JointCalibration(0, drive, offset, low, high)
        except ValueError as error:
            raise DatasetError(f"calibration_ticks of {printable(joint, 80)}: {error}") from error
    return found
