"""Two leaders and two followers from one robot file: one vector of both is recorded and played.

The graph is the one `armlet up record robot:=FILE` starts, in simulated time; the pictures of its
camera are the test's. A policy drives both arms, and `armlet replay` plays an episode on both.
"""

import dataclasses
import itertools
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from announcer import OtherDriver, other
from node_processes import STANDSTILL_S
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, JointState
from simulated_bench import SimulatedBench

from armlet.bringup import graph, share_directory
from armlet.camera import jpeg
from armlet.camera.pattern import paint
from armlet.datasets import Dataset, check
from armlet.nodes.messages import to_time
from armlet.nodes.node import RECORDING_QOS
from armlet.nodes.pictures import compressed_image
from armlet.robots import SO101_JOINTS
from armlet.robots import calibration as calibrations
from armlet.robots.units import converter
from armlet.sim import Bench

sys.path.append(str(Path(__file__).parents[1] / "cli"))
from terminal_session import TerminalSession

# Of one arm the quick tests are the same.
pytestmark = pytest.mark.thorough

SIDES = ("left", "right")
CALIBRATION = share_directory() / "config" / "calibration"
EDGE = 64  # of the pictures, pixels
SIZE = {"width": str(EDGE), "height": str(EDGE)}
# By how much the policy's goals of the two arms are aside of the middle, dataset units.
ASIDE = np.array([20, 15, -15, 15, 20, 0.0])


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
    given = {"robot": str(robot_file(folder)), "root": str(root), "task": "fold", **SIZE}
    return [
        spec
        for spec in graph("record").nodes(given)
        if spec.executable not in ("camera", "computer")
    ]


def publish_pictures(director):
    """What the camera would, one picture a frame; its node takes part in simulated time."""
    node, numbers = director._node, itertools.count()
    pictures = node.create_publisher(CompressedImage, "front/image_raw/compressed", RECORDING_QOS)

    def publish():
        data = jpeg.encode(paint(EDGE, EDGE, next(numbers)))
        pictures.publish(compressed_image(data, director.now_ns, "front_optical_frame"))

    node.create_timer(1 / 30, publish)


@dataclasses.dataclass
class Both:
    """The running graph: its dataset, its robot file, its benches, and where each arm is."""

    root: Path
    robot: Path
    running: Any
    benches: tuple
    at: dict = dataclasses.field(default_factory=dict)

    def arm(self):
        """Torque on, and nobody leads."""
        for side in SIDES:
            self.running.director.set(f"{side}/servo_bus/set_torque", True)
            self.running.director.set(f"{side}/teleop/set_engaged", False)

    def record(self, seconds):
        self.running.director.trigger("recorder/start_recording")
        self.running.let_pass(seconds)
        self.running.director.trigger("recorder/stop_recording")


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
        both = Both(root, folder / "robot.yaml", running, (left, right))
        publish_pictures(running.director)
        for side in SIDES:
            listen(running.director._node, side, both.at)
        running.wait_for_status("recorder: dataset", "idle")
        running.wait_for_status("aligner: front", "flowing")
        both.record(max(left.demonstrate(), right.demonstrate()))
        yield both


def listen(node, side, at):
    def note(message):
        at[side] = np.array(message.position)

    node.create_subscription(JointState, f"{side}/joint_states", note, RECORDING_QOS)


@pytest.fixture
def recorded(graph_of_both):
    return graph_of_both.root


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


def test_a_policy_drives_both_arms_each_by_its_own_joints(graph_of_both, tmp_path):
    pytest.importorskip("torch", reason="the policy extra is not installed")
    from bench_policies import MIDDLE, save_random

    goals = {side: MIDDLE + sign * ASIDE for side, sign in zip(SIDES, (1, -1), strict=True)}
    running, contract = graph_of_both.running, Dataset(graph_of_both.root).contract
    checkpoint = save_random(
        tmp_path / "checkpoint",
        contract,
        width=EDGE,
        height=EDGE,
        cameras=("front",),
        goal=np.concatenate([*goals.values()]),
    )
    given = {"robot": str(graph_of_both.robot), "checkpoint": str(checkpoint), **SIZE}
    (policy,) = (s for s in graph("policy").nodes(given) if s.executable == "policy")
    time = {"use_sim_time": True, "lockstep": str(running.lockstep), "inference_latency_s": "0.05"}
    graph_of_both.arm()
    with running.start(dataclasses.replace(policy, parameters={**policy.parameters, **time})):
        wanted = {side: radians(goal) for side, goal in goals.items()}
        running.wait("both at their goals", lambda: near(graph_of_both.at, wanted))
        for side in SIDES:
            running.wait_for_status(f"{side}/servo_bus: bus", "following joint_trajectory")


def near(at, wanted):
    """Whether every arm is about where it should be; a random policy's actions differ a little."""
    return all(np.abs(at[side][:5] - wanted[side][:5]).max() < 0.15 for side in SIDES)


def radians(values):
    calibration = calibrations.load(CALIBRATION / "emulated_follower.json")
    return converter(SO101_JOINTS, calibration).dataset_to_radians(values, "degrees")


def test_an_episode_of_both_is_replayed_on_both(graph_of_both):
    """By /clock, as `armlet replay` follows it beside a graph in simulated time."""
    running = graph_of_both.running
    graph_of_both.arm()
    last = Dataset(graph_of_both.root).episode(0).action[-1]
    wanted = {"left": radians(last[:6]), "right": radians(last[6:])}
    assert not near(graph_of_both.at, wanted)
    # Without a robot file: the arms are those that the episode's joints name.
    words = ("--episode", "0", "--robot", "none", "--ramp-velocity", "3")
    with (
        clock_of(graph_of_both.benches[0]),
        running.time_passes(),
        TerminalSession("replay", str(graph_of_both.root), *words) as session,
    ):
        session.wait_for("played", timeout_s=STANDSTILL_S)
        assert session.wait_end() == 0
    assert near(graph_of_both.at, wanted)


@contextmanager
def clock_of(bench):
    """/clock, by which programs live that simulated time does not wait for."""
    with other("clock") as node:
        publisher = node.create_publisher(Clock, "/clock", 10)
        bench.tell = lambda now_ns: publisher.publish(Clock(clock=to_time(now_ns)))
        try:
            yield
        finally:
            bench.tell = lambda now_ns: None


def test_the_stop_key_is_both_arms(graph_of_both):
    """The graph itself has no servo_bus: the key found nobody, and both arms went on."""
    with TerminalSession("session", columns=150, rows=40) as session:
        session.send("x")
        for side in SIDES:
            session.wait_for(f"{side}/servo_bus/stop +torque is off", regex=True)


def test_torque_and_leaders_of_another_graph_are_left_alone(graph_of_both):
    """Whatever was below the graph's namespace was armed with it; the stop key still is of all."""
    running = graph_of_both.running
    with (
        running.time_passes(),
        other("servo_bus", "/cell") as node,
        TerminalSession("session", columns=150, rows=40) as session,
    ):
        driver = OtherDriver(node)
        session.wait_for(r"^arm .*cell: as its own.*left: .*right: ", regex=True)
        session.send("x")
        session.wait_for("cell/servo_bus/stop +done", regex=True)
        session.send("t")
        session.wait_for("cell/servo_bus +is of graph /cell", regex=True)
        for side in SIDES:
            session.wait_for(f"{side}/servo_bus/set_torque +holding", regex=True)
        session.send("e")
        session.wait_for("right/teleop/set_engaged")
        # More than once where an answer takes longer than a stop is waited for.
        assert {*driver.asked} == {"servo_bus/stop"}


def test_the_stop_of_the_python_api_is_every_arms(graph_of_both):
    """It asked the graph's own namespace only, in which two pairs have no driver."""
    said = graph_of_both.running.director.stop().split("; ")
    assert len(said) == len(SIDES), said
