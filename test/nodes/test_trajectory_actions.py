"""The actions that MoveIt executes by, with control_msgs' own definitions and an action client."""

import numpy as np
import pytest

pytest.importorskip("control_msgs.action", reason="control_msgs is not installed, and pip has none")

from action_msgs.msg import GoalStatus
from control_msgs.action import (
    FollowJointTrajectory,
    GripperCommand,
    ParallelGripperCommand,
)
from control_msgs.msg import JointTolerance
from node_processes import CALIBRATION, SLOW_HZ, follower
from rclpy.action import ActionClient
from rclpy.duration import Duration
from simulated_bench import SimulatedBench, armed
from trajectory_msgs.msg import JointTrajectoryPoint

from armlet.bringup import NodeSpec
from armlet.nodes.stamps import to_time
from armlet.nodes.trajectory_actions import FOLLOW, PARALLEL, SIMPLE
from armlet.robots import SO101_JOINTS

pytestmark = pytest.mark.thorough

ARM = list(SO101_JOINTS[:5])
RESULT = FollowJointTrajectory.Result
SUCCEEDED, CANCELED, ABORTED = (
    GoalStatus.STATUS_SUCCEEDED,
    GoalStatus.STATUS_CANCELED,
    GoalStatus.STATUS_ABORTED,
)


class Client:
    """An action client; time passes while it waits."""

    def __init__(self, graph, kind, name):
        self._graph, self.feedback = graph, []
        self._client = ActionClient(graph.director._node, kind, name)
        graph.wait(f"the action {name}", self._client.server_is_ready)

    def send(self, goal):
        """The goal's handle, once it is accepted, and the future of its result."""
        accepted = self._client.send_goal_async(
            goal, feedback_callback=lambda message: self.feedback.append(message.feedback)
        )
        self._graph.wait("the goal's acceptance", accepted.done)
        assert accepted.result().accepted
        return accepted.result(), accepted.result().get_result_async()

    def ended(self, result):
        """Status and result."""
        self._graph.wait("the goal's result", result.done)
        return result.result().status, result.result().result


@pytest.fixture(scope="module")
def running(tmp_path_factory, private_domain):
    folder = tmp_path_factory.mktemp("actions")
    calibration = str(CALIBRATION / "emulated_follower.json")
    nodes = [
        follower(folder / "follower", rate_hz=SLOW_HZ, torque_on_activate=False),
        NodeSpec("trajectory_actions", "trajectory_actions", {"calibration_file": calibration}),
    ]
    with SimulatedBench(folder) as bench, bench.graph(nodes) as graph:
        yield bench, graph, Client(graph, FollowJointTrajectory, FOLLOW)


@pytest.fixture
def arm(running):
    """The graph with the arm armed, and a client of its trajectories."""
    _, graph, client = running
    client.feedback.clear()
    armed(graph)
    yield graph, client
    graph.director.stop()


def goal(graph, moves, seconds=1.0, stamp_ns=0):
    """From where the arm is to so far from there, rad, by joint."""
    here = graph.seen.latest("joint_states")[:5]
    there = here + [moves.get(joint, 0.0) for joint in ARM]
    asked = FollowJointTrajectory.Goal()
    asked.trajectory.header.stamp = to_time(stamp_ns)
    asked.trajectory.joint_names = ARM
    asked.trajectory.points = [
        JointTrajectoryPoint(
            positions=place.tolist(),
            velocities=[0.0] * 5,
            time_from_start=Duration(seconds=time_s).to_msg(),
        )
        for time_s, place in ((0.0, here), (seconds, there))
    ]
    return asked, there


def position(graph):
    return graph.seen.latest("joint_states")


def test_a_goal_of_an_arm_that_is_not_armed_is_aborted(running):
    _, graph, client = running
    graph.wait("joint states", lambda: graph.seen.count("joint_states"))
    status, result = client.ended(client.send(goal(graph, {"shoulder_pan": 0.2})[0])[1])
    assert (status, result.error_code) == (ABORTED, RESULT.INVALID_GOAL)
    assert "not armed" in result.error_string


def test_a_trajectory_is_followed_with_feedback_and_the_gripper_stays(arm):
    graph, client = arm
    gripper = position(graph)[5]
    asked, there = goal(graph, {"shoulder_pan": 0.3, "elbow_flex": -0.2})
    status, result = client.ended(client.send(asked)[1])
    assert (status, result.error_code, result.error_string) == (SUCCEEDED, RESULT.SUCCESSFUL, "")
    assert np.abs(position(graph)[:5] - there).max() < 0.08
    assert position(graph)[5] == pytest.approx(gripper, abs=0.03)
    assert client.feedback
    said = client.feedback[-1]
    assert said.joint_names == ARM
    difference = np.array(said.desired.positions) - np.array(said.actual.positions)
    assert np.array(said.error.positions) == pytest.approx(difference)


def test_a_newer_goal_replaces_the_one_in_play(arm):
    graph, client = arm
    _, first = client.send(goal(graph, {"shoulder_pan": 0.8}, seconds=4.0)[0])
    graph.wait("motion", lambda: client.feedback)
    asked, there = goal(graph, {"shoulder_pan": -0.2})
    _, second = client.send(asked)
    status, result = client.ended(first)
    assert (status, result.error_code) == (ABORTED, RESULT.INVALID_GOAL)
    assert result.error_string == "replaced by a newer goal"
    assert client.ended(second)[0] == SUCCEEDED
    assert np.abs(position(graph)[:5] - there).max() < 0.08


def test_a_goal_that_is_cancelled_holds(arm):
    graph, client = arm
    handle, result = client.send(goal(graph, {"shoulder_pan": 0.9}, seconds=4.0)[0])
    graph.wait("motion", lambda: client.feedback)
    handle.cancel_goal_async()
    assert client.ended(result)[0] == CANCELED
    graph.wait_for_status("servo_bus: bus", "holding")
    graph.let_pass(0.3)
    here = position(graph)
    graph.let_pass(0.5)
    assert np.abs(position(graph) - here).max() < 0.02


def test_a_person_who_takes_over_ends_a_goal(arm):
    graph, client = arm
    _, result = client.send(goal(graph, {"shoulder_pan": 0.9}, seconds=4.0)[0])
    graph.wait("motion", lambda: client.feedback)
    here = position(graph)
    while not result.done():
        graph.director.command(SO101_JOINTS, here)
        graph.let_pass(0.05)
    status, ended = client.ended(result)
    assert (status, ended.error_code) == (ABORTED, RESULT.PATH_TOLERANCE_VIOLATED)
    assert "commands it" in ended.error_string


def test_tolerances_that_are_violated(arm):
    graph, client = arm
    # A servo is behind a motion by more than a milliradian.
    asked, _ = goal(graph, {"shoulder_pan": 0.4})
    asked.path_tolerance = [JointTolerance(name="shoulder_pan", position=0.001)]
    status, result = client.ended(client.send(asked)[1])
    assert (status, result.error_code) == (ABORTED, RESULT.PATH_TOLERANCE_VIOLATED)
    assert result.error_string.startswith("shoulder_pan is ")
    # Further than its driver's limit of speed lets it come in that time.
    asked, _ = goal(graph, {"shoulder_pan": -0.9}, seconds=0.05)
    asked.path_tolerance = [JointTolerance(name="shoulder_pan", position=-1.0)]
    asked.goal_time_tolerance = Duration(seconds=0.01).to_msg()
    status, result = client.ended(client.send(asked)[1])
    assert (status, result.error_code) == (ABORTED, RESULT.GOAL_TOLERANCE_VIOLATED)
    assert "after the end" in result.error_string


def test_goals_that_cannot_be_followed(arm):
    graph, client = arm

    def code(change, **given):
        asked, _ = goal(graph, {"shoulder_pan": 0.1}, **given)
        change(asked)
        status, result = client.ended(client.send(asked)[1])
        assert status == ABORTED
        return result.error_code

    def rename(asked):
        asked.trajectory.joint_names = [*ARM[:4], "wheel"]

    def no_points(asked):
        asked.trajectory.points = []

    def watch_velocity(asked):
        asked.path_tolerance = [JointTolerance(name="shoulder_pan", velocity=0.1)]

    old_ns = graph.director.now_ns - 5_000_000_000
    assert code(rename) == RESULT.INVALID_JOINTS
    assert code(no_points) == RESULT.INVALID_GOAL
    assert code(watch_velocity) == RESULT.INVALID_GOAL
    assert code(lambda asked: None, stamp_ns=old_ns) == RESULT.OLD_HEADER_TIMESTAMP


def test_the_gripper_beside_the_arm(arm):
    graph, client = arm
    gripper = Client(graph, ParallelGripperCommand, PARALLEL)
    _, moving = client.send(goal(graph, {"shoulder_pan": 0.4}, seconds=2.0)[0])
    asked = ParallelGripperCommand.Goal()
    asked.command.name, asked.command.position = ["gripper"], [0.4]
    status, result = gripper.ended(gripper.send(asked)[1])
    assert (status, result.reached_goal, result.stalled) == (SUCCEEDED, True, False)
    assert result.state.position[0] == pytest.approx(0.4, abs=0.05)
    assert client.ended(moving)[1].error_code == RESULT.SUCCESSFUL
    assert position(graph)[5] == pytest.approx(0.4, abs=0.06)
    asked.command.position = [7.0]
    assert gripper.ended(gripper.send(asked)[1])[0] == ABORTED
    simple = Client(graph, GripperCommand, SIMPLE)
    asked = GripperCommand.Goal()
    asked.command.position = -0.2
    status, result = simple.ended(simple.send(asked)[1])
    assert (status, result.reached_goal) == (SUCCEEDED, True)
    assert result.position == pytest.approx(-0.2, abs=0.05)
