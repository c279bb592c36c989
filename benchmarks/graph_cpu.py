"""What each node of a graph takes of a core, at wall clock: a table and one JSON line.

usage: python benchmarks/graph_cpu.py [--seconds 10] [--spans 3] [--cases record:128x96 ...]
                                      [--beside DIR] [--rounds 1]

The graphs are those of `armlet up record` and `armlet up policy` on the emulated bench (two arms at
100 Hz, two cameras, JPEG, 30 frames a second). `record` teleoperates and records an episode while
the leader's scripted hand reaches again and again; `policy` drives the follower. CPU time is
utime + stime of /proc/PID/stat, of a node's process and of those it has started, over a span in
which nothing begins or ends; the figure is the median of the spans, in percent of one core. The
total leaves the bench out, which no robot has.

A busy machine starves nodes, and a starved node works less than it should. So each node's work is
counted (cycles, messages, pictures, rows: from /diagnostics), and its share is that of its full
pace: CPU time over the share of its work that it has done. `pace` is the least of those shares of
work; where it is 1 nothing is corrected, and only then the figures are those of a quiet machine.

--beside DIR: another checkout (`git worktree add --detach DIR COMMIT`), whose nodes run the same
graphs in turns with these; `ratio` is ours by theirs.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger

from armlet.bringup import NodeSpec, graph, share_directory
from armlet.nodes.messages import to_ns
from armlet.nodes.recorder import SETTINGS as RECORDER_SETTINGS
from armlet.nodes.teardown import destroy
from armlet.policies import Act, ActConfig, Feature, save_checkpoint
from armlet.robots import SO101_JOINTS
from armlet.supervisor import Supervisor

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
CASES = ("record:128x96", "record:640x480", "policy:128x96", "policy:640x480")
SHIPPED = "128x96"
BENCH = "sim_bench"
ANSWER_S = 90.0
LOOK_S = 0.5
# Imports, discovery and the first pictures are over after this.
SETTLE_S = 6.0
# A span in which a node did less of its work than this is left out.
STARVED = 0.3
OURS, THEIRS, RATIO = "ours", "theirs", "ratio"

Shares = dict[str, float]
"""Percent of a core by node."""

# Work a second at full pace: control cycles; messages of two arms and two cameras; pictures; rows.
FULL_PACE = {"servo_bus": 100.0, "aligner": 260.0, "sim_bench": 60.0, "recorder": 30.0}


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
        policy = {"checkpoint": str(self._checkpoint(directory)), "joint_units": "degrees"}
        return given | policy | {"threads": "1"}

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


class GraphEnded(RuntimeError):
    """A node that the graph needs has ended: nothing more can be measured."""


class Client:
    """Calls services, and hears how much work nodes say they have done: once a second each.

    trouble: which required node has ended, in words; nothing is waited for after that.
    """

    def __init__(self, trouble: Callable[[], str]) -> None:
        self._trouble = trouble
        self._node = Node("graph_cpu")
        self._done: dict[str, tuple[float, int]] = {}
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._hear, 50)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while not self._ending.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def _hear(self, message: DiagnosticArray) -> None:
        found: defaultdict[str, int] = defaultdict(int)
        for status in message.status:
            label, _, subject = status.name.partition(": ")
            values = {item.key: item.value for item in status.values}
            if label.endswith("servo_bus") and subject == "bus":
                found[label] += int(values.get("cycles", 0))
            elif label == "aligner":
                found[label] += int(values.get("received", 0))
            elif label == BENCH:
                found[label] += int(values.get("front", 0)) + int(values.get("wrist", 0))
            elif label == "recorder":
                found[label] += int(values.get("frames", 0)) + int(values.get("open_frames", 0))
        at_s = to_ns(message.header.stamp) * 1e-9
        self._done |= {label: (at_s, count) for label, count in found.items()}

    def done(self) -> dict[str, tuple[float, int]]:
        """By node: when it last said so, s, and the work it had done by then."""
        return dict(self._done)

    def trigger(self, service: str) -> str:
        """The answer of a Trigger service, which must come and be a success."""
        return self._call(Trigger, service, Trigger.Request())

    def arm(self) -> None:
        """Arm the follower; where it is armed that changes nothing. A starved bench disarms it."""
        self._call(SetBool, "servo_bus/set_torque", SetBool.Request(data=True))

    def _call(self, kind: Any, service: str, request: Any) -> str:
        client: Any = self._node.create_client(kind, service)
        try:
            self._wait(f"for service {service}", client.wait_for_service)
            come = threading.Event()
            future = client.call_async(request)
            future.add_done_callback(lambda _: come.set())
            self._wait(f"for an answer of service {service}", come.wait)
            response: Any = future.result()
            if not response.success:
                raise RuntimeError(f"{service}: {response.message}")
            return str(response.message)
        finally:
            self._node.destroy_client(client)

    def _wait(self, what: str, wait: Callable[[float], bool]) -> None:
        end_s = time.monotonic() + ANSWER_S
        while not wait(LOOK_S):
            if trouble := self._trouble():
                raise GraphEnded(f"waited {what}, but {trouble}")
            if time.monotonic() > end_s:
                raise RuntimeError(f"waited {what} for {ANSWER_S:.0f} s in vain")

    def retry(self, service: str) -> str:
        """As `trigger`, again while it refuses: frames may not flow yet."""
        end_s = time.monotonic() + ANSWER_S
        while True:
            try:
                return self.trigger(service)
            except GraphEnded:
                raise
            except RuntimeError:
                if time.monotonic() > end_s:
                    raise
                time.sleep(LOOK_S)

    def close(self) -> None:
        self._ending.set()
        self._thread.join()
        self._executor.shutdown()
        destroy(self._node)


# A recorder that goes on where rows are missing: how many were written is reported. The second
# names are those of older checkouts.
TOLERANT = {"on_gap": "split", "max_gaps": 10_000, "on_hole": "split", "max_holes": 10_000}


def tolerant(spec: NodeSpec) -> NodeSpec:
    """The recorder with what it knows of TOLERANT; other nodes as they are."""
    if spec.executable != "recorder":
        return spec
    known = {setting.name for setting in RECORDER_SETTINGS}
    added = {name: value for name, value in TOLERANT.items() if name in known}
    return dataclasses.replace(spec, parameters={**spec.parameters, **added})


def trouble_of(supervisor: Supervisor) -> str:
    """Which node has ended, in words; empty if all run. Older checkouts do not say."""
    ended = {label: each.poll() for label, each in supervisor.processes.items()}
    said = [
        f"{label} ended with status {code}" for label, code in ended.items() if code is not None
    ]
    return ", ".join(said)


@contextmanager
def running(case: Case) -> Iterator[tuple[Supervisor, Client]]:
    """The graph of a case at work."""
    with tempfile.TemporaryDirectory(prefix="armlet-graph-cpu-") as place:
        directory = Path(place)
        kind = graph(case.graph)
        known = {argument.name for argument in kind.arguments}
        given = {name: v for name, v in case.arguments(directory).items() if name in known}
        nodes = [tolerant(spec) for spec in kind.nodes(given)]
        log = directory / "nodes.log"
        with log.open("w") as output:
            supervisor = Supervisor(nodes, output)
            trouble = partial(trouble_of, supervisor)
            client = Client(trouble)
            try:
                supervisor.start(directory)
                if case.graph == "record":
                    client.retry("recorder/start_recording")
                else:
                    wait_for_line(log, "the policy fits", trouble)
                time.sleep(SETTLE_S)
                yield supervisor, client
                if case.graph == "record":
                    print(f"{case}: {recorded(client)}", file=sys.stderr)
            except Exception as error:
                raise RuntimeError(f"{case}: {error}\n{log.read_text()[-4000:]}") from error
            finally:
                client.close()
                supervisor.stop()


def recorded(client: Client) -> str:
    """End the recording; what it holds, or what ended it before, on a busy machine."""
    try:
        return client.trigger("recorder/stop_recording")
    except RuntimeError as error:
        return str(error)


def wait_for_line(log: Path, text: str, trouble: Callable[[], str]) -> None:
    """Wait until a node has said it."""
    end_s = time.monotonic() + ANSWER_S
    while text not in log.read_text():
        if ended := trouble():
            raise GraphEnded(f"waited for {text!r} to be said, but {ended}")
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


def span(supervisor: Supervisor, client: Client, seconds: float) -> tuple[Shares, float] | None:
    """What each node takes at full pace, over a span, and the least pace of any.

    None if a node was starved: what is left then says little.
    """

    def used() -> dict[str, float]:
        return {label: cpu_s(process.pid) for label, process in supervisor.processes.items()}

    begun_s, before, done = time.monotonic(), used(), client.done()
    time.sleep(seconds)
    lasted_s, after = time.monotonic() - begun_s, used()
    if trouble := trouble_of(supervisor):
        raise RuntimeError(trouble)
    shares = {label: 100 * (after[label] - before[label]) / lasted_s for label in after}
    paces = paces_of(done, client.done())
    # Teleop works at the pace of the leader.
    paces["teleop"] = paces.get("leader/servo_bus", 1.0)
    pace = min(paces.values())
    if pace < STARVED:
        return None
    return {label: share / paces.get(label, 1.0) for label, share in shares.items()}, pace


def paces_of(
    before: dict[str, tuple[float, int]], after: dict[str, tuple[float, int]]
) -> dict[str, float]:
    """The share of its full work that each node has done between two reports."""
    paces = {}
    for label, (at_s, count) in after.items():
        since_s, first = before[label]
        full = FULL_PACE[label.rpartition("/")[2]]
        paces[label] = min(1.0, (count - first) / (at_s - since_s) / full)
    return paces


@contextmanager
def reaching(client: Client) -> Iterator[None]:
    """The leader's hand reaches for one target after the other meanwhile."""
    ending = threading.Event()

    def reach() -> None:
        while not ending.is_set():
            # On a busy machine servos may not answer; the next time they do.
            with contextlib.suppress(RuntimeError):
                client.arm()
            for service in ("demonstrate", "reset"):
                # What has ended meanwhile is reported by whoever measures.
                with contextlib.suppress(RuntimeError):
                    ending.wait(float(client.trigger(f"{BENCH}/{service}")))

    thread = threading.Thread(target=reach, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def measure(case: Case, args: argparse.Namespace) -> list[tuple[Shares, float]]:
    """What the nodes take, and the pace, span by span."""
    with running(case) as (supervisor, client), reaching(client):
        found = [span(supervisor, client, args.seconds) for _ in range(args.spans)]
    good = [each for each in found if each is not None]
    if len(good) < len(found):
        left_out = len(found) - len(good)
        print(f"{case}: {left_out} of {len(found)} spans left out, starved", file=sys.stderr)
    return good


def measured_by(checkout: Path, case: Case, args: argparse.Namespace) -> list[tuple[Shares, float]]:
    """As `measure`, of the nodes of a checkout: this file in a process of its own.

    Nothing if that failed, which its own message says: the other graphs are measured all the same.
    """
    command = [sys.executable, __file__, "--cases", str(case), "--only-spans"]
    command += ["--seconds", str(args.seconds), "--spans", str(args.spans)]
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
    limit_s = 4 * ANSWER_S + 2 * args.seconds * args.spans
    try:
        done = subprocess.run(
            command,
            env=environment,
            # What is not named by PYTHONPATH must not come from where this is called.
            cwd=checkout,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=limit_s,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(f"{case} of {checkout} was not measured: {error}", file=sys.stderr)
        return []
    return [(shares, pace) for shares, pace in json.loads(done.stdout)]


def median(spans: list[tuple[Shares, float]]) -> Shares:
    """The median of each node, the total with the bench apart, and the pace."""
    found = [shares for shares, _ in spans]
    shares = {label: statistics.median(s[label] for s in found) for label in found[0]}
    totals = [sum(v for label, v in s.items() if label != BENCH) for s in found]
    pace = statistics.median(pace for _, pace in spans)
    return shares | {"total": statistics.median(totals), "pace": pace}


def table(results: dict[str, dict[str, Shares]]) -> str:
    """One line a node, one column a case; `theirs -> ours` where there are two."""
    labels = list(dict.fromkeys(n for r in results.values() for s in r.values() for n in s))
    labels.sort(key=lambda label: (label == "pace", label == "total", label == BENCH))

    def cell(sides: dict[str, Shares], label: str) -> str:
        digits = 2 if label == "pace" else 1
        found = [sides[side].get(label) for side in (THEIRS, OURS) if side in sides]
        return " -> ".join("-" if share is None else f"{share:.{digits}f}" for share in found)

    lines = ["| % of a core | " + " | ".join(results) + " |", "|---" * (len(results) + 1) + "|"]
    for label in labels:
        name = "total without the bench" if label == "total" else label
        lines.append(f"| {name} | " + " | ".join(cell(r, label) for r in results.values()) + " |")
    return "\n".join(lines)


def ratios(sides: dict[str, Shares]) -> Shares:
    """Ours as a share of theirs, of what both have."""
    ours, theirs = sides.get(OURS, {}), sides.get(THEIRS, {})
    both = (label for label in ours if label != "pace" and theirs.get(label))
    return {label: ours[label] / theirs[label] for label in both}


def rounded(results: dict[str, dict[str, Shares]]) -> dict[str, Any]:
    found = {}
    for case, sides in results.items():
        columns = sides | ({RATIO: ratios(sides)} if THEIRS in sides else {})
        found[case] = {side: {n: round(v, 2) for n, v in s.items()} for side, s in columns.items()}
    return found


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a span")
    parser.add_argument("--spans", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=1, help="runs of each graph, in turns")
    parser.add_argument("--cases", nargs="+", type=Case.parse, default=list(map(Case.parse, CASES)))
    parser.add_argument("--beside", type=Path, help="another checkout to compare with")
    parser.add_argument("--only-spans", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = parse()
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    # Of those that Linux leaves free, the ones the tests do not take: no other graph is measured.
    os.environ.setdefault("ROS_DOMAIN_ID", str(215 + os.getpid() % 18))
    if args.only_spans:
        rclpy.init()
        print(json.dumps([each for case in args.cases for each in measure(case, args)]))
        rclpy.try_shutdown()
        return
    sides = {OURS: Path(__file__).resolve().parents[1]}
    if args.beside is not None:
        sides[THEIRS] = args.beside.resolve()
    results: dict[str, dict[str, Shares]] = {}
    for case in args.cases:
        spans: dict[str, list[tuple[Shares, float]]] = {side: [] for side in sides}
        for _ in range(args.rounds):
            for side, checkout in sides.items():
                spans[side] += measured_by(checkout, case, args)
        # A graph that failed, or was starved throughout, has been reported.
        results[str(case)] = {side: median(found) for side, found in spans.items() if found}
    print(table(results), file=sys.stderr)
    print(json.dumps({"benchmark": "graph_cpu", "unit": "% of a core", **rounded(results)}))
    if any(len(measured) < len(sides) for measured in results.values()):
        sys.exit("not every graph was measured, see above")


if __name__ == "__main__":
    main()
