"""Between JointTrajectory messages and the motions that an arm is controlled by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rclpy.duration import Duration
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from armlet.align.command_source import policy_mark
from armlet.control import Trajectory

from .cdr import TrajectoryMessage
from .messages import MessageError
from .stamps import to_ns, to_time

_SECOND_NS = 1_000_000_000


def joint_trajectory(
    joints: Sequence[str], stamp_ns: int, step_s: float, rows: NDArray[np.float64], policy: str = ""
) -> JointTrajectory:
    """An action chunk: radians (k, n), point i due at stamp + i * step_s.

    policy: the mark of its provenance, which the driver hands on with what it sends to the servos.
    """
    message = JointTrajectory(joint_names=list(joints))
    message.header.frame_id = policy
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

    Its origin is the mark of the policy that the message is of, empty if it has none.

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
    return Trajectory(stamp_ns, times_s, rows, policy_mark(message.header.frame_id))


def _seconds(point: JointTrajectoryPoint) -> float:
    return float(point.time_from_start.sec + point.time_from_start.nanosec * 1e-9)
