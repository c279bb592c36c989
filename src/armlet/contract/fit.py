"""Does a contract fit another? Line by line, with what was expected, found, and how to fix it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from armlet.files import printable

from .contract import Camera, Contract
from .recalibration import accepted, moved


class Standing(StrEnum):
    """How an item stands. OPEN: it cannot be known from what was given; said, never refused."""

    OK = "ok"
    OPEN = "open"
    WRONG = "WRONG"


@dataclass(frozen=True)
class Verdict:
    """One line of a comparison. expected None means the document does not state it.

    judged None compares expected and found; because says what the judgement rests on, and how sure
    it is, where that is not the comparison itself.
    """

    item: str
    expected: object
    found: object
    fix: str
    judged: Standing | None = None
    because: str = ""

    @property
    def standing(self) -> Standing:
        if self.judged is not None:
            return self.judged
        if self.expected is None:
            return Standing.OPEN
        return Standing.OK if self.expected == self.found else Standing.WRONG

    @property
    def ok(self) -> bool:
        """Nothing speaks against it: OK or OPEN."""
        return self.standing is not Standing.WRONG

    def to_json(self) -> dict[str, Any]:
        """For programs: item, expected, found, verdict, because, fix; values as texts."""
        return {
            "item": self.item,
            "expected": None if self.expected is None else _said(self.expected),
            "found": _said(self.found),
            "verdict": str(self.standing).lower(),
            "because": self.because,
            "fix": "" if self.standing is Standing.OK else self.fix,
        }

    def __str__(self) -> str:
        reason = f" ({self.because})" if self.because else ""
        if self.standing is Standing.OK:
            return f"ok    {self.item}: {_said(self.found)}{reason}"
        expected = "not stated" if self.expected is None else f"expected {_said(self.expected)}"
        fix = f"; {self.fix}" if self.fix else ""
        return f"{self.standing:5} {self.item}: {expected}, found {_said(self.found)}{reason}{fix}"


def _said(value: object) -> str:
    return "nothing" if value is None else printable(value, 1000)


_ITEMS: tuple[tuple[str, Callable[[Contract], object], str], ...] = (
    ("fps", lambda c: c.fps, "set the aligner's fps to the expected rate"),
    (
        "state names",
        lambda c: c.state_names,
        "give the aligner's joints in the expected order",
    ),
    ("action names", lambda c: c.action_names, "give the joints in the expected order"),
    (
        "joint units",
        lambda c: c.joint_units,
        "set joint_units to the mode the data was recorded in",
    ),
)


def fit(
    expected: Contract, found: Contract, calibration_tolerance_deg: float = 0.0
) -> list[Verdict]:
    """Compare `found` (the robot, or a new episode) with `expected` (checkpoint, or dataset).

    Cameras are compared as a set of names, each with its picture size and channel order; extra
    cameras on the robot are no fault, and neither is another codec, which moves pixels by a few
    levels: the camera's line says so. Preprocessing belongs to the checkpoint alone and is not
    compared. Alignment is compared stream by stream where both state it. Another calibration is
    shown as what moved, and accepted up to a tolerance (degrees of the joint), where both state
    their values.
    """
    verdicts = [Verdict(item, get(expected), get(found), fix) for item, get, fix in _ITEMS]
    verdicts.append(calibration_verdict(expected, found, calibration_tolerance_deg))
    return (
        verdicts + _units(expected, found) + _cameras(expected, found) + _alignment(expected, found)
    )


def _units(expected: Contract, found: Contract) -> list[Verdict]:
    """Joints that have another unit although the mode is the same; nothing where all agree."""
    if expected.joint_units != found.joint_units:
        return []
    here = found.units_by_name()
    return [
        Verdict(
            f"unit of {name}",
            unit,
            here[name],
            "record into a new dataset: values of two units must not be mixed",
        )
        for name, unit in expected.units_by_name().items()
        if name in here and here[name] != unit
    ]


def calibration_verdict(expected: Contract, found: Contract, tolerance_deg: float = 0.0) -> Verdict:
    """The calibration's line: what moved, by how much, and whether that is accepted."""
    before, now = expected.calibration, found.calibration
    fix = "use the calibration file of the recording, or record again with this one"
    ticks = expected.calibration_ticks, found.calibration_ticks
    if before is None or before == now or ticks[0] is None or ticks[1] is None:
        return Verdict("calibration", before, now, fix)
    changes = moved(ticks[0], ticks[1])
    said = "; ".join(map(str, changes)) or "the same values in another order"
    if changes and accepted(changes, tolerance_deg):
        why = f"recalibrated: {said}; accepted up to {tolerance_deg:g}°"
        return Verdict("calibration", "the recording's", "close to it", "", Standing.OK, why)
    worst = changes[0].degrees if changes else None
    if worst is not None:
        least = math.ceil(worst * 100) / 100
        fix += f", or accept it: calibration_tolerance_deg {least:.2f}"
    return Verdict("calibration", "the recording's", f"another: {said}", fix, Standing.WRONG)


def _cameras(expected: Contract, found: Contract) -> list[Verdict]:
    present = {camera.name: camera for camera in found.cameras}
    verdicts = []
    for camera in expected.cameras:
        live = present.get(camera.name)
        what = None if live is None else (live.height, live.width, live.channel_order)
        verdicts.append(
            Verdict(
                f"camera {camera.name} (height, width, channels){_recoded(camera, live)}",
                (camera.height, camera.width, camera.channel_order),
                what or f"no such camera among {sorted(present)}",
                "connect it, name it as in the dataset and set its picture size",
            )
        )
    return verdicts


def _recoded(camera: Camera, live: Camera | None) -> str:
    if live is None or live.codec == camera.codec:
        return ""
    return f", {live.codec} where {camera.codec} was recorded"


def _alignment(expected: Contract, found: Contract) -> list[Verdict]:
    live = {stream.name: stream for stream in found.alignment}
    return [
        Verdict(
            f"alignment of {stream.name} (policy, tolerance)",
            (stream.policy, stream.tolerance_s),
            (live[stream.name].policy, live[stream.name].tolerance_s),
            "use the aligner configuration of the recording",
        )
        for stream in expected.alignment
        if stream.name in live
    ]
