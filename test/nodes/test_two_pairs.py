"""Two leaders and two followers from one robot file: the record graph records one vector of both.

The graph is the one `armlet up record robot:=FILE` starts, in simulated time and without cameras.
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from announcer import OtherDriver, other
from simulated_bench import SimulatedBench

from armlet.bringup import graph, share_directory
from armlet.datasets import Dataset, check
from armlet.robots import SO101_JOINTS
from armlet.robots import calibration as calibrations
from armlet.sim import Bench

sys.path.append(str(Path(__file__).parents[1] / "cli"))
from terminal_session import TerminalSession

SIDES = ("left", "right")
CALIBRATION = share_directory() / "config" / "calibration"


def robot_file(folder):
    lines = ["arms:"]
    for side in SIDES:
        for which, leads in (("follower", ""), ("leader", f", teleoperates: {side}_follower")):
            lines.append(
                f"  {side}_{which}: {{port: {folder / side / which}, calibration: "
                f"{CALIBRATION}/emulated_{which}.json{leads}}}"
            )
    path = folder / "robot.yaml"
    path.write_text("\n".join([*lines, "joint_units: degrees"]))
    return path


def nodes(folder, root):
    given = {"robot": str(robot_file(folder)), "root": str(root), "task": "fold"}
    specs = [
        spec
        for spec in graph("record").nodes(given)
        if spec.executable not in ("camera", "computer")
    ]
    return [without_camera(spec) if spec.executable == "aligner" else spec for spec in specs]


def without_camera(spec):
    kept = {name: value for name, value in spec.parameters.items() if name[:6] != "front."}
    return dataclasses.replace(spec, parameters={**kept, "streams": ["state", "action"]})


@pytest.fixture(scope="module")
def graph_of_both(tmp_path_factory, private_domain):
    folder, root = tmp_path_factory.mktemp("two"), tmp_path_factory.mktemp("set") / "data"
    for side in SIDES:
        (folder / side).mkdir()
    with (
        SimulatedBench(folder / "left", seed=1) as left,
        Bench(seed=2, paced=False, links=folder / "right", clock=left._elapsed_s) as right,
        left.graph(nodes(folder, root)) as running,
    ):
        running.wait_for_status("recorder: dataset", "idle")
        running.director.trigger("recorder/start_recording")
        running.let_pass(max(left.demonstrate(), right.demonstrate()))
        running.director.trigger("recorder/stop_recording")
        yield root, folder / "robot.yaml", running


@pytest.fixture
def recorded(graph_of_both):
    return graph_of_both[0]


def test_one_vector_of_both_arms(recorded):
    assert check(recorded) == []
    dataset = Dataset(recorded)
    assert len(dataset.episodes) == 1, "no row is lost"
    names = tuple(f"{side}_{joint}.pos" for side in SIDES for joint in SO101_JOINTS)
    assert dataset.contract.action_names == dataset.contract.state_names == names
    units = dataset.contract.units_by_name()
    assert units["left_gripper.pos"] == units["right_gripper.pos"] == "range_0_100"
    both = calibrations.load_arms(
        ",".join(f"{side}_={CALIBRATION}/emulated_follower.json" for side in SIDES)
    )
    assert dataset.contract.calibration == calibrations.fingerprint(both)
    assert dataset.info.robot_type == "bi_so101_follower"


def test_each_follower_went_where_its_own_leader_led(recorded):
    episode = Dataset(recorded).episode(0)
    assert episode.state.shape[1] == 12
    for half in (slice(0, 5), slice(6, 11)):
        action, state = episode.action[:, half], episode.state[:, half]
        moved = np.ptp(action, axis=0)
        assert moved.max() > 10, "the leader led"
        far = int(moved.argmax())
        assert np.corrcoef(action[:, far], state[:, far])[0, 1] > 0.9
    assert np.abs(episode.action[:, :6] - episode.action[:, 6:]).max() > 5, "two motions"


def test_the_stop_key_is_both_arms(graph_of_both):
    """The graph itself has no servo_bus: the key found nobody, and both arms went on."""
    with TerminalSession("session", columns=150, rows=40) as session:
        session.send("x")
        for side in SIDES:
            session.wait_for(f"{side}/servo_bus/stop +not armed", regex=True)


def test_torque_and_leaders_of_another_graph_are_left_alone(graph_of_both):
    """Whatever was below the graph's namespace was armed with it; the stop key still is of all."""
    running = graph_of_both[2]
    with (
        running.time_passes(),
        other("servo_bus", "/cell") as node,
        TerminalSession("session", columns=150, rows=40) as session,
    ):
        driver = OtherDriver(node)
        session.wait_for(r"^arm .*cell: as its own", regex=True)
        session.send("x")
        session.wait_for("cell/servo_bus/stop +done", regex=True)
        session.send("t")
        session.wait_for("cell/servo_bus +is of graph /cell", regex=True)
        for side in SIDES:
            session.wait_for(f"{side}/servo_bus/set_torque +holding", regex=True)
        session.send("e")
        session.wait_for("right/teleop/set_engaged")
        assert driver.asked == ["servo_bus/stop"]


def test_the_stop_of_the_python_api_is_every_arms(graph_of_both):
    """It asked the graph's own namespace only, in which two pairs have no driver."""
    said = graph_of_both[2].director.stop().split("; ")
    assert len(said) == len(SIDES), said
