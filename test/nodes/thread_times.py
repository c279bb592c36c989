"""What the threads of a process have run and have waited for a processor."""

import contextlib
from pathlib import Path


def thread_times(process):
    """What each thread of a process has run and has waited, s; proc(5). None of one that ended."""
    found = {}
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in Path(f"/proc/{process}/task").iterdir():
            with contextlib.suppress(OSError):  # it has ended
                ran, waited, _ = (thread / "schedstat").read_text().split()
                found[thread.name] = int(ran) * 1e-9, int(waited) * 1e-9
    return found


def passed(then, now):
    """Of `thread_times`: what all threads have run meanwhile, and what one waited at most, s."""
    pairs = [(times, then.get(thread, (0.0, 0.0))) for thread, times in now.items()]
    ran, waited = ([to[part] - of[part] for to, of in pairs] for part in (0, 1))
    return sum(ran), max(waited, default=0.0)
