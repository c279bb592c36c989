"""An emulated arm and its control, whose time the test holds."""

import numpy as np
import pytest

from armlet.control import Arm, Control, ControlSettings, Guard, Trajectory
from armlet.motors import registry
from armlet.motors.emulation import EmulatedBus
from armlet.motors.protocol import Quantity
from armlet.robots import JointCalibration

MS = 1_000_000
START_NS = 1_700_000_000_000_000_000
CALIBRATION = {
    "shoulder_pan": JointCalibration(1, 0, 100, 1000, 3000),
    "gripper": JointCalibration(2, 0, -50, 1500, 2500),
}
JOINTS = tuple(CALIBRATION)
TICK = 2 * np.pi / 4096
MAX_VELOCITY, RAMP_VELOCITY = 4.0, 1.0


class Clock:
    """Seconds since the start; `Driven.cycles` lets them pass."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


"""A model of each family. Tests with the fixture `motors` are of both, unless they say of which."""

FEETECH = pytest.mark.parametrize("motors", ["sts3215"])
"""For what is about Feetech's own registers."""


def emulated_bus(clock, link=None, motors="sts3215"):
    emulated = EmulatedBus(ids=(1, 2), clock=clock, link=link, motors=motors)
    model = emulated.model
    for joint in CALIBRATION.values():
        servo = emulated.servos[joint.id]
        servo.poke(model.homing_offset, joint.homing_offset)
        servo.poke(model.min_position, joint.range_min)
        servo.poke(model.max_position, joint.range_max)
        servo.position = (joint.range_min + joint.range_max) / 2
    return emulated


FULL_GRIP = {"sts3215": 0.5, "xl330-m288": 1.0}
"""Share of full torque that a gripper's settings leave it: LeRobot halves an SO-101's."""


def goals(emulated, servo_id):
    """What was written to a servo's goal, in ticks, oldest first."""
    register = emulated.model.goal_position
    return [
        register.decode(write.data)
        for write in emulated.writes
        if write.id == servo_id and write.address == register.address
    ]


def made_bus(emulated):
    """A bus of the servos' own family, closed."""
    return registry.family(emulated.model.name).make_bus(emulated.port)


def made_arm(emulated, calibration=CALIBRATION):
    return Arm(made_bus(emulated), calibration, [emulated.model] * len(calibration))


class Driven:
    """A configured arm under control, cycled at 100 Hz of the clock it shares with its servos."""

    def __init__(self, emulated, clock, settings=None, calibration=CALIBRATION, **options):
        self.emulated, self.clock = emulated, clock
        self.arm = made_arm(emulated, calibration)
        self.arm.connect()
        self.arm.configure()
        # Servos have 0.2 s of real time to answer: the emulator shares this machine with others.
        chosen = {"ramp_velocity": RAMP_VELOCITY, "answer_share": 20.0, **(settings or {})}
        self.control = Control(
            self.arm,
            Guard.from_calibration(calibration, MAX_VELOCITY),
            ControlSettings(**chosen),
            clock=clock,
            **options,
        )

    @property
    def now_ns(self):
        return START_NS + round(self.clock.now_s * 1e9)

    def cycle(self):
        self.clock.now_s += 0.01
        return self.control.cycle(self.now_ns)

    def cycles(self, count):
        """Goals sent (count, 2), NaN where none was."""
        applied = [self.cycle().applied for _ in range(count)]
        return np.array([np.full(2, np.nan) if goal is None else goal for goal in applied])

    def cycles_until(self, ready, limit=2000):
        """Cycle until something is so; how many that took."""
        for count in range(limit):
            if ready():
                return count
            self.cycle()
        raise AssertionError(f"not within {limit} cycles; {self.control.summary()}")

    def command(self, *positions, names=JOINTS, stamp_ns=None, keeps=False, mark=""):
        stamp_ns = self.now_ns if stamp_ns is None else stamp_ns
        self.control.command(names, positions, stamp_ns, self.now_ns, keeps, mark)

    def commanded(self, count, *positions, keeps=False, mark=""):
        """Cycles with a command before each."""
        goals = []
        for _ in range(count):
            self.command(*positions, keeps=keeps, mark=mark)
            goals.append(self.cycles(1)[0])
        return np.array(goals)

    def follow(self, times_s, rows, names=JOINTS, stamp_ns=None, origin="", continues=False):
        stamp_ns = self.now_ns if stamp_ns is None else stamp_ns
        times_s, rows = np.array(times_s, float), np.array(rows, float)
        motion = Trajectory(stamp_ns, times_s, rows, origin, continues)
        return self.control.follow(names, motion, self.now_ns)

    def register(self, name):
        """What the servos hold, in joint order."""
        register = self.emulated.model.registers[name]
        return [self.emulated.servos[j.id].peek(register) for j in CALIBRATION.values()]

    def quantity(self, quantity):
        """What the servos measure, in its unit, in joint order."""
        measure = self.emulated.model.measures[quantity]
        return [measure.value(count) for count in self.register(measure.register.name)]

    def torque_limits(self):
        """Shares of full torque, in joint order."""
        return self.quantity(Quantity.TORQUE_LIMIT)

    def torque(self):
        return self.register("Torque_Enable")
