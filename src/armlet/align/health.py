"""Whether a stream flows as it usually does."""

from __future__ import annotations

import enum
import statistics
from collections import deque
from dataclasses import dataclass

# Nothing is judged before the publishers had time to be found.
GRACE_S = 3.0
# A rate is over this time, and compared with the median of those of the last ten minutes.
WINDOW_S = 3.0
HISTORY = 600
KNOWN_AFTER = 5
SLOW_SHARE = 0.8
# Silent for five of its usual periods and half a second: stalled.
STALL_PERIODS = 5
STALL_S = 0.5


class Condition(enum.StrEnum):
    """How a stream does. SILENT: nothing has come yet, and it is early; NEVER_SEEN: it is not."""

    SILENT = "silent"
    FLOWING = "flowing"
    SLOW = "slow"
    STALLED = "stalled"
    FROZEN = "frozen"
    NEVER_SEEN = "never_seen"

    @property
    def text(self) -> str:
        """For people; the value is for programs."""
        return _TEXTS.get(self, self.value)


_TEXTS = {
    Condition.SILENT: "waiting for its first message",
    Condition.SLOW: "slower than usual",
    Condition.NEVER_SEEN: "never seen",
}


@dataclass(frozen=True)
class Health:
    """A stream's condition, its rate now and usually (Hz; 0 while not known) and its silence."""

    condition: Condition
    rate_hz: float
    usual_hz: float
    silent_s: float

    def __str__(self) -> str:
        if self.condition is Condition.SLOW:
            return f"{self.condition.text}: {self.rate_hz:.1f} Hz, usually {self.usual_hz:.1f} Hz"
        if self.condition in (Condition.STALLED, Condition.NEVER_SEEN):
            return f"{self.condition.text} for {self.silent_s:.1f} s"
        if self.condition is Condition.FROZEN:
            return f"{self.condition.text}: it repeats the same image"
        return self.condition.text


class Watch:
    """Judges one stream by its own past. Times are of one clock, s; set back, it begins again."""

    def __init__(self, now_s: float):
        self._looks: deque[tuple[float, int]] = deque()
        self._rates: deque[float] = deque(maxlen=HISTORY)
        self._rated_s = now_s
        self._heard_s = now_s
        self._received = 0
        self._start_s = now_s

    def look(self, now_s: float, received: int, frozen: bool = False) -> Health:
        """How the stream does, given the messages received so far; call it a few times a second."""
        last_s = self._looks[-1][0] if self._looks else now_s
        # Simulated time is 0 until the first /clock; a player that begins again sets it back.
        if not self._start_s or now_s < last_s:
            self._looks.clear()
            self._start_s = self._heard_s = self._rated_s = now_s
        if received != self._received:
            if not self._received:
                self._looks.clear()
                self._rated_s = now_s
            self._received, self._heard_s = received, now_s
        self._looks.append((now_s, received))
        while len(self._looks) > 1 and now_s - self._looks[1][0] >= WINDOW_S:
            self._looks.popleft()
        rate_hz = self._rate()
        usual_hz = self._usual()
        silent_s = now_s - self._heard_s
        condition = self._condition(rate_hz, usual_hz, silent_s, frozen)
        if condition in (Condition.FLOWING, Condition.SLOW, Condition.FROZEN):
            self._remember(now_s, rate_hz)
        return Health(condition, rate_hz, usual_hz, silent_s)

    def _rate(self) -> float:
        (first_s, first), (last_s, last) = self._looks[0], self._looks[-1]
        return (last - first) / (last_s - first_s) if last_s - first_s >= WINDOW_S else 0.0

    def _usual(self) -> float:
        return statistics.median(self._rates) if len(self._rates) >= KNOWN_AFTER else 0.0

    def _remember(self, now_s: float, rate_hz: float) -> None:
        if rate_hz and now_s - self._rated_s >= 1.0:
            self._rates.append(rate_hz)
            self._rated_s = now_s

    def _condition(
        self, rate_hz: float, usual_hz: float, silent_s: float, frozen: bool
    ) -> Condition:
        if not self._received:
            return Condition.SILENT if silent_s < GRACE_S else Condition.NEVER_SEEN
        if silent_s > max(STALL_S, STALL_PERIODS / usual_hz if usual_hz else GRACE_S):
            return Condition.STALLED
        if frozen:
            return Condition.FROZEN
        if usual_hz and rate_hz and rate_hz < SLOW_SHARE * usual_hz:
            return Condition.SLOW
        return Condition.FLOWING
