"""What the nodes of a running graph publish, subscribe and serve, as docs/reference/topics.md and
`armlet.security` have it."""

import re
import time
from functools import partial
from pathlib import Path

import pytest
from discovered_graph import DISCOVERY_S, NOTHING, discovered, newcomer, unlike
from node_processes import CALIBRATION, SLOW_HZ, running_graph
from rclpy.executors import SingleThreadedExecutor
from std_msgs.msg import String

from armlet.bringup import NodeSpec
from armlet.nodes.node import LATCHED_QOS
from armlet.robots.description import describe
from armlet.robots.robot_model import SO101
from armlet.security import enclaves
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
        graph.nodes = [*graph.supervisor._nodes, camera, computer, jog]
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
    assert discovered(graph, lambda ros: running(ros, node), expected) == expected


@pytest.mark.parametrize(
    "path", [*(f"/{node}" for node in NODES), "/leader/servo_bus"], ids=lambda path: path[1:]
)
def test_a_node_has_the_rights_that_it_uses_and_no_others(graph, path):
    (enclave,) = (each for each in enclaves(graph.nodes) if each.path == path)
    for profile in enclave.profiles:
        found = discovered(graph, partial(unlike, profile=profile), NOTHING)
        assert found == NOTHING
