"""Does this checkpoint fit this robot, this dataset, this calibration? A line for every item.

`armlet policy check` and the policy node call `check`, so both refuse the same things in the same
words. Files first: what a checkpoint says of itself and whether its statistics can be those of such
data. Then what is given beside it, by name, size, rate and units; then what is seen, pictures and
poses, against the frozen statistics (see comparisons).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
from safetensors import SafetensorError, safe_open

from armlet.contract import Camera, Contract, compare_calibrations, fit
from armlet.findings import Code, Finding, Severity, as_json, compared, text
from armlet.policies.checkpoint.checkpoint import Checkpoint
from armlet.policies.checkpoint.weights import read_header
from armlet.policies.config.base import ACTION, ENVIRONMENT, STATE, camera_name
from armlet.policies.config.errors import CheckpointError
from armlet.robots import calibration as calibrations
from armlet.robots.calibration import Calibration
from armlet.robots.joints import joint_names
from armlet.robots.units import JointUnits, converter, unit_of
from armlet.robots.units import joint_units as unit_mode

from .comparisons import distribution_findings, input_line, source_inputs
from .feature_stats import Floats, frozen_statistics, unlike
from .limits import Limits
from .network_input import NetworkInput
from .response import Answer, response_findings
from .samples import Samples, moments_of
from .statistics import statistics_lines

# Beyond the calibrated range by this share of it, training poses are out of this arm's reach.
_REACH = 0.15
_UNITS = get_args(JointUnits)
_NAMES = (Code.CONTRACT_STATE_NAMES, Code.CONTRACT_ACTION_NAMES)
_FIX_UNITS = (
    f"give joint_units:={' or joint_units:='.join(_UNITS)} (to this check: --joint-units), the "
    "mode the data was recorded in (LeRobot's use_degrees)"
)


@dataclass(frozen=True)
class Asking:
    """A policy to be asked about frames of each source: how many, and for which task.

    task is the instruction for a robot's frames; those of a dataset have their own. A single frame
    is enough to see whether anything changes the answer, see response.
    """

    answer: Answer
    probes: int
    task: str = ""


@dataclass(frozen=True)
class Report:
    """Every line of a check.

    joint_units are those to run with, "" if unknown; contract is what was expected, None if the
    checkpoint could not be read. inputs has the numbers of what reaches the network.
    """

    findings: tuple[Finding, ...]
    joint_units: str = ""
    contract: Contract | None = None
    notes: tuple[str, ...] = field(default=())
    inputs: tuple[NetworkInput, ...] = ()

    @property
    def wrong(self) -> list[Finding]:
        return [finding for finding in self.findings if not finding.ok]

    @property
    def ok(self) -> bool:
        return not self.wrong

    def text(self) -> str:
        """The refusal: one line per wrong item; empty if nothing is wrong."""
        if self.ok:
            return ""
        return "\n".join(["the policy does not fit:", *map(text, self.wrong)])

    def __str__(self) -> str:
        """Every line, wrong ones among them, then notes."""
        return "\n".join([*map(text, self.findings), *(f"note  {note}" for note in self.notes)])

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "joint_units": self.joint_units,
            "items": [_item(finding) for finding in self.findings],
            "notes": list(self.notes),
            "inputs": [seen.to_json() for seen in self.inputs],
        }


def _item(finding: Finding) -> dict[str, Any]:
    """With the names a finding's subject and severity had before there were codes."""
    verdict = "open" if finding.severity is Severity.OPEN else "ok" if finding.ok else "wrong"
    return {**as_json(finding), "item": finding.subject, "verdict": verdict}


def refusal_report(error: Exception) -> Report:
    """A checkpoint that cannot be read or run, as the report of a check."""
    finding = error.finding if isinstance(error, CheckpointError) else None
    if finding is None:
        finding = Finding(
            Code.POLICY_CHECKPOINT_UNUSABLE,
            Severity.ERROR,
            "checkpoint",
            "one this armlet can run",
            " ".join(str(error).split()),
            "copy the whole pretrained_model directory again, or train again",
        )
    return Report((finding,))


def check(
    checkpoint: Checkpoint,
    *,
    robot: Contract | None = None,
    joint_units: str = "",
    calibration: Calibration | None = None,
    samples: Sequence[Samples] = (),
    driving: bool = False,
    calibration_tolerance_deg: float = 0.0,
    limits: Limits | None = None,
    asking: Asking | None = None,
) -> Report:
    """Check a checkpoint's documents against all that is given beside them.

    robot is the live contract, as the aligner states it. joint_units is the parameter, "" if not
    given: with a robot, or one to come (driving), it is required where neither checkpoint nor
    dataset states the units. Another calibration than the training data's is accepted up to
    calibration_tolerance_deg. samples are a dataset's observations, a live robot's, or both.
    With `asking` the network is run on them, see response; else weights are not looked at:
    load_network refuses bad ones. limits are those of the comparisons with samples.
    """
    limits = limits or Limits()
    training = next((e for e in samples if not e.live), None)
    expected, unstated = _expected(checkpoint, robot, training)
    units_line, units = _units(expected, joint_units, driving or robot is not None, checkpoint)
    names = {STATE: expected.state_names, ACTION: expected.action_names}
    findings = [
        *_policy_lines(checkpoint),
        *_name_count_lines(checkpoint, expected),
        _rate_line(checkpoint, expected, unstated),
        units_line,
        *statistics_lines(checkpoint, units or None, names),
    ]
    if driving and ENVIRONMENT in checkpoint.config.used_features:
        findings.append(_simulators_only())
    if calibration is not None:
        findings += _calibration_lines(checkpoint, expected, calibration, units)
        if robot is None:
            own = _calibrated(expected, calibration)
            findings.append(compare_calibrations(expected, own, calibration_tolerance_deg))
    if robot is not None:
        if calibration is not None:
            robot = _calibrated(robot, calibration)
        findings += _fit_lines(checkpoint, expected, robot, unstated, calibration_tolerance_deg)
    inputs: list[NetworkInput] = []
    for source in samples:
        if not source.live:
            findings += _dataset_lines(checkpoint, expected, source)
        findings += distribution_findings(
            checkpoint, source, units, expected.state_names, training, limits
        )
        seen = [*source_inputs(checkpoint, source, units, expected.state_names, training)]
        findings += [input_line(each, source, limits) for each in seen]
        inputs += seen
        if asking is not None:
            findings += _response_lines(checkpoint, source, units, expected, asking, limits)
    return Report(tuple(findings), units, expected, tuple(checkpoint.notes), tuple(inputs))


def _response_lines(
    checkpoint: Checkpoint,
    source: Samples,
    units: str,
    expected: Contract,
    asking: Asking,
    limits: Limits,
) -> Iterator[Finding]:
    steps, count = checkpoint.config.n_obs_steps, asking.probes
    moments = moments_of(source, units, steps, asking.task, count)
    names = joint_names(expected.action_names)
    trained = not unlike(checkpoint, source.statistics)
    return response_findings(
        checkpoint, asking.answer, source.source, moments, names, limits, trained
    )


# --- what is expected -----------------------------------------------------------------------------


def _expected(
    checkpoint: Checkpoint, robot: Contract | None, training: Samples | None
) -> tuple[Contract, frozenset[Code]]:
    """The contract to hold everything to, and the codes of what its checkpoint does not state.

    A plain LeRobot checkpoint states cameras alone; the rest is its training data's, else what the
    robot has, which then cannot be checked.
    """
    if checkpoint.contract is not None:
        return checkpoint.contract, frozenset()
    source = training.contract if training is not None else robot
    rate = stored_rate(checkpoint.path)
    contract = Contract(
        fps=rate or (source.fps if source else 0),
        cameras=tuple(
            Camera(camera_name(key), height=feature.shape[1], width=feature.shape[2])
            for key, feature in checkpoint.config.image_features.items()
        ),
        state_names=source.state_names if source else (),
        action_names=source.action_names if source else (),
        joint_units=training.contract.joint_units if training is not None else None,
        calibration=training.contract.calibration if training is not None else None,
        calibration_ticks=training.contract.calibration_ticks if training is not None else None,
        preprocessing=checkpoint.preprocessor.describe(),
    )
    if training is not None:
        return contract, frozenset()
    unstated = frozenset(_NAMES)
    return contract, unstated if rate else unstated | {Code.CONTRACT_RATE}


def stored_rate(path: Path) -> int | None:
    """Frames per second of the training data by the statistics of its time columns, if stored.

    LeRobot stores those of every column: timestamp is frame_index / fps, so their means are fps
    apart. None if they are not there.
    """
    for file in sorted(path.glob("policy_preprocessor_step_*_normalizer_processor.safetensors")):
        try:
            read_header(file)
            with safe_open(str(file), framework="numpy") as stored:
                names = set(stored.keys())
                if not {"timestamp.max", "frame_index.max"} <= names:
                    continue
                seconds = float(np.max(stored.get_tensor("timestamp.max")))
                frames = float(np.max(stored.get_tensor("frame_index.max")))
        except (SafetensorError, OSError) as error:
            raise CheckpointError.found(
                Code.POLICY_FILE_DAMAGED,
                file,
                "file not readable",
                expected="a whole safetensors file",
                found=error,
                fix="copy the file again",
            ) from error
        if seconds > 0 and 1 <= round(frames / seconds) <= 1000:
            return round(frames / seconds)
    return None


def _units(
    expected: Contract, given: str, driving: bool, checkpoint: Checkpoint
) -> tuple[Finding, str]:
    stated, item = expected.joint_units, "joint units"
    if given and given not in _UNITS:
        return Finding(
            Code.POLICY_JOINT_UNITS,
            Severity.ERROR,
            item,
            f"one of {', '.join(_UNITS)}",
            given,
            _FIX_UNITS,
        ), ""
    if stated is not None and given and stated != given:
        fix = "set joint_units to the mode the data was recorded in, or leave it out"
        return Finding(Code.POLICY_JOINT_UNITS, Severity.ERROR, item, stated, given, fix), stated
    if stated is not None:
        return Finding(Code.POLICY_JOINT_UNITS, Severity.OK, item, stated, stated), stated
    if given:
        why = "as given; the checkpoint does not state them"
        return Finding(Code.POLICY_JOINT_UNITS, Severity.OK, item, None, given, "", why), given
    if STATE not in checkpoint.config.input_features and not driving:
        return Finding(
            Code.POLICY_JOINT_UNITS, Severity.OPEN, item, None, "unknown", _FIX_UNITS
        ), ""
    severity = Severity.ERROR if driving else Severity.OPEN
    hint = "; ".join(_unit_hints(checkpoint)) or "the statistics allow either"
    return Finding(
        Code.POLICY_JOINT_UNITS,
        severity,
        item,
        "units the checkpoint states, or given",
        "neither",
        _FIX_UNITS,
        hint,
    ), ""


def _unit_hints(checkpoint: Checkpoint) -> Iterator[str]:
    state = frozen_statistics(checkpoint).get(STATE)
    if state is None or state.low is None or state.high is None:
        return
    reach = float(np.maximum(-state.low, state.high).max())
    if reach > 100.5:
        yield f"values reach {reach:.0f}, and range_m100_100 ends at 100: degrees"


# --- the policy by itself -------------------------------------------------------------------------


def _policy_lines(checkpoint: Checkpoint) -> Iterator[Finding]:
    config, described = checkpoint.config, checkpoint.preprocessor.describe()
    yield _said("trained with", checkpoint.origin)
    cameras = [camera_name(key) for key in config.image_features]
    if cameras:
        # SmolVLA reads its pictures one after the other; ACT adds the same position to each.
        feels = "ACT itself gives the same in any order; its per-camera statistics do not"
        why = "the order is the network's" if checkpoint.family.orders_cameras else feels
        yield _said("cameras", f"{', '.join(cameras)}", why)
    for key, feature in config.image_features.items():
        _, height, width = feature.shape
        mode = config.normalization_mapping[feature.type]
        yield _said(
            f"camera {camera_name(key)}",
            f"{width}x{height} RGB uint8, resize {described.resize}, "
            f"to {described.value_range}, {mode}",
        )
    yield _range_line(checkpoint)


def _simulators_only() -> Finding:
    return Finding(
        Code.POLICY_INPUT_REFUSED,
        Severity.ERROR,
        "inputs",
        "pictures and joints, which a robot has",
        f"{ENVIRONMENT}, which a simulator has",
        "train a policy without it, by the dataset without that column",
    )


def _said(item: str, found: object, because: str = "") -> Finding:
    return Finding(Code.POLICY_FACT, Severity.OK, item, None, found, "", because)


def _range_line(checkpoint: Checkpoint) -> Finding:
    value_range = checkpoint.preprocessor.describe().value_range
    fix = "restore the checkpoint's own contract"
    return compared(
        Code.POLICY_VALUE_RANGE, "value range before normalization", "0..1", value_range, fix
    )


def _name_count_lines(checkpoint: Checkpoint, expected: Contract) -> Iterator[Finding]:
    sizes = (
        ("state", checkpoint.config.state_size, expected.state_names),
        ("action", checkpoint.config.action_size, expected.action_names),
    )
    for what, size, names in sizes:
        if size is None:
            continue
        bare = [name.removesuffix(".pos") for name in names]
        item = f"{what} joints"
        if not names:
            yield Finding(
                Code.POLICY_JOINT_COUNT,
                Severity.OPEN,
                item,
                f"{size} names",
                "none",
                "give --dataset, whose info.json names them; the checkpoint does not",
            )
        elif len(names) != size:
            yield Finding(
                Code.POLICY_JOINT_COUNT,
                Severity.ERROR,
                item,
                f"{size}, the length of the policy's {what} vector",
                f"{len(names)} ({', '.join(bare)})",
                "name the joints of the training data, in its order",
            )
        else:
            yield _said(item, ", ".join(bare))


def _rate_line(checkpoint: Checkpoint, expected: Contract, unstated: frozenset[Code]) -> Finding:
    rate = stored_rate(checkpoint.path)
    fix = "train at the rate of the data, or restore the checkpoint's own contract"
    if rate is not None:
        because = "by the stored statistics of the data's time columns"
        return compared(
            Code.POLICY_TRAINING_RATE, "training rate (Hz)", rate, expected.fps, fix, because
        )
    if expected.fps and Code.CONTRACT_RATE not in unstated:
        return _said("training rate (Hz)", expected.fps)
    return Finding(
        Code.POLICY_TRAINING_RATE,
        Severity.OPEN,
        "training rate (Hz)",
        None,
        expected.fps or "nothing",
        "give --dataset, whose info.json states it",
        "the checkpoint does not state it",
    )


# --- what is given beside it ----------------------------------------------------------------------


def _calibration_lines(
    checkpoint: Checkpoint, expected: Contract, calibration: Calibration, units: str
) -> Iterator[Finding]:
    """By joint name: the order of a calibration file means nothing."""
    names = joint_names(expected.state_names)
    for vector in dict.fromkeys((names, joint_names(expected.action_names))):
        if vector and set(vector) != set(calibration):
            yield Finding(
                Code.POLICY_CALIBRATION_JOINTS,
                Severity.ERROR,
                "joints of the calibration",
                ", ".join(vector),
                ", ".join(calibration),
                "give the calibration file of this arm; of several arms by the prefixes of their "
                "joints, left_=FILE,right_=FILE",
            )
            return
    if not names or units not in _UNITS:
        return
    yield from _unit_lines(expected, unit_mode(units))
    state = frozen_statistics(checkpoint).get(STATE)
    if state is None or state.low is None or state.high is None or len(state.low) != len(names):
        return
    ends = calibration_ends(names, calibration, unit_mode(units))
    low, high = ends.min(axis=0), ends.max(axis=0)
    slack = _REACH * (high - low)
    beyond = (state.low < low - slack) | (state.high > high + slack)
    for i in np.flatnonzero(beyond):
        yield Finding(
            Code.POLICY_OUT_OF_REACH,
            Severity.ERROR,
            f"reach of {names[i]} (in {units})",
            f"{low[i]:.0f}..{high[i]:.0f}, as calibrated",
            f"{state.low[i]:.0f}..{state.high[i]:.0f} in training",
            "the data was recorded in other units, in another joint order or with another "
            "calibration: give those of the training data",
        )


def _calibrated(contract: Contract, calibration: Calibration) -> Contract:
    """A contract as of an arm with this calibration."""
    return dataclasses.replace(
        contract,
        calibration=calibrations.fingerprint(calibration),
        calibration_ticks=calibrations.ticks(calibration),
    )


def _unit_lines(expected: Contract, units: JointUnits) -> Iterator[Finding]:
    """Joints that the training data has in another unit than they are converted to here."""
    for name, unit in expected.units_by_name().items():
        found = unit_of(name, units)
        if unit != found:
            yield Finding(
                Code.CONTRACT_JOINT_UNIT,
                Severity.ERROR,
                f"unit of {name.removesuffix('.pos')}",
                unit,
                found,
                "record and train again: this armlet converts the joint to another unit",
            )


def calibration_ends(names: Sequence[str], calibration: Calibration, units: JointUnits) -> Floats:
    """Both ends of the joints' calibrated ranges (2, n) in dataset units."""
    convert = converter(names, calibration)
    return convert.radians_to_dataset(np.stack(convert.limits_radians()), units)


def _fit_lines(
    checkpoint: Checkpoint,
    expected: Contract,
    found: Contract,
    unstated: frozenset[Code],
    tolerance_deg: float,
) -> Iterator[Finding]:
    for finding in fit(_sized(checkpoint, expected, found), found, tolerance_deg):
        if finding.code is Code.CONTRACT_JOINT_UNITS:
            continue  # topics are in radians; units have their own line
        if finding.code in unstated:
            yield dataclasses.replace(
                finding,
                severity=Severity.OPEN,
                expected=None,
                because="taken from the robot: the checkpoint does not state it",
                fix="give --dataset to check it against the training data",
            )
        elif finding.code in _NAMES:
            yield _bare_names(finding)
        elif finding.code is Code.CONTRACT_CALIBRATION and found.calibration is None:
            # A robot whose calibration nobody gave: the node always has one.
            yield dataclasses.replace(
                finding, severity=Severity.OPEN, fix="give --calibration to compare it"
            )
        else:
            yield finding


def _bare_names(finding: Finding) -> Finding:
    """Names compared without LeRobot's ending `.pos`."""
    expected, found = _bare(finding.expected), _bare(finding.found)
    return compared(finding.code, finding.subject, expected, found, finding.fix)


def _bare(names: object) -> str:
    assert isinstance(names, tuple)
    return ", ".join(str(name).removesuffix(".pos") for name in names)


def _sized(checkpoint: Checkpoint, expected: Contract, found: Contract) -> Contract:
    """`expected`, its picture sizes as found where the policy resizes."""
    if checkpoint.preprocessor.describe().resize == "none":
        return expected
    sizes = {camera.name: camera for camera in found.cameras}
    cameras = tuple(
        dataclasses.replace(
            camera, height=sizes[camera.name].height, width=sizes[camera.name].width
        )
        if camera.name in sizes
        else camera
        for camera in expected.cameras
    )
    return dataclasses.replace(expected, cameras=cameras)


def _dataset_lines(
    checkpoint: Checkpoint, expected: Contract, source: Samples
) -> Iterator[Finding]:
    """The dataset's own description against what is expected; what it leaves out is open."""
    own = {
        Code.CONTRACT_JOINT_UNITS: source.contract.joint_units,
        Code.CONTRACT_CALIBRATION: source.contract.calibration,
    }
    for finding in fit(_sized(checkpoint, expected, source.contract), source.contract):
        here = dataclasses.replace(finding, subject=f"{finding.subject}, {source.source}")
        if own.get(finding.code, "") is None:
            yield dataclasses.replace(
                here, severity=Severity.OPEN, because="the dataset does not state it"
            )
        else:
            yield _bare_names(here) if finding.code in _NAMES else here
