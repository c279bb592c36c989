"""Errors that come with every message are logged once, not at the messages' rate."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*(?:e[-+]?\d+)?|nan|inf)")

GONE_S = 10.0
"""After this long without it, an error is news again."""

APART_S = 2.0
"""Different errors of one topic are logged at most this often."""

_REMEMBERED = 32


@dataclass
class _Topic:
    logged_s: float = float("-inf")
    seen_s: dict[str, float] = field(default_factory=dict)


class Repeats:
    """Which errors are news. Two texts that differ in their numbers alone are the same error."""

    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}

    def is_news(self, topic: str, text: str, now_s: float) -> bool:
        """Whether to log it; it is seen either way. now_s: of a clock that never goes back."""
        known = self._topics.setdefault(topic, _Topic())
        kind = _NUMBER.sub("#", text)
        repeated = now_s - known.seen_s.get(kind, float("-inf")) < GONE_S
        if not repeated and now_s - known.logged_s < APART_S:
            return False
        known.seen_s.pop(kind, None)
        known.seen_s[kind] = now_s
        if repeated:
            return False
        known.logged_s = now_s
        if len(known.seen_s) > _REMEMBERED:
            del known.seen_s[next(iter(known.seen_s))]
        return True
