"""A running graph whose policy a person tries: started, paused, measured."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Any, Self

import numpy as np
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from armlet.align.command_source import Commander
from armlet.align.command_source import parse as parse_source
from armlet.contract.provenance import ProvenanceError, parse
from armlet.evaluation.trials.movement import path_length, spectral_arc_length, speeds
from armlet.evaluation.trials.trial import Trial
from armlet.nodes.messages import to_ns
from armlet.nodes.node import LATCHED_QOS, STATE_QOS

from .recording import RecordGraph

_RUNNING = "policy/set_running"


class HandTrials:
    """Lets the policy of a graph drive and pause, and notes how the arm moves. Context manager.

    When it is left the policy is paused, so the arm holds.

    graph: one that is watched already; it stays. None: that of the namespace.
    """

    def __init__(self, namespace: str = "", graph: RecordGraph | None = None) -> None:
        self._own = graph is None
        self._graph = RecordGraph(namespace) if graph is None else graph
        self._lock = threading.Lock()
        self._provenance = ""
        self._driving = False
        self._rows: list[tuple[int, Any]] = []
        self._begun_s = self._ended_s = 0.0
        self._stops = 0
        self._by_person, self._interventions = False, 0
        self._recorded: tuple[str, int] | None = None
        self._leave = [
            self._graph.listen(kind, topic, handler, qos)
            for kind, topic, handler, qos in (
                (String, "policy/provenance", self._on_provenance, LATCHED_QOS),
                (JointState, "joint_states", self._on_joints, STATE_QOS),
                (JointState, "applied_joint_commands", self._on_applied, STATE_QOS),
            )
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.pause()
        finally:
            if self._own:
                self._graph.__exit__(kind, error, trace)
            for leave in self._leave:
                leave()

    def close(self) -> None:
        """As leaving it."""
        self.__exit__(None, None, None)

    def _on_provenance(self, message: String) -> None:
        self._provenance = message.data

    def _on_joints(self, message: JointState) -> None:
        with self._lock:
            if self._driving:
                self._rows.append((to_ns(message.header.stamp), list(message.position)))

    def _on_applied(self, message: JointState) -> None:
        by_person = parse_source(message.header.frame_id).commander is Commander.PERSON
        with self._lock:
            self._interventions += self._driving and by_person and not self._by_person
            self._by_person = by_person

    @property
    def checkpoint(self) -> str:
        """Of the policy that runs: the folder or repository that it was given; empty if unknown."""
        return self._graph.parameter("policy", "checkpoint")

    @property
    def stopped(self) -> bool:
        """Whether the stop key was pressed since the trial began."""
        return self._driving and self._graph.stops != self._stops

    @property
    def policy(self) -> str:
        """What the graph's policy says it is; empty until it has been heard."""
        return self._provenance

    def refusal(self, weights: str) -> str:
        """Why these trials cannot be: no policy runs, or another one. Empty if they can.

        weights: SHA-256 of the policy's, as `Checkpoint.digest`.
        """
        if not self.policy:
            return (
                "no policy runs here; start one in another terminal: armlet up policy "
                "checkpoint:=CHECKPOINT running:=false"
            )
        try:
            found = parse(self.policy)
        except ProvenanceError as error:
            return str(error)
        if found.checkpoint != weights:
            return (
                f"the graph runs another policy, {found.name} ({found.checkpoint[:12]}); expected "
                f"the one given ({weights[:12]}); start the graph with that"
            )
        return ""

    def begin(self) -> str:
        """Have the policy drive. Why it does not; empty if it does."""
        with self._lock:
            self._rows, self._driving = [], True
            self._interventions = 0
            self._stops = self._graph.stops
            self._begun_s = time.monotonic()
        self._recorded = None
        refusal = self._graph.switch(_RUNNING, True)
        if refusal:
            self._driving = False
        return refusal

    def pause(self) -> str:
        """Pause the policy: the arm holds. Why it does not; empty if it does, or did not drive."""
        with self._lock:
            driving, self._driving = self._driving, False
            if driving:
                self._ended_s = time.monotonic()
        if not driving:
            return ""
        self._recorded = self._being_recorded()
        return self._graph.switch(_RUNNING, False)

    def _being_recorded(self) -> tuple[str, int] | None:
        """The dataset and the episode that is being recorded, if one is."""
        view = self._graph.view()
        root, saved = view.recorder.get("root", ""), view.recorder.get("episodes", "")
        return (root, int(saved)) if view.recording and root and saved.isdecimal() else None

    def stop(self) -> None:
        """Torque off at once, asked for until every arm has confirmed it."""
        self._graph.press("x")

    def hold(self) -> None:
        """Torque on again: the arm holds where it is."""
        self._graph.press("t")

    def trial(self, number: int, success: bool) -> Trial:
        """The trial that has ended, as a person judged it."""
        duration_s = self._ended_s - self._begun_s
        times_s, joints = _even(self._rows)
        moved = len(times_s) > 1
        root, episode = self._recorded or ("", None)
        rate_hz = (len(times_s) - 1) / float(times_s[-1] - times_s[0]) if moved else 0.0
        return Trial(
            seed=number,
            success=success,
            time_s=duration_s if success else None,
            duration_s=duration_s,
            final=None,
            path_rad=path_length(joints) if moved else 0.0,
            path_m=None,
            smoothness=spectral_arc_length(speeds(joints, times_s), rate_hz) if moved else 0.0,
            interventions=self._interventions,
            recorded=root,
            episode=episode,
        )


def _even(rows: list[tuple[int, Any]]) -> tuple[Any, Any]:
    """Times (k,), s, going up, and joints (k, n) of the readings with all joints."""
    whole = max((len(joints) for _, joints in rows), default=0)
    kept: dict[int, Any] = {stamp: joints for stamp, joints in rows if len(joints) == whole}
    stamps = sorted(kept)
    joints = np.array([kept[stamp] for stamp in stamps], np.float64).reshape(len(stamps), whole)
    return np.array([(stamp - stamps[0]) * 1e-9 for stamp in stamps]), joints
