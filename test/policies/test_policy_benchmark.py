"""benchmarks/policy.py runs, and what it says of a small network is of the right kind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.thorough

pytest.importorskip("torch", reason="the policy extra is not installed")

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "policy.py"
SMALL = ("--small", "--rounds", "2", "--chunks", "2", "--device", "cpu", "--threads", "1")


def test_one_command_measures_what_is_there_and_says_what_is_not(tmp_path):
    ended = subprocess.run(
        [sys.executable, str(PROGRAM), *SMALL, "--backends", "torch,abacus"],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "ARMLET_ORACLE": str(tmp_path / "nowhere")},
    )
    assert ended.returncode == 0, ended.stderr
    answer = json.loads(ended.stdout)
    act = answer["act"]
    assert act["lerobot"].startswith("not measured: no LeRobot at")
    assert act["abacus"].startswith("not measured: ")
    assert "abacus" in act["abacus"]
    torch = act["torch"]
    assert torch["chunks"] == 4
    assert 0 < torch["preprocess_ms"]["least"] <= torch["preprocess_ms"]["p50"]
    chunk = torch["chunk_ms"]
    assert torch["preprocess_ms"]["least"] < chunk["least"] <= chunk["p50"] <= chunk["p99"]
    assert torch["cpu_ms"] > 0
    # ResNet-18 alone has 3.6 GFLOP for 224x224 pixels; two pictures of 64x48, and little else.
    backbones = 2 * 3.6 * 64 * 48 / 224**2
    assert backbones < act["gflop"] < 2 * backbones
    # Its 11.2 million weights are read for either camera.
    assert 2 * 11.1e6 * 4 < act["weight_mb"] * 1e6 < 1.1 * 2 * 11.2e6 * 4
    assert 0 < torch["share"] < 2
    assert set(act["gemm_gflop_s"]) == {"float32", "bfloat16"}
    assert torch["gflop_s"] == pytest.approx(act["gflop"] / chunk["p50"] * 1e3, rel=0.05)
    assert "ACT: ms" in ended.stderr
    assert not any("ratio" in key for key in torch)
