"""What a test waits for by looking."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess

LONG_S = 120.0
"""Only what never comes is waited for that long: a test may stand still for seconds."""

_LOOK_S = 0.005


def wait_until(
    ready: Callable[[], object],
    what: str = "what a test waits for",
    process: subprocess.Popen[bytes] | None = None,
    said: Callable[[], str] = str,
) -> None:
    """Wait for ready() to be true; after LONG_S the test fails.

    what: it is called so in the failure. process: the wait fails as soon as that one has ended.
    said: the output that explains a failure.
    """
    end_s = time.monotonic() + LONG_S
    while not ready():
        assert process is None or process.poll() is None, f"{what}: the process ended; {said()}"
        assert time.monotonic() < end_s, f"{what}: not within {LONG_S:.0f} s; {said()}"
        time.sleep(_LOOK_S)
