"""policy: observations in, action chunks out."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diagnostic_msgs.msg import DiagnosticStatus
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

from armlet.align import grid_index
from armlet.arm import CalibrationError
from armlet.arm import calibration as calibrations
from armlet.arm.units import dataset_to_radians, joint_units, radians_to_dataset
from armlet.camera import CameraError
from armlet.contract import Contract, Verdict, fit
from armlet.policies import (
    CheckpointError,
    Observation,
    ObservationError,
    Policy,
    TemporalEnsembler,
    derive_contract,
    load_policy,
)

from .frames import FrameSubscriber, LiveFrame
from .messages import MessageError, diagnostic, joint_trajectory, skew_message
from .node import COMMAND_QOS, SENSOR_QOS, STATE_QOS, ArmletNode, Setting, SetupError, run

SETTINGS = (
    Setting("checkpoint", "", "directory of a LeRobot ACT checkpoint"),
    Setting("calibration_file", "", "LeRobot calibration JSON of the arm that is driven"),
    Setting("joint_units", "degrees", "units the policy was trained in, if it does not say"),
    Setting("device", "cpu", "torch device of inference"),
    Setting("threads", 0, "CPU threads of inference; 0: torch's default", 0, 256),
    Setting("running", True, "drive from the start; ~/set_running changes it"),
    Setting("task", "", "instruction, for policies that read one", read_only=False),
    Setting("replan_interval_s", 0.1, "least time from one chunk to the next", 0.0, 10.0),
    Setting("max_observation_age_s", 0.3, "older observations are never fed", 0.01, 10.0),
)

# Inference must not delay the control loops it shares a small computer with.
INFERENCE_NICENESS = 5


class PolicyNode(ArmletNode):
    """Hands the newest frame to an inference thread; that thread publishes the chunk."""

    def __init__(self) -> None:
        super().__init__("policy", SETTINGS)
        self._policy: Policy | None = None
        self._frames: FrameSubscriber | None = None
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self._publishing = threading.Lock()
        self._newest: LiveFrame | None = None
        self._ending = False
        self._running = False
        self._reset = False
        self._verdicts: list[Verdict] = []
        self._fits: bool | None = None
        self._trouble = ""
        self._stale = 0
        self._chunks = 0
        self._latency_s = (0.0, 0.0)

    def setup(self) -> None:
        if self.value("threads"):
            torch.set_num_threads(self.value("threads"))
        try:
            self._given_units = joint_units(self.value("joint_units"))
            self._calibration = calibrations.load(Path(self.value("calibration_file")))
            self._policy = load_policy(Path(self.value("checkpoint")), device=self.value("device"))
        except (CalibrationError, CheckpointError, ValueError, RuntimeError) as error:
            raise SetupError(str(error)) from error
        self._ensembler = _ensembler(self._policy)
        self._running = self.value("running")
        self._chunk = self.create_publisher(JointTrajectory, "joint_trajectory", COMMAND_QOS)
        self._latency = self.create_publisher(Float64MultiArray, "~/latency", STATE_QOS)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(SetBool, "~/set_running", self._on_set_running)

    def start(self) -> None:
        self._ending = False
        self._thread = threading.Thread(target=self._infer_loop, name="inference", daemon=True)
        self._thread.start()
        self._frames = FrameSubscriber(
            self, SENSOR_QOS, self._on_contract, self._on_frame, with_action=False
        )

    def stop(self) -> None:
        if self._frames is not None:
            self._frames.close()
            self._frames = None
        with self._changed:
            self._ending = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self._hold()

    def _hold(self) -> None:
        """Tell the arm to stop following: an empty trajectory, as for a trajectory controller."""
        self._chunk.publish(JointTrajectory())

    def teardown(self) -> None:
        self.stop()
        self._policy = None

    def _on_contract(self, live: Contract) -> None:
        if self._fits is not None:
            self.get_logger().warning("the aligner's frames changed; the policy is checked again")
        self._fits = None
        assert self._policy is not None
        live = dataclasses.replace(live, calibration=calibrations.fingerprint(self._calibration))
        try:
            expected = self._policy.contract or self._derived_contract(live)
        except ValueError as error:
            self._refuse(str(error))
            return
        self._units = joint_units(expected.joint_units or self._given_units)
        found = dataclasses.replace(live, joint_units=self._given_units)
        self._verdicts = fit(expected, found)
        wrong = [str(verdict) for verdict in self._verdicts if not verdict.ok]
        if wrong:
            self._refuse("\n".join(["the policy does not fit this robot:", *wrong]))
            return
        self._fits = True
        self.get_logger().info(
            "the policy fits:\n" + "\n".join(str(verdict) for verdict in self._verdicts)
        )

    def _derived_contract(self, live: Contract) -> Contract:
        assert self._policy is not None
        return derive_contract(
            self._policy.config,
            self._policy.preprocessor.describe(),
            fps=live.fps,
            state_names=live.state_names,
            action_names=live.action_names,
            joint_units=self._given_units,
        )

    def _refuse(self, reason: str) -> None:
        with self._publishing:
            self._fits = False
            self._hold()
        self._trouble = reason
        self.get_logger().fatal(reason)

    def _on_frame(self, frame: LiveFrame) -> None:
        with self._changed:
            self._newest = frame
            self._changed.notify()

    def _infer_loop(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), INFERENCE_NICENESS)
        last_index = 0
        try:
            while True:
                begun = time.monotonic()
                frame = self._next_frame()
                if frame is None:
                    return
                last_index = self._infer(frame, last_index)
                self._wait_until(begun + self.value("replan_interval_s"))
        except Exception as error:
            self.fail(error)

    def _next_frame(self) -> LiveFrame | None:
        with self._changed:
            while not self._ending:
                frame, self._newest = self._newest, None
                if frame is not None and self._running and self._fits:
                    age_s = (self.now_ns() - frame.stamp_ns) * 1e-9
                    if age_s <= self.value("max_observation_age_s"):
                        return frame
                    self._stale += 1
                self._changed.wait()
            return None

    def _wait_until(self, monotonic_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._ending, max(0.0, monotonic_s - time.monotonic()))

    def _infer(self, frame: LiveFrame, last_index: int) -> int:
        """Publish the chunk of a frame; returns the grid index of the last frame that gave one."""
        assert self._policy is not None
        index = grid_index(frame.stamp_ns, frame.contract.fps)
        begun = time.perf_counter()
        try:
            rows = self._policy.predict_chunk(self._observation(frame))
            if self._ensembler is not None:
                if self._reset:
                    self._reset = False
                    self._ensembler.reset()
                rows = self._ensembler.update(rows, max(1, index - last_index))
            self._publish(frame, rows)
            self._trouble = ""
            return index
        except (ObservationError, MessageError, CameraError, FloatingPointError) as error:
            self._trouble = str(error)
            self.get_logger().error(f"no action: {error}", throttle_duration_sec=2.0)
            return last_index
        finally:
            self._report(frame, time.perf_counter() - begun)

    def _observation(self, frame: LiveFrame) -> Observation:
        state = radians_to_dataset(frame.state(), self._calibration, self._units)
        return Observation(state.astype(np.float32), frame.images(), self.value("task"))

    def _publish(self, frame: LiveFrame, rows: np.ndarray[Any, Any]) -> None:
        contract = frame.contract
        joints = [name.removesuffix(".pos") for name in contract.action_names]
        radians = dataset_to_radians(rows, self._calibration, self._units)
        chunk = joint_trajectory(joints, frame.stamp_ns, 1 / contract.fps, radians)
        with self._publishing:
            # Paused or refused meanwhile: a chunk after the hold would move the arm again.
            if self._running and self._fits:
                self._chunk.publish(chunk)
                self._chunks += 1

    def _report(self, frame: LiveFrame, inference_s: float) -> None:
        age_s = (self.now_ns() - frame.stamp_ns) * 1e-9
        self._latency_s = (age_s, inference_s)
        values = {"observation_to_chunk": age_s, "inference": inference_s}
        self._latency.publish(skew_message(frame.stamp_ns, values))

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._reset = True
        response.success, response.message = True, "a new episode begins with the next frame"
        return response

    def _on_set_running(
        self, request: SetBool.Request, response: SetBool.Response
    ) -> SetBool.Response:
        if request.data and self._fits is False:
            response.success, response.message = False, self._trouble
            return response
        self._reset = request.data or self._reset
        with self._publishing:
            self._running = request.data
            if not request.data:
                self._hold()
        response.success = True
        response.message = "running" if request.data else "paused; the arm holds"
        return response

    def diagnostics(self) -> list[DiagnosticStatus]:
        if self._policy is None:
            return []
        age_s, inference_s = self._latency_s
        state = "running" if self._running else "paused"
        waiting = "" if self._fits is not None else ", waiting for frames"
        values: dict[str, object] = {
            "chunks": self._chunks,
            "stale_observations": self._stale,
            "observation_to_chunk_s": f"{age_s:.4f}",
            "inference_s": f"{inference_s:.4f}",
            **{verdict.item: verdict for verdict in self._verdicts},
        }
        level = DiagnosticStatus.ERROR if self._trouble else DiagnosticStatus.OK
        return [
            diagnostic(f"{self.label}: inference", level, self._trouble or state + waiting, values)
        ]


def _ensembler(policy: Policy) -> TemporalEnsembler | None:
    config = policy.config
    if config.temporal_ensemble_coeff is None:
        return None
    return TemporalEnsembler(config.temporal_ensemble_coeff, config.chunk_size)


def main() -> None:
    run(PolicyNode)


if __name__ == "__main__":
    main()
