"""The marks by which a second graph, or driver, of one user in a ROS domain is refused."""

import errno
import os
import re
import socket
import subprocess
import sys

import pytest
from domains import free_domain

from armlet import one_graph

HOLDER = """
import sys
from armlet import one_graph
mark = one_graph.mark(sys.argv[1], {})
print("marked", flush=True)
sys.stdin.read()
"""
NODE = """
import sys, rclpy
rclpy.init()
node = rclpy.create_node("somebody")
print("there", flush=True)
sys.stdin.read()
"""
NAMESPACE = f"test_one_graph_{os.getpid()}"


def marked(domain, namespace=NAMESPACE):
    return one_graph.mark(namespace, {} if domain is None else {"ROS_DOMAIN_ID": domain})


@pytest.mark.parametrize(
    ("first", "second"),
    [("71", "0x47"), (" 71", "+71"), ("57", "071"), (" 0", "00"), ("71abc", "71"), (None, "")],
)
def test_a_domain_is_one_however_its_number_is_written(first, second):
    """As rcl reads it; both graphs were started, and commanded one arm."""
    with marked(first), pytest.raises(one_graph.AnotherGraph, match="runs in ROS domain"):
        marked(second)


def test_domains_of_other_numbers_are_others():
    with marked("71"), marked("071"), marked("7"):
        pass


@pytest.mark.parametrize("namespace", ["n" * 200, "\u00e4" * 60, "a b"])
def test_a_namespace_of_any_length_is_marked_and_kept_apart_from_others(namespace):
    """A long one was said to be another program's."""
    with marked("71", namespace), marked("71", namespace + "x"):
        with pytest.raises(one_graph.AnotherGraph):
            marked("71", namespace)
        driver = f"/{namespace}/servo_bus"
        with one_graph.mark_name(driver, {}), pytest.raises(one_graph.AnotherGraph):
            one_graph.mark("another", {}, [driver])
    marked("71", namespace).close()


def named(*nodes):
    """Full names, as no graph of a person's has them."""
    return [f"{NAMESPACE}/{node}" for node in nodes]


def part(*nodes):
    return one_graph.mark(NAMESPACE, {}, nodes=named(*nodes), whole=False)


def test_parts_of_a_graph_share_its_namespace_but_no_node():
    whole = one_graph.mark(NAMESPACE, {}, nodes=named("servo_bus", "aligner"))
    with whole, part("policy"), pytest.raises(one_graph.AnotherGraph, match="/aligner in"):
        part("aligner")
    with part("servo_bus"), part("policy"):
        with pytest.raises(one_graph.AnotherGraph, match="/servo_bus in"):
            one_graph.mark(NAMESPACE, {}, nodes=named("aligner", "servo_bus"))
        # What was refused has kept nothing.
        one_graph.mark(NAMESPACE, {}, nodes=named("aligner")).close()


def test_a_killed_graph_leaves_no_mark():
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, NAMESPACE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout.readline() == b"marked\n"
        with pytest.raises(one_graph.AnotherGraph, match=f"process {holder.pid}"):
            marked(None)
        holder.kill()
        holder.wait()
        marked(None).close()


def test_a_computer_that_gives_no_socket_is_not_taken_for_another_graph(no_descriptors):
    with no_descriptors(), pytest.raises(one_graph.MarkError, match="Too many open") as refusal:
        marked(None)
    assert not isinstance(refusal.value, one_graph.AnotherGraph)
    assert "ulimit" in str(refusal.value)
    marked(None).close()


def test_a_refusal_to_bind_is_said_as_what_it_is(monkeypatch):
    class Forbidden(socket.socket):
        def bind(self, address):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    with monkeypatch.context() as patched:
        patched.setattr(one_graph.socket, "socket", Forbidden)
        with pytest.raises(one_graph.MarkError, match="Operation not permitted") as refusal:
            marked(None)
    assert not isinstance(refusal.value, one_graph.AnotherGraph)


def test_a_domain_in_which_a_graph_runs_is_no_free_one_and_not_proposed():
    with free_domain() as domain, marked(str(domain)), pytest.raises(one_graph.AnotherGraph) as why:
        assert domain in one_graph.domains_in_use()
        with one_graph.mark_name("servo_bus", {"ROS_DOMAIN_ID": str(domain + 1)}):
            assert domain + 1 in one_graph.domains_in_use()
            marked(str(domain))
    proposed = re.search(r"export ROS_DOMAIN_ID=(\d+)", str(why.value))
    assert int(proposed[1]) not in (domain, domain + 1)


def test_a_domain_in_which_a_node_without_a_mark_lives_is_no_free_one():
    """What was left of a killed graph published /clock in the next test's domain."""
    with free_domain() as domain, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        assert domain not in one_graph.domains_in_use()
        own.bind(("127.0.0.1", 7400 + 250 * domain + 11))
        assert domain in one_graph.domains_in_use()
        with free_domain() as other:
            assert other != domain
        assert one_graph.first_free([domain, other]) == other


def test_a_node_of_ros_is_found_by_its_ports():
    with free_domain() as domain:
        node = [sys.executable, "-c", NODE]
        given = {**os.environ, "ROS_DOMAIN_ID": str(domain)}
        with subprocess.Popen(node, env=given, stdin=-1, stdout=-1, text=True) as there:
            assert there.stdout.readline() == "there\n"
            assert domain in one_graph.domains_in_use()
            there.communicate()
