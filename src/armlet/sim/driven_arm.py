"""Emulated servos as the motors of a simulated arm.

A servo's registers, profile and protection stay what they are; what its motor gives goes to the
joint it drives, and what the joint does is what its encoder reads.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Sequence

from armlet.motors.emulation.body import ServoBody
from armlet.motors.emulation.dynamics import (
    NO_LOAD_SPEED,
    Drive,
    Surroundings,
    next_setpoint,
)
from armlet.robots.calibration import Calibration
from armlet.robots.kinematics import GRIPPER_CLOSED, GRIPPER_OPEN
from armlet.robots.units import RADIANS_PER_TICK, own_converter

from .physics import JOINTS, World
from .task import Layout, State

STALL_NM = 1.912
"""An STS3215's at 7.4 V, 19.5 kg cm by its data sheet."""

_STIFFNESS = 0.53
"""Error that asks for full duty, as a share of no-load speed x lag. Measured: with P = 32 a load of
0.35 of the stall torque costs 20 to 30 ticks (SO-ARM100 issue 134). That the shaft lags more than
so stiff a loop would is the D part's doing."""

_DAMPING = 1 / _STIFFNESS - 1
"""Duty that the D part takes at no-load speed; with it an unloaded shaft has the lag."""

_ROUNDING_S = 1e-7


class JointShaft:
    """A servo's shaft that turns a joint of a World, see `motors.emulation.shaft.Shaft`.

    The motor gives stall torque x (duty - rotor speed / no-load speed), and nothing when it is off.

    Args:
        world: steps it.
        joint: its number.
        zero: actual ticks at the joint's angle 0.
        ticks_per_rad: of the encoder.
        latency_s: how late a goal reaches the loop.
    """

    def __init__(
        self, world: World, joint: int, zero: float, ticks_per_rad: float, latency_s: float = 0.0
    ) -> None:
        self._world, self._joint = world, joint
        self._zero, self._scale = zero, ticks_per_rad
        self._latency_s = latency_s
        self._goals: deque[tuple[float, float]] = deque()
        self.torque = 0.0
        self._carried = False
        self.read()
        self.low = self.high = self.position
        self.top_speed = 0.0
        self.stand(self.position)

    def read(self) -> None:
        """Takes over where the joint is now."""
        self.position = self._zero + self._scale * self._world.shaft_angles[self._joint]
        self.velocity = self._scale * self._world.shaft_velocities[self._joint]

    def note(self) -> None:
        """Takes over where a step has brought the joint."""
        self.read()
        if self.position < self.low:
            self.low = self.position
        elif self.position > self.high:
            self.high = self.position
        if not self._carried:
            self.top_speed = max(self.top_speed, abs(self.velocity))

    def mark(self) -> None:
        """Begins again to note how far and how fast the shaft goes."""
        self.low = self.high = self.position
        self.top_speed = 0.0

    def stand(self, position: float) -> None:
        """The shaft is there, with nothing left to follow; the motor is off until it follows."""
        if position != self.position:
            self._world.set_joint(self._joint, (position - self._zero) / self._scale)
            self.read()
        self._setpoint, self._setpoint_velocity = self.position, 0.0
        self._goals.clear()
        self._give(0.0, 0.0, 0.0)

    def carry(self, position: float, around: Surroundings, duration_s: float) -> None:
        """A hand moves the shaft there within that time."""
        velocity = (position - self.position) / duration_s
        self._world.set_joint(
            self._joint, (position - self._zero) / self._scale, velocity / self._scale
        )
        self.read()
        self._setpoint, self._setpoint_velocity = self.position, 0.0
        self._give(0.0, 0.0, 0.0)
        self._carried = True

    def rests(self, target: float | None, drive: Drive, around: Surroundings) -> bool:
        """Never: what the other joints do moves it."""
        return False

    def follow(
        self, target: float, drive: Drive, around: Surroundings, now_s: float, duration_s: float
    ) -> None:
        """The motor follows the target during the next step."""
        if self._latency_s:
            target = self._late(target, now_s)
        self._setpoint, self._setpoint_velocity = next_setpoint(
            self._setpoint, self._setpoint_velocity, target, drive, duration_s
        )
        error = self._setpoint - self.position
        if -drive.dead_zone[0] < error < drive.dead_zone[1]:
            error = 0.0
        speed = self._rotor_speed()
        duty = error / (NO_LOAD_SPEED * drive.lag_s * _STIFFNESS) - _DAMPING * speed
        if abs(error) >= 1.0:
            duty += math.copysign(drive.startup, error)
        duty = max(-drive.strength, min(drive.strength, duty))
        self._give(duty, duty - speed, self._pull(around, now_s))

    def fall(self, around: Surroundings, now_s: float, duration_s: float) -> None:
        """The motor is off during the next step."""
        self._setpoint, self._setpoint_velocity = self.position, 0.0
        self._goals.clear()
        self._give(0.0, 0.0, self._pull(around, now_s))

    def _late(self, target: float, now_s: float) -> float:
        """The goal of a while ago; at first where the shaft stood."""
        goals = self._goals
        if not goals:
            goals.append((-math.inf, self._setpoint))
        if goals[-1][1] != target:
            goals.append((now_s, target))
        while len(goals) > 1 and goals[1][0] <= now_s - self._latency_s + _ROUNDING_S:
            goals.popleft()
        return goals[0][1]

    def _rotor_speed(self) -> float:
        """As a share of no-load speed."""
        speed = self._scale * self._world.rotor_velocities[self._joint]
        return speed / NO_LOAD_SPEED

    def _pull(self, around: Surroundings, now_s: float) -> float:
        load = around.load
        return float(load(self.position, now_s)) if callable(load) else load

    def _give(self, duty: float, torque: float, load: float) -> None:
        self.duty, self.torque, self._carried = duty, torque, False
        sense = math.copysign(1.0, self._scale)
        self._world.set_torque(self._joint, sense * STALL_NM * (torque - load))


class DrivenArm:
    """Joins servos to a world's joints and lets their time pass together, in steps of the world.

    The steps begin when it is made and end at whole multiples of their length after that, whoever
    looks when: the arm's motion depends on what is written when, not on when it is read.

    Args:
        world: nobody else steps it.
        servos: in the order of `physics.JOINTS`; they are joined here.
        calibration: of the arm, which says what of a servo is a joint's zero.
        clock: of the servos.

    Attributes:
        lock: of all its servos; hold it to look at the world.
    """

    def __init__(
        self,
        world: World,
        servos: Sequence[ServoBody],
        calibration: Calibration,
        clock: Callable[[], float],
    ) -> None:
        self.lock = threading.RLock()
        self._world = world
        self._servos = tuple(servos)
        self._start_s, self._steps = clock(), 0
        domain = world.domain
        kept = round(domain.camera_latency_s / world.step_s)
        self._past: deque[State] = deque([world.state()], maxlen=kept + 1)
        self._shafts = []
        for joint, servo in enumerate(self._servos):
            zero, scale = _scale(calibration, joint)
            shaft = JointShaft(world, joint, servo.actual_at(zero), scale, domain.servo_latency_s)
            self._shafts.append(shaft)
            servo.join(shaft, self)
            # On a whole tick: between two the last bit of a float says which one is read.
            shaft.stand(round(shaft.position))

    def advance(self, now_s: float) -> None:
        """Lets the time of world and servos pass up to `now_s` of the clock."""
        step_s = self._world.step_s
        with self.lock:
            while (begun_s := self._start_s + self._steps * step_s) + step_s <= now_s + _ROUNDING_S:
                self._steps += 1
                for servo in self._servos:
                    servo.pass_step(begun_s, step_s)
                self._world.step()
                for shaft in self._shafts:
                    shaft.note()
                if self._past.maxlen != 1:
                    self._past.append(self._world.state())

    def place(self, layout: Layout, now_s: float) -> None:
        """Puts things on the table at a time of the clock.

        Raises ValueError for one that is not in the world.
        """
        with self.lock:
            self.advance(now_s)
            self._world.place(layout)

    def state(self, now_s: float, age_s: float = 0.0) -> State:
        """Arm and things at a time of the clock; before that by an age, up to the domain's."""
        with self.lock:
            self.advance(now_s)
            back = min(round(age_s / self._world.step_s), len(self._past) - 1)
            return self._past[-1 - back] if back else self._world.state()


def _scale(calibration: Calibration, joint: int) -> tuple[float, float]:
    """Ticks at a joint's angle 0, as the registers speak of them, and ticks per rad."""
    name = JOINTS[joint]
    if name != "gripper":
        return float(own_converter(calibration).centers[joint]), 1 / RADIANS_PER_TICK
    gripper = calibration[name]
    scale = (gripper.range_max - gripper.range_min) / (GRIPPER_OPEN - GRIPPER_CLOSED)
    return gripper.range_min - GRIPPER_CLOSED * scale, scale
