"""`armlet policy check --live` beside a running graph: a robot that fits, and none."""

import os
import sys
import threading
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the policy extra is not installed")
pytest.importorskip("rclpy", reason="ROS 2 is not installed")

sys.path.insert(0, str(Path(__file__).parents[1] / "nodes"))

from forked_python import COMMANDS, run
from node_processes import CALIBRATION, running_graph

GUARD_S = 120.0
REACH = Path(__file__).parents[2] / "checkpoints" / "reach"


def check(*arguments):
    """The command as a person runs it: a process of its own, with its own ROS context."""
    follower = CALIBRATION / "emulated_follower.json"
    command = [
        *("-m", "armlet.cli.main", "policy", "check"),
        *("--checkpoint", REACH, "--calibration", follower, *arguments),
    ]
    loaded = (*COMMANDS, "torch", "armlet.policies", "matplotlib.pyplot")
    return run(sys.executable, loaded, command, {**os.environ, "OMP_NUM_THREADS": "1"})


@pytest.mark.thorough
def test_no_graph_is_status_2():
    # First, so that what the next one runs is loaded before its graph runs.
    done = check("--live", "0.5", "--wait", "0.5", "--namespace", "nobody")
    assert done.returncode == 2
    assert "within 0.5 s, found nothing; start the graph" in done.stderr


@pytest.mark.thorough
def test_the_live_bench_fits_the_checkpoint_trained_on_it(tmp_path):
    """Judged by what comes on the aligner's topics alone."""
    given = {"width": "128", "height": "96", "emulated": "true", "real_time_factor": "1"}
    root = str(tmp_path / "set")
    with running_graph("record", root=root, task="x", **given) as graph:
        graph.wait("frames", lambda: graph.seen.count("action") > 3)
        with graph.time_passes():
            done = check("--live", "2", "--wait", "120")
    said = done.stdout
    assert done.returncode == 0, said + done.stderr
    for item in (
        "fps: 30",
        "input from the live robot",
        "which camera is which, live robot",
        "joint units by the pose, live robot",
    ):
        assert f"ok    {item}" in said, said


def test_a_strangers_message_does_not_end_the_look(private_domain):
    from bench_policies import CONTRACT
    from builtin_interfaces.msg import Time
    from published_frames import PublishedFrames
    from sensor_msgs.msg import JointState
    from std_msgs.msg import Header

    from armlet.client.frames import watch

    with PublishedFrames(CONTRACT, [0.0] * 6) as frames:
        bad = threading.Event()

        def disturb():
            long_ago = JointState(header=Header(stamp=Time(sec=-5)))
            while not bad.wait(0.005):
                frames._state.publish(long_ago)

        stranger = threading.Thread(target=disturb)
        stranger.start()
        try:
            sample = watch(0.5, 5, "/", GUARD_S)
        finally:
            bad.set()
            stranger.join()
    assert sample is not None and sample.frames > 0
