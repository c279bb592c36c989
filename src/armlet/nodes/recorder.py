"""recorder: aligned frames into a LeRobot dataset."""

from __future__ import annotations

import ctypes
import logging
import threading
from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import SetBool, Trigger

from armlet.align import Arrivals, Condition
from armlet.camera import CameraError
from armlet.contract import Contract
from armlet.contract.provenance import Provenance, ProvenanceError
from armlet.contract.provenance import parse as parse_provenance
from armlet.datasets import (
    Answer,
    DatasetWriter,
    EpisodeFrame,
    EpisodeRecorder,
    OnGap,
    Phase,
    Rules,
)
from armlet.datasets.format.provenance import Latency, latency
from armlet.datasets.vectors import Vectors
from armlet.priority import Role, raise_process
from armlet.robots import CalibrationError
from armlet.robots import calibration as calibrations
from armlet.robots.units import joint_units
from armlet.settings.recorder import SETTINGS

from .clock import SET_BACK_NS
from .computer import ComputerCause
from .frames import FrameSubscriber, LiveFrame
from .messages import MessageError, diagnostic, instruction, parse_skew, to_time
from .node import LATCHED_QOS, RECORDING_QOS, STATE_QOS, ArmletNode, SetupError, Value, run
from .status_names import DATASET, READINESS, split, status_name
from .worker import Worker

# Frames in memory on their way to the disk; 4 s at 30 fps, a few megabytes of JPEG.
QUEUE_FRAMES = 120

# Provenances of policies that were heard of last.
POLICIES_KEPT = 64
# Latched, and several in a row: one that is changed while it runs says so each time.
PROVENANCE_QOS = QoSProfile(depth=POLICIES_KEPT, durability=DurabilityPolicy.TRANSIENT_LOCAL)

# An hour of chunks, five a second; what one may take, s.
CHUNKS_KEPT, LONGEST_S = 18_000, 3600.0

# What a stream must not be for a recording to start.
_STALE = frozenset(set(Condition) - {Condition.FLOWING, Condition.SLOW})

_M_ARENA_MAX = -8

# By the wall clock, whatever else the node does: who listens sees within a second that it is dead.
HEARTBEAT_S = 0.2
# Of the node's time.
READINESS_S = 0.5
WATCH_S = 0.1

Result = TypeVar("Result")
Response = TypeVar("Response", Trigger.Response, SetBool.Response)


class Recorder(ArmletNode):
    """Hands whole frames to an `EpisodeRecorder`, which works in one thread of its own."""

    def __init__(self) -> None:
        super().__init__("recorder", SETTINGS)
        self._computer = ComputerCause(self)
        self._latencies: deque[tuple[int, float, float]] = deque(maxlen=CHUNKS_KEPT)
        self._recorder = EpisodeRecorder(
            self._open_dataset, self._say, self._computer.before, self._latency
        )
        self._contract: Contract | None = None
        self._vectors: Vectors | None = None
        self._unusable = ""
        self._arrivals = Arrivals()
        self._last_frame_ns = 0
        self._last_came_ns = 0
        self._last_row_ns = 0
        self._back_ns = 0
        self._streams: dict[str, str] = {}
        self._stale: dict[str, str] = {}
        self._counts: dict[str, dict[str, int]] = {}
        self._policies: dict[str, Provenance] = {}
        self._room = threading.Semaphore(QUEUE_FRAMES)
        self._work: ThreadPoolExecutor | None = None
        self._frames: FrameSubscriber | None = None
        self._heart: Worker | None = None
        self._watches: list[Any] = []
        self._announced: object = None
        self._refused = ""
        self._status = self.create_publisher(DiagnosticStatus, "~/status", LATCHED_QOS)
        self._readiness = self.create_publisher(DiagnosticArray, "~/readiness", LATCHED_QOS)

    # --- lifecycle --------------------------------------------------------------------------

    def setup(self) -> None:
        if not self.value("root"):
            raise SetupError("parameter root is empty; set it to the dataset's directory")
        try:
            self._rules(30, self.value)
            self._units = joint_units(self.value("joint_units"))
            self._calibration = calibrations.load_arms(self.value("calibration_file"))
        except (CalibrationError, ValueError) as error:
            raise SetupError(str(error)) from error
        self._work = ThreadPoolExecutor(1, "recorder")
        self.create_service(Trigger, "~/start_recording", self._on_start)
        self.create_service(Trigger, "~/stop_recording", self._on_stop)
        self.create_service(Trigger, "~/discard_episode", self._on_discard)
        self.create_service(Trigger, "~/rerecord_episode", self._on_rerecord)
        self.create_service(SetBool, "~/label_episode", self._on_label)
        self.create_subscription(String, "~/task", self._on_task, 1)
        self.create_subscription(DiagnosticArray, "aligner/ledger", self._on_ledger, LATCHED_QOS)
        self.create_subscription(String, "policy/provenance", self._on_provenance, PROVENANCE_QOS)
        self.create_subscription(Float64MultiArray, "policy/latency", self._on_latency, STATE_QOS)
        self._heart = Worker("heartbeat", self._beat, self.fail)

    def start(self) -> None:
        self._frames = FrameSubscriber(
            self,
            RECORDING_QOS,
            self._on_contract,
            self._on_frame,
            self.log_once,
            with_action=True,
        )
        self._watches = [
            self.create_timer(WATCH_S, self._watch),
            self.create_timer(READINESS_S, self._publish_readiness),
        ]
        self._announce()

    def stop(self) -> None:
        """An episode that is being recorded when the node is stopped is kept: finished."""
        for timer in self._watches:
            self.destroy_timer(timer)
        self._watches = []
        if self._frames is not None:
            self._frames.close()
            self._frames = None
        self._end_dataset()

    def teardown(self) -> None:
        self.stop()
        if self._heart is not None:
            self._heart.stop()
            self._heart = None
        if self._work is not None:
            self._work.shutdown(wait=True)
            self._work = None

    def tune(self, value: Value, changed: Collection[str]) -> None:
        fps = 30 if self._contract is None else self._contract.fps
        rules = self._rules(fps, value)
        if self._contract is None or rules == self._rules(fps, self.value):
            return  # those of the first frames, or none of them
        if refusal := self._in_thread(lambda: self._recorder.change_rules(rules)):
            raise ValueError(refusal)

    @staticmethod
    def _rules(fps: int, value: Value) -> Rules:
        """What makes an episode, by the parameters. Raises ValueError."""
        on_gap = value("on_gap")
        if on_gap not in (known := [each.value for each in OnGap]):
            raise ValueError(f"on_gap must be {' or '.join(known)}, found {on_gap!r}")
        names = ("max_gaps", "min_episode_s", "episode_s", "episodes")
        return Rules(fps, OnGap(on_gap), **{name: value(name) for name in names})

    def _end_dataset(self) -> None:
        if self._work is not None:
            self._in_thread(self._recorder.close)
        self._contract = self._vectors = None

    def _on_contract(self, live: Contract) -> None:
        if self._contract is not None:
            self.get_logger().warning("the aligner's frames changed; the dataset is closed")
            self._in_thread(lambda: self._recorder.interrupt("the aligner's frames changed"))
        self._end_dataset()
        self._arrivals.clear()
        try:
            self._vectors, self._unusable = Vectors(live, self._calibration, self._units), ""
        except CalibrationError as error:
            self._unusable = f"these joints cannot be recorded: {error}"
            self.get_logger().error(self._unusable)
            self._announce()
            return
        self._contract = self._vectors.contract
        rules = self._rules(live.fps, self.value)
        self._in_thread(lambda: self._recorder.open(rules))
        self._announce()

    def _open_dataset(self) -> DatasetWriter:
        assert self._contract is not None
        return DatasetWriter(
            Path(self.value("root")),
            self._contract,
            robot_type=self.value("robot_type"),
            codec=self.value("codec"),
            version=self.value("dataset_version"),
            unfinished=self.value("unfinished"),
            adopt=self.value("adopt"),
            calibration_tolerance_deg=self.value("calibration_tolerance_deg"),
            intervention=self.value("intervention"),
        )

    def _say(self, level: int, text: str) -> None:
        # rclpy wants a line of its own for each level.
        if level >= logging.ERROR:
            self.get_logger().error(text)
        elif level >= logging.WARNING:
            self.get_logger().warning(text)
        else:
            self.get_logger().info(text)

    # --- what comes -------------------------------------------------------------------------

    def _on_task(self, message: String) -> None:
        self.set_parameters([Parameter("task", value=instruction(message))])

    def _on_ledger(self, message: DiagnosticArray) -> None:
        """What the aligner says of its streams; said again here if it concerns a recording."""
        troubled = {s.name: s.message for s in message.status if s.level != DiagnosticStatus.OK}
        before, self._streams = self._streams, troubled
        if self._recorder.status.recording and troubled.keys() != before.keys():
            for name in troubled.keys() - before.keys():
                self.get_logger().warning(f"while recording: {name}: {troubled[name]}")
            self._announce()
        values_of = {s.name: {item.key: item.value for item in s.values} for s in message.status}
        self._stale = {
            status.name: status.message
            for status in message.status
            if values_of[status.name].get("condition") in _STALE
        }
        self._counts = {
            split(name)[1]: {what: int(count) for what, count in values.items() if _is_count(count)}
            for name, values in values_of.items()
        }

    def _on_provenance(self, message: String) -> None:
        """A policy says what it is: rows that it commands name it by its mark."""
        try:
            provenance = parse_provenance(message.data)
        except ProvenanceError as error:
            raise MessageError(str(error)) from error
        self._policies[provenance.mark()] = provenance
        if len(self._policies) > POLICIES_KEPT:
            del self._policies[next(iter(self._policies))]

    def _on_latency(self, message: Float64MultiArray) -> None:
        stamp_ns, values = parse_skew(message)
        inference_s, to_chunk_s = (
            values.get(k, -1.0) for k in ("inference", "observation_to_chunk")
        )
        if not (0 <= inference_s < LONGEST_S and 0 <= to_chunk_s < LONGEST_S):
            raise MessageError(f"expected durations of a chunk, found {str(values)[:200]}")
        self._latencies.append((stamp_ns, inference_s, to_chunk_s))

    def _latency(self, first_ns: int, last_ns: int) -> Latency | None:
        """How long the policy took for the observations between two stamps."""
        measured = [row[1:] for row in tuple(self._latencies) if first_ns <= row[0] <= last_ns]
        return latency(np.array(measured, np.float64))

    def _on_frame(self, frame: LiveFrame) -> None:
        now_ns = self.now_ns()
        set_back_s = max(self._set_back_s(), (self._last_frame_ns - frame.stamp_ns) * 1e-9)
        self._last_frame_ns, self._last_came_ns = frame.stamp_ns, now_ns
        age_s = (now_ns - frame.stamp_ns) * 1e-9
        fresh = abs(age_s) <= self.value("max_frame_age_s")
        sent = None if fresh or self._frames is None else self._frames.sent_age_s()
        self._arrivals.note(age_s, sent)
        status = self._recorder.status
        if not status.recording or self._work is None:
            return
        if set_back_s > 0:
            # Frames from before the start would be left out for as long as that is.
            self._end_by_the_clock(set_back_s)
        elif frame.stamp_ns >= status.since_ns:
            self._room.acquire()
            self._last_row_ns = frame.stamp_ns
            self._work.submit(self._add, frame, self._incomplete)

    def _watch(self) -> None:
        """No frame for long is a gap, also before one comes that shows it."""
        refusal = self._refusal()
        level, _ = self._level(refusal)
        self.report_change((*self._standing_of(refusal), level, bool(self._last_frame_ns)))
        set_back_s = self._set_back_s()
        if not self._recorder.status.recording or self._work is None:
            return
        if set_back_s > 0:
            self._end_by_the_clock(set_back_s)
            return
        silent_s = self._silent_s()
        if silent_s > self.value("max_silence_s"):
            self._work.submit(self._guard, lambda: self._recorder.silence(self._why_silent()))

    def _set_back_s(self) -> float:
        """How far the clock was set back since this was asked last; less than matters is none.

        Where a source goes on once the old time has come again, stamps show nothing of its pause.
        """
        before_ns, self._back_ns = self._back_ns, self.clock.set_back_ns()
        back_ns = self._back_ns - before_ns
        if back_ns <= SET_BACK_NS:
            return 0.0
        # What came before came as long ago as it did: else silence would not count until then.
        before = self._last_frame_ns, self._last_came_ns, self._last_row_ns
        self._last_frame_ns, self._last_came_ns, self._last_row_ns = (
            last_ns and last_ns - back_ns for last_ns in before
        )
        return back_ns * 1e-9

    def _end_by_the_clock(self, set_back_s: float) -> None:
        assert self._work is not None
        reason = _clock_set_back(set_back_s)
        self._work.submit(self._guard, lambda: self._recorder.interrupt(reason))

    def _silent_s(self) -> float:
        """How long no frame has come, in a recording since its start."""
        since_ns = max(self._last_came_ns, self._recorder.status.since_ns)
        return (self.now_ns() - since_ns) * 1e-9

    def _why_silent(self) -> str:
        named = "; ".join(f"{name}: {said}" for name, said in self._stale.items())
        why = named or "is the aligner running? see its status on /diagnostics"
        return f"no whole frame for {self._silent_s():.1f} s; {why}"

    # --- the writer's thread ----------------------------------------------------------------

    def _in_thread(self, work: Callable[[], Result]) -> Result | None:
        """Have something done by the writer's thread, after what it was given before."""
        assert self._work is not None
        return self._work.submit(self._guard, work).result()

    def _guard(self, work: Callable[[], Result]) -> Result | None:
        """In the writer's thread: what nobody expected ends the node, and leaves the dataset."""
        try:
            return work()
        except Exception as error:
            self._recorder.write_failed(str(error) or type(error).__name__)
            self.fail(error)
            return None
        finally:
            self._announce_change()

    def _add(self, frame: LiveFrame, incomplete: int) -> None:
        try:
            self._guard(lambda: self._add_row(frame, incomplete))
        finally:
            self._room.release()

    def _add_row(self, frame: LiveFrame, incomplete: int) -> None:
        try:
            row, counts = self._episode_frame(frame), frame.ledger()
        except (MessageError, CameraError) as error:
            self._recorder.bad_frame(str(error))
            return
        except (ValueError, TypeError, LookupError, ArithmeticError) as error:
            # Made of what others sent: it ends the episode, and not the node.
            self._recorder.bad_frame(f"it cannot be converted: {error}")
            return
        self._recorder.add(row, counts, incomplete)

    def _episode_frame(self, frame: LiveFrame) -> EpisodeFrame:
        assert self._vectors is not None
        source = frame.command_source()
        return EpisodeFrame(
            state=self._vectors.state(frame.state()),
            action=self._vectors.action(frame.action()),
            images=frame.pictures(),
            stamp_ns=frame.stamp_ns,
            skew_s=frame.skew_s(),
            source=source,
            policy=self._policies.get(source.policy),
        )

    # --- what people ask for ----------------------------------------------------------------

    def _on_start(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._answer(response, self._start())

    def _start(self) -> Answer | None:
        if self._contract is None:
            no_frames = "no frames yet: is the aligner active, and does every stream flow?"
            return Answer(False, self._unusable or no_frames)
        task, now_ns, stale = self.value("task"), self.now_ns(), self._why_stale()
        return self._in_thread(lambda: self._recorder.start(task, now_ns, stale))

    def _why_stale(self) -> str:
        """Why no frames come now that could be recorded; empty if they do."""
        if off := self._arrivals.trouble(self.value("max_frame_age_s")):
            return off
        if self._stale:
            return "; ".join(f"{name}: {said}" for name, said in self._stale.items())
        age_s = (self.now_ns() - self._last_frame_ns) * 1e-9
        if age_s <= self.value("max_frame_age_s"):
            return ""
        seen = f"is {age_s:.1f} s old" if self._last_frame_ns else "never came"
        streams = "; ".join(f"{name}: {said}" for name, said in self._streams.items())
        return f"the newest whole frame {seen}; {streams or 'see the aligner on /diagnostics'}"

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        missing, silence, counts = 0, "", self._counts
        since_ns = max(self._last_row_ns, self._recorder.status.since_ns)
        silent_s = (self.now_ns() - since_ns) * 1e-9
        if silent_s > self.value("max_frame_age_s") and self._contract is not None:
            missing = round(silent_s * self._contract.fps)
            silence = self._why_silent() if self._stale else ""
        answer = self._in_thread(lambda: self._recorder.stop(missing, counts, silence))
        return self._answer(response, answer)

    def _on_discard(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._answer(response, self._in_thread(self._recorder.discard))

    def _on_rerecord(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        refusal = self._in_thread(self._recorder.make_way)
        return self._answer(response, refusal or self._start())

    def _on_label(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        return self._answer(
            response, self._in_thread(lambda: self._recorder.label(bool(request.data)))
        )

    def _answer(self, response: Response, answer: Answer | None) -> Response:
        answer = answer or Answer(False, "the recorder has failed; see its log")
        response.success, response.message = answer.success, answer.message
        return response

    # --- what it says -----------------------------------------------------------------------

    @property
    def _incomplete(self) -> int:
        """Frames of the aligner's of which a part never came here."""
        return 0 if self._frames is None else self._frames.incomplete

    def _beat(self, ending: threading.Event) -> None:
        while not ending.wait(HEARTBEAT_S):
            self._status.publish(self._state_message())
            # In lockstep messages are stamped and waited for: there the timer alone sends this.
            if not self.in_lockstep:
                self._publish_readiness()

    def _announce(self) -> None:
        self._status.publish(self._state_message())
        self._publish_readiness()

    def _announce_change(self) -> None:
        """In the writer's thread: say at once what has changed."""
        refusal = self._refusal()
        if refusal != self._refused:
            self._publish_readiness()
        key = self._standing_of(refusal)
        if key != self._announced:
            self._announced = key
            self._status.publish(self._state_message())

    def _standing_of(self, refusal: str) -> tuple[object, ...]:
        status = self._recorder.status
        return status.phase, status.failures, status.parts, refusal

    def _refusal(self) -> str:
        """Why nothing can be recorded, whatever the streams do; empty if it can."""
        if self._contract is None:
            return self._unusable or "no frames have been announced yet: is the aligner running?"
        return self._recorder.refusal(self.value("task"))

    def _publish_readiness(self) -> None:
        refusal = self._refused = self._refusal()
        level = DiagnosticStatus.ERROR if refusal else DiagnosticStatus.OK
        said = refusal or "can record"
        message = DiagnosticArray(
            status=[diagnostic(status_name(self.label, READINESS), level, said, {})]
        )
        message.header.stamp = to_time(self.now_ns())
        self._readiness.publish(message)

    def _state_message(self) -> DiagnosticStatus:
        recorder, refusal = self._recorder, self._refusal()
        status, writer = recorder.status, recorder.writer
        values: dict[str, object] = {
            "recording": status.recording,
            "state": status.phase.value,
            "failure": "" if status.failure is None else status.failure.value,
            "failures": status.failures,
            "can_record": not refusal,
            "task": self.value("task"),
            "incomplete_frames": self._incomplete,
            "root": self.value("root"),
            "fps": 0 if self._contract is None else self._contract.fps,
            "episode_s": self.value("episode_s"),
            "episodes_wanted": self.value("episodes"),
            "saved": ",".join(map(str, recorder.saved)),
            "success": "" if recorder.success is None else recorder.success,
        }
        if writer is not None:
            values |= {
                "episodes_whole": recorder.whole,
                "episodes": writer.episodes,
                "frames": writer.frames,
                "open_frames": writer.open_frames,
                "queued": writer.queued,
                "spilled": writer.spilled,
                **_room(writer),
            }
        level, said = self._level(refusal)
        return diagnostic(status_name(self.label, DATASET), level, said, values | self._streams)

    def _level(self, refusal: str) -> tuple[bytes, str]:
        recorder = self._recorder
        if trouble := self._unusable or recorder.trouble:
            return DiagnosticStatus.ERROR, trouble
        if recorder.status.phase is Phase.FAILED:
            return DiagnosticStatus.ERROR, recorder.status.reason
        if off := self._arrivals.trouble(self.value("max_frame_age_s")):
            recording = recorder.status.recording
            off = f"recording, but {off}" if recording else off
            return DiagnosticStatus.ERROR, self._computer.before(off)
        age_s = (self.now_ns() - self._last_frame_ns) * 1e-9
        if recorder.status.recording:
            said = ["recording"]
            if age_s > self.value("max_frame_age_s"):
                said = [f"recording, but no whole frame came for {age_s:.1f} s"]
            if self._streams:
                said.append(f"trouble with {', '.join(self._streams)}")
            level = DiagnosticStatus.OK if said == ["recording"] else DiagnosticStatus.WARN
            return level, "; ".join(said)
        if self._contract is None:
            return DiagnosticStatus.OK, "waiting for frames"
        if refusal:
            return DiagnosticStatus.WARN, f"idle, and cannot record: {refusal}"
        if not self._last_frame_ns:
            return DiagnosticStatus.OK, "waiting for frames"
        return DiagnosticStatus.OK, "idle"

    def diagnostics(self) -> list[DiagnosticStatus]:
        return [self._state_message()]


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


def _clock_set_back(seconds: float) -> str:
    return (
        f"the clock was set back by {seconds:.1f} s, and an episode's time goes forward only; "
        "start again once the clock is right"
    )


def _room(writer: DatasetWriter) -> dict[str, object]:
    try:
        return {"seconds_left": f"{writer.disk(1.0).seconds_left:.0f}"}
    except OSError as error:
        return {"disk": f"cannot be used: {error}"}


def share_memory() -> None:
    """Let threads share malloc's arenas: two, where glibc would make eight for each core.

    Every episode has encoder threads of its own, and each arena keeps the peak of those that had
    it: 7 to 10 MB more resident memory with every episode of two 640x480 cameras, for a dozen
    episodes. See mallopt(3), M_ARENA_MAX; other C libraries have no arenas.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 2)


def main() -> None:
    share_memory()
    raise_process(Role.RECORDER.value.nice)
    run(Recorder)
