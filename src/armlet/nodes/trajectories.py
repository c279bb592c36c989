"""Between JointTrajectory messages and the motions that an arm is controlled by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from armlet.align.command_source import Origin, origin
from armlet.align.joints import joint_parts
from armlet.control import Trajectory
from armlet.robots.joints import in_namespace

from .cdr import TrajectoryMessage
from .messages import MessageError
from .node import COMMAND_QOS
from .stamps import to_ns, to_time

_SECOND_NS = 1_000_000_000
NOBODY = Origin()


class TrajectoryPublisher:
    """Publishes motions of one vector of joints, to each arm of it those of its own.

    prefixes: what the vector's joints have before each arm's own names; "" of the only arm.
    """

    def __init__(self, node: Node, prefixes: Iterable[str]) -> None:
        self._arms = {
            prefix: node.create_publisher(
                JointTrajectory, in_namespace(prefix, "joint_trajectory"), COMMAND_QOS
            )
            for prefix in prefixes
        }

    def publish(
        self,
        joints: Sequence[str],
        stamp_ns: int,
        step_s: float,
        rows: NDArray[np.float64],
        sender: Origin = NOBODY,
    ) -> None:
        """Send rows (k, n) as in joint_trajectory. Raises JointError where an arm has no joint."""
        columns = {joint: column for column, joint in enumerate(joints)}
        parts = joint_parts("joint_trajectory", joints, list(self._arms))
        messages = {
            part.prefix: joint_trajectory(
                [joint.removeprefix(part.prefix) for joint in part.joints],
                stamp_ns,
                step_s,
                rows[:, [columns[joint] for joint in part.joints]],
                sender,
            )
            for part in parts
        }
        for prefix, message in messages.items():
            self._arms[prefix].publish(message)

    def hold(self, stamp_ns: int = 0, sender: Origin = NOBODY) -> None:
        """Every arm stops following: an empty trajectory, as for a trajectory controller.

        One that continues stops only what its sender has in play.
        """
        message = JointTrajectory()
        message.header.frame_id = str(sender)
        message.header.stamp = to_time(stamp_ns)
        for publisher in self._arms.values():
            publisher.publish(message)

    def unheard(self) -> list[str]:
        """Prefixes of the arms to whose motions nobody subscribes."""
        return [prefix for prefix, each in self._arms.items() if not each.get_subscription_count()]

    def wait_for_all_acked(self, timeout_s: float) -> None:
        """Until every message has come to those who subscribe, or the time is over."""
        for publisher in self._arms.values():
            publisher.wait_for_all_acked(Duration(seconds=timeout_s))


def joint_trajectory(
    joints: Sequence[str],
    stamp_ns: int,
    step_s: float,
    rows: NDArray[np.float64],
    sender: Origin = NOBODY,
) -> JointTrajectory:
    """An action chunk: radians (k, n), point i due at stamp + i * step_s.

    sender: its mark is handed on by the driver with what it sends to the servos.
    """
    message = JointTrajectory(joint_names=list(joints))
    message.header.frame_id = str(sender)
    message.header.stamp = to_time(stamp_ns)
    message.points = [
        JointTrajectoryPoint(
            positions=row.tolist(),
            time_from_start=Duration(nanoseconds=round(i * step_s * _SECOND_NS)).to_msg(),
        )
        for i, row in enumerate(rows)
    ]
    return message


def trajectory(message: JointTrajectory | TrajectoryMessage, now_ns: int) -> Trajectory:
    """The motion of a message; a zero stamp means now (ROS 2 convention).

    Its origin is the mark of the message's sender, empty if it has none.

    Raises ValueError on ragged, unordered or non-finite points.
    """
    if isinstance(message, TrajectoryMessage):
        times_s, rows = message.times_s, message.positions
    else:
        count = len(message.joint_names)
        if any(len(point.positions) != count for point in message.points):
            raise MessageError(f"every point needs {count} positions, one for each joint name")
        times_s = np.array([_seconds(point) for point in message.points], np.float64)
        rows = np.array([list(p.positions) for p in message.points]).reshape(-1, count)
    stamp_ns = to_ns(message.header.stamp) or now_ns
    sender = origin(message.header.frame_id)
    return Trajectory(stamp_ns, times_s, rows, sender.mark, sender.continues)


def _seconds(point: JointTrajectoryPoint) -> float:
    return float(point.time_from_start.sec + point.time_from_start.nanosec * 1e-9)
