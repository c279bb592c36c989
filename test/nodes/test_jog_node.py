"""jog on an emulated arm: who holds the button moves it, and nobody else, in simulated time."""

import numpy as np
import pytest
from node_processes import CALIBRATION, SLOW_HZ, follower
from sensor_msgs.msg import JointState, Joy
from simulated_bench import SimulatedBench, armed

from armlet.align.command_source import UNTIL_HANDED_BACK
from armlet.bringup import NodeSpec
from armlet.nodes.node import COMMAND_QOS, STATE_QOS
from armlet.robots import SO101_JOINTS
from armlet.robots.kinematics import tip_position

pytestmark = pytest.mark.thorough

STATUS = "jog: joystick"
HOLD, BACK = 4, 6
EVERY_S = 0.05


class Pad:
    """A gamepad's messages, of a joy_node that repeats them."""

    def __init__(self, graph):
        self._graph = graph
        self._publisher = graph.director._node.create_publisher(Joy, "joy", STATE_QOS)

    def say(self, seconds, *pressed, **axes):
        values = [0.0] * 8
        for name, value in axes.items():
            values[int(name.removeprefix("a"))] = value
        buttons = [int(number in pressed) for number in range(11)]
        for _ in range(round(seconds / EVERY_S)):
            self._publisher.publish(Joy(axes=values, buttons=buttons))
            self._graph.let_pass(EVERY_S)


@pytest.fixture
def graph(tmp_path):
    calibration = str(CALIBRATION / "emulated_follower.json")
    nodes = [
        follower(tmp_path / "follower", rate_hz=SLOW_HZ, torque_on_activate=False),
        NodeSpec("jog", "jog", {"calibration_file": calibration}),
    ]
    with SimulatedBench(tmp_path) as bench, bench.graph(nodes) as it:
        yield it


def test_a_person_jogs_lets_go_and_hands_back(graph):
    pad, commands = Pad(graph), []
    graph.director._node.create_subscription(
        JointState, "joint_commands", commands.append, COMMAND_QOS
    )
    graph.wait_for_status(STATUS, "nothing comes on joy")
    pad.say(1.5)
    graph.wait_for_status(STATUS, "the arm is not armed")
    # An arm that is not armed is not commanded, whatever is pressed.
    pad.say(0.5, HOLD, a1=1.0)
    assert not commands
    armed(graph)
    pad.say(0.5, a1=1.0)
    assert not commands
    here = graph.seen.latest("joint_states")
    pad.say(1.0, HOLD, a1=1.0)
    first, last = commands[0], commands[-1]
    assert np.abs(np.array(first.position) - here).max() < 0.05
    assert first.header.frame_id.startswith(f"{UNTIL_HANDED_BACK}/")
    moved = tip_position(graph.seen.latest("joint_states")) - tip_position(here)
    assert moved[0] > 0.05
    assert np.abs(moved[1:]).max() < 0.02
    # Let go: it brakes, stops, and nothing more is sent.
    pad.say(0.5)
    count = len(commands)
    stopped = np.array(commands[-1].position)
    assert np.abs(stopped - np.array(last.position)).max() < 0.2
    pad.say(0.5)
    assert len(commands) == count
    graph.wait_for_status("servo_bus: bus", "holding")
    # Silence with the button down: the same, and it does not go on by itself.
    pad.say(0.5, HOLD, a0=1.0)
    graph.let_pass(1.0)
    count = len(commands)
    pad.say(0.5, HOLD, a0=1.0)
    assert len(commands) == count
    pad.say(0.2)
    pad.say(0.2, HOLD, a0=1.0)
    assert len(commands) > count
    pad.say(0.1, BACK)
    graph.wait("the hand-back", lambda: commands and not commands[-1].name)
    here = graph.seen.latest("joint_states")
    # The arm is a program's again.
    graph.director.follow(SO101_JOINTS, 1.0, np.array([here, here]))
    graph.wait_for_status("servo_bus: bus", "following joint_trajectory")


def test_of_two_devices_on_one_topic_neither_is_heard(graph):
    """A button that lies pressed would be let go of by the other's messages, and then jog."""
    pad, commands = Pad(graph), []
    graph.director._node.create_subscription(
        JointState, "joint_commands", commands.append, COMMAND_QOS
    )
    armed(graph)
    other = Pad(graph)
    graph.wait_for_status(STATUS, "several publish joy")
    for _ in range(5):
        pad.say(0.1)
        other.say(0.1, HOLD, a1=1.0)
    assert not commands
