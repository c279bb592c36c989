"""What other programs cost a recording at wall clock, and who was not run.

usage: python benchmarks/load.py [--minutes 1] [--loops 0 1 2] [--rights both|with|without]

The emulated graph teleoperates and records two cameras of 128x96 at 30 fps beside so many busy
programs, once with the right to raise priority and, as root, once without (CAP_SYS_NICE given up).
Prints a table and a line of JSON: rows lost, the longest time without joint states, how old a frame
is when it comes, and the shares of the time each process waited for a processor.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from armlet.bringup import graph
from armlet.datasets import Dataset
from armlet.lateness import busy_loops
from armlet.load import Times, times_of
from armlet.nodes.messages import to_ns
from armlet.nodes.node import RECORDING_QOS
from armlet.nodes.teardown import destroy
from armlet.supervisor import Supervisor

FPS = 30
CAP_SYS_NICE = 23
_PR_CAPBSET_DROP = 24
_START_S = 120.0


@dataclass(frozen=True)
class Result:
    """One run. Latencies are of frames as another process gets them; shares are of the run."""

    loops: int
    rights: bool
    rows: int
    rows_lost: int
    episodes: int
    joint_states_hz: float
    longest_gap_ms: float
    latency_p50_ms: float
    latency_p99_ms: float
    waited: dict[str, float]
    said: list[str]

    @property
    def starved(self) -> str:
        name = max(self.waited, key=lambda label: self.waited[label])
        return f"{name} {100 * self.waited[name]:.0f} %"


class Listener:
    """Joint states and frames as another process gets them, and the services' caller."""

    def __init__(self) -> None:
        rclpy.init()
        self._node = Node("load")
        self.states_ns: list[int] = []
        self.latencies_ns: list[int] = []
        on = self._node.create_subscription
        on(JointState, "joint_states", self._on_states, RECORDING_QOS)
        on(JointState, "observation/state", self._on_frame, RECORDING_QOS)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def _on_states(self, message: JointState) -> None:
        self.states_ns.append(to_ns(message.header.stamp))

    def _on_frame(self, message: JointState) -> None:
        self.latencies_ns.append(time.time_ns() - to_ns(message.header.stamp))

    def trigger(self, service: str) -> Trigger.Response:
        client = self._node.create_client(Trigger, service)
        if not client.wait_for_service(_START_S):
            raise SystemExit(f"service {service} is not there")
        done = threading.Event()
        future = client.call_async(Trigger.Request())
        future.add_done_callback(lambda _: done.set())
        if not done.wait(_START_S):
            raise SystemExit(f"service {service} did not answer within {_START_S:.0f} s")
        return future.result()

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join()
        destroy(self._node)
        rclpy.try_shutdown()


@contextmanager
def recording_graph(folder: Path) -> Iterator[Supervisor]:
    given = {
        "emulated": "true",
        "bench_directory": str(folder / "bench"),
        "root": str(folder / "dataset"),
        "task": "touch the red target",
        "width": "128",
        "height": "96",
        "fps": str(FPS),
        "use_sim_time": "false",
        # What is counted is what is lost.
        "on_gap": "split",
    }
    record = graph("record")
    known = {argument.name for argument in record.arguments}
    nodes = record.nodes({name: value for name, value in given.items() if name in known})
    with (folder / "nodes.log").open("w") as log:
        supervisor = Supervisor(nodes, log)
        try:
            supervisor.start(folder)
            yield supervisor
        finally:
            supervisor.stop()


def start_recording(listener: Listener) -> None:
    until = time.monotonic() + _START_S
    while not (answer := listener.trigger("recorder/start_recording")).success:
        if time.monotonic() > until:
            raise SystemExit(f"recording does not start: {answer.message}")
        time.sleep(0.2)


def times(supervisor: Supervisor) -> dict[str, Times]:
    looks = {label: times_of(process.pid) for label, process in supervisor.processes.items()}
    return {label: look for label, look in looks.items() if look is not None}


def measure(minutes: float, loops: int, rights: bool) -> Result:
    with tempfile.TemporaryDirectory() as name, recording_graph(Path(name)) as supervisor:
        listener = Listener()
        try:
            start_recording(listener)
            with busy_loops(loops, 60 * minutes + 600):
                listener.states_ns.clear()
                listener.latencies_ns.clear()
                before, begun_s = times(supervisor), time.monotonic()
                drive(listener, 60 * minutes)
                span_s, after = time.monotonic() - begun_s, times(supervisor)
                states = np.array(listener.states_ns)
                latencies_ms = np.array(listener.latencies_ns) * 1e-6
            listener.trigger("recorder/stop_recording")
        finally:
            listener.close()
        supervisor.stop()
        rows, lost, episodes = counted(Path(name) / "dataset")
        said = warnings(Path(name) / "nodes.log")
    waited = {
        label: round((after[label].waited_s - before[label].waited_s) / span_s, 3)
        for label in after.keys() & before.keys()
    }
    gaps_ms = np.diff(states) * 1e-6
    return Result(
        loops=loops,
        rights=rights,
        rows=rows,
        rows_lost=lost,
        episodes=episodes,
        joint_states_hz=round(len(states) / span_s, 1),
        longest_gap_ms=round(float(gaps_ms.max()), 1),
        latency_p50_ms=round(float(np.median(latencies_ms)), 1),
        latency_p99_ms=round(float(np.percentile(latencies_ms, 99)), 1),
        waited=dict(sorted(waited.items(), key=lambda item: -item[1])),
        said=said,
    )


def drive(listener: Listener, seconds: float) -> None:
    """The leader reaches and goes home, over and over, for so long."""
    until, number = time.monotonic() + seconds, 0
    while (left_s := until - time.monotonic()) > 0:
        action = "reset" if number % 2 else "demonstrate"
        duration_s = float(listener.trigger(f"sim_bench/{action}").message)
        time.sleep(min(left_s, duration_s + 0.5))
        number += 1


def counted(root: Path) -> tuple[int, int, int]:
    """Rows, those missing between the first and the last, and episodes, of one recording."""
    dataset = Dataset(root)
    episodes = [dataset.episode(number) for number in range(len(dataset.episodes))]
    stamps = np.concatenate([episode.stamp_ns for episode in episodes])
    due = round((int(stamps[-1]) - int(stamps[0])) * FPS / 1e9) + 1
    return len(stamps), due - len(stamps), len(episodes)


def warnings(log: Path) -> list[str]:
    """What the graph said of it."""
    lines = log.read_text().splitlines()
    marks = ("keep up", "behind", "split", "recording ended", "stalled")
    return [line for line in lines if any(mark in line for mark in marks)][:20]


def give_up_rights() -> None:
    """No process started from here may raise its priority. For root only."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_CAPBSET_DROP, CAP_SYS_NICE, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "cannot give up the right to raise priority")


def in_a_child(minutes: float, loops: int, rights: bool) -> dict[str, Any]:
    """A run in a process of its own, which rights that are given up end with."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        command = [sys.executable, __file__, "--one", str(loops), "--minutes", str(minutes)]
        if not rights:
            give_up_rights()
            command.append("--without-rights")
        os.dup2(writing, 1)
        os.execv(sys.executable, command)
    os.close(writing)
    with os.fdopen(reading) as lines:
        out = lines.read()
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise SystemExit(f"the run beside {loops} busy programs failed")
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--loops", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rights", choices=("both", "with", "without"), default="both")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--without-rights", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    if args.one is not None:
        print(json.dumps(asdict(measure(args.minutes, args.one, not args.without_rights))))
        return 0
    print(
        "| busy programs | may raise priority | rows | lost | joint states | longest gap | "
        f"frame latency p50 / p99 | waited most |\n|{'---|' * 8}"
    )
    runs = []
    for rights in (True, False):
        if args.rights != "both" and rights != (args.rights == "with"):
            continue
        for loops in args.loops:
            run = in_a_child(args.minutes, loops, rights)
            result = Result(**run)
            print(
                f"| {loops} | {'yes' if rights else 'no'} | {result.rows} | {result.rows_lost} | "
                f"{result.joint_states_hz} Hz | {result.longest_gap_ms} ms | "
                f"{result.latency_p50_ms} / {result.latency_p99_ms} ms | {result.starved} |",
                flush=True,
            )
            runs.append(run)
    cpus = len(os.sched_getaffinity(0))
    print(json.dumps({"benchmark": "load", "minutes": args.minutes, "cpus": cpus, "runs": runs}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
