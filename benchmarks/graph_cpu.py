"""What each node of a graph takes of a core, at wall clock: a table and one JSON line.

usage: python benchmarks/graph_cpu.py [--seconds 10] [--spans 3] [--cases record:128x96 ...]
                                      [--beside DIR] [--rounds 1]

The graphs are those of `armlet up record` and `armlet up policy` on the emulated bench (two arms at
100 Hz, two cameras, JPEG, 30 frames a second). `record` teleoperates and records an episode while
the leader's scripted hand reaches again and again; `policy` drives the follower. CPU time is
utime + stime of /proc/PID/stat, of a node's process and of those it has started, over a span in
which nothing begins or ends; told is the median of the spans, in percent of one core. The total
leaves the bench out, which no robot has.

--beside DIR: another checkout, whose nodes run the same graphs, in turns with these; the ratio is
ours over theirs. CPU time hardly depends on what else the machine does, but caches and clocks do.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rclpy
import torch
from rclpy.node import Node
from std_srvs.srv import Trigger

from armlet.arm import SO101_JOINTS
from armlet.bringup import NodeSpec, graph, share_directory
from armlet.policies import Act, ActConfig, Feature, save_checkpoint
from armlet.supervisor import Supervisor

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
CASES = ("record:128x96", "record:640x480", "policy:128x96", "policy:640x480")
SHIPPED = "128x96"
BENCH = "sim_bench"
ANSWER_S = 90.0
# Imports, discovery and the first pictures are over after this.
SETTLE_S = 6.0
OURS, THEIRS = "ours", "theirs"

Shares = dict[str, float]
"""Percent of a core by node."""


@dataclass(frozen=True)
class Case:
    """A graph, `record` or `policy`, and the size of its pictures."""

    graph: str
    size: str

    @staticmethod
    def parse(text: str) -> Case:
        """`record:640x480`. Raises ValueError."""
        name, _, size = text.partition(":")
        if name not in ("record", "policy") or size.count("x") != 1:
            raise ValueError(f"a case is record:WxH or policy:WxH, found {text!r}")
        return Case(name, size)

    def __str__(self) -> str:
        return f"{self.graph}:{self.size}"

    def arguments(self, directory: Path) -> dict[str, str]:
        """The graph's arguments; what it makes goes to a directory."""
        width, height = self.size.split("x")
        given = {
            "emulated": "true",
            "use_sim_time": "false",
            "bench_directory": str(directory / "bench"),
            "width": width,
            "height": height,
        }
        if self.graph == "record":
            return given | {"root": str(directory / "dataset"), "task": "reach"}
        return given | {"checkpoint": str(self._checkpoint(directory)), "threads": "1"}

    def _checkpoint(self, directory: Path) -> Path:
        if self.size == SHIPPED:
            return share_directory() / "checkpoints" / "reach"
        return save_random(directory / "checkpoint", *map(int, self.size.split("x")))


def save_random(path: Path, width: int, height: int) -> Path:
    """A small policy of random weights for pictures of that size; actions stay near the middle."""
    torch.manual_seed(0)
    camera = Feature("VISUAL", (3, height, width))
    config = ActConfig(
        input_features={
            "observation.state": Feature("STATE", (len(SO101_JOINTS),)),
            "observation.images.front": camera,
            "observation.images.wrist": camera,
        },
        output_features={"action": Feature("ACTION", (len(SO101_JOINTS),))},
        chunk_size=60,
        n_action_steps=60,
        use_vae=False,
        dim_model=32,
        n_heads=2,
        dim_feedforward=32,
        n_encoder_layers=1,
    )
    middle, wide = [0.0] * 5 + [50.0], [30.0] * 5 + [20.0]
    picture = {"mean": [[[0.5]]] * 3, "std": [[[0.25]]] * 3}
    stats: dict[str, Any] = dict.fromkeys(config.image_features, picture)
    stats |= {"observation.state": {"mean": middle, "std": wide}}
    stats |= {"action": {"mean": middle, "std": [3.0] * 6}}
    save_checkpoint(path, Act(config), config, stats, None, torch.float16)
    return path


class Client:
    """Calls services and listens to nothing: a listener would be a load of its own."""

    def __init__(self) -> None:
        self._node = Node("graph_cpu")

    def trigger(self, service: str) -> str:
        """The answer of a Trigger service, which must come and be a success."""
        client = self._node.create_client(Trigger, service)
        try:
            if not client.wait_for_service(ANSWER_S):
                raise RuntimeError(f"service {service} is not there")
            future = client.call_async(Trigger.Request())
            rclpy.spin_until_future_complete(self._node, future, timeout_sec=ANSWER_S)
            response = future.result()
            if response is None:
                raise RuntimeError(f"service {service} did not answer within {ANSWER_S:.0f} s")
            if not response.success:
                raise RuntimeError(f"{service}: {response.message}")
            return str(response.message)
        finally:
            self._node.destroy_client(client)

    def retry(self, service: str) -> str:
        """As `trigger`, again while it refuses: frames may not flow yet."""
        end_s = time.monotonic() + ANSWER_S
        while True:
            try:
                return self.trigger(service)
            except RuntimeError:
                if time.monotonic() > end_s:
                    raise
                time.sleep(0.5)

    def close(self) -> None:
        self._node.destroy_node()


def tolerant(spec: NodeSpec) -> NodeSpec:
    """A recorder that goes on where rows are missing: how many were written is reported."""
    if spec.executable != "recorder":
        return spec
    return dataclasses.replace(spec, parameters={**spec.parameters, "max_holes": 10_000})


@contextmanager
def running(case: Case, source: Path | None) -> Iterator[tuple[Supervisor, Client]]:
    """The graph of a case at work, its nodes those of a checkout."""
    with tempfile.TemporaryDirectory(prefix="armlet-graph-cpu-") as place:
        directory = Path(place)
        nodes = [tolerant(spec) for spec in graph(case.graph).nodes(case.arguments(directory))]
        if source is not None:
            environment = {"PYTHONPATH": str(source / "src")}
            nodes = [dataclasses.replace(spec, environment=environment) for spec in nodes]
        log = directory / "nodes.log"
        with log.open("w") as output:
            supervisor = Supervisor(nodes, output)
            client = Client()
            try:
                supervisor.start(directory)
                if case.graph == "record":
                    client.retry("recorder/start_recording")
                else:
                    wait_for_line(log, "the policy fits")
                time.sleep(SETTLE_S)
                yield supervisor, client
                if case.graph == "record":
                    print(f"{case}: {client.trigger('recorder/stop_recording')}", file=sys.stderr)
            except Exception as error:
                raise RuntimeError(f"{case}: {error}\n{log.read_text()[-4000:]}") from error
            finally:
                client.close()
                supervisor.stop()


def wait_for_line(log: Path, text: str) -> None:
    """Wait until a node has said it."""
    end_s = time.monotonic() + ANSWER_S
    while text not in log.read_text():
        if time.monotonic() > end_s:
            raise RuntimeError(f"{text!r} was not said within {ANSWER_S:.0f} s")
        time.sleep(0.2)


def cpu_s(pid: int) -> float:
    """CPU time of a process and of those it has started, s."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    own: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The name, in parentheses, may hold spaces.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        children[int(fields[1])].append(int(entry.name))
        own[int(entry.name)] = (int(fields[11]) + int(fields[12])) / TICKS_PER_S
    total, left = 0.0, [pid]
    while left:
        process = left.pop()
        total += own.get(process, 0.0)
        left += children[process]
    return total


def span(supervisor: Supervisor, seconds: float) -> Shares:
    """What each node takes over a span."""

    def used() -> dict[str, float]:
        return {label: cpu_s(process.pid) for label, process in supervisor.processes.items()}

    begun_s, before = time.monotonic(), used()
    time.sleep(seconds)
    lasted_s, after = time.monotonic() - begun_s, used()
    if trouble := supervisor.trouble():
        raise RuntimeError(trouble)
    return {label: 100 * (after[label] - before[label]) / lasted_s for label in after}


@contextmanager
def reaching(client: Client) -> Iterator[None]:
    """The leader's hand reaches for one target after the other meanwhile."""
    ending = threading.Event()

    def reach() -> None:
        while not ending.is_set():
            for service in ("demonstrate", "reset"):
                if not ending.wait(float(client.trigger(f"{BENCH}/{service}"))):
                    continue

    thread = threading.Thread(target=reach, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def measure(case: Case, source: Path | None, args: argparse.Namespace) -> list[Shares]:
    """What the nodes take, span by span."""
    with running(case, source) as (supervisor, client), reaching(client):
        return [span(supervisor, args.seconds) for _ in range(args.spans)]


def median(spans: list[Shares]) -> Shares:
    """The median of each node, and the total with the bench apart."""
    shares = {label: statistics.median(s[label] for s in spans) for label in spans[0]}
    totals = [sum(v for label, v in s.items() if label != BENCH) for s in spans]
    return shares | {"total": statistics.median(totals)}


def table(results: dict[str, dict[str, Shares]]) -> str:
    """One line a node, one column a case; `theirs -> ours` where there are two."""
    labels = list(dict.fromkeys(n for r in results.values() for s in r.values() for n in s))
    labels.sort(key=lambda label: (label == "total", label == BENCH))

    def cell(sides: dict[str, Shares], label: str) -> str:
        told = [f"{s[label]:.1f}" for s in reversed(sides.values()) if label in s]
        return " -> ".join(told)

    lines = ["| % of a core | " + " | ".join(results) + " |", "|---" * (len(results) + 1) + "|"]
    for label in labels:
        name = "total without the bench" if label == "total" else label
        lines.append(f"| {name} | " + " | ".join(cell(r, label) for r in results.values()) + " |")
    return "\n".join(lines)


def rounded(results: dict[str, dict[str, Shares]]) -> dict[str, Any]:
    return {
        case: {side: {n: round(v, 1) for n, v in s.items()} for side, s in sides.items()}
        for case, sides in results.items()
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    positive: Callable[[str], float] = float
    parser.add_argument("--seconds", type=positive, default=10.0, help="length of a span")
    parser.add_argument("--spans", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=1, help="runs of each graph, in turns")
    parser.add_argument("--cases", nargs="+", type=Case.parse, default=list(map(Case.parse, CASES)))
    parser.add_argument("--beside", type=Path, help="another checkout to compare with")
    return parser.parse_args()


def main() -> None:
    args = parse()
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    # Of those that Linux leaves free, the ones the tests do not take: no other graph is measured.
    os.environ.setdefault("ROS_DOMAIN_ID", str(215 + os.getpid() % 18))
    rclpy.init()
    sides: dict[str, Path | None] = {OURS: None}
    if args.beside is not None:
        sides[THEIRS] = args.beside.resolve()
    results: dict[str, dict[str, Shares]] = {}
    for case in args.cases:
        spans: dict[str, list[Shares]] = {side: [] for side in sides}
        for _ in range(args.rounds):
            for side, source in sides.items():
                spans[side] += measure(case, source, args)
        results[str(case)] = {side: median(found) for side, found in spans.items()}
    print(table(results), file=sys.stderr)
    print(json.dumps({"benchmark": "graph_cpu", "unit": "% of a core", **rounded(results)}))
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
