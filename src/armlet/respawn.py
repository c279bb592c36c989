"""Whether a node that has ended is started again: one rule for `armlet up` and ROS's launch."""

from __future__ import annotations

from dataclasses import dataclass

DELAY_S = 2.0
"""A node that died is started again after so long: its port, camera or memory is free by then."""
STEADY_S = 60.0
"""Who runs for so long has started well."""
TRIES = 3
"""So often in a row a node is started again that does not get that far."""


@dataclass
class Starts:
    """The starts of one node; times are of a monotonic clock (s). wanted: its spec's respawn."""

    wanted: bool
    _at_s: float = 0.0
    _quick: int = 0

    def started(self, now_s: float) -> None:
        """The node was started."""
        self._at_s = now_s

    def again(self, status: int, now_s: float) -> bool:
        """Whether to start it again, now that it has ended with a status; 0: as it was asked to."""
        if not self.wanted or status == 0:
            return False
        self._quick = self._quick + 1 if now_s - self._at_s < STEADY_S else 1
        return self._quick <= TRIES

    def consequence(self, otherwise: str) -> str:
        """What comes of its end, in words, where it is not started again."""
        if self._quick <= TRIES:
            return otherwise
        return (
            f"it was started {TRIES} times again and did not run for {STEADY_S:.0f} s; {otherwise}"
        )
