"""The aligner's newest frame, again and again: for commands beside a running graph."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator

import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from armlet.enclaves import init_arguments
from armlet.nodes.frames import FrameSubscriber, LiveFrame
from armlet.nodes.node import SENSOR_QOS
from armlet.nodes.teardown import destroy

from .interrupts import Interrupts


def newest_frames(name: str, namespace: str, timeout_s: float) -> Generator[LiveFrame]:
    """The newest frame there is, whenever the next is asked for, to a node of that name.

    Ends where none came for `timeout_s`. To be closed by who stops earlier (contextlib.closing).
    """
    rclpy.init(args=init_arguments(namespace), signal_handler_options=SignalHandlerOptions.NO)
    node = Node(name, namespace=namespace)
    came: list[LiveFrame] = []
    subscriber = FrameSubscriber(
        node,
        SENSOR_QOS,
        lambda contract: came.clear(),
        came.append,
        lambda topic, text: None,
        with_action=False,
    )
    try:
        with Interrupts() as interrupts:
            while True:
                spin(node, interrupts, timeout_s, lambda: bool(came))
                if not came:
                    return
                frame = came[-1]
                came.clear()
                yield frame
    finally:
        subscriber.close()
        destroy(node)
        rclpy.try_shutdown()


def spin(node: Node, interrupts: Interrupts, seconds: float, ended: Callable[[], bool]) -> None:
    """Handle messages until something is so, the time is over, or Ctrl-C (KeyboardInterrupt)."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not ended():
        rclpy.spin_once(node, timeout_sec=0.1)
        interrupts.check()
