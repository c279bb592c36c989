"""When a joint has to be protected, and how: decided here, carried out by `recovery_steps`."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from types import MappingProxyType

import numpy as np

from armlet.motors.protocol import Alarm
from armlet.robots.joints import GRIPPER
from armlet.robots.units import RADIANS_PER_TICK, Vector

from .feedback import JointTelemetry

_MINUTE_S = 60.0
_PUSHING_RAD = 2 * RADIANS_PER_TICK
_EVENTS_KEPT = 32
_SUPPLY = Alarm.VOLTAGE | Alarm.ELECTRICAL_SHOCK
_OWN = ", by the servo's own limit"
_PAUSE_S = 0.5
"""Until a joint that was treated is looked at again: its next readings have to come in."""


class Condition(StrEnum):
    """What may be wrong with a joint."""

    OVERLOAD = "overload"
    HOT = "too hot"
    VOLTAGE = "supply voltage"


class Action(StrEnum):
    """What is done about it, the mildest first."""

    WARN = "warn"
    RELAX = "relax"
    RELEASE = "release"


@dataclass(frozen=True)
class JointPolicy:
    """What is done about each condition of one joint.

    warn: it is counted and reported, nothing else.
    relax: the torque limit is lowered and the goal goes no further than where the joint stands, in
    the direction it was pushing, plus relaxed_push_rad; so commands that lead away are followed. A
    latched overload is recovered. Undone once the condition is gone and no command pushes.
    release: torque off; commands for the joint are ignored until the arm is armed again.
    """

    overload: Action = Action.RELAX
    hot: Action = Action.RELAX
    voltage: Action = Action.WARN
    relaxed_push_rad: float = 0.0

    def __post_init__(self) -> None:
        for name in ("overload", "hot", "voltage"):
            object.__setattr__(self, name, Action(getattr(self, name)))
        if self.relaxed_push_rad < 0:
            raise ValueError(f"relaxed_push_rad must be 0 or more, found {self.relaxed_push_rad}")

    def action(self, condition: Condition) -> Action:
        match condition:
            case Condition.OVERLOAD:
                return self.overload
            case Condition.HOT:
                return self.hot
            case Condition.VOLTAGE:
                return self.voltage


SO101_POLICIES: Mapping[str, JointPolicy] = MappingProxyType(
    # A gripper that holds something pushes all the time: relaxed it still has to hold it.
    {GRIPPER: JointPolicy(relaxed_push_rad=0.1)}
)


@dataclass(frozen=True)
class ProtectionSettings:
    """Policies by joint, others as `other`; thresholds and times.

    hot_c: too hot from here on; the servo cuts out by itself at 70 (Max_Temperature_Limit).
    low_voltage_v: too low below this, besides the servo's own limits.
    relaxed_torque: torque limit of a relaxed joint, share of full torque. Below the gripper's
    Overload_Torque of 25 %, so that a relaxed gripper does not overload again.
    recover_s: a relaxed joint gets its torque back when its condition is gone for this long.
    recoveries_per_minute: a joint that overloads more often is released.
    """

    policies: Mapping[str, JointPolicy] = field(default_factory=lambda: SO101_POLICIES)
    other: JointPolicy = JointPolicy()
    hot_c: float = 65.0
    low_voltage_v: float = 4.5
    relaxed_torque: float = 0.2
    recover_s: float = 2.0
    recoveries_per_minute: int = 3

    def __post_init__(self) -> None:
        if not 0 < self.relaxed_torque <= 1:
            raise ValueError(f"relaxed_torque must be within 0..1, found {self.relaxed_torque}")

    def policy(self, joint: str) -> JointPolicy:
        return self.policies.get(joint, self.other)


class Mode(Enum):
    """How free a joint is."""

    NORMAL = "normal"
    RELAXED = "relaxed"
    RELEASED = "released"


class Treatment(Enum):
    """What has to be done to a servo."""

    RELAX = "relax"
    RECOVER = "recover"
    RELEASE = "release"
    RESTORE = "restore"


@dataclass(frozen=True)
class Remedy:
    """A treatment of a joint, and why."""

    joint: str
    treatment: Treatment
    reason: str


@dataclass
class JointCounts:
    """Since start: onsets of conditions, and what was done."""

    overload: int = 0
    hot: int = 0
    voltage: int = 0
    relaxed: int = 0
    recovered: int = 0
    released: int = 0
    failed: int = 0


@dataclass
class JointCare:
    """How one joint is.

    Attributes:
        mode: how free it is, and `reason` why.
        conditions: what is wrong with it now.
        counts: since start.
        said: the last thing that happened, for people; empty if nothing did.
        trouble: why its last remedy failed; empty if it did not.
        bits, last_bits, read_bits: alarms believed, of the last reply, and those that came with
            celsius and volts.
    """

    mode: Mode = Mode.NORMAL
    reason: str = ""
    conditions: set[Condition] = field(default_factory=set)
    counts: JointCounts = field(default_factory=JointCounts)
    said: str = ""
    trouble: str = ""
    well_since_s: float = 0.0
    not_before_s: float = 0.0
    recoveries: deque[float] = field(default_factory=deque)
    bits: Alarm = Alarm.NONE
    last_bits: Alarm = Alarm.NONE
    read_bits: Alarm = Alarm.NONE
    celsius: float = 0.0
    volts: float | None = None


@dataclass(frozen=True)
class ProtectionEvent:
    """Something that happened to a joint, at a control time in seconds."""

    at_s: float
    joint: str
    said: str


class Protection:
    """The care for an arm's joints. Times are seconds of any one monotonic clock.

    Raises ValueError if the settings have policies for joints that there are not.

    Attributes:
        joints: each joint's condition and mode, by name.
        events: the last things that happened.
        torque_off: joints (n,) that carry no torque, by a release or for a moment of recovery.
        quiet: whether nothing is wrong, nothing limited and nothing to be done.
    """

    def __init__(self, joints: tuple[str, ...], settings: ProtectionSettings):
        unknown = set(settings.policies) - set(joints)
        if unknown and settings.policies is not SO101_POLICIES:
            raise ValueError(
                f"protection policies for {sorted(unknown)}, but the joints are {list(joints)}"
            )
        self.settings = settings
        self.joints = {joint: JointCare() for joint in joints}
        self.events: deque[ProtectionEvent] = deque(maxlen=_EVENTS_KEPT)
        self.torque_off = np.zeros(len(joints), np.bool_)
        self.quiet = True
        self._index = {joint: i for i, joint in enumerate(joints)}
        self._low = np.full(len(joints), -np.inf)
        self._high = np.full(len(joints), np.inf)
        self._pressing = np.zeros(len(joints), np.bool_)

    def reset(self) -> None:
        """The arm is armed again, or not at all: every joint is free, nothing is held back."""
        for joint, care in self.joints.items():
            care.recoveries.clear()
            self.free(joint)

    # --- what is wrong ----------------------------------------------------------------------

    def note_errors(self, joint: str, bits: Alarm, now_s: float) -> None:
        """The error bits of a joint's reply; what two replies in a row report is believed."""
        care = self.joints[joint]
        believed, care.last_bits = bits & care.last_bits, bits
        if Alarm.ALERT in believed:  # what it is about is in the servo's telemetry alone
            believed |= care.bits
        if believed != care.bits:
            care.bits = believed
            self._judge(joint, care, now_s)

    def note_telemetry(self, joint: str, telemetry: JointTelemetry, now_s: float) -> None:
        """A joint's temperature, voltage and error bits, believed as they are."""
        care = self.joints[joint]
        care.bits = care.read_bits = telemetry.status
        care.celsius, care.volts = telemetry.temperature_c, telemetry.voltage_v
        self._judge(joint, care, now_s)

    def is_alarming(self, telemetry: JointTelemetry) -> bool:
        """Whether these readings would have consequences."""
        settings = self.settings
        return (
            bool(telemetry.status)
            or telemetry.temperature_c >= settings.hot_c
            or telemetry.voltage_v < settings.low_voltage_v
        )

    def _judge(self, joint: str, care: JointCare, now_s: float) -> None:
        settings, found = self.settings, set()
        if care.bits & (Alarm.OVERLOAD | Alarm.CURRENT):
            found.add(Condition.OVERLOAD)
        if Alarm.TEMPERATURE in care.bits or care.celsius >= settings.hot_c:
            found.add(Condition.HOT)
        if care.bits & _SUPPLY or self._is_low(care):
            found.add(Condition.VOLTAGE)
        for condition in found - care.conditions:
            care.counts.overload += condition is Condition.OVERLOAD
            care.counts.hot += condition is Condition.HOT
            care.counts.voltage += condition is Condition.VOLTAGE
            self._say(joint, self._describe(condition, care), now_s)
        if care.conditions and not found:
            care.well_since_s = now_s
        care.conditions = found
        self._settle()

    def _is_low(self, care: JointCare) -> bool:
        return care.volts is not None and care.volts < self.settings.low_voltage_v

    def _describe(self, condition: Condition, care: JointCare) -> str:
        """With the reading and the limit by which it is so.

        An alarm in a reply comes without a reading: the last one is of before.
        """
        settings = self.settings
        if condition is Condition.HOT:
            limit = f", limit {settings.hot_c:.0f} °C" if care.celsius >= settings.hot_c else _OWN
            known = care.celsius >= settings.hot_c or Alarm.TEMPERATURE in care.read_bits
            return f"{condition} ({care.celsius:.0f} °C{limit})" if known else f"{condition}{_OWN}"
        if condition is Condition.VOLTAGE:
            limit = f", limit {settings.low_voltage_v:.1f} V" if self._is_low(care) else _OWN
            known = self._is_low(care) or bool(care.read_bits & _SUPPLY)
            return f"{condition} {care.volts:.1f} V{limit}" if known else f"{condition}{_OWN}"
        return str(condition)

    # --- what has to be done ----------------------------------------------------------------

    def due(self, now_s: float) -> Remedy | None:
        """What has to be done next, the most urgent first."""
        found = [
            remedy
            for joint, care in self.joints.items()
            if now_s >= care.not_before_s
            and (remedy := self._remedy(joint, care, now_s)) is not None
        ]
        urgent = (Treatment.RELEASE, Treatment.RELAX, Treatment.RECOVER, Treatment.RESTORE)
        return min(found, key=lambda remedy: urgent.index(remedy.treatment), default=None)

    def _remedy(self, joint: str, care: JointCare, now_s: float) -> Remedy | None:
        if care.mode is Mode.RELEASED:
            return None
        policy = self.settings.policy(joint)
        actions = {c: policy.action(c) for c in sorted(care.conditions)}
        for condition, action in actions.items():
            if action is Action.RELEASE:
                return Remedy(joint, Treatment.RELEASE, self._describe(condition, care))
        relaxing = [c for c, action in actions.items() if action is Action.RELAX]
        if care.mode is Mode.NORMAL:
            if not relaxing:
                return None
            return Remedy(joint, Treatment.RELAX, self._describe(relaxing[0], care))
        # Without torque: a recovery was broken off and has to be finished.
        torque_off = bool(self.torque_off[self._index[joint]])
        if Condition.OVERLOAD in relaxing or (torque_off and not relaxing):
            return self._recovery(joint, care, now_s)
        well = not relaxing and now_s - care.well_since_s >= self.settings.recover_s
        if well and not self._pressing[self._index[joint]]:
            return Remedy(joint, Treatment.RESTORE, care.reason)
        return None

    def _recovery(self, joint: str, care: JointCare, now_s: float) -> Remedy:
        while care.recoveries and now_s - care.recoveries[0] > _MINUTE_S:
            care.recoveries.popleft()
        if len(care.recoveries) < self.settings.recoveries_per_minute:
            return Remedy(joint, Treatment.RECOVER, Condition.OVERLOAD)
        reason = f"overload again after {len(care.recoveries)} recoveries within a minute"
        return Remedy(joint, Treatment.RELEASE, reason)

    def began(self, remedy: Remedy, now_s: float) -> None:
        """A remedy is being carried out."""
        if remedy.treatment is Treatment.RECOVER:
            self.joints[remedy.joint].recoveries.append(now_s)

    def done(self, remedy: Remedy, now_s: float) -> None:
        """A remedy was carried out."""
        care = self.joints[remedy.joint]
        care.not_before_s, care.trouble = now_s + _PAUSE_S, ""
        match remedy.treatment:
            case Treatment.RELAX:
                care.mode, care.reason, care.not_before_s = Mode.RELAXED, remedy.reason, now_s
                care.counts.relaxed += 1
                self._say(remedy.joint, f"relaxed: {remedy.reason}", now_s)
            case Treatment.RECOVER:
                care.counts.recovered += 1
                self.set_torque_off(remedy.joint, False)
                self._say(remedy.joint, "recovered from overload", now_s)
            case Treatment.RELEASE:
                care.mode, care.reason = Mode.RELEASED, remedy.reason
                care.counts.released += 1
                self._unleash(remedy.joint)
                self.set_torque_off(remedy.joint, True)
                self._say(remedy.joint, f"released: {remedy.reason}", now_s)
            case Treatment.RESTORE:
                self.free(remedy.joint)
                self._say(remedy.joint, "has its full torque again", now_s)
        self._settle()

    def failed(self, remedy: Remedy, reason: str, now_s: float) -> None:
        """A remedy could not be carried out; it will be tried again soon."""
        care = self.joints[remedy.joint]
        care.not_before_s, care.trouble = now_s + _PAUSE_S, reason
        care.counts.failed += 1
        self._say(remedy.joint, f"could not {remedy.treatment.value}: {reason}", now_s)

    # --- what it means for targets ----------------------------------------------------------

    def cut_out(self, joint: str, now_s: float) -> None:
        """A servo was found to have taken its own torque off, because of its errors."""
        care = self.joints[joint]
        self.set_torque_off(joint, True)
        overloaded = Condition.OVERLOAD in care.conditions
        if overloaded and self.settings.policy(joint).overload is Action.RELAX:
            return  # It will be recovered.
        reasons = ", ".join(self._describe(c, care) for c in sorted(care.conditions))
        care.mode, care.reason = Mode.RELEASED, f"cut out by itself, {reasons}"
        care.counts.released += 1
        self._unleash(joint)
        self._say(joint, f"released: {care.reason}", now_s)

    def hold_back(self, joint: str, position: float, goal: float) -> None:
        """Let targets go no further than where the joint stands, in the direction it pushes."""
        i, push = self._index[joint], self.settings.policy(joint).relaxed_push_rad
        if goal - position > _PUSHING_RAD:
            self._high[i] = position + push
        elif position - goal > _PUSHING_RAD:
            self._low[i] = position - push

    def restrain(self, target: Vector) -> Vector:
        """The target (n,) that relaxed joints are allowed; remembers which of them press on."""
        allowed: Vector = np.minimum(np.maximum(target, self._low), self._high)
        self._pressing = np.abs(allowed - target) > _PUSHING_RAD
        return allowed

    def set_torque_off(self, joint: str, torque_off: bool) -> None:
        """Whether a joint carries no torque now."""
        self.torque_off[self._index[joint]] = torque_off
        self._settle()

    def free(self, joint: str) -> None:
        """The joint has its full torque and follows commands."""
        care = self.joints[joint]
        care.mode, care.reason, care.trouble = Mode.NORMAL, "", ""
        self._unleash(joint)
        self.set_torque_off(joint, False)

    def _unleash(self, joint: str) -> None:
        i = self._index[joint]
        self._low[i], self._high[i], self._pressing[i] = -np.inf, np.inf, False

    def _settle(self) -> None:
        self.quiet = not self.torque_off.any() and not any(
            care.conditions or care.mode is not Mode.NORMAL for care in self.joints.values()
        )

    # --- telling ----------------------------------------------------------------------------

    @property
    def released(self) -> tuple[str, ...]:
        """Joints whose torque was taken off to protect them."""
        return tuple(j for j, care in self.joints.items() if care.mode is Mode.RELEASED)

    def summary(self) -> str:
        """What is wrong or limited now, joint by joint; empty if nothing is."""
        if self.quiet:
            return ""
        conditions = []
        for joint, care in self.joints.items():
            now = ", ".join(self._describe(c, care) for c in sorted(care.conditions))
            if care.mode is Mode.RELEASED:
                conditions.append(f"{joint} released: {care.reason}")
            elif care.mode is Mode.RELAXED:
                conditions.append(f"{joint} relaxed: {now or care.reason}")
            elif now:
                conditions.append(f"{joint}: {now}")
            if care.trouble:
                conditions.append(f"{joint}: {care.trouble}")
        return "; ".join(conditions)

    def _say(self, joint: str, said: str, now_s: float) -> None:
        self.joints[joint].said = said
        self.events.append(ProtectionEvent(now_s, joint, said))
