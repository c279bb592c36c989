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
        self._ran_ns = 0
        self._away = False
        self.behind_ns = 0

    def turn(self, now_ns: int, ran_ns: int | None = None) -> int:
        """The program runs; how far it may be behind (ns). To be called many times a second.

        now_ns: a steady time that samples go by, which may be simulated and take large steps.
        ran_ns: the computer's monotonic time, which says whether the program was run; None: the
        same as now_ns.
        """
        ran_ns = now_ns if ran_ns is None else ran_ns
        self._away |= self._ran_ns > 0 and ran_ns - self._ran_ns > PAUSE_NS
        self._ran_ns = ran_ns
        # Simulated time is 0 until the first /clock: that it begins then is no pause.
        passed_ns = now_ns - self._last_ns if self._last_ns else 0
        self._last_ns = now_ns
        if passed_ns <= 0:  # it stands, or was set back: of a pause the next step says how long
            return self.behind_ns
        if self._away and passed_ns > PAUSE_NS:
            self.behind_ns = min(self.behind_ns + passed_ns, LONGEST_NS)
        else:
            self.behind_ns = max(0, self.behind_ns - passed_ns // _CATCH_UP)
        self._away = False
        return self.behind_ns
