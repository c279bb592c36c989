"""Sends what a keyboard asks for as a gamepad's messages, for `jog`."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Joy

from armlet.enclaves import init_arguments
from armlet.nodes.messages import to_time
from armlet.nodes.node import STATE_QOS

from .spinning import Spinning

PERIOD_S = 0.02


class JoyKeys:
    """Publishes `joy` in a namespace until it is left, 50 times a second. Context manager.

    Also while nothing is held: `jog` must see that a button was up before it counts.

    message: axes and buttons at a time, s, monotonic; called in a thread of its own.
    """

    def __init__(
        self, namespace: str, message: Callable[[float], tuple[list[float], list[int]]]
    ) -> None:
        context = Context()
        rclpy.init(
            args=init_arguments(namespace),
            context=context,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        node = Node(
            "jog_keys", context=context, namespace=namespace or "/", use_global_arguments=False
        )
        self._message = message
        self._joy = node.create_publisher(Joy, "joy", STATE_QOS)
        self._spinning = Spinning(node, context)
        self._spinning.start(self._send)

    @property
    def heard(self) -> bool:
        """Whether anybody listens."""
        return self._joy.get_subscription_count() > 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._spinning.close()

    def _send(self) -> None:
        while not self._spinning.ending.wait(PERIOD_S):
            axes, buttons = self._message(time.monotonic())
            message = Joy(axes=axes, buttons=buttons)
            message.header.stamp = to_time(time.time_ns())
            self._joy.publish(message)
