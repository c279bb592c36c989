"""Part of mismatch.py: a node of the graph with a fault put into its process.

`python -m mismatch_node NAME ...` is `python -m armlet.nodes.program NAME ...` with the fault that
the environment names. FORCED besides takes the checks of the policy node out of its way: what they
find is written down and not heeded. There is no such switch in armlet.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections import deque
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mismatch_faults import DRIVEN_S, LATE_FRAMES, REVERSED, CameraFault

FAULT, FORCED, SEEN = "ARMLET_MISMATCH", "ARMLET_MISMATCH_FORCED", "ARMLET_MISMATCH_SEEN"
# Of the picture of what the network saw: the arm is on its way.
SEEN_S = DRIVEN_S + 0.7
SCALE = 1.5


def main() -> None:
    executable, fault = sys.argv[1], os.environ.get(FAULT, "")
    if executable == "sim_bench" and fault:
        spoil_cameras(fault)
    if executable == "servo_bus" and os.environ.get(FORCED):
        play_all_chunks()
    if executable == "policy":
        spoil_policy(fault)
        if os.environ.get(FORCED):
            heed_nothing()
        if os.environ.get(SEEN):
            show_network_input(Path(os.environ[SEEN]))
    from armlet.nodes.program import run_node

    run_node(sys.argv.pop(1))


def _replace(owner: Any, name: str, by: Any) -> None:
    """Raises AttributeError where nothing has that name (any more): a fault that is not there."""
    getattr(owner, name)
    setattr(owner, name, by)


# --- cameras --------------------------------------------------------------------------------------


def spoil_cameras(fault: str) -> None:
    """Have the bench's pictures go through a CameraFault."""
    from armlet.nodes import sim_bench

    class Spoiled(sim_bench.Bench):
        def __init__(self, **given: Any) -> None:
            size = given.pop("size")
            super().__init__(size=CameraFault.own_size(fault, size), **given)
            self._spoil = CameraFault(fault, super().render, size)
            self._begun_s: float | None = None

        def render(self, view_name: str, joints: Any = None, state: Any = None) -> Any:
            if state is None:  # at its start, to paint the table
                return super().render(view_name, joints)
            now_s = self._arms.clock()
            self._begun_s = now_s if self._begun_s is None else self._begun_s
            return self._spoil(view_name, state, now_s - self._begun_s)

    _replace(sim_bench, "Bench", Spoiled)


# --- what the policy reads and sends --------------------------------------------------------------


def spoil_policy(fault: str) -> None:
    if fault in _PICTURES:
        _spoil_preprocessing(fault)
    elif fault in ("sign", "sign_read", "degrees"):
        _spoil_readings(fault)
    elif fault == "late":
        _spoil_stamps()
    if fault in ("sign", "no_stamp"):
        _spoil_chunks(fault)


def _per_frame(values: Any, normalizer: Any) -> Any:
    shares = values.float().div(255)
    dims = tuple(range(1, shares.ndim - 1))
    mean, std = shares.mean(dims, keepdim=True), shares.std(dims, keepdim=True)
    return (shares - mean) / (std + 1e-8)


_PICTURES = {
    "per_frame": _per_frame,
    "not_divided": lambda values, normalizer: normalizer(values.float()),
    "statistics_255": lambda values, normalizer: normalizer(values.float() / 255, 255),
    "divided_twice": lambda values, normalizer: normalizer(values.float() / 255 / 255),
}


def _spoil_preprocessing(fault: str) -> None:
    """Of pictures alone: uint8 (B, H, W, 3) to float32 (B, 3, H, W), otherwise than trained."""
    from armlet.policies.preprocess import Preprocessor

    spoil = _PICTURES[fault]

    def pictures(self: Any, key: str, images: Any) -> Any:
        def normalizer(values: Any, levels: int = 1) -> Any:
            mean, std = (s.reshape(-1) * levels for s in self._normalizers[key].statistics)
            return (values - mean) / (std + 1e-8)

        return spoil(images, normalizer).permute(0, 3, 1, 2).contiguous()

    _replace(Preprocessor, "_pictures", pictures)


def _spoil_readings(fault: str) -> None:
    """As if the driver published them so: the checks read them here too."""
    from armlet.nodes.frames import LiveFrame

    rightly = LiveFrame.state

    def state(self: Any) -> Any:
        radians = rightly(self)
        if fault == "degrees":
            return np.degrees(radians)
        radians[REVERSED] *= -1
        return radians

    _replace(LiveFrame, "state", state)


def _spoil_stamps() -> None:
    """Every frame has the content of one that is LATE_FRAMES older, and a stamp of its own."""
    from armlet.nodes.policy import PolicyNode

    rightly, kept = PolicyNode._on_frame, deque(maxlen=LATE_FRAMES + 1)

    def on_frame(self: Any, frame: Any) -> None:
        kept.append(frame)
        rightly(self, dataclasses.replace(frame, parts=kept[0].parts))

    _replace(PolicyNode, "_on_frame", on_frame)


def _spoil_chunks(fault: str) -> None:
    from armlet.nodes.policy import TrajectoryPublisher

    rightly = TrajectoryPublisher.publish

    def publish(self: Any, joints: Any, stamp_ns: int, step_s: float, rows: Any, *who: Any) -> None:
        if fault == "no_stamp":
            stamp_ns = 0
        else:
            rows = rows.copy()
            rows[:, REVERSED] *= -1
        rightly(self, joints, stamp_ns, step_s, rows, *who)

    _replace(TrajectoryPublisher, "publish", publish)


# --- the checks out of the way --------------------------------------------------------------------


def heed_nothing() -> None:
    """Have the policy node find what it finds, log it, and drive all the same."""
    from armlet.findings import Severity
    from armlet.nodes import policy
    from armlet.nodes.policy_fit import PolicyFit

    def unheeded(report: Any, units: str) -> Any:
        if report is None:
            return None
        findings = tuple(
            dataclasses.replace(f, severity=Severity.WARNING) if not f.ok else f
            for f in report.findings
        )
        return dataclasses.replace(report, findings=findings, joint_units=units)

    class Unheeded(PolicyFit):
        def __init__(self, checked: Any, joint_units: str, *given: Any) -> None:
            contract = checked.contract
            self._forced = joint_units or contract.joint_units
            super().__init__(checked, joint_units, *given)
            self.report = unheeded(self.report, self._forced)

        def meet(self, robot: Any) -> Any:
            self.report = unheeded(super().meet(robot), self._forced)
            return self.report

        def look(self, frame: Any, task: str = "") -> Any:
            report = unheeded(super().look(frame, task), self._forced)
            self.report = report or self.report
            return report

    _replace(policy, "PolicyFit", Unheeded)
    # What a driver would not move to is judged by the same calibration: with the checks it goes.
    _replace(policy.Reach, "refusal", lambda *_: "")


def play_all_chunks() -> None:
    """Have the driver play a policy's chunk that has no stamp."""
    from armlet.nodes import servo_bus

    _replace(servo_bus, "unstamped", lambda message: "")


# --- what the network saw -------------------------------------------------------------------------


def show_network_input(path: Path) -> None:
    """Keep one observation as the network has it, in the levels that its statistics give it.

    A rightly normalized picture looks as it came; any other shows what was done to it.
    """
    from armlet.nodes.policy import PolicyNode

    rightly = PolicyNode._note_drift

    def note(self: Any, observation: Any, *sent: Any) -> None:
        rightly(self, observation, *sent)
        now_s = self.now_ns() * 1e-9 % 86_400
        if now_s >= SEEN_S and not path.exists():
            _write_seen(path, self._policy.preprocessor, observation)

    _replace(PolicyNode, "_note_drift", note)


def _write_seen(path: Path, preprocessor: Any, observation: Any) -> None:
    inputs = preprocessor(observation)
    shown = []
    for key in sorted(key for key, f in preprocessor.features.items() if f.type == "VISUAL"):
        mean, std = (v.reshape(3, 1, 1) for v in preprocessor.statistics(key).values())
        levels = 255 * (inputs[key][0].numpy() * std + mean)
        shown.append(np.clip(levels, 0, 255).astype(np.uint8).transpose(1, 2, 0))
    picture = cv2.resize(
        np.hstack(shown), None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_NEAREST
    )
    cv2.imwrite(str(path), picture[..., ::-1])


if __name__ == "__main__":
    main()
