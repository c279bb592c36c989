"""Simulated time that stands still, and a /clock of somebody else's that jumps back."""

import contextlib
import dataclasses
import tempfile
import threading
import time

import numpy as np
import pytest
import rclpy
from awaited import wait_until
from driver_timeouts import with_timeouts
from node_processes import CALIBRATION, follower, running, simulated_nodes, until_taken
from published_frames import RADIANS, PublishedFrames, contract
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from std_msgs.msg import String

from armlet.bringup import NodeSpec
from armlet.client.graph import GraphError
from armlet.datasets import Dataset, check
from armlet.motors.feetech import REGISTERS
from armlet.nodes.messages import joint_state, to_time
from armlet.nodes.node import LATCHED_QOS
from armlet.nodes.teardown import destroy
from armlet.robots import SO101_JOINTS
from armlet.sim import Bench

# Long beside the clock's own step, so that what runs on is seen.
LOOK_S = 0.5
TORQUE = REGISTERS["Torque_Enable"]
GUARD_S = 180.0


@pytest.fixture
def sim():
    with tempfile.TemporaryDirectory(prefix="armlet-bench-") as folder:
        nodes, lockstep = simulated_nodes("sim", folder, policy="false", width="64", height="48")
        with running(nodes, lockstep) as graph:
            graph.wait("frames", lambda: graph.seen.count("observation/state") > 3)
            yield graph


def test_pausing_pauses_everything_and_loses_nothing(sim):
    topics = ("joint_states", "applied_joint_commands", "observation/state", "action")
    statuses = []
    sim.director._node.create_subscription(
        String, "servo_bus/status", lambda m: statuses.append(m.data), LATCHED_QOS
    )

    def progress():
        return sim.director.now_ns, [sim.seen.count(topic) for topic in topics]

    def nothing_newer(now_ns):
        newest = [stamp for topic in topics for stamp in sim.seen.stamps(topic)[-1:]]
        return max(newest) <= now_ns

    start = sim.seen.latest("joint_states")
    goal = start + np.array([0.3, 0, 0, 0, 0, 0])
    sim.director.set("sim_bench/set_paused", True)
    with sim.time_passes():
        wait_until(lambda: stays(progress), "a standstill")
        paused_ns = sim.director.now_ns
        sim.director.command(SO101_JOINTS, goal)
        sim.director.set("servo_bus/set_torque", True)
        # What was sent before may still come, where its sender stood still as well.
        wait_until(lambda: stays(progress), "a standstill after a command")
        assert sim.director.now_ns == paused_ns and nothing_newer(paused_ns)
        sim.director.set("sim_bench/set_paused", False)
    sim.let_pass(0.4)
    moved = sim.seen.latest("joint_states") - start
    assert moved[0] > 0.1, "the command that came while time stood still is followed"
    sim.director.drive_to(SO101_JOINTS, goal)
    assert all(said.startswith(("holding", "following")) for said in statuses), statuses


def stays(progress):
    before = progress()
    time.sleep(LOOK_S)
    return progress() == before


class OwnClock:
    """Publishes /clock as some other simulator does, at two thirds of the pace of real time."""

    def __init__(self):
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = Node("somebody_elses_simulator", context=self._context)
        self._publisher = self._node.create_publisher(Clock, "/clock", 10)
        self._offset_ns, self._begun_ns = 1_000_000_000_000, time.monotonic_ns()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def now_ns(self):
        return self._offset_ns + 2 * (time.monotonic_ns() - self._begun_ns) // 3

    def jump(self, seconds):
        self._offset_ns += round(1e9 * seconds)

    def _run(self):
        while not self._ending.wait(0.005):
            self._publisher.publish(Clock(clock=to_time(self.now_ns())))

    def close(self):
        self._ending.set()
        self._thread.join()
        destroy(self._node)
        rclpy.shutdown(context=self._context)


class Commander:
    """Commands one pose over and over, stamped by a clock."""

    def __init__(self, director, clock, goal):
        self._publisher, self._clock, self._goal = director._commands, clock, goal
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._ending.wait(0.02):
            stamp_ns = self._clock.now_ns()
            self._publisher.publish(joint_state(SO101_JOINTS, stamp_ns, self._goal))

    def close(self):
        self._ending.set()
        self._thread.join()


def nodes_on(folder, root):
    recorder = {
        "root": str(root),
        "task": "wave",
        "calibration_file": str(CALIBRATION / "emulated_follower.json"),
        # A busy computer makes gaps, and this is about the clock.
        "on_gap": "split",
        "max_gaps": 0,
        "min_episode_s": 0.1,
    }
    specs = [
        follower(folder / "follower"),
        NodeSpec("aligner", "aligner", {"streams": ["state", "action"]}),
        NodeSpec("recorder", "recorder", recorder),
    ]
    return [
        dataclasses.replace(spec, parameters={**spec.parameters, "use_sim_time": True})
        for spec in specs
    ]


@pytest.mark.wall_clock
def test_a_clock_that_jumps_back_holds_the_arm_and_ends_the_recording(tmp_path):
    root = tmp_path / "dataset"
    with (
        contextlib.closing(OwnClock()) as clock,
        Bench(paced=False, links=tmp_path) as bench,
        running(nodes_on(tmp_path, root), popen=with_timeouts()) as graph,
    ):
        graph.wait("frames", lambda: graph.seen.count("action") > 10, GUARD_S)
        graph.wait_for_status("recorder: dataset", "idle", GUARD_S)
        graph.wait("joint states", lambda: graph.seen.count("joint_states"), GUARD_S)
        goal = graph.seen.latest("joint_states") + np.array([0.5, 0, 0, 0, 0, 0])
        until_taken(lambda: graph.director.trigger("recorder/start_recording"))
        with contextlib.closing(Commander(graph.director, clock, goal)):
            wait_for_bus(graph, "following joint_commands")
            # What the recorder has not read when it learns of the jump is no part of the episode.
            graph.wait("rows", lambda: rows(graph) >= 20, GUARD_S)
        # By more than this takes on any computer: what comes next is before what was recorded.
        clock.jump(-600.0)
        wait_for_bus(graph, "holding")
        graph.wait_for_status("recorder: dataset", "set back", GUARD_S)
        graph.wait("what was recorded to be saved", lambda: recorded(graph)["episodes"], GUARD_S)
        saved = len(Dataset(root).episodes)
        assert saved >= 1
        with pytest.raises(GraphError, match="set back"):
            graph.director.trigger("recorder/stop_recording")
        wait_for_frames(graph, 10)
        graph.wait("the jump being counted", lambda: min(jumps(graph), default=0) >= 1, GUARD_S)
        until_taken(lambda: graph.director.trigger("recorder/start_recording"))
        wait_for_frames(graph, 10)
        graph.director.trigger("recorder/stop_recording")
        assert all(servo.peek(TORQUE) for servo in bench.follower.servos.values())
    dataset = Dataset(root)
    first, second = (dataset.episode(k).stamp_ns for k in (saved - 1, saved))
    assert second[0] < first[0]
    assert (np.diff(first) > 0).all() and (np.diff(second) > 0).all()
    assert check(root) == []


class WallClock(OwnClock):
    """Publishes the computer's time, until it is set back."""

    def now_ns(self):
        return time.time_ns() + self._offset_ns - 1_000_000_000_000


@pytest.mark.thorough
@pytest.mark.wall_clock
def test_a_clock_set_back_ends_a_recording_whose_stamps_go_on(tmp_path):
    """What stood still until the old time had come again left no gap, and the episode jumped."""
    nodes = nodes_on(tmp_path, tmp_path / "dataset")[2:]
    with (
        contextlib.closing(WallClock()) as clock,
        PublishedFrames(contract(), RADIANS),
        running(nodes, popen=with_timeouts()) as graph,
    ):
        graph.wait_for_status("recorder: dataset", "idle", GUARD_S)
        wait_for_frames(graph, 10)
        until_taken(lambda: graph.director.trigger("recorder/start_recording"))
        wait_for_frames(graph, 10)
        # How much of it is seen is less by what the recorder or this process was not run just then.
        clock.jump(-8.0)
        graph.wait_for_status("recorder: dataset", "the clock was set back by ", GUARD_S)


def wait_for_bus(graph, text):
    """Until the bus says something; an arm whose servos fell silent meanwhile is armed again.

    They live in this process, and stand still with it.
    """

    def says():
        said = graph.seen.messages().get("servo_bus: bus", "")
        if "servos had fallen silent" in said or "the bus was lost and is back" in said:
            graph.seen.forget_diagnostics()
            until_taken(lambda: graph.director.set("servo_bus/set_torque", True))
        return text in said

    graph.wait(f"the bus saying {text!r}", says, GUARD_S)


def jumps(graph):
    """How often each stream saw its clock set back."""
    seen = graph.seen.status().values()
    return [int(values["clock_jumps"]) for values in seen if "clock_jumps" in values]


def recorded(graph):
    """Whole episodes, their frames, and those of the open one, as the recorder says."""
    values = graph.seen.status().get("recorder: dataset", {})
    return {name: int(values.get(name, 0)) for name in ("episodes", "frames", "open_frames")}


def rows(graph):
    found = recorded(graph)
    return found["frames"] + found["open_frames"]


def wait_for_frames(graph, count):
    first = graph.seen.count("action")
    graph.wait("frames", lambda: graph.seen.count("action") > first + count, GUARD_S)
