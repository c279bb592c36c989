"""The watcher says once that the computer does not keep up, with figures, and once that it does."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from armlet import supervisor
from armlet.bringup import NodeSpec
from armlet.lateness import busy_loops
from armlet.load import Rate, Shares, Times, Watcher, times_of

LONG_S = 60.0


class Machine:
    """Processes that wait for a given share of the time, on a clock that is stepped."""

    def __init__(self):
        self.now_s, self.waiting, self.rates = 100.0, {"servo_bus": 0.0, "aligner": 0.0}, {}
        self._waited = dict.fromkeys(self.waiting, 0.0)
        self.watcher = Watcher(self.times, load=lambda: 13.2, cpus=2)
        self.pids = {label: n for n, label in enumerate(self.waiting)}

    def times(self, pid):
        label = list(self.waiting)[pid]
        return Times(0.3 * self.now_s, self._waited[label])

    def run(self, seconds):
        said = []
        for _ in range(seconds):
            self.now_s += 1.0
            for label, share in self.waiting.items():
                self._waited[label] += share
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
    assert machine.watcher.overloaded
    machine.waiting["aligner"] = 0.0
    assert machine.run(30) == ["this computer keeps up again; load 13 on 2 cores"]
    assert not machine.watcher.overloaded


def test_a_slow_cycle_comes_first_with_its_rate():
    machine = Machine()
    machine.rates = {"servo_bus": Rate(38.0, 100.0)}
    (said,) = machine.run(10)
    assert said == (
        "this computer does not keep up: servo_bus runs at 38 of 100 Hz; load 13 on 2 cores"
    )


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


def test_a_process_that_ended_is_none_and_one_that_starts_anew_begins_anew():
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
        first, begun_s = times_of(pid), time.monotonic()
        while times_of(pid).ran_s < first.ran_s + 0.2:
            assert time.monotonic() < begun_s + LONG_S
            time.sleep(0.05)
        last = times_of(pid)
    assert last.waited_s - first.waited_s > last.ran_s - first.ran_s


class Heard:
    """A text file that can be waited on."""

    def __init__(self):
        self.text, self._changed = "", threading.Condition()

    def write(self, text):
        with self._changed:
            self.text += text
            self._changed.notify_all()

    def flush(self):
        """Nothing is buffered."""

    def wait_for(self, text):
        with self._changed:
            assert self._changed.wait_for(lambda: text in self.text, LONG_S), self.text


def test_the_supervisor_says_that_its_nodes_are_starved_once_and_that_it_is_over(
    monkeypatch, tmp_path
):
    """Four nodes that want one processor; then they rest."""
    cpu = min(os.sched_getaffinity(0))
    loop = f"import os; os.sched_setaffinity(0, {{{cpu}}})\nwhile True: pass"
    monkeypatch.setattr(supervisor, "command", lambda spec, _: [sys.executable, "-c", loop])
    monkeypatch.setattr(supervisor, "LOAD_GRACE_S", 0.0)
    heard = Heard()
    graph = supervisor.Supervisor([NodeSpec("loop", f"node_{n}", {}) for n in range(4)], heard)
    graph.start(tmp_path)
    try:
        heard.wait_for("waits for a processor")
        for process in graph.processes.values():
            process.send_signal(signal.SIGSTOP)
        heard.wait_for("keeps up again")
    finally:
        for process in graph.processes.values():
            process.kill()
        graph.stop()
    assert heard.text.count("does not keep up") == 1
    assert heard.text.count("keeps up again") == 1


def test_in_simulated_time_a_busy_computer_is_nothing_to_speak_of(monkeypatch, tmp_path):
    monkeypatch.setattr(supervisor, "command", lambda spec, _: [sys.executable, "-c", "input()"])
    graph = supervisor.Supervisor([NodeSpec("loop", "node", {"use_sim_time": True})], Heard())
    graph.start(tmp_path)
    graph.stop()
    assert "load" not in [thread.name for thread in threading.enumerate()]
    assert graph.overload == ""
