"""Which servos answer the control cycle, and since when others do not."""

from __future__ import annotations

import numpy as np

from .feedback import Mask

_MISSED_IN_A_ROW = 5


class Answers:
    """When each joint (n,) answered last. Times are seconds of control time.

    Attributes:
        oldest_s: when the joint answered that has not for the longest time.
    """

    def __init__(self, joints: int, now_s: float) -> None:
        self.oldest_s = now_s
        self._seen_s = np.full(joints, now_s)
        self._missed = np.zeros(joints, np.int64)

    def note_all(self, now_s: float) -> None:
        """Every joint has answered; or time begins again."""
        self._seen_s.fill(now_s)
        self._missed.fill(0)
        self.oldest_s = now_s

    def note_some(self, fresh: Mask | None, now_s: float) -> None:
        """A cycle in which some joints (n,) answered, or none."""
        self._missed += 1
        if fresh is not None:
            self._seen_s[fresh] = now_s
            self._missed[fresh] = 0
            self.oldest_s = float(self._seen_s.min())

    def silent(self, now_s: float, silence_s: float) -> Mask:
        """Joints (n,) that have not answered for longer than that.

        Some cycles in a row belong to it: a process that stood still for a while has missed
        nothing.
        """
        late: Mask = now_s - self._seen_s > silence_s
        return late & (self._missed >= _MISSED_IN_A_ROW)
