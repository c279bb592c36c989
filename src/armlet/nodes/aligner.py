"""aligner: raw streams in, frames on a fixed grid out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Float64MultiArray, String

from armlet.align import Aligner, Frame, Policy, StreamConfig
from armlet.arm.joints import SO101_JOINTS, feature_names
from armlet.camera import CameraError, jpeg
from armlet.contract import Camera, Contract, Stream

from .messages import (
    MessageError,
    diagnostic,
    joint_state,
    positions,
    rgb,
    skew_message,
    to_ns,
    to_time,
)
from .node import LATCHED_QOS, STATE_QOS, ArmletNode, Setting, SetupError, run

STATE = "state"
ACTION = "action"

SETTINGS = (
    Setting("fps", 30, "frames per second of the grid", 1, 1000),
    Setting("max_wait_s", 0.3, "a frame waits this long for its streams at most", 0.0, 5.0),
    Setting("joints", list(SO101_JOINTS), "joints of state and action, in dataset order"),
    Setting("streams", [STATE, ACTION], "streams: state, action, and a name for each camera"),
)


# Frames go out as their last sample comes; this is for those whose last sample does not come.
EMIT_PERIOD_S = 0.02

# What is recorded must not be lost on the way.
RAW_QOS = QoSProfile(depth=30)
BEST_EFFORT_QOS = QoSProfile(depth=30, reliability=ReliabilityPolicy.BEST_EFFORT)


# A stamp further than this from the time it comes at is a clock fault, not a sample's time.
PLAUSIBLE_S = 2.0


@dataclass(frozen=True)
class StreamSettings:
    """Where one stream comes from and how it is aligned."""

    topic: str
    kind: type
    config: StreamConfig
    qos: QoSProfile


class AlignerNode(ArmletNode):
    """Feeds two `Aligner`s on one grid: observations must not wait for an action to exist."""

    def __init__(self) -> None:
        super().__init__("aligner", SETTINGS)
        self._names: list[str] = list(self.value("streams"))
        for name in dict.fromkeys((STATE, ACTION, *self._names)):
            self.declare(_stream_settings(name))
        self._joints: list[str] = list(self.value("joints"))
        self._aligners: list[Aligner] = []
        self._streams: list[StreamSettings] = []
        self._cameras: dict[str, Camera] = {}
        self._subscriptions_here: list[Any] = []
        self._timer: Any = None

    def setup(self) -> None:
        try:
            self._streams = [self._stream(name) for name in self._names]
        except ValueError as error:
            raise SetupError(str(error)) from error
        self._state = self.create_publisher(JointState, "observation/state", STATE_QOS)
        self._action = self.create_publisher(JointState, "action", STATE_QOS)
        self._skews = {
            STATE: self.create_publisher(Float64MultiArray, "observation/skew", STATE_QOS),
            ACTION: self.create_publisher(Float64MultiArray, "action/skew", STATE_QOS),
        }
        self._contract = self.create_publisher(String, "observation/contract", LATCHED_QOS)
        self._images = {
            stream.config.name: self.create_publisher(
                stream.kind, _image_topic(stream.config.name, stream.kind), STATE_QOS
            )
            for stream in self._streams
            if stream.kind is not JointState
        }

    def _stream(self, name: str) -> StreamSettings:
        kinds = {"joint_state": JointState, "compressed": CompressedImage, "raw": Image}
        kind, topic = self.value(f"{name}.type"), self.value(f"{name}.topic")
        if kind not in kinds:
            raise ValueError(f"{name}.type must be one of {sorted(kinds)}, found {kind!r}")
        if (name in (STATE, ACTION)) != (kind == "joint_state"):
            raise ValueError(f"streams state and action are joint_state, cameras are not: {name}")
        if not topic:
            raise ValueError(f"{name}.topic is empty")
        policy, tolerance = self.value(f"{name}.policy"), self.value(f"{name}.tolerance_s")
        if policy not in tuple(Policy):
            raise ValueError(
                f"{name}.policy must be one of {[p.value for p in Policy]}, found {policy!r}; "
                "there is no default"
            )
        if kind != "joint_state" and policy == Policy.LINEAR:
            raise ValueError(f"{name}.policy: pictures cannot be interpolated")
        config = StreamConfig(name, Policy(policy), tolerance)
        qos = RAW_QOS if self.value(f"{name}.reliable") else BEST_EFFORT_QOS
        return StreamSettings(topic, kinds[kind], config, qos)

    def start(self) -> None:
        configs = [stream.config for stream in self._streams]
        groups = [
            [config for config in configs if config.name != ACTION],
            [config for config in configs if config.name == ACTION],
        ]
        fps, max_wait_s = self.value("fps"), self.value("max_wait_s")
        self._aligners = [Aligner(group, fps, max_wait_s) for group in groups if group]
        for aligner in self._aligners:
            for stream in self._streams:
                if stream.config.name in aligner.ledger.streams:
                    self._subscribe(stream, aligner)
        self._timer = self.create_timer(EMIT_PERIOD_S, self._emit)
        self._announce_if_complete()

    def _subscribe(self, stream: StreamSettings, aligner: Aligner) -> None:
        handler = self._receiver(stream, aligner)
        self._subscriptions_here.append(
            self.create_subscription(stream.kind, stream.topic, handler, stream.qos)
        )

    def _receiver(self, stream: StreamSettings, aligner: Aligner) -> Callable[[Any], None]:
        name = stream.config.name

        def receive(message: Any) -> None:
            stamp_ns = to_ns(message.header.stamp)
            try:
                value = self._checked(stream, message, stamp_ns)
            except MessageError as error:
                aligner.ledger.streams[name].refused += 1
                self.get_logger().error(f"{name}: {error}", throttle_duration_sec=5.0)
                return
            aligner.push(name, stamp_ns, value)
            self._emit()

        return receive

    def _checked(self, stream: StreamSettings, message: Any, stamp_ns: int) -> Any:
        """What is aligned of a message: a joint vector, or the picture message itself."""
        if abs(self.now_ns() - stamp_ns) > PLAUSIBLE_S * 1e9:
            raise MessageError(
                f"stamp {stamp_ns * 1e-9:.3f} s is not the time on this node's clock; "
                f"the publisher of {stream.topic} must stamp its messages"
            )
        if stream.kind is JointState:
            return self._joint_vector(message)
        if stream.kind is CompressedImage and not jpeg.is_whole(bytes(message.data)):
            # A miss of one frame here, not the end of an episode when it comes to be decoded.
            raise MessageError(f"torn picture of {len(message.data)} bytes")
        return message

    def _joint_vector(self, message: JointState) -> np.ndarray[Any, np.dtype[np.float64]]:
        values = positions(message, self._joints)
        if not np.isfinite(values).all():
            raise MessageError(f"positions must be finite, found {values.tolist()}")
        return values

    def stop(self) -> None:
        self.destroy_timer(self._timer)
        for subscription in self._subscriptions_here:
            self.destroy_subscription(subscription)
        self._subscriptions_here.clear()

    def _emit(self) -> None:
        now_ns = self.now_ns()
        for aligner in self._aligners:
            for frame in aligner.frames(now_ns):
                self._publish(frame)

    def _publish(self, frame: Frame) -> None:
        for name, value in frame.values.items():
            if name in self._images:
                self._publish_image(name, value, frame.stamp_ns)
            else:
                publisher = self._state if name == STATE else self._action
                publisher.publish(joint_state(self._joints, frame.stamp_ns, value))
        skew = self._skews[ACTION if ACTION in frame.values else STATE]
        skew.publish(skew_message(frame.stamp_ns, frame.skew_s))

    def _publish_image(self, name: str, message: Image | CompressedImage, stamp_ns: int) -> None:
        if name not in self._cameras:
            self._announce_camera(name, message)
        # The picture goes out under the frame's time; its own is in observation/skew.
        source = message.header.stamp
        message.header.stamp = to_time(stamp_ns)
        self._images[name].publish(message)
        message.header.stamp = source

    def _announce_camera(self, name: str, message: Image | CompressedImage) -> None:
        try:
            height, width = rgb(message).shape[:2]
        except (CameraError, MessageError) as error:
            self.get_logger().error(f"{name}: {error}", throttle_duration_sec=2.0)
            return
        codec = "jpeg" if isinstance(message, CompressedImage) else "raw"
        self._cameras[name] = Camera(name, height, width, codec=codec)
        self._announce_if_complete()

    def _announce_if_complete(self) -> None:
        if len(self._cameras) == len(self._images):
            self._contract.publish(String(data=self._live_contract().canonical()))

    def _live_contract(self) -> Contract:
        names = feature_names(tuple(self._joints))
        return Contract(
            fps=self.value("fps"),
            cameras=tuple(self._cameras[name] for name in self._images),
            state_names=names,
            action_names=names,
            alignment=tuple(
                Stream(s.config.name, s.config.policy.value, s.config.tolerance_s)
                for s in self._streams
            ),
        )

    def diagnostics(self) -> list[DiagnosticStatus]:
        return [
            status
            for aligner in self._aligners
            for status in (self._frames_status(aligner), *self._stream_status(aligner))
        ]

    def _frames_status(self, aligner: Aligner) -> DiagnosticStatus:
        ledger = aligner.ledger
        what = "/".join(ledger.streams)
        return diagnostic(
            f"{self.label}: frames of {what}",
            DiagnosticStatus.OK if ledger.frames else DiagnosticStatus.WARN,
            f"{ledger.frames} frames, {ledger.missed_frames} missed",
            {
                "frames": ledger.frames,
                "missed_frames": ledger.missed_frames,
                "clock_jumps": ledger.clock_jumps,
            },
        )

    def _stream_status(self, aligner: Aligner) -> Iterable[DiagnosticStatus]:
        for name, account in aligner.ledger.streams.items():
            level = DiagnosticStatus.OK if account.received else DiagnosticStatus.WARN
            summary = (
                "flowing" if account.received else f"never seen: {self.value(f'{name}.topic')}"
            )
            yield diagnostic(f"{self.label}: {name}", level, summary, account.summary())


def _stream_settings(name: str) -> tuple[Setting, ...]:
    return (
        Setting(f"{name}.topic", "", f"topic of stream {name}"),
        Setting(f"{name}.type", "", "joint_state, compressed or raw"),
        Setting(f"{name}.policy", "", "linear, nearest or previous; there is no default"),
        Setting(f"{name}.tolerance_s", 0.0, "furthest a sample may lie from the frame's time"),
        Setting(f"{name}.reliable", True, "false for a publisher that is best effort"),
    )


def _image_topic(name: str, kind: type) -> str:
    topic = f"observation/images/{name}"
    return f"{topic}/compressed" if kind is CompressedImage else topic


def main() -> None:
    run(AlignerNode)


if __name__ == "__main__":
    main()
