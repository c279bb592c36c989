"""Part of policy.py: from an observation to the first command that its chunk moves, in the graph.

The emulated bench, two 640x480 cameras at 30 frames/s as JPEG, the aligner, servo_bus at 100 Hz and
the policy node run as processes of their own. The policy is paused and the arm holds; then the
policy may drive; reported is the time from the stamp of the first chunk's observation to
the stamp of the first cycle whose applied goal is not the held one. Then it is paused again.

LeRobot's loop is not run on this bench, whose pictures are topics. policy.py tells beside it what
LeRobot's predict_action takes for pictures in memory, on a machine that does nothing else: its loop
cannot be faster than that, and its cameras, bus and pacing come on top.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from policy_side import spread_of

from armlet.bringup import graph
from armlet.client.graph import Director, GraphError
from armlet.supervisor import Supervisor

APPLIED = "applied_joint_commands"
# A goal is whole ticks of 1.5 mrad.
STILL_RAD = 1e-6
STILL_S = 0.5
STARTED_NS = time.time_ns()
SIZE = (640, 480)
# An export takes its time.
READY_S = 120


def measure(checkpoint: Path, backends: Sequence[str], args: argparse.Namespace) -> dict[str, Any]:
    """By backend: ms from observation to applied command."""
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    # Of those that Linux leaves free, the ones the tests do not take: no other arm is measured.
    os.environ.setdefault("ROS_DOMAIN_ID", str(215 + os.getpid() % 18))
    answer: dict[str, Any] = {}
    for name in backends:
        print(f"graph: {name}", file=sys.stderr)
        answer[name] = drive(checkpoint, name, args)
    return answer


def drive(checkpoint: Path, name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Of one backend: trials, and the latencies that the node itself reports while it drives."""
    backend, _, precision = name.partition(":")
    how = {"backend": backend, "precision": precision or "float32", "device": args.device}
    with tempfile.TemporaryDirectory(prefix="armlet-policy-graph-") as place:
        directory = Path(place)
        try:
            with running(checkpoint, how, args, directory) as director:
                times_ms = [trial(director) for _ in range(args.trials)]
                reported = 1e3 * director.seen.latencies()
        except Exception as error:
            said = (directory / "nodes.log").read_text()
            raise RuntimeError(f"{name}: {error}; the nodes said:\n{said[-4000:]}") from error
    return {
        "observation_to_command_ms": spread_of(times_ms),
        "observation_to_chunk_ms": spread_of(reported[:, 0].tolist()),
        "inference_ms": spread_of(reported[:, 1].tolist()),
        "trials": len(times_ms),
    }


@contextmanager
def running(
    checkpoint: Path, how: dict[str, str], args: argparse.Namespace, directory: Path
) -> Iterator[Director]:
    """The graph with the policy paused, warm, and somebody who listens."""
    width, height = (64, 48) if args.small else SIZE
    given = {
        "emulated": "true",
        "use_sim_time": "false",
        "bench_directory": str(directory),
        "checkpoint": str(checkpoint),
        "width": str(width),
        "height": str(height),
        "threads": str(args.threads),
        "running": "false",
        "joint_units": "degrees",
        **how,
    }
    with (directory / "nodes.log").open("w") as log:
        supervisor = Supervisor(graph("policy").nodes(given), log)
        director = Director()
        try:
            supervisor.start(directory)
            director.wait_for("applied commands", lambda: director.seen.count(APPLIED) > 10, 60)
            director.wait_for("a policy that fits", lambda: is_ready(director, directory), READY_S)
            yield director
        finally:
            director.close()
            supervisor.stop()


def is_ready(director: Director, directory: Path) -> bool:
    """Whether the policy is warm and has accepted the frames. Raises GraphError if it refuses."""
    messages = director.seen.messages()
    if "[policy] [ERROR]" in (directory / "nodes.log").read_text():
        raise GraphError("the policy node refuses")
    return any("policy" in name and text == "paused" for name, text in messages.items())


def trial(director: Director) -> float:
    """ms from the stamp of an observation to that of the first goal its chunk moved."""
    director.wait_for("stillness", lambda: is_still(director), 30)
    known = len(chunks(director))
    asked_ns = time.time_ns()
    director.set("policy/set_running", True)
    director.wait_for("a chunk", lambda: len(chunks(director)) > known, 30)
    director.wait_for("motion", lambda: first_motion_ns(director, asked_ns) is not None, 10)
    director.set("policy/set_running", False)
    moved_ns = first_motion_ns(director, asked_ns)
    assert moved_ns is not None
    return 1e-6 * (moved_ns - chunks(director)[known])


def is_still(director: Director) -> bool:
    """Whether the goal has not moved for a while, up to now."""
    now_ns = time.time_ns()
    times, goals = director.seen.joint_rows(APPLIED, now_ns - round(STILL_S * 1e9), now_ns)
    seen = len(times) > 1 and times[0] < 0.2 * STILL_S and times[-1] > 0.8 * STILL_S
    return bool(seen and np.ptp(goals, axis=0).max() < STILL_RAD)


def chunks(director: Director) -> list[int]:
    """Stamps of the observations, ns, of all chunks in the order in which they came.

    Not only of those after some moment: an inference that was under way when the policy was paused
    is published if the policy may drive again before it ends.
    """
    found = director.seen.chunks(STARTED_NS, time.time_ns())
    return [STARTED_NS + round(1e9 * float(chunk.times_s[0])) for chunk in found]


def first_motion_ns(director: Director, asked_ns: int) -> int | None:
    """Stamp of the first goal unlike that of asked_ns."""
    times, goals = director.seen.joint_rows(APPLIED, asked_ns, time.time_ns())
    if not len(times):
        return None
    moved = np.abs(goals - goals[0]).max(axis=1) > STILL_RAD
    return asked_ns + round(1e9 * float(times[int(moved.argmax())])) if moved.any() else None
