"""A thread of a node's own, for what must not wait for the executor nor hold it up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Worker:
    """Runs `work(ending)` in a thread until `ending` is set; an exception goes to `on_failure`."""

    def __init__(
        self,
        name: str,
        work: Callable[[threading.Event], None],
        on_failure: Callable[[BaseException], None],
    ):
        self._work, self._on_failure = work, on_failure
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float | None = None) -> bool:
        """Set `ending` and wait until the work has returned; whether it has."""
        self._ending.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._work(self._ending)
        except Exception as error:
            self._on_failure(error)


class Newest(Generic[Value]):
    """Hands values from one thread to another that may be slower: it gets the newest.

    Attributes:
        dropped: values that a newer one replaced before they were taken.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value: Value | None = None
        self.dropped = 0

    def put(self, value: Value) -> None:
        with self._lock:
            self.dropped += self._value is not None
            self._value = value

    def take(self) -> Value | None:
        """The newest value that was not taken yet; None if there is none."""
        with self._lock:
            value, self._value = self._value, None
            return value
