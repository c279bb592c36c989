"""Two followers, one dataset: real nodes record both, and stock LeRobot 0.4.4 reads it.

The emulated bench has two arms; here both are followers, left and right, and are driven apart.
"""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from node_processes import CALIBRATION, SLOW_HZ, running, simulated_nodes
from sensor_msgs.msg import JointState
from test_sim_graph import listening

from armlet.bringup import NodeSpec
from armlet.datasets import Dataset, check
from armlet.nodes.messages import joint_state, to_ns
from armlet.robots import SO101_JOINTS
from armlet.robots import calibration as calibrations
from armlet.robots.units import converter

EPISODES = Path(__file__).parents[1] / "datasets"
sys.path.append(str(EPISODES))

REPOSITORY = EPISODES.parents[1]
ORACLE = Path(os.environ.get("ARMLET_ORACLE", REPOSITORY / ".oracle")) / "v04/bin/python"
SHARED = REPOSITORY.parent / "shared/oracle"
SIDES = {"left": "leader", "right": "follower"}
BOTH = [f"{side}_{joint}" for side in SIDES for joint in SO101_JOINTS]
FILES = {side: CALIBRATION / f"emulated_{arm}.json" for side, arm in SIDES.items()}
FRAMES = 45
# Of simulated time, which runs ahead of a listener that DDS has yet to find.
DRIVE_NS = 240 * 10**9


def two_arms(folder, root):
    """The record graph with both arms as followers, each in a namespace, and no teleop."""
    given = {"width": "64", "height": "48", "emulated": "true", "root": str(root), "task": "fold"}
    nodes, lockstep = simulated_nodes("record", folder, rate_hz=SLOW_HZ, **given)
    by_name = {spec.executable: spec for spec in nodes}
    bus = by_name["servo_bus"]
    arms = [
        dataclasses.replace(
            bus,
            namespace=side,
            parameters={
                **bus.parameters,
                "port": str(Path(folder) / arm),
                "mode": "follower",
                "calibration_file": str(FILES[side]),
            },
        )
        for side, arm in SIDES.items()
    ]
    both = {
        "joints": BOTH,
        "state.topics": [f"{side}/joint_states" for side in SIDES],
        "action.topics": [f"{side}/applied_joint_commands" for side in SIDES],
    }
    arms_file = ",".join(f"{side}_={file}" for side, file in FILES.items())
    rest = [
        changed(by_name["aligner"], **both),
        changed(by_name["recorder"], calibration_file=arms_file),
    ]
    labels = [spec.label for spec in (*arms, *rest)]
    bench = changed(by_name["sim_bench"], participants=[*labels, "test"])
    return [bench, *arms, *rest], lockstep


def changed(spec: NodeSpec, **parameters):
    return dataclasses.replace(spec, parameters={**spec.parameters, **parameters})


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, private_domain):
    """An episode in which the arms are driven to different places, and what the arms said."""
    root = tmp_path_factory.mktemp("two") / "set"
    nodes, lockstep = two_arms(tmp_path_factory.mktemp("bench"), root)
    topics = {
        f"{side}/{what}": JointState
        for side in SIDES
        for what in ("joint_states", "applied_joint_commands")
    }
    with running(nodes, lockstep) as graph, listening({**topics, "action": JointState}) as heard:
        publishers = {
            side: graph.director._node.create_publisher(JointState, f"{side}/joint_commands", 1)
            for side in SIDES
        }
        drive(graph, heard, publishers, 0.0, 4)
        graph.director.trigger("recorder/start_recording")
        drive(graph, heard, publishers, 0.2, FRAMES)
        graph.director.trigger("recorder/stop_recording")
        # This listener may lag behind: frames lie between messages that it has.
        drive(graph, heard, publishers, 0.2, 4)
        yield root, {topic: list(messages) for topic, messages in heard.items()}


def drive(graph, heard, publishers, place, frames):
    """Command the arms to opposite places until so many messages more came of every topic."""
    begun = {topic: len(messages) for topic, messages in heard.items()}
    end_ns = graph.director.now_ns + DRIVE_NS
    while any(len(heard[topic]) < count + frames for topic, count in begun.items()):
        assert graph.director.now_ns < end_ns, (graph.seen.messages(), graph.said())
        for sign, publisher in zip((1, -1), publishers.values(), strict=True):
            position = np.full(len(SO101_JOINTS), place * sign)
            publisher.publish(joint_state(SO101_JOINTS, graph.director.now_ns, position))
        graph.let_pass(0.02)


def said(messages, stamp_ns):
    """Joint positions between the messages, radians, at the frames' stamps."""
    times = [to_ns(message.header.stamp) for message in messages]
    values = np.array([message.position for message in messages])
    assert all(list(message.name) == list(SO101_JOINTS) for message in messages)
    return np.stack([np.interp(stamp_ns, times, column) for column in values.T], axis=1)


def in_degrees(heard, what, stamp_ns):
    return np.concatenate(
        [
            converter(SO101_JOINTS, calibrations.load(FILES[side])).radians_to_dataset(
                said(heard[f"{side}/{what}"], stamp_ns), "degrees"
            )
            for side in SIDES
        ],
        axis=1,
    )


@pytest.mark.thorough
def test_each_arms_rows_are_what_that_arm_said(recorded):
    root, heard = recorded
    assert check(root) == []
    episode = Dataset(root).episode(0)
    assert len(episode.state) >= FRAMES - 3
    assert np.ptp(episode.state, axis=0).max() > 3, "the arms were driven"
    state = in_degrees(heard, "joint_states", episode.stamp_ns)
    assert np.abs(episode.state - state).max() < 0.02
    assert np.abs(episode.state[:, :6] - episode.state[:, 6:]).max() > 5


@pytest.mark.thorough
@pytest.mark.skipif(not ORACLE.exists(), reason=f"no stock LeRobot at {ORACLE}")
@pytest.mark.skipif(not SHARED.exists(), reason=f"no oracle scripts at {SHARED}")
def test_stock_lerobot_reads_names_values_and_stamps(recorded, tmp_path):
    root, _ = recorded
    done = subprocess.run(
        [ORACLE, EPISODES / "load_with_lerobot.py", SHARED, tmp_path, root],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    names = json.loads((tmp_path / "set.json").read_text())
    assert names["action"] == names["observation.state"] == [f"{joint}.pos" for joint in BOTH]
    read, episode = np.load(tmp_path / "set.npz"), Dataset(root).episode(0)
    assert (read["observation.state"] == episode.state).all()
    assert (read["action"] == episode.action).all()
    assert np.allclose(read["timestamp"], np.arange(len(episode.state)) / 30, atol=1e-6)
    elapsed_s = (episode.stamp_ns - episode.stamp_ns[0]) * 1e-9
    assert np.allclose(read["timestamp"], elapsed_s, atol=1e-6)
    assert read["observation.images.front"].shape[1:] == (48, 64, 3)
    assert read["observation.images.wrist"].shape[1:] == (48, 64, 3)
