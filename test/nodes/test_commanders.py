"""Who may command an arm is known by name, and who is not expected to is reported."""

import time
from types import SimpleNamespace

import pytest
import rclpy
from announcer import other
from driver_timeouts import with_timeouts
from node_processes import follower, running
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from armlet.nodes.commanders import Commanders
from armlet.nodes.teardown import destroy
from armlet.sim import Bench

END_S = 120.0


@pytest.fixture
def driver(private_domain):
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("servo_bus", context=context)
    yield node
    destroy(node)
    context.try_shutdown()


def test_publishers_of_commands_are_named_as_they_come_and_go(driver):
    commanders = Commanders(driver, ("joint_commands", "joint_trajectory"))
    assert commanders.look() == [] and commanders.strangers(["/teleop"]) == []
    new, end_s = [], time.monotonic() + END_S
    with other("teleop") as teleop, other("stranger", "elsewhere") as stranger:
        teleop.create_publisher(JointState, "joint_commands", 1)
        stranger.create_publisher(JointTrajectory, "/joint_trajectory", 1)
        while len(commanders.names) < 2:
            assert time.monotonic() < end_s
            new += commanders.look()
    assert sorted(new) == ["joint_commands: /teleop", "joint_trajectory: /elsewhere/stranger"]
    assert commanders.strangers([""]) == []
    assert commanders.strangers(["/teleop"]) == ["/elsewhere/stranger"]
    assert commanders.strangers(["teleop", "elsewhere/stranger"]) == []
    while commanders.names:
        assert time.monotonic() < end_s
        commanders.look()


def test_who_calls_himself_what_no_node_may_is_named_and_cannot_write_to_the_terminal():
    named = [("", "_NODE_NAME_UNKNOWN_"), ("nowhere", "stranger"), ("/", "\x1b[2Jteleop")]
    infos = [SimpleNamespace(node_namespace=ns, node_name=name) for ns, name in named]
    node = SimpleNamespace(
        resolve_topic_name=lambda topic: topic, get_publishers_info_by_topic=lambda topic: infos
    )
    commanders = Commanders(node, ("joint_commands",))
    said = ["joint_commands: /\\x1b[2Jteleop", "joint_commands: nowhere/stranger"]
    assert commanders.look() == said and len(commanders.strangers(["/teleop"])) == 2


@pytest.mark.thorough
@pytest.mark.wall_clock(seconds=12)
def test_a_driver_reports_who_is_not_expected_to_command_it(tmp_path):
    expected = follower(tmp_path / "follower", commanders=["/test"])
    with (
        Bench(paced=False, links=tmp_path),
        running([expected], popen=with_timeouts()) as bus,
        other("stranger") as stranger,
    ):
        bus.wait_for_status("servo_bus: bus", "holding")
        stranger.create_publisher(JointState, "joint_commands", 1)
        bus.wait_for_status("servo_bus: bus", "not expected to command it: /stranger")
        assert bus.seen.status()["servo_bus: bus"]["codes"] == "arm.commander-unexpected"
        bus.wait_for_words("/stranger may command this arm, and is not one of commanders: /test")
