"""Two network namespaces, joined by a cable of the kernel's: who finds nodes from the other one.

They are as two computers for discovery. What needs a bad link between them is in
test_impaired_link.py: few kernels of test machines have netem.
"""

import contextlib
import os
import subprocess
import sys

import pytest

from armlet.bringup import DISCOVERY_VARIABLE

pytestmark = pytest.mark.thorough

GUARD_S = 240.0
ADDRESSES = ("10.213.7.1/24", "10.213.7.2/24")

# A node that is there until its input ends.
BEACON = """
import sys, rclpy
rclpy.init()
node = rclpy.create_node("beacon")
print("there", flush=True)
sys.stdin.read()
"""
# The names of all nodes, once one that is asked for is among them.
WATCHER = """
import sys, rclpy
rclpy.init()
node, names = rclpy.create_node("watcher"), []
while sys.argv[1] not in names:
    rclpy.spin_once(node, timeout_sec=0.2)
    names = [f"{ns.rstrip('/')}/{name}" for name, ns in node.get_node_names_and_namespaces()]
print(*names, flush=True)
"""


def _held(stack, *prefix):
    """A process that keeps a new network namespace: what enters it, as words of a command."""
    line = [*prefix, "sh", "-c", "echo made; exec cat"]
    process = stack.enter_context(
        subprocess.Popen(
            line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    )
    stack.callback(process.stdin.close)
    if process.stdout.readline() != "made\n":
        pytest.skip(f"no network namespaces here: {process.stderr.read().strip()}")
    return process.pid, ["nsenter", f"--target={process.pid}", "-U", "-n", "--preserve-credentials"]


@pytest.fixture(scope="module")
def networks():
    """What puts a command into either of two namespaces with a cable between them."""
    with contextlib.ExitStack() as stack:
        try:
            _, here = _held(stack, "unshare", "-rn")
            far, there = _held(stack, *here, "unshare", "-n")
            cable = f"ip link add name cable0 type veth peer name cable1 netns {far}"
            subprocess.run([*here, "sh", "-c", cable], check=True, capture_output=True, text=True)
            for number, entered in enumerate((here, there)):
                up = f"ip link set lo up && ip link set cable{number} up && "
                up += f"ip addr add {ADDRESSES[number]} dev cable{number}"
                subprocess.run(
                    [*entered, "sh", "-c", up], check=True, capture_output=True, text=True
                )
        except FileNotFoundError as error:
            pytest.skip(f"needs unshare, nsenter and ip: {error}")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no cable between network namespaces here: {error.stderr.strip()}")
        yield here, there


@contextlib.contextmanager
def started(line, reach):
    """A program and its output, until the block ends. reach: how far it looks; None: by default."""
    environment = {key: value for key, value in os.environ.items() if key != DISCOVERY_VARIABLE}
    if reach is not None:
        environment[DISCOVERY_VARIABLE] = reach
    with subprocess.Popen(
        line,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=GUARD_S)


def read_until(process, text):
    said = []
    for line in process.stdout:
        said.append(line)
        if text in line:
            return
    raise AssertionError(f"{text!r} was never said:\n{''.join(said)}")


def seen(there, name):
    """The nodes that the other namespace knows once it knows one of them."""
    line = [*there, sys.executable, "-c", WATCHER, name]
    with started(line, "SUBNET") as watcher:
        return watcher.stdout.readline().split()


def robot(here, *words):
    line = [*here, sys.executable, "-m", "armlet.cli.main", "up", "robot", "emulated:=true"]
    return started([*line, "only:=sim_bench,servo_bus", *words], None)


def test_by_default_the_other_network_finds_no_node(networks, private_domain):
    here, there = networks
    with robot(here) as graph:
        read_until(graph, "follower on")
        # One that is there later, and is found, shows that the cable carries what is sent.
        with started([*here, sys.executable, "-c", BEACON], "SUBNET") as beacon:
            read_until(beacon, "there")
            assert sorted(seen(there, "/beacon")) == ["/beacon", "/watcher"]


def test_with_discovery_subnet_it_finds_the_driver(networks, private_domain):
    here, there = networks
    with robot(here, "discovery:=subnet") as graph:
        read_until(graph, "follower on")
        assert "/servo_bus" in seen(there, "/servo_bus")
