"""Which servos answer the control cycle, and since when others do not."""

from __future__ import annotations

import numpy as np

from .feedback import Mask

_LONGEST_S = 0.1
"""What one missed cycle counts for at most: a process that stood still heard nobody meanwhile."""


class Answers:
    """When each joint (n,) answered last. Times are seconds of control time.

    Attributes:
        oldest_s: when the joint answered that has not for the longest time.
    """

    def __init__(self, joints: int, now_s: float) -> None:
        self.oldest_s = now_s
        self._seen_s = np.full(joints, now_s)
        self._noted_s = now_s
        self._silent_s = np.zeros(joints)

    def note_all(self, now_s: float) -> None:
        """Every joint has answered; or time begins again."""
        self._seen_s.fill(now_s)
        self._silent_s.fill(0.0)
        self.oldest_s = self._noted_s = now_s

    def note_some(self, fresh: Mask | None, now_s: float) -> None:
        """A cycle in which some joints (n,) answered, or none."""
        self._silent_s += min(max(now_s - self._noted_s, 0.0), _LONGEST_S)
        self._noted_s = now_s
        if fresh is not None:
            self._seen_s[fresh] = now_s
            self._silent_s[fresh] = 0.0
            self.oldest_s = float(self._seen_s.min())

    def silent(self, silence_s: float) -> Mask:
        """Joints (n,) that have not answered for longer than that, in cycles that asked them.

        While a process stood still (no processor time, a computer's sleep) it asked nobody.
        """
        silent: Mask = self._silent_s > silence_s
        return silent
