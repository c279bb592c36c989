"""docs/reference/topics.md names what the nodes of a running graph publish, subscribe and serve."""

import contextlib
import re
import time
from pathlib import Path

import pytest
import rclpy
from node_processes import CALIBRATION, SLOW_HZ, running_graph
from rclpy.executors import SingleThreadedExecutor
from std_msgs.msg import String

from armlet.bringup import NodeSpec
from armlet.nodes.node import LATCHED_QOS
from armlet.nodes.teardown import destroy
from armlet.robots.description import describe
from armlet.robots.robot_model import SO101
from armlet.sim import FOLLOWER

pytest.importorskip("torch", reason="the policy extra is not installed")

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "topics.md"
NODES = (
    *("servo_bus", "camera", "aligner", "policy", "recorder", "teleop", "jog", "computer"),
    "sim_bench",
)
# What every node has: ROS's own, and what the page says once.
COMMON = re.compile(
    r"/(rosout|parameter_events|clock|diagnostics)$"
    r"|/transition_event$"
    r"|/_"  # hidden ones
    r"|/(\w+_parameters|\w+_parameters_atomically|get_parameter_types|get_type_description)$"
    r"|/(get_state|change_state|get_available_states|get_available_transitions|get_transition_graph)$"
)
CAMERAS = ("front", "wrist")
# Discovery lives by the wall clock, so this is generous: no computer is that busy.
DISCOVERY_S, LOOK_S = 120.0, 10.0


@pytest.fixture(scope="module")
def graph(tmp_path_factory, private_domain):
    root = tmp_path_factory.mktemp("topics") / "dataset"
    camera = NodeSpec("camera", "camera", {"source": "pattern"})
    computer = NodeSpec("computer", "computer", {})
    calibration = str(CALIBRATION / "emulated_follower.json")
    jog = NodeSpec("jog", "jog", {"calibration_file": calibration})
    with (
        running_graph("sim", root=str(root), task="reach", teleop="true", rate_hz=SLOW_HZ) as graph,
        graph.start(camera),
        graph.start(computer),
        graph.start(jog),
    ):
        graph.wait_for_status("policy: inference", "")
        graph.wait("frames", lambda: graph.seen.count("observation/state") > 5)
        yield graph


def generic(name, node):
    """A full name as the page has it: relative, ~ for the node's own, a placeholder for cameras."""
    name = re.sub(rf"^/(leader/)?{node}/", "~/", name)
    return re.sub(rf"\b({'|'.join(CAMERAS)})\b", "<camera>", name.removeprefix("/"))


def running(ros, node):
    """{(kind, name, type)} of a node of the graph, as another one knows it."""
    asked = {
        "publishes": ros.get_publisher_names_and_types_by_node,
        "subscribes": ros.get_subscriber_names_and_types_by_node,
        "serves": ros.get_service_names_and_types_by_node,
    }
    # Services that are served at once belong to a node of their own.
    parts = {name for name in ros.get_node_names() if name in (node, f"{node}_urgent")}
    return {
        (kind, generic(name, node), types[0])
        for kind, ask in asked.items()
        for part in parts
        for name, types in ask(part, "/")
        if not COMMON.search(name)
    }


@contextlib.contextmanager
def newcomer():
    """A node that has just come, and hears of every other one again."""
    context = rclpy.Context()
    rclpy.init(context=context, args=[])
    ros = rclpy.create_node("newcomer", context=context)
    try:
        yield ros
    finally:
        destroy(ros)
        context.try_shutdown()


def discovered(graph, node, expected):
    """What is running, once discovery agrees with expected, or what it last was.

    A node's name comes before its topics: another process hears of them in steps, of which Fast DDS
    loses the last to a process that comes at the same time, until something changes again. Whoever
    comes later hears of all.
    """
    end_s = time.monotonic() + DISCOVERY_S
    found = _awaited(graph.director._node, node, expected)
    while found != expected and time.monotonic() < end_s:
        with newcomer() as ros:
            found = _awaited(ros, node, expected)
    return found


def _awaited(ros, node, expected):
    end_s = time.monotonic() + LOOK_S
    while (found := running(ros, node)) != expected and time.monotonic() < end_s:
        time.sleep(0.05)
    return found


def written(node):
    """The same from the page's section of that node."""
    text = PAGE.read_text()
    (section,) = re.findall(rf"^## {node}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| `(\S+)` \| (\w+) \| `(\S+)` \|", section, re.MULTILINE)
    return {(kind, name, type_name) for name, kind, type_name in rows}


def test_whoever_comes_later_hears_what_the_arm_is(graph):
    heard = []
    with newcomer() as ros:
        ros.create_subscription(String, "robot_description", heard.append, LATCHED_QOS)
        executor = SingleThreadedExecutor(context=ros.context)
        executor.add_node(ros)
        end_s = time.monotonic() + DISCOVERY_S
        while not heard and time.monotonic() < end_s:
            executor.spin_once(timeout_sec=1.0)
    assert [message.data for message in heard] == [describe(SO101, FOLLOWER)]


@pytest.mark.parametrize("node", NODES)
def test_the_page_names_all_of_a_running_node(graph, node):
    expected = written(node)
    assert discovered(graph, node, expected) == expected
