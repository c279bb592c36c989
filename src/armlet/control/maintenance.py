"""What is done for the servos between cycles, one small transaction at a time."""

from __future__ import annotations

import time
from collections.abc import Callable

from armlet.motors.protocol import Alarm
from armlet.robots.units import Vector

from . import recovery_steps
from .arm import Arm
from .feedback import JointSample, JointTelemetry
from .protection import Protection, Remedy, Treatment
from .servos import ArmError

_STARVED_S = 1.0


class Maintenance:
    """Treats servos that need it, and reads the others' telemetry in turn.

    Args:
        arm: whose servos.
        protection: says what has to be done, and is given what was found.
        wanted: whether torque may come on.
        now_s: control time.
    """

    def __init__(
        self, arm: Arm, protection: Protection, wanted: Callable[[], bool], now_s: float
    ) -> None:
        self._arm = arm
        self._protection = protection
        self._wanted = wanted
        self._treatment: tuple[Remedy, recovery_steps.Steps] | None = None
        self._turn = 0
        self._due_s = now_s
        self._doubted = ""

    @property
    def treating(self) -> bool:
        """Whether a treatment has begun and not ended."""
        return self._treatment is not None

    def drop_treatment(self) -> None:
        """Leave a treatment where it is: the arm is not armed any more."""
        self._treatment = None

    def treat(self, sample: JointSample, goal: Vector, now_s: float) -> bool:
        """A step of what has to be done to a servo of an armed arm; whether there was anything.

        Raises PortError.
        """
        if self._treatment is None:
            remedy = self._protection.due(now_s)
            if remedy is None:
                return False
            self._treatment = remedy, self._begin(remedy, sample, goal, now_s)
        remedy, steps = self._treatment
        # A servo that does not answer would cost the next cycle its time.
        if not sample.fresh[self._arm.joints.index(remedy.joint)]:
            return True
        try:
            next(steps)
            return True
        except StopIteration:
            self._protection.done(remedy, now_s)
        except ArmError as error:
            self._protection.failed(remedy, str(error), now_s)
        self._treatment = None
        return True

    def _begin(
        self, remedy: Remedy, sample: JointSample, goal: Vector, now_s: float
    ) -> recovery_steps.Steps:
        i = self._arm.joints.index(remedy.joint)
        if remedy.treatment is Treatment.RELAX:
            self._protection.hold_back(remedy.joint, float(sample.position[i]), float(goal[i]))
        self._protection.began(remedy, now_s)
        return recovery_steps.treat(remedy, self._arm.servos, self._protection, self._wanted)

    def clock_was_set_back(self, now_s: float) -> None:
        """What is due next is due now."""
        self._due_s = now_s

    def read_telemetry(
        self, sample: JointSample, goal: Vector | None, slot_s: float, now_s: float, until: float
    ) -> str | None:
        """One servo's other readings, if it is time: every slot_s.

        goal: of an armed arm, else None. until is the time.monotonic() by which to return. Returns
        what keeps the arm from being armed any longer, in words. Raises PortError.
        """
        armed = goal is not None
        late_s = now_s - self._due_s
        # A bad line needs its time for what moves the arm, but not for ever.
        if late_s < 0 or (time.monotonic() >= until and late_s <= _STARVED_S):
            return None
        self._due_s = max(self._due_s + slot_s, now_s)
        joint = self._next()
        telemetry = self._arm.read_telemetry(joint, until)
        if (
            telemetry is not None
            and joint != self._doubted
            and self._alarming(joint, telemetry, armed)
        ):
            # One reading is no proof: it is read again in the next cycle.
            self._doubted, self._due_s = joint, now_s
            return None
        self._doubted = ""
        self._turn += 1
        return None if telemetry is None else self._judge(joint, telemetry, sample, goal, now_s)

    def _alarming(self, joint: str, telemetry: JointTelemetry, armed: bool) -> bool:
        return self._powerless(joint, telemetry, armed) or self._protection.is_alarming(telemetry)

    def _next(self) -> str:
        """The joint to read next: its turn, unless another reports an error that it alone knows."""
        cares = self._protection.joints.items()
        alerted = [joint for joint, care in cares if care.bits == Alarm.ALERT]
        if self._doubted:
            return self._doubted
        return alerted[0] if alerted else self._arm.joints[self._turn % len(self._arm.joints)]

    def _powerless(self, joint: str, telemetry: JointTelemetry, armed: bool) -> bool:
        torque_off = self._protection.torque_off[self._arm.joints.index(joint)]
        return armed and not telemetry.torque_enabled and not torque_off

    def _judge(
        self,
        joint: str,
        telemetry: JointTelemetry,
        sample: JointSample,
        goal: Vector | None,
        now_s: float,
    ) -> str | None:
        armed = goal is not None
        self._protection.note_telemetry(joint, telemetry, now_s)
        if armed and Alarm.HOST_SILENT in telemetry.status:
            return (
                f"{self._arm.servos.labels([joint])} stopped by itself: no instruction reached it "
                "in a second; look at what else this computer does, then arm it again"
            )
        if not self._powerless(joint, telemetry, armed):
            return None
        if telemetry.status & self._arm.models[joint].cuts_torque:
            if goal is not None:
                i = self._arm.joints.index(joint)
                self._protection.hold_back(joint, float(sample.position[i]), float(goal[i]))
            self._protection.cut_out(joint, now_s)
            return None
        return (
            f"{self._arm.servos.labels([joint])} was found without torque: it lost its power "
            "for a moment, and its settings with it; check supply and cables, then arm it again"
        )
