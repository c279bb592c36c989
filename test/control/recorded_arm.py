"""An emulated SO-101 that notes what its servos really said and did, and a bus that notes what
the driver made of it. The two notes are taken on either side of the line that does the damage."""

import random
import threading
import time
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import NamedTuple

from armlet.motors import registry
from armlet.motors.emulation import EmulatedBus
from armlet.motors.protocol import TICKS_PER_TURN
from armlet.sim import FOLLOWER

CALIBRATION = FOLLOWER
IDS = tuple(joint.id for joint in CALIBRATION.values())
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
    goal: int | None


def apart(model, ticks, others):
    """By how much ticks differ: of servos that count turns, within a turn."""
    off = ticks - others
    if model.counts_turns:
        off -= TICKS_PER_TURN * round(off / TICKS_PER_TURN)
    return off


def record(servo):
    """A servo of any family, from here on noting all over the line, oldest first.

    It has more attributes then. said, written: replies and writes. said_between: replies of a time.
    was_on: whether its torque was on at a time.
    """
    servo.said, servo.written = [], []
    read, write, register = servo.read, servo.write, servo.goal_position

    def noting_read(address, count):
        data = read(address, count)
        if threading.current_thread().name == _SERVING:
            servo.said.append(Said(time.monotonic(), address, data))
        return data

    def noting_write(address, data):
        was_on = servo.torque_on
        refusal = write(address, data)
        if threading.current_thread().name == _SERVING:
            goal = register.decode(data) if address == register.address else None
            now_s = time.monotonic()
            servo.written.append(Written(now_s, address, data, was_on, servo.position, goal))
        return refusal

    def said_between(start_s, end_s):
        first = bisect_left(servo.said, start_s, key=lambda said: said.at_s)
        last = bisect_left(servo.said, end_s, key=lambda said: said.at_s)
        return servo.said[first:last]

    def was_on(at_s):
        before = [switch.on for switch in tuple(servo.torque_log) if switch.time <= at_s]
        return bool(before) and before[-1]

    servo.read, servo.write = noting_read, noting_write
    servo.said_between, servo.was_on = said_between, was_on
    return servo


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


def checked_bus(checking, bus):
    """A bus of the servos' own family, of which every reading is compared; see `CheckedBus`."""
    family = registry.family(bus.model.name)
    return type("Bus", (checking, family.make_bus), {})(bus.port, bus.servos)


class CheckedBus:
    """Put before a bus: its readings are compared with what servos said in the transaction."""

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


def recorded_bus(dice, link=None, paced=False, motors="sts3215"):
    """A calibrated arm somewhere in its range, gravity on two joints, now and then an obstacle."""
    bus = EmulatedBus(ids=IDS, link=link, paced=paced, motors=motors)
    servos = [record(servo) for servo in bus.chain]
    for servo, joint in zip(servos, CALIBRATION.values(), strict=True):
        servo.noise_ticks = NOISE_TICKS
        bus.calibrate(joint.id, joint.homing_offset, joint.range_min, joint.range_max)
        servo.poke(bus.model.return_delay, dice.choice((0, 0, 50)))
        low, high = servo.actual_at(joint.range_min), servo.actual_at(joint.range_max)
        servo.position = dice.uniform(joint.range_min + 100, joint.range_max - 100)
        # A little beyond its calibrated range, so that an arm that has dropped can be armed.
        servo.stops = low - _BEYOND_TICKS, high + _BEYOND_TICKS
        servo.power_cycle()
    for servo in (servos[1], servos[2]):
        servo.load = dice.uniform(-0.25, 0.25)
    if dice.random() < 0.2:
        servo = dice.choice(servos[:5])
        start = servo.actual + dice.choice((-1, 1)) * dice.uniform(60, 300)
        servo.obstacle = (start - 20, start + 20)
    return bus


def seeded(seed):
    """Dice of one purpose, independent of the others of a run."""
    return random.Random(seed)
