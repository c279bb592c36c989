"""An emulated SO-101 that notes what its servos really said and did, and a bus that notes what
the driver made of it. The two notes are taken on either side of the line that does the damage."""

import random
import threading
import time
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import NamedTuple

from armlet.motors.emulation import EmulatedBus, EmulatedServo
from armlet.motors.feetech import REGISTERS, Bus
from armlet.sim import FOLLOWER

CALIBRATION = FOLLOWER
IDS = tuple(joint.id for joint in CALIBRATION.values())
GOAL = REGISTERS["Goal_Position"]
TORQUE = REGISTERS["Torque_Enable"]
POSITION = REGISTERS["Present_Position"]
VELOCITY = REGISTERS["Present_Velocity"]
NOISE_TICKS = 0.7
"""So that hardly two readings are equal, and an old one cannot pass for a new one."""

_SERVING = "emulated-servo-bus"
_BEYOND_TICKS = 40


class Said(NamedTuple):
    """A reply before the line could damage it: monotonic seconds, address, data."""

    at_s: float
    address: int
    data: bytes

    def value(self, register):
        """A register's value, None if the reply does not hold it."""
        start = register.address - self.address
        if start < 0 or start + register.width > len(self.data):
            return None
        return register.decode(self.data[start : start + register.width])


class Written(NamedTuple):
    """A write that reached a servo, and whether and where it stood with torque on then."""

    at_s: float
    address: int
    data: bytes
    torque_was_on: bool
    position: float

    @property
    def goal(self):
        return GOAL.decode(self.data) if self.address == GOAL.address else None


class RecordedServo(EmulatedServo):
    """Attributes: said, written: everything over the line, oldest first."""

    def __init__(self, id, **options):
        self.said, self.written = [], []
        super().__init__(id, **options)

    def read(self, address, count):
        data = super().read(address, count)
        if threading.current_thread().name == _SERVING:
            self.said.append(Said(time.monotonic(), address, data))
        return data

    def write(self, address, data):
        was_on = self.torque_on
        super().write(address, data)
        if threading.current_thread().name == _SERVING:
            self.written.append(Written(time.monotonic(), address, data, was_on, self.position))

    def said_between(self, start_s, end_s):
        """Its replies of that time."""
        first = bisect_left(self.said, start_s, key=lambda said: said.at_s)
        last = bisect_left(self.said, end_s, key=lambda said: said.at_s)
        return self.said[first:last]

    def was_on(self, at_s):
        """Whether its torque was on at a time."""
        before = [switch.on for switch in tuple(self.torque_log) if switch.time <= at_s]
        return bool(before) and before[-1]


@dataclass
class Wrong:
    """Values that a servo never gave to that question: what they were, and who reported them."""

    at_s: float
    text: str


@dataclass
class Checked:
    """How many readings were compared with what the servos said, and which were wrong."""

    readings: int = 0
    wrong: list[Wrong] = field(default_factory=list)


class CheckedBus(Bus):
    """A bus whose readings are compared with what the servos said during the transaction."""

    def __init__(self, port, servos):
        super().__init__(port)
        self.checked = Checked()
        self._recorded = servos

    def sync_read(self, registers, ids, *, until=None):
        begun_s = time.monotonic()
        reply = super().sync_read(registers, ids, until=until)
        self._compare(registers, reply, begun_s)
        return reply

    def sync_write_read(self, register, values, registers, ids, *, until=None):
        begun_s = time.monotonic()
        reply = super().sync_write_read(register, values, registers, ids, until=until)
        self._compare(registers, reply, begun_s)
        return reply

    def _compare(self, registers, reply, begun_s):
        now_s = time.monotonic()
        for id, values in reply.values.items():
            self.checked.readings += 1
            said = self._recorded[id].said_between(begun_s, now_s)
            if values not in [tuple(each.value(r) for r in registers) for each in said]:
                names = [register.name for register in registers]
                text = f"servo {id}: {names} = {values}, in {1000 * (now_s - begun_s):.1f} ms"
                self.checked.wrong.append(Wrong(now_s, text))


def recorded_bus(dice, link=None, paced=False):
    """A calibrated arm somewhere in its range, gravity on two joints, now and then an obstacle."""
    bus = EmulatedBus(ids=(), link=link, paced=paced)
    servos = [RecordedServo(id, supply=bus.supply, noise_ticks=NOISE_TICKS) for id in IDS]
    bus.connect(servos)
    for servo, joint in zip(servos, CALIBRATION.values(), strict=True):
        servo.poke(REGISTERS["Homing_Offset"], joint.homing_offset)
        servo.poke(REGISTERS["Min_Position_Limit"], joint.range_min)
        servo.poke(REGISTERS["Max_Position_Limit"], joint.range_max)
        servo.poke(REGISTERS["Return_Delay_Time"], dice.choice((0, 0, 50)))
        low, high = joint.range_min + joint.homing_offset, joint.range_max + joint.homing_offset
        servo.position = dice.uniform(joint.range_min + 100, joint.range_max - 100)
        # A little beyond its calibrated range, so that an arm that has dropped can be armed.
        servo.stops = low - _BEYOND_TICKS, high + _BEYOND_TICKS
        servo.power_cycle()
    for servo in (servos[1], servos[2]):
        servo.load = dice.uniform(-0.25, 0.25)
    if dice.random() < 0.2:
        servo = dice.choice(servos[:5])
        actual = servo.position + servo.peek(REGISTERS["Homing_Offset"])
        start = actual + dice.choice((-1, 1)) * dice.uniform(60, 300)
        servo.obstacle = (start - 20, start + 20)
    return bus


def seeded(seed):
    """Dice of one purpose, independent of the others of a run."""
    return random.Random(seed)
