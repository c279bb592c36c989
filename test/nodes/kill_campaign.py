"""Processes of a graph are killed at random moments; the servos' own log says when torque went off.

    python test/nodes/kill_campaign.py --runs 300 --seed 1

Each run: emulated arms in this process, and a graph under a supervisor: the follower's servo_bus,
its torque watchdog (two processes), the leader's servo_bus and teleop. One or two of them, drawn by
lot, get SIGKILL at a random moment. A graph that has lost its driver, its supervisor or both must
leave no torque within a second, but for what the rest and the emulated servos wait for a processor,
which is the computer's affair; one that has lost half of its watchdog goes on holding, and has a
whole watchdog again. One line of JSON goes to stdout, violations to stderr; the exit status says
whether there were any.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from domains import own_domain
from thread_times import passed, thread_times

from armlet.bringup import share_directory
from armlet.motors.feetech import REGISTERS
from armlet.priority import Role, raise_process
from armlet.sim import EmulatedArms

TORQUE = REGISTERS["Torque_Enable"]
BOUND_S = 1.0
WAIT_S = 120.0
"""For what must come about: by the wall clock, so generous; no computer is that busy."""

LOOK_S = 0.02
WAITED_LOOK_S = 0.1
KEEPERS = frozenset({"servo_bus", "watchdog 1", "watchdog 2", "supervisor"})
"""Each of them, left alone, cuts the torque of a driver that is gone."""

_GRAPH = """
import sys
from pathlib import Path
from armlet.bringup import NodeSpec
from armlet.supervisor import Supervisor
links, calibration = Path(sys.argv[1]), Path(sys.argv[2])
files = {arm: str(calibration / f"emulated_{arm}.json") for arm in ("leader", "follower")}
def bus(arm, **more):
    parameters = {"port": str(links / arm), "mode": arm, "calibration_file": files[arm]}
    return NodeSpec("servo_bus", "servo_bus", parameters, **more)
teleop = {f"{arm}_calibration_file": file for arm, file in files.items()}
nodes = [
    bus("follower"),
    bus("leader", namespace="leader"),
    NodeSpec("teleop", "teleop", teleop),
]
sys.exit(Supervisor(nodes, sys.stderr).run())
"""


@dataclass
class Run:
    """One run's outcome.

    off_s: until the last servo let go, None where the arm goes on holding. waited_s: of that, for a
    processor. started: what ran when the first was killed, process ids by what they are.
    """

    seed: int
    killed: tuple[str, ...] = ()
    off_s: float | None = None
    waited_s: float = 0.0
    keepers_left: int = 0
    started: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)


def children(pid):
    """Of all its threads: the kernel lists them by the thread that started them. None of a dead."""
    found = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found += [int(each) for each in (task / "children").read_text().split()]
    return found


def command_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def processes(supervisor):
    """The graph's processes by what they are; the watchdog's are children of the driver."""
    found = {"supervisor": supervisor}
    for pid in children(supervisor):
        command = command_of(pid)
        node = command[3] if command[2:3] == ["armlet.nodes.program"] else ""
        name = f"leader/{node}" if "__ns:=/leader" in command else node
        found[name] = pid
    for pid in descendants(found.get("servo_bus", 0)):
        if "armlet.motors.torque_watchdog" in command_of(pid):
            found["watchdog 2" if "watchdog 1" in found else "watchdog 1"] = pid
    return found


def descendants(pid):
    for child in children(pid):
        yield child
        yield from descendants(child)


def wait_for(what, ready):
    """Wait until something is so; what did not come about, empty if it did."""
    deadline = time.monotonic() + WAIT_S
    while not ready():
        if time.monotonic() > deadline:
            return what
        time.sleep(LOOK_S)  # not more often: the emulated servos share this process
    return ""


def run_once(seed):
    run, dice = Run(seed), random.Random(seed)
    with (
        tempfile.TemporaryDirectory(prefix="armlet-kill-") as name,
        EmulatedArms(Path(name)) as bench,
    ):
        log = Path(name) / "log"
        calibration = share_directory() / "config" / "calibration"
        with log.open("w") as output:
            graph = subprocess.Popen(
                [sys.executable, "-c", _GRAPH, name, str(calibration)], stderr=output
            )
        try:
            _judge(run, dice, graph, bench)
        finally:
            left = _end(graph, run.started)
        if left:
            run.violations.append(f"still there after {WAIT_S:.0f} s: {', '.join(left)}")
        if run.violations:
            print(log.read_text()[-3000:], file=sys.stderr)
    return run


def _torque(bench):
    return [servo.torque_on for servo in bench.follower.servos.values()]


def _judge(run, dice, graph, bench):
    names = (*KEEPERS, "leader/servo_bus", "teleop")
    late = wait_for("the graph", lambda: set(processes(graph.pid)) >= set(names))
    late = late or wait_for("an armed arm", lambda: all(_torque(bench)))
    if late:
        run.violations.append(f"{late} did not come about")
        return
    time.sleep(dice.random() * 0.5)
    found = run.started = processes(graph.pid)
    run.killed = tuple(dice.sample(sorted(found), dice.choice((1, 2))))
    begun_s = time.monotonic()
    for name in run.killed:
        os.kill(found[name], signal.SIGKILL)
    run.keepers_left = len(KEEPERS - set(run.killed))
    if {"servo_bus", "supervisor"} & set(run.killed):
        _require_off(run, bench, begun_s, BOUND_S)
    elif {"leader/servo_bus", "teleop"} & set(run.killed):
        _require_off(run, bench, begun_s, WAIT_S)  # the supervisor ends the graph, node by node
    else:
        _require_held(run, graph, bench)


class Waited:
    """How long processes have waited for a processor since this was made, this one among them."""

    def __init__(self, pids):
        self._before = {process: thread_times(process) for process in (*pids, "self")}
        self._looked_s = time.monotonic()
        self.seconds = dict.fromkeys(self._before, 0.0)

    def look(self):
        """Some will have ended at the next look; not often, as the servos share this process."""
        if time.monotonic() - self._looked_s < WAITED_LOOK_S:
            return
        self._looked_s = time.monotonic()
        for process, before in self._before.items():
            waited_s = passed(before, thread_times(process))[1]
            self.seconds[process] = max(self.seconds[process], waited_s)


def _require_off(run, bench, begun_s, bound_s):
    waited = Waited(run.started[name] for name in KEEPERS - {*run.killed})

    def off():
        waited.look()
        return not any(_torque(bench))

    wait_for("no torque", off)
    run.waited_s = sum(waited.seconds.values())
    logs = [servo.torque_log for servo in bench.follower.servos.values()]
    if any(_torque(bench)):
        run.violations.append(f"torque is on {time.monotonic() - begun_s:.1f} s after")
        return
    run.off_s = max(log[-1].time for log in logs) - begun_s
    if run.off_s - run.waited_s > bound_s:
        run.violations.append(
            f"the last servo let go after {run.off_s:.2f} s; the rest waited {run.waited_s:.2f} s "
            "for a processor"
        )


def _require_held(run, graph, bench):
    """With a whole watchdog, of which no part is one that was killed and has not ended yet."""
    killed = {run.started[name] for name in run.killed}

    def renewed():
        found = processes(graph.pid)
        parts = {found.get(name) for name in ("watchdog 1", "watchdog 2")}
        return None not in parts and parts.isdisjoint(killed)

    whole = wait_for("a whole watchdog", renewed)
    if whole or not all(_torque(bench)):
        run.violations.append(f"{whole or 'the torque'} is missing; torque {_torque(bench)}")


def _end(graph, started):
    """End what is left of a graph; its processes that do not end though their supervisor has.

    started: the processes by what they are, when the first was killed. The next graph has the same
    names, and a driver that is still ending keeps its own.
    """
    started = started or processes(graph.pid)
    if graph.poll() is None:
        graph.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            graph.wait(WAIT_S)

    def left():
        return {name: pid for name, pid in started.items() if any(command_of(pid))}

    wait_for("the end of all", lambda: not left())
    stubborn = left()
    for pid in stubborn.values():
        os.kill(pid, signal.SIGKILL)
    graph.wait()
    return list(stubborn)


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    raise_process(Role.EMULATOR.value.nice)  # the servos, which are threads of this process
    runs = []
    for seed in range(options.seed, options.seed + options.runs):
        run = run_once(seed)
        runs.append(run)
        for text in run.violations:
            print(f"seed {seed}, killed {' and '.join(run.killed)}: {text}", file=sys.stderr)
    failed = [run.seed for run in runs if run.violations]
    bounded = [
        r.off_s for r in runs if r.off_s is not None and {"servo_bus", "supervisor"} & {*r.killed}
    ]
    result = {
        "runs": len(runs),
        "killed": dict(Counter(" + ".join(sorted(run.killed)) for run in runs)),
        "nobody_left": sum(run.keepers_left == 0 for run in runs),
        "torque_off_within_s": BOUND_S,
        "judged_by_that": len(bounded),
        "worst_off_s": round(max(bounded, default=0.0), 3),
        "failed_seeds": failed,
    }
    print(json.dumps(result))
    return 1 if failed else 0


if __name__ == "__main__":
    with own_domain():
        sys.exit(main())
