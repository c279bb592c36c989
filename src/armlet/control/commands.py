"""Joint commands, played by their stamps."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from armlet.robots.units import Vector

_KEPT = 64


@dataclass(frozen=True, slots=True)
class Sender:
    """Who commands: its mark, any text, and whether it keeps the arm until it hands it back."""

    mark: str = ""
    keeps: bool = False


NOBODY = Sender()


@dataclass
class Commands:
    """The last joint commands, positions (n,) in radians, by the time they are due.

    Attributes:
        due: Unix time and position, ascending.
        arrived_s: control time at which the last one came; None if there is none.
        sender: who commands, as it says itself.
    """

    due: deque[tuple[int, Vector]] = field(default_factory=lambda: deque(maxlen=_KEPT))
    arrived_s: float | None = None
    sender: Sender = NOBODY

    def add(
        self, position: Vector, stamp_ns: int, goal: Vector, arrived_s: float, slack_ns: int
    ) -> None:
        """Take a command; NaN leaves a joint as it was commanded last, at first at the goal.

        A stamp at or before the last one's is too late to be played; more than slack_ns before it
        the clock was set back, and what is due by the old clock never would be again.
        """
        last_ns, last = self.due[-1] if self.due else (0, goal)
        self.arrived_s = arrived_s
        if stamp_ns < last_ns - slack_ns:
            self.due.clear()
        if stamp_ns > last_ns or not self.due:
            self.due.append((stamp_ns, np.where(np.isnan(position), last, position)))

    def clear(self) -> None:
        """Forget them."""
        self.due.clear()
        self.arrived_s = None
        self.sender = NOBODY

    def fresh(self, now_s: float, timeout_s: float) -> bool:
        """Whether somebody commands: the last one came no longer than timeout_s ago."""
        return self.arrived_s is not None and now_s - self.arrived_s <= timeout_s

    def sample(self, at_ns: int) -> Vector:
        """Position (n,) due at a time: linear between commands, the outer ones outside them."""
        due = self.due
        while len(due) > 2 and due[1][0] <= at_ns:
            due.popleft()
        right = next((i for i, (stamp_ns, _) in enumerate(due) if stamp_ns > at_ns), len(due))
        if right == 0:
            return due[0][1]
        if right == len(due):
            return due[-1][1]
        (before_ns, before), (after_ns, after) = due[right - 1], due[right]
        share = (at_ns - before_ns) / (after_ns - before_ns)
        return before + share * (after - before)
