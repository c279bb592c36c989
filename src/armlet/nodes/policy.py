"""policy: observations in, action chunks out."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Collection, Iterable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from numpy.typing import NDArray
from rclpy.parameter import Parameter
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import SetBool, Trigger

from armlet.align import Arrivals, grid_index
from armlet.align.command_source import Origin
from armlet.camera import CameraError
from armlet.clock_offset import shown
from armlet.contract import Contract
from armlet.contract.provenance import Provenance
from armlet.files import HUB, printable
from armlet.findings import Code, Severity, worst, write_findings
from armlet.policies import (
    CheckpointError,
    Choices,
    Durations,
    Execution,
    Observation,
    ObservationError,
    Planner,
    Policy,
    Window,
    load_policy,
    make_strategy,
    periods,
    warm_up,
)
from armlet.policies.execution.session import (
    Action,
    ChunkResult,
    Condition,
    Now,
    PolicySession,
    PolicyState,
)
from armlet.policies.fit.check import refusal_report
from armlet.policies.fit.drift import DriftSettings
from armlet.policies.fit.limits import Limits
from armlet.policies.observation import latest
from armlet.robots import CalibrationError
from armlet.robots import calibration as calibrations
from armlet.robots.joints import in_namespace
from armlet.robots.unit_check import Reach
from armlet.robots.units import converter, joint_units
from armlet.settings.policy import SETTINGS
from armlet.sim.lockstep import POLICY

from .clock_exchange import ClockExchange
from .computer import ComputerCause
from .frames import FrameSubscriber, LiveFrame
from .messages import MessageError, diagnostic, findings_status, instruction, skew_message
from .node import (
    LATCHED_QOS,
    SENSOR_QOS,
    STATE_QOS,
    ArmletNode,
    NotReady,
    SetupError,
    Value,
    run,
)
from .policy_fit import DriftWatch, PolicyFit, task_doubt
from .required_recorder import RequiredRecorder
from .trajectories import TrajectoryPublisher
from .worker import Newest, Worker

# What a frame made of others' messages may raise; it costs that frame, and not the node.
_UNUSABLE = (ObservationError, CameraError, ValueError, LookupError, TypeError, ArithmeticError)

_LEVELS = {
    Severity.OK: DiagnosticStatus.OK,
    Severity.WARNING: DiagnosticStatus.WARN,
    Severity.ERROR: DiagnosticStatus.ERROR,
}

# States that are announced at once; others come and go with each chunk of some strategies.
_LASTING = (
    PolicyState.REFUSED,
    PolicyState.UNRECORDED,
    PolicyState.UNSYNCHRONIZED,
    PolicyState.HUNG,
)
# States whose text is the cause itself, whatever the computer's load.
_KNOWN = (PolicyState.REFUSED, PolicyState.UNRECORDED, PolicyState.UNSYNCHRONIZED)

# Inference must not delay the control loops it shares a small computer with.
INFERENCE_NICENESS = 5
# Of the delays seen: one hiccup must not move all that follows.
DELAY_PERCENT = 95
# Shorter than a frame's period: what ends is reported, and the arm held, within one.
WATCH_S = 0.02
STOP_S = 5.0
USUAL_PERIOD_S = 1 / 30
"""Of frames, until the aligner has said theirs."""
# Where it is said that a person has an arm, and hands it back.
ENGAGEMENTS = ("teleop/engagement", "jog/engagement")
# Characters of a checkpoint's name in its provenance.
LONGEST_NAME = 100


class PolicyNode(ArmletNode):
    """Hands the newest frame to an inference thread; that thread publishes the chunk.

    The executor's thread stays free to see that inference hangs, or that the plan has run out.
    """

    def __init__(self) -> None:
        super().__init__("policy", SETTINGS)
        self._policy: Policy | None = None
        self._planner: Planner | None = None
        self._strategy = ""
        self._frames: FrameSubscriber | None = None
        self._worker: Worker | None = None
        self._pacer = self.pacer("inference", POLICY)
        self._latency_s: float | None = None
        self._limit_s = 0.0
        self._watching: Any = None
        # The newest frame, and before it as many as the policy reads. The executor's thread fills
        # the window: it sees every frame, also those that come while inference is busy.
        self._newest: Newest[tuple[LiveFrame, ...]] = Newest()
        self._window: Window[LiveFrame] = Window(1)
        self._arrivals = Arrivals()
        self._clocks = ClockExchange(self)
        self._stampers: list[str] = []
        self._period_s = USUAL_PERIOD_S
        self._computer = ComputerCause(self)
        # Under this lock the session is given what happens, and chunk and hold are published.
        self._publishing = threading.Lock()
        self._session = PolicySession(False, self.value("max_observation_age_s"))
        self._warm_s: float | None = None
        self._delays, self._inferences, self._ages = Durations(), Durations(), Durations()
        self._skipped_points = 0
        self._announced: object = None
        self._fit: PolicyFit | None = None
        self._drift: DriftWatch | None = None
        self._recorder: RequiredRecorder | None = None
        # By arm, whether a person has it by its leader, and when it was handed back.
        self._engaged: dict[str, bool] = {}
        self._handed_back: dict[str, str] = {}

    # --- lifecycle --------------------------------------------------------------------------

    def setup(self) -> None:
        try:
            self._latency_s = _declared_latency_s(self.value("inference_latency_s"))
            self._calibration = calibrations.load_arms(self.value("calibration_file"))
            with self.interruptible():  # gigabytes
                self._policy = self.load()
                self._digest = self._policy.checkpoint.digest()
            self._execution = self._make_execution(self.value)
            # To see that the policy can be executed so; the frames' rate is not known yet.
            self._strategy, _ = make_strategy(self._policy, self._execution, fps=30)
            self._limit_s = float(self.value("inference_limit_s"))
            given = self.value("joint_units")
            tolerance_deg = self.value("calibration_tolerance_deg")
            limits = Limits.parse(self.value("fit_limits").split(","))
            self._fit = PolicyFit(self._policy, given, self._calibration, tolerance_deg, limits)
            self._drift_settings(self.value)
        except CheckpointError as error:
            raise SetupError(refusal_report(error).text()) from error
        except (CalibrationError, ValueError, RuntimeError) as error:
            raise SetupError(str(error)) from error
        if not self._fit.report.ok:
            raise SetupError(self._fit.report.text())
        self._judge_task()
        if self._policy.choice:
            self.get_logger().info(self._policy.choice)
        if self.value("denoising"):
            self.get_logger().warning(
                f"denoising is {self.value('denoising')} by parameter, not as the checkpoint "
                "states: it acts otherwise than as it was evaluated"
            )
        self._session = PolicySession(self.value("running"), self.value("max_observation_age_s"))
        self._warm_s = None
        if self.value("requires_recorder"):
            self._recorder = RequiredRecorder()
            refusal = self._recorder.refusal(self.now_ns())
            self._session.note_recorder(refusal, heard=False, now=self._now())
            self.create_subscription(
                DiagnosticArray, "recorder/readiness", self._on_readiness, LATCHED_QOS
            )
        prefixes = calibrations.arm_files(self.value("calibration_file"))
        self._chunk = TrajectoryPublisher(self, prefixes)
        self._stampers = self._nodes_that_stamp(prefixes)
        topics = [in_namespace(prefix, topic) for prefix in prefixes for topic in ENGAGEMENTS]
        self._engaged = dict.fromkeys(topics, False)
        for topic in topics:
            self.create_subscription(
                DiagnosticArray, topic, partial(self._on_engagement, topic), LATCHED_QOS
            )
        self._provenances = self.create_publisher(String, "~/provenance", LATCHED_QOS)
        self._provenance: Provenance | None = None
        self._announce_provenance()
        self._fits = self.create_publisher(String, "~/fit", LATCHED_QOS)
        self._announce_fit()
        self._latency = self.create_publisher(Float64MultiArray, "~/latency", STATE_QOS)
        self.create_subscription(String, "~/task", self._on_task, STATE_QOS)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(SetBool, "~/set_running", self._on_set_running)

    def load(self) -> Policy:
        """The policy that the parameters name."""
        vlm = self.value("vlm")
        without = tuple(name for name in self.value("without").split(",") if name)
        choices = Choices(
            self.value("embodiment") or None,
            Path(vlm) if vlm else None,
            without,
            self.value("lerobot_version") or None,
            self.value("transformers_version") or None,
            self.value("denoising") or None,
            self.value("base_checkpoint") or None,
        )
        return load_policy(
            self.value("checkpoint"),
            device=self.value("device"),
            choices=choices,
            backend=self.value("backend"),
            precision=self.value("precision"),
            threads=self.value("threads") or None,
        )

    def _nodes_that_stamp(self, prefixes: Iterable[str]) -> list[str]:
        """Full names of those by whose clocks frames are stamped and chunks played."""
        graph = self.get_namespace().rstrip("/")
        names = ["aligner", *(in_namespace(prefix, "servo_bus") for prefix in prefixes)]
        return [f"{graph}/{name}" for name in names]

    @staticmethod
    def _drift_settings(value: Value) -> DriftSettings:
        """Raises ValueError where stop is before warn."""
        return DriftSettings(
            **{field.name: value(f"drift_{field.name}") for field in fields(DriftSettings)}
        )

    @staticmethod
    def _make_execution(value: Value) -> Execution:
        seed = value("seed")
        return Execution(
            strategy=value("strategy"),
            replan_interval_s=value("replan_interval_s"),
            replan_horizon_s=value("replan_horizon_s"),
            replan_share=value("replan_share"),
            action_steps=value("n_action_steps"),
            new_weight=value("new_weight"),
            seed=None if seed < 0 else seed,
        )

    def tune(self, value: Value, changed: Collection[str]) -> None:
        assert self._policy is not None
        execution, drift = self._make_execution(value), self._drift_settings(value)
        if execution != self._execution:
            fps = 30 if self._planner is None else self._planner.fps
            self._strategy, _ = make_strategy(self._policy, execution, fps)
            self._execution = execution  # the inference thread takes it with the next frame
        if self._drift is not None:
            self._drift.tune(drift)
        self._session.max_observation_age_s = value("max_observation_age_s")
        self._limit_s = float(value("inference_limit_s"))
        self._set_limits(self._planner)

    def start(self) -> None:
        if self._worker is not None:
            raise NotReady("an earlier inference has not returned; restart the node")
        assert self._policy is not None
        self._session.start()
        self._planner = None
        self._set_limits(None)
        self._window = Window(self._policy.config.n_obs_steps)
        self._pacer.busy()
        self._worker = Worker("inference", self._infer_loop, self.fail)
        self._watching = self.create_timer(WATCH_S, self._watch)
        self._frames = FrameSubscriber(
            self,
            SENSOR_QOS,
            self._on_contract,
            self._on_frame,
            self.log_once,
            with_action=False,
        )

    def stop(self) -> None:
        if self._frames is None:
            return  # stopped before; an inference left behind then is not waited for again
        self._frames.close()
        self._frames = None
        self.destroy_timer(self._watching)
        with self._publishing:
            self._act(self._session.stop(self._now()))
        if self._worker is not None and self._worker.stop(STOP_S):
            self._worker = None
        elif self._worker is not None:
            self.get_logger().error(
                f"inference has not returned within {STOP_S} s; it is abandoned"
            )

    def teardown(self) -> None:
        self.stop()
        self._policy = None

    def _on_frame(self, frame: LiveFrame) -> None:
        age_s = (self.now_ns() - frame.stamp_ns) * 1e-9
        fresh = abs(age_s) <= self.value("max_observation_age_s")
        sent = None if fresh or self._frames is None else self._frames.sent_age_s()
        self._arrivals.note(age_s, sent)
        restarts = self._window.restarts
        index = grid_index(frame.stamp_ns, frame.contract.fps)
        self._newest.put(self._window.add(frame, index))
        if self._window.restarts > restarts:
            self._report_gap(self._window.missed)
        self._pacer.signal()

    def _report_gap(self, missed: int) -> None:
        what = "frames are missing" if missed > 0 else "frames went back in time"
        count = self._policy.config.n_obs_steps if self._policy is not None else 1
        self.log_once(
            "window",
            f"{what}: the policy reads {count} observations 1/fps apart, and begins again with the "
            "newest alone; look at the aligner's ledger (window_restarts on /diagnostics counts)",
        )

    def _begin_episode(self) -> None:
        """The next frame is the first of a new episode."""
        self._session.reset()
        self._window.reset()
        if self._policy is not None and self._policy.config.n_obs_steps > 1:
            self._newest.take()  # a window of the episode before
        if self._drift is not None:
            self._drift.reset()

    def _now(self) -> Now:
        return Now(self.now_ns(), self.clock.seconds())

    def _act(self, action: Action) -> None:
        """Do what the session answered to an event."""
        if action is Action.HOLD:
            self._chunk.hold(self.now_ns())

    # --- does the policy fit? ---------------------------------------------------------------

    def _on_contract(self, live: Contract) -> None:
        if not self._session.unchecked:
            self.get_logger().warning("the aligner's frames changed; the policy is checked again")
        assert self._fit is not None
        self._period_s = 1 / live.fps
        self._arrivals.clear()
        self._window.reset()
        with self._publishing:
            self._session.frames_changed(self._now())
        report = self._fit.meet(live)
        self._announce_fit()
        if not report.ok:
            self._refuse(report.text())

    def _announce_fit(self) -> None:
        """Every line of the newest check, as of `armlet policy check`."""
        assert self._fit is not None
        self._fits.publish(String(data=write_findings(self._fit.report.findings)))

    def _refuse(self, reason: str) -> None:
        with self._publishing:
            self._act(self._session.refuse(reason, self._now()))
        self.get_logger().fatal(reason)

    def _look(self, policy: Policy, frame: LiveFrame) -> None:
        """Whether the first frames, too, are such as the policy was trained on."""
        assert self._fit is not None
        try:
            report = self._fit.look(frame, self.value("task"))
        except _UNUSABLE as error:
            self._session.chunk_failed(f"the frame cannot be used: {error}")
            return
        if report is None:
            return
        self._announce_fit()
        if not report.ok:
            self._refuse(report.text())
            return
        self._units = joint_units(report.joint_units)
        settings = self._drift_settings(self.value)
        self._drift = DriftWatch(policy.checkpoint, frame.contract, settings)
        self._planner = None
        alarmed = worst(report.findings) is Severity.WARNING
        log = self.get_logger().warning if alarmed else self.get_logger().info
        log(f"the policy fits:\n{report}")
        with self._publishing:
            self._session.accept()

    # --- inference, in the worker's thread --------------------------------------------------

    def _infer_loop(self, ending: threading.Event) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), INFERENCE_NICENESS)
        policy = self._policy
        assert policy is not None
        try:
            if self._warm_s is None:
                self._warm_s = warm_up(policy, self.value("task"))
                self._delays.add(self._warm_s if self._latency_s is None else self._latency_s)
                self._session.warmed()
                self.get_logger().info(f"warmed up: inference takes {1000 * self._warm_s:.0f} ms")
            while self._pacer.next(ending):
                window = self._newest.take()
                if window is not None:
                    self._work_on(policy, window, ending)
        finally:
            self._pacer.rest()

    def _work_on(
        self, policy: Policy, window: tuple[LiveFrame, ...], ending: threading.Event
    ) -> None:
        frame = window[-1]
        session = self._session
        if session.unchecked:
            self._look(policy, frame)
        elif session.drives and session.note_observation(frame.stamp_ns, self._now()):
            self._attempt_chunk(policy, window, ending)

    def _attempt_chunk(
        self, policy: Policy, window: tuple[LiveFrame, ...], ending: threading.Event
    ) -> None:
        frame = window[-1]
        fps = frame.contract.fps
        index = grid_index(frame.stamp_ns, fps)
        planner = self._planner_at(policy, fps)
        delay = periods(self._delays.percentile(DELAY_PERCENT), fps)
        if not planner.wants(index, delay):
            return
        begun_s = self.clock.seconds()
        self._session.begin_inference(self._now())
        begun_ns = time.monotonic_ns()
        self._ages.add((self.now_ns() - frame.stamp_ns) * 1e-9)
        if self._latency_s is not None:
            self._pacer.plan(self._due_ns(begun_s, self._latency_s))
        try:
            observation = latest(tuple(map(self._observation, window)))
            plan = planner.infer(observation, index, delay)
            self._let_pass(begun_s, (time.monotonic_ns() - begun_ns) * 1e-9, ending)
            past = self._publish(frame, plan.rows)
            self._note_drift(observation, plan.rows, index, past)
        except (ObservationError, MessageError, CameraError, FloatingPointError) as error:
            self._session.chunk_failed(str(error), isinstance(error, FloatingPointError))
            self.log_once("inference", f"no action: {error}")
        finally:
            self._session.end_inference()
            self._report(frame, self.clock.seconds() - begun_s)

    def _let_pass(self, begun_s: float, measured_s: float, ending: threading.Event) -> None:
        """In simulated time: inference takes the time that was declared, or that it took."""
        if self.in_lockstep:
            latency_s = measured_s if self._latency_s is None else self._latency_s
            self._pacer.wait_until(self._due_ns(begun_s, latency_s), ending)

    @staticmethod
    def _due_ns(begun_s: float, latency_s: float) -> int:
        return round(1e9 * (begun_s + latency_s))

    def _planner_at(self, policy: Policy, fps: int) -> Planner:
        reset = self._session.take_reset()
        planner, execution = self._planner, self._execution
        if planner is None or planner.fps != fps:
            planner = self._planner = Planner(policy, execution, fps)
            self._announce_provenance()
            self._set_limits(planner)
            return planner
        if planner.execution is not execution:
            planner.follow(execution)
            self._announce_provenance()
            self._set_limits(planner)
        if reset:
            planner.reset()
        return planner

    def _announce_provenance(self) -> None:
        """Say what this policy is and how it is run, before a chunk that names it."""
        assert self._policy is not None
        policy = self._policy
        made = Provenance(
            checkpoint=self._digest,
            name=_checkpoint_name(self.value("checkpoint")),
            policy=policy.config.TYPE,
            strategy=self._strategy,
            backend=policy.backend,
            precision=policy.precision,
            device=self.value("device"),
            inference_latency_s=self.value("inference_latency_s"),
            statistics=policy.preprocessor.fingerprint(),
            contract=None if policy.contract is None else policy.contract.signature(),
        )
        if made != self._provenance:
            self._provenance, self._mark = made, made.mark()
            self._provenances.publish(String(data=made.canonical()))

    def _set_limits(self, planner: Planner | None) -> None:
        """What the session has to know of how the policy is executed."""
        assert self._policy is not None
        fps = 30 if planner is None else planner.fps
        self._session.inference_limit_s = self._limit_s or self._policy.config.chunk_size / fps
        self._session.gaps_expected = planner is not None and not planner.strategy.bridges

    def _observation(self, frame: LiveFrame) -> Observation:
        try:
            names, radians = frame.contract.state_names, frame.state()
            if refusal := Reach(names, self._calibration).refusal(radians):
                raise ValueError(refusal)
            convert = converter(names, self._calibration)
            state = convert.radians_to_dataset(radians, self._units)
            return Observation(state.astype(np.float32), frame.images(), self.value("task"))
        except _UNUSABLE as error:
            raise MessageError(f"the frame cannot be used: {error}") from error

    def _publish(self, frame: LiveFrame, rows: NDArray[np.float32]) -> int | None:
        """Send a chunk; rows of it that are past by then, None where it is not sent."""
        contract = frame.contract
        convert = converter(contract.action_names, self._calibration)
        radians = convert.dataset_to_radians(rows, self._units)
        if not np.isfinite(radians).all():
            raise FloatingPointError("actions are not finite in radians; nothing of them is sent")
        step_s = 1 / contract.fps
        end_ns = frame.stamp_ns + round((len(rows) - 1) / contract.fps * 1e9)
        with self._publishing:
            now = self._now()
            self._delays.add((now.ns - frame.stamp_ns) * 1e-9)
            # Paused or refused meanwhile: a chunk after the hold would move the arm again.
            if self._session.judge_chunk(frame.stamp_ns, end_ns, now) is not ChunkResult.SEND:
                return None
            self._chunk.publish(convert.joints, frame.stamp_ns, step_s, radians, Origin(self._mark))
            self._skipped_points = math.ceil((now.ns - frame.stamp_ns) * 1e-9 * contract.fps)
            return self._skipped_points

    def _note_drift(
        self,
        observation: Observation,
        rows: NDArray[np.float32],
        index: int,
        past: int | None,
    ) -> None:
        assert self._drift is not None
        if any(self._engaged.values()):
            return  # what a person does is no drift
        self._drift.note(observation, rows, index, past)
        if self.value("stop_on_drift") and (excessive := self._drift.excessive):
            reason = f"paused, the arm holds: {excessive}; ~/set_running resumes"
            with self._publishing:
                self._act(self._session.pause(self._now(), reason))
            self.get_logger().error(reason)

    def _report(self, frame: LiveFrame, inference_s: float) -> None:
        self._inferences.add(inference_s)
        now_ns = self.now_ns()
        values = {
            "observation_to_chunk": (now_ns - frame.stamp_ns) * 1e-9,
            "inference": inference_s,
            "observation_age": self._ages.last,
            "chunk_overlap": self._session.coverage.overlap_s,
            "starved": self._session.coverage.starved_s(now_ns),
        }
        self._latency.publish(skew_message(frame.stamp_ns, values))

    # --- the watch, in the executor's thread ------------------------------------------------

    def _on_readiness(self, message: DiagnosticArray) -> None:
        assert self._recorder is not None
        self._recorder.hear(message, self.now_ns())
        self._heed_recorder()

    def _heed_recorder(self) -> None:
        """Hold while what the policy does could not be recorded."""
        if self._recorder is None:
            return
        before, refusal = self._session.unrecorded, self._recorder.refusal(self.now_ns())
        with self._publishing:
            now = self._now()
            action = self._session.note_recorder(refusal, self._recorder.heard, now)
            self._act(action)
        if before and not refusal:
            self._begin_episode()
        if action is Action.HOLD:
            self.get_logger().error(f"the arm holds: {refusal}")

    def _heed_clocks(self) -> None:
        """Hold while the robot's time is another than this computer's by more than a frame."""
        before = self._session.unsynchronized
        found = self._clocks.trouble(self._stampers, self._period_s)
        with self._publishing:
            self._act(self._session.note_clocks(found, self._now()))
        if before and not found:
            self._begin_episode()
            self.get_logger().info("the clocks agree again")

    def _watch(self) -> None:
        """Hold, and say so, as soon as the plan is over or inference hangs."""
        self._heed_recorder()
        self._heed_clocks()
        condition = self._condition()
        with self._publishing:
            # A chunk may have come just now; then there is nothing to hold for.
            self._act(self._session.watch(condition, self._now()))
        severity, state = condition.severity, condition.state
        lasting = state if state in _LASTING else None
        announced = (severity, lasting, self._session.held)
        if announced != self._announced:
            self._announced = announced
            if severity is Severity.ERROR and state is not PolicyState.REFUSED:
                self.log_once("policy", condition.text)
            self._publish_diagnostics()

    def _condition(self) -> Condition:
        """How it is doing; where it does badly, and the computer may be why, that first."""
        late = self._arrivals.trouble(self.value("max_observation_age_s"))
        found = self._session.condition(self._now(), late)
        if found.severity is Severity.ERROR and found.state not in _KNOWN:
            return replace(found, text=self._computer.before(found.text))
        return found

    def diagnostics(self) -> list[DiagnosticStatus]:
        if self._policy is None:
            return []
        condition, counts, now_ns = self._condition(), self._session.counts, self.now_ns()
        values: dict[str, object] = {
            "state": condition.state.name.lower(),
            "strategy": self._strategy,
            "backend": self._policy.backend,
            "precision": self._policy.precision,
            "device": self.value("device"),
            "chunks": counts.chunks,
            "stale_observations": counts.stale,
            "frames_passed_over": self._newest.dropped,
            "late_chunks": counts.late,
            "refused_chunks": counts.refused,
            "skipped_points": self._skipped_points,
            "observation_age_s": f"{self._ages.last:.4f}",
            "observation_to_chunk_s": f"{self._delays.last:.4f}",
            "expected_delay_s": f"{self._delays.percentile(DELAY_PERCENT):.4f}",
            "inference_s": f"{self._inferences.last:.4f}",
            "inference_p50_s": f"{self._inferences.percentile(50):.4f}",
            "inference_p99_s": f"{self._inferences.percentile(99):.4f}",
            "chunk_overlap_s": f"{self._session.coverage.overlap_s:.3f}",
            "gaps": self._session.coverage.gaps,
            "starved_s": f"{self._session.coverage.starved_s(now_ns):.3f}",
            **self._history(),
            **self._clock_values(),
            **self._verdicts(),
        }
        drift = [] if self._drift is None else [self._drift.status(self.label)]
        if self._fit is not None and (doubts := self._fit.doubts):
            drift.append(findings_status(f"{self.label}: fit", doubts, "fits"))
        level = _LEVELS[condition.severity]
        return [diagnostic(f"{self.label}: inference", level, condition.text, values), *drift]

    def _history(self) -> dict[str, object]:
        """Of a policy that reads more than the newest frame."""
        count = 1 if self._policy is None else self._policy.config.n_obs_steps
        return (
            {"observations": count, "window_restarts": self._window.restarts} if count > 1 else {}
        )

    def _clock_values(self) -> dict[str, object]:
        """How far the clocks of the robot's nodes are ahead, where they are on another computer."""
        offsets = self._clocks.offsets(self._stampers).items()
        values: dict[str, object] = {
            f"clock of {node.name}, s": shown(offset) for node, offset in offsets
        }
        off = self._session.unsynchronized
        return values | ({"codes": Code.COMPUTER_CLOCK_OFFSET} if off else {})

    def _verdicts(self) -> dict[str, object]:
        report = None if self._fit is None else self._fit.report
        return {} if report is None else {finding.subject: finding for finding in report.findings}

    # --- what people ask for ----------------------------------------------------------------

    def _on_task(self, message: String) -> None:
        task = instruction(message)
        self.set_parameters([Parameter("task", value=task)])
        self.get_logger().info(f"task: {task}")
        self._judge_task()

    def _on_engagement(self, topic: str, message: DiagnosticArray) -> None:
        """A person has taken over by the leader of an arm, or a joystick, or hands it back."""
        said = {item.key: item.value for status in message.status for item in status.values}
        had, self._engaged[topic] = self._engaged[topic], said.get("engaged") == "True"
        last = self._handed_back.get(topic, "0")
        self._handed_back[topic] = said.get("handed_back_ns", last)
        # What came between may have been missed: a leader that was engaged, another teleop.
        if not self._engaged[topic] and (had or self._handed_back[topic] != last):
            # What was planned before led from elsewhere.
            self._begin_episode()

    def _judge_task(self) -> None:
        if self._policy is None:
            return
        if doubt := task_doubt(self._policy.checkpoint, self.value("task")):
            self.get_logger().warning(doubt)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._begin_episode()
        response.success, response.message = True, "a new episode begins with the next frame"
        return response

    def _on_set_running(
        self, request: SetBool.Request, response: SetBool.Response
    ) -> SetBool.Response:
        session, refusal = self._session, ""
        resumes = request.data and not session.running
        with self._publishing:
            if request.data:
                refusal = session.run()
            else:
                self._act(session.pause(self._now()))
        response.success = not refusal
        if resumes and not refusal:
            self._begin_episode()
        response.message = refusal or ("running" if request.data else "paused; the arm holds")
        return response


def _declared_latency_s(text: str) -> float | None:
    """Seconds of simulated time that inference takes; None: as measured. Raises ValueError."""
    if text == "measured":
        return None
    try:
        latency_s = float(text)
    except ValueError:
        latency_s = math.nan
    if not 0 <= latency_s <= 60:
        raise ValueError(
            f"inference_latency_s must be measured, or 0 to 60 seconds, found {text!r}"
        )
    return latency_s


def _checkpoint_name(checkpoint: str) -> str:
    """A repository, or a folder's own name: where it lies on this computer is nobody's affair."""
    name = checkpoint if checkpoint.startswith(HUB) else Path(checkpoint).absolute().name
    return printable(name or "/", LONGEST_NAME)


def main() -> None:
    run(PolicyNode)
