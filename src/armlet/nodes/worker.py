"""A thread of a node's own, for what must not wait for the executor nor hold it up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
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


class Sender:
    """Makes calls in a thread of its own, in the order given: a real-time thread's messages.

    Whoever publishes waits for DDS's locks. Beside busy programs an ordinary thread is put aside
    with such a lock in its hands, and a control cycle that published came up to 0.2 s late.

    Attributes:
        dropped: calls that were not made, as `LIMIT` waited already.
    """

    LIMIT = 200
    """Of calls that wait: as much as a second's joint states and applied commands."""

    def __init__(self, name: str, on_failure: Callable[[BaseException], None]) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.dropped = 0
        self._worker = Worker(name, self._run, on_failure)

    def send(self, call: Callable[[], None]) -> None:
        """Have it called soon."""
        if self._calls.qsize() < self.LIMIT:
            self._calls.put(call)
        else:
            self.dropped += 1

    def stop(self, timeout_s: float | None = None) -> bool:
        """Make the calls that wait, and end; whether it has within the time."""
        self._calls.put(None)
        return self._worker.stop(timeout_s)

    def _run(self, ending: threading.Event) -> None:
        while (call := self._calls.get()) is not None:
            call()


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
