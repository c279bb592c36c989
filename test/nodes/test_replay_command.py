"""armlet replay: an episode on an emulated arm, through a real servo_bus; and what it refuses."""

import argparse
import dataclasses
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "datasets"))
from made_episodes import CONTRACT, START_NS

from armlet.bringup import graph, share_directory
from armlet.cli.graph import replay
from armlet.client.motion import Pieces
from armlet.datasets import Dataset, DatasetWriter, EpisodeFrame
from armlet.robots import calibration as calibrations
from armlet.robots.units import own_converter

FILE = share_directory() / "config/calibration/emulated_follower.json"
CALIBRATION = calibrations.load(FILE)
JOINTS = tuple(CALIBRATION)
# By the wall clock, and only so that a broken test ends.
GUARD_S = 180


COMMAND = """
import argparse, sys
from armlet.cli.graph import replay
parser = argparse.ArgumentParser()
replay.add_parser(parser.add_subparsers(required=True))
args = parser.parse_args(sys.argv[1:])
sys.exit(args.run(args))
"""


def main(words):
    parser = argparse.ArgumentParser()
    replay.add_parser(parser.add_subparsers(required=True))
    args = parser.parse_args(words)
    return args.run(args)


def recorded(root, joint_units="degrees", calibration=None, seconds=2.0):
    """An episode in which every joint swings; rows in radians too."""
    contract = dataclasses.replace(
        CONTRACT,
        cameras=(),
        alignment=(),
        joint_units=joint_units,
        calibration=calibration or calibrations.fingerprint(CALIBRATION),
    )
    times = np.arange(round(seconds * 30)) / 30
    rows = 0.3 * np.sin(2 * times)[:, None] * np.linspace(0.5, 1, 6) + 0.1
    with DatasetWriter(root, contract) as writer:
        writer.begin_episode("swing")
        for index, row in enumerate(rows):
            values = own_converter(CALIBRATION).radians_to_dataset(row, joint_units)
            stamp = START_NS + index * 10**9 // 30
            writer.add_frame(EpisodeFrame(values, values, {}, stamp, {}))
        writer.finish_episode()
    return rows


@pytest.mark.parametrize("units", ["degrees", "range_m100_100"])
def test_actions_become_the_arms_radians(tmp_path, units):
    rows = recorded(tmp_path / "set", units)
    motion = replay.motion_of(Dataset(tmp_path / "set"), 0, CALIBRATION, None)
    assert motion.joints == JOINTS
    assert np.abs(motion.rows - rows).max() < 1e-5
    assert motion.duration_s == pytest.approx(59 / 30)


def test_columns_are_matched_by_name(tmp_path):
    rows = recorded(tmp_path / "set")
    other = dict(reversed(list(CALIBRATION.items())))
    motion = replay.motion_of(Dataset(tmp_path / "set"), 0, other, None, other_arm=True)
    assert motion.joints == tuple(reversed(JOINTS))
    assert np.abs(motion.rows - rows[:, ::-1]).max() < 1e-5


def test_the_ramp_is_slow_and_ends_at_the_start():
    class Args:
        ramp_velocity = 0.5

    goal = np.array([1.0, -0.2])
    rows = replay.ramp(np.zeros(2), goal, Args)
    velocity = np.abs(np.diff(rows, axis=0)).max(axis=0) * replay.RAMP_HZ
    assert (rows[0] == 0).all()
    assert (rows[-1] == goal).all()
    assert 0.45 < velocity.max() <= 0.5 + 1e-9
    assert (np.abs(np.diff(rows, axis=0)[[0, -1]]) * replay.RAMP_HZ < 0.05).all()


@pytest.mark.parametrize(("rows", "hz"), [(1, 30), (2, 1), (61, 30), (7, 1), (500, 100)])
def test_a_motion_is_sent_in_pieces_that_lead_on(rows, hz):
    pieces = Pieces(np.arange(rows, dtype=np.float64)[:, None], hz, 2.0)
    assert pieces.duration_s == (rows - 1) / hz
    sent, at_s = [], 0.0
    while at_s <= pieces.duration_s:
        if pieces.due(at_s):
            begin, piece = pieces.take(at_s)
            assert begin <= at_s * hz
            assert piece[0, 0] == begin
            assert len(piece) > 1 or rows == 1
            sent.append(int(piece[-1, 0]))
        ahead_s = (sent[-1] - at_s * hz) / hz
        assert ahead_s < 2.0 + 2 / hz
        assert ahead_s > 1.5 or sent[-1] == rows - 1
        at_s += 0.05
    assert sent == sorted(set(sent))


def test_what_does_not_fit_this_arm_is_refused(tmp_path):
    recorded(tmp_path / "set", calibration="c0ffee")
    dataset = Dataset(tmp_path / "set")
    with pytest.raises(replay.ReplayError, match=r"calibration c0ffee, this arm has .*other-arm"):
        replay.motion_of(dataset, 0, CALIBRATION, None)
    replay.motion_of(dataset, 0, CALIBRATION, None, other_arm=True)
    with pytest.raises(replay.ReplayError, match="is in degrees, not range_m100_100"):
        replay.motion_of(dataset, 0, CALIBRATION, "range_m100_100", other_arm=True)
    fewer = {joint: CALIBRATION[joint] for joint in JOINTS[:5]}
    with pytest.raises(replay.ReplayError, match="the arm has"):
        replay.motion_of(dataset, 0, fewer, None, other_arm=True)
    (tmp_path / "set/meta/armlet_contract.json").unlink()
    with pytest.raises(replay.ReplayError, match="does not state its joint units"):
        replay.motion_of(Dataset(tmp_path / "set"), 0, CALIBRATION, None)
    with pytest.raises(replay.ReplayError, match="does not state the calibration"):
        replay.motion_of(Dataset(tmp_path / "set"), 0, CALIBRATION, "degrees")


def test_the_arms_of_an_episode_are_those_of_the_robot_whose_joints_it_has(tmp_path):
    def prefixes(calibration, joints):
        args = argparse.Namespace(calibration=calibration, robot="none")
        return replay._prefixes(args, joints)

    both = f"left_={FILE},right_={FILE}"
    assert prefixes(both, ["left_gripper", "right_gripper"]) == ["left_", "right_"]
    assert prefixes(both, ["left_gripper"]) == ["left_"]
    assert prefixes(both, ["gripper"]) == prefixes(str(FILE), ["gripper"]) == [""]
    assert prefixes(None, ["left_gripper"]) == [""]
    two = [f"{side}_{joint}" for side in ("left", "right") for joint in JOINTS]
    assert prefixes(None, two) == prefixes(str(FILE), two) == ["left_", "right_"]
    assert prefixes(None, JOINTS) == [""]


def test_bad_arguments_need_no_robot(tmp_path, capsys):
    recorded(tmp_path / "set", calibration="c0ffee")
    root = str(tmp_path / "set")
    assert main(["replay", root, "--episode", "4"]) == 2
    assert "has episodes 0..0, not 4" in capsys.readouterr().err
    assert main(["replay", root, "--episode", "0", "--ramp-velocity", "9"]) == 2
    assert "0.01..5 rad/s" in capsys.readouterr().err
    assert main(["replay", str(tmp_path), "--episode", "0"]) == 2
    assert "not a LeRobot dataset" in capsys.readouterr().err


# --- over real ROS ------------------------------------------------------------------------------

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (pip install 'armlet[ros]')")


@pytest.fixture(scope="module")
def bench(private_domain):
    """The emulated follower's servo_bus, no cameras."""
    from node_processes import running

    with tempfile.TemporaryDirectory(prefix="armlet-bench-") as folder:
        nodes = graph("teleop").nodes(
            {"emulated": "true", "bench_directory": folder, "use_sim_time": "false"}
        )
        wanted = [n for n in nodes if n.label in ("sim_bench", "servo_bus")]
        with running(wanted) as started:
            started.wait("joints", lambda: started.seen.count("applied_joint_commands") > 20)
            yield started


def started(*words):
    command = [sys.executable, "-c", COMMAND, "replay", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def applied(bench, since_ns=0):
    """Times (s) and rows (k, 6) of what was sent to the servos."""
    return bench.seen.joint_rows("applied_joint_commands", since_ns, time.time_ns())


@pytest.mark.wall_clock(seconds=6)
def test_the_arm_goes_to_the_start_slowly_and_plays_the_episode_in_its_time(bench, tmp_path):
    rows = recorded(tmp_path / "set")
    since_ns = time.time_ns()
    process = started(tmp_path / "set", "--episode", 0, "--ramp-velocity", 0.8)
    out, err = process.communicate(timeout=GUARD_S)
    assert process.returncode == 0, err
    assert "episode 0: swing, 2.0 s at 30 Hz" in out
    assert float(re.search(r"up to ([0-9.]+) rad", out)[1]) < 0.3
    stamps, sent = applied(bench, since_ns)
    velocity = np.abs(np.diff(sent, axis=0)) / np.diff(stamps)[:, None]
    assert np.percentile(velocity, 99) < 1.2
    assert off_in_time(rows, stamps, sent) < 0.01


def off_in_time(rows, stamps, sent):
    """How far what was sent is from an episode's rows, rad, on average, at its every moment.

    Counted back from where the episode's end was sent.
    """
    end = stamps[np.abs(sent - rows[-1]).max(axis=1) < 2e-3]
    assert len(end)
    times = np.arange(len(rows)) / 30 - (len(rows) - 1) / 30
    return min(
        np.abs(np.stack([np.interp(end[0] + shift + times, stamps, c) for c in sent.T], -1) - rows)
        .max(axis=1)
        .mean()
        for shift in np.arange(-0.2, 0.2, 0.005)
    )


@pytest.mark.thorough
def test_on_a_simulated_graph_it_is_played_in_simulated_time(tmp_path, empty_domain, monkeypatch):
    """As on `armlet up`; replay is a program that simulated time does not wait for."""
    from node_processes import running

    monkeypatch.setenv("ROS_DOMAIN_ID", str(empty_domain))
    rows = recorded(tmp_path / "set")
    with tempfile.TemporaryDirectory(prefix="armlet-bench-") as folder:
        nodes = graph("teleop").nodes({"emulated": "true", "bench_directory": folder})
        bench, bus = (n for n in nodes if n.label in ("sim_bench", "servo_bus"))
        time_of_its_own = {"start_s": 1735689600.0, "real_time_factor": 0.5}
        alone = {**bench.parameters, "participants": ["servo_bus"], **time_of_its_own}
        with running([dataclasses.replace(bench, parameters=alone), bus]) as sim:
            sim.wait("joints", lambda: sim.seen.count("joint_states") > 20)
            process = started(tmp_path / "set", "--episode", 0, "--ramp-velocity", 0.8)
            out, err = process.communicate(timeout=GUARD_S)
            stamps, sent = sim.seen.joint_rows("applied_joint_commands", 0, time.time_ns())
    assert process.returncode == 0, err
    assert "played 2.0 s" in out
    assert 0 <= stamps[0] - 1735689600 < 100
    assert off_in_time(rows, stamps, sent) < 0.01


@pytest.mark.representatives(1)
@pytest.mark.wall_clock(seconds=6)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGTSTP])
def test_a_signal_holds_the_arm_where_it_is(bench, tmp_path, number):
    recorded(tmp_path / "set", seconds=20.0)
    process = started(tmp_path / "set", "--episode", 0)
    bench.wait("motion", lambda: moving(bench) > 0.2)
    process.send_signal(number)
    out, err = process.communicate(timeout=GUARD_S)
    assert process.returncode == 130, (out, err)
    assert "the arm holds where it is" in err
    bench.wait("standstill", lambda: moving(bench) < 1e-3)


@pytest.mark.wall_clock(seconds=6)
def test_an_arm_whose_replay_was_killed_stops_in_two_seconds(bench, tmp_path):
    """It played the rest of the episode: it had the whole of it from the beginning."""
    rows = recorded(tmp_path / "set", seconds=20.0)
    process = started(tmp_path / "set", "--episode", 0)
    wait_for_the_third_second(bench, rows)
    killed_ns = time.time_ns()
    process.kill()
    process.communicate()
    bench.wait("standstill", lambda: moving(bench) < 1e-3)
    bench.wait("the time of the rest", lambda: applied(bench, killed_ns)[0][-1] > 4.0)
    stamps, sent = applied(bench, killed_ns)
    late = stamps > 2.5
    assert np.abs(sent[late] - sent[-1]).max() < 1e-3


def wait_for_the_third_second(bench, rows):
    """Of an episode that is played: an arm may have stood there before."""
    bench.wait("the replay", lambda: moving(bench) > 0.2)
    bench.wait("the episode", lambda: off(bench, rows[60]) < 0.05)


def off(bench, row):
    """How far the goal sent last is from a row, rad."""
    return np.abs(bench.seen.latest("applied_joint_commands") - row).max()


@pytest.mark.wall_clock(seconds=6)
def test_a_stop_ends_the_replay_and_no_arming_resumes_it(bench, tmp_path):
    rows = recorded(tmp_path / "set", seconds=20.0)
    process = started(tmp_path / "set", "--episode", 0)
    wait_for_the_third_second(bench, rows)
    bench.director.stop()
    bench.director.set("servo_bus/set_torque", True)
    armed_ns = time.time_ns()
    out, err = process.communicate(timeout=GUARD_S)
    assert process.returncode == 1, out
    assert "so the replay ends" in err and err.count("\n") == 1
    bench.wait("goals of then", lambda: applied(bench, armed_ns)[0][-1] > 2.0)
    sent = applied(bench, armed_ns)[1]
    assert np.abs(sent - sent[0]).max() < 1e-2


@pytest.mark.thorough
@pytest.mark.wall_clock(seconds=6)
def test_of_two_replays_at_once_the_first_ends(bench, tmp_path):
    rows = recorded(tmp_path / "set", seconds=20.0)
    first = started(tmp_path / "set", "--episode", 0)
    wait_for_the_third_second(bench, rows)
    second = started(tmp_path / "set", "--episode", 0)
    out, err = first.communicate(timeout=GUARD_S)
    assert first.returncode == 1, out
    assert "another program plays a trajectory on the arm, so the replay ends" in err
    # The end of the first does not hold what the second plays.
    bench.wait("the second", lambda: moving(bench) > 0.2)
    second.send_signal(signal.SIGINT)
    out, err = second.communicate(timeout=GUARD_S)
    assert second.returncode == 130, (out, err)
    bench.wait("standstill", lambda: moving(bench) < 1e-3)


@pytest.mark.wall_clock(seconds=6)
def test_a_person_who_commands_the_arm_ends_the_replay(bench, tmp_path):
    rows = recorded(tmp_path / "set", seconds=20.0)
    process = started(tmp_path / "set", "--episode", 0)
    wait_for_the_third_second(bench, rows)
    here = bench.seen.latest("joint_states")

    def ended():
        bench.director.command(JOINTS, here)  # as a leader does, again and again
        return process.poll() is not None

    bench.wait("the replay's end", ended)
    out, err = process.communicate(timeout=GUARD_S)
    assert process.returncode == 1, out
    assert "so the replay ends" in err
    bench.wait("standstill", lambda: moving(bench) < 1e-3)


def moving(bench):
    """The greatest velocity sent lately, rad/s."""
    stamps, rows = applied(bench, time.time_ns() - 10**9)
    if len(stamps) < 12:
        return 0.0
    return float(np.abs(rows[-1] - rows[-11]).max() / (stamps[-1] - stamps[-11]))


@pytest.mark.thorough
@pytest.mark.wall_clock(seconds=6)
def test_another_calibration_than_the_drivers_is_refused(bench, tmp_path):
    recorded(tmp_path / "set")
    other = tmp_path / "other.json"
    leader = FILE.with_name("emulated_leader.json").read_text()
    other.write_text(leader)
    process = started(tmp_path / "set", "--episode", 0, "--calibration", other, "--other-arm")
    out, err = process.communicate(timeout=GUARD_S)
    assert process.returncode == 2, out
    assert "not the one that was given" in err


@pytest.mark.wall_clock(seconds=6)
def test_without_torque_it_gives_up(bench, tmp_path):
    recorded(tmp_path / "set")
    far = own_converter(CALIBRATION).dataset_to_radians(
        Dataset(tmp_path / "set").episode(0).action[0], "degrees"
    )
    assert np.isfinite(far).all()
    bench.director.command(JOINTS, far + 0.6)
    bench.wait(
        "the arm elsewhere",
        lambda: np.abs(bench.seen.latest("applied_joint_commands") - far).max() > 0.3,
    )
    bench.director.set("servo_bus/set_torque", False)
    try:
        process = started(tmp_path / "set", "--episode", 0, "--ramp-velocity", 3)
        out, err = process.communicate(timeout=GUARD_S)
        assert process.returncode == 1, out
        assert "does not follow the replay: is torque on" in err
    finally:
        bench.director.set("servo_bus/set_torque", True)


def test_an_episode_of_two_arms_says_which_arms_it_misses(tmp_path, private_domain):
    """It said that there is no /joint_states, whatever the episode is of and the graph has."""
    from announcer import other
    from sensor_msgs.msg import JointState

    from armlet.client.interrupts import Interrupts
    from armlet.client.motion import ReplayError
    from armlet.client.replay import Client

    names = ("/joint_states", "/leader/joint_states")
    with other("drivers") as node, Interrupts() as interrupts:
        topics = [node.create_publisher(JointState, name, 1) for name in names]
        assert topics
        with Client("", interrupts, ("left_", "right_")) as client:
            client._spun_until = lambda ready: False
            wait_until(lambda: client._node.count_publishers(names[0]))
            with pytest.raises(ReplayError) as refused:
                client.present()
    said = str(refused.value)
    assert said.startswith("no /left/joint_states and /right/joint_states: is servo_bus running")
    assert said.endswith("has joints of 2 arms, left and right; the graph has /joint_states")


def wait_until(ready):
    end_s = time.monotonic() + GUARD_S
    while not ready():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_nobody_there(tmp_path, empty_domain):
    recorded(tmp_path / "set")
    process = subprocess.run(
        [sys.executable, "-c", COMMAND, "replay", tmp_path / "set", "--episode", "0"],
        capture_output=True,
        text=True,
        timeout=GUARD_S,
        env={**os.environ, "ROS_DOMAIN_ID": str(empty_domain)},
    )
    assert process.returncode == 2
    assert "is servo_bus running and active" in process.stderr
