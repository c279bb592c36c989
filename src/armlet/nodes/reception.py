"""When a message came to this process, where it may have waited for the executor since."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

_TWO = inspect.Signature(
    [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        for name in ("message", "info")
    ]
)


def with_reception(callback: Callable[[Any, int], None]) -> Callable[..., None]:
    """A subscription's callback of a message and the Unix time, ns, the middleware received it at.

    That is 0 where it is not known. rclpy asks a callback's signature whether it wants to know;
    executors then pass message and info, rclpy 9.1's EventsExecutor passes both as one tuple.
    """

    def receive(*taken: Any) -> None:
        message, *info = taken[0] if isinstance(taken[0], tuple) else taken
        callback(message, int(info[0].get("received_timestamp") or 0) if info else 0)

    receive.__signature__ = _TWO  # type: ignore[attr-defined]
    return receive
