"""Does a contract fit another? Line by line, with what was expected, found, and how to fix it."""

from __future__ import annotations

import math
from collections.abc import Callable

from armlet.findings import Code, Finding, Severity, compared

from .contract import Camera, Contract
from .recalibration import accepted, moved

_ITEMS: tuple[tuple[Code, str, Callable[[Contract], object], str], ...] = (
    (Code.CONTRACT_RATE, "fps", lambda c: c.fps, "set the aligner's fps to the expected rate"),
    (
        Code.CONTRACT_STATE_NAMES,
        "state names",
        lambda c: c.state_names,
        "give the aligner's joints in the expected order",
    ),
    (
        Code.CONTRACT_ACTION_NAMES,
        "action names",
        lambda c: c.action_names,
        "give the joints in the expected order",
    ),
    (
        Code.CONTRACT_JOINT_UNITS,
        "joint units",
        lambda c: c.joint_units,
        "set joint_units to the mode the data was recorded in",
    ),
)


def fit(
    expected: Contract, found: Contract, calibration_tolerance_deg: float = 0.0
) -> list[Finding]:
    """Compare `found` (the robot, or a new episode) with `expected` (checkpoint, or dataset).

    Cameras are compared as a set of names, each with its picture size and channel order; extra
    cameras on the robot are no fault, and neither is another codec, which moves pixels by a few
    levels: the camera's line says so. Preprocessing belongs to the checkpoint alone and is not
    compared. Alignment is compared stream by stream where both state it. Another calibration is
    shown as what moved, and accepted up to a tolerance (degrees of the joint), where both state
    their values.
    """
    return [
        *(compared(code, name, get(expected), get(found), fix) for code, name, get, fix in _ITEMS),
        compare_calibrations(expected, found, calibration_tolerance_deg),
        *_units(expected, found),
        *_cameras(expected, found),
        *_alignment(expected, found),
    ]


def _units(expected: Contract, found: Contract) -> list[Finding]:
    """Joints that have another unit although the mode is the same; nothing where all agree."""
    if expected.joint_units != found.joint_units:
        return []
    here = found.units_by_name()
    return [
        compared(
            Code.CONTRACT_JOINT_UNIT,
            f"unit of {name}",
            unit,
            here[name],
            "record into a new dataset: values of two units must not be mixed",
        )
        for name, unit in expected.units_by_name().items()
        if name in here and here[name] != unit
    ]


def compare_calibrations(
    expected: Contract, found: Contract, tolerance_deg: float = 0.0
) -> Finding:
    """The calibration's line: what moved, by how much, and whether that is accepted."""
    code = Code.CONTRACT_CALIBRATION
    before, now = expected.calibration, found.calibration
    fix = "use the calibration file of the recording, or record again with this one"
    ticks = expected.calibration_ticks, found.calibration_ticks
    if before is None or before == now or ticks[0] is None or ticks[1] is None:
        return compared(code, "calibration", before, now, fix)
    changes = moved(ticks[0], ticks[1])
    said = "; ".join(map(str, changes)) or "the same values in another order"
    if changes and accepted(changes, tolerance_deg):
        why = f"recalibrated: {said}; accepted up to {tolerance_deg:g}°"
        return Finding(code, Severity.OK, "calibration", found="close to it", because=why)
    worst = changes[0].degrees if changes else None
    if worst is not None:
        least = math.ceil(worst * 100) / 100
        fix += f", or accept it: calibration_tolerance_deg {least:.2f}"
    expectation, difference = "the recording's", f"another: {said}"
    return Finding(code, Severity.ERROR, "calibration", expectation, difference, fix)


def _cameras(expected: Contract, found: Contract) -> list[Finding]:
    present = {camera.name: camera for camera in found.cameras}
    findings = []
    for camera in expected.cameras:
        live = present.get(camera.name)
        what = None if live is None else (live.height, live.width, live.channel_order)
        code = Code.CONTRACT_CAMERA_MISSING if live is None else Code.CONTRACT_CAMERA_FORMAT
        findings.append(
            compared(
                code,
                f"camera {camera.name} (height, width, channels){_recoded(camera, live)}",
                (camera.height, camera.width, camera.channel_order),
                what or f"no such camera among {sorted(present)}",
                "connect it, name it as in the dataset and set its picture size",
            )
        )
    return findings


def _recoded(camera: Camera, live: Camera | None) -> str:
    if live is None or live.codec == camera.codec:
        return ""
    return f", {live.codec} where {camera.codec} was recorded"


def _alignment(expected: Contract, found: Contract) -> list[Finding]:
    live = {stream.name: stream for stream in found.alignment}
    return [
        compared(
            Code.CONTRACT_ALIGNMENT,
            f"alignment of {stream.name} (policy, tolerance)",
            (stream.policy, stream.tolerance_s),
            (live[stream.name].policy, live[stream.name].tolerance_s),
            "use the aligner configuration of the recording",
        )
        for stream in expected.alignment
        if stream.name in live
    ]
