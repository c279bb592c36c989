"""A slow policy drives an arm: armlet's plan beside a synchronous loop, as a picture and numbers.

    python benchmarks/execution.py [--seconds 20] [--periods 20] [--picture docs/execution.png]

Both runs are the emulated bench with servo_bus at 100 Hz, the aligner at 30 frames/s and the same
policy: an ACT of LeRobot's default chunk (100 actions), whose actions are replaced by the pursuit
of a target that goes round a circle (so that a pause or a jump shows), and which sleeps until each
inference has taken --periods frame periods. The synchronous loop is LeRobot's: observe, take one
action of the queue, send it, once a period; when the queue is empty it infers, and the arm waits.
Measured are the goals that the servos were sent, by the stamps of their cycles:

gap    the longest time in which the goal did not move, s
step   the largest step of a goal over its time, rad/s; the bus's limit is 5, and a tick of rounding
       in 10 ms is 0.15
wait   share of the time in which the goal did not move

The table goes to stderr, one line of JSON to stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armlet.bringup import NodeSpec, command, graph
from armlet.client.graph import Director
from armlet.nodes.node import SUPERVISOR_VARIABLE
from armlet.robots import SO101_JOINTS
from armlet.supervisor import Supervisor

FPS = 30
WIDTH, HEIGHT = 64, 48
LIMIT_RAD_S = 5.0
SETTLE_S = 4.0
# A goal is whole ticks; the circle's slowest joint stands on one tick no longer than this.
STILL_RAD = 1e-6
# Cycles of 10 ms that come later than this say that the machine had no time for them.
BUSY_S = 0.05
ATTEMPTS = 6

COMMON = """
import sys, time
import numpy as np
from armlet.nodes.node import run
from armlet.nodes.policy import PolicyNode

SLOWNESS_S = float(sys.argv.pop(1))
FPS, RADIUS, RATE = 30, 20.0, 2 * np.pi * 0.25

class Pursuit:
    '''The network runs; what it says is replaced by following a target round a circle of two
    joints: where it is when the observation comes, and how it will go on, 2 degrees amiss.'''

    def __init__(self, policy):
        self._policy, self._error = policy, np.random.default_rng(0)

    def __getattr__(self, name):
        return getattr(self._policy, name)

    def predict_chunk(self, observation, leftover=None):
        begun = time.monotonic()
        seen = time.time() + self._error.normal(0, np.radians(2)) / RATE
        rows = self._policy.predict_chunk(observation).copy()
        phases = RATE * (seen + np.arange(len(rows)) / FPS)
        rows[:] = [0, 0, 0, 0, 0, 50]
        rows[:, 0], rows[:, 4] = RADIUS * np.cos(phases), RADIUS * np.sin(phases)
        time.sleep(max(0.0, SLOWNESS_S - (time.monotonic() - begun)))
        return rows

class Slow(PolicyNode):
    def load(self):
        return Pursuit(super().load())
"""
ARMLET = COMMON + "\nrun(Slow)\n"
SYNCHRONOUS = (
    COMMON
    + """
from sensor_msgs.msg import JointState
from armlet.robots.units import converter
from armlet.nodes.messages import joint_state
from armlet.nodes.node import COMMAND_QOS

class Synchronous(Slow):
    '''LeRobot's loop: once a period one action of the queue; inference when it is empty.'''

    def setup(self):
        super().setup()
        self._commands = self.create_publisher(JointState, "joint_commands", COMMAND_QOS)

    def _infer_loop(self, ending):
        queue, frame, due = [], None, time.monotonic()
        while not ending.is_set():
            frame = self._newest.take(0.1) or frame
            if frame is not None and self._fits is None:
                self._look(self._policy, frame)
            if frame is None or not self._fits:
                continue
            if not queue:
                queue = list(self._policy.predict_chunk(self._observation(frame)))
            convert = converter(frame.contract.action_names, self._calibration)
            radians = convert.dataset_to_radians(queue.pop(0)[None], self._units)[0]
            self._commands.publish(joint_state(convert.joints, time.time_ns(), radians))
            due = max(due + 1 / FPS, time.monotonic())
            time.sleep(due - time.monotonic() if due > time.monotonic() else 0)

run(Synchronous)
"""
)


def save_policy(path: Path) -> Path:
    """A small ACT of random weights and LeRobot's default chunk."""
    import torch

    from armlet.policies import Act, ActConfig, Feature, save_checkpoint

    torch.manual_seed(0)
    picture = Feature("VISUAL", (3, HEIGHT, WIDTH))
    config = ActConfig(
        input_features={
            "observation.state": Feature("STATE", (6,)),
            "observation.images.front": picture,
            "observation.images.wrist": picture,
        },
        output_features={"action": Feature("ACTION", (6,))},
        use_vae=False,
        dim_model=32,
        n_heads=2,
        dim_feedforward=32,
        n_encoder_layers=1,
    )
    picture_statistics = {"mean": np.full((3, 1, 1), 0.5), "std": np.full((3, 1, 1), 0.25)}
    statistics: dict[str, Any] = dict.fromkeys(config.image_features, picture_statistics)
    vector = {"mean": np.array([0, 0, 0, 0, 0, 50.0]), "std": np.array([30, 30, 30, 30, 30, 20.0])}
    statistics |= {"observation.state": vector, "action": vector}
    save_checkpoint(path, Act(config), config, statistics)
    return path


@contextmanager
def driven(code: str, slowness_s: float, directory: Path) -> Iterator[Director]:
    """The graph with a policy process that runs `code`, and somebody who listens."""
    given = {
        "emulated": "true",
        "use_sim_time": "false",
        "bench_directory": str(directory),
        "checkpoint": str(save_policy(directory / "checkpoint")),
        "joint_units": "degrees",
        "width": str(WIDTH),
        "height": str(HEIGHT),
        "threads": "1",
    }
    specs = graph("policy").nodes(given)
    policy = next(spec for spec in specs if spec.executable == "policy")
    with (directory / "nodes.log").open("w") as log:
        supervisor = Supervisor([spec for spec in specs if spec is not policy], log)
        director = Director()
        process = None
        try:
            supervisor.start(directory)
            process = _start(policy, code, slowness_s, directory, log)
            yield director
        finally:
            director.close()
            if process is not None:
                process.terminate()
                process.wait(20)
            supervisor.stop()


def _start(
    policy: NodeSpec, code: str, slowness_s: float, directory: Path, log: Any
) -> subprocess.Popen[str]:
    line = command(policy, directory)
    module = line.index("-m")
    line[module : module + 3] = ["-c", code, str(slowness_s)]
    environment = {**os.environ, SUPERVISOR_VARIABLE: str(os.getpid())}
    return subprocess.Popen(line, stdout=log, stderr=log, text=True, env=environment)


Rows = NDArray[np.float64]


def record(code: str, slowness_s: float, seconds: float) -> tuple[Rows, Rows]:
    """Times (k,), s, and goals (k, 6), rad, that the servos were sent once the circle is joined."""
    topic = "applied_joint_commands"
    with (
        tempfile.TemporaryDirectory(prefix="armlet-execution-") as name,
        driven(code, slowness_s, Path(name)) as director,
    ):
        pan = SO101_JOINTS.index("shoulder_pan")

        def moving() -> bool:
            return director.seen.count(topic) > 0 and bool(
                abs(director.seen.latest(topic)[pan]) > 0.25
            )

        try:
            director.wait_for("motion", moving, 60.0)
        except Exception as error:
            said = (Path(name) / "nodes.log").read_text()
            raise RuntimeError(f"{error}; the nodes said:\n{said}") from error
        time.sleep(SETTLE_S)
        since_ns = time.time_ns()
        time.sleep(seconds)
        return director.seen.joint_rows(topic, since_ns, time.time_ns())


def undisturbed(code: str, slowness_s: float, seconds: float) -> tuple[Rows, Rows]:
    """`record`, again where the machine had no time for the bus itself, a few times."""
    for attempt in range(ATTEMPTS):
        try:
            times, goals = record(code, slowness_s, seconds)
        except (RuntimeError, ValueError) as error:
            print(f"attempt {attempt + 1}: {str(error)[:200]}", file=sys.stderr)
            continue
        late_s = float(np.diff(times).max(initial=0.0))
        if len(times) > 90 * seconds and late_s <= BUSY_S:
            return times, goals
        print(f"attempt {attempt + 1}: the bus was late by {late_s:.3f} s", file=sys.stderr)
    raise RuntimeError("the machine is too busy for a bus at 100 Hz; measure when it is quiet")


def measure(times: Rows, goals: Rows) -> dict[str, float]:
    moves = np.abs(np.diff(goals, axis=0)).max(axis=1)
    steps = moves / np.diff(times)
    changed = np.concatenate([[times[0]], times[1:][moves > STILL_RAD], [times[-1]]])
    pauses = np.diff(changed)
    waits = pauses[pauses > 0.05]
    return {
        "largest_gap_s": round(float(pauses.max()), 3),
        "largest_step_rad_s": round(float(steps.max()), 2),
        "waiting_share": round(float(waits.sum() / (times[-1] - times[0])), 3),
        "largest_message_gap_s": round(float(np.diff(times).max()), 3),
        "goals": len(times),
    }


def draw(path: Path, runs: dict[str, tuple[Rows, Rows]], slowness_s: float) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(10, 4.6), sharex=True, sharey="row")
    pan, roll = SO101_JOINTS.index("shoulder_pan"), SO101_JOINTS.index("wrist_roll")
    for column, (name, (times, goals)) in enumerate(runs.items()):
        numbers = measure(times, goals)
        top, bottom = axes[0][column], axes[1][column]
        top.plot(times, goals[:, pan], color="#1f6f8b", label="shoulder_pan")
        top.plot(times, goals[:, roll], color="#c8553d", label="wrist_roll")
        top.set_title(
            f"{name}\nlongest pause {numbers['largest_gap_s']:.2f} s, "
            f"fastest step {numbers['largest_step_rad_s']:.1f} rad/s",
            fontsize=10,
        )
        speed = np.abs(np.diff(goals, axis=0)).max(axis=1) / np.diff(times)
        bottom.plot(times[1:], speed, color="#444444", linewidth=0.7)
        bottom.axhline(LIMIT_RAD_S, color="#c8553d", linestyle="--", linewidth=0.8)
        bottom.set_xlabel("s")
        for axis in (top, bottom):
            axis.grid(alpha=0.3)
            axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("goal, rad")
    axes[1][0].set_ylabel("its speed, rad/s")
    axes[0][0].legend(fontsize=8, loc="upper right")
    axes[1][0].text(0.1, LIMIT_RAD_S * 0.88, "limit of the bus", fontsize=8, color="#c8553d")
    figure.suptitle(
        f"What the servos were sent while each inference takes {slowness_s:.2f} s", fontsize=11
    )
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--periods", type=int, default=20, help="frame periods an inference takes")
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    # Of those that Linux leaves free, the ones the tests do not take: no other arm is measured.
    os.environ.setdefault("ROS_DOMAIN_ID", str(215 + os.getpid() % 18))
    slowness_s = args.periods / FPS
    runs = {
        "armlet": undisturbed(ARMLET, slowness_s, args.seconds),
        "synchronous loop": undisturbed(SYNCHRONOUS, slowness_s, args.seconds),
    }
    numbers = {name: measure(*rows) for name, rows in runs.items()}
    for name, row in numbers.items():
        print(f"{name:18}", *(f"{key} {value}" for key, value in row.items()), file=sys.stderr)
    if args.picture is not None:
        draw(args.picture, runs, slowness_s)
    print(json.dumps({"benchmark": "execution", "inference_s": round(slowness_s, 3), **numbers}))


if __name__ == "__main__":
    main()
