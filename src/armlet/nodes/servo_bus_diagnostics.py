"""What servo_bus tells on /diagnostics: one status for the bus, one for each servo."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus

from armlet.control import Control, State
from armlet.control.protection import Condition, Mode
from armlet.motors.protocol import Counters, describe

from .messages import diagnostic
from .status_names import BUS, status_name

_BITS_PER_BYTE = 10
_CYCLES_KEPT = 2000


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

    def add(self, duration_s: float) -> None:
        """A cycle that took so long."""
        self._durations_s.append(duration_s)

    def answered(self) -> None:
        """A cycle in which servos answered."""
        self._answered += 1

    def report(self, counters: Counters, baudrate: int) -> dict[str, str]:
        """Rate and wire utilisation since the last report, quantiles of the last cycles."""
        wire_bytes = counters.bytes_sent + counters.bytes_received
        now = (self._seconds(), self._answered, wire_bytes)
        elapsed_s, answered, sent = (b - a for a, b in zip(self._since, now, strict=True))
        self._since = now
        elapsed_s = max(elapsed_s, 1e-9)
        ms = 1000 * np.array(self._durations_s or [np.nan])
        return {
            "rate_hz": f"{answered / elapsed_s:.1f}",
            "wanted_hz": f"{self._wanted_hz:.1f}",
            "cycle_p50_ms": f"{np.percentile(ms, 50):.2f}",
            "cycle_p99_ms": f"{np.percentile(ms, 99):.2f}",
            "wire_utilisation": f"{sent * _BITS_PER_BYTE / baudrate / elapsed_s:.3f}",
            "reconnects": str(self.reconnects),
        }


def unready_status(label: str, trouble: str, port: str) -> DiagnosticStatus:
    """The bus of a node that is not configured."""
    level = DiagnosticStatus.ERROR if trouble else DiagnosticStatus.WARN
    return diagnostic(status_name(label, BUS), level, trouble or "not configured", {}, port)


def bus_status(
    label: str,
    control: Control,
    times: CycleTimes,
    unguarded: bool = False,
    watchdog_restarts: int = 0,
    follower: bool = True,
    unsent: int = 0,
) -> DiagnosticStatus:
    """The bus as a whole.

    unguarded: not all of its torque watchdog is running. unsent: cycles whose messages were not
    published, as too many of earlier ones still waited for that.

    An arm that is to be driven and does not hold is never OK: people must see it before it drops.
    """
    arm, level, summary = control.arm, DiagnosticStatus.OK, control.summary()
    if follower and (control.state is State.UNARMED or control.protection.torque_off.any()):
        level = DiagnosticStatus.WARN
    if arm.warnings or unguarded:
        level = DiagnosticStatus.WARN
        notes = [*arm.warnings, *(["the torque watchdog is not running"] * unguarded)]
        summary = "; ".join([summary, *notes])
    if control.state in (State.LOST, State.SILENT, State.UNPROVEN):
        level = DiagnosticStatus.ERROR
    counters = arm.bus.counters
    values = {
        **times.report(counters, arm.bus.baudrate),
        **asdict(control.counts),
        "watchdog_restarts": watchdog_restarts,
        "unsent": unsent,
        **asdict(control.guard.counts),
        **asdict(counters),
    }
    return diagnostic(status_name(label, BUS), level, summary, values, arm.bus.port)


def joint_statuses(label: str, control: Control) -> list[DiagnosticStatus]:
    """One status for each servo that has told something."""
    return [_joint_status(label, control, joint) for joint in control.arm.joints]


def _joint_status(label: str, control: Control, joint: str) -> DiagnosticStatus:
    arm, care = control.arm, control.protection.joints[joint]
    counters = arm.bus.servo_counters.get(arm.calibration[joint].id)
    told = control.telemetry.get(joint)
    values: dict[str, object] = {"mode": care.mode.value, "firmware": arm.firmware.get(joint, "")}
    summary = "no telemetry yet"
    if told is not None:
        summary = f"{told.voltage_v:.1f} V, {told.temperature_c:.0f} °C, load {told.load:+.0%}"
        values |= {
            "voltage_v": f"{told.voltage_v:.1f}",
            "temperature_c": f"{told.temperature_c:.0f}",
            "load": f"{told.load:.3f}",
            "current_a": "" if told.current_a is None else f"{told.current_a:.3f}",
            "moving": told.moving,
            "torque_enabled": told.torque_enabled,
            "torque_limit": told.torque_limit,
            "status": describe(told.status),
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
    level, trouble = _joint_level(control, joint)
    return diagnostic(
        status_name(label, joint),
        level,
        trouble or summary,
        values,
        f"id {arm.calibration[joint].id}",
    )


def _joint_level(control: Control, joint: str) -> tuple[bytes, str]:
    care = control.protection.joints[joint]
    found = ", ".join(sorted(care.conditions))
    if care.mode is not Mode.NORMAL:
        return DiagnosticStatus.ERROR, f"{care.mode.value}: {care.reason}"
    error = control.arm.errors.get(joint)
    if error:
        return DiagnosticStatus.ERROR, describe(error)
    if care.conditions:
        severe = care.conditions - {Condition.VOLTAGE}
        return DiagnosticStatus.ERROR if severe else DiagnosticStatus.WARN, found
    return DiagnosticStatus.OK, ""
