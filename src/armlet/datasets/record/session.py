"""What becomes of one press of the record button: a state machine, without files or threads.

A recording is one episode or none. `RecordingSession.advance` is given what happened and answers
with what is to be done on the dataset; whoever does it reports `Saved` and `WriteFailed` back.
"""

from __future__ import annotations

import enum
import threading
from dataclasses import dataclass, replace


class Phase(enum.Enum):
    """What a recorder is doing. FAILED: the last recording ended by itself, not by a person."""

    IDLE = "idle"
    RECORDING = "recording"
    FAILED = "failed"


class Failure(enum.Enum):
    """Why a recording failed, for programs that act on it."""

    GAP = "gap"
    SILENCE = "silence"
    BAD_FRAME = "bad_frame"
    TOO_SHORT = "too_short"
    DISK_SHORT = "disk_short"
    WRITE_FAILED = "write_failed"


class OnGap(enum.Enum):
    """What a missing frame does to a recording."""

    REFUSE = "refuse"
    SPLIT = "split"


class SessionError(Exception):
    """Something was asked for that cannot be done now; the message says why."""


@dataclass(frozen=True)
class Rules:
    """What makes an episode.

    max_gaps: of a recording that is split, the next ends it; 0: none does. min_episode_s: nothing
    shorter is saved. episode_s: a recording ends by itself after this long; 0: never. episodes: how
    many the dataset is to have, parts of recordings that were split not counted; 0: any number.
    """

    fps: int = 30
    on_gap: OnGap = OnGap.REFUSE
    max_gaps: int = 5
    min_episode_s: float = 1.0
    episode_s: float = 0.0
    episodes: int = 0

    def __post_init__(self) -> None:
        if 0 < self.episode_s < self.min_episode_s:
            raise ValueError(
                f"episode_s is {self.episode_s:g} s, but nothing shorter than min_episode_s "
                f"({self.min_episode_s:g} s) is saved; raise episode_s or lower min_episode_s"
            )

    @property
    def min_frames(self) -> int:
        return max(1, round(self.min_episode_s * self.fps))

    @property
    def max_frames(self) -> int:
        """Rows after which a recording ends; 0: never."""
        return round(self.episode_s * self.fps)


@dataclass(frozen=True)
class Part:
    """An episode that a recording has put into the dataset."""

    episode: int
    frames: int
    duration_s: float

    def __str__(self) -> str:
        return f"episode {self.episode}: {self.frames} frames, {self.duration_s:.1f} s"


@dataclass(frozen=True)
class Status:
    """The state of a session. A value: it may be read in any thread.

    reason: of FAILED. failure: of the last recording; None if it did not fail. failures: how often
    one has failed so far. since_ns: frames from this stamp on belong to the recording. first_ns:
    stamp of its first row, 0 before that. rows: of the open episode. parts: what this recording has
    saved, also once it is over.
    """

    phase: Phase = Phase.IDLE
    reason: str = ""
    failure: Failure | None = None
    failures: int = 0
    since_ns: int = 0
    first_ns: int = 0
    rows: int = 0
    gaps: int = 0
    parts: tuple[Part, ...] = ()

    @property
    def recording(self) -> bool:
        return self.phase is Phase.RECORDING


# --- what happens -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Start:
    """A person starts a recording, of the frames from now_ns on."""

    now_ns: int


@dataclass(frozen=True)
class Stop:
    """A person, or the recorder's end, ends the recording. incomplete: rows lack at its end."""

    incomplete: bool = False


@dataclass(frozen=True)
class Discard:
    """A person wants nothing of the recording."""


@dataclass(frozen=True)
class Row:
    """A frame has become a row of the open episode."""

    stamp_ns: int


@dataclass(frozen=True)
class Gap:
    """Frames are missing before the one that came."""

    reason: str


@dataclass(frozen=True)
class Silence:
    """No frame came for too long."""

    reason: str


@dataclass(frozen=True)
class BadFrame:
    """A frame cannot be recorded, so its row is missing and those after it are in doubt."""

    reason: str


@dataclass(frozen=True)
class DiskShort:
    """The disk runs out of room; what has been recorded can still be saved."""

    reason: str


@dataclass(frozen=True)
class WriteFailed:
    """Nothing can be written now."""

    reason: str


@dataclass(frozen=True)
class Saved:
    """The open episode is in the dataset."""

    part: Part


Event = Start | Stop | Discard | Row | Gap | Silence | BadFrame | DiskShort | WriteFailed | Saved


# --- what is to be done -------------------------------------------------------------------------


@dataclass(frozen=True)
class Begin:
    """Open an episode."""


@dataclass(frozen=True)
class AddAgain:
    """Add the frame that came after the gap, now that another episode is open."""


@dataclass(frozen=True)
class Save:
    """Put the open episode into the dataset. part: which of a recording in parts; 0: all of it."""

    part: int = 0


@dataclass(frozen=True)
class Drop:
    """Forget the open episode. too_short: because of its length."""

    too_short: bool = False


@dataclass(frozen=True)
class RemoveParts:
    """Move what this recording has put into the dataset to the dataset's trash."""


@dataclass(frozen=True)
class Leave:
    """Close the dataset; what is on disk of the open episode stays for the next opening."""


Action = Begin | AddAgain | Save | Drop | RemoveParts | Leave
Step = tuple[Status, tuple[Action, ...]]


class RecordingSession:
    """The state machine. `advance` and `status` may be called in any thread."""

    def __init__(self, rules: Rules | None = None) -> None:
        self._rules = rules or Rules()
        self._status = Status()
        self._lock = threading.Lock()

    @property
    def status(self) -> Status:
        """The state as it stands."""
        return self._status

    @property
    def rules(self) -> Rules:
        return self._rules

    def set_rules(self, rules: Rules) -> None:
        """Other rules, for the next recording. Raises SessionError while there is one."""
        with self._lock:
            if self._status.recording:
                raise SessionError("already recording; stop or discard that first")
            self._rules = rules

    def explain(self, reason: str) -> None:
        """Say more of why it has failed."""
        with self._lock:
            self._status = replace(self._status, reason=reason)

    def advance(self, event: Event) -> tuple[Action, ...]:
        """Go on by an event; what is to be done, in order.

        Raises SessionError for what a person asks for and cannot have; nothing has changed then.
        """
        with self._lock:
            self._status, actions = _next(self._status, event, self._rules)
            return actions


def _next(status: Status, event: Event, rules: Rules) -> Step:
    match event:
        case Start() | Stop() | Discard():
            return _asked(status, event, rules)
        case Saved(part):
            return replace(status, parts=(*status.parts, part)), ()
        case WriteFailed(reason):
            return _failed(status, Failure.WRITE_FAILED, reason), (Leave(),)
        case _ if not status.recording:
            return status, ()  # of a frame that was on its way when the recording ended
        case Row(stamp_ns):
            return _row(status, stamp_ns, rules)
        case Gap(reason):
            return _gap(status, reason, rules)
        case DiskShort(reason):
            return _failed(status, Failure.DISK_SHORT, reason), (_close(status, rules, True),)
        case Silence(reason) if rules.on_gap is OnGap.REFUSE:
            return _failed(status, Failure.SILENCE, reason), (Drop(),)
        case BadFrame(reason) if rules.on_gap is OnGap.REFUSE:
            return _failed(status, Failure.BAD_FRAME, reason), (Drop(),)
        case BadFrame(reason):
            return _failed(status, Failure.BAD_FRAME, reason), (_close(status, rules, True),)
        case _:
            return status, ()  # silence in a recording that may be split: the next frame ends it


def _asked(status: Status, event: Start | Stop | Discard, rules: Rules) -> Step:
    if isinstance(event, Start):
        if status.recording:
            raise SessionError("already recording; call stop_recording or discard_episode first")
        begun = Status(Phase.RECORDING, failures=status.failures, since_ns=event.now_ns)
        return begun, (Begin(),)
    if status.phase is Phase.IDLE:
        raise SessionError("not recording")
    if isinstance(event, Discard):
        drop: tuple[Action, ...] = (Drop(),) if status.recording else ()
        left = status.parts or status.failure is Failure.WRITE_FAILED
        remove: tuple[Action, ...] = (RemoveParts(),) if left else ()
        return Status(failure=status.failure, failures=status.failures), (*drop, *remove)
    if status.phase is Phase.FAILED:
        return _idle(status), ()  # the person has seen why
    return _stop(status, rules, event.incomplete)


def _idle(status: Status) -> Status:
    return replace(status, phase=Phase.IDLE, reason="")


def _failed(status: Status, failure: Failure, reason: str) -> Status:
    return replace(
        status, phase=Phase.FAILED, reason=reason, failure=failure, failures=status.failures + 1
    )


def _close(status: Status, rules: Rules, incomplete: bool) -> Action:
    """The end of the open episode: saved, unless it is too short."""
    if status.rows < rules.min_frames:
        return Drop(too_short=True)
    return Save(status.gaps + 1 if status.gaps or incomplete else 0)


def _stop(status: Status, rules: Rules, incomplete: bool = False) -> Step:
    action = _close(status, rules, incomplete)
    if isinstance(action, Save) or status.parts:
        return _idle(status), (action,)
    if not status.rows:
        reason = "no frame came between start and stop; nothing was saved"
        return _failed(status, Failure.SILENCE, reason), (Drop(),)
    reason = (
        f"discarded: it was {status.rows / rules.fps:.2f} s long, nothing shorter than "
        f"min_episode_s ({rules.min_episode_s:g} s) is saved"
    )
    return _failed(status, Failure.TOO_SHORT, reason), (action,)


def _row(status: Status, stamp_ns: int, rules: Rules) -> Step:
    first_ns = status.first_ns or stamp_ns
    status = replace(status, rows=status.rows + 1, first_ns=first_ns)
    length = 1 + round((stamp_ns - first_ns) * 1e-9 * rules.fps)
    return _stop(status, rules) if 0 < rules.max_frames <= length else (status, ())


def _gap(status: Status, reason: str, rules: Rules) -> Step:
    if rules.on_gap is OnGap.REFUSE:
        return _failed(status, Failure.GAP, f"the episode was refused: {reason}"), (Drop(),)
    close = _close(status, rules, incomplete=True)
    status = replace(status, gaps=status.gaps + 1)
    if 0 < rules.max_gaps < status.gaps:
        too_many = f"gap {status.gaps} in one recording, more than max_gaps: {reason}"
        return _failed(status, Failure.GAP, too_many), (close,)
    return replace(status, rows=0), (close, Begin(), AddAgain())
