"""When a message was sent and came, where it may have waited for the executor since."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

_TWO = inspect.Signature(
    [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        for name in ("message", "info")
    ]
)


class Reception(NamedTuple):
    """Unix times, ns, by the middleware; 0 where it does not know.

    received_ns: when it came, by this computer's clock. sent_ns: when it was sent, by the clock of
    the computer that it was sent from.
    """

    received_ns: int = 0
    sent_ns: int = 0


UNKNOWN = Reception()


def with_reception(callback: Callable[[Any, Reception], None]) -> Callable[..., None]:
    """A subscription's callback of a message and what the middleware knows of its way.

    rclpy asks a callback's signature whether it wants to know; executors then pass message and
    info, rclpy 9.1's EventsExecutor passes both as one tuple.
    """

    def receive(*taken: Any) -> None:
        message, *info = parts(taken)
        times = info[0] if info else {}
        received_ns = int(times.get("received_timestamp") or 0)
        callback(message, Reception(received_ns, int(times.get("source_timestamp") or 0)))

    receive.__signature__ = _TWO  # type: ignore[attr-defined]
    return receive


def parts(taken: tuple[Any, ...]) -> tuple[Any, ...]:
    """What an executor passes to a callback: a message, and its info where that is wanted."""
    return taken[0] if isinstance(taken[0], tuple) else taken


def as_wanted_by(callback: Callable[..., None], deliver: Callable[..., None]) -> None:
    """Have a callback that stands before another be passed what that one wants."""
    if getattr(callback, "__signature__", None) is _TWO:
        deliver.__signature__ = _TWO  # type: ignore[attr-defined]
