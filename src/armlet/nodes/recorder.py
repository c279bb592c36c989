"""recorder: aligned frames into a LeRobot dataset."""

from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticStatus
from std_srvs.srv import Trigger

from armlet.arm import CalibrationError
from armlet.arm import calibration as calibrations
from armlet.arm.units import joint_units, radians_to_dataset
from armlet.camera import CameraError
from armlet.contract import Contract
from armlet.episodes import DatasetError, DatasetWriter, EpisodeFrame, HoleError

from .frames import FrameSubscriber, LiveFrame
from .messages import MessageError, diagnostic
from .node import LATCHED_QOS, RECORDING_QOS, ArmletNode, Setting, SetupError, run

SETTINGS = (
    Setting("root", "", "directory of the dataset; created, or continued if it fits"),
    Setting("task", "", "what the episodes show, in words", read_only=False),
    Setting("robot_type", "so101_follower", "LeRobot's name of the robot"),
    Setting("calibration_file", "", "LeRobot calibration JSON of the follower"),
    Setting("joint_units", "degrees", "units of the dataset: degrees or range_m100_100"),
    Setting("codec", "h264", "video codec: h264, hevc or libsvtav1"),
    Setting("on_hole", "split", "an episode with a missing frame is: split at it, or refused"),
    Setting("max_frame_age_s", 0.5, "start is refused when the newest frame is older", 0.05, 5.0),
)

# Frames in memory while the encoders catch up; 4 s at 30 fps, a few megabytes of JPEG.
QUEUE_FRAMES = 120


class Recorder(ArmletNode):
    """Hands whole frames to a `DatasetWriter`, which works in one thread of its own."""

    def __init__(self) -> None:
        super().__init__("recorder", SETTINGS)
        self._writer: DatasetWriter | None = None
        self._contract: Contract | None = None
        self._trouble = ""
        self._last_frame_ns = 0
        self._since_ns: int | None = None
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
            self._calibration = calibrations.load(Path(self.value("calibration_file")))
        except (CalibrationError, ValueError) as error:
            raise SetupError(str(error)) from error
        self._work = ThreadPoolExecutor(1, "recorder")
        self.create_service(Trigger, "~/start_recording", self._on_start)
        self.create_service(Trigger, "~/stop_recording", self._on_stop)
        self.create_service(Trigger, "~/discard_episode", self._on_discard)

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
        self._writer = self._contract = None

    def _on_contract(self, live: Contract) -> None:
        if self._contract is not None:
            self.get_logger().warning("the aligner's frames changed; the dataset is closed")
        self._end_dataset()
        self._contract = dataclasses.replace(
            live,
            joint_units=self._units,
            calibration=calibrations.fingerprint(self._calibration),
        )
        try:
            self._writer = DatasetWriter(
                Path(self.value("root")),
                self._contract,
                robot_type=self.value("robot_type"),
                codec=self.value("codec"),
            )
            self._trouble = ""
        except (DatasetError, OSError) as error:
            self._trouble = str(error)
            self.get_logger().error(self._trouble)
        self._announce()

    def _on_frame(self, frame: LiveFrame) -> None:
        self._last_frame_ns = frame.stamp_ns
        if self._since_ns is not None and frame.stamp_ns >= self._since_ns and self._work:
            self._room.acquire()
            self._work.submit(self._write, frame)

    def _write(self, frame: LiveFrame) -> None:
        try:
            if self._writer is not None and self._writer.recording:
                self._add(self._writer, self._episode_frame(frame))
        except (DatasetError, MessageError, CameraError, OSError) as error:
            self._give_up(error)
        except Exception as error:
            self._give_up(error)
            self.fail(error)
        finally:
            self._room.release()

    def _add(self, writer: DatasetWriter, frame: EpisodeFrame) -> None:
        try:
            writer.add_frame(frame)
        except HoleError as hole:
            if self.value("on_hole") == "refuse":
                raise
            self.get_logger().warning(f"episode is split: {hole}")
            self._finish_now()
            writer.begin_episode(self.value("task"))
            writer.add_frame(frame)

    def _episode_frame(self, frame: LiveFrame) -> EpisodeFrame:
        return EpisodeFrame(
            state=radians_to_dataset(frame.state(), self._calibration, self._units),
            action=radians_to_dataset(frame.action(), self._calibration, self._units),
            images=frame.images(),
            stamp_ns=frame.stamp_ns,
            skew_s=frame.skew_s(),
        )

    def _give_up(self, error: BaseException) -> None:
        self._since_ns = None
        self._trouble = f"the episode was discarded: {error}"
        self.get_logger().error(self._trouble)
        self._discard()

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
            self._give_up(error)
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
            return "no frames yet: is the aligner active, and does every stream flow?"
        if self._writer is None:
            return self._trouble or "the dataset is not open; see this node's diagnostics"
        age = (self.now_ns() - self._last_frame_ns) * 1e-9
        if age > self.value("max_frame_age_s"):
            seen = f"is {age:.1f} s old" if self._last_frame_ns else "never came"
            return f"the newest whole frame {seen}; see the aligner's diagnostics for the stream"
        if not self.value("task"):
            return "parameter task is empty; say in words what the episode shows"
        return ""

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
        done: Future[None] = self._work.submit(self._finish_now)
        try:
            done.result()
        except (DatasetError, OSError) as error:
            self._give_up(error)
        return not self._trouble

    def _finish_now(self) -> None:
        assert self._writer is not None
        if not self._writer.recording:
            return
        if not self._writer.open_frames:
            self._writer.discard_episode()
            raise DatasetError("no frame came between start and stop; nothing was saved")
        summary = self._writer.finish_episode()
        said = f"episode {summary.episode}: {summary.frames} frames, {summary.duration_s:.1f} s"
        self._finished.append(said)
        self.get_logger().info(f"saved {said}")

    def _on_discard(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        recording, self._since_ns = self._since_ns is not None, None
        if recording:
            assert self._work is not None
            self._work.submit(self._discard).result()
        response.success = recording
        response.message = "episode discarded" if recording else "not recording"
        self._announce()
        return response

    def _announce(self) -> None:
        self._status.publish(self._state_message())

    def _state_message(self) -> DiagnosticStatus:
        recording = self._since_ns is not None
        idle = "idle" if self._contract is not None else "waiting for frames"
        values: dict[str, object] = {
            "recording": recording,
            "incomplete_frames": 0 if self._frames is None else self._frames.incomplete,
            "root": self.value("root"),
        }
        if self._writer is not None:
            values |= {"episodes": self._writer.episodes, "frames": self._writer.frames}
        return diagnostic(
            f"{self.label}: dataset",
            DiagnosticStatus.ERROR if self._trouble else DiagnosticStatus.OK,
            self._trouble or ("recording" if recording else idle),
            values,
        )

    def diagnostics(self) -> list[DiagnosticStatus]:
        self._announce()
        return [self._state_message()]


def main() -> None:
    run(Recorder)


if __name__ == "__main__":
    main()
