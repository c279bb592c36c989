"""How old frames are when they arrive, and why, where that is more than it may be."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

# One frame may be late by a pause of this program; so many in a row have a cause.
_LEAST = 3
_KEPT = 10
# Further apart than any two clocks of computers in use.
_DAY_S = 86_400.0


@dataclass(frozen=True)
class _Arrival:
    age_s: float
    sent_age_s: float | None


class Arrivals:
    """Ages of the last frames by the clock of the computer they arrive at.

    A frame's stamp is of the robot's clock. What is old or from the future on arrival is due to
    clocks that differ, or to an aligner that sends late: the age at which it sent, by its own
    clock, says which.
    """

    def __init__(self) -> None:
        self._last: deque[_Arrival] = deque(maxlen=_KEPT)

    def note(self, age_s: float, sent_age_s: float | None) -> None:
        """A frame of this age arrives, negative from the future; None: age at sending unknown."""
        self._last.append(_Arrival(age_s, sent_age_s))

    def clear(self) -> None:
        """Frames begin again."""
        self._last.clear()

    def trouble(self, limit_s: float) -> str:
        """Why the frames cannot be used, in words; empty if the last of them are within the limit.

        Every one of the last must be beyond it on the same side: the least of these ages is what
        is reported.
        """
        ages = [arrival.age_s for arrival in self._last]
        if ages and max(ages) < -limit_s:
            return _from_the_future(-max(ages), limit_s)
        if len(ages) >= _LEAST and min(ages) > limit_s:
            return _old(min(self._last, key=lambda arrival: arrival.age_s), limit_s)
        return ""


def _from_the_future(ahead_s: float, limit_s: float) -> str:
    return (
        f"observations are {ahead_s:.2f} s from the future on arrival (limit {limit_s:.2f} s): the "
        f"clock of this computer is behind the robot's by about that; {_fix(ahead_s)}"
    )


def _old(arrival: _Arrival, limit_s: float) -> str:
    said = f"observations are {arrival.age_s:.2f} s old on arrival (limit {limit_s:.2f} s): "
    fix, sent_age_s = _fix(arrival.age_s), arrival.sent_age_s
    if sent_age_s is None:
        return (
            f"{said}the clock of this computer is ahead of the robot's by about that, or the "
            f"aligner is behind; {fix}, and look at the aligner on /diagnostics"
        )
    on_the_way_s = arrival.age_s - sent_age_s
    if sent_age_s > on_the_way_s:
        return (
            f"{said}the aligner is behind: they were {sent_age_s:.2f} s old when it sent them; "
            "look at the aligner on /diagnostics"
        )
    about = "that" if sent_age_s < 0.1 * arrival.age_s else f"{on_the_way_s:.2f} s"
    return (
        f"{said}the clock of this computer is ahead of the robot's by about {about}; {fix}; "
        "if the clocks agree, messages take that long: look at the load of this computer and "
        "the network"
    )


def _fix(off_s: float) -> str:
    if off_s > _DAY_S:
        return "give use_sim_time to all nodes alike"
    return "synchronise them (chrony), or run this node on the robot's computer"
