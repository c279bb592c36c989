"""What a person who records is shown, and what they can do, by what recorder and series say.

Knows no library and no ROS. Nothing is kept: the same graph gives the same board in every browser.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from armlet.client.series import LONGEST_RESET_S, SeriesView, Step, Wish
from armlet.client.sight import number

if TYPE_CHECKING:
    from armlet.client.recording import View

START, STOP, SPACE = "start", "stop", " "
KEYS = ("d", "r", "s", "f", "t", "e", "m", "n")
"""Keys of `armlet session` that are the same here; x is on every page, q is closing it."""
# Of a countdown, the seconds that are said one by one.
_COUNTED_S = 3


class State(StrEnum):
    """ABSENT: no recorder was ever heard. BLOCKED: it could not record now, DONE: because as many
    episodes as are wanted are there. RESET: a countdown.
    """

    ABSENT = "absent"
    SILENT = "silent"
    FAILED = "failed"
    RECORDING = "recording"
    RESET = "reset"
    BLOCKED = "blocked"
    DONE = "done"
    READY = "ready"


_LEVELS = {
    State.ABSENT: "attention",
    State.SILENT: "bad",
    State.FAILED: "bad",
    State.RECORDING: "recording",
    State.RESET: "attention",
    State.BLOCKED: "attention",
    State.DONE: "good",
    State.READY: "good",
}


@dataclass(frozen=True)
class Board:
    """A recorder and its series as they are now.

    rows, seconds: of the open episode. episodes: in the dataset; whole, wanted: those that count,
    and how many are to be there, 0: any number. saved: episodes of the last recording, which a
    label is about; success: what it is. failure: code of why the last recording failed, "" if it
    did not; failures: how many did. said: the recorder's own sentence. silent_s: since when nothing
    is heard of it; was_recording: what it did then. stops: how often a stop was asked for here.
    """

    state: State = State.ABSENT
    task: str = ""
    root: str = ""
    fps: int = 0
    rows: int = 0
    episodes: int = 0
    whole: int = 0
    wanted: int = 0
    episode_s: float = 0.0
    saved: tuple[int, ...] = ()
    success: bool | None = None
    failure: str = ""
    failures: int = 0
    said: str = ""
    silent_s: float = 0.0
    was_recording: bool = False
    disk_s: float | None = None
    series: SeriesView = field(default_factory=SeriesView)
    stops: int = 0

    @property
    def level(self) -> str:
        """good, attention or bad; recording is a level of its own."""
        return _LEVELS[self.state]

    @property
    def seconds(self) -> float:
        return self.rows / self.fps if self.fps else 0.0

    @property
    def counted(self) -> int:
        """Episodes as they count towards those wanted."""
        return self.whole if self.wanted else self.episodes

    @property
    def last(self) -> int | None:
        """The newest episode of the dataset; None while there is none."""
        return self.episodes - 1 if self.episodes else None

    @property
    def usable(self) -> frozenset[str]:
        """Of what a person may ask the recorder for, what it would not refuse as things stand."""
        match self.state:
            case State.RECORDING:
                return frozenset((STOP, "d", "r"))
            case State.FAILED:
                return frozenset((STOP, "d", "r"))
            case State.READY | State.RESET:
                return frozenset((START, *self._labels))
            case State.BLOCKED | State.DONE:
                return frozenset(self._labels)
        return frozenset()

    @property
    def _labels(self) -> tuple[str, ...]:
        return ("s", "f") if self.saved else ()


def board(view: View, series: SeriesView, stops: int = 0) -> Board:
    """What is known now."""
    values = view.recorder
    if not values:
        return Board(series=series, stops=stops)
    success = {"True": True, "False": False}.get(values.get("success", ""))
    saved = values.get("saved", "").split(",")
    return Board(
        _state(view, series),
        values.get("task", ""),
        values.get("root", ""),
        _count(values, "fps"),
        _count(values, "open_frames"),
        _count(values, "episodes"),
        _count(values, "episodes_whole"),
        _count(values, "episodes_wanted"),
        number(values.get("episode_s", "")) or 0.0,
        tuple(int(each) for each in saved if _is_count(each)),
        success,
        values.get("failure", ""),
        _count(values, "failures"),
        "" if view.recorder_says is None else view.recorder_says.said,
        view.recorder_silent_s,
        view.was_recording,
        number(values.get("seconds_left", "")),
        series,
        stops,
    )


def _state(view: View, series: SeriesView) -> State:
    if view.recorder_silent_s:
        return State.SILENT
    if view.failed:
        return State.FAILED
    if view.recording:
        return State.RECORDING
    if view.recorder.get("can_record") == "False":
        whole, wanted = (_count(view.recorder, f"episodes_{name}") for name in ("whole", "wanted"))
        full = 0 < wanted <= whole and bool(view.recorder.get("task", "").strip())
        return State.DONE if full else State.BLOCKED
    return State.RESET if series.step is Step.RESET else State.READY


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _count(values: dict[str, str], name: str) -> int:
    text = values.get(name, "")
    return int(text) if _is_count(text) else 0


# --- what a person does -------------------------------------------------------------------------


@dataclass(frozen=True)
class Ask:
    """What a person asks for. stops: how many stops they had seen when they did."""

    key: str
    stops: int


def meant(args: object) -> Ask | None:
    """What a button or key in a browser asks for; None if nothing.

    args: what the browser sent: `key`, and `shown` and `stops`, the state and the count of stops
    that the person saw. So a space that was to stop a recording which has just ended by itself
    begins no other, one of two browsers does not undo what the other did, and torque that was
    asked for before a stop does not come on after it, however late it comes.
    """
    given = args if isinstance(args, dict) else {}
    key, stops = given.get("key"), given.get("stops")
    if key == SPACE:
        key = STOP if given.get("shown") in (State.RECORDING, State.FAILED) else START
    if not isinstance(key, str) or key not in (START, STOP, *KEYS):
        return None
    return Ask(key, int(stops) if isinstance(stops, str) and _is_count(stops) else -1)


def wish(task: str, episodes: object, episode_s: object, known: Board) -> Wish | None:
    """What differs from what the recorder has; None if nothing does. Raises ValueError.

    episodes, episode_s: as typed; None stands for 0.
    """
    count, length = _typed(episodes, "episodes"), _typed(episode_s, "episode_s")
    if not count.is_integer():
        raise ValueError(f"episodes: expected a whole number, found {count:g}")
    text = " ".join(task.split())
    wished = Wish(
        text if text != known.task else None,
        int(count) if count != known.wanted else None,
        length if length != known.episode_s else None,
    )
    return wished if wished.parameters() else None


def reset_s(typed: object) -> float:
    """The time between episodes, s, as typed. Raises ValueError."""
    value = _typed(typed, "reset")
    if not 0 <= value <= LONGEST_RESET_S:
        raise ValueError(f"reset: expected 0 to {LONGEST_RESET_S:g} s, found {value:g}")
    return value


def _typed(value: object, what: str) -> float:
    found = number(str(0 if value is None or value == "" else value)[:40])
    if found is None:
        raise ValueError(f"{what}: expected a number, found {str(value)[:40]!r}")
    return found


def merged(draft: object, before: object, now: object) -> object:
    """What a field shows: what the recorder has now, unless the person has typed something else."""
    return now if draft == before else draft


# --- what is said aloud -------------------------------------------------------------------------


@dataclass(frozen=True)
class Cue:
    """Something to be heard once, whenever its key is another than before.

    code: of its words. tone: what it sounds like without speech.
    """

    key: str
    code: str
    tone: str
    values: dict[str, object] = field(default_factory=dict)


def cue(now: Board) -> Cue:
    """What a person who does not look should know. The same board gives the same cue."""
    match now.state:
        case State.RECORDING:
            return _cue("recording", "start", now.episodes, episode=now.episodes)
        case State.FAILED:
            return _cue("failed", "alarm", now.failures)
        case State.SILENT:
            return _cue("silent", "alarm" if now.was_recording else "low", now.failures)
        case State.RESET:
            left = -int(-now.series.left_s // 1)
            if 0 < left <= _COUNTED_S:
                return _cue("count", "tick", f"{now.episodes}.{left}", left=left)
            return _cue("reset", "low", now.episodes, seconds=f"{now.series.reset_s:g}")
    if now.failure:
        return _cue("failed", "alarm", now.failures)
    if now.state is State.DONE:
        return _cue("done", "end", now.episodes, episodes=now.counted)
    if now.saved:
        return _cue("saved", "end", now.episodes, episode=now.saved[-1])
    return _cue("idle", "low", now.episodes)


def _cue(name: str, tone: str, number: object, **values: object) -> Cue:
    return Cue(f"{name}/{number}", f"record.cue.{name}", tone, values)
