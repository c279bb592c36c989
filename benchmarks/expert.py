"""The scripted expert on the bench, without nodes: how often it succeeds; one JSON line.

usage: python benchmarks/expert.py [--task pick_place] [--seeds 100] [--first 0] [--jobs 2]
       [--clumsiness 0]

Leader and follower are emulated servos whose registers are read and written as bytes, 100 times a
second; between them are teleoperation and the driver's guard. The expert looks 30 times a second.
Seeds are run at once, in so many processes. What failed is listed by its seed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from armlet.control import Teleoperation
from armlet.control.guard import MAX_ACCELERATION, MAX_VELOCITY, Guard
from armlet.control.setpoint import Setpoint
from armlet.evaluation.trials.statistics import wilson
from armlet.motors.emulation.body import ServoBody
from armlet.motors.feetech.models import GRIPPER_PROTECTION, RAM_SETTINGS, STORED_SETTINGS
from armlet.motors.feetech.registers import REGISTERS
from armlet.robots.units import (
    limits_radians,
    radians_to_ticks,
    ticks_to_radians,
)
from armlet.sim import FOLLOWER, LEADER, Bench
from armlet.sim.domain import ORDINARY, Domain, read_domain
from armlet.sim.task import Progress, find

CYCLE_S = 0.01
LOOKS_HZ = 30
SETTLE_S = 0.5
MOST_S = 62.0


@dataclass(frozen=True)
class Shown:
    """One demonstration: its seed, whether it did the task, after how long, in how many tries.

    mishap: what went wrong by its seed. error_m: how far from its goal it ended.
    """

    seed: int
    done: bool
    seconds: float
    tries: int
    mishap: str
    error_m: float


class Rehearsal:
    """A bench on a clock of its own, its follower led by its leader."""

    def __init__(
        self, task: str, seed: int, domain: Domain = ORDINARY, clumsiness: float = 0.0
    ) -> None:
        self.now_s = 100.0
        self.bench = Bench(
            seed,
            (32, 24),
            False,
            clock=self.clock,
            task=find(task),
            physics=True,
            domain=domain,
            clumsiness=clumsiness,
        )
        self.bench.begin(seed)
        self._leader = [self.bench.leader.servos[joint.id] for joint in LEADER.values()]
        self._follower = [self.bench.follower.servos[joint.id] for joint in FOLLOWER.values()]
        self._teleoperation = Teleoperation(LEADER, FOLLOWER, "degrees")
        lower, upper = limits_radians(FOLLOWER)
        many = np.ones(len(FOLLOWER))
        guard = Guard(tuple(FOLLOWER), lower, upper, MAX_VELOCITY * many, MAX_ACCELERATION * many)
        self._set_up()
        self._setpoint = Setpoint(guard, self._radians(self._follower, FOLLOWER))
        self._looks = 0

    def clock(self) -> float:
        return self.now_s

    def _set_up(self) -> None:
        for servo in self._follower:
            for name, value in (STORED_SETTINGS | RAM_SETTINGS | {"Torque_Enable": 1}).items():
                _write(servo, name, value)
        for name, value in (GRIPPER_PROTECTION | {"Torque_Limit": 500}).items():
            _write(self._follower[-1], name, value)

    @staticmethod
    def _radians(servos, calibration):
        ticks = [_read(servo, "Present_Position") for servo in servos]
        return ticks_to_radians(np.array(ticks, float), calibration)

    def cycle(self) -> None:
        """One cycle of the driver, and a look where one is due."""
        self.now_s += CYCLE_S
        while self._looks / LOOKS_HZ <= self.now_s - 100.0:
            self._looks += 1
            self.bench.look(self.bench.state, 1 / LOOKS_HZ)
        leader = self._radians(self._leader, LEADER)
        target = self._teleoperation.follow(tuple(LEADER), leader)
        goal = radians_to_ticks(self._setpoint.step(target, CYCLE_S), FOLLOWER)
        for servo, ticks in zip(self._follower, goal, strict=True):
            _write(servo, "Goal_Position", round(float(ticks)))


def _write(servo: ServoBody, name: str, value: int) -> None:
    register = REGISTERS[name]
    servo.write(register.address, register.encode(value))


def _read(servo: ServoBody, name: str) -> int:
    register = REGISTERS[name]
    return register.decode(servo.read(register.address, register.width))


def show(task: str, domain: Domain, clumsiness: float, seed: int) -> Shown:
    rehearsal = Rehearsal(task, seed, domain, clumsiness)
    bench, progress = rehearsal.bench, Progress(find(task))
    bench.demonstrate()
    expert, begun_s, done_s = bench._expert, rehearsal.now_s, 0.0
    while bench.demonstrates and rehearsal.now_s - begun_s < MOST_S:
        rehearsal.cycle()
        if progress.see(bench.state, rehearsal.now_s) and not done_s:
            done_s = rehearsal.now_s - begun_s
    took_s = round(done_s or rehearsal.now_s - begun_s, 2)
    error_m = bench.task.error_m(bench.state)
    return Shown(seed, progress.done, took_s, expert.tries, expert.mishaps.kind, error_m)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="pick_place", help="name or file")
    parser.add_argument("--domain", type=Path, help="file of the bench's settings")
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--clumsiness", type=float, default=0.0, help="share with a mishap")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    args = parser.parse_args()
    domain = read_domain(args.domain) if args.domain else ORDINARY
    begun_s = time.monotonic()
    with ProcessPoolExecutor(args.jobs) as pool:
        seeds = range(args.first, args.first + args.seeds)
        shown = list(pool.map(partial(show, args.task, domain, args.clumsiness), seeds))
    done = [one for one in shown if one.done]
    interval = wilson(len(done), len(shown))
    result = {
        "benchmark": "expert",
        "task": args.task,
        "seeds": [args.first, args.first + args.seeds - 1],
        "successes": len(done),
        "interval": [round(interval.low, 4), round(interval.high, 4)],
        "median_s": round(statistics.median(one.seconds for one in done), 2) if done else None,
        "longest_s": max((one.seconds for one in done), default=None),
        "mishaps": dict(Counter(one.mishap for one in shown)),
        "mean_error_mm": round(1000 * statistics.mean(one.error_m for one in shown), 2),
        "largest_error_mm": round(1000 * max(one.error_m for one in shown), 2),
        "tried_again": sum(one.tries > 1 for one in shown),
        "failed": [one.seed for one in shown if not one.done],
        "wall_s": round(time.monotonic() - begun_s, 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
