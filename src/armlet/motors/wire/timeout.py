"""How long to wait for replies: asleep until they are due, then awake, then not any longer."""

from __future__ import annotations

import time

from armlet.motors.protocol import SHORTEST_WAIT_S

_USUALLY_LATE_S = 0.00008
_AT_MOST_LATE_S = 0.0002
"""Timers fire late: by 50 us for the kernel's slack and some more to get to run."""

_WORTH_SLEEPING_S = 0.0003
_AWAKE_S = 0.00005
"""A reader in a hurry is awake for so long before and after the last reply is due, looking: to be
woken by it takes half of that, which is 3 % of a cycle at 1 Mbaud."""

_HURRY_S = 0.001
"""A request that follows the last replies so soon is one of a row as quick as the line allows. For
one of 100 a second, to be awake is 1 % of a core and gains nothing."""

_CLOCKS_DIFFER_S = 0.00002
"""Replies may seem to come that early: servo and computer count time with different clocks."""

_CHANCE = 2
_CONVINCED = 4
_LOOK_EVERY = 64


class ReplyTimeout:
    """A retransmission timer: waits as long as the line's replies have lately taken to come.

    The delay of each reply beyond its time on the wire goes into a smoothed mean and a smoothed
    deviation; it is the mean and four deviations (Jacobson's estimator, RFC 6298). One or two
    silences are put down to loss; with each further one it doubles, so a line that has become
    slower is waited for. Until something has come it is the longest. Giving up too early costs a
    request, never a value: a late reply is known from the next one by its length.

    Replies cannot come before their bytes have been on the wire, so a reader sleeps until shortly
    before then and is not woken by each reply. A line that has no such wire (a pseudo-terminal)
    shows by being faster, and is waited for awake.

    Args:
        longest_s: upper bound.
        shortest_s: lower bound. As long as the upper one where an emulated line has no time of its
            own, so that a computer's pauses are never taken for lost replies.

    Attributes:
        wait_s: seconds to wait beyond wire time.
        delay_s: smoothed mean of the delays seen, seconds.
    """

    def __init__(self, longest_s: float, shortest_s: float = SHORTEST_WAIT_S) -> None:
        self.wait_s = longest_s
        self.delay_s = 0.0
        self._longest_s = longest_s
        self._shortest_s = min(shortest_s, longest_s)
        self._deviation_s: float | None = None
        self._silences = 0
        self._on_time = 0
        self._slept = False
        self._ended_s = 0.0
        self._late_s = _USUALLY_LATE_S

    def sleep(self, wire_s: float) -> float:
        """Sleeps while the request and its replies, which take that long, are on the wire.

        Who sleeps does not see replies that come early, so now and then it stays awake to look.

        Returns:
            The time.monotonic() until which it is worth looking without being woken.
        """
        start_s = time.monotonic()
        awake_s = _AWAKE_S if start_s - self._ended_s < _HURRY_S else 0.0
        asleep_s = wire_s - self._late_s - awake_s
        self._slept = (
            self._on_time >= _CONVINCED
            and self._on_time % _LOOK_EVERY > 0
            and asleep_s > _WORTH_SLEEPING_S
        )
        if self._slept:
            time.sleep(asleep_s)
            late_s = min(time.monotonic() - start_s - asleep_s, _AT_MOST_LATE_S)
            self._late_s += (late_s - self._late_s) / 16
        return start_s + wire_s + awake_s if self._slept and awake_s else 0.0

    def saw(self, delay_s: float) -> None:
        """Replies came that long after their time on the wire; negative on a line that is faster
        than its baud rate says (a pseudo-terminal)."""
        self._silences = 0
        self._ended_s = time.monotonic()
        early = delay_s < -_CLOCKS_DIFFER_S and not self._slept
        self._on_time = 0 if early else self._on_time + 1
        delay_s = max(0.0, delay_s)
        if self._deviation_s is None:
            self.delay_s, self._deviation_s = delay_s, delay_s / 2
        else:
            # Bounded, so that one stall of the computer at most doubles the timeout; a line that
            # has become slower gets there within a few replies.
            error_s = min(delay_s - self.delay_s, self.wait_s)
            self.delay_s += error_s / 8
            self._deviation_s += (abs(error_s) - self._deviation_s) / 4
        wanted_s = self.delay_s + 4 * self._deviation_s
        self.wait_s = min(self._longest_s, max(self._shortest_s, wanted_s))

    def saw_nothing(self) -> None:
        """A request brought nothing in time."""
        self._silences += 1
        if self._silences > _CHANCE:
            self.wait_s = min(self._longest_s, 2 * self.wait_s)
