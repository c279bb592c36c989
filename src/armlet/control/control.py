"""The control cycle of one arm: decide on the next goal, guard it, send it, read all servos.

One clear rule says who moves the arm: fresh joint commands (a person) come before a trajectory
(a policy), and when neither is due the arm holds. Nothing moves from an unread state, and a lost
bus never re-arms by itself.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from armlet.motors.protocol import Alarm, BusError, PortError
from armlet.robots.units import Vector

from .answers import Answers
from .arm import Arm
from .commands import Sender
from .feedback import JointSample, JointTelemetry, Mask
from .guard import Guard
from .maintenance import Maintenance
from .motion import Instant, Motion
from .protection import Protection, ProtectionSettings
from .servos import ArmError, TorqueUnproven
from .settings import ControlSettings
from .state import (
    AllAnswered,
    Armed,
    ArmingFailed,
    BusFound,
    BusLost,
    Chosen,
    ControlState,
    Disarmed,
    Event,
    FellSilent,
    Link,
    Released,
    Source,
    State,
    StopRequested,
    TorqueRequested,
    Unproven,
    advance,
    select,
)
from .trajectory import MAX_AHEAD_S, Trajectory

_RELEASE_AGAIN_S = 1.0


@dataclass
class ControlCounts:
    """Since start.

    cycles; unread: of these without an answer of every joint; lost: times the bus was lost;
    unpowered: times a servo was found to have lost its power while armed; preempted: trajectories
    dropped or refused for a person who commands or keeps the arm; ignored: commands for joints that
    were released to protect them.
    """

    cycles: int = 0
    unread: int = 0
    lost: int = 0
    unpowered: int = 0
    preempted: int = 0
    ignored: int = 0


@dataclass(frozen=True, slots=True)
class Cycle:
    """What one cycle read (None: no joint answered) and really sent (None: nothing).

    applied: goals (n,), radians, as the servos got them; what of `sample` is fresh it says itself.
    source: whose target they pursue; origin: that of the trajectory, if they follow one.
    """

    sample: JointSample | None
    applied: Vector | None
    source: Source = Source.HOLD
    origin: str = ""


_NOTHING = Cycle(None, None)


class Control:
    """Drives an `Arm` one `cycle` at a time. Everything else may be called from other threads.

    What is decided is in `state`, what is followed in `motion`; here the arm is commanded, and what
    happened to it is reported back, one thread at a time.

    Args:
        arm: connected, and configured if it is to be moved.
        guard: the limits of commands.
        settings: see there.
        protection: what is done about overload, heat and voltage; None for the defaults.
        find_ports: gives the ports of serial devices that may be this arm's, for `reconnect`.
        clock: seconds, monotonic; tests give their own.

    Attributes:
        counts: since start.
        protection: the joints' conditions and what was done about them.
        excess: what of the last command or trajectory lies outside the calibrated range and is
            clamped, in words; empty if nothing does.
    """

    def __init__(
        self,
        arm: Arm,
        guard: Guard,
        settings: ControlSettings | None = None,
        protection: ProtectionSettings | None = None,
        find_ports: Callable[[], Sequence[str]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.arm = arm
        self.guard = guard
        self.settings = settings or ControlSettings()
        self.protection = Protection(arm.joints, protection or ProtectionSettings())
        self.counts = ControlCounts()
        self.excess = ""
        self._find_ports = find_ports
        self._clock = clock
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._last_stop = object()
        self._decided = ControlState()
        self._motion: Motion | None = None
        # Whoever commands has the arm, however long no command comes, until it is handed back.
        self._kept = False
        self._sample: JointSample | None = None
        self._answers = Answers(len(arm.joints), clock())
        self._release_at_s = clock()
        self._maintenance = Maintenance(arm, self.protection, self._wanted, clock())

    # --- what it is doing -------------------------------------------------------------------

    @property
    def state(self) -> State:
        """What the arm is doing."""
        return self._decided.state

    @property
    def last_error(self) -> str:
        """Why the arm is lost, silent, unproven or not armed any more."""
        return self._decided.reason

    @property
    def goal(self) -> Vector | None:
        """The goal last sent, radians (n,); None while the arm is not armed."""
        motion = self._motion
        return None if motion is None else motion.goal

    @property
    def telemetry(self) -> dict[str, JointTelemetry]:
        """The joints' other readings, each with the time it was taken."""
        return dict(self.arm.telemetry)

    def summary(self) -> str:
        """One line for people: state, how it came about, what is wrong with which joint."""
        line, joints = self._decided.summary(), self.protection.summary()
        return f"{line}; {joints}" if joints else line

    def _advance(self, event: Event) -> None:
        self._decided = advance(self._decided, event)

    # --- torque -----------------------------------------------------------------------------

    @property
    def last_stop(self) -> object:
        """Another object after each stop: whoever keeps it knows that one has come since."""
        return self._last_stop

    def torque_on(self, last_stop: object | None = None) -> None:
        """Hold the arm where it is; if it is armed, the joints that were released to protect them.

        last_stop: as it was when torque was asked for, if that was earlier. A stop that has come
        since counts. Raises ArmError or BusError; torque is then off on what was to be armed.
        """
        last_stop = last_stop or self._last_stop
        with self._lock:
            wanted = partial(self._no_stop_since, last_stop)
            if not wanted():
                raise ArmError("torque stays off: a stop was requested meanwhile")
            if self._decided.link is Link.LOST:
                raise ArmError(f"the bus is lost ({self.last_error}); plug it in first")
            if self._motion is not None:
                self._arm_again(self._motion, self.protection.released, wanted)
                return
            self._advance(TorqueRequested())
            self.protection.reset()
            position = self._take_hold(wanted)
            self._motion = Motion(self.guard, self.protection, position)
            self._answers.note_all(self._clock())
            self._advance(Armed())

    def _take_hold(self, wanted: Callable[[], bool]) -> Vector:
        try:
            return self.arm.torque_on(wanted=wanted)
        except PortError as error:
            self._lose(error)
            raise
        except TorqueUnproven as error:
            self._advance(Unproven(str(error)))
            raise
        except BaseException:
            self._advance(ArmingFailed())
            raise

    def _arm_again(
        self, motion: Motion, joints: tuple[str, ...], wanted: Callable[[], bool]
    ) -> None:
        if not joints:
            return
        motion.stand(self.arm.torque_on(joints, wanted), joints)
        for joint in joints:
            self.protection.free(joint)

    def _no_stop_since(self, last_stop: object) -> bool:
        return last_stop is self._last_stop and self._wanted()

    def _wanted(self) -> bool:
        return not self._stopping.is_set()

    def torque_off(self) -> None:
        """Release the arm, proven by reading back; if the bus is lost, as soon as it is back.

        May be called from any thread, whatever the cycle is busy with: all servos are ordered to
        go at the end of the transaction in progress, which the cycle bounds by answer_share of its
        period, retries included (another servo's single acknowledgement by the bus's timeout); so
        within one cycle. Proof follows. Raises ArmError or BusError when the arm could not be
        proven released now.
        """
        self._last_stop = object()
        self._stopping.set()
        # What is lost with the port is reported below, under the lock.
        with contextlib.suppress(PortError):
            self.arm.cut()
        with self._lock:
            self._stopping.clear()
            self._forget()
            self._kept = False
            self._advance(StopRequested())
            if self._decided.link is not Link.LOST:
                self._release()
            elif not self.reconnect():
                raise self._not_released()

    def _not_released(self) -> ArmError:
        if self._decided.link is Link.UNPROVEN:
            return TorqueUnproven(self.last_error)
        return ArmError(
            f"the bus is lost ({self.last_error}); servos that have power go on holding until it "
            "is back while this driver runs, or the power is cut"
        )

    def _release(self) -> None:
        try:
            self.arm.torque_off()
        except PortError as error:
            self._lose(error)
            raise
        except TorqueUnproven as error:
            self._advance(Unproven(str(error)))
            raise
        self._advance(Released())

    def _try_release(self) -> bool:
        try:
            self._release()
        except (PortError, TorqueUnproven):
            return False  # why is in the state
        return True

    def reconnect(self) -> bool:
        """Try once to find the arm again, on its own port or elsewhere. It is not armed by this.

        Servos that kept their power go on holding, unless torque_off was asked for meanwhile. True
        as well if it is lost no more, because torque_off has found it.
        """
        with self._lock:
            if self._decided.link is not Link.LOST:
                return True
            try:
                self.arm.find(self._find_ports)
                self.arm.connect()
            except (BusError, ArmError) as error:
                self._advance(BusLost(str(error)))
                return False
            self._advance(BusFound())
            self._answers.note_all(self._clock())
            return not self._decided.release_due or self._try_release()

    def clock_was_set_back(self) -> None:
        """Commands and the trajectory are of another time: drop them, and hold."""
        with self._lock:
            if self._motion is not None:
                self._motion.drop()
            self._count_from(self._clock())

    def _count_from(self, now_s: float) -> None:
        self._answers.note_all(now_s)
        self._release_at_s = now_s
        self._maintenance.clock_was_set_back(now_s)

    def tune(
        self,
        max_velocity: Mapping[str, float],
        max_acceleration: Mapping[str, float],
        settings: ControlSettings,
        protection: ProtectionSettings,
    ) -> None:
        """Other limits (rad/s, rad/s^2, for every joint by name) and settings from the next cycle.

        Raises ValueError for limits that are none; nothing has changed then. A joint that is
        relaxed now keeps its torque limit until it is relaxed again.
        """
        with self._lock:
            self.guard.limit(max_velocity, max_acceleration)
            if self._motion is not None:
                self._motion.limits_changed()
            self.settings = settings
            self.protection.settings = protection

    # --- commands ---------------------------------------------------------------------------

    def hold(self, drop_commands: bool = False, origin: str = "") -> None:
        """Drop the trajectory, and a person's commands if asked to, and stay where the goal is.

        origin: drop only what this sender has in play.
        """
        with self._lock:
            if self._motion is not None and (not origin or self._motion.plays(origin)):
                self._motion.trajectory = None
                if drop_commands:
                    self._motion.commands.clear()

    def command(
        self,
        names: Sequence[str],
        positions: Sequence[float],
        stamp_ns: int,
        now_ns: int,
        keeps: bool = False,
        mark: str = "",
    ) -> None:
        """Follow a joint command (radians); partial names leave the other joints as they are.

        A stamp of 0 counts as now. keeps: when commands fall silent the arm holds, and follows no
        trajectory before `hand_back` or a stop. mark: tells a sender from others; one at a time
        commands, until it falls silent, hands back, or gives way to the first that keeps the arm.
        Raises CommandRefused on what cannot be a command, on a stamp further from now than
        command_timeout_s, and while another sender commands.
        """
        with self._lock:
            motion, sender = self._armed(), Sender(mark, keeps)
            ordered = self.guard.order(names, positions)
            self._require_timely(stamp_ns, now_ns)
            now = Instant(now_ns, self._clock())
            other = self._other(motion, sender, now.s)
            if other is not None and (other.keeps or not keeps):
                raise self.guard.refuse("another program commands the arm; end one of them")
            self.excess = self.guard.excess(ordered)
            self._ignore(~np.isnan(ordered))
            if motion.trajectory is not None:
                self.counts.preempted += motion.trajectory.end_ns >= now_ns
            motion.command(ordered, stamp_ns, now, self.settings, sender)
            self._kept |= keeps

    def _require_timely(self, stamp_ns: int, now_ns: int) -> None:
        age_ns = now_ns - stamp_ns if stamp_ns else 0
        if abs(age_ns) > round(self.settings.command_timeout_s * 1e9):
            off = f"is {_seconds(age_ns)} old" if age_ns > 0 else f"is {_seconds(-age_ns)} ahead"
            raise self.guard.refuse(f"the command's stamp {off}")

    def _other(self, motion: Motion, sender: Sender, now_s: float) -> Sender | None:
        """Who else commands now."""
        commands = motion.commands
        if commands.sender == sender:
            return None
        return commands.sender if commands.fresh(now_s, self.settings.command_timeout_s) else None

    def hand_back(self, stamp_ns: int = 0, now_ns: int = 0, mark: str = "") -> None:
        """Whoever kept the arm does so no more: it holds until the next trajectory or command.

        stamp_ns, now_ns, mark: as of a command. Commands of one that does not keep the arm go on.
        Raises CommandRefused where a command of that stamp would be, and while another sender keeps
        the arm that commands it.
        """
        with self._lock:
            self._require_timely(stamp_ns, now_ns)
            motion, sender, other = self._motion, Sender(mark, keeps=True), None
            if motion is not None:
                other = self._other(motion, sender, self._clock())
            if other is not None and other.keeps:
                raise self.guard.refuse("another program commands the arm, and hands back itself")
            if motion is not None and other is None:
                motion.commands.clear()
            self._kept = False

    def follow(self, names: Sequence[str], trajectory: Trajectory, now_ns: int) -> bool:
        """Follow a trajectory from the point that is due now; False while a person commands,
        or keeps it.

        Until its first point is due the arm moves there from the present goal; to a single point
        at ramp_velocity. It takes over from the same sender's in play, or one that has ended less
        than command_timeout_s ago, within blend_s, without a jump; another's is joined. At its last
        point the arm holds, at once, or, held up on its way, when it gets there, command_timeout_s
        later at most.
        Raises CommandRefused if joints are unknown or missing, a position is none that a joint can
        mean, all its points are past, its end is further than MAX_AHEAD_S ahead, the arm is not
        armed, a newer one of the same sender is in play, or what it continues has ended: by a
        stop, a person, another sender.
        """
        with self._lock:
            motion = self._armed()
            if trajectory.continues and not motion.plays(trajectory.origin):
                raise self.guard.refuse("what the trajectory continues is not in play any more")
            if motion.overtaken(trajectory, now_ns):
                raise self.guard.refuse("a newer trajectory of the same sender came before it")
            positions = trajectory.positions[:, self._columns(names, trajectory)]
            self.guard.require_plausible(positions)
            self.guard.require_inside(positions)
            self._require_due(trajectory, now_ns)
            self.excess = self.guard.excess(positions)
            if motion.commands.due or self._kept:
                self.counts.preempted += 1
                return False
            self._ignore(np.ones(len(self.arm.joints), np.bool_))
            ordered = replace(trajectory, positions=positions)
            if motion.follow(ordered, now_ns, self._decided.source, self.settings):
                self._advance(Chosen(Source.TRAJECTORY))
            return True

    def _require_due(self, trajectory: Trajectory, now_ns: int) -> None:
        left_ns = trajectory.end_ns - now_ns
        if left_ns < 0:
            late = _seconds(-left_ns)
            raise self.guard.refuse(f"all points of the trajectory are past, by {late}")
        if left_ns > round(MAX_AHEAD_S * 1e9):
            raise self.guard.refuse(
                f"the trajectory ends {_seconds(left_ns)} from now, at most {MAX_AHEAD_S:g} s are "
                "taken; look at its stamp and time_from_start"
            )

    def _armed(self) -> Motion:
        if self._motion is None:
            raise self.guard.refuse(_why_not_armed(self.state))
        return self._motion

    def _columns(self, names: Sequence[str], trajectory: Trajectory) -> list[int]:
        first = self.guard.order(names, trajectory.positions[0].tolist())
        if np.isnan(first).any():
            raise self.guard.refuse(
                f"a trajectory must name every joint of {list(self.arm.joints)}, "
                f"found {list(names)}"
            )
        return [list(names).index(joint) for joint in self.arm.joints]

    def _ignore(self, named: Mask) -> None:
        if not self.protection.quiet and (named & self.protection.torque_off).any():
            self.counts.ignored += 1

    # --- the cycle --------------------------------------------------------------------------

    def cycle(self, now_ns: int) -> Cycle:
        """Decide on the goal for now (Unix time), send it, read all joints.

        What else is due, a servo's other readings or a step of its treatment, follows in one small
        transaction. Bus trouble is kept in `state` and `last_error`, not raised.
        """
        if self._stopping.is_set():
            return _NOTHING
        with self._lock:
            self.counts.cycles += 1
            if self.counts.cycles == 1:
                # Simulated time may not have been known when this was made.
                self._count_from(self._clock())
            if self._decided.link is Link.LOST:
                return _NOTHING
            settings, now = self.settings, Instant(now_ns, self._clock())
            wait_s = max(settings.answer_share * settings.period_s, settings.answer_wait_s)
            # The wall clock: bytes are waited for on a real line.
            until = time.monotonic() + wait_s
            sample, applied, source, origin = None, None, Source.HOLD, ""
            try:
                goal = self._next_goal(now)
                source, origin = self._decided.source, self._origin()
                sample, applied = self.arm.exchange(goal, settings.feedback, until)
                self._note(sample, now.s)
                self._attend(sample, now.s, until)
            except BusError as error:
                self._lose(error)
            return Cycle(sample, applied, source, origin)

    def _origin(self) -> str:
        motion = None if self._motion is None else self._motion.trajectory
        if motion is None or self._decided.source is not Source.TRAJECTORY:
            return ""
        return motion.origin

    def _next_goal(self, now: Instant) -> Vector | None:
        motion, before = self._motion, self._decided.source
        if motion is None:
            return None
        inputs = motion.inputs(now, now.s - self._answers.oldest_s, self.settings)
        target = select(self._decided, inputs, self.settings)
        if target.source is None:
            motion.withhold()
            return None
        self._advance(Chosen(target.source, self._kept))
        stood = None if self._sample is None else self._sample.position
        return motion.next_goal(target, before, now, stood, self.settings)

    def _note(self, sample: JointSample | None, now_s: float) -> None:
        if sample is not None and sample.complete:
            self._answers.note_all(now_s)
            self._advance(AllAnswered())
            if self._decided.release_due:
                self._release_again(now_s)
        else:
            self._note_missing(sample, now_s)
        if sample is not None:
            self._sample = sample
            errors = self.arm.errors
            if not self.protection.quiet or any(errors.values()):
                for joint, bits in errors.items():
                    self.protection.note_errors(joint, bits or Alarm.NONE, now_s)

    def _release_again(self, now_s: float) -> None:
        """All servos answer again: the stop that they could not prove happens now."""
        if now_s >= self._release_at_s:
            self._release_at_s = now_s + _RELEASE_AGAIN_S
            # Why it still cannot be proven is in the state.
            with contextlib.suppress(TorqueUnproven):
                self._release()

    def _note_missing(self, sample: JointSample | None, now_s: float) -> None:
        self.counts.unread += 1
        self._answers.note_some(None if sample is None else sample.fresh, now_s)
        silent = self._answers.silent(self.settings.silence_s)
        if silent.any() and self._decided.link not in (Link.SILENT, Link.UNPROVEN):
            joints = [joint for joint, is_so in zip(self.arm.joints, silent, strict=True) if is_so]
            silent_s = now_s - self._answers.oldest_s
            self._forget()
            self._advance(
                FellSilent(
                    f"no answer from {self.arm.servos.labels(joints)} for {silent_s:.1f} s; check "
                    "supply and cables"
                )
            )

    def _lose(self, error: BusError) -> None:
        self._forget()
        self.counts.lost += self._decided.link is not Link.LOST
        self._advance(BusLost(str(error)))

    def _forget(self) -> None:
        self._motion = None
        self._sample = None
        self._maintenance.drop_treatment()
        self.protection.reset()

    # --- between cycles ---------------------------------------------------------------------

    def _attend(self, sample: JointSample | None, now_s: float, until: float) -> None:
        """At most one small transaction: a step of a treatment, or one servo's telemetry."""
        if sample is None:
            return
        goal = self.goal
        care = self._maintenance.treating or not self.protection.quiet
        if goal is not None and care and self._maintenance.treat(sample, goal, now_s):
            return
        slot_s = 1 / (self.settings.telemetry_hz * len(self.arm.joints))
        reason = self._maintenance.read_telemetry(sample, goal, slot_s, now_s, until)
        if reason is not None:
            self._forget()
            self._advance(Disarmed(reason))
            self.counts.unpowered += 1


def _seconds(duration_ns: int) -> str:
    """A duration of any size, for messages."""
    seconds, rest_ns = divmod(abs(duration_ns), 10**9)
    return f"{'-' * (duration_ns < 0)}{seconds}.{rest_ns // 10**7:02d} s"


def _why_not_armed(state: State) -> str:
    if state is State.UNARMED:
        return "not armed; press t in `armlet session`, or call ~/set_torque with data: true"
    return f"not armed: {state.value}"
