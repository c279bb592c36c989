"""The aligner's raw streams: their parameters, and what is aligned of their messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image, JointState

from armlet.align import (
    CommandSource,
    JointError,
    JointPart,
    Policy,
    StreamConfig,
    Timing,
    command_source,
    describe_stream,
    why_refused,
)
from armlet.camera import jpeg, raw
from armlet.frozen import fingerprint
from armlet.robots.unit_check import implausible

from .messages import MessageError, to_ns

KINDS = {"joint_state": JointState, "compressed": CompressedImage, "raw": Image}

# What is recorded must not be lost while this process is not run for a moment: queues of some
# seconds at 100 Hz; of raw pictures, a megabyte each, less.
DEPTH, RAW_DEPTH = 600, 30


@dataclass(frozen=True)
class Source:
    """One topic, which is a stream of its own in the aligner; part: which joints it brings."""

    topic: str
    kind: type
    config: StreamConfig
    qos: QoSProfile
    part: JointPart | None = None

    def sample(self, message: Any) -> tuple[int, Any, int | None]:
        """Stamp (ns), value and fingerprint of a message: a joint vector, or the picture itself.

        Raises MessageError if the message is no sample.
        """
        stamp_ns = to_ns(message.header.stamp)
        if self.part is not None:
            try:
                values = self.part.sample(message.name, message.position)
            except JointError as error:
                raise MessageError(str(error)) from error
            if reason := implausible(self.part.joints, values):
                raise MessageError(reason)
            return stamp_ns, values, None
        # A miss of one frame here, not the end of an episode when it comes to be decoded.
        if self.kind is CompressedImage:
            reason = jpeg.unfit(memoryview(message.data), message.format)
        else:
            reason = raw.unfit(message)
        if reason:
            raise MessageError(reason)
        return stamp_ns, message, fingerprint(message.data)

    def origin(self, message: Any) -> CommandSource | None:
        """Who commanded the joints of a message; None for a picture."""
        return None if self.part is None else command_source.parse(message.header.frame_id)

    def why_refused(self, timing: Timing, stamp_ns: int, received_ns: int) -> str:
        """In words, for a message that did not come in time."""
        return str(why_refused(timing, self.topic, stamp_ns, received_ns))


@dataclass(frozen=True)
class RawStream:
    """A stream by its name in the frames and the contract, of one topic or, joints, several."""

    name: str
    kind: type
    policy: Policy
    tolerance_s: float
    sources: tuple[Source, ...]

    @property
    def parts(self) -> tuple[JointPart, ...]:
        return tuple(source.part for source in self.sources if source.part is not None)


def raw_stream(name: str, joints: Sequence[str], value: Callable[[str], Any]) -> RawStream:
    """A stream as its parameters, by their full names, tell. Raises ValueError."""
    described = describe_stream(name, joints, value)
    kind = KINDS[described.kind]
    reliable = value(f"{name}.reliable")
    qos = QoSProfile(
        depth=RAW_DEPTH if described.kind == "raw" else DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
    )
    sources = tuple(Source(s.topic, kind, s.config, qos, s.part) for s in described.sources)
    return RawStream(name, kind, described.policy, described.tolerance_s, sources)
