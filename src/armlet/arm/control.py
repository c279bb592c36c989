"""The control cycle of one arm: read, decide on the next goal, guard it, send it.

One clear rule says who moves the arm: fresh joint commands (a person) come before a trajectory
(a policy), and when neither is due the arm holds. Nothing moves from an unread state, and a lost
bus never re-arms by itself.
"""

from __future__ import annotations

import enum
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from armlet.feetech import BusError, PortError

from .arm import Arm, ArmError, JointSample, Telemetry
from .guard import Guard
from .trajectory import Trajectory
from .units import Vector


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

    command_delay_s: commands are played that much after their stamp, interpolated, so that the
    jitter of transport and of two unsynchronised loops does not reach the arm.
    ramp_velocity: speed at which a new source of commands is joined, until caught up.
    max_state_age_s: no goal is sent while the last full reading is older.
    max_step_s: a cycle that comes late moves the goal no further than this much time allows.
    silence_s: without a full reading for this long the arm has to be armed again.
    """

    command_timeout_s: float = 0.5
    command_delay_s: float = 0.02
    ramp_velocity: float = 1.0
    max_state_age_s: float = 0.1
    max_step_s: float = 0.02
    silence_s: float = 0.5
    caught_up_rad: float = 0.05


@dataclass
class ControlCounts:
    """Since start."""

    cycles: int = 0
    unread: int = 0
    lost: int = 0
    preempted: int = 0


@dataclass(frozen=True)
class Cycle:
    """What one cycle read (None: no full reading) and really sent (None: nothing)."""

    sample: JointSample | None
    applied: Vector | None


@dataclass
class _Commands:
    """The last joint commands, by the time they are due."""

    due: deque[tuple[int, Vector]] = field(default_factory=lambda: deque(maxlen=64))
    arrived_ns: int | None = None

    def clear(self) -> None:
        self.due.clear()
        self.arrived_ns = None

    def sample(self, at_ns: int) -> Vector:
        while len(self.due) > 2 and self.due[1][0] <= at_ns:
            self.due.popleft()
        stamps = [stamp for stamp, _ in self.due]
        values = np.array([value for _, value in self.due])
        if at_ns <= stamps[0] or len(stamps) == 1:
            return np.array(values[0])
        right = min(int(np.searchsorted(stamps, at_ns)), len(stamps) - 1)
        share = min((at_ns - stamps[right - 1]) / (stamps[right] - stamps[right - 1]), 1.0)
        return np.array((1 - share) * values[right - 1] + share * values[right])


class Control:
    """Drives an `Arm` one `cycle` at a time. Commands may come from other threads."""

    def __init__(self, arm: Arm, guard: Guard, settings: ControlSettings):
        self.arm = arm
        self.guard = guard
        self.settings = settings
        self.counts = ControlCounts()
        self.state = State.UNARMED
        self.last_error = ""
        self._lock = threading.RLock()
        self._release_wanted = False
        self._goal: Vector | None = None
        self._sample: JointSample | None = None
        self._written_ns: int | None = None
        self._read_ns = 0
        self._missed = 0
        self._commands = _Commands()
        self._trajectory: Trajectory | None = None
        self._ramping = False

    @property
    def goal(self) -> Vector | None:
        """The goal last sent, radians (n,); None while torque is off."""
        return self._goal

    def torque_on(self) -> None:
        """Hold the arm where it is; no effect if it is armed. Raises ArmError or BusError."""
        with self._lock:
            if self._goal is not None:
                return
            if self.state is State.LOST:
                raise ArmError(f"the bus is lost ({self.last_error}); plug it in first")
            self._release_wanted = False
            self._goal = self.arm.torque_on()
            self._ramping = True
            self.state = State.HOLD

    def torque_off(self) -> None:
        """Release the arm, proven by reading back; if the bus is lost, as soon as it is back.

        Raises ArmError or BusError when the arm could not be proven released now.
        """
        with self._lock:
            self._forget()
            self._release_wanted = True
            if self.state is not State.LOST:
                self._release()
            elif not self.reconnect():
                raise ArmError(
                    f"the bus is lost ({self.last_error}); servos that have power go on holding "
                    "until it is back while this driver runs, or the power is cut"
                )

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
            goal = self._armed_goal()
            ordered = self.guard.order(names, positions)
            delay_ns = round(self.settings.command_delay_s * 1e9)
            age_s = (now_ns - stamp_ns) * 1e-9 if stamp_ns else 0.0
            if abs(age_s) > self.settings.command_timeout_s:
                raise self.guard.refuse(f"the command's stamp is {age_s:.2f} s old")
            if self._trajectory is not None:
                self._trajectory = None
                self.counts.preempted += 1
            commands = self._commands
            stamp_ns = stamp_ns or now_ns - delay_ns
            last = commands.due[-1] if commands.due else (0, goal)
            commands.arrived_ns = now_ns
            if stamp_ns < last[0] - delay_ns:
                # The clock was set back: what is due by the old one never would be again.
                commands.due.clear()
            if stamp_ns > last[0] or not commands.due:
                commands.due.append((stamp_ns, np.where(np.isnan(ordered), last[1], ordered)))

    def follow(self, names: Sequence[str], trajectory: Trajectory, now_ns: int) -> bool:
        """Follow a trajectory from the point that is due now; False while a person commands.

        Until its first point is due the arm moves there from the present goal. Raises
        CommandRefused if joints are unknown or missing, all its points are past, or the arm is
        not armed.
        """
        with self._lock:
            goal = self._armed_goal()
            columns = self._columns(names, trajectory)
            if trajectory.end_ns < now_ns:
                late_s = (now_ns - trajectory.end_ns) * 1e-9
                raise self.guard.refuse(f"all points of the trajectory are past, by {late_s:.2f} s")
            if self._commands.due:
                self.counts.preempted += 1
                return False
            times_s, positions = trajectory.times_s, trajectory.positions[:, columns]
            elapsed_s = (now_ns - trajectory.stamp_ns) * 1e-9
            if times_s[0] > elapsed_s:
                times_s = np.concatenate([[elapsed_s], times_s])
                positions = np.concatenate([goal[None], positions])
            self._trajectory = Trajectory(trajectory.stamp_ns, times_s, positions)
            return True

    def _armed_goal(self) -> Vector:
        if self._goal is None:
            raise self.guard.refuse(f"not armed ({self.state.value}); call set_torque first")
        return self._goal

    def _columns(self, names: Sequence[str], trajectory: Trajectory) -> list[int]:
        first = self.guard.order(names, trajectory.positions[0].tolist())
        if np.isnan(first).any():
            raise self.guard.refuse(
                f"a trajectory must name every joint of {list(self.arm.joints)}, "
                f"found {list(names)}"
            )
        return [list(names).index(joint) for joint in self.arm.joints]

    def cycle(self, now_ns: int) -> Cycle:
        """Read, decide, send once. Bus trouble is kept in `state` and `last_error`, not raised."""
        with self._lock:
            self.counts.cycles += 1
            if self.state is State.LOST:
                return Cycle(None, None)
            try:
                sample = self.arm.read()
                self._note(sample, now_ns)
                return Cycle(sample, self._drive(now_ns))
            except BusError as error:
                self._lose(error)
                return Cycle(None, None)

    def telemetry(self) -> Telemetry | None:
        """Voltages and temperatures, or None if they cannot be had now."""
        with self._lock:
            try:
                return self.arm.read_telemetry()
            except BusError as error:
                self._lose(error)
                return None

    def reconnect(self) -> bool:
        """Try once to find the arm again. It is not armed by this.

        Servos that kept their power go on holding, unless torque_off was asked for meanwhile.
        """
        with self._lock:
            try:
                self.arm.close()
                self.arm.connect()
                self.state = State.UNARMED
                if self._release_wanted:
                    self._release()
            except (BusError, ArmError) as error:
                self.last_error = str(error)
                if self.state is State.UNARMED:
                    self.state = State.LOST
            return self.state is State.UNARMED

    def _release(self) -> None:
        try:
            self.arm.torque_off()
        except PortError as error:
            self._lose(error)
            raise
        except ArmError as error:
            self.state, self.last_error = State.UNPROVEN, str(error)
            raise
        self.state, self._release_wanted = State.UNARMED, False

    def _note(self, sample: JointSample | None, now_ns: int) -> None:
        if sample is not None:
            self._sample, self._read_ns, self._missed = sample, now_ns, 0
            if self.state is State.SILENT:
                self.state = State.UNARMED
            return
        self.counts.unread += 1
        self._missed += 1
        silent_s = (now_ns - self._read_ns) * 1e-9
        # Some misses in a row: a process that stood still for a while has missed nothing.
        silent = silent_s > self.settings.silence_s and self._missed >= 5
        if silent and self.state is not State.SILENT:
            self._forget()
            self.state = State.SILENT
            self.last_error = f"no full reading for {silent_s:.1f} s; check supply and cables"

    def _lose(self, error: BusError) -> None:
        self._forget()
        self.state = State.LOST
        self.last_error = str(error)
        self.counts.lost += 1

    def _forget(self) -> None:
        self._goal = None
        self._sample = None
        self._written_ns = None
        self._trajectory = None
        self._commands.clear()

    def _drive(self, now_ns: int) -> Vector | None:
        if self._goal is None or not self._fresh(now_ns):
            return None
        target = self._target(now_ns)
        elapsed = 0.0 if self._written_ns is None else (now_ns - self._written_ns) * 1e-9
        # Between 0 and max_step_s, whatever the clock did.
        elapsed = min(max(elapsed, 0.0), self.settings.max_step_s)
        share = min(1.0, self.settings.ramp_velocity / float(self.guard.velocity.min()))
        goal = self.guard.step(target, self._goal, elapsed, share if self._ramping else 1.0)
        if self._ramping:
            held = np.clip(target, self.guard.lower, self.guard.upper)
            self._ramping = bool(np.abs(held - goal).max() > self.settings.caught_up_rad)
        self._goal = goal
        self._written_ns = now_ns
        return self.arm.write(goal)

    def _fresh(self, now_ns: int) -> bool:
        limit = self.settings.max_state_age_s * 1e9
        return self._sample is not None and now_ns - self._sample.stamp_ns <= limit

    def _target(self, now_ns: int) -> Vector:
        assert self._goal is not None
        commands, timeout = self._commands, self.settings.command_timeout_s * 1e9
        if commands.arrived_ns is not None and now_ns - commands.arrived_ns > timeout:
            commands.clear()
        if commands.due:
            self._become(State.COMMAND)
            return commands.sample(now_ns - round(self.settings.command_delay_s * 1e9))
        if self._trajectory is not None and now_ns > self._trajectory.end_ns + timeout:
            self._trajectory = None
        if self._trajectory is not None:
            self._become(State.TRAJECTORY)
            return self._trajectory.sample(now_ns)
        self._become(State.HOLD)
        return self._goal

    def _become(self, state: State) -> None:
        if state is not self.state:
            self._ramping = state is not State.HOLD
            self.state = state
