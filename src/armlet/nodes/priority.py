"""How soon a process is run when others want the processor too."""

from __future__ import annotations

import os
from pathlib import Path


def prioritize(nice: int) -> bool:
    """Give all threads of this process at most this niceness, as far as the system permits it.

    Threads started later inherit it from the one that starts them. The interpreter lock is held by
    any of them, so that one left behind would delay the others. Returns whether it was permitted.
    """
    for thread in Path("/proc/self/task").iterdir():
        try:
            if os.getpriority(os.PRIO_PROCESS, int(thread.name)) > nice:
                os.setpriority(os.PRIO_PROCESS, int(thread.name), nice)
        except ProcessLookupError:
            continue  # it has ended meanwhile
        except PermissionError:
            return False
    return True
