"""A follower whose servos drive the simulated arm, on the test's own clock, without a wire."""

import numpy as np

from armlet.motors.feetech.registers import (
    GOAL_POSITION,
    P_COEFFICIENT,
    PRESENT_LOAD,
    PRESENT_POSITION,
    TORQUE_ENABLE,
)
from armlet.robots.kinematics import HOME, solve_reach
from armlet.sim.arms import EmulatedArms, Side, _to_ticks
from armlet.sim.calibrations import FOLLOWER
from armlet.sim.demonstrator import minimum_jerk
from armlet.sim.domain import Domain
from armlet.sim.physics import World

CYCLE_S = 0.01
RIGID = Domain(backlash_deg=0.0)


class Rig:
    """Goals go to registers, as bytes; `P` is LeRobot's."""

    def __init__(self, things=None, domain=RIGID, torque=True, at=HOME):
        self.now_s = 100.0
        self.world = World(things, domain)
        self.arms = EmulatedArms(paced=False, clock=lambda: self.now_s, world=self.world)
        self.servos = [self.arms.follower.servos[joint.id] for joint in FOLLOWER.values()]
        self._pose, self._lean = np.array(at, float), np.zeros(6)
        for servo, ticks in zip(self.servos, _to_ticks(at, FOLLOWER), strict=True):
            servo.position = float(ticks)
            servo.power_cycle()
            self.write(servo, P_COEFFICIENT, 16)
            self.write(servo, TORQUE_ENABLE, int(torque))

    @staticmethod
    def write(servo, register, value):
        servo.write(register.address, register.encode(value))

    @staticmethod
    def read(servo, register):
        return register.decode(servo.read(register.address, register.width))

    @property
    def joints(self):
        return self.arms.joints(Side.FOLLOWER)

    def ticks(self):
        """What all six report."""
        return np.array([self.read(servo, PRESENT_POSITION) for servo in self.servos])

    def loads(self):
        """What all six report, as shares."""
        return np.array([self.read(servo, PRESENT_LOAD) for servo in self.servos]) / 1000

    def send(self, joints):
        for servo, ticks in zip(self.servos, _to_ticks(joints, FOLLOWER), strict=True):
            self.write(servo, GOAL_POSITION, round(ticks))

    def wait(self, duration_s):
        """Lets time pass in control cycles."""
        for _ in range(round(duration_s / CYCLE_S)):
            self.now_s += CYCLE_S
            self.ticks()

    def move(self, to, duration_s):
        """Moves smoothly and corrects what the arm sags, as a person who looks does."""
        start, cycles = self._pose, round(duration_s / CYCLE_S)
        for cycle in range(1, cycles + 30):
            wanted = start + (to - start) * minimum_jerk(cycle / cycles)
            self.send(wanted + self._lean)
            self.wait(CYCLE_S)
            miss = wanted - self.joints
            miss[5] = 0.0
            self._lean = self._lean + (0.03 if cycle < cycles else 0.1) * miss
        self._pose = to

    def reach(self, xyz, gripper, duration_s):
        self.move(solve_reach(np.array(xyz), gripper), duration_s)
