"""aligner: raw streams in, frames on a fixed grid out.

What became of every message is on /diagnostics, and the same on ~/ledger: latched, once a second
and at once when a stream slows, stalls, freezes or flows again. The counts as of each frame go
with it, in the label of observation/skew and action/skew (`messages.parse_ledger`).
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.event_handler import QoSRequestedIncompatibleQoSInfo, SubscriptionEventCallbacks
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Float64MultiArray, String

from armlet.align import (
    ACTION,
    STATE,
    WAITING,
    Aligner,
    Backlog,
    Condition,
    Frame,
    Health,
    Ledger,
    Sample,
    StreamLedger,
    Timing,
    Watch,
    command_source,
    join,
    worst_skew_s,
)
from armlet.camera import CameraError
from armlet.contract import Camera, Contract, Stream
from armlet.findings import Code
from armlet.priority import Role, raise_process
from armlet.robots.joints import feature_names
from armlet.settings.aligner import SETTINGS, stream_settings

from .camera_publisher import picture_qos
from .clock_exchange import ClockExchange
from .fastdds import raw_picture_warning
from .joint_states import JointStatePublisher
from .messages import MessageError, diagnostic, skew_message, to_time
from .node import LATCHED_QOS, RECORDING_QOS, ArmletNode, SetupError, run
from .pictures import picture_size, rgb
from .publishers import misfits, publishers_of, why_silent
from .raw_streams import RawStream, Source, raw_stream
from .reception import Reception, with_reception
from .status_names import frames_of, status_name

# Frames go out as their last sample comes; this is for those whose last sample does not come.
EMIT_PERIOD_S = 0.02

LOOK_PERIOD_S = 0.2

# Skews and refusals on /diagnostics are those of the last so many seconds.
WINDOW = 10

# The first messages of a busy computer's start are late too: a clock is called wrong after so long.
OFFSET_S = 0.5

TOO_SLOW = "This computer does not keep up: close other programs, or take smaller pictures or fewer"

_LEVELS = {
    Condition.SILENT: DiagnosticStatus.WARN,
    Condition.FLOWING: DiagnosticStatus.OK,
    Condition.NEVER_SEEN: DiagnosticStatus.ERROR,
}


@dataclass
class Group:
    """Streams whose frames are whole together, and what they were a while ago."""

    aligner: Aligner
    streams: list[RawStream]
    watches: dict[str, Watch]
    healths: dict[str, Health] = field(default_factory=dict)
    marks: deque[Ledger] = field(default_factory=lambda: deque(maxlen=WINDOW))
    rate_hz: float = math.nan
    counted: tuple[float, int] = (math.nan, 0)

    def sources(self) -> Iterator[Source]:
        for stream in self.streams:
            yield from stream.sources

    @property
    def flows(self) -> bool:
        """Whether messages of every stream come."""
        absent = (Condition.SILENT, Condition.STALLED, Condition.NEVER_SEEN)
        return all(health.condition not in absent for health in self.healths.values())

    def count(self, now_s: float) -> None:
        """Take the rate of frames since this was called last, which is about a second ago."""
        (last_s, last), frames = self.counted, self.aligner.ledger.frames
        self.counted = now_s, frames
        self.rate_hz = (frames - last) / (now_s - last_s) if now_s > last_s else math.nan


class AlignerNode(ArmletNode):
    """Feeds two `Aligner`s on one grid: observations must not wait for an action to exist."""

    def __init__(self) -> None:
        super().__init__("aligner", SETTINGS)
        self._names: list[str] = list(self.value("streams"))
        for name in dict.fromkeys((STATE, ACTION, *self._names)):
            self.declare(stream_settings(name))
        self._joints: list[str] = list(self.value("joints"))
        self._streams: list[RawStream] = []
        self._groups: list[Group] = []
        self._cameras: dict[str, Camera] = {}
        self._backlog = Backlog()
        self._behind = False
        self._clocks = ClockExchange(self)
        self._off_clock: dict[str, str] = {}
        self._refusals: dict[str, tuple[float, str]] = {}
        self._offset_since: dict[str, float] = {}
        self._subscriptions_here: list[Any] = []
        self._timers_here: list[Any] = []
        self._fragmented = ""

    def setup(self) -> None:
        try:
            self._streams = [raw_stream(name, self._joints, self.value) for name in self._names]
            self._groups = self._group()
        except ValueError as error:
            raise SetupError(str(error)) from error
        self._state = JointStatePublisher(
            self.create_publisher(JointState, "observation/state", RECORDING_QOS)
        )
        self._action = JointStatePublisher(
            self.create_publisher(JointState, "action", RECORDING_QOS)
        )
        self._skews: dict[str, Any] = {
            STATE: self.create_publisher(Float64MultiArray, "observation/skew", RECORDING_QOS),
            ACTION: self.create_publisher(Float64MultiArray, "action/skew", RECORDING_QOS),
        }
        self._contract = self.create_publisher(String, "observation/contract", LATCHED_QOS)
        self._ledger = self.create_publisher(DiagnosticArray, "~/ledger", LATCHED_QOS)
        self._images: dict[str, Any] = {
            stream.name: self.create_publisher(
                stream.kind, _image_topic(stream.name, stream.kind), picture_qos(stream.kind)
            )
            for stream in self._streams
            if stream.kind is not JointState
        }

    def _group(self) -> list[Group]:
        observation = [stream for stream in self._streams if stream.name != ACTION]
        action = [stream for stream in self._streams if stream.name == ACTION]
        fps, waits_s = self.value("fps"), (self.value("max_wait_s"), self.value("give_up_s"))
        groups = []
        for streams in filter(None, (observation, action)):
            configs = [source.config for stream in streams for source in stream.sources]
            watches = {config.name: Watch(self.clock.seconds()) for config in configs}
            groups.append(Group(Aligner(configs, fps, *waits_s), streams, watches))
        return groups

    def start(self) -> None:
        self._groups = self._group()
        self._cameras.clear()
        self._refusals.clear()
        self._offset_since.clear()
        self._backlog = Backlog()
        for group in self._groups:
            for source in group.sources():
                self._subscribe(source, group.aligner)
        self._timers_here = [
            self.create_timer(EMIT_PERIOD_S, self._emit),
            self.create_timer(LOOK_PERIOD_S, self._look),
        ]
        self._fragmented = raw_picture_warning(
            [s.topic for group in self._groups for s in group.sources() if s.kind is Image]
        )
        if self._fragmented:
            self.get_logger().warning(self._fragmented)
        self._announce_if_complete()

    def _subscribe(self, source: Source, aligner: Aligner) -> None:
        def on_misfit(event: QoSRequestedIncompatibleQoSInfo) -> None:
            for said in misfits(self, source.topic, source.kind, source.qos):
                self.get_logger().error(f"{source.config.name}: {said}; {_fix(source)}")

        self._subscriptions_here.append(
            self.create_subscription(
                source.kind,
                source.topic,
                self._receiver(source, aligner),
                source.qos,
                event_callbacks=SubscriptionEventCallbacks(incompatible_qos=on_misfit),
            )
        )

    def _receiver(self, source: Source, aligner: Aligner) -> Callable[..., None]:
        name = source.config.name
        account = aligner.ledger.streams[name]

        def receive(message: Any, way: Reception) -> None:
            now_ns = self.now_ns()
            # The middleware's time is the computer's.
            received_ns = now_ns if self.clock.simulated else way.received_ns or now_ns
            if not self._backlog.take(received_ns, now_ns):
                account.skipped += 1
                return
            try:
                stamp_ns, value, fingerprint = source.sample(message)
                self._check_size(name, message)
                self._check_clock(name)
            except MessageError as error:
                account.refused += 1
                self._say_refused(name, str(error))
                return
            origin = source.origin(message)
            sample = Sample(name, stamp_ns, value, fingerprint, received_ns, origin)
            self._turn(now_ns)
            timing = aligner.arrive(sample, received_ns, self._backlog.paused_ns)
            if timing in (Timing.OFFSET, Timing.OLD, Timing.FUTURE):
                why = source.why_refused(timing, stamp_ns, received_ns)
                self._say_refused(name, why, timing is not Timing.OFFSET or self._is_offset(name))
            else:
                self._offset_since.pop(name, None)
                self._emit()

        return with_reception(receive)

    def _is_offset(self, name: str) -> bool:
        """Whether no message of a stream has come in time for long enough to blame its clock."""
        now_s = self.clock.seconds()
        return now_s - self._offset_since.setdefault(name, now_s) >= OFFSET_S

    def _say_refused(self, name: str, why: str, log: bool = True) -> None:
        self._refusals[name] = self.clock.seconds(), why
        if log:
            self.log_once(name, f"{name}: {why}")

    def _check_size(self, name: str, message: Any) -> None:
        """MessageError for a picture that is not of the size that the contract states."""
        camera = self._cameras.get(name)
        if camera is None:
            return
        width, height = picture_size(message)
        if (width, height) != (camera.width, camera.height):
            raise MessageError(
                f"picture of {width}x{height}, but this camera began with "
                f"{camera.width}x{camera.height}; set it back, or start the aligner again"
            )

    def _check_clock(self, name: str) -> None:
        """MessageError for a message stamped by a clock that is another than this computer's."""
        if off := self._off_clock.get(name):
            raise MessageError(off)

    def _compare_clocks(self) -> None:
        """Which streams come from computers whose clocks are off by more than a frame."""
        self._off_clock = {}
        if self._clocks.alone:
            return
        for group in self._groups:
            for source in group.sources():
                senders = publishers_of(self, self.resolve_topic_name(source.topic))
                if off := self._clocks.trouble(senders, 1 / self.value("fps")):
                    self._off_clock[source.config.name] = off

    def stop(self) -> None:
        for timer in self._timers_here:
            self.destroy_timer(timer)
        for subscription in self._subscriptions_here:
            self.destroy_subscription(subscription)
        self._timers_here.clear()
        self._subscriptions_here.clear()

    def _turn(self, now_ns: int) -> int:
        """Note that this node runs; how far it may be behind, ns."""
        return self._backlog.turn(now_ns, self.clock.steady_ns(), time.monotonic_ns())

    def _emit(self) -> None:
        now_ns = self.now_ns()
        behind_ns = self._turn(now_ns)
        for group in self._groups:
            for frame in group.aligner.frames(now_ns, behind_ns):
                self._publish(group, frame)

    def _publish(self, group: Group, frame: Frame) -> None:
        skew_s = {}
        for stream in group.streams:
            name, parts = stream.name, stream.parts
            if parts:
                publisher = self._state if name == STATE else self._action
                vector = join(parts, self._joints, frame.values)
                source = str(command_source.of_parts(parts, frame.origins))
                publisher.publish(self._joints, frame.stamp_ns, vector, source=source)
                skew_s[name] = worst_skew_s(parts, frame.skew_s)
            else:
                self._publish_image(name, frame.values[name], frame.stamp_ns)
                skew_s[name] = frame.skew_s[name]
        skew = self._skews[ACTION if ACTION in skew_s else STATE]
        counts = group.aligner.ledger.counts()
        skew.publish(skew_message(frame.stamp_ns, skew_s, counts, self.now_ns()))

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
            self.log_once(name, f"{name}: {error}")
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
                Stream(stream.name, stream.policy.value, stream.tolerance_s)
                for stream in self._streams
            ),
        )

    def _look(self) -> None:
        """Judge every stream, and this node itself; say at once what changed."""
        self._compare_clocks()
        changed = self._say_behind()
        for group in self._groups:
            for source in group.sources():
                name = source.config.name
                account = group.aligner.ledger.streams[name]
                health = group.watches[name].look(
                    self.clock.seconds(), account.received, group.aligner.frozen(name)
                )
                before = group.healths.get(name)
                group.healths[name] = health
                if before is not None and health.condition is not before.condition:
                    self._say_changed(source, health)
                    changed = True
        if changed:
            self._publish_ledger(self._statuses())

    def _say_behind(self) -> bool:
        """Whether it has fallen behind, or caught up, since the last look."""
        skipped = self._backlog.skipped_s()
        if skipped:
            self.get_logger().error(
                f"this node was {skipped:.1f} s behind: messages from that time are dropped. "
                f"{TOO_SLOW}"
            )
        if self._backlog.behind is self._behind:
            return bool(skipped)
        self._behind = self._backlog.behind
        if self._behind:
            self.get_logger().warning(f"{self._backlog}. {TOO_SLOW}")
        else:
            self.get_logger().info("this node has caught up")
        return True

    def _say_changed(self, source: Source, health: Health) -> None:
        text = f"{source.config.name}: {health}{self._why(source, health)}"
        if health.condition is Condition.FLOWING:
            self.get_logger().info(text)
        elif health.condition is Condition.NEVER_SEEN:
            self.get_logger().error(text)
        else:
            self.get_logger().warning(text)

    def _why(self, source: Source, health: Health) -> str:
        if health.condition not in (Condition.NEVER_SEEN, Condition.STALLED):
            return ""
        refused_s, refusal = self._refusals.get(source.config.name, (-1e9, ""))
        if self.clock.seconds() - refused_s < max(1.0, health.silent_s):
            return f"; its messages are refused: {refusal}"
        why = why_silent(self, source.topic, source.kind, source.qos)
        fix = _fix(source) if "best effort" in why else ""
        return f"; {why}; {fix}".rstrip("; ")

    def diagnostics(self) -> list[DiagnosticStatus]:
        if not self._active:
            return []
        for group in self._groups:
            group.count(self.clock.seconds())
        statuses = self._statuses()
        for group in self._groups:
            group.marks.append(group.aligner.ledger.mark())
        self._publish_ledger(statuses)
        return statuses

    def _publish_ledger(self, statuses: list[DiagnosticStatus]) -> None:
        message = DiagnosticArray(status=statuses)
        message.header.stamp = to_time(self.now_ns())
        self._ledger.publish(message)

    def _statuses(self) -> list[DiagnosticStatus]:
        return [
            status
            for group in self._groups
            for status in (self._frames_status(group), *self._stream_statuses(group))
        ]

    def _frames_status(self, group: Group) -> DiagnosticStatus:
        ledger = group.aligner.ledger
        waiting = max(group.aligner.waiting(self.now_ns()).values(), default=0)
        said = f"{ledger.frames} frames, {ledger.missed_frames} missed, {waiting} waiting"
        good = bool(ledger.frames) and not self._behind
        return diagnostic(
            status_name(self.label, frames_of(ledger.streams)),
            DiagnosticStatus.OK if good else DiagnosticStatus.WARN,
            f"{said}; {self._backlog}. {TOO_SLOW}" if self._behind else said,
            {
                WAITING: waiting,
                "behind_s": f"{self._backlog.behind_s:.2f}",
                "rate_hz": f"{group.rate_hz:.1f}",
                # Of streams that do not come there can be no frames, however fast this node is.
                "wanted_hz": f"{self.value('fps'):.1f}" if group.flows else "",
                "frames": ledger.frames,
                "missed_frames": ledger.missed_frames,
                "clock_jumps": ledger.clock_jumps,
            },
        )

    def _stream_statuses(self, group: Group) -> Iterable[DiagnosticStatus]:
        for source in group.sources():
            name = source.config.name
            account = group.aligner.ledger.streams[name]
            mark = group.marks[0].streams[name] if group.marks else None
            yield self._stream_status(source, group, account, mark)

    def _stream_status(
        self, source: Source, group: Group, account: StreamLedger, mark: StreamLedger | None
    ) -> DiagnosticStatus:
        name = source.config.name
        recent = account if mark is None else account.since(mark)
        health = group.healths.get(name) or Health(Condition.SILENT, 0.0, 0.0, 0.0)
        level = _LEVELS.get(health.condition, DiagnosticStatus.WARN)
        said = [f"{health}{self._why(source, health)}"]
        if recent.skipped:
            level = max(level, DiagnosticStatus.WARN)
            said.append(f"{recent.skipped} messages dropped unread: this node was too far behind")
        lacking = group.aligner.lacking(name)
        if lacking and source.part is not None:
            level = DiagnosticStatus.ERROR
            said.append(f"its messages lack joints {[source.part.joints[i] for i in lacking]}")
        if recent.refused:
            level = max(level, DiagnosticStatus.WARN)
            said.append(
                f"{recent.refused} messages refused in the last {WINDOW} s, the last: "
                f"{self._refusals[name][1]}"
            )
        off_clock = self._off_clock.get(name, "")
        if off_clock:
            level = DiagnosticStatus.ERROR
            said.insert(0, off_clock)
        lacked = {str(reason): count for reason, count in recent.missed.items() if count}
        if lacked or recent.late:
            level = max(level, DiagnosticStatus.WARN)
            why = ", ".join(f"{count} {reason}" for reason, count in lacked.items()) or "none"
            said.append(
                f"in the last {WINDOW} s {sum(lacked.values())} frames lacked it ({why}) and "
                f"{recent.late} of its messages came too late"
            )
        if source.kind is Image and self._fragmented:
            level = max(level, DiagnosticStatus.WARN)
            said.append(self._fragmented)
        values = {
            **account.summary(recent.skews),
            "condition": health.condition,
            WAITING: group.aligner.waiting(self.now_ns()).get(name, 0),
            "rate_hz": f"{health.rate_hz:.1f}",
            "usual_rate_hz": f"{health.usual_hz:.1f}",
            "topic": self.resolve_topic_name(source.topic),
            **({"codes": Code.COMPUTER_CLOCK_OFFSET} if off_clock else {}),
        }
        return diagnostic(status_name(self.label, name), level, "; ".join(said), values)


def _fix(source: Source) -> str:
    name = source.config.name.partition(".")[0]
    return f"set {name}.reliable to false, or have it publish reliably"


def _image_topic(name: str, kind: type) -> str:
    topic = f"observation/images/{name}"
    return f"{topic}/compressed" if kind is CompressedImage else topic


def main() -> None:
    raise_process(Role.ALIGNER.value.nice)
    run(AlignerNode)
