"""Runs the demo: demonstrations are recorded, then the policy drives and is measured."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from armlet import one_graph
from armlet.bringup import graph
from armlet.client.graph import Director, GraphError
from armlet.client.start import start
from armlet.client.trials import Measures
from armlet.nodes.status_names import split
from armlet.robots import SO101_JOINTS
from armlet.robots.kinematics import HOME, solve_reach, tip_position
from armlet.sim.choice import KINEMATIC, MUJOCO, REACH, choose
from armlet.sim.demonstrator import WORKSPACE_X, WORKSPACE_Y
from armlet.sim.expert import check_shown, mishaps
from armlet.sim.scene import target_point
from armlet.sim.task import find
from armlet.start_check import check

from .terminal import Terminal

# In simulated time a run is the same on every computer, to the bit.
REPEATABLE = {
    "use_sim_time": "true",
    "real_time_factor": "0",
    "start_s": "1735689600",
    "inference_latency_s": "0.05",
}
SETTLE_S = 0.6
LOOK_S = 0.1
FAILED_MOST = 5
POLICY_S = 4.0
# ROS domains; the tests of this computer begin with those above.
DOMAINS = 80


@dataclass(frozen=True)
class Reach:
    """One attempt: target on the table (m), final error (m), the baseline's error (m), its span."""

    target: tuple[float, float]
    error_m: float
    baseline_m: float
    since_ns: int
    until_ns: int


@dataclass(frozen=True)
class DemoPlan:
    """What the demo does, and where it leaves what it made."""

    output: Path
    demonstrations: int = 3
    reaches: int = 6
    seed: int = 0
    simulated: bool = True
    bench_task: str = REACH
    checkpoint: str | None = None
    """None: the shipped one."""
    physics: str = ""
    """Of the bench; empty: as the task needs it."""
    domain: str = ""
    clumsiness: float = 0.0
    """Share of the demonstrations in which something goes wrong and is corrected, 0 to 1."""

    @property
    def policy(self) -> dict[str, str]:
        """Arguments of the graph in which the policy drives."""
        return {} if self.checkpoint is None else {"checkpoint": self.checkpoint}

    @property
    def bench(self) -> dict[str, str]:
        """Arguments of the graph that say what lies on its table."""
        title = "touch the red target" if self.bench_task == REACH else find(self.bench_task).title
        if not self.shown:
            return {"task": title}
        return {
            "task": title,
            "bench_task": self.bench_task,
            "physics": self.bench_physics,
            "domain": self.domain,
            "clumsiness": str(self.clumsiness),
        }

    @property
    def bench_physics(self) -> str:
        """KINEMATIC or MUJOCO."""
        return self.physics or (KINEMATIC if self.bench_task == REACH else MUJOCO)

    @property
    def shown(self) -> bool:
        """Whether an expert shows the task who looks, instead of a reach planned at once."""
        ordinary = self.bench_task == REACH and self.bench_physics == KINEMATIC
        return not ordinary or self.clumsiness > 0

    @property
    def dataset(self) -> Path:
        return self.output / "dataset"

    @property
    def evaluation(self) -> Path:
        return self.output / "evaluation"

    @property
    def mark(self) -> Path:
        """Says that the dataset and the evaluation beside it are a demo's."""
        return self.output / ".armlet-demo"

    @property
    def seeds(self) -> Path:
        """Says of each episode that an expert showed by which seed, a line of JSON each."""
        return self.output / "demonstrations.jsonl"

    @property
    def log(self) -> Path:
        return self.output / "nodes.log"


@contextmanager
def running_graph(plan: DemoPlan, root: Path, **arguments: str) -> Iterator[Director]:
    """The sim graph, recording into root, and a director for it."""
    given = {"root": str(root), "seed": str(plan.seed), **plan.bench}
    given |= REPEATABLE if plan.simulated else {"use_sim_time": "false"}
    with start("sim", plan.log, **{**given, **arguments}) as director:
        yield director


def prepare(plan: DemoPlan) -> None:
    """Remove what an earlier run left and keep this run's topics to itself.

    Raises GraphError for a dataset in the output folder that no demo made, BringupError for a
    checkpoint that is not there, BenchError for a task that is not there or that nobody shows,
    OSError for an output folder that cannot be made.
    """
    check_shown(choose(plan.bench_physics, plan.bench_task, plan.domain)[0])
    check(graph("sim").nodes(plan.policy))
    made_here = (plan.dataset, plan.evaluation)
    taken = [made for made in made_here if os.path.lexists(made)]
    if taken and not plan.mark.is_file():
        raise GraphError(
            f"{taken[0]} exists already and was not made by `armlet demo`; choose another "
            "folder with --output, or move it away"
        )
    for made in made_here:
        shutil.rmtree(made, ignore_errors=True)
    for made_file in (plan.log, plan.seeds):
        made_file.unlink(missing_ok=True)
    plan.output.mkdir(parents=True, exist_ok=True)
    plan.mark.touch()
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    # Another graph on this machine must not drive these arms, nor be driven.
    os.environ.setdefault(one_graph.DOMAIN_VARIABLE, str(_free_domain()))


def _free_domain() -> int:
    """One of its own for each demo, and none in which a graph runs."""
    first = os.getpid()
    return one_graph.first_free([1 + (first + number) % DOMAINS for number in range(DOMAINS)])


def wait_until_live(director: Director, needed: str) -> None:
    """Wait until frames come and a service is there."""
    seen = director.seen
    director.wait_for("aligned frames", lambda: seen.count("observation/state") > 5, 60.0)
    director.wait_for("commands", lambda: seen.count("applied_joint_commands") > 5, 30.0)
    director.wait_for(
        f"diagnostics of {needed}", lambda: needed in (split(name)[0] for name in seen.status()), 60
    )


def record_demonstrations(director: Director, plan: DemoPlan, terminal: Terminal) -> None:
    """Record reaches that the scripted leader teleoperates."""
    for number in range(1, plan.demonstrations + 1):
        of = f"{number}/{plan.demonstrations}"
        duration_s = float(director.trigger("sim_bench/reset"))
        with terminal.bar(f"demonstration {of}: leader and follower go home") as bar:
            director.let_pass(duration_s + SETTLE_S, bar)
        director.trigger("recorder/start_recording")
        duration_s = float(director.trigger("sim_bench/demonstrate"))
        with terminal.bar(f"demonstration {of}: recording") as bar:
            director.let_pass(duration_s + SETTLE_S, bar)
        saved = director.trigger("recorder/stop_recording")
        now_ns = director.now_ns
        error = director.seen.reach_rows(now_ns - 300_000_000, now_ns)[1]
        touched = f", tip {1000 * error.mean():.1f} mm from the target" if len(error) else ""
        terminal.say(f"demonstration {of}: {saved}{touched}")


def record_shown(director: Director, plan: DemoPlan, terminal: Terminal) -> None:
    """Record demonstrations of an expert; one that does not succeed is discarded.

    Each has a seed of its own, the plan's and those after it. Raises GraphError if none of several
    in a row succeeds.
    """
    measures = Measures()
    measures.listen(director)
    saved = failed = 0
    for seed in itertools.count(plan.seed):
        if saved == plan.demonstrations:
            return
        of = f"{saved + 1}/{plan.demonstrations}"
        director.set_parameters("sim_bench", reset_seed=seed)
        duration_s = float(director.trigger("sim_bench/reset"))
        with terminal.bar(f"demonstration {of}: leader and follower go home") as bar:
            director.let_pass(duration_s + SETTLE_S, bar)
        director.trigger("recorder/start_recording")
        limit_s = float(director.trigger("sim_bench/demonstrate"))
        begun_s = director.elapsed_s
        with terminal.bar(f"demonstration {of}: recording") as bar:
            director.let_pass(SETTLE_S)
            while measures.latest("demonstrates") and director.elapsed_s - begun_s < limit_s:
                director.let_pass(LOOK_S)
                bar((director.elapsed_s - begun_s) / limit_s)
        if measures.latest("success"):
            terminal.say(f"demonstration {of}: {director.trigger('recorder/stop_recording')}")
            with plan.seeds.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(_of_seed(plan, saved, seed)) + "\n")
            saved, failed = saved + 1, 0
            continue
        director.trigger("recorder/discard_episode")
        terminal.say(f"demonstration {of}: did not succeed, discarded")
        failed += 1
        if failed == FAILED_MOST:
            raise GraphError(f"{failed} demonstrations of {plan.bench_task} in a row failed")


def _of_seed(plan: DemoPlan, episode: int, seed: int) -> dict[str, object]:
    task = find(plan.bench_task)
    what = mishaps(task, seed, plan.clumsiness).kind
    return {"episode": episode, "seed": seed, "clumsiness": plan.clumsiness, "mishap": what}


def drive_by_policy(director: Director, plan: DemoPlan, terminal: Terminal) -> list[Reach]:
    """Let the policy reach for random targets from camera and joint topics alone."""
    reaches = []
    for number in range(1, plan.reaches + 1):
        of = f"{number}/{plan.reaches}"
        director.trigger("sim_bench/reset")
        director.drive_to(SO101_JOINTS, HOME)
        with terminal.bar(f"target {of}: at home") as bar:
            director.let_pass(SETTLE_S, bar)
        director.trigger("recorder/start_recording")
        since_ns = director.now_ns
        director.set("policy/set_running", True)
        with terminal.bar(f"target {of}: the policy drives") as bar:
            director.let_pass(POLICY_S, bar)
        director.set("policy/set_running", False)
        until_ns = director.now_ns
        director.trigger("recorder/stop_recording")
        reach = _measure(director, since_ns, until_ns)
        reaches.append(reach)
        terminal.say(
            f"target {of}: policy {1000 * reach.error_m:.0f} mm off, "
            f"without looking {1000 * reach.baseline_m:.0f} mm"
        )
    return reaches


def _measure(director: Director, since_ns: int, until_ns: int) -> Reach:
    last = director.seen.reach_rows(until_ns - 500_000_000, until_ns)[1]
    if not len(last):
        raise GraphError("the bench reported no reach error")
    target = director.seen.target_xy()
    return Reach(target, float(last.mean()), blind_error_m(target), since_ns, until_ns)


def blind_error_m(target: tuple[float, float]) -> float:
    """The best one can do without looking: always reach for the middle of the workspace."""
    middle = np.array([np.mean(WORKSPACE_X), np.mean(WORKSPACE_Y)])
    tip = tip_position(solve_reach(target_point(middle)))
    return float(np.linalg.norm(tip - target_point(np.array(target))))
