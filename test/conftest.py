"""How the suite is shared out when it runs on two cores (`make test`).

Tests that are about the wall clock (signals, killed processes, bytes on a real line) bear the mark
`wall_clock`. They come last, one after the other, and while one of them runs no other test does.
"""

import fcntl
import os
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes is the computer's affair, and no property of what is tested.
settings.register_profile("armlet", deadline=None)
settings.load_profile("armlet")

# As many tests run as keep the cores busy: a library's own threads would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell without job control has what it starts in the background ignore Ctrl-C, and so would the
# programs that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """File by file, so that what a module sets up is set up once."""
    for item in items:
        alone = item.get_closest_marker("wall_clock") is not None
        group = "wall clock" if alone else str(item.path.relative_to(HERE))
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=_place)


def _place(item):
    """Modules that run whole graphs first, as they take longest; the wall clock's last."""
    if item.get_closest_marker("wall_clock"):
        return 2
    return 0 if item.path.parent.name == "nodes" else 1


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Nothing else of this run goes on while a test by the wall clock does, or its set-up."""
    is_alone = item.get_closest_marker("wall_clock") is not None
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    with (Path(tempfile.gettempdir()) / f"armlet-tests-{run}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX if is_alone else fcntl.LOCK_SH)
        try:
            return (yield)
        finally:
            # Closing does not unlock it while a forked child has it open, however long that lives.
            fcntl.flock(file, fcntl.LOCK_UN)
