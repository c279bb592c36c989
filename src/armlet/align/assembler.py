"""Puts the parts of a frame, which travel on topics of their own, together again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class Assembler:
    """Collects values of equal stamp until every key is there. Not thread safe.

    A frame left incomplete when a later one is whole is dropped and counted in `incomplete`.
    """

    def __init__(self, keys: Iterable[str], depth: int = 60):
        self._keys = frozenset(keys)
        self._depth = depth
        self._parts: dict[int, dict[str, Any]] = {}
        self.incomplete = 0

    def add(self, key: str, stamp_ns: int, value: Any) -> dict[str, Any] | None:
        """Take a part; the whole frame if this part completes it. KeyError on a foreign key."""
        if key not in self._keys:
            raise KeyError(key)
        parts = self._parts.setdefault(stamp_ns, {})
        parts[key] = value
        if len(parts) == len(self._keys):
            self._drop([stamp for stamp in self._parts if stamp < stamp_ns])
            return self._parts.pop(stamp_ns)
        if len(self._parts) > self._depth:
            self._drop([min(self._parts)])
        return None

    def _drop(self, stamps: list[int]) -> None:
        for stamp in stamps:
            del self._parts[stamp]
        self.incomplete += len(stamps)
