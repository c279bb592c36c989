"""What each mismatch costs in closed loop, and what armlet says of it.

    python benchmarks/mismatch.py --trials 100 --jobs 2 --output mismatch

Every condition is one thing done otherwise than in training (mismatch_faults.py). It is run through
the whole graph on the emulated bench in simulated time, seeded trials as of `armlet eval`:

- forced: the policy node's checks find what they find and are not heeded. How often does the policy
  succeed? Only the benchmark can do this: its node program (mismatch_node.py) replaces the check in
  its own process.
- as shipped: nothing of armlet is touched. Who refuses or reports it, with which words, how long
  after the start?

Each trial is a line of results.jsonl before it counts: the same command goes on where it was
interrupted. Then table.md, mismatch.svg and seen.jpg are made of what is there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mismatch_faults import CONDITIONS, Condition, condition

SEED = 7000
FORCED, SHIPPED = "forced", "shipped"
WORKER = "--worker"
_NODE = "armlet.nodes.program"
_TRIES = 2


@dataclass(frozen=True)
class Job:
    """One trial to run."""

    condition: str
    mode: str
    seed: int
    task: str
    checkpoint: str
    output: str


@dataclass(frozen=True)
class Event:
    """A warning or an error on /diagnostics or in the log: when it was first said."""

    time_s: float
    level: str
    by: str
    codes: str
    said: str


@dataclass(frozen=True)
class Result:
    """A trial and what was said in it.

    Attributes:
        success: None where the policy did not drive, or the arm was stopped.
        refused: why, in armlet's words; empty where it drove.
        time_s: until the task had been done. final_m: the task's error at the end.
        elapsed_s: simulated time of its graph. wall_s: this computer's.
    """

    condition: str
    mode: str
    seed: int
    success: bool | None
    refused: str
    time_s: float | None
    final_m: float | None
    elapsed_s: float
    wall_s: float
    events: list[dict[str, Any]] = field(default_factory=list)


# --- a worker: trials in a ROS domain of its own --------------------------------------------------


def serve() -> int:
    """Run the jobs that come as lines of JSON, and answer each with a line."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    from armlet.client.preloaded import Preloaded
    from armlet.client.trial_worker import take_domain

    take_domain([int(domain) for domain in sys.argv[2:]])
    with Preloaded() as preloaded:  # first of all: rclpy starts threads
        try:
            for line in sys.stdin:
                result = _run(Job(**json.loads(line)), preloaded.popen)
                print(json.dumps(asdict(result)), file=answers, flush=True)
        except KeyboardInterrupt:
            return 130
    return 0


def _run(job: Job, popen: Any) -> Result:
    from armlet.client.graph import GraphError

    for tries_left in reversed(range(_TRIES)):
        try:
            return _tried(job, popen)
        except GraphError:
            if not tries_left:
                raise
    raise AssertionError("the last try answers or raises")


def _tried(job: Job, popen: Any) -> Result:
    from armlet.client.graph import GraphError
    from armlet.client.trials import RefusedError, Setting, run_trial

    wrong, output = condition(job.condition), Path(job.output)
    setting = Setting(job.task, job.checkpoint, dict(wrong.arguments), videos="none")
    heard, begun_s = Heard(), time.monotonic()
    log = output / "logs" / f"{job.condition}-{job.mode}-{job.seed}.log"
    log.unlink(missing_ok=True)
    trial, refused = None, ""
    try:
        trial, _ = run_trial(
            setting,
            job.seed,
            output,
            log,
            _spoiled(popen, wrong, job),
            lambda nodes: [_set(spec, wrong) for spec in nodes],
            heard.listen,
        )
    except RefusedError as error:
        refused = str(error)
    except GraphError as error:
        refused = _refusal_in(log) if "policy ended with status" in str(error) else ""
        if not refused:
            raise
    return Result(
        job.condition,
        job.mode,
        job.seed,
        None if trial is None else trial.success,
        refused,
        None if trial is None else trial.time_s,
        None if trial is None else trial.final,
        heard.elapsed_s,
        time.monotonic() - begun_s,
        [asdict(event) for event in heard.events],
    )


def _set(spec: Any, wrong: Condition) -> Any:
    import dataclasses

    given = wrong.parameters.get(spec.executable, {})
    return dataclasses.replace(spec, parameters={**spec.parameters, **given})


def _spoiled(popen: Any, wrong: Condition, job: Job) -> Callable[..., Any]:
    """Starts nodes as `popen` does, with the benchmark's program where a fault or a switch is."""
    import mismatch_node as node

    forced = job.mode != SHIPPED
    seen = Path(job.output) / "seen" / f"{job.condition}.png"

    def start(command: list[str], env: dict[str, str], **given: Any) -> Any:
        executable = command[command.index(_NODE) + 1]
        # Files that armlet does not load are as they should be where the fault stands for them.
        spoiled = executable == wrong.node and (forced or not wrong.in_files)
        if spoiled or (executable in ("policy", "servo_bus") and forced):
            command = ["mismatch_node" if word == _NODE else word for word in command]
            fault = wrong.fault if executable == wrong.node else ""
            env = {**env, node.FAULT: fault}
            if forced:
                env |= {node.FORCED: "yes", node.SEEN: str(seen)}
        return popen(command, env=env, **given)

    return start


def _refusal_in(log: Path) -> str:
    """What the policy node said as it ended; empty where it crashed, which is no refusal."""
    said = log.read_text(errors="replace")
    if "Traceback (most recent call last)" in said:
        return ""
    lines = [line.partition("] ")[2] or line for line in said.split("\n")]
    wrong = [line.strip() for line in lines if " ERROR " in f" {line.strip()} "]
    return "\n".join(dict.fromkeys(wrong))


class Heard:
    """What a person would have seen on /diagnostics: warnings and errors, when first."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.elapsed_s = 0.0
        self._said: set[tuple[str, str, str]] = set()
        self._lock = threading.Lock()

    def listen(self, director: Any) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from rcl_interfaces.msg import Log

        from armlet.client.trials import START_S

        def keep(message: Any) -> None:
            with self._lock:
                self.elapsed_s = message.header.stamp.sec - START_S
                self.elapsed_s += message.header.stamp.nanosec * 1e-9
                for status in message.status:
                    self._keep_status(status)

        def keep_log(message: Any) -> None:
            level = {30: "warning", 40: "error", 50: "error"}.get(message.level, "")
            with self._lock:
                self._keep(level, f"{message.name}: log", "", message.msg)

        director.listen(DiagnosticArray, "/diagnostics", keep)
        director.listen(Log, "/rosout", keep_log)

    def _keep_status(self, status: Any) -> None:
        level = {b"\x01": "warning", b"\x02": "error"}.get(status.level, "")
        codes = next((pair.value for pair in status.values if pair.key == "codes"), "")
        self._keep(level, status.name, codes, status.message)

    def _keep(self, level: str, by: str, codes: str, said: str) -> None:
        kind = by, level, codes or said
        if level and kind not in self._said:
            self._said.add(kind)
            self.events.append(Event(self.elapsed_s, level, by, codes, said))


# --- the parent -----------------------------------------------------------------------------------


class Worker:
    """A process that runs one job after another."""

    def __init__(self, number: int, count: int, logs: Path) -> None:
        from armlet.client.trial_pool import domains

        self._said = (logs / f"worker-{number}.log").open("a")
        environment = {**os.environ, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, WORKER, *map(str, domains(number, count))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            start_new_session=True,
            env=environment,
        )

    def run(self, job: Job) -> Result:
        """Raises RuntimeError where the process ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(asdict(job)), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{job.condition} {job.seed}: the worker ended; {self._said.name}")
        return Result(**json.loads(line))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.terminate()
        self._process.wait(120)
        self._said.close()


def run_all(jobs: Sequence[Job], count: int, output: Path) -> Iterator[Result]:
    """The jobs' results as they are done."""
    logs = output / "logs"
    count = min(count, len(jobs))
    workers = [Worker(number, count, logs) for number in range(count)]
    free = list(workers)
    lock = threading.Lock()

    def work(job: Job) -> Result:
        with lock:
            worker = free.pop()
        try:
            return worker.run(job)
        finally:
            with lock:
                free.append(worker)

    try:
        with ThreadPoolExecutor(len(workers) or 1) as pool:
            futures = [pool.submit(work, job) for job in jobs]
            try:
                for future in as_completed(futures):
                    yield future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for worker in workers:
                    worker.close()
                raise
    finally:
        for worker in workers:
            worker.close()


def main() -> int:
    args = _parse(sys.argv[1:])
    output = args.output.absolute()
    for folder in ("logs", "seen"):
        (output / folder).mkdir(parents=True, exist_ok=True)
    chosen = [condition(name) for name in args.conditions]
    done = read(output / "results.jsonl")
    jobs = [job for job in _jobs(chosen, args, output) if _key(job) not in done]
    print(f"{len(jobs)} trials to run, {len(done)} are there", file=sys.stderr)
    begun_s = time.monotonic()
    with (output / "results.jsonl").open("a") as file:
        for number, result in enumerate(run_all(jobs, args.jobs, output), 1):
            print(json.dumps(asdict(result)), file=file, flush=True)
            passed_s = time.monotonic() - begun_s
            how = "refused" if result.refused else "success" if result.success else "no success"
            print(
                f"{number}/{len(jobs)} {result.condition} {result.mode} {result.seed}: {how}, "
                f"{result.wall_s:.0f} s, {passed_s / number * (len(jobs) - number):.0f} s to go",
                file=sys.stderr,
            )
    import mismatch_report

    mismatch_report.write(output, list(read(output / "results.jsonl").values()), args.docs)
    return 0


def _jobs(chosen: Sequence[Condition], args: argparse.Namespace, output: Path) -> Iterator[Job]:
    """Seed by seed, so that what is there is always even."""
    right = str(args.checkpoint.absolute())
    files = {each.name: _checkpoint(each, args.checkpoint, output) for each in chosen}
    for number in range(max(args.trials, args.shipped)):
        for each in chosen:
            if number < args.trials:
                file = right if each.in_files else files[each.name]
                yield Job(each.name, FORCED, SEED + number, args.task, file, str(output))
            if number < args.shipped:
                yield Job(
                    each.name, SHIPPED, SEED + number, args.task, files[each.name], str(output)
                )


def _key(of: Any) -> tuple[str, str, int]:
    return of.condition, of.mode, of.seed


def read(file: Path) -> dict[tuple[str, str, int], Result]:
    """The results that are there; a line that a kill cut off is none."""
    results = {}
    if file.exists():
        for line in file.read_text().split("\n"):
            if line.endswith("}"):
                result = Result(**json.loads(line))
                results[_key(result)] = result
    return results


def _checkpoint(wrong: Condition, checkpoint: Path, output: Path) -> str:
    """The checkpoint as it is, or a copy with what is wrong in its files."""
    if not wrong.checkpoint:
        return str(checkpoint.absolute())
    from mismatch_checkpoint import spoil

    copy = output / "checkpoints" / wrong.checkpoint
    if not copy.exists():
        shutil.copytree(checkpoint, copy)
        spoil(copy, wrong.checkpoint)
    return str(copy)


def _parse(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    names = [each.name for each in CONDITIONS]
    root = Path(__file__).resolve().parents[1]
    parser.add_argument("--trials", type=int, default=100, help="forced ones of each condition")
    parser.add_argument("--shipped", type=int, default=3, help="of each condition as shipped")
    parser.add_argument("--conditions", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--task", default="reach")
    parser.add_argument("--checkpoint", type=Path, default=root / "checkpoints" / "reach")
    parser.add_argument("--jobs", type=int, default=1, help="graphs at a time")
    parser.add_argument("--output", type=Path, default=Path("mismatch"))
    parser.add_argument("--docs", type=Path, help="folder that gets table and pictures as well")
    return parser.parse_args(given)


if __name__ == "__main__":
    sys.exit(serve() if WORKER in sys.argv else main())
