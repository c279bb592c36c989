"""The ROS side of `armlet policy check --live`: the aligner's frames, as the policy gets them."""

from __future__ import annotations

import time

import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from armlet.camera import CameraError
from armlet.contract import Contract
from armlet.enclaves import init_arguments
from armlet.nodes.frames import FrameSubscriber, LiveFrame
from armlet.nodes.messages import MessageError
from armlet.nodes.node import SENSOR_QOS
from armlet.nodes.teardown import destroy
from armlet.policies.fit.samples import LiveSample

from .interrupts import Interrupts
from .newest_frames import spin


class _Watcher:
    """Takes frames spread over the time given from the first one on, of the newest contract."""

    def __init__(self, frames: int, seconds: float) -> None:
        self.sample: LiveSample | None = None
        self._frames, self._gap_s = frames, seconds / frames
        self._next_s = 0.0
        self.trouble = ""

    @property
    def seeing(self) -> bool:
        return self.sample is not None and self.sample.frames > 0

    @property
    def done(self) -> bool:
        return self.sample is not None and self.sample.full

    def on_contract(self, contract: Contract) -> None:
        self.sample = LiveSample(contract, self._frames)

    def on_refused(self, topic: str, text: str) -> None:
        self.trouble = text

    def on_frame(self, frame: LiveFrame) -> None:
        if self.sample is None or time.monotonic() < self._next_s:
            return
        try:
            self.sample.add(frame.state(), frame.images())
        except (CameraError, MessageError) as error:
            self.trouble = str(error)
            return
        self._next_s = time.monotonic() + self._gap_s


def watch(seconds: float, frames: int, namespace: str, timeout_s: float) -> LiveSample | None:
    """Up to `frames` frames over `seconds` from the first one; None if no contract came.

    The first is waited for up to `timeout_s`, a time of its own: nodes need seconds to find each
    other on a busy machine. Raises ObservationError for a camera that changes its size,
    RuntimeError for frames that cannot be decoded.
    """
    rclpy.init(args=init_arguments(namespace), signal_handler_options=SignalHandlerOptions.NO)
    node = Node("policy_check", namespace=namespace)
    watcher = _Watcher(frames, seconds)
    subscriber = FrameSubscriber(
        node,
        SENSOR_QOS,
        watcher.on_contract,
        watcher.on_frame,
        watcher.on_refused,
        with_action=False,
    )
    try:
        with Interrupts() as interrupts:
            spin(node, interrupts, timeout_s, lambda: watcher.seeing)
            if watcher.seeing:
                spin(node, interrupts, seconds, lambda: watcher.done)
    finally:
        subscriber.close()
        destroy(node)
        rclpy.try_shutdown()
    if watcher.trouble and not watcher.seeing:
        raise RuntimeError(f"frames arrived that could not be read: {watcher.trouble}")
    return watcher.sample
