"""`armlet jog` in a terminal: its keys come out as a gamepad's messages."""

import sys
from pathlib import Path

import pytest
import rclpy
from awaited import wait_until
from rclpy.context import Context
from sensor_msgs.msg import Joy

from armlet.client.spinning import Spinning
from armlet.nodes.node import SENSOR_QOS

sys.path.append(str(Path(__file__).parents[1] / "cli"))
from terminal_session import TerminalSession

# A person's keys do not wait for simulated time.
pytestmark = [pytest.mark.thorough, pytest.mark.wall_clock(seconds=4)]

HOLD = 4


@pytest.fixture
def heard(private_domain):
    context = Context()
    rclpy.init(args=[], context=context)
    node = rclpy.create_node("listener", context=context)
    messages = []
    node.create_subscription(Joy, "left/joy", messages.append, SENSOR_QOS)
    spinning = Spinning(node, context)
    spinning.start()
    yield messages
    spinning.close()


def test_a_key_is_sent_while_it_is_held_and_let_go_after(heard):
    with TerminalSession("jog", "--namespace", "left") as session:
        session.wait_for("tip, no key")
        wait_until(lambda: heard)
        assert not heard[0].buttons[HOLD]

        def pressed():
            session.send("w")  # as a key that is held is repeated
            return heard[-1].buttons[HOLD]

        wait_until(pressed)
        assert heard[-1].axes[1] == 1.0 or not heard[-1].buttons[HOLD]
        wait_until(lambda: not heard[-1].buttons[HOLD])
        session.send("m")
        session.wait_for("joint by joint")
        session.send("q")
        assert session.wait_end() == 0
