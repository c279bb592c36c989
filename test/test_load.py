"""The watcher says once that the computer does not keep up, with figures, and once that it does."""

import os
import subprocess
import sys

import pytest
from awaited import wait_until

from armlet.lateness import busy_loops
from armlet.load import Rate, Shares, Times, Watcher, nodes_beside, times_of

LONG_S = 120.0


class Machine:
    """Processes that wait for a given share of the time, on a clock that is stepped."""

    def __init__(self):
        self.now_s, self.waiting, self.rates = 100.0, {"servo_bus": 0.0, "aligner": 0.0}, {}
        self._ran = dict.fromkeys(self.waiting, 0.0)
        self._waited = dict.fromkeys(self.waiting, 0.0)
        self.running = dict.fromkeys(self.waiting, 0.3)
        self.watcher = Watcher(self.times, load=lambda: 13.2, cpus=2)
        self.pids = {label: n for n, label in enumerate(self.waiting)}

    def times(self, pid):
        label = list(self.waiting)[pid]
        return Times(self._ran[label], self._waited[label])

    def run(self, seconds):
        said = []
        for _ in range(seconds):
            self.now_s += 1.0
            for label, share in self.waiting.items():
                self._waited[label] += share
                self._ran[label] += self.running[label]
            said.append(self.watcher.look(self.now_s, self.pids, self.rates))
        return [text for text in said if text]


def test_it_says_once_who_is_starved_and_once_that_it_is_over():
    machine = Machine()
    assert machine.run(10) == []
    machine.waiting["aligner"] = 0.6
    assert machine.run(30) == [
        "this computer does not keep up: aligner waits for a processor 67 % of the time it has "
        "work; load 13 on 2 cores"
    ]
    assert "aligner waits" in machine.watcher.trouble
    machine.waiting["aligner"] = 0.0
    assert machine.run(30) == ["this computer keeps up again; load 13 on 2 cores"]
    assert machine.watcher.trouble == ""


def test_slow_cycles_come_first_with_their_rates_the_slowest_first():
    machine = Machine()
    machine.rates = {"aligner": Rate(21.0, 30.0), "servo_bus": Rate(38.0, 100.0)}
    machine.waiting = {"servo_bus": 0.5, "aligner": 0.3}
    (said,) = machine.run(10)
    assert said == (
        "this computer does not keep up: servo_bus at 38 of 100 Hz; aligner at 21 of 30 Hz; "
        "servo_bus waits for a processor 62 % of the time it has work; load 13 on 2 cores"
    )


def test_a_cycle_that_is_slow_though_it_has_a_processor_to_itself():
    machine = Machine()
    machine.rates, machine.running["servo_bus"] = {"servo_bus": Rate(38.0, 100.0)}, 0.99
    (said,) = machine.run(10)
    assert said == "this computer does not keep up: servo_bus at 38 of 100 Hz; load 13 on 2 cores"


def test_a_cycle_that_waits_for_its_servos_is_not_the_computers_fault():
    machine = Machine()
    machine.rates = {"servo_bus": Rate(38.0, 100.0)}
    assert machine.run(20) == []
    machine.waiting["aligner"] = 0.6
    (said,) = machine.run(20)
    assert "servo_bus" not in said


def test_a_moment_is_not_worth_a_word():
    machine = Machine()
    machine.run(5)
    machine.waiting["aligner"] = 0.5
    machine.run(1)
    machine.waiting["aligner"] = 0.0
    assert machine.run(20) == []


def test_shares_are_of_the_time_looked_at():
    machine = Machine()
    machine.waiting["aligner"] = 0.5
    machine.run(10)
    shares = machine.watcher.shares()
    assert shares["aligner"] == Shares(pytest.approx(0.3), pytest.approx(0.5))
    assert shares["servo_bus"].waited == 0.0


def test_a_process_that_ended_is_none_and_one_that_starts_again_begins_again():
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert times_of(done.pid) is None
    watcher = Watcher(lambda pid: None, load=lambda: 0.0, cpus=1)
    assert watcher.look(1.0, {"gone": 1}, {}) == ""
    assert watcher.shares() == {}


def test_the_kernels_figures_of_a_process_that_must_wait():
    """Four busy loops share one processor: each waits about three quarters of the time."""
    cpu = min(os.sched_getaffinity(0))
    with busy_loops(4, LONG_S, cpu) as loops:
        pid = loops[0]
        first = times_of(pid)
        wait_until(lambda: times_of(pid).ran_s >= first.ran_s + 0.2)
        last = times_of(pid)
    assert last.waited_s - first.waited_s > last.ran_s - first.ran_s


def test_the_nodes_beside_are_those_one_process_has_started_by_their_names():
    """Started by another thread than the first, as launch does; a child that is no node is none."""
    parent = """
import subprocess, sys, threading
words = [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"]
def start(*more):
    child = subprocess.Popen([*words, *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    children.append(child)
children = []
for more in ((), ("-r", "__node:=teleop"), ("-r", "__node:=servo_bus", "-r", "__ns:=/leader")):
    threading.Thread(target=start, args=more).start()
while len(children) < 3: pass
print("up", flush=True)
sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        process.stdout.readline()
        assert set(nodes_beside(process.pid)) == {"teleop", "leader/servo_bus"}
    finally:
        process.kill()
        process.wait()
