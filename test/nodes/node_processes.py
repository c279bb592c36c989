"""Graphs and single nodes as real processes, with a director to act on them.

An emulated graph lives in simulated time, as fast as the computer can: time stands still while a
test acts, and goes on while it waits. So a busy computer makes a test slower and never different.
"""

import dataclasses
import os
import signal
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from forked_nodes import Popen
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState

from armlet.bringup import (
    DISCOVERY_VARIABLE,
    FASTDDS_VARIABLE,
    LOCKSTEP_SOCKET,
    NodeSpec,
    command,
    graph,
    share_directory,
)
from armlet.client.graph import Director, GraphError
from armlet.supervisor import Supervisor

CALIBRATION = share_directory() / "config" / "calibration"
# The director's node, for which simulated time waits.
DIRECTOR = "test"
# By the wall clock, so generous: no computer is that busy.
STANDSTILL_S = 240.0
# A process that is not run for a second may be deaf for ever after: see loopback.xml.
_WITHOUT_PICTURES = ("servo_bus", "teleop", "computer")
# Of a driver, where a test is about something else: half as often as shipped, and half the work.
SLOW_HZ = 50.0


class Running:
    """A started graph: `director` to act on it, `processes` by label, `log` of what they said."""

    def __init__(self, supervisor, director, log):
        self.supervisor, self.director, self._log = supervisor, director, log

    @property
    def processes(self):
        return self.supervisor.processes

    @property
    def seen(self):
        return self.director.seen

    def wait(self, what, ready, timeout_s=120.0):
        """Wait until something is so; timeout_s is of simulated time where there is that."""
        try:
            self.director.wait_for(what, ready, timeout_s)
        except Exception as error:
            raise AssertionError(
                f"waiting for {what}: {error}; their statuses: {self.seen.messages()}; "
                f"the nodes said:\n{self.said()}"
            ) from error

    def wait_for_status(self, name, text, timeout_s=120.0):
        """Wait until a diagnostics status of some name says something."""
        self.wait(
            f"{name!r} saying {text!r}",
            lambda: any(
                name in status and text in said for status, said in self.seen.messages().items()
            ),
            timeout_s,
        )

    def let_pass(self, duration_s):
        """Let time pass: the graph's."""
        self.director.let_pass(duration_s)

    @contextmanager
    def time_passes(self):
        """Time passes by itself meanwhile, for programs outside the simulation."""
        ending = threading.Event()

        def pass_by():
            while not ending.is_set():
                self.let_pass(0.05)

        with ThreadPoolExecutor(1) as pool:
            passing = pool.submit(pass_by)
            try:
                yield
            finally:
                ending.set()
                passing.result()

    def wait_until_active(self, node, process, said):
        """Wait until a node's process is active, while simulated time is paused."""
        end_s = time.monotonic() + STANDSTILL_S
        while True:
            with suppress(GraphError):
                state = self.director.call(GetState, f"{node}/get_state", GetState.Request(), 5.0)
                if state.current_state.id == State.PRIMARY_STATE_ACTIVE:
                    return
            assert process.poll() is None, f"{node} has ended; it said:\n{said()}"
            assert time.monotonic() < end_s, f"{node} is not active; it said:\n{said()}"
            time.sleep(0.05)

    @contextmanager
    def start(self, spec):
        """One more node of the graph, by its NodeSpec; yields its process once it is active."""
        with tempfile.TemporaryDirectory(prefix="armlet-test-") as folder:
            with self._log.open("a") as output:
                process = Popen(
                    command(spec, Path(folder)), stdout=output, stderr=output, env=environment(spec)
                )
            try:
                self.wait_until_active(spec.label, process, self.said)
                yield process
            finally:
                process.send_signal(signal.SIGINT)
                process.wait(STANDSTILL_S)

    def said(self):
        return self._log.read_text()

    def wait_for_words(self, words, timeout_s=120.0):
        """Wait until a node has said them: what it publishes of the same may be heard before."""
        self.wait(f"the words {words!r}", lambda: words in self.said(), timeout_s)


def until_taken(ask):
    """Ask until it is not refused; its answer. For what a stream that lags for a moment hinders."""
    end_s = time.monotonic() + STANDSTILL_S
    while True:
        try:
            return ask()
        except GraphError:
            if time.monotonic() > end_s:
                raise
        time.sleep(0.1)


def environment(spec):
    """What the process of a node has about it."""
    return {**os.environ, **spec.environment}


class Trouble:
    """What ends a wait in simulated time: a node that has ended, a clock that stands still."""

    def __init__(self, supervisor):
        self._supervisor = supervisor
        self._now_ns = lambda: 0
        self._seen = (-1, time.monotonic())

    def watch(self, director):
        """From here on the director's clock must go on."""
        self._now_ns = lambda: director.now_ns

    def __call__(self):
        now_ns, now_s = self._now_ns(), time.monotonic()
        if now_ns != self._seen[0]:
            self._seen = (now_ns, now_s)
        if now_s - self._seen[1] > STANDSTILL_S:
            return f"simulated time has stood still for {STANDSTILL_S:.0f} s"
        return self._supervisor.trouble()


@contextmanager
def running(nodes, lockstep=None, popen=Popen, shared_memory=False):
    """Nodes as processes, and a director; lockstep: the socket of the bench that owns the time.

    shared_memory: nodes that live by the wall clock speak as shipped, for a test of that.
    """
    if lockstep is None and not shared_memory:
        nodes = [over_udp(s) if s.executable in _WITHOUT_PICTURES else s for s in nodes]
    with tempfile.TemporaryDirectory(prefix="armlet-test-") as name:
        directory = Path(name)
        log = directory / "nodes.log"
        with log.open("a") as output:
            supervisor = Supervisor(nodes, output, popen)
            trouble, director = Trouble(supervisor), None
            try:
                supervisor.start(directory)
                director = _director(lockstep, trouble, log)
                trouble.watch(director)
                yield Running(supervisor, director, log)
            finally:
                # First the nodes: without the director simulated time would run on meanwhile, as
                # fast as the computer can.
                supervisor.stop()
                if director is not None:
                    director.close()


def _director(lockstep, trouble, log):
    try:
        return Director(lockstep=lockstep, name=DIRECTOR, trouble=trouble)
    except Exception as error:
        raise AssertionError(f"{error}; the nodes said:\n{log.read_text()}") from error


@contextmanager
def running_graph(name, participants=(), **arguments):
    """A graph in simulated time, or with use_sim_time="false" by the wall clock.

    participants: further nodes of the test's own that simulated time waits for.
    """
    with tempfile.TemporaryDirectory(prefix="armlet-bench-") as directory:
        nodes, lockstep = simulated_nodes(name, directory, participants, **arguments)
        with running(nodes, lockstep) as started:
            started.lockstep = lockstep
            yield started


def over_udp(spec):
    """A node that hears again after it was stopped for seconds: see loopback.xml."""
    environment = {
        **spec.environment,
        FASTDDS_VARIABLE: str(Path(__file__).with_name("loopback.xml")),
        DISCOVERY_VARIABLE: "SYSTEM_DEFAULT",
    }
    return dataclasses.replace(spec, environment=environment)


@contextmanager
def flowing_graph(name, rate_hz=None, stopped=(), **arguments):
    """An emulated graph whose simulated time goes on by itself, at the pace of the wall clock.

    For what a person does at a terminal, for whom time does not wait; nodes lose nothing by it.
    rate_hz: of the drivers, as shipped where it is None. stopped: labels of nodes that the test
    stops for seconds.
    """
    with tempfile.TemporaryDirectory(prefix="armlet-bench-") as directory:
        given = {"bench_directory": directory, "emulated": "true", "task": "wave", **arguments}
        nodes = _at_rate(graph(name).nodes(given), rate_hz)
        with running([over_udp(s) if s.label in stopped else s for s in nodes]) as started:
            yield started


def simulated_nodes(name, directory, participants=(), without="", rate_hz=None, **arguments):
    """The nodes of a graph, and the socket of their bench: None where they live by the wall clock.

    Inference takes as long as is declared, so that every run is the same. without: a node that is
    the last here, and that simulated time does not wait for to begin. rate_hz: of the drivers, as
    shipped where it is None.
    """
    values = {"bench_directory": str(directory), "use_sim_time": "true", "real_time_factor": "0"}
    values |= {"participants": ",".join((DIRECTOR, *participants)), **arguments}
    if name in ("sim", "policy"):
        values.setdefault("inference_latency_s", "0.05")
    nodes = _at_rate(graph(name).nodes(values), rate_hz)
    if without:
        nodes = _apart(nodes, without)
    simulated = values["use_sim_time"] == "true"
    return nodes, Path(directory) / LOCKSTEP_SOCKET if simulated else None


def _at_rate(nodes, rate_hz):
    given = {} if rate_hz is None else {"rate_hz": rate_hz}
    return [
        dataclasses.replace(spec, parameters={**spec.parameters, **given})
        if spec.executable == "servo_bus"
        else spec
        for spec in nodes
        if not spec.program  # of a ROS that is installed here
    ]


def _apart(nodes, name):
    apart = [spec for spec in nodes if spec.executable == name]
    rest = [spec for spec in nodes if spec.executable != name]
    bench = rest[0]
    expected = [each for each in bench.parameters.get("participants", ()) if each != name]
    if expected:
        given = {**bench.parameters, "participants": expected}
        rest[0] = dataclasses.replace(bench, parameters=given)
    return rest + apart


def follower(port, **parameters):
    """A follower's servo_bus on an emulated port."""
    return NodeSpec(
        "servo_bus",
        "servo_bus",
        {
            "port": str(port),
            "calibration_file": str(CALIBRATION / "emulated_follower.json"),
            **parameters,
        },
    )
