"""How far the program that takes samples is behind their coming, and what it does about it."""

from __future__ import annotations

from .pauses import Pauses

# Behind by more than this it says so, until it is behind by less than half of it.
BEHIND_S = 0.5
# Behind by more than this, what waits is of no use to anyone any more: it is dropped, and the
# program begins again with what comes from now on.
USELESS_S = 5.0


class Backlog:
    """Knows how long the message that was taken last had waited, and of pauses of the program.

    A message that waited in a queue of this program was not late: its publisher is not to blame.
    Times are ns; received and now of one clock, turns of monotonic ones (`Pauses.turn`).
    """

    def __init__(self) -> None:
        self._pauses = Pauses()
        self._waited_ns = 0
        self._taken_ns = 0
        self._skip_before_ns = 0
        self._skipped_ns = 0
        self.behind = False
        """Whether it is so far behind that people should be informed."""

    @property
    def behind_s(self) -> float:
        """How long the message that was taken last had waited, s."""
        return self._waited_ns * 1e-9

    @property
    def paused_ns(self) -> int:
        """How long the program was not run a while ago: what comes may be older by so much."""
        return self._pauses.behind_ns

    def __str__(self) -> str:
        return (
            f"this node is {self.behind_s:.1f} s behind: messages wait that long before it "
            "reads them"
        )

    def take(self, received_ns: int, now_ns: int) -> bool:
        """A message that came at a time is taken now; whether it is worth reading."""
        self._waited_ns, self._taken_ns = max(0, now_ns - received_ns), now_ns
        self._judge()
        if now_ns < self._skip_before_ns:  # the clock was set back
            self._skip_before_ns = 0
        if self._waited_ns > USELESS_S * 1e9 and received_ns >= self._skip_before_ns:
            self._skip_before_ns = now_ns
            self._skipped_ns = self._waited_ns
        return received_ns >= self._skip_before_ns

    def turn(self, now_ns: int, steady_ns: int, ran_ns: int | None = None) -> int:
        """The program runs; how far it may be behind, ns. To be called many times a second."""
        paused_ns = self._pauses.turn(steady_ns, ran_ns)
        # With nothing taken for as long as the last had waited, nothing else waits.
        if not 0 <= now_ns - self._taken_ns <= self._waited_ns:
            self._waited_ns = 0
            self._judge()
        return max(paused_ns, self._waited_ns)

    def skipped_s(self) -> float:
        """How far behind it was when it dropped what waited, s; once, then 0."""
        skipped_ns, self._skipped_ns = self._skipped_ns, 0
        return skipped_ns * 1e-9

    def _judge(self) -> None:
        limit_s = BEHIND_S / 2 if self.behind else BEHIND_S
        self.behind = self.behind_s > limit_s
