"""How far behind a program that takes samples may be, by its own pauses."""

from __future__ import annotations

# A turn that comes this late was no ordinary one: the program was not run, or was busy.
PAUSE_NS = 50_000_000
# What is older than this is nobody's any more.
LONGEST_NS = 60_000_000_000
# A busy machine may work off what waits hardly faster than new samples come: by at least a quarter.
_CATCH_UP = 4


class Pauses:
    """Grows by each pause of the program, and shrinks by a quarter of the time it runs without one.

    After a pause samples wait in its queues that came in time: what is missing then is not missing
    because it was not sent. Once the program has run for four times as long, they are taken.
    """

    def __init__(self) -> None:
        self._last_ns = 0
        self.behind_ns = 0

    def turn(self, monotonic_ns: int) -> int:
        """The program runs; how far it may be behind (ns). To be called many times a second."""
        # Simulated time is 0 until the first /clock: that it begins then is no pause.
        away_ns = monotonic_ns - self._last_ns if self._last_ns else 0
        self._last_ns = monotonic_ns
        if away_ns > PAUSE_NS:
            self.behind_ns = min(self.behind_ns + away_ns, LONGEST_NS)
        else:
            self.behind_ns = max(0, self.behind_ns - away_ns // _CATCH_UP)
        return self.behind_ns
