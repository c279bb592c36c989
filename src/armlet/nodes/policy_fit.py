"""Whether a policy fits the robot it is to drive, and whether it still does while it drives."""

from __future__ import annotations

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus

from armlet.camera import jpeg
from armlet.contract import Contract
from armlet.files import printable
from armlet.findings import Finding, Severity
from armlet.policies import Checkpoint, Observation, Policy
from armlet.policies.execution.strategy import Rows
from armlet.policies.fit.check import Asking, Report, check
from armlet.policies.fit.drift import Drift, DriftSettings
from armlet.policies.fit.limits import Limits
from armlet.policies.fit.samples import LiveSample
from armlet.robots import Calibration

from .frames import LiveFrame
from .messages import findings_status

# As many tasks as a log line takes.
_TASKS = 5


class PolicyFit:
    """Checks by documents, by the robot's contract, by the first frames it sends, and by what the
    policy answers to one of them.

    Attributes:
        report: what was found last; the units to run with.
    """

    def __init__(
        self,
        policy: Policy,
        joint_units: str,
        calibration: Calibration,
        calibration_tolerance_deg: float = 0.0,
        limits: Limits | None = None,
    ):
        checkpoint = policy.checkpoint
        self._checkpoint, self._joint_units = checkpoint, joint_units
        self._answer, self._limits = policy.repeatable(), limits
        self._calibration = calibration
        self._tolerance_deg = calibration_tolerance_deg
        self._sample: LiveSample | None = None
        self.report: Report = check(
            checkpoint,
            joint_units=joint_units,
            calibration=calibration,
            driving=True,
            calibration_tolerance_deg=calibration_tolerance_deg,
        )

    @property
    def doubts(self) -> list[Finding]:
        """What was warned of, and does not keep the policy from driving."""
        return [f for f in self.report.findings if f.severity is Severity.WARNING]

    def meet(self, robot: Contract) -> Report:
        """Check against a robot's contract; `look` at its frames is what remains."""
        self._sample = LiveSample(robot)
        self.report = check(
            self._checkpoint,
            robot=robot,
            joint_units=self._joint_units,
            calibration=self._calibration,
            calibration_tolerance_deg=self._tolerance_deg,
        )
        return self.report

    def look(self, frame: LiveFrame, task: str = "") -> Report | None:
        """Add a frame; the report with all that was seen, once that is enough.

        The policy is asked then, four times or a little more, for an arm that waits shows one pose.

        Raises ObservationError, MessageError or CameraError for a frame that cannot be read.
        """
        sample = self._sample
        if sample is None or frame.contract != sample.contract:
            return None
        sample.add(frame.state(), frame.images(), _jpeg_quality(frame))
        if not sample.full:
            return None
        self.report = check(
            self._checkpoint,
            robot=sample.contract,
            joint_units=self._joint_units,
            calibration=self._calibration,
            calibration_tolerance_deg=self._tolerance_deg,
            samples=[sample.samples(self._calibration)],
            limits=self._limits,
            asking=Asking(self._answer, probes=1, task=task),
        )
        return self.report


def _jpeg_quality(frame: LiveFrame) -> dict[str, int]:
    """By camera, of pictures that came as JPEG."""
    sent = frame.pictures().items()
    found = {name: jpeg.quality(data) for name, data in sent if not isinstance(data, np.ndarray)}
    return {name: quality for name, quality in found.items() if quality is not None}


def task_doubt(checkpoint: Checkpoint, task: str) -> str:
    """What is wrong with a task text for a policy that reads one; empty if nothing is known to be.

    The contract of a checkpoint names the tasks of its training data.
    """
    if checkpoint.language is None:
        return ""
    if not task:
        return (
            "this policy needs a task text: set the parameter task or publish it on "
            "~/task, worded as in the training data"
        )
    known = () if checkpoint.contract is None else checkpoint.contract.tasks
    if not known or task in known:
        return ""
    listed = "; ".join(printable(one, 80) for one in known[:_TASKS])
    more = f" and {len(known) - _TASKS} more" if len(known) > _TASKS else ""
    return (
        f"task {printable(task, 80)!r} is none of those that the policy was trained on, word by "
        f"word: {listed}{more}"
    )


class DriftWatch:
    """What a running policy reads and gives, against its frozen statistics."""

    def __init__(self, checkpoint: Checkpoint, contract: Contract, settings: DriftSettings):
        names = (contract.state_names, contract.action_names)
        self._drift = Drift(checkpoint, *names, settings)
        self._fps = contract.fps

    def tune(self, settings: DriftSettings) -> None:
        """Judge by other thresholds from now on; the window keeps its length."""
        self._drift.tune(settings)

    def note(self, observation: Observation, rows: Rows, index: int, past: int | None) -> None:
        """An observation, of a time on the frame grid, and the chunk that is sent for it.

        past: rows that were past when it was sent; None if it was not.
        """
        self._drift.state(observation.state)
        self._drift.planned(rows, index, past)
        self._drift.pictures(observation.images, index / self._fps)
        self._drift.actions(rows)

    @property
    def excessive(self) -> str:
        """What is beyond the stop thresholds, in words; empty if nothing is."""
        far = (f for f in self._drift.findings() if f.severity is Severity.ERROR)
        return "; ".join(f"{finding.subject}: {finding.found}" for finding in far)

    def reset(self) -> None:
        self._drift.reset()

    def status(self, label: str) -> DiagnosticStatus:
        return findings_status(f"{label}: drift", self._drift.findings(), "as in the training data")
