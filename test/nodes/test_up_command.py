"""`armlet up` as a user runs it: a process, a terminal's output, a signal, an exit status."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from armlet.bringup import share_directory
from armlet.motors.feetech import REGISTERS, Bus
from armlet.sim import Bench

# By the wall clock, and only so that a broken test ends.
GUARD_S = 180


def up(*words, environment=os.environ):
    return subprocess.Popen(
        [sys.executable, "-m", "armlet.cli.main", "up", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**environment},
    )


def read_until(process, text):
    said = []
    for line in process.stdout:
        said.append(line)
        if text in line:
            return said
    raise AssertionError(f"{text!r} was never said:\n{''.join(said)}")


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.thorough),
        pytest.param(signal.SIGHUP, marks=pytest.mark.thorough),
    ],
)
def test_a_signal_stops_everything_cleanly(tmp_path, number):
    process = up("teleop", "emulated:=true", f"bench_directory:={tmp_path}")
    read_until(process, "follower on")
    process.send_signal(number)
    rest, _ = process.communicate(timeout=GUARD_S)
    assert process.returncode == 0, rest
    assert "Traceback" not in rest
    assert "[servo_bus]: torque is off: every servo was read back" in rest
    assert rest.splitlines()[-1] == "[supervisor] all nodes have ended"
    assert not (tmp_path / "follower").exists()


@pytest.mark.thorough
@pytest.mark.parametrize("stage", ["started sim_bench", "follower on", "warmed up", "policy fits"])
def test_ctrl_c_ends_it_at_every_stage_of_its_start(tmp_path, stage):
    process = up("sim", f"bench_directory:={tmp_path}")
    said = read_until(process, stage)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=GUARD_S)
    assert process.returncode == 0, rest
    assert "Traceback" not in rest
    assert rest.splitlines()[-1] == "[supervisor] all nodes have ended"
    if "is active" in "".join(said) + rest:
        assert "torque is off: every servo was read back" in rest
    assert not (tmp_path / "follower").is_symlink()


def test_duration_ends_it(tmp_path):
    words = ("teleop", "--duration", "2", "emulated:=true", f"bench_directory:={tmp_path}")
    process = up(*words)
    said, _ = process.communicate(timeout=GUARD_S)
    assert process.returncode == 0, said


def child(process, node):
    found = subprocess.run(
        ["pgrep", "-P", str(process.pid), "-f", f"nodes.program {node} "],
        capture_output=True,
        text=True,
    )
    return int(found.stdout.split()[0])


@pytest.fixture
def bench(tmp_path):
    with Bench(paced=False, links=tmp_path) as bench:
        yield bench


def torque(bench):
    return [s.peek(REGISTERS["Torque_Enable"]) for s in bench.follower.servos.values()]


def on(bench, tmp_path, environment=os.environ):
    """`armlet up teleop` on a bench of the test's own, so that its registers can be read."""
    calibration = share_directory() / "config" / "calibration"
    process = up(
        "teleop",
        f"follower_port:={tmp_path / 'follower'}",
        f"leader_port:={tmp_path / 'leader'}",
        f"follower_calibration:={calibration / 'emulated_follower.json'}",
        f"leader_calibration:={calibration / 'emulated_leader.json'}",
        environment=environment,
    )
    read_until(process, "follower on")
    assert torque(bench) == [1] * 6
    return process


def environment_of(pid):
    entries = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)


@pytest.fixture(scope="module")
def unchosen(tmp_path_factory, private_domain):
    """`armlet up teleop` where nobody has chosen who finds the nodes: (bench, process)."""
    folder = tmp_path_factory.mktemp("up")
    unset = {k: v for k, v in os.environ.items() if k != "ROS_AUTOMATIC_DISCOVERY_RANGE"}
    with Bench(paced=False, links=folder) as bench:
        process = on(bench, folder, unset)
        yield bench, process
        process.send_signal(signal.SIGINT)
        process.wait(GUARD_S)


def test_only_this_computer_finds_the_nodes_unless_somebody_chose(unchosen):
    """At c8b7d8f the whole subnet did: anyone there could command the arm."""
    node = environment_of(child(unchosen[1], "servo_bus"))
    assert node.get("ROS_AUTOMATIC_DISCOVERY_RANGE") == "LOCALHOST"


def test_a_required_node_that_ends_stops_the_graph_and_releases_the_arm(unchosen):
    bench, process = unchosen
    os.kill(child(process, "teleop"), signal.SIGKILL)
    said, _ = process.communicate(timeout=GUARD_S)
    assert process.returncode == 1
    assert "teleop ended with status -9; stopping the graph" in said
    assert torque(bench) == [0] * 6


@pytest.mark.thorough
def test_ctrl_c_reads_torque_back_off_the_servos(bench, tmp_path):
    process = on(bench, tmp_path)
    process.send_signal(signal.SIGINT)
    assert process.wait(GUARD_S) == 0
    assert torque(bench) == [0] * 6


def test_a_killed_supervisor_takes_its_nodes_along_and_the_arm_is_released(bench, tmp_path):
    process = on(bench, tmp_path)
    node = os.pidfd_open(child(process, "servo_bus"))
    process.kill()
    process.wait()
    ended, _, _ = select.select([node], [], [], GUARD_S)
    os.close(node)
    assert ended
    assert torque(bench) == [0] * 6


def test_emulate_serves_a_bus_until_it_is_stopped(tmp_path):
    link = tmp_path / "arm"
    process = subprocess.Popen(
        [sys.executable, "-m", "armlet.cli.main", "emulate", "--link", str(link), "--ids", "1,2"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert str(link) in process.stdout.readline()
    with Bus(str(link), timeout_s=GUARD_S) as bus:
        assert bus.ping(2) == 777
        bus.write(1, REGISTERS["Torque_Enable"], 1)
        assert bus.read(1, REGISTERS["Torque_Enable"]) == 1
    process.send_signal(signal.SIGTERM)
    assert process.wait(GUARD_S) == 0
    assert not link.exists()
