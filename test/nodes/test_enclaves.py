"""In SROS 2's enclaves, made by the policy of the graph, nobody without rights moves the arm."""

import os
import shutil
import subprocess
import sys

import pytest
from node_processes import running_graph

from armlet.cli.main import main
from armlet.enclaves import ENABLED, STRATEGY

OVERRIDE, KEYSTORE = "ROS_SECURITY_ENCLAVE_OVERRIDE", "ROS_SECURITY_KEYSTORE"
END_S = 120.0
# Makes a publisher of commands, and waits for a message of the arm. Ends with status 3 where it may
# not publish, 4 where no message came in the seconds of its argument.
PROGRAM = """
import sys, time
import rclpy
from sensor_msgs.msg import JointState
rclpy.init()
node = rclpy.create_node("_ros2cli_stranger", start_parameter_services=False)
heard = []
node.create_subscription(JointState, "joint_states", heard.append, 10)
end_s = time.monotonic() + float(sys.argv[1])
while not heard and time.monotonic() < end_s:
    rclpy.spin_once(node, timeout_sec=0.1)
if not heard:
    sys.exit(4)
try:
    node.create_publisher(JointState, "joint_commands", 1)
except Exception:
    sys.exit(3)
"""


@pytest.fixture
def keystore(tmp_path, private_domain, monkeypatch):
    """Enclaves of the emulated follower's graph; skips where they cannot be made, or not used."""
    pytest.importorskip("sros2", reason="sros2 is not installed")
    if shutil.which("ros2") is None:
        pytest.skip("the command ros2 is not installed")
    folder, policy = tmp_path / "keystore", tmp_path / "policy.xml"
    words = ["follower", "emulated:=true", "--output", str(policy)]
    assert main(["security", "policy", *words]) == 0
    made = ["ros2", "security", "generate_artifacts", "-k", str(folder), "-p", str(policy)]
    subprocess.run(made, check=True)
    for name, value in ((ENABLED, "true"), (STRATEGY, "Enforce"), (KEYSTORE, str(folder))):
        monkeypatch.setenv(name, value)
    tried = program("0.1", {**os.environ, OVERRIDE: "/operator"})
    if "security libraries" in tried.stderr:
        pytest.skip("the middleware is built without security")
    return folder


def program(seconds, environment):
    command = [sys.executable, "-c", PROGRAM, seconds]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.thorough
def test_without_rights_nobody_moves_the_arm(keystore):
    outside = {name: value for name, value in os.environ.items() if name != ENABLED}
    with running_graph("follower", use_sim_time="false", emulated="true") as graph:
        graph.wait_for_status("servo_bus: bus", "holding")
        # Who may: the director, which is in the operator's enclave, heard and is answered.
        assert program(str(END_S), {**os.environ, OVERRIDE: "/operator"}).returncode == 0
        assert program(str(END_S), {**os.environ, OVERRIDE: "/viewer"}).returncode == 3
        assert program("10", outside).returncode == 4
