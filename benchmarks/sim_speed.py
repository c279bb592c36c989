"""Simulated minutes per minute, with the policy driving, in lockstep; one JSON line.

usage: python benchmarks/sim_speed.py [--seconds 20]

The whole emulated graph: bench, follower, aligner and policy as processes of their own, two cameras
at 30 pictures a second. At 128x96 the shipped policy drives, at 640x480 a random ACT of the default
size. Inference is declared to take 50 ms and 200 ms of simulated time. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

from policy import save_act

from armlet.bringup import LOCKSTEP_SOCKET, graph, share_directory
from armlet.client.graph import CLIENT, Director
from armlet.supervisor import Supervisor

READY_S = 60.0


def speed(size: tuple[int, int], checkpoint: Path, latency_s: float, seconds: float) -> float:
    """Simulated seconds in a second, over so many simulated seconds of a policy that drives."""
    with tempfile.TemporaryDirectory(prefix="armlet-sim-speed-") as place:
        directory = Path(place)
        given = {
            "emulated": "true",
            "bench_directory": place,
            "checkpoint": str(checkpoint),
            "joint_units": "degrees",
            "width": str(size[0]),
            "height": str(size[1]),
            "threads": "1",
            "task": "reach",
            "real_time_factor": "0",
            "inference_latency_s": str(latency_s),
            "participants": CLIENT,
        }
        with (directory / "nodes.log").open("w") as log:
            supervisor = Supervisor(graph("policy").nodes(given), log)
            supervisor.start(directory)
            director = None
            try:
                director = Director(
                    lockstep=directory / LOCKSTEP_SOCKET, trouble=supervisor.trouble
                )
                seen = director.seen
                director.wait_for("chunks", lambda: len(seen.latencies()) > 1, READY_S)
                begun_s, wall_s = director.elapsed_s, director.wall_s
                director.let_pass(seconds)
                return (director.elapsed_s - begun_s) / (director.wall_s - wall_s)
            finally:
                # The nodes first: without the director time would run on under them.
                supervisor.stop()
                if director is not None:
                    director.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="simulated, of each measurement"
    )
    args = parser.parse_args()
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(215 + os.getpid() % 18))
    with tempfile.TemporaryDirectory(prefix="armlet-sim-speed-") as place:
        shipped = share_directory() / "checkpoints" / "reach"
        large = save_act(Path(place) / "act")
        result = {
            "128x96": round(speed((128, 96), shipped, 0.05, args.seconds), 3),
            "640x480": round(speed((640, 480), large, 0.2, args.seconds), 3),
        }
    print(json.dumps({"benchmark": "sim_speed", "simulated_per_real": result}))


if __name__ == "__main__":
    main()
