"""What an armed arm follows, and how far its goal has come."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from armlet.robots.units import Vector

from .commands import Commands, Sender
from .guard import Guard
from .protection import Protection
from .setpoint import Setpoint
from .settings import ControlSettings
from .state import Inputs, Source, Target
from .trajectory import Trajectory, blend


class Instant(NamedTuple):
    """One instant: Unix time in ns, and control time in seconds."""

    ns: int
    s: float


class Motion:
    """The motion of an armed arm, from its arming on. Vectors are radians (n,).

    Args:
        guard: the limits of its goals.
        protection: what joints that are relaxed or without torque are allowed.
        position: where the arm was armed.

    Attributes:
        commands: the joint commands that came last.
        trajectory: the one that is followed, or has just ended; None if there is none.
    """

    def __init__(self, guard: Guard, protection: Protection, position: Vector) -> None:
        self.commands = Commands()
        self.trajectory: Trajectory | None = None
        self._guard = guard
        self._protection = protection
        self._setpoint = Setpoint(guard, position)
        self._held = position
        self._joining = True
        self._another = False
        self._sent_s: float | None = None
        # Of what is followed, as its sender stamped it.
        self._stamp_ns = 0

    @property
    def goal(self) -> Vector:
        """The goal last sent."""
        return self._setpoint.position

    def stand(self, position: Vector, joints: tuple[str, ...]) -> None:
        """Some joints were armed again where they stand; what is followed is joined again."""
        mask = np.array([joint in joints for joint in self._guard.joints])
        self._setpoint.stand(position, mask)
        self._joining = True

    def limits_changed(self) -> None:
        """The guard has other limits: keep to them from now on."""
        self._setpoint.limits_changed()

    # --- what there is to follow ------------------------------------------------------------

    def drop(self) -> None:
        """Forget what is followed, and that anything was sent lately."""
        self.commands.clear()
        self.trajectory = None
        self._sent_s = None

    def plays(self, origin: str) -> bool:
        """Whether what is followed, or has just ended, is this sender's."""
        return self.trajectory is not None and self.trajectory.origin == origin

    def overtaken(self, trajectory: Trajectory, now_ns: int) -> bool:
        """Whether a newer one of the same sender, which says who it is, is in play already."""
        playing = self.trajectory
        if not trajectory.origin or playing is None or playing.end_ns < now_ns:
            return False
        return playing.origin == trajectory.origin and trajectory.stamp_ns < self._stamp_ns

    def command(
        self,
        position: Vector,
        stamp_ns: int,
        now: Instant,
        settings: ControlSettings,
        sender: Sender,
    ) -> None:
        """A joint command; it ends a trajectory. A stamp of 0: it is due at once.

        Another sender's than the last is joined, as one is after a silence.
        """
        delay_ns = round(settings.command_delay_s * 1e9)
        self.trajectory = None
        if sender != self.commands.sender or not self.commands.fresh(
            now.s, settings.command_timeout_s
        ):
            self.commands.clear()
            self._another = True
        self.commands.sender = sender
        due_ns = stamp_ns or now.ns - delay_ns
        self.commands.add(position, due_ns, self.goal, now.s, delay_ns)

    def follow(
        self, trajectory: Trajectory, now_ns: int, source: Source, settings: ControlSettings
    ) -> bool:
        """A trajectory from now on; whether it leads on from where the last one ended.

        Then the arm, which holds (`source`) at that end, need not join it. Another sender's than
        the last is joined.
        """
        motion = self._led_up_to(trajectory.starting(now_ns, self.goal), settings)
        old, self.trajectory = self.trajectory, motion
        self._stamp_ns = trajectory.stamp_ns
        if old is None or old.origin != motion.origin:
            self._another = True
            return False
        if settings.blend_s <= 0:
            return False
        self.trajectory = blend(old, motion, now_ns, settings.blend_s)
        return source is Source.HOLD and old.end_ns < now_ns

    def _led_up_to(self, motion: Trajectory, settings: ControlSettings) -> Trajectory:
        """A single point is a place: a motion to it at the speed of joining."""
        if len(motion.times_s) > 1:
            return motion
        place = motion.positions[-1]
        duration_s = float(np.abs(place - self.goal).max()) / settings.ramp_velocity
        times_s = np.array([0.0, max(duration_s, settings.period_s)])
        points = np.stack([self.goal, place])
        return Trajectory(motion.stamp_ns, times_s, points, motion.origin)

    def inputs(self, now: Instant, state_age_s: float, settings: ControlSettings) -> Inputs:
        """What there is to follow now."""
        arrived_s, motion = self.commands.arrived_s, self.trajectory
        command_age_s = None if arrived_s is None else now.s - arrived_s
        if motion is None:
            return Inputs(state_age_s, command_age_s)
        left_ns = motion.end_ns - now.ns
        held_up = left_ns < 0 and self._held_up(motion, settings)
        return Inputs(state_age_s, command_age_s, left_ns, held_up)

    def _held_up(self, motion: Trajectory, settings: ControlSettings) -> bool:
        if self._joining or self._sent_s is None:
            return False
        left = self._guard.inside(motion.positions[-1]) - self.goal
        return bool(np.abs(left).max() > settings.caught_up_rad)

    # --- the goal ---------------------------------------------------------------------------

    def withhold(self) -> None:
        """No goal is sent in this cycle: the arm stands when the next is."""
        self._sent_s = None

    def next_goal(
        self,
        target: Target,
        before: Source,
        now: Instant,
        stood: Vector | None,
        settings: ControlSettings,
    ) -> Vector:
        """The goal to be sent now.

        before: the source of the last goal. stood: where the joints last stood; None if that is not
        known.
        """
        assert target.source is not None, "withhold is for cycles without a goal"
        elapsed_s = self._elapsed_s(now.s, settings)
        if target.commands_over:
            self.commands.clear()
        if target.trajectory_over:
            self.trajectory = None
        place = self._place(target.source, before, now.ns, settings)
        off, quiet = self._protection.torque_off, self._protection.quiet
        sagging = stood if not quiet and off.any() else None
        if not quiet:
            place = self._protection.restrain(place)
            if sagging is not None:
                place = np.where(off, sagging, place)
            if target.source is Source.HOLD:
                self._held = place
        goal = self._setpoint.step(place, elapsed_s, self._share(settings))
        if sagging is not None:
            self._setpoint.stand(sagging, off)
            goal = self.goal
        if self._joining:
            left = np.abs(self._guard.inside(place) - goal).max()
            self._joining = bool(left > settings.caught_up_rad)
        return goal

    def _elapsed_s(self, now_s: float, settings: ControlSettings) -> float:
        """Since the last goal: between 0 and max_step_s, whatever the clock did."""
        sent_s, self._sent_s = self._sent_s, now_s
        if sent_s is None:
            self._setpoint.rest()
            self._joining = True
            return 0.0
        return min(max(now_s - sent_s, 0.0), settings.max_step_s)

    def _share(self, settings: ControlSettings) -> float | Vector:
        """Of each joint's own limit of velocity: a slow joint must not speed up the others."""
        if not self._joining:
            return 1.0
        return np.minimum(1.0, settings.ramp_velocity / self._guard.velocity)

    def _place(
        self, source: Source, before: Source, now_ns: int, settings: ControlSettings
    ) -> Vector:
        """Where the source wants the joints now."""
        if source is Source.HOLD:
            if before is not source:
                self._held = self._rest()
                self._joining = False
            return self._held
        place = self._sampled(source, now_ns, settings)
        if before is not source or self._another:
            self._joining = True
            self._setpoint.aim(place)
        self._another = False
        return place

    def _sampled(self, source: Source, now_ns: int, settings: ControlSettings) -> Vector:
        if source is Source.COMMAND:
            return self.commands.sample(now_ns - round(settings.command_delay_s * 1e9))
        assert self.trajectory is not None, "select follows a trajectory only where there is one"
        return self.trajectory.sample(now_ns)

    def _rest(self) -> Vector:
        """Where to hold: where the motion has led, or, if it was not caught, where the goal is."""
        if self.trajectory is not None and not self._joining:
            place: Vector = self.trajectory.positions[-1]
            return place
        self.trajectory = None
        return self._setpoint.stop()
