"""How many connections wait for their request: a thousand that ask nothing keep nobody out.

A process has a limit of open files (1024 is common). Whoever reaches the port, with the token or
without it, could otherwise use them all up by connecting, and the stop would not be answered.
"""

from __future__ import annotations

import asyncio
from typing import Any

MOST_WAITING = 128
"""More make the oldest of them go. As many are accepted at once, before any is counted."""


def bounded(base: type[Any], most: int = MOST_WAITING) -> type[Any]:
    """A server's HTTP protocol, with a bound for connections without a request.

    Args:
        base: it has `transport`, and `cycle`: the newest request, with `response_complete`.
    """
    opened: dict[Any, None] = {}  # the oldest first

    class Bounded(base):  # type: ignore[misc]  # a class that is chosen at run time
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            opened[self] = None
            _make_room(opened, most)

        def connection_lost(self, error: Exception | None) -> None:
            opened.pop(self, None)
            super().connection_lost(error)

    return Bounded


def _make_room(opened: dict[Any, None], most: int) -> None:
    for one in [one for one in opened if one.transport.get_protocol() is not one]:
        del opened[one]  # a WebSocket now, which the gate has let in
    waiting = [one for one in opened if _waits(one)]
    for one in waiting[: max(0, len(waiting) - most)]:
        one.transport.abort()


def _waits(one: Any) -> bool:
    """Whether it has asked nothing that is still being answered."""
    if one.transport.is_closing():
        return False
    return one.cycle is None or bool(one.cycle.response_complete)
