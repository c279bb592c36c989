"""Rate, jitter and CPU of servo_bus at several rates, as another process sees them; one JSON line.

usage: python benchmarks/joint_states.py [--rates 100 200 400] [--seconds 10] [--commands]

The emulated bus is wire-paced and runs in a process of its own. Periods are differences of stamps
(acquisition) and of arrival here; their error is against 1 / rate. With --commands the arm follows
a 100 Hz stream of joint_commands meanwhile, which costs the node a subscription. Figures hold for
an otherwise idle machine: look at `load`.
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
import rclpy
from sensor_msgs.msg import JointState

from armlet.bringup import NodeSpec, command, share_directory
from armlet.nodes.messages import joint_state, to_ns
from armlet.nodes.node import COMMAND_QOS, STATE_QOS
from armlet.nodes.teardown import destroy
from armlet.robots import SO101_JOINTS

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """CPU seconds a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


@contextmanager
def running_node(rate_hz: float) -> Iterator[int]:
    """An emulated bus and a servo_bus that holds it; yields the node's process id."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        port = directory / "bus"
        calibration = share_directory() / "config" / "calibration" / "emulated_follower.json"
        emulate = [sys.executable, "-m", "armlet.cli.main", "emulate", "--paced"]
        serving = subprocess.Popen(
            [*emulate, "--link", str(port), "--calibration", str(calibration)],
            stdout=subprocess.PIPE,
        )
        assert serving.stdout is not None
        serving.stdout.readline()
        parameters = {
            "port": str(port),
            "calibration_file": str(calibration),
            "rate_hz": rate_hz,
        }
        node = subprocess.Popen(command(NodeSpec("servo_bus", "servo_bus", parameters), directory))
        try:
            yield node.pid
        finally:
            node.terminate()
            node.wait()
            serving.terminate()
            serving.wait()


def quantiles(stamps_ns: list[int], rate_hz: float) -> dict[str, float]:
    """Mean rate (Hz) and quantiles of the period's error (ms)."""
    period_ms = np.diff(np.array(stamps_ns, np.float64)) * 1e-6
    error_ms = np.abs(period_ms - 1000 / rate_hz)
    return {
        "hz": round(1000 / float(period_ms.mean()), 3),
        "period_error_p50_ms": round(float(np.median(error_ms)), 3),
        "period_error_p99_ms": round(float(np.percentile(error_ms, 99)), 3),
        "period_error_max_ms": round(float(error_ms.max()), 3),
    }


def measure(rate_hz: float, seconds: float, commands: bool) -> dict[str, Any]:
    """What one rate achieves."""
    seen: list[tuple[int, int]] = []
    with running_node(rate_hz) as pid:
        node = rclpy.create_node("joint_states_benchmark")
        publisher = node.create_publisher(JointState, "joint_commands", COMMAND_QOS)

        def send() -> None:
            wave = 0.2 * np.sin(2 * np.pi * 0.5 * time.monotonic()) * np.ones(len(SO101_JOINTS))
            publisher.publish(joint_state(SO101_JOINTS, time.time_ns(), wave))

        node.create_subscription(
            JointState,
            "joint_states",
            lambda message: seen.append((to_ns(message.header.stamp), time.time_ns())),
            STATE_QOS,
        )
        if commands:
            node.create_timer(0.01, send)
        begin = time.monotonic() + 60
        while len(seen) < 2 * rate_hz and time.monotonic() < begin:
            rclpy.spin_once(node, timeout_sec=0.1)
        seen.clear()
        before_s, start = cpu_s(pid), time.monotonic()
        while time.monotonic() - start < seconds:
            rclpy.spin_once(node, timeout_sec=0.1)
        used_s, wall_s = cpu_s(pid) - before_s, time.monotonic() - start
        destroy(node)
    return {
        "acquired": quantiles([stamp for stamp, _ in seen], rate_hz),
        "arrived": quantiles([arrival for _, arrival in seen], rate_hz),
        "node_cpu_percent": round(100 * used_s / wall_s, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", type=float, nargs="+", default=[100.0, 200.0, 400.0])
    parser.add_argument("--seconds", type=float, default=10.0, help="per rate")
    parser.add_argument("--commands", action="store_true", help="the arm follows meanwhile")
    args = parser.parse_args()
    rclpy.init()
    result: dict[str, Any] = {"benchmark": "joint_states", "commands": args.commands}
    for rate_hz in args.rates:
        result[f"{rate_hz:g}_hz"] = measure(rate_hz, args.seconds, args.commands)
    rclpy.shutdown()
    print(json.dumps({**result, "load": os.getloadavg()[0]}))


if __name__ == "__main__":
    main()
