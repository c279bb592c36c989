"""A real SO-101 leader's motion through the emulated bench: teleoperated, recorded, compared."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from node_processes import CALIBRATION, follower
from simulated_bench import SimulatedBench

from armlet.bringup import NodeSpec
from armlet.datasets import Dataset
from armlet.robots import calibration as calibrations
from armlet.robots.kinematics import GRIPPER_CLOSED, GRIPPER_OPEN
from armlet.robots.units import own_converter
from armlet.sim import FOLLOWER, LEADER

REAL = Path(__file__).parents[3] / "shared" / "data" / "so101_real"
FPS = 30
SECONDS = 5
UNITS = "range_m100_100"

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(not REAL.exists(), reason=f"the real recording {REAL} is absent"),
]


@pytest.fixture(scope="module")
def source():
    """The leader's positions (T, 6) of the recording's first episode, dataset units."""
    return Dataset(REAL).episode(0).action[: SECONDS * FPS].astype(np.float64)


def at(source, elapsed_s):
    """The source at times (k,), linear between its rows."""
    rows = np.arange(len(source)) / FPS
    return np.stack([np.interp(elapsed_s, rows, column) for column in source.T], axis=-1)


def hand(values):
    """The bench's joint angles of leader positions; its gripper angle is a share of the range."""
    angles = own_converter(LEADER).dataset_to_radians(values, UNITS)
    angles[5] = GRIPPER_CLOSED + values[5] / 100 * (GRIPPER_OPEN - GRIPPER_CLOSED)
    return angles


def nodes(directory, root):
    leader = NodeSpec(
        "servo_bus",
        "servo_bus",
        {
            "port": str(directory / "leader"),
            "mode": "leader",
            "calibration_file": str(CALIBRATION / "emulated_leader.json"),
        },
        "leader",
    )
    teleop = NodeSpec(
        "teleop",
        "teleop",
        {
            "leader_calibration_file": str(CALIBRATION / "emulated_leader.json"),
            "follower_calibration_file": str(CALIBRATION / "emulated_follower.json"),
            "joint_units": UNITS,
        },
    )
    aligner = NodeSpec("aligner", "aligner", {"fps": FPS, "streams": ["state", "action"]})
    recorder = NodeSpec(
        "recorder",
        "recorder",
        {
            "root": str(root),
            "task": "follow a real leader",
            "on_gap": "split",
            "calibration_file": str(CALIBRATION / "emulated_follower.json"),
            "joint_units": UNITS,
        },
    )
    return [follower(directory / "follower"), leader, teleop, aligner, recorder]


@pytest.fixture(scope="module")
def recorded(source, tmp_path_factory, private_domain):
    directory = tmp_path_factory.mktemp("bench")
    root = tmp_path_factory.mktemp("data") / "dataset"

    def leader_motion(elapsed_s):
        return hand(at(source, max(0.0, elapsed_s - 1.0)))

    with SimulatedBench(directory) as bench, bench.graph(nodes(directory, root)) as graph:
        graph.wait("actions", lambda: graph.seen.count("action") > 10)
        bench.play(lambda _: hand(source[0]))
        start = own_converter(FOLLOWER).dataset_to_radians(source[0], UNITS)
        graph.wait("the start", lambda: graph.seen.distance(start) < 0.05)
        graph.director.trigger("recorder/start_recording")
        bench.play(leader_motion)
        graph.let_pass(SECONDS + 1.5)
        graph.director.trigger("recorder/stop_recording")
    dataset = Dataset(root)
    assert len(dataset.episodes) == 1, "no row is lost"
    assert calibrations.fingerprint(FOLLOWER) == dataset.contract.calibration
    return Recorded.load(dataset)


@dataclass(frozen=True)
class Recorded:
    """Times (k,) in s and rows (k, 6), dataset units."""

    times: np.ndarray
    state: np.ndarray
    action: np.ndarray

    @classmethod
    def load(cls, dataset):
        episode = dataset.episode(0)
        return cls(
            (episode.stamp_ns - episode.stamp_ns[0]) * 1e-9,
            episode.state.astype(np.float64),
            episode.action.astype(np.float64),
        )


def fitted_delay(times, rows, reference, candidates):
    """The delay, s, at which rows (k, 6) fit a reference function of time best."""
    errors = [np.square(rows - reference(times - delay)).mean() for delay in candidates]
    return float(candidates[int(np.argmin(errors))])


def test_the_recorded_action_is_the_source_within_two_ticks(source, recorded):
    delay = fitted_delay(
        recorded.times, recorded.action, lambda t: at(source, t), np.arange(0.8, 2.5, 0.0005)
    )
    times = recorded.times - delay
    inside = (times > 0.1) & (times < len(source) / FPS - 0.1)
    assert inside.sum() > 0.8 * len(source)
    convert = own_converter(FOLLOWER)
    expected = convert.dataset_to_ticks(at(source, times[inside]), UNITS)
    error = np.abs(convert.dataset_to_ticks(recorded.action[inside], UNITS) - expected)
    # Not the very worst sample: sampling at 100 Hz cuts the corners of the 30 Hz source.
    assert np.percentile(error, 95) <= 2.0, np.percentile(error, [50, 95, 99, 100])


def test_the_follower_lags_no_more_than_the_real_one(recorded):
    def action(times):
        columns = recorded.action.T
        return np.stack([np.interp(times, recorded.times, column) for column in columns], -1)

    lag = fitted_delay(recorded.times, recorded.state, action, np.arange(0.0, 0.4, 0.002))
    assert 0.02 <= lag <= 0.13


def test_units_round_trip_through_both_arms(source):
    leader = own_converter(LEADER).dataset_to_radians(source, UNITS)
    np.testing.assert_allclose(
        own_converter(LEADER).radians_to_dataset(leader, UNITS), source, atol=1e-9
    )
