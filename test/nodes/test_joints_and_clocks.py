"""The recorder beside frames of joints in any order, of two arms, and by another clock."""

import json

import numpy as np
import pytest
from announcer import SENTENCE, Announcer, other
from node_processes import CALIBRATION, running, until_taken
from published_frames import CLOCKS, DEGREES, ERROR, RADIANS, PublishedFrames, contract

from armlet.bringup import NodeSpec
from armlet.client.graph import GraphError
from armlet.datasets import Dataset, check
from armlet.robots import SO101_JOINTS
from armlet.robots import calibration as calibrations
from armlet.robots.units import converter

FILE = CALIBRATION / "emulated_follower.json"
LEADER = CALIBRATION / "emulated_leader.json"
STATUS = "recorder: dataset"


def recorder(root, calibration):
    given = {"root": str(root), "task": "wave", "calibration_file": str(calibration)}
    return NodeSpec("recorder", "recorder", {**given, "min_episode_s": 0.0})


def record(graph, frames, root):
    """One episode of some frames."""
    frames.wait(STATUS, "idle")
    # A computer that stands still sends frames late, and no episode is made of those.
    until_taken(lambda: try_to_record(graph))
    return Dataset(root)


def try_to_record(graph):
    graph.seen.forget_diagnostics()
    graph.director.trigger("recorder/start_recording")
    graph.wait("frames, or a refusal", lambda: said(graph, "open_frames", "failure"))
    graph.director.trigger("recorder/stop_recording")


def said(graph, *names):
    """Whether the recorder says anything but nothing of one of some values."""
    values = graph.seen.status().get(STATUS, {})
    return any(values.get(name, "") not in ("", "0") for name in names)


def in_order(tmp_path, joints):
    path = tmp_path / "calibration.json"
    document = json.loads(FILE.read_text())
    path.write_text(json.dumps({joint: document[joint] for joint in joints}))
    return path


def expected(joints, calibration, radians):
    values = converter(joints, calibration).radians_to_dataset(radians, "degrees")
    return values.astype(np.float32)


@pytest.mark.representatives(1)
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


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, private_domain):
    """A recorder and frames for it, which tests leave in time: (graph, frames, dataset's root)."""
    root = tmp_path_factory.mktemp("recorded") / "set"
    with PublishedFrames(contract(), RADIANS) as frames, running([recorder(root, FILE)]) as graph:
        yield graph, frames, root


@pytest.mark.parametrize("case", CLOCKS)
def test_a_recorder_by_another_clock_says_so_and_does_not_start(case, recorded):
    graph, frames, root = recorded
    frames.robot_s, frames.late_s, words = CLOCKS[case]
    assert frames.wait(STATUS, words) == ERROR
    with pytest.raises(GraphError, match=words):
        graph.director.trigger("recorder/start_recording")
    frames.robot_s = frames.late_s = 0.0
    frames.forget()
    record(graph, frames, root)


def test_a_recorder_that_refuses_says_the_cause_first(recorded):
    graph, frames, _ = recorded
    frames.late_s = 1.0
    with other("announcer") as announcer:
        Announcer(announcer)
        assert frames.wait(STATUS, f"{SENTENCE}; so observations are") == ERROR
        with pytest.raises(GraphError, match="load 13 on 2 cores; so observations are"):
            graph.director.trigger("recorder/start_recording")
    frames.late_s = 0.0
    frames.forget()


def test_degrees_from_another_driver_are_not_recorded_as_radians(recorded):
    graph, frames, root = recorded
    frames.wait(STATUS, "idle")
    before = len(Dataset(root).episodes) if (root / "meta/info.json").is_file() else 0
    frames.radians = DEGREES
    until_taken(lambda: graph.director.trigger("recorder/start_recording"))
    assert frames.wait(STATUS, "looks like degrees") == ERROR
    frames.radians = RADIANS
    after = len(Dataset(root).episodes) if (root / "meta/info.json").is_file() else 0
    assert after == before
