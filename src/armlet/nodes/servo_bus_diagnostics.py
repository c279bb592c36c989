"""What servo_bus reports on /diagnostics: one status for the bus, one for each servo."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import NamedTuple

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus

from armlet.control import Arm, Control, State
from armlet.control.protection import Condition, Mode
from armlet.findings import Code, Severity
from armlet.motors.protocol import Counters, describe

from .messages import diagnostic
from .status_names import BUS, status_name

_BITS_PER_BYTE = 10
_CYCLES_KEPT = 2000
# Sooner after another, a report repeats its rate: of a few cycles it would say little.
_RATED_OVER_S = 0.5
_LEVELS = {Severity.WARNING: DiagnosticStatus.WARN, Severity.ERROR: DiagnosticStatus.ERROR}


class Doubts(NamedTuple):
    """What speaks against who commands an arm, in words; empty if nothing is the matter.

    silent: parts of the driver that give no sign of life. namesakes: other drivers of its name.
    shifted: why trajectories were refused just now, if for their sender's clock. strangers: nodes
    that may command the arm and are not expected to.
    """

    silent: str = ""
    namesakes: str = ""
    shifted: str = ""
    strangers: Sequence[str] = ()


class Trouble(NamedTuple):
    """What is wrong, for programs; docs/findings.md has cause and fix of every code."""

    severity: Severity
    code: Code


_NO_DOUBTS = Doubts()
_STATES = {
    State.LOST: Trouble(Severity.ERROR, Code.ARM_BUS_LOST),
    State.SILENT: Trouble(Severity.ERROR, Code.ARM_SERVOS_SILENT),
    State.UNPROVEN: Trouble(Severity.ERROR, Code.ARM_TORQUE_UNPROVEN),
}
_MODES = {
    Mode.RELAXED: Trouble(Severity.ERROR, Code.ARM_JOINT_RELAXED),
    Mode.RELEASED: Trouble(Severity.ERROR, Code.ARM_JOINT_RELEASED),
}
_CONDITIONS = {
    Condition.OVERLOAD: Trouble(Severity.ERROR, Code.ARM_JOINT_OVERLOADED),
    Condition.HOT: Trouble(Severity.ERROR, Code.SERVO_TEMPERATURE_HIGH),
    Condition.VOLTAGE: Trouble(Severity.WARNING, Code.SERVO_VOLTAGE_OUT_OF_RANGE),
}


class CycleTimes:
    """Durations of the last cycles, their rate, and how often the bus was found again.

    The worker's thread adds, the executor's reads. seconds: the clock that the rate is by.
    wanted_hz: what the rate should be.
    """

    def __init__(self, seconds: Callable[[], float], wanted_hz: float = 100.0) -> None:
        self._seconds, self._wanted_hz = seconds, wanted_hz
        self.reconnects = 0
        self._durations_s: deque[float] = deque(maxlen=_CYCLES_KEPT)
        self._answered = 0
        self._counters = Counters()
        self._since = (seconds(), 0, 0)
        self._shares: tuple[float, float] | None = None

    def add(self, duration_s: float) -> None:
        """A cycle that took so long."""
        self._durations_s.append(duration_s)

    def answered(self) -> None:
        """A cycle in which servos answered."""
        self._answered += 1

    def begin_again(self, counters: Counters) -> None:
        """What comes before says nothing of the rate: a stop, or arming, kept cycles waiting."""
        self._since = (self._seconds(), self._answered, _wire_bytes(counters))

    def report(self, counters: Counters, baudrate: int) -> dict[str, str]:
        """Rate and wire utilisation since a report before, quantiles of the last cycles."""
        now = (self._seconds(), self._answered, _wire_bytes(counters))
        elapsed_s, answered, sent = (b - a for a, b in zip(self._since, now, strict=True))
        if self._shares is None or not 0 <= elapsed_s < _RATED_OVER_S:
            self._since, elapsed_s = now, max(elapsed_s, 1e-9)
            self._shares = answered / elapsed_s, sent * _BITS_PER_BYTE / baudrate / elapsed_s
        rate_hz, utilisation = self._shares
        ms = 1000 * np.array(self._durations_s or [np.nan])
        return {
            "rate_hz": f"{rate_hz:.1f}",
            "wanted_hz": f"{self._wanted_hz:.1f}",
            "cycle_p50_ms": f"{np.percentile(ms, 50):.2f}",
            "cycle_p99_ms": f"{np.percentile(ms, 99):.2f}",
            "wire_utilisation": f"{utilisation:.3f}",
            "reconnects": str(self.reconnects),
        }


def _wire_bytes(counters: Counters) -> int:
    return counters.bytes_sent + counters.bytes_received


def unready_status(label: str, trouble: str, port: str) -> DiagnosticStatus:
    """The bus of a node that is not configured."""
    level = DiagnosticStatus.ERROR if trouble else DiagnosticStatus.WARN
    codes = {"codes": Code.ARM_SETUP_FAILED if trouble else Code.ARM_NOT_CONFIGURED}
    return diagnostic(status_name(label, BUS), level, trouble or "not configured", codes, port)


def _judged(troubles: Sequence[Trouble]) -> tuple[bytes, dict[str, str]]:
    """The level that is due to the worst of them, and their codes; none if there are none."""
    ranked = sorted(troubles, key=lambda trouble: trouble.severity.rank, reverse=True)
    if not ranked:
        return DiagnosticStatus.OK, {}
    codes = ", ".join(dict.fromkeys(str(trouble.code) for trouble in ranked))
    return _LEVELS[ranked[0].severity], {"codes": codes}


def bus_status(
    label: str,
    control: Control,
    times: CycleTimes,
    unguarded: bool = False,
    watchdog_restarts: int = 0,
    follower: bool = True,
    unsent: int = 0,
    doubts: Doubts = _NO_DOUBTS,
    commanders: Sequence[str] = (),
) -> DiagnosticStatus:
    """The bus as a whole.

    unguarded: not all of its torque watchdog is running. unsent: cycles whose messages were not
    published, as too many of earlier ones still waited for that. commanders: nodes that may command
    the arm.

    An arm that is to be driven and does not hold is never OK: people must see it before it drops.
    """
    arm, summary = control.arm, control.summary()
    level, codes = _judged([*_bus_troubles(control, follower, unguarded, doubts)])
    notes = list(arm.warnings)
    if unguarded:
        notes.append("the torque watchdog is not running")
    if doubts.silent:
        notes.append(f"no sign of life from {doubts.silent}")
    if doubts.namesakes:
        notes.append(f"another driver has this name: {doubts.namesakes}")
    if doubts.strangers:
        notes.append(f"not expected to command it: {', '.join(doubts.strangers)}")
    if doubts.shifted:
        notes.append(f"trajectories are refused: {doubts.shifted}")
    summary = "; ".join([summary, *notes])
    counters = arm.bus.counters
    values = {
        **times.report(counters, arm.bus.baudrate),
        **asdict(control.counts),
        "watchdog_restarts": watchdog_restarts,
        "unsent": unsent,
        "commanders": ", ".join(commanders),
        **asdict(control.guard.counts),
        **asdict(counters),
        **codes,
    }
    return diagnostic(status_name(label, BUS), level, summary, values, arm.bus.port)


def _bus_troubles(
    control: Control, follower: bool, unguarded: bool, doubts: Doubts
) -> Iterator[Trouble]:
    state = control.state
    if state in _STATES:
        yield _STATES[state]
    if follower and state is State.UNARMED:
        yield Trouble(Severity.WARNING, Code.ARM_NOT_ARMED)
    if follower and control.protection.torque_off.any():
        yield Trouble(Severity.WARNING, Code.ARM_JOINT_RELEASED)
    if unguarded:
        yield Trouble(Severity.WARNING, Code.ARM_UNGUARDED)
    if doubts.silent:
        yield Trouble(Severity.ERROR, Code.ARM_HEARING_DOUBTFUL)
    if doubts.namesakes:
        yield Trouble(Severity.ERROR, Code.ARM_NAME_TWICE)
    if doubts.strangers:
        yield Trouble(Severity.WARNING, Code.ARM_COMMANDER_UNEXPECTED)
    if doubts.shifted:
        yield Trouble(Severity.ERROR, Code.ARM_CHUNK_SHIFTED)
    yield from _oddities(control.arm)


def _oddities(arm: Arm) -> Iterator[Trouble]:
    """What `connect` found that is odd: the warnings' codes."""
    mixed = len(set(arm.firmware.values())) > 1
    if mixed:
        yield Trouble(Severity.WARNING, Code.SERVO_FIRMWARE_MIXED)
    if len(arm.warnings) > mixed:
        yield Trouble(Severity.WARNING, Code.ARM_SERVO_REVERSES)


def joint_statuses(label: str, control: Control) -> list[DiagnosticStatus]:
    """One status for each servo that has reported something."""
    return [_joint_status(label, control, joint) for joint in control.arm.joints]


def _joint_status(label: str, control: Control, joint: str) -> DiagnosticStatus:
    arm, care = control.arm, control.protection.joints[joint]
    counters = arm.bus.servo_counters.get(arm.calibration[joint].id)
    telemetry = control.telemetry.get(joint)
    values: dict[str, object] = {"mode": care.mode.value, "firmware": arm.firmware.get(joint, "")}
    summary = "no telemetry yet"
    if telemetry is not None:
        summary = f"{telemetry.voltage_v:.1f} V, {telemetry.temperature_c:.0f} °C, "
        summary += f"load {telemetry.load:+.0%}"
        values |= {
            "voltage_v": f"{telemetry.voltage_v:.1f}",
            "temperature_c": f"{telemetry.temperature_c:.0f}",
            "load": f"{telemetry.load:.3f}",
            "current_a": "" if telemetry.current_a is None else f"{telemetry.current_a:.3f}",
            "moving": telemetry.moving,
            "torque_enabled": telemetry.torque_enabled,
            "torque_limit": telemetry.torque_limit,
            "status": describe(telemetry.status),
        }
    if care.said:
        values["last_event"] = care.said
    if counters is not None:
        values |= {
            "requests": counters.requests,
            "timeouts": counters.timeouts,
            "damaged": counters.damaged,
            "retries": counters.retries,
            **{
                f"replies with {describe(bit)}": count for bit, count in counters.error_bits.items()
            },
        }
    values |= {f"{what}_count": count for what, count in asdict(care.counts).items()}
    trouble = _joint_trouble(control, joint)
    level, codes = _judged([*_joint_troubles(control, joint)])
    return diagnostic(
        status_name(label, joint),
        level,
        trouble or summary,
        {**values, **codes},
        f"id {arm.calibration[joint].id}",
    )


def _joint_troubles(control: Control, joint: str) -> Iterator[Trouble]:
    care = control.protection.joints[joint]
    if care.mode is not Mode.NORMAL:
        yield _MODES[care.mode]
    if control.arm.errors.get(joint):
        yield Trouble(Severity.ERROR, Code.SERVO_ERROR_REPORTED)
    for condition in sorted(care.conditions):
        yield _CONDITIONS[condition]


def _joint_trouble(control: Control, joint: str) -> str:
    """The worst of it in words; empty if nothing is wrong."""
    care, error = control.protection.joints[joint], control.arm.errors.get(joint)
    if care.mode is not Mode.NORMAL:
        return f"{care.mode.value}: {care.reason}"
    return describe(error) if error else ", ".join(sorted(care.conditions))
