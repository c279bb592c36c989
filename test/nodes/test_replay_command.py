"""armlet replay: an episode on an emulated arm, through a real servo_bus; and what it refuses.

The arm lives in simulated time, which goes on while a test waits, twice as fast as the wall clock
at most: replay is a program that it does not wait for.
"""

import argparse
import dataclasses
import os
import re
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from subprocess import PIPE
from types import SimpleNamespace

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "datasets"))
from made_episodes import CONTRACT, START_NS

from armlet.bringup import share_directory
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
LONG_S = 60.0
"""Of an episode that does not end before its test does."""

START_S = 1735689600

PATIENT = {"TIMEOUT_S": 120.0, "FOLLOWED_S": 120.0}
PATIENT |= {"SILENT_S": 120.0, "SIMULATED_SILENT_S": 120.0}
"""Limits of the client's that a busy computer does not reach."""

COMMAND = """
import argparse, sys
from armlet.cli.graph import replay
from armlet.client import replay as client
vars(client).update({limits})
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

from announcer import other  # noqa: E402
from awaited import wait_until  # noqa: E402
from driver_timeouts import with_timeouts  # noqa: E402
from forked_nodes import Popen  # noqa: E402
from node_processes import DIRECTOR, running, simulated_nodes  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from simulated_bench import armed  # noqa: E402

from armlet.client import replay as client  # noqa: E402
from armlet.client.interrupts import Interrupts  # noqa: E402
from armlet.client.motion import ReplayError  # noqa: E402


def test_an_episode_of_two_arms_says_which_arms_it_misses(tmp_path, private_domain):
    """It said that there is no /joint_states, whatever the episode is of and the graph has.

    Before the graph is started: a process has one client at a time.
    """
    names = ("/joint_states", "/leader/joint_states")
    with other("drivers") as node, Interrupts() as interrupts:
        topics = [node.create_publisher(JointState, name, 1) for name in names]
        assert topics
        with client.Client("", interrupts, ("left_", "right_")) as it:
            it._spun_until = lambda ready: False
            wait_until(lambda: it._node.count_publishers(names[0]))
            with pytest.raises(ReplayError) as refused:
                it.present()
    said = str(refused.value)
    assert said.startswith("no /left/joint_states and /right/joint_states: is servo_bus running")
    assert said.endswith("has joints of 2 arms, left and right; the graph has /joint_states")


SIMULATED = {"start_s": str(START_S), "real_time_factor": "2"}
WALL_CLOCK = {"use_sim_time": "false"}


@pytest.fixture(scope="module")
def shared(request, private_domain):
    """The emulated follower's servo_bus and its bench, no cameras; param: in which time."""
    given = getattr(request, "param", SIMULATED)
    with tempfile.TemporaryDirectory(prefix="armlet-bench-") as folder:
        nodes, lockstep = simulated_nodes("teleop", folder, emulated="true", **given)
        bench, bus = (spec for spec in nodes if spec.label in ("sim_bench", "servo_bus"))
        alone = {**bench.parameters, "participants": ["servo_bus", DIRECTOR]}
        specs = [dataclasses.replace(bench, parameters=alone), bus]
        with running(specs, lockstep, popen=with_timeouts()) as started:
            yield started


@pytest.fixture
def bench(shared):
    """The arm holds and stands, whatever the test before it left."""
    armed(shared)
    shared.wait("standstill", lambda: moving(shared) < 1e-3)
    return shared


@pytest.fixture(scope="module")
def long_set(tmp_path_factory):
    """An episode of LONG_S, and its rows."""
    root = tmp_path_factory.mktemp("long") / "set"
    return root, recorded(root, seconds=LONG_S)


@pytest.fixture
def started():
    """Starts a replay as a program of its own, with limits of the client's; none outlives its test.

    From a Python that has loaded most of it.
    """
    with ExitStack() as stack:

        def start(*words, env=None, **limits):
            program = COMMAND.format(limits=PATIENT | limits)
            line = [sys.executable, "-c", program, "replay", *map(str, words)]
            process = Popen(line, stdout=PIPE, stderr=PIPE, env=env)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        yield start


def wait(bench, process, what, ready):
    """Wait until something is so, of a replay that goes on meanwhile."""

    def so():
        if process.poll() is not None:
            said = process.communicate()
            raise AssertionError(f"the replay ended with status {process.returncode}: {said}")
        return ready()

    bench.wait(what, so, GUARD_S)


def end(bench, process):
    """Wait until a replay has ended; what it wrote to stdout and stderr."""
    bench.wait("the replay's end", lambda: process.poll() is not None, GUARD_S)
    return process.communicate()


def applied(bench, since_ns=0):
    """Times (s) and rows (k, 6) of what was sent to the servos."""
    return bench.seen.joint_rows("applied_joint_commands", since_ns, bench.director.now_ns)


def moving(bench, since_ns=0):
    """The greatest velocity sent lately, rad/s; NaN, which is neither, where too little was."""
    stamps, rows = applied(bench, max(since_ns, bench.director.now_ns - 10**9))
    if len(stamps) < 12:
        return float("nan")
    return float(np.abs(rows[-1] - rows[-11]).max() / (stamps[-1] - stamps[-11]))


def off(bench, row):
    """How far the goal sent last is from a row, rad."""
    return np.abs(bench.seen.latest("applied_joint_commands") - row).max()


def off_at_most(out):
    """How far the arm was from the actions, by the replay's last line, rad."""
    return float(re.search(r"up to ([0-9.]+) rad", out)[1])


def test_the_arm_goes_to_the_start_slowly_and_plays_the_episode_in_its_time(
    bench, started, tmp_path
):
    rows = recorded(tmp_path / "set")
    since_ns = bench.director.now_ns
    words = (tmp_path / "set", "--episode", 0, "--ramp-velocity", 0.8)
    # A busy computer may bring the first points late: the arm joins the motion where it is then.
    process = started(*words, SIMULATED_LEAD_S=2.5)
    out, err = end(bench, process)
    assert process.returncode == 0, err
    assert "episode 0: swing, 2.0 s at 30 Hz" in out
    assert "played 2.0 s" in out
    assert off_at_most(out) < 0.3
    stamps, sent = applied(bench, since_ns)
    velocity = np.abs(np.diff(sent, axis=0)) / np.diff(stamps)[:, None]
    assert np.percentile(velocity, 99) < 1.2
    assert off_in_time(rows, stamps, sent) < 0.01
    assert 0 <= since_ns * 1e-9 - START_S < 3600


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
def test_what_it_says_of_the_arm_is_of_one_instant(bench, started, tmp_path):
    """Of a program that was not run for two seconds it compared then's positions with now's row."""
    rows = recorded(tmp_path / "set", seconds=6.0)
    process = started(tmp_path / "set", "--episode", 0)
    wait(bench, process, "the episode", lambda: moving(bench) > 0.2 and off(bench, rows[30]) < 0.05)
    process.send_signal(signal.SIGSTOP)
    bench.let_pass(2.0)
    process.send_signal(signal.SIGCONT)
    out, err = end(bench, process)
    assert process.returncode == 0, err
    assert off_at_most(out) < 0.3


@pytest.mark.thorough
@pytest.mark.wall_clock
@pytest.mark.parametrize("shared", [WALL_CLOCK], ids=["wall clock"], indirect=True)
def test_by_the_wall_clock_it_is_played_as_well(shared, started, tmp_path):
    """How exactly, on a computer that is not busy, is what simulated time shows."""
    rows = recorded(tmp_path / "set")
    shared.wait_for_status("servo_bus: bus", "holding")
    process = started(tmp_path / "set", "--episode", 0, "--ramp-velocity", 0.8, AHEAD_S=30.0)
    out, err = end(shared, process)
    assert process.returncode == 0, err
    assert "played 2.0 s" in out
    assert min(off(shared, row) for row in rows) < 0.05


def test_an_arm_whose_replay_was_killed_has_its_next_two_seconds():
    """By the wall clock; of simulated time, which may go fast, more."""

    def ahead_s(simulated):
        clock = SimpleNamespace(simulated=simulated)
        return client.Client._ahead_s(SimpleNamespace(_clock=clock))

    assert ahead_s(False) == 2.0 < ahead_s(True)


@pytest.mark.representatives(1)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGTSTP])
def test_a_signal_holds_the_arm_where_it_is(bench, started, long_set, number):
    process = started(long_set[0], "--episode", 0)
    wait(bench, process, "motion", lambda: moving(bench) > 0.2)
    process.send_signal(number)
    out, err = end(bench, process)
    assert process.returncode == 130, (out, err)
    assert "the arm holds where it is" in err
    bench.wait("standstill", lambda: moving(bench) < 1e-3)


@pytest.mark.thorough
def test_an_arm_whose_replay_was_killed_stops_where_its_points_end(bench, started, long_set):
    """It played the rest of the episode: it had the whole of it from the beginning."""
    root, rows = long_set
    process = started(root, "--episode", 0, SIMULATED_AHEAD_S=8.0)
    wait_for_the_third_second(bench, process, rows)
    process.kill()
    process.wait()
    killed_ns = bench.director.now_ns
    bench.wait("the time of the rest", lambda: applied(bench, killed_ns)[0][-1] > 10.0)
    stamps, sent = applied(bench, killed_ns)
    late = stamps > 8.5
    assert np.abs(sent[late] - sent[-1]).max() < 1e-3


def wait_for_the_third_second(bench, process, rows):
    """Of an episode that is played: an arm may have stood there before."""
    wait(bench, process, "the replay", lambda: moving(bench) > 0.2)
    wait(bench, process, "the episode", lambda: off(bench, rows[60]) < 0.05)


def test_a_stop_ends_the_replay_and_no_arming_resumes_it(bench, started, long_set):
    root, rows = long_set
    process = started(root, "--episode", 0)
    wait_for_the_third_second(bench, process, rows)
    bench.director.stop()
    bench.director.set("servo_bus/set_torque", True)
    armed_ns = bench.director.now_ns + 1  # the last goal before the stop is of this instant
    out, err = end(bench, process)
    assert process.returncode == 1, out
    assert "so the replay ends" in err and err.count("\n") == 1
    bench.wait("goals of then", lambda: applied(bench, armed_ns)[0][-1] > 2.0)
    sent = applied(bench, armed_ns)[1]
    assert np.abs(sent - sent[0]).max() < 1e-2


@pytest.mark.thorough
def test_of_two_replays_at_once_the_first_ends(bench, started, long_set):
    root, rows = long_set
    first = started(root, "--episode", 0)
    wait_for_the_third_second(bench, first, rows)
    second = started(root, "--episode", 0)
    out, err = end(bench, first)
    assert first.returncode == 1, out
    assert "another program plays a trajectory on the arm, so the replay ends" in err
    # The end of the first does not hold what the second plays.
    ended_ns = bench.director.now_ns
    wait(bench, second, "the second", lambda: moving(bench, ended_ns) > 0.2)
    second.send_signal(signal.SIGINT)
    out, err = end(bench, second)
    assert second.returncode == 130, (out, err)
    bench.wait("standstill", lambda: moving(bench) < 1e-3)


@pytest.mark.thorough
def test_a_person_who_commands_the_arm_ends_the_replay(bench, started, long_set):
    root, rows = long_set
    process = started(root, "--episode", 0)
    wait_for_the_third_second(bench, process, rows)
    here = bench.seen.latest("joint_states")

    def ended():
        bench.director.command(JOINTS, here)  # as a leader does, again and again
        return process.poll() is not None

    bench.wait("the replay's end", ended)
    out, err = process.communicate()
    assert process.returncode == 1, out
    assert "so the replay ends" in err
    bench.wait("standstill", lambda: moving(bench) < 1e-3)


@pytest.mark.thorough
def test_another_calibration_than_the_drivers_is_refused(bench, started, tmp_path):
    recorded(tmp_path / "set")
    other = tmp_path / "other.json"
    leader = FILE.with_name("emulated_leader.json").read_text()
    other.write_text(leader)
    process = started(tmp_path / "set", "--episode", 0, "--calibration", other, "--other-arm")
    out, err = end(bench, process)
    assert process.returncode == 2, out
    assert "not the one that was given" in err


def test_without_torque_it_gives_up(bench, started, tmp_path):
    rows = recorded(tmp_path / "set")

    def elsewhere():
        bench.director.command(JOINTS, rows[0] + 0.6)
        return off(bench, rows[0]) > 0.3

    bench.wait("the arm elsewhere", elsewhere)
    bench.director.set("servo_bus/set_torque", False)
    words = (tmp_path / "set", "--episode", 0, "--ramp-velocity", 3)
    process = started(*words, FOLLOWED_S=client.FOLLOWED_S)
    out, err = end(bench, process)
    assert process.returncode == 1, out
    assert "does not follow the replay: is torque on" in err


def test_nobody_there(tmp_path, started, empty_domain):
    recorded(tmp_path / "set")
    alone = {**os.environ, "ROS_DOMAIN_ID": str(empty_domain)}
    process = started(tmp_path / "set", "--episode", "0", env=alone, TIMEOUT_S=0.5)
    out, err = process.communicate()
    assert process.returncode == 2, out
    assert "is servo_bus running" in err
