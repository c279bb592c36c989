"""What became of every sample and every frame."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from .stream import Miss


@dataclass
class StreamLedger:
    """Counts of one stream since start; missed is by reason.

    refused: messages not taken as samples: torn, without what the stream needs, or stamped with
    what is not the time they came at.
    """

    received: int = 0
    used: int = 0
    reused: int = 0
    interpolated: int = 0
    late: int = 0
    duplicate: int = 0
    refused: int = 0
    missed: Counter[Miss] = field(default_factory=Counter)
    worst_skew_s: float = 0.0

    def summary(self) -> dict[str, str]:
        """Counts as text, for diagnostics."""
        counts = {name: str(value) for name, value in vars(self).items() if type(value) is int}
        return {
            **counts,
            **{reason.value: str(self.missed[reason]) for reason in Miss},
            "worst_skew_s": f"{self.worst_skew_s:.4f}",
        }


@dataclass
class Ledger:
    """Frames emitted and missed, and every stream's own account."""

    streams: dict[str, StreamLedger]
    frames: int = 0
    missed_frames: int = 0
    clock_jumps: int = 0
