"""Rates, jitter and latencies of the sim graph as another process sees them; one JSON line.

usage: python benchmarks/graph.py [--seconds 10] [--policy] [--width 640 --height 480]

With --policy the shipped policy drives meanwhile. Figures hold for an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from armlet.client.graph import Director
from armlet.demo.demo import DemoPlan, prepare, running_graph


def periods(director: Director, topic: str, since_ns: int) -> dict[str, float]:
    """Rate (Hz) and period quantiles (ms) of a topic by its stamps."""
    stamps = np.array([stamp for stamp in director.seen.stamps(topic) if stamp > since_ns])
    period_ms = np.diff(stamps) * 1e-6
    return {
        "hz": round(1000 / float(period_ms.mean()), 3),
        "period_p50_ms": round(float(np.median(period_ms)), 3),
        "period_p99_ms": round(float(np.percentile(period_ms, 99)), 3),
        "period_max_ms": round(float(period_ms.max()), 3),
    }


def measure(director: Director, seconds: float) -> dict[str, Any]:
    topics = ("joint_states", "applied_joint_commands", "observation/state", "action")
    director.wait_for("actions", lambda: director.seen.count("action") > 30, 60)
    since_ns = time.time_ns()
    time.sleep(seconds)
    result: dict[str, Any] = {topic: periods(director, topic, since_ns) for topic in topics}
    latencies = 1000 * director.seen.latencies()
    if len(latencies):
        result["policy_ms"] = {
            "observation_to_chunk_p50": round(float(np.median(latencies[:, 0])), 1),
            "inference_p50": round(float(np.median(latencies[:, 1])), 1),
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--policy", action="store_true")
    parser.add_argument("--width", default="128")
    parser.add_argument("--height", default="96")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        plan = DemoPlan(Path(directory) / "output", simulated=False)
        prepare(plan)
        policy = "true" if args.policy else "false"
        size = {"width": args.width, "height": args.height}
        with running_graph(plan, plan.dataset, policy=policy, **size) as director:
            print(json.dumps({"benchmark": "graph", **size, **measure(director, args.seconds)}))


if __name__ == "__main__":
    main()
