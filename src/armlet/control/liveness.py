"""Whether the parts of a driver still live, judged by the signs of life that they give.

A driver that hears nothing any more drives on: no stop reaches it, and nothing in it fails. So each
part of it that must work gives a sign now and then, and whoever looks counts how long none came.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable
from dataclasses import dataclass

LOOK_S = 1.0
"""Between two looks; parts give signs as often."""

DOUBT_S = 4.0
"""Silent for longer, and the arm holds until there is a sign again. The worst that a busy computer
makes of the signs (six busy programs on two cores) is far below it."""

DEAD_S = 10.0
"""Silent for longer, and nothing is expected any more: half of what DDS itself allows a process."""

_MOST_S = 2 * LOOK_S


class Verdict(enum.Enum):
    """What is known of all parts together: that of the worst of them."""

    ALIVE = "alive"
    DOUBTFUL = "doubtful"
    DEAD = "dead"


@dataclass
class _Part:
    signs: int = 0
    counted: int = 0
    silent_s: float = 0.0


class Liveness:
    """How long each part has been silent.

    Time in which nobody looked does not count: a process that was stopped, or a computer that
    slept, gave nobody the chance of a sign.

    Args:
        parts: names, for people.
        now_s: of any clock that goes on while the process runs, s.
        unproven: parts that may never give a sign, for a reason that is none of theirs: their
            silence counts from `expect` on.
    """

    def __init__(self, parts: Iterable[str], now_s: float, unproven: Collection[str] = ()) -> None:
        self._parts = {name: _Part() for name in parts}
        self._unproven = frozenset(unproven)
        self._looked_s = now_s

    def sign(self, name: str) -> None:
        """A part lives. From any thread; of a part that is not judged it is no matter."""
        if (part := self._parts.get(name)) is not None:
            part.signs += 1

    def expect(self) -> None:
        """All parts have to give signs from now on. From any thread."""
        self._unproven = frozenset()

    def look(self, now_s: float, excused: Collection[str] = ()) -> Verdict:
        """Count how long each part has been silent, and judge; from one thread.

        excused: parts that cannot give a sign now, for a reason that is known.
        """
        passed_s = min(max(now_s - self._looked_s, 0.0), _MOST_S)
        self._looked_s = now_s
        for name, part in self._parts.items():
            signs = part.signs
            lives = signs != part.counted or name in excused or name in self._unproven
            part.counted = signs
            part.silent_s = 0.0 if lives else part.silent_s + passed_s
        longest_s = max(part.silent_s for part in self._parts.values())
        if longest_s > DEAD_S:
            return Verdict.DEAD
        return Verdict.DOUBTFUL if longest_s > DOUBT_S else Verdict.ALIVE

    def silent(self) -> str:
        """Which parts are silent, and for how long, in words; empty if none is in doubt."""
        return ", ".join(
            f"{name} for {part.silent_s:.0f} s"
            for name, part in self._parts.items()
            if part.silent_s > DOUBT_S
        )
