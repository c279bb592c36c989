"""A thread of a node's own, for what must not wait for the executor nor hold it up."""

from __future__ import annotations

import threading
from collections.abc import Callable


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

    def stop(self) -> None:
        """Set `ending` and wait until the work has returned."""
        self._ending.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        try:
            self._work(self._ending)
        except Exception as error:
            self._on_failure(error)
