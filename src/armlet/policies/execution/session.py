"""What a policy that drives an arm is doing, what may be sent, and what to report.

The policy node feeds it events and does what it answers; it knows neither ROS nor the network.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple

from armlet.findings import Severity

from .pacing import Coverage


class PolicyState(enum.Enum):
    """What the policy is doing.

    STOPPED: its node is not active. REFUSED: it does not fit the robot. UNRECORDED: the recorder it
    needs cannot record. UNSYNCHRONIZED: the robot's clock is another than this computer's. HUNG: an
    inference takes longer than the limit. STARVED: the arm has no plan. WARMING: its first
    inferences, of blank pictures. CHECKING: it waits for the first frames. PAUSED: a person, or
    drift, has paused it.
    """

    STOPPED = "stopped"
    REFUSED = "refused"
    UNRECORDED = "waiting for the recorder"
    UNSYNCHRONIZED = "waiting for the clocks to agree"
    HUNG = "inference does not return"
    STARVED = "no plan"
    WARMING = "warming up"
    CHECKING = "waiting for the first frames"
    PAUSED = "paused"
    RUNNING = "running"


class Action(enum.Enum):
    """What the node has to do after an event. HOLD: order the arm to stop following."""

    NONE = "none"
    HOLD = "hold"


class ChunkResult(enum.Enum):
    """What becomes of a chunk. UNWANTED: the policy was paused, refused or reset meanwhile."""

    SEND = "send"
    LATE = "late"
    UNWANTED = "unwanted"


class Now(NamedTuple):
    """One instant by the node's clock: Unix time in ns, and seconds that are never set back."""

    ns: int
    s: float


@dataclass(frozen=True)
class Condition:
    """How the policy is doing: its state, how serious that is, and a sentence for people."""

    state: PolicyState
    severity: Severity
    text: str


@dataclass
class ChunkCounts:
    """Since start. stale: observations too old to be used; late: chunks that were over when they
    came; refused: chunks with numbers that are not finite."""

    chunks: int = 0
    stale: int = 0
    late: int = 0
    refused: int = 0


class _Fit(enum.Enum):
    UNKNOWN = "unknown"
    FITS = "fits"
    REFUSED = "refused"


class PolicySession:
    """The state of one policy node. The caller serializes the events; any thread may read.

    Args:
        running: whether it drives from the start.
        max_observation_age_s: older observations are not used.

    Attributes:
        counts: since start.
        coverage: how far the plan reaches.
        trouble: why the last inference, or the frames, gave no action; empty if they did.
        unrecorded: why the recorder cannot record; empty if it can, or is not needed.
        unsynchronized: how far the robot's clock is off this computer's; empty if it is not, or
            nobody knows.
        inference_limit_s: an inference that takes longer is hung.
        max_observation_age_s: older observations are not used.
        gaps_expected: whether the strategy lets a chunk end before it infers the next.
    """

    def __init__(self, running: bool, max_observation_age_s: float) -> None:
        self.counts = ChunkCounts()
        self.coverage = Coverage()
        self.trouble = ""
        self.unrecorded = ""
        self.unsynchronized = ""
        self.inference_limit_s = 0.0
        self.gaps_expected = False
        self.max_observation_age_s = max_observation_age_s
        self._active = False
        self._running = running
        self._fit = _Fit.UNKNOWN
        self._warm = False
        self._busy_since_s: float | None = None
        self._seen_ns = 0
        self._held = False
        self._recorder_heard = False
        self._reset_wanted = False

    # --- the node's life --------------------------------------------------------------------

    def start(self) -> None:
        """The node is active: chunks may be sent."""
        self._active = True

    def stop(self, now: Now) -> Action:
        """The node is no longer active: nothing is sent after this hold."""
        self._active = False
        return self._hold(now)

    def warmed(self) -> None:
        """The first inferences are done."""
        self._warm = True

    # --- does it fit? -----------------------------------------------------------------------

    @property
    def unchecked(self) -> bool:
        """Whether frames are to be looked at, to see if the policy fits."""
        return self._fit is _Fit.UNKNOWN

    @property
    def refused(self) -> bool:
        """Whether the policy does not fit."""
        return self._fit is _Fit.REFUSED

    def frames_changed(self, now: Now) -> None:
        """The robot's contract is new: the policy has to be checked again."""
        self._fit, self.trouble = _Fit.UNKNOWN, ""
        self.coverage.end(now.ns)

    def refuse(self, reason: str, now: Now) -> Action:
        """The policy does not fit."""
        self._fit, self.trouble = _Fit.REFUSED, reason
        return self._hold(now)

    def accept(self) -> None:
        """The policy fits."""
        self._fit, self.trouble = _Fit.FITS, ""

    # --- what people and the recorder want --------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether it is to drive, as far as people are concerned."""
        return self._running

    def run(self) -> str:
        """A person wants it to drive. Why it does not; empty if it does.

        After a pause a new episode begins.
        """
        if self.refused:
            return self.trouble
        if self.unrecorded:
            return self.unrecorded
        if not self._running:
            self._reset_wanted, self.trouble = True, ""
        self._running = True
        return ""

    def pause(self, now: Now, reason: str = "") -> Action:
        """It is to drive no longer: a person wants so, or for a reason that is reported."""
        self._running = False
        self.trouble = reason or self.trouble
        return self._hold(now)

    def reset(self) -> None:
        """A new episode begins with the next frame."""
        self._reset_wanted = True

    def take_reset(self) -> bool:
        """Whether a new episode is to begin now; asked for once."""
        wanted, self._reset_wanted = self._reset_wanted, False
        return wanted

    def note_recorder(self, refusal: str, heard: bool, now: Now) -> Action:
        """Whether the recorder that is needed can record; heard: it has reported at all."""
        before, self.unrecorded = self.unrecorded, refusal
        self._recorder_heard = heard
        if before and not refusal:
            self._reset_wanted = True
        return self._hold(now) if refusal and not before else Action.NONE

    def note_clocks(self, trouble: str, now: Now) -> Action:
        """How far the clocks differ by which frames are stamped and used; empty if they agree."""
        before, self.unsynchronized = self.unsynchronized, trouble
        if before and not trouble:
            self._reset_wanted = True
        return self._hold(now) if trouble and not before else Action.NONE

    # --- inference --------------------------------------------------------------------------

    @property
    def drives(self) -> bool:
        """Whether frames are to be inferred, and chunks sent."""
        wanted = self._active and self._running
        wanted = wanted and not (self.unrecorded or self.unsynchronized)
        return wanted and self._fit is _Fit.FITS

    def note_observation(self, stamp_ns: int, now: Now) -> bool:
        """Whether an observation is fresh enough to be used."""
        fresh = abs(now.ns - stamp_ns) * 1e-9 <= self.max_observation_age_s
        if fresh:
            self._seen_ns = now.ns
        else:
            self.counts.stale += 1
        return fresh

    def begin_inference(self, now: Now) -> None:
        self._busy_since_s = now.s

    def end_inference(self) -> None:
        self._busy_since_s = None

    def chunk_failed(self, reason: str, not_finite: bool = False) -> None:
        """An inference gave nothing that may be sent."""
        self.trouble = reason
        self.counts.refused += not_finite

    def judge_chunk(self, stamp_ns: int, end_ns: int, now: Now) -> ChunkResult:
        """What becomes of a chunk of an observation whose last row is due at end_ns.

        One that was being inferred when a new episode was asked for is of the old one.
        """
        if not self.drives or self._reset_wanted:
            return ChunkResult.UNWANTED
        if end_ns <= now.ns:
            self.counts.late += 1
            self.trouble = (
                f"the action chunk arrived too late: it covers {(end_ns - stamp_ns) * 1e-9:.2f} s "
                f"from its observation on and took {(now.ns - stamp_ns) * 1e-9:.2f} s; use a "
                "faster device or a longer chunk"
            )
            return ChunkResult.LATE
        self.coverage.extend(now.ns, end_ns)
        self.counts.chunks += 1
        self.trouble, self._held = "", False
        return ChunkResult.SEND

    def watch(self, condition: Condition, now: Now) -> Action:
        """Hold once for each time that the arm runs out of a plan, where that is an error."""
        starving = self.coverage.starving_s(now.ns) > 0
        if not starving or self._held or condition.severity is not Severity.ERROR:
            return Action.NONE
        self._held = True
        return Action.HOLD

    @property
    def held(self) -> bool:
        """Whether the arm was ordered to hold because it has no plan."""
        return self._held

    def _hold(self, now: Now) -> Action:
        self.coverage.end(now.ns)
        return Action.HOLD

    # --- how it is doing --------------------------------------------------------------------

    def busy_s(self, now: Now) -> float:
        """How long the inference in progress has taken; 0 if there is none."""
        since_s = self._busy_since_s
        return 0.0 if since_s is None else now.s - since_s

    def hung(self, now: Now) -> bool:
        """Whether the inference in progress takes longer than the limit."""
        return self.busy_s(now) > self.inference_limit_s

    def state(self, now: Now) -> PolicyState:
        """What it is doing."""
        if not self._active:
            return PolicyState.STOPPED
        if self.refused:
            return PolicyState.REFUSED
        if self.unrecorded:
            return PolicyState.UNRECORDED
        if self.unsynchronized:
            return PolicyState.UNSYNCHRONIZED
        if self.hung(now):
            return PolicyState.HUNG
        if self.coverage.starving_s(now.ns) > 0:
            return PolicyState.STARVED
        if not self._warm:
            return PolicyState.WARMING
        if self.unchecked:
            return PolicyState.CHECKING
        return PolicyState.RUNNING if self._running else PolicyState.PAUSED

    def condition(self, now: Now, late_frames: str = "") -> Condition:
        """How it is doing. late_frames: why the frames that come are old; empty if they are not."""
        state = self.state(now)
        severity, text = self._symptom(state, now, late_frames)
        return Condition(state, severity, text)

    def _symptom(self, state: PolicyState, now: Now, late: str) -> tuple[Severity, str]:
        if state is PolicyState.REFUSED:
            return Severity.ERROR, self.trouble
        if state is PolicyState.UNRECORDED:
            severity = Severity.ERROR if self._recorder_heard else Severity.WARNING
            return severity, f"not driving, the arm holds: {self.unrecorded}"
        if state is PolicyState.UNSYNCHRONIZED:
            return Severity.ERROR, f"not driving, the arm holds: {self.unsynchronized}"
        starving_s = self.coverage.starving_s(now.ns)
        if late and starving_s <= 0:
            return Severity.ERROR, late
        hung = state is PolicyState.HUNG
        if starving_s > 0:
            expected = self.gaps_expected and not (self.trouble or late or hung)
            why = self._why_starving(hung, now, late)
            severity = Severity.OK if expected else Severity.ERROR
            return severity, f"no plan for {starving_s:.2f} s, the arm holds: {why}"
        if hung:
            return Severity.ERROR, self._slow(now)
        if self.trouble:
            return Severity.ERROR, self.trouble
        if state is PolicyState.CHECKING:
            wanted = "running" if self._running else "paused"
            return Severity.OK, f"{wanted}, {state.value}"
        return Severity.OK, state.value

    def _why_starving(self, hung: bool, now: Now, late: str) -> str:
        if hung:
            return self._slow(now)
        if late or self.trouble:
            return late or self.trouble
        if (busy_s := self.busy_s(now)) > 0:
            return (
                f"the last action chunk has ended and the next is being computed, for {busy_s:.1f} "
                "s so far; if this goes on, use a faster backend (backend:=auto) or computer"
            )
        silent_s = (now.ns - self._seen_ns) * 1e-9
        if silent_s > self.max_observation_age_s:
            return f"no fresh observation for {silent_s:.1f} s; look at the aligner"
        return "the action chunk ended before the next one arrived"

    def _slow(self, now: Now) -> str:
        return (
            f"inference has taken {self.busy_s(now):.1f} s, expected at most "
            f"{self.inference_limit_s:.1f} s; if it does not return, restart the policy"
        )
