"""Recorder and policy beside frames of joints in any order, of two arms, and by another clock."""

import json

import numpy as np
import pytest
from node_processes import CALIBRATION, running
from published_frames import ERROR, PublishedFrames

from armlet.bringup import NodeSpec
from armlet.client.graph import GraphError
from armlet.contract import Camera, Contract, Stream
from armlet.datasets import Dataset, check
from armlet.robots import SO101_JOINTS
from armlet.robots import calibration as calibrations
from armlet.robots.joints import feature_names
from armlet.robots.units import converter

RADIANS = np.array([0.1, 0.2, -0.3, 0.4, -0.5, 0.3])
FILE = CALIBRATION / "emulated_follower.json"
LEADER = CALIBRATION / "emulated_leader.json"
STATUS = "recorder: dataset"


def contract(joints=SO101_JOINTS, cameras=("front",)):
    names = feature_names(tuple(joints))
    return Contract(
        fps=30,
        cameras=tuple(Camera(name, 48, 64) for name in cameras),
        state_names=names,
        action_names=names,
        alignment=tuple(Stream(n, "linear", 0.05) for n in ("state", "action", *cameras)),
    )


def recorder(root, calibration):
    given = {"root": str(root), "task": "wave", "calibration_file": str(calibration)}
    return NodeSpec("recorder", "recorder", {**given, "min_episode_s": 0.0})


def record(graph, frames, root):
    """One episode of some frames."""
    frames.wait(STATUS, "idle")
    graph.director.trigger("recorder/start_recording")
    seen = graph.seen
    graph.wait("frames", lambda: seen.status().get(STATUS, {}).get("open_frames", "0") != "0")
    graph.director.trigger("recorder/stop_recording")
    return Dataset(root)


def in_order(tmp_path, joints):
    path = tmp_path / "calibration.json"
    document = json.loads(FILE.read_text())
    path.write_text(json.dumps({joint: document[joint] for joint in joints}))
    return path


def expected(joints, calibration, radians):
    values = converter(joints, calibration).radians_to_dataset(radians, "degrees")
    return values.astype(np.float32)


@pytest.mark.parametrize("order", [sorted, reversed])
def test_the_order_of_a_calibration_file_means_nothing(order, tmp_path):
    root, path = tmp_path / "set", in_order(tmp_path, order(SO101_JOINTS))
    with (
        PublishedFrames(contract(), RADIANS) as frames,
        running([recorder(root, path)]) as graph,
    ):
        dataset = record(graph, frames, root)
    own = calibrations.load(FILE)
    right = expected(SO101_JOINTS, own, RADIANS)
    for rows in (dataset.episode(0).state, dataset.episode(0).action):
        assert (rows == right).all(), f"{rows[0]} for {right}"
    assert dataset.contract.calibration == calibrations.fingerprint(own)
    assert check(root) == []


BOTH = tuple(f"{side}_{joint}" for side in ("left", "right") for joint in SO101_JOINTS)


def test_two_arms_are_refused_with_one_calibration_and_recorded_with_two(tmp_path):
    radians = np.concatenate([RADIANS, -0.5 * RADIANS])
    with PublishedFrames(contract(BOTH), radians) as frames:
        with running([recorder(tmp_path / "one", FILE)]) as graph:
            assert frames.wait(STATUS, "lacks left_shoulder_pan") == ERROR
            with pytest.raises(GraphError, match=r"left_=FILE,right_=FILE"):
                graph.director.trigger("recorder/start_recording")
        assert not (tmp_path / "one").exists()
        root = tmp_path / "two"
        with running([recorder(root, f"left_={FILE},right_={LEADER}")]) as graph:
            dataset = record(graph, frames, root)
    halves = (
        expected(SO101_JOINTS, calibrations.load(FILE), RADIANS),
        expected(SO101_JOINTS, calibrations.load(LEADER), -0.5 * RADIANS),
    )
    assert (dataset.episode(0).state == np.concatenate(halves)).all()
    units = {unit.name: unit.unit for unit in dataset.contract.units}
    assert units["left_gripper.pos"] == "range_0_100" and units["left_wrist_roll.pos"] == "degrees"


CLOCKS = {
    "behind": (1.0, 0.0, "from the future on arrival"),
    "ahead": (-1.0, 0.0, "clock of this computer is ahead of the robot's by about that"),
    "late": (0.0, 1.0, "the aligner is behind"),
}


@pytest.mark.parametrize("case", CLOCKS)
def test_a_recorder_by_another_clock_says_so_and_does_not_start(case, tmp_path):
    robot_s, late_s, words = CLOCKS[case]
    with (
        PublishedFrames(contract(), RADIANS, robot_s, late_s) as frames,
        running([recorder(tmp_path / "set", FILE)]) as graph,
    ):
        assert frames.wait(STATUS, words) == ERROR
        with pytest.raises(GraphError, match=words):
            graph.director.trigger("recorder/start_recording")
        frames.robot_s = frames.late_s = 0.0
        frames.forget()
        record(graph, frames, tmp_path / "set")


def policy(folder):
    """A policy of random weights."""
    pytest.importorskip("torch", reason="the policy extra is not installed")
    from bench_policies import save_random

    given = {
        "checkpoint": str(save_random(folder / "checkpoint")),
        "calibration_file": str(FILE),
        "joint_units": "degrees",
        "threads": 1,
    }
    return NodeSpec("policy", "policy", given)


@pytest.mark.parametrize("case", CLOCKS)
def test_a_policy_by_another_clock_says_so(case, tmp_path):
    robot_s, late_s, words = CLOCKS[case]
    live = contract(cameras=("front", "wrist"))
    with (
        PublishedFrames(live, RADIANS, robot_s, late_s) as frames,
        running([policy(tmp_path)]),
    ):
        assert frames.wait("policy: inference", words) == ERROR


# Small angles: the aligner lets through what some joint of some arm might mean.
DEGREES = np.array([6.0, -5.0, 7.0, -4.5, 6.5, 0.0])


def test_degrees_from_another_driver_are_not_recorded_as_radians(tmp_path):
    root = tmp_path / "set"
    with PublishedFrames(contract(), DEGREES) as frames, running([recorder(root, FILE)]) as graph:
        frames.wait(STATUS, "idle")
        graph.director.trigger("recorder/start_recording")
        assert frames.wait(STATUS, "looks like degrees") == ERROR
    assert not (root / "meta/info.json").is_file() or not Dataset(root).episodes


def test_a_policy_does_not_act_on_degrees(tmp_path):
    live = contract(cameras=("front", "wrist"))
    with PublishedFrames(live, DEGREES) as frames, running([policy(tmp_path)]):
        frames.wait("policy: inference", "they are degrees, publish radians")
