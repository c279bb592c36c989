"""Between ROS messages and the values the ROS-free packages work on.

What every node needs is here. `pictures` and `trajectories` are modules of their own: most nodes
start without the rooms that these belong to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from numpy.typing import NDArray
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, MultiArrayDimension, String

from armlet.files import FileError, read_versioned, write_versioned
from armlet.findings import Finding
from armlet.findings import diagnostic as findings_diagnostic

from .stamps import to_ns as to_ns
from .stamps import to_time as to_time

LONGEST_TASK = 2000
"""Characters of an instruction; those of LeRobot's datasets have a few hundred."""

_LATEST_NS = 2**63
_LONGEST_LABEL = 1 << 16

_SKEW_VERSION = 1
"""Of the labels of skew messages. Those of before they said it are of the first."""


class MessageError(ValueError):
    """A message whose content does not fit its type's meaning."""


def joint_state(
    joints: Sequence[str],
    stamp_ns: int,
    position: NDArray[np.float64],
    velocity: NDArray[np.float64] | None = None,
) -> JointState:
    """JointState in radians and rad/s."""
    message = JointState(name=list(joints), position=position.tolist())
    message.header.stamp = to_time(stamp_ns)
    if velocity is not None:
        message.velocity = velocity.tolist()
    return message


def positions(message: JointState, joints: Sequence[str]) -> NDArray[np.float64]:
    """Positions (n,) of the named joints, matched by name. MessageError if missing."""
    found = dict(zip(message.name, message.position, strict=False))
    missing = [joint for joint in joints if joint not in found]
    if missing:
        raise MessageError(f"JointState lacks {missing}; it names {list(message.name)}")
    return np.array([found[joint] for joint in joints], np.float64)


def skew_message(
    stamp_ns: int,
    skew_s: Mapping[str, float],
    ledger: Mapping[str, Mapping[str, int]] | None = None,
    sent_ns: int | None = None,
) -> Float64MultiArray:
    """Source stamp minus frame stamp (s) by stream; the label holds the frame's stamp and names.

    ledger: the aligner's counts (`Ledger.counts`) as of this frame, which the label holds too,
    as it does sent_ns: when the frame is sent, by the sender's clock.
    """
    message = Float64MultiArray(data=list(skew_s.values()))
    label = {"stamp_ns": stamp_ns, "streams": list(skew_s), "ledger": ledger or {}}
    if sent_ns is not None:
        label["sent_ns"] = sent_ns
    text = write_versioned(_SKEW_VERSION, label)
    message.layout.dim = [MultiArrayDimension(label=text, size=len(skew_s), stride=1)]
    return message


def parse_skew(message: Float64MultiArray) -> tuple[int, dict[str, float]]:
    """The frame's stamp (ns) and each stream's skew (s), as `skew_message` wrote them.

    Raises MessageError if it did not write this message.
    """
    label = _skew_label(message)
    stamp_ns, streams, data = label.get("stamp_ns"), label.get("streams"), message.data
    if type(stamp_ns) is not int or not 0 <= stamp_ns < _LATEST_NS:
        raise MessageError("not a skew message: stamp_ns is not a time in nanoseconds")
    if not isinstance(streams, list) or not all(isinstance(name, str) for name in streams):
        raise MessageError("not a skew message: streams are not names")
    if len(streams) != len(data) or not np.isfinite(data).all():
        raise MessageError(f"not a skew message: {len(data)} values of {len(streams)} streams")
    return stamp_ns, dict(zip(streams, data, strict=True))


def parse_ledger(message: Float64MultiArray) -> dict[str, dict[str, int]]:
    """The counts in a skew message's label; empty if it has none. Raises MessageError likewise."""
    ledger = _skew_label(message).get("ledger", {})
    if not isinstance(ledger, dict):
        raise MessageError("not a skew message: its ledger is not a table")
    for counts in ledger.values():
        if not isinstance(counts, dict) or not all(map(_is_count, counts.values())):
            raise MessageError("not a skew message: its ledger has other things than counts")
    return ledger


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < _LATEST_NS


def _skew_label(message: Float64MultiArray) -> dict[str, Any]:
    text = message.layout.dim[0].label if message.layout.dim else ""
    known = (_SKEW_VERSION,)
    try:
        _, label = read_versioned(
            text, "a skew message's label", known, _LONGEST_LABEL, _SKEW_VERSION, json.loads
        )
    except FileError as error:
        raise MessageError(str(error)) from error
    return label


def instruction(message: String) -> str:
    """A task in words: one line that can be shown and stored. Raises MessageError."""
    text = message.data
    if len(text) > LONGEST_TASK or not text.isprintable():
        raise MessageError(
            f"a task must be one line of at most {LONGEST_TASK} characters, found {len(text)}: "
            f"{text[:80]!r}"
        )
    return str(text)


def parse_sent_age_s(message: Float64MultiArray) -> float | None:
    """How old (s) the frame of a skew message was when it was sent; None if it does not say."""
    try:
        label = _skew_label(message)
    except MessageError:
        return None  # of another sender; what is wrong with it `parse_skew` says
    sent_ns, stamp_ns = label.get("sent_ns"), label.get("stamp_ns")
    if not (_is_count(sent_ns) and _is_count(stamp_ns)):
        return None
    return (sent_ns - stamp_ns) * 1e-9


def diagnostic(
    name: str, level: bytes, summary: str, values: Mapping[str, object], hardware_id: str = ""
) -> DiagnosticStatus:
    """A status for /diagnostics (REP-107)."""
    return DiagnosticStatus(
        name=name,
        level=level,
        message=summary,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )


def findings_status(
    name: str,
    findings: Sequence[Finding],
    otherwise: str,
    values: Mapping[str, object] | None = None,
    hardware_id: str = "",
) -> DiagnosticStatus:
    """A status that reports findings; `otherwise` is its message if none is a warning."""
    level, summary, numbers = findings_diagnostic(findings, otherwise)
    return diagnostic(name, bytes([level]), summary, {**(values or {}), **numbers}, hardware_id)
