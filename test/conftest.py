"""How the suite is shared out when it runs on two cores (`make test`).

Tests that are about the wall clock (signals, killed processes, bytes on a real line) bear the mark
`wall_clock`. They come last, in four lanes, as they mostly wait: one at a time in each, and while
one of them runs no test without the mark does.
"""

import collections
import contextlib
import fcntl
import gc
import os
import resource
import signal
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

import awaited_replies
import pytest
from domains import free_domain
from hypothesis import settings
from xdist.scheduler import LoadGroupScheduling

from armlet.bringup import FASTDDS_VARIABLE, own_messages_profile

# How long an example takes is the computer's affair, and no property of what is tested.
settings.register_profile("armlet", deadline=None)
settings.load_profile("armlet")

# As many tests run as keep the cores busy: a library's own threads would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A thread that waits for another sleeps: spinning takes a core from the other processes.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# As armlet sees to: OpenVINO forks the process that imports it to report that, a test worker too.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
sys.modules.setdefault("openvino_telemetry", None)

# Hundreds of programs are started: where bytecode is not kept, each compiles all it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A shell without job control has what it starts in the background ignore Ctrl-C, and so would the
# programs that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The robot file of whoever runs the tests is none of theirs.
os.environ["XDG_CONFIG_HOME"] = str(Path(__file__).parent / "no-config")

HERE = Path(__file__).parent
LANES = 4
WORKER_END_S = 60
# What a test by the wall clock takes that says nothing else, on two idle cores.
ABOUT_S = 3


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """File by file, so that what a module sets up is set up once."""
    _leave_to_thorough(items)
    expected_s = collections.Counter()
    by_clock = {}
    groups = {path: str(path.relative_to(HERE)) for path in {item.path for item in items}}
    for item in items:
        group, mark = groups[item.path], _by_clock(item)
        if mark and _of_this_tier(item):
            expected_s[item.path] += mark.kwargs.get("seconds", ABOUT_S)
        by_clock[item] = mark is not None
        item.add_marker(pytest.mark.xdist_group(f"{group}, clock" if mark else group))
    items.sort(key=lambda item: _place(item.path, by_clock[item], expected_s[item.path]))


def _leave_to_thorough(items):
    """All but so many instances of a test, evenly among them, where it says representatives(N)."""
    instances = collections.defaultdict(list)
    for item in items:
        if item.get_closest_marker("representatives"):
            instances[item.path, item.originalname].append(item)
    for those in instances.values():
        (count,) = those[0].get_closest_marker("representatives").args
        last = max(count - 1, 1)
        quick = {number * (len(those) - 1) // last for number in range(count)}
        for number, item in enumerate(those):
            if number not in quick:
                item.add_marker(pytest.mark.thorough)


def _of_this_tier(item):
    """Whether a test is one of those that run: -m has yet to choose."""
    thorough = item.get_closest_marker("thorough") is not None
    tiers = {"thorough": thorough, "not thorough": not thorough}
    return tiers.get(item.config.getoption("markexpr"), True)


def _by_clock(item):
    """The mark of a test by the wall clock: wall_clock, or wall_clock(seconds=how many about)."""
    return item.get_closest_marker("wall_clock")


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What is loaded and collected stays: to look through it for garbage takes a fifth of this."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def _place(path, by_clock, expected_s):
    """Modules that run whole graphs first, as they take longest; the wall clock's last.

    Of these, those that take long come first, so that the lanes end at about the same time.
    """
    if by_clock:
        return 2, -expected_s
    return (0, 0) if path.parent.name == "nodes" else (1, 0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """One test has a lane of the wall clock to itself; or those without the mark have them all."""
    with _lanes().open("w+") as file:
        # Locks of bytes are the process's: a forked child neither has nor keeps them.
        if _by_clock(item):
            fcntl.lockf(file, fcntl.LOCK_EX, 1, _lane())
        else:
            fcntl.lockf(file, fcntl.LOCK_SH, LANES)
        return (yield)


def _lane():
    """The lane of this worker: by its number, and one that replaces another has a higher one."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % LANES


def _lanes():
    """The file whose bytes are locked, of this run's processes."""
    run = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    return Path(tempfile.gettempdir()) / f"armlet-tests-{run}.lock"


def pytest_unconfigure():
    if "PYTEST_XDIST_WORKER" not in os.environ:
        _lanes().unlink(missing_ok=True)


class Scheduling(LoadGroupScheduling):
    """Goes on after a worker's end: xdist 3.8 waits for ever.

    It gives the dead worker's groups back with those that are done, and a worker that is given one
    of these has no test to report, so it is given nothing more.
    """

    def remove_node(self, node):
        groups = self.assigned_work[node]
        self.assigned_work[node] = {
            name: tests for name, tests in groups.items() if not all(tests.values())
        }
        return super().remove_node(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return Scheduling(config, log) if config.getvalue("dist") == "loadgroup" else None


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """Says what ended a worker: a signal by its number (9: killed, 11: segmentation fault)."""
    if not error:
        return
    worker = node.gateway._io.popen
    try:
        status = worker.wait(WORKER_END_S)
    except subprocess.TimeoutExpired:
        status = "none: it ran on, without an answer"
        worker.kill()  # it may hold a lane of the wall clock
    print(f"\n{node.gateway.id} ended with status {status}, {datetime.now():%H:%M:%S}")


@pytest.fixture
def no_descriptors():
    """`with no_descriptors():` this process can open nothing more."""

    @contextlib.contextmanager
    def exhausted():
        free = os.open(os.devnull, os.O_RDONLY)
        os.close(free)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    return exhausted


@pytest.fixture(scope="session", autouse=True)
def buses_that_wait_for_emulated_servos():
    """A computer's pauses are never taken for lost replies; see `awaited_replies`."""
    with pytest.MonkeyPatch.context() as patch:
        awaited_replies.install(patch)
        with awaited_replies.answering():
            yield


@pytest.fixture(autouse=True)
def ordinary_priority():
    """No test leaves a priority with its process, which the tests after it would inherit."""
    before = os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)
    yield
    after = os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)
    assert after == before, "a test changed the (policy, nice) of its own process"


# --- ROS domains --------------------------------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def fast_dds_that_delivers_between_processes_only():
    """Two contexts of one process may deadlock in Fast DDS where they hand each other messages.

    Then whoever destroys a node waits for ever, with Python's lock. Fast DDS reads its profile when
    it makes a process's first participant, and only then: programs that tests start have their own.
    """
    try:
        import rclpy
    except ModuleNotFoundError:
        return
    with free_domain() as domain, pytest.MonkeyPatch.context() as given:
        given.setenv("ROS_DOMAIN_ID", str(domain))
        given.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        given.setenv(FASTDDS_VARIABLE, str(own_messages_profile()))
        context = rclpy.Context()
        rclpy.init(args=[], context=context)
        rclpy.create_node("first_participant", context=context).destroy_node()
        rclpy.shutdown(context=context)


@pytest.fixture(scope="module", autouse=True)
def private_domain():
    """A domain for each module and process, on loopback only: nodes of two tests never meet."""
    names = ("ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE")
    before = {name: os.environ.get(name) for name in names}
    with free_domain() as domain:
        os.environ["ROS_DOMAIN_ID"] = str(domain)
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        yield domain
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


@pytest.fixture
def empty_domain():
    """One more domain, in which nobody is."""
    with free_domain() as domain:
        yield domain
