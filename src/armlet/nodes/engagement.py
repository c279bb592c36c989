"""A person's commands: published so that they keep the arm, and handed back by an act."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from numpy.typing import NDArray
from sensor_msgs.msg import JointState

from armlet.align.command_source import keeping

from .joint_states import JointStatePublisher
from .messages import diagnostic
from .node import COMMAND_QOS, LATCHED_QOS, ArmletNode
from .stamps import to_time


class Engagement:
    """What a node of a person's publishes: joint_commands, and ~/engagement.

    name: of the status that says whether a person has the arm, and when it was handed back.
    """

    def __init__(self, node: ArmletNode, name: str) -> None:
        self._node, self._name = node, name
        self._publisher = node.create_publisher(JointState, "joint_commands", COMMAND_QOS)
        self._commands = JointStatePublisher(self._publisher)
        self._said = node.create_publisher(DiagnosticArray, "~/engagement", LATCHED_QOS)
        # By it the driver tells this sender from another that commands the same arm.
        self._sender = keeping(secrets.token_hex(8))
        self._handed_back_ns = 0

    def command(self, joints: Sequence[str], stamp_ns: int, position: NDArray[np.float64]) -> None:
        """Publish goals (n,), radians, of n joints."""
        self._commands.publish(joints, stamp_ns, position, source=self._sender)

    def announce(self, engaged: bool, said: str) -> None:
        """Whether a person has the arm, and when it was handed back: a policy begins again then."""
        message = DiagnosticArray()
        message.header.stamp = to_time(self._node.now_ns())
        values = {"engaged": engaged, "handed_back_ns": self._handed_back_ns}
        message.status = [diagnostic(self._name, DiagnosticStatus.OK, said, values)]
        self._said.publish(message)

    def hand_back(self, said: str) -> None:
        """The arm goes to whoever commands next. said: how things stand then."""
        self._handed_back_ns = self._node.now_ns()
        self.announce(False, said)
        message = JointState()
        message.header.stamp = to_time(self._handed_back_ns)
        message.header.frame_id = self._sender
        self._publisher.publish(message)
