"""What is to be recorded, and episodes one after the other with time to reset the scene between.

Knows no ROS. How many episodes are wanted, how long they are and how many there are, the recorder
knows: a series only says when the next one begins.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from enum import StrEnum

LONGEST_TASK = 2000
LONGEST_EPISODE_S = 3600.0
MOST_EPISODES = 1_000_000
LONGEST_RESET_S = 3600.0
# A status that was on its way when the recorder began says that it is idle.
_BEGUN_S = 2.0
_LONGEST_SAID = 500


@dataclass(frozen=True)
class Wish:
    """What the next recordings are to be; None leaves it as it is. They are the recorder's own
    parameters.

    task: in words, one line. episodes: of the whole dataset; 0: any number. episode_s: how long
    each is, s; 0: until somebody stops it. Raises ValueError.
    """

    task: str | None = None
    episodes: int | None = None
    episode_s: float | None = None

    def __post_init__(self) -> None:
        if self.task is not None and (
            len(self.task) > LONGEST_TASK or not self.task.isprintable() or not self.task.strip()
        ):
            raise ValueError(
                f"task: expected one line of 1 to {LONGEST_TASK} characters that says what the "
                f"episodes show, found {len(self.task)}: {self.task[:80]!r}"
            )
        if self.episodes is not None and not 0 <= self.episodes <= MOST_EPISODES:
            raise ValueError(f"episodes: expected 0 to {MOST_EPISODES}, found {self.episodes}")
        if self.episode_s is not None and not 0 <= self.episode_s <= LONGEST_EPISODE_S:
            raise ValueError(
                f"episode_s: expected 0 to {LONGEST_EPISODE_S:g} s, found {self.episode_s}"
            )

    def parameters(self) -> dict[str, str | int | float]:
        """By their names at the recorder."""
        given = {"task": self.task, "episodes": self.episodes, "episode_s": self.episode_s}
        return {name: value for name, value in given.items() if value is not None}


class Step(StrEnum):
    """Where a series is. HELD: a person decides how it goes on. STARTING: the recorder is asked."""

    OFF = "off"
    RESET = "reset"
    STARTING = "starting"
    RECORDING = "recording"
    HELD = "held"


class End(StrEnum):
    """Why a series is over: a person's wish, all episodes are there, the stop key."""

    ASKED = "asked"
    DONE = "done"
    STOPPED = "stopped"


@dataclass(frozen=True)
class SeriesView:
    """A series as it stands. left_s: until the next episode begins, of reset_s. said: why the
    recorder began none. end: of the last series.
    """

    step: Step = Step.OFF
    left_s: float = 0.0
    reset_s: float = 0.0
    said: str = ""
    end: End | None = None

    @property
    def on(self) -> bool:
        return self.step is not Step.OFF


class Series:
    """Begins the next episode when the scene had time to be reset. For several threads.

    After each recording it counts down, also after one that was discarded. After one that failed,
    or that the recorder refused, it waits until a person has recorded or gone on. Times are
    seconds of one clock that goes on.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._step = Step.OFF
        self._end: End | None = None
        self._reset_s = self._due_s = self._begun_s = 0.0
        self._said = ""

    def view(self, now_s: float) -> SeriesView:
        """As it stands."""
        with self._lock:
            left_s = max(0.0, self._due_s - now_s) if self._step is Step.RESET else 0.0
            return SeriesView(self._step, left_s, self._reset_s, self._said, self._end)

    def begin(self, reset_s: float, now_s: float) -> None:
        """Count down to the next episode, unless one is being recorded; then go on after it.

        One that is on goes on by the new time, and after a refusal again. Raises ValueError.
        """
        if not (math.isfinite(reset_s) and 0 <= reset_s <= LONGEST_RESET_S):
            raise ValueError(f"reset: expected 0 to {LONGEST_RESET_S:g} s, found {reset_s}")
        with self._lock:
            self._reset_s = reset_s
            if self._step is Step.OFF or self._said:
                self._end = None
                self._count_down(now_s)

    def end(self, why: End) -> None:
        """Begin no more. A recording that is going on is not ended by this."""
        with self._lock:
            if self._step is not Step.OFF:
                self._finish(why)

    def heard(self, state: str, full: bool, now_s: float) -> bool:
        """What the recorder is doing; whether it is to be asked for a recording now.

        state: idle, recording or failed. full: whether it has as many episodes as are wanted.
        """
        with self._lock:
            if self._step is Step.OFF or state not in ("idle", "recording", "failed"):
                return False
            if state in ("recording", "failed"):
                self._step = Step.RECORDING if state == "recording" else Step.HELD
                self._said = ""
            elif self._is_over(now_s) and full:
                self._finish(End.DONE)
            elif self._step is Step.RESET and now_s >= self._due_s:
                self._step, self._begun_s = Step.STARTING, math.inf
                return True
            elif self._step is not Step.RESET and self._is_over(now_s):
                self._count_down(now_s)
            return False

    def answered(self, begun: bool, said: str, now_s: float) -> None:
        """What the recorder answered to that it was asked for a recording."""
        with self._lock:
            if self._step is not Step.STARTING:
                return
            self._begun_s = now_s
            if not begun:
                self._step, self._said = Step.HELD, said[:_LONGEST_SAID]

    def _is_over(self, now_s: float) -> bool:
        """Whether an idle recorder means that there is no recording: not if it refused one."""
        if self._step is Step.STARTING:
            return now_s - self._begun_s > _BEGUN_S
        return not (self._step is Step.HELD and self._said)

    def _count_down(self, now_s: float) -> None:
        self._step, self._due_s, self._said = Step.RESET, now_s + self._reset_s, ""

    def _finish(self, why: End) -> None:
        self._step, self._end, self._said = Step.OFF, why, ""
