"""The control cycle of one arm: decide on the next goal, guard it, send it, read all servos.

One clear rule says who moves the arm: fresh joint commands (a person) come before a trajectory
(a policy), and when neither is due the arm holds. Nothing moves from an unread state, and a lost
bus never re-arms by itself.
"""

from __future__ import annotations

import contextlib
import enum
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from armlet.motors.protocol import Alarm, BusError, PortError
from armlet.robots.units import Vector

from .arm import Arm
from .commands import Commands
from .feedback import Feedback, JointSample, JointTelemetry, Mask
from .guard import Guard
from .maintenance import Maintenance
from .protection import Protection, ProtectionSettings
from .servos import ArmError, TorqueUnproven
from .setpoint import Setpoint
from .trajectory import Trajectory, blend

MAX_AHEAD_S = 3600.0
"""A trajectory whose end lies further ahead than this is not one that anybody waits for."""

_MISSED_IN_A_ROW = 5
_RELEASE_AGAIN_S = 1.0


class State(enum.Enum):
    """What the arm is doing; the value is what people read."""

    LOST = "bus lost"
    SILENT = "servos do not answer"
    UNPROVEN = "torque could not be proven off"
    UNARMED = "not armed"
    HOLD = "holding"
    COMMAND = "following joint_commands"
    TRAJECTORY = "following joint_trajectory"


@dataclass(frozen=True)
class ControlSettings:
    """Times in seconds, velocities in rad/s.

    period_s: time between cycles.
    answer_share: share of the period in which servos that did not answer are asked again.
    answer_wait_s: they are waited for at least this long, by the wall clock: in simulated time an
    emulated line takes none of the period, however slow the computer is.
    feedback: what every cycle reads: position and velocity ("state"), or all readings ("full").
    telemetry_hz: how often each servo's other readings are taken, one servo at a time.
    command_timeout_s: without a command for this long the commander is gone, and the arm holds.
    command_delay_s: commands are played that much after their stamp, interpolated, so that the
    jitter of transport and of two unsynchronised loops does not reach the arm.
    ramp_velocity: speed at which a new source of commands is joined, until caught up.
    blend_s: time in which a newer trajectory takes over from the one in play.
    max_state_age_s: no goal is sent while any joint's last reading is older.
    silence_s: without an answer of some joint for this long the arm has to be armed again.
    """

    period_s: float = 0.01
    answer_share: float = 0.7
    answer_wait_s: float = 0.0
    feedback: Feedback = "state"
    telemetry_hz: float = 2.0
    command_timeout_s: float = 0.5
    command_delay_s: float = 0.02
    ramp_velocity: float = 1.0
    blend_s: float = 0.1
    max_state_age_s: float = 0.1
    silence_s: float = 0.5
    caught_up_rad: float = 0.05

    @property
    def max_step_s(self) -> float:
        """A cycle that comes late moves the goal no further than this much time allows."""
        return 2 * self.period_s


@dataclass
class ControlCounts:
    """Since start.

    cycles; unread: of these without an answer of every joint; lost: times the bus was lost;
    unpowered: times a servo was found to have lost its power while armed; preempted: trajectories
    dropped or refused for a person's commands; ignored: commands for joints that were released to
    protect them.
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
    """

    sample: JointSample | None
    applied: Vector | None


_NOTHING = Cycle(None, None)


class Control:
    """Drives an `Arm` one `cycle` at a time. Everything else may be called from other threads.

    Args:
        arm: connected, and configured if it is to be moved.
        guard: the limits of commands.
        settings: see there.
        protection: what is done about overload, heat and voltage; None for the defaults.
        find_ports: gives the ports of serial devices that may be this arm's, for `reconnect`.
        clock: seconds, monotonic; tests give their own.

    Attributes:
        state: what the arm is doing.
        last_error: why it is lost, silent, unproven or not armed any more.
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
        self.state = State.UNARMED
        self.last_error = ""
        self.excess = ""
        self._find_ports = find_ports
        self._clock = clock
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._release_wanted = False
        self._release_at_s = clock()
        self._setpoint: Setpoint | None = None
        self._held = np.empty(0)
        self._sample: JointSample | None = None
        self._written_s: float | None = None
        self._seen_s = np.full(len(arm.joints), clock())
        self._oldest_s = clock()
        self._missed = np.zeros(len(arm.joints), np.int64)
        self._commands = Commands()
        self._trajectory: Trajectory | None = None
        self._ramping = False
        self._how = ""
        self._upkeep = Maintenance(arm, self.protection, self._wanted, clock())

    # --- what it is doing -------------------------------------------------------------------

    @property
    def goal(self) -> Vector | None:
        """The goal last sent, radians (n,); None while the arm is not armed."""
        return None if self._setpoint is None else self._setpoint.position

    @property
    def telemetry(self) -> dict[str, JointTelemetry]:
        """The joints' other readings, each with the time it was taken."""
        return dict(self.arm.telemetry)

    def summary(self) -> str:
        """One line for people: state, how it came about, what is wrong with which joint."""
        state, how = self.state, self._how
        if state in (State.LOST, State.SILENT, State.UNPROVEN, State.UNARMED):
            line = f"{state.value}: {self.last_error}" if self.last_error else state.value
        else:
            line = f"{state.value} ({how})" if how else state.value
        joints = self.protection.summary()
        return f"{line}; {joints}" if joints else line

    # --- torque -----------------------------------------------------------------------------

    def torque_on(self) -> None:
        """Hold the arm where it is; if it is armed, the joints that were released to protect them.

        Raises ArmError or BusError; torque is then off on what was to be armed.
        """
        with self._lock:
            if self.state is State.LOST:
                raise ArmError(f"the bus is lost ({self.last_error}); plug it in first")
            if self._setpoint is not None:
                self._arm_again(self._setpoint, self.protection.released)
                return
            self._release_wanted = False
            self.protection.reset()
            position = self._take_hold()
            self._setpoint, self._held = Setpoint(self.guard, position), position
            self._saw_all(self._clock())
            self._ramping, self._how, self.last_error = True, "", ""
            self.state = State.HOLD

    def _take_hold(self) -> Vector:
        try:
            return self.arm.torque_on(wanted=self._wanted)
        except TorqueUnproven as error:
            self.state, self.last_error, self._release_wanted = State.UNPROVEN, str(error), True
            raise
        except PortError as error:
            # Some joints may have torque by now; nobody wants a part of an arm to hold.
            self._release_wanted = True
            self._lose(error)
            raise

    def _arm_again(self, setpoint: Setpoint, joints: tuple[str, ...]) -> None:
        if not joints:
            return
        position = self.arm.torque_on(joints, self._wanted)
        setpoint.stand(position, np.array([joint in joints for joint in self.arm.joints]))
        for joint in joints:
            self.protection.free(joint)
        self._ramping = True

    def _wanted(self) -> bool:
        return not self._stopping.is_set()

    def torque_off(self) -> None:
        """Release the arm, proven by reading back; if the bus is lost, as soon as it is back.

        May be called from any thread, whatever the cycle is busy with: all servos are told to let
        go at the end of the transaction in progress, which the cycle bounds by answer_share of its
        period, retries included (another servo's single acknowledgement by the bus's timeout); so
        within one cycle. Proof follows. Raises ArmError or BusError when the arm could not be
        proven released now.
        """
        self._stopping.set()
        # What is lost with the port is told below, under the lock.
        with contextlib.suppress(PortError):
            self.arm.cut()
        with self._lock:
            self._stopping.clear()
            self._forget()
            self._release_wanted = True
            if self.state is not State.LOST:
                self._release()
            elif not self.reconnect():
                raise self._not_released()

    def _not_released(self) -> ArmError:
        if self.state is State.UNPROVEN:
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
            self.state, self.last_error = State.UNPROVEN, str(error)
            raise
        self.state, self.last_error, self._release_wanted = State.UNARMED, "", False

    def reconnect(self) -> bool:
        """Try once to find the arm again, on its own port or elsewhere. It is not armed by this.

        Servos that kept their power go on holding, unless torque_off was asked for meanwhile. True
        as well if it is lost no more, because torque_off has found it.
        """
        with self._lock:
            if self.state is not State.LOST:
                return True
            try:
                self.arm.find(self._find_ports)
                self.arm.connect()
                self.state, self.last_error = State.UNARMED, "the bus was lost and is back"
                self._saw_all(self._clock())
                if self._release_wanted:
                    self._release()
            except (BusError, ArmError) as error:
                self.last_error = str(error)
                if self.state is State.UNARMED:
                    self.state = State.LOST
            return self.state is State.UNARMED

    def clock_was_set_back(self) -> None:
        """Commands and the trajectory are of another time: drop them, and hold."""
        with self._lock:
            self._commands.clear()
            self._trajectory = None
            self._written_s = None
            self._saw_all(self._clock())
            self._release_at_s = self._clock()
            self._upkeep.clock_was_set_back(self._clock())

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
            if self._setpoint is not None:
                self._setpoint.limits_changed()
            self.settings = settings
            self.protection.settings = protection

    # --- commands ---------------------------------------------------------------------------

    def hold(self) -> None:
        """Drop the trajectory and stay where the goal is."""
        with self._lock:
            self._trajectory = None

    def command(
        self, names: Sequence[str], positions: Sequence[float], stamp_ns: int, now_ns: int
    ) -> None:
        """Follow a joint command (radians); partial names leave the other joints as they are.

        A stamp of 0 counts as now. Raises CommandRefused on what cannot be a command, and on a
        stamp further from now than command_timeout_s.
        """
        with self._lock:
            setpoint = self._armed()
            ordered = self.guard.order(names, positions)
            delay_ns = round(self.settings.command_delay_s * 1e9)
            age_ns = now_ns - stamp_ns if stamp_ns else 0
            if abs(age_ns) > round(self.settings.command_timeout_s * 1e9):
                raise self.guard.refuse(f"the command's stamp is {_seconds(age_ns)} old")
            self.excess = self.guard.excess(ordered)
            self._ignore(~np.isnan(ordered))
            if self._trajectory is not None:
                self.counts.preempted += self._trajectory.end_ns >= now_ns
                self._trajectory = None
            self._commands.add(
                ordered, stamp_ns or now_ns - delay_ns, setpoint.position, self._clock(), delay_ns
            )

    def follow(self, names: Sequence[str], trajectory: Trajectory, now_ns: int) -> bool:
        """Follow a trajectory from the point that is due now; False while a person commands.

        Until its first point is due the arm moves there from the present goal; to a single point
        at ramp_velocity. It takes over from a trajectory in play, or one that has ended less than
        command_timeout_s ago, within blend_s, without a jump. At its last point the arm holds, at
        once, or, held up on its way, when it gets there, command_timeout_s later at most.
        Raises CommandRefused if joints are unknown or missing, a position is none that a joint can
        mean, all its points are past, its end is further than MAX_AHEAD_S ahead, or the arm is not
        armed.
        """
        with self._lock:
            setpoint = self._armed()
            positions = trajectory.positions[:, self._columns(names, trajectory)]
            self.guard.require_plausible(positions)
            self.guard.require_inside(positions)
            self._require_due(trajectory, now_ns)
            self.excess = self.guard.excess(positions)
            if self._commands.due:
                self.counts.preempted += 1
                return False
            self._ignore(np.ones(len(self.arm.joints), np.bool_))
            motion = Trajectory(trajectory.stamp_ns, trajectory.times_s, positions)
            motion = self._led_up_to(motion.starting(now_ns, setpoint.position), setpoint)
            old = self._trajectory
            if old is not None and self.settings.blend_s > 0:
                motion = blend(old, motion, now_ns, self.settings.blend_s)
                if self.state is State.HOLD and old.end_ns < now_ns:
                    # It stands at the old one's end, where the blend begins: nothing to join.
                    self.state, self._how = State.TRAJECTORY, ""
            self._trajectory = motion
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

    def _led_up_to(self, motion: Trajectory, setpoint: Setpoint) -> Trajectory:
        """A single point is a place: a motion to it at the speed of joining."""
        if len(motion.times_s) > 1:
            return motion
        place = motion.positions[-1]
        duration_s = float(np.abs(place - setpoint.position).max()) / self.settings.ramp_velocity
        times_s = np.array([0.0, max(duration_s, self.settings.period_s)])
        return Trajectory(motion.stamp_ns, times_s, np.stack([setpoint.position, place]))

    def _armed(self) -> Setpoint:
        if self._setpoint is None:
            raise self.guard.refuse(f"not armed ({self.state.value}); call set_torque first")
        return self._setpoint

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
            if self.state is State.LOST:
                return _NOTHING
            settings, now_s = self.settings, self._clock()
            wait_s = max(settings.answer_share * settings.period_s, settings.answer_wait_s)
            # The wall clock: bytes are waited for on a real line.
            until = time.monotonic() + wait_s
            sample, applied = None, None
            try:
                goal = self._next_goal(now_ns, now_s)
                sample, applied = self.arm.exchange(goal, settings.feedback, until)
                self._note(sample, now_s)
                self._attend(sample, now_s, until)
            except BusError as error:
                self._lose(error)
            return Cycle(sample, applied)

    def _next_goal(self, now_ns: int, now_s: float) -> Vector | None:
        setpoint = self._setpoint
        if setpoint is None:
            return None
        if now_s - self._oldest_s > self.settings.max_state_age_s:
            self._written_s = None
            return None
        if self._written_s is None:
            setpoint.rest()
            self._ramping, elapsed = True, 0.0
        else:
            # Between 0 and max_step_s, whatever the clock did.
            elapsed = min(max(now_s - self._written_s, 0.0), self.settings.max_step_s)
        self._written_s = now_s
        target = self._target(setpoint, now_ns, now_s)
        quiet = self.protection.quiet
        if not quiet:
            target = self._restrained(target)
        share: float | Vector = 1.0
        if self._ramping:
            # Of each joint's own limit: a slow joint must not speed up the others.
            share = np.minimum(1.0, self.settings.ramp_velocity / self.guard.velocity)
        goal = setpoint.step(target, elapsed, share)
        if not quiet and self._sample is not None and self.protection.torque_off.any():
            setpoint.stand(self._sample.position, self.protection.torque_off)
            goal = setpoint.position
        if self._ramping:
            left = np.abs(self.guard.inside(target) - goal).max()
            self._ramping = bool(left > self.settings.caught_up_rad)
        return goal

    def _restrained(self, target: Vector) -> Vector:
        target = self.protection.restrain(target)
        if self._sample is not None and self.protection.torque_off.any():
            target = np.where(self.protection.torque_off, self._sample.position, target)
        if self.state is State.HOLD:
            self._held = target
        return target

    def _target(self, setpoint: Setpoint, now_ns: int, now_s: float) -> Vector:
        commands, timeout_s = self._commands, self.settings.command_timeout_s
        if commands.arrived_s is not None and now_s - commands.arrived_s > timeout_s:
            commands.clear()
        if commands.due:
            target = commands.sample(now_ns - round(self.settings.command_delay_s * 1e9))
            if self._become(State.COMMAND):
                setpoint.aim(target)
            return target
        motion = self._trajectory
        if motion is not None and now_ns > motion.end_ns + round(timeout_s * 1e9):
            motion = self._trajectory = None
        if motion is not None and (now_ns <= motion.end_ns or self._trails(setpoint, motion)):
            target = motion.sample(now_ns)
            if self._become(State.TRAJECTORY):
                setpoint.aim(target)
            return target
        if self.state is not State.HOLD:
            self._held = self._rest(setpoint, motion)
            self._become(State.HOLD)
        return self._held

    def _trails(self, setpoint: Setpoint, motion: Trajectory) -> bool:
        """Whether the goal, held up on its way, has some of the motion still before it."""
        if self.state is not State.TRAJECTORY or self._ramping:
            return False
        left = self.guard.inside(motion.positions[-1]) - setpoint.position
        return bool(np.abs(left).max() > self.settings.caught_up_rad)

    def _rest(self, setpoint: Setpoint, motion: Trajectory | None) -> Vector:
        """Where to hold: where the motion has led, or, if it was not caught, where the goal is."""
        if motion is not None and not self._ramping:
            place: Vector = motion.positions[-1]
            return place
        self._trajectory = None
        return setpoint.stop()

    def _become(self, state: State) -> bool:
        """Whether that is something new."""
        last = self.state
        if state is last:
            return False
        self._ramping = state is not State.HOLD
        self._how = ""
        if state is State.COMMAND and last is State.TRAJECTORY:
            self._how = "took over from joint_trajectory"
        elif state is State.HOLD and last is State.COMMAND:
            self._how = "joint_commands fell silent"
        elif state is State.HOLD and last is State.TRAJECTORY:
            self._how = "joint_trajectory ended"
        self.state = state
        return True

    def _note(self, sample: JointSample | None, now_s: float) -> None:
        if sample is not None and sample.complete:
            self._saw_all(now_s)
            if self.state is State.SILENT:
                self.state, self.last_error = State.UNARMED, "servos had fallen silent"
            elif self.state is State.UNPROVEN:
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
            # Why it still cannot be proven is in last_error.
            with contextlib.suppress(TorqueUnproven):
                self._release()

    def _saw_all(self, now_s: float) -> None:
        self._seen_s.fill(now_s)
        self._missed.fill(0)
        self._oldest_s = now_s

    def _note_missing(self, sample: JointSample | None, now_s: float) -> None:
        self.counts.unread += 1
        self._missed += 1
        if sample is not None:
            self._seen_s[sample.fresh] = now_s
            self._missed[sample.fresh] = 0
            self._oldest_s = float(self._seen_s.min())
        # Some misses in a row: a process that stood still for a while has missed nothing.
        silent = (now_s - self._seen_s > self.settings.silence_s) & (
            self._missed >= _MISSED_IN_A_ROW
        )
        if silent.any() and self.state not in (State.SILENT, State.UNPROVEN):
            joints = [joint for joint, is_so in zip(self.arm.joints, silent, strict=True) if is_so]
            silent_s = now_s - self._oldest_s
            self._forget()
            self.state = State.SILENT
            self.last_error = (
                f"no answer from {self.arm.servos.told(joints)} for {silent_s:.1f} s; check supply "
                "and cables"
            )

    def _lose(self, error: BusError) -> None:
        self._forget()
        self.state = State.LOST
        self.last_error = str(error)
        self.counts.lost += 1

    def _forget(self) -> None:
        self._setpoint = None
        self._sample = None
        self._written_s = None
        self._trajectory = None
        self._upkeep.drop_treatment()
        self._how = ""
        self._commands.clear()
        self.protection.reset()

    # --- between cycles ---------------------------------------------------------------------

    def _attend(self, sample: JointSample | None, now_s: float, until: float) -> None:
        """At most one small transaction: a step of a treatment, or one servo's telemetry."""
        if sample is None:
            return
        setpoint = self._setpoint
        care = self._upkeep.treating or not self.protection.quiet
        if setpoint is not None and care and self._upkeep.treat(sample, setpoint.position, now_s):
            return
        slot_s = 1 / (self.settings.telemetry_hz * len(self.arm.joints))
        goal = None if setpoint is None else setpoint.position
        reason = self._upkeep.read_telemetry(sample, goal, slot_s, now_s, until)
        if reason is not None:
            self._forget()
            self.state = State.UNARMED
            self.counts.unpowered += 1
            self.last_error = reason


def _seconds(duration_ns: int) -> str:
    """A duration of any size, for messages."""
    seconds, rest_ns = divmod(abs(duration_ns), 10**9)
    return f"{'-' * (duration_ns < 0)}{seconds}.{rest_ns // 10**7:02d} s"
