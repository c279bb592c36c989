"""recorder: aligned frames into a LeRobot dataset."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.parameter import Parameter
from std_msgs.msg import String
from std_srvs.srv import Trigger

from armlet.align import Arrivals, Condition, counts_since, troubles
from armlet.arm import CalibrationError
from armlet.arm import calibration as calibrations
from armlet.arm.units import joint_units
from armlet.camera import CameraError
from armlet.contract import Contract
from armlet.episodes import (
    DatasetError,
    DatasetWriter,
    DiskError,
    EpisodeFrame,
    FrameError,
    HoleError,
)
from armlet.episodes.vectors import Vectors
from armlet.priority import Role, raise_process

from .frames import FrameSubscriber, LiveFrame
from .messages import MessageError, diagnostic, instruction
from .node import LATCHED_QOS, RECORDING_QOS, ArmletNode, Setting, SetupError, run

SETTINGS = (
    Setting("root", "", "directory of the dataset; created, or continued if it fits"),
    Setting("task", "", "what the episodes show, in words", read_only=False),
    Setting("robot_type", "so101_follower", "LeRobot's name of the robot"),
    Setting(
        "calibration_file",
        "",
        "LeRobot calibration JSON of the follower; of two: left_=FILE,right_=FILE",
    ),
    Setting(
        "calibration_tolerance_deg", 0.0, "accept a calibration that moved by this much", 0.0, 10.0
    ),
    Setting("joint_units", "degrees", "units of the dataset: degrees or range_m100_100"),
    Setting("codec", "h264", "video codec: h264, hevc or libsvtav1"),
    Setting("on_hole", "split", "an episode with a missing frame is: split at it, or refused"),
    Setting("max_holes", 5, "a recording is ended at its next hole; 0: at none", 0, 10_000),
    Setting("max_frame_age_s", 0.5, "start is refused when the newest frame is older", 0.05, 5.0),
    Setting("episode_s", 0.0, "an episode ends by itself after this long; 0: never", 0.0, 3600.0),
    Setting("episodes", 0, "no more than this many in the dataset; 0: any number", 0, 1_000_000),
    Setting("dataset_version", "v3.0", "of a new dataset: v3.0, or v2.1 for LeRobot before 0.4"),
    Setting("unfinished", "recover", "what a killed recorder left: recover or remove"),
    Setting("adopt", False, "continue a dataset of LeRobot's own, whose units you vouch for"),
)

# Frames in memory on their way to the disk; 4 s at 30 fps, a few megabytes of JPEG.
QUEUE_FRAMES = 120

# What a stream must not be for a recording to start.
_STALE = frozenset(set(Condition) - {Condition.FLOWING, Condition.SLOW})

_M_ARENA_MAX = -8

# Room on the disk that start asks for where no length is given.
EPISODE_S = 60.0


class Recorder(ArmletNode):
    """Hands whole frames to a `DatasetWriter`, which works in one thread of its own."""

    def __init__(self) -> None:
        super().__init__("recorder", SETTINGS)
        self._writer: DatasetWriter | None = None
        self._contract: Contract | None = None
        self._vectors: Vectors | None = None
        self._trouble = ""
        self._last_frame_ns = 0
        self._arrivals = Arrivals()
        self._since_ns: int | None = None
        self._first_counts: dict[str, dict[str, int]] = {}
        self._last_counts: dict[str, dict[str, int]] = {}
        self._told_counts: dict[str, dict[str, int]] = {}
        self._last_row_ns = 0
        self._first_incomplete = 0
        self._streams: dict[str, str] = {}
        self._stale: dict[str, str] = {}
        self._finished: list[str] = []
        self._room = threading.Semaphore(QUEUE_FRAMES)
        self._work: ThreadPoolExecutor | None = None
        self._frames: FrameSubscriber | None = None
        self._status = self.create_publisher(DiagnosticStatus, "~/status", LATCHED_QOS)

    def setup(self) -> None:
        if not self.value("root"):
            raise SetupError("parameter root is empty; set it to the dataset's directory")
        if self.value("on_hole") not in ("split", "refuse"):
            raise SetupError(f"on_hole must be split or refuse, found {self.value('on_hole')!r}")
        try:
            self._units = joint_units(self.value("joint_units"))
            self._calibration = calibrations.load_arms(self.value("calibration_file"))
        except (CalibrationError, ValueError) as error:
            raise SetupError(str(error)) from error
        self._work = ThreadPoolExecutor(1, "recorder")
        self.create_service(Trigger, "~/start_recording", self._on_start)
        self.create_service(Trigger, "~/stop_recording", self._on_stop)
        self.create_service(Trigger, "~/discard_episode", self._on_discard)
        self.create_service(Trigger, "~/rerecord_episode", self._on_rerecord)
        self.create_subscription(String, "~/task", self._on_task, 1)
        self.create_subscription(DiagnosticArray, "aligner/ledger", self._on_ledger, LATCHED_QOS)

    def start(self) -> None:
        self._frames = FrameSubscriber(
            self, RECORDING_QOS, self._on_contract, self._on_frame, with_action=True
        )
        self._announce()

    def stop(self) -> None:
        """An episode that is being recorded when the node is stopped is kept: finished."""
        if self._frames is not None:
            self._frames.close()
            self._frames = None
        self._end_dataset()

    def teardown(self) -> None:
        self.stop()
        if self._work is not None:
            self._work.shutdown(wait=True)
            self._work = None

    def _end_dataset(self) -> None:
        if self._since_ns is not None:
            self._since_ns = None
            self._finish()
        if self._writer is not None and self._work is not None:
            self._work.submit(self._writer.close).result()
        self._writer = self._contract = self._vectors = None

    def _on_contract(self, live: Contract) -> None:
        if self._contract is not None:
            self.get_logger().warning("the aligner's frames changed; the dataset is closed")
        self._end_dataset()
        self._arrivals.clear()
        try:
            self._vectors = Vectors(live, self._calibration, self._units)
        except CalibrationError as error:
            self._report(f"nothing can be recorded of the joints of these frames: {error}")
            return
        self._contract = self._vectors.contract
        self._open_dataset()
        self._announce()

    def _open_dataset(self) -> None:
        """Take the dataset; what a crash or a full disk left of an episode is saved first."""
        assert self._contract is not None
        try:
            self._writer = DatasetWriter(
                Path(self.value("root")),
                self._contract,
                robot_type=self.value("robot_type"),
                codec=self.value("codec"),
                version=self.value("dataset_version"),
                unfinished=self.value("unfinished"),
                adopt=self.value("adopt"),
                calibration_tolerance_deg=self.value("calibration_tolerance_deg"),
            )
            for line in self._writer.repaired:
                self.get_logger().warning(line)
            self._trouble = ""
        except (DatasetError, OSError) as error:
            self._trouble = str(error)
            self.get_logger().error(self._trouble)

    def _on_task(self, message: String) -> None:
        self.set_parameters([Parameter("task", value=instruction(message))])

    def _on_ledger(self, message: DiagnosticArray) -> None:
        """What the aligner says of its streams; said again here if it concerns a recording."""
        troubled = {s.name: s.message for s in message.status if s.level != DiagnosticStatus.OK}
        before, self._streams = self._streams, troubled
        if self._since_ns is not None and troubled.keys() != before.keys():
            for name in troubled.keys() - before.keys():
                self.get_logger().warning(f"while recording: {name}: {troubled[name]}")
            self._announce()
        told = {s.name: {item.key: item.value for item in s.values} for s in message.status}
        self._stale = {
            status.name: status.message
            for status in message.status
            if told[status.name].get("condition") in _STALE
        }
        self._told_counts = {
            name.rpartition("aligner: ")[2]: {
                what: int(count) for what, count in values.items() if _is_count(count)
            }
            for name, values in told.items()
        }

    def _on_frame(self, frame: LiveFrame) -> None:
        set_back_s = (self._last_frame_ns - frame.stamp_ns) * 1e-9
        self._last_frame_ns = frame.stamp_ns
        age_s = (self.now_ns() - frame.stamp_ns) * 1e-9
        fresh = abs(age_s) <= self.value("max_frame_age_s")
        sent = None if fresh or self._frames is None else self._frames.sent_age_s()
        self._arrivals.note(age_s, sent)
        if self._since_ns is None or self._work is None:
            return
        if set_back_s > 0:
            # Frames from before the start would be left out for as long as that is.
            self._since_ns = None
            self._work.submit(self._end_at, _clock_set_back(set_back_s))
        elif frame.stamp_ns >= self._since_ns:
            self._room.acquire()
            self._work.submit(self._write, frame)

    def _write(self, frame: LiveFrame) -> None:
        try:
            if self._writer is not None and self._writer.recording:
                self._add(self._writer, frame)
        except HoleError as error:
            self._refuse(error)
        except (FrameError, DiskError, MessageError, CameraError) as error:
            self._end_at(error)
        except (DatasetError, OSError) as error:
            self._leave(error)
        except Exception as error:
            self._leave(error)
            self.fail(error)
        finally:
            self._room.release()

    def _add(self, writer: DatasetWriter, frame: LiveFrame) -> None:
        try:
            row = self._episode_frame(frame)
            counts = frame.ledger()
        except (CameraError, MessageError):
            raise
        except (ValueError, TypeError, LookupError, ArithmeticError) as error:
            # Made of what others sent: it ends the episode, and not the node.
            raise FrameError(f"a frame cannot be converted: {error}") from error
        try:
            writer.add_frame(row)
        except HoleError as hole:
            why = troubles(counts, self._last_counts)
            if self.value("on_hole") == "refuse":
                raise
            if 0 < self.value("max_holes") <= len(self._finished):
                raise FrameError(
                    f"hole {len(self._finished) + 1} in one recording, of which the parts would be "
                    f"too short to learn from: {hole}; {_in_words(why)}"
                ) from hole
            self.get_logger().warning(f"episode is split: {hole}; {_in_words(why)}")
            self._save(hole.missing, why)
            writer.begin_episode(self.value("task"))
            writer.add_frame(row)
        if writer.open_frames == 1:
            self._first_counts = counts
            self._first_incomplete = self._incomplete
        self._last_counts = counts
        self._last_row_ns = frame.stamp_ns
        frames = round(self.value("episode_s") * frame.contract.fps)
        if frames and writer.open_frames >= frames:
            self._since_ns = None
            self._save()
            self._announce()

    def _episode_frame(self, frame: LiveFrame) -> EpisodeFrame:
        assert self._vectors is not None
        return EpisodeFrame(
            state=self._vectors.state(frame.state()),
            action=self._vectors.action(frame.action()),
            images=frame.pictures(),
            stamp_ns=frame.stamp_ns,
            skew_s=frame.skew_s(),
        )

    def _refuse(self, hole: HoleError) -> None:
        """By on_hole an episode with a hole is none."""
        self._since_ns = None
        self._discard()
        self._report(f"the episode was discarded: {hole}")

    def _end_at(self, error: Exception) -> None:
        """A frame that cannot be taken ends the episode; what was recorded before it is saved."""
        self._since_ns = None
        if self._writer is None or not self._writer.open_frames:
            self._discard()
            self._report(f"recording ended: {error}")
            return
        try:
            saved = self._save()
            self._report(f"recording ended, {saved} is saved: {error}")
        except (DatasetError, OSError) as second:
            self._leave(second, error)

    def _leave(self, *errors: BaseException) -> None:
        """Nothing can be written now: what is on disk stays, for the next start to save it."""
        self._since_ns = None
        frames = 0
        if self._writer is not None:
            frames = self._writer.open_frames
            try:
                self._writer.close(keep=frames > 0)
            except (DatasetError, OSError) as further:
                errors = (*errors, further)
            self._writer = None
        kept = (
            f"; {frames} frames stay in {self.value('root')} and become an episode when recording "
            "starts again, or by `armlet dataset repair`"
            if frames
            else ""
        )
        self._report(f"recording ended: {'; '.join(map(str, errors))}{kept}")

    def _report(self, trouble: str) -> None:
        self._trouble = trouble
        self.get_logger().error(trouble)
        self._announce()

    def _discard(self) -> None:
        if self._writer is not None and self._writer.recording:
            try:
                self._writer.discard_episode()
            except (DatasetError, OSError) as error:
                self._trouble = f"{self._trouble}; {error}".lstrip("; ")
                self.get_logger().error(self._trouble)

    def _on_start(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        refusal = self._why_not_start()
        if refusal:
            response.success, response.message = False, refusal
            return response
        assert self._writer is not None
        assert self._work is not None
        self._trouble = ""
        self._finished = []
        try:
            self._work.submit(self._writer.begin_episode, self.value("task")).result()
        except (DatasetError, OSError) as error:
            self._report(str(error))
            response.success, response.message = False, self._trouble
            return response
        self._since_ns = self.now_ns()
        response.success, response.message = True, f"recording episode {self._writer.episodes}"
        self._announce()
        return response

    def _why_not_start(self) -> str:
        if self._since_ns is not None:
            return "already recording; call stop_recording or discard_episode first"
        if self._contract is None:
            return (
                self._trouble or "no frames yet: is the aligner active, and does every stream flow?"
            )
        if self._writer is None:
            self._open_dataset()
        if self._writer is None:
            return self._trouble or "the dataset is not open; see this node's diagnostics"
        if off := self._arrivals.trouble(self.value("max_frame_age_s")):
            return off
        if self._stale:
            return "; ".join(f"{name}: {said}" for name, said in self._stale.items())
        age = (self.now_ns() - self._last_frame_ns) * 1e-9
        if age > self.value("max_frame_age_s"):
            seen = f"is {age:.1f} s old" if self._last_frame_ns else "never came"
            told = "; ".join(f"{name}: {said}" for name, said in self._streams.items())
            return f"the newest whole frame {seen}; {told or 'see the aligner on /diagnostics'}"
        if not self.value("task"):
            return "parameter task is empty; say in words what the episode shows"
        wanted = self.value("episodes")
        if wanted and self._writer.episodes >= wanted:
            return f"the dataset has its {wanted} episodes; raise the parameter episodes for more"
        try:
            room = self._writer.disk(self.value("episode_s") or EPISODE_S)
        except OSError as error:
            return f"the dataset's folder cannot be used: {error}; restart to make it again"
        return "" if room.ok else f"disk short: {room}; make room, or record to another disk"

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._since_ns is None:
            response.success, response.message = False, self._trouble or "not recording"
            return response
        self._since_ns = None
        response.success = self._finish()
        response.message = "; ".join(self._finished) if response.success else self._trouble
        self._announce()
        return response

    def _finish(self) -> bool:
        assert self._work is not None
        self._work.submit(self._finish_now, self.now_ns()).result()
        return not self._trouble

    def _finish_now(self, now_ns: int) -> None:
        if self._writer is None or not self._writer.recording:
            return
        if not self._writer.open_frames:
            self._discard()
            self._report("no frame came between start and stop; nothing was saved")
            return
        assert self._contract is not None
        missing, why = 0, {}
        silent_s = (now_ns - self._last_row_ns) * 1e-9
        if silent_s > self.value("max_frame_age_s"):
            missing = round(silent_s * self._contract.fps)
            why = troubles(self._told_counts, self._last_counts)
            self.get_logger().warning(
                f"no row for the last {silent_s:.1f} s of the episode; {_in_words(why)}"
            )
        try:
            self._save(missing, why)
        except (DatasetError, OSError) as error:
            self._leave(error)

    def _save(self, missing: int = 0, why: Mapping[str, Mapping[str, int]] | None = None) -> str:
        """Finish the episode; in words what it is.

        missing: rows between its last and where it could have gone on, and why they are.
        """
        assert self._writer is not None
        ledger = counts_since(self._last_counts, self._first_counts)
        for stream, counts in (why or {}).items():
            account = ledger.setdefault(stream, {})
            for what, count in counts.items():
                account[what] = account.get(what, 0) + count
        lost = {"missing": missing, "incomplete": self._incomplete - self._first_incomplete}
        if any(lost.values()):
            ledger["recorder"] = {what: count for what, count in lost.items() if count}
        summary = self._writer.finish_episode(ledger)
        said = f"episode {summary.episode}: {summary.frames} frames, {summary.duration_s:.1f} s"
        self._finished.append(said)
        self.get_logger().info(f"saved {said}")
        for camera, frames in summary.damaged.items():
            self.get_logger().warning(f"{camera}: {len(frames)} pictures were damaged: {frames}")
        return said

    @property
    def _incomplete(self) -> int:
        """Frames of the aligner's of which a part never came here."""
        return 0 if self._frames is None else self._frames.incomplete

    def _on_discard(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        recording, self._since_ns = self._since_ns is not None, None
        if recording:
            assert self._work is not None
            self._work.submit(self._discard).result()
        response.success = recording
        response.message = "episode discarded" if recording else "not recording"
        self._announce()
        return response

    def _on_rerecord(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        self._on_discard(request, response)
        return self._on_start(request, response)

    def _announce(self) -> None:
        self._status.publish(self._state_message())

    def _state_message(self) -> DiagnosticStatus:
        recording = self._since_ns is not None
        values: dict[str, object] = {
            "recording": recording,
            "task": self.value("task"),
            "incomplete_frames": self._incomplete,
            "root": self.value("root"),
        }
        writer = self._writer
        if writer is not None:
            values |= {
                "episodes": writer.episodes,
                "frames": writer.frames,
                "open_frames": writer.open_frames,
                "queued": writer.queued,
                "spilled": writer.spilled,
                "seconds_left": self._seconds_left(writer),
            }
        level, said = self._level(recording)
        return diagnostic(f"{self.label}: dataset", level, said, values | self._streams)

    @staticmethod
    def _seconds_left(writer: DatasetWriter) -> str:
        try:
            return f"{writer.disk(1.0).seconds_left:.0f}"
        except (DatasetError, OSError) as error:
            # The folder may have been removed, or its disk; writing to it will say more.
            return f"unknown: {error}"

    def _level(self, recording: bool) -> tuple[bytes, str]:
        if self._trouble:
            return DiagnosticStatus.ERROR, self._trouble
        if off := self._arrivals.trouble(self.value("max_frame_age_s")):
            return DiagnosticStatus.ERROR, f"recording, but {off}" if recording else off
        age_s = (self.now_ns() - self._last_frame_ns) * 1e-9
        if recording:
            said = ["recording"]
            if age_s > self.value("max_frame_age_s"):
                said = [f"recording, but no whole frame came for {age_s:.1f} s"]
            if self._streams:
                said.append(f"trouble with {', '.join(self._streams)}")
            level = DiagnosticStatus.OK if said == ["recording"] else DiagnosticStatus.WARN
            return level, "; ".join(said)
        return DiagnosticStatus.OK, "waiting for frames" if self._contract is None else "idle"

    def diagnostics(self) -> list[DiagnosticStatus]:
        self._announce()
        return [self._state_message()]


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


def _clock_set_back(seconds: float) -> FrameError:
    return FrameError(
        f"the clock was set back by {seconds:.1f} s, and an episode's time goes forward only; "
        "start again once the clock is right"
    )


def _in_words(why: Mapping[str, Mapping[str, int]]) -> str:
    """Which streams were missing for frames, and how; or where else they were lost."""
    told = [
        f"{name}: {count} {what}" for name, counts in why.items() for what, count in counts.items()
    ]
    return (
        ", ".join(told) or "the aligner tells of no stream that failed: frames were lost after it"
    )


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


if __name__ == "__main__":
    main()
