"""A recording is the same on an idle computer and beside two busy loops: bit for bit."""

import hashlib
import subprocess
import sys
from contextlib import contextmanager

import pytest
from node_processes import running_graph

pytest.importorskip("torch", reason="the policy extra is not installed")

from bench_policies import CONTRACT, HEIGHT, LATENCY_S, WIDTH, save_random

from armlet.datasets import Dataset

pytestmark = pytest.mark.thorough

LOOPS = 2


@contextmanager
def busy(count):
    """So many programs beside that never rest."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def record(root, checkpoint, loops=0):
    """One demonstration and one reach of a policy, from the same instant with the same seed.

    loops: so many busy programs beside it, from the moment the nodes have started.
    """
    given = {
        "width": str(WIDTH),
        "height": str(HEIGHT),
        "checkpoint": str(checkpoint),
        "teleop": "true",
        "running": "false",
        "start_s": "1735689600",
        "seed": "3",
        "inference_latency_s": str(LATENCY_S),
    }
    with running_graph("sim", root=str(root), task="reach", **given) as graph, busy(loops):
        director = graph.director
        graph.wait_for_status("recorder: dataset", "idle")
        graph.wait_for_status("policy: inference", "paused")
        director.trigger("sim_bench/reset")
        graph.let_pass(0.5)
        director.trigger("recorder/start_recording")
        director.trigger("sim_bench/demonstrate")
        graph.let_pass(1.2)
        director.trigger("recorder/stop_recording")
        director.set("teleop/set_engaged", False)
        director.set("policy/set_running", True)
        director.trigger("recorder/start_recording")
        graph.let_pass(1.2)
        director.trigger("recorder/stop_recording")


def digests(root):
    """SHA-256 of each of a dataset's rows and pictures, by the file's place."""
    files = [path for kind in ("*.parquet", "*.mp4") for path in root.rglob(kind)]
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def test_a_recording_is_the_same_bit_for_bit_beside_two_busy_loops(tmp_path):
    checkpoint = save_random(tmp_path / "checkpoint", CONTRACT)
    alone, beside = tmp_path / "alone", tmp_path / "beside"
    record(alone, checkpoint)
    record(beside, checkpoint, LOOPS)
    lengths = [episode.length for episode in Dataset(alone).episodes]
    assert len(lengths) == 2 and min(lengths) > 30
    expected = digests(alone)
    assert {path.rpartition(".")[2] for path in expected} == {"parquet", "mp4"}
    assert digests(beside) == expected
