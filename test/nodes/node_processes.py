"""Graphs and single nodes as real processes, with a director to act on them.

An emulated graph lives in simulated time, as fast as the computer can: time stands still while a
test acts, and goes on while it waits. So a busy computer makes a test slower and never different.
"""

import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from armlet.bringup import LOCKSTEP_SOCKET, NodeSpec, graph, share_directory
from armlet.demo.director import Director
from armlet.supervisor import Supervisor

CALIBRATION = share_directory() / "config" / "calibration"
# The director's node, for which simulated time waits.
DIRECTOR = "test"
# By the wall clock, so generous: no computer is that busy.
STANDSTILL_S = 240.0


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

    def wait(self, what, ready, timeout_s=60.0):
        """Wait until something is so; timeout_s is of simulated time where there is that."""
        try:
            self.director.wait_for(what, ready, timeout_s)
        except Exception as error:
            raise AssertionError(
                f"waiting for {what}: {error}; the nodes said:\n{self.said()}"
            ) from error

    def wait_for_status(self, name, text, timeout_s=60.0):
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

    def said(self):
        return self._log.read_text()


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
def running(nodes, lockstep=None):
    """Nodes as processes, and a director; lockstep: the socket of the bench that owns the time."""
    with tempfile.TemporaryDirectory(prefix="armlet-test-") as name:
        directory = Path(name)
        log = directory / "nodes.log"
        with log.open("w") as output:
            supervisor = Supervisor(nodes, output)
            trouble, director = Trouble(supervisor), None
            try:
                supervisor.start(directory)
                director = _director(lockstep, trouble, log)
                trouble.watch(director)
                yield Running(supervisor, director, log)
            finally:
                if director is not None:
                    director.close()
                supervisor.stop()


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


@contextmanager
def flowing_graph(name, **arguments):
    """An emulated graph whose simulated time goes on by itself, at the pace of the wall clock.

    For what a person does at a terminal, for whom time does not wait; nodes lose nothing by it.
    """
    with tempfile.TemporaryDirectory(prefix="armlet-bench-") as directory:
        given = {"bench_directory": directory, "emulated": "true", "task": "wave", **arguments}
        with running(graph(name).nodes(given)) as started:
            yield started


def simulated_nodes(name, directory, participants=(), **arguments):
    """The nodes of a graph, and the socket of their bench: None where they live by the wall clock.

    Inference takes as long as is declared, so that every run is the same.
    """
    values = {"bench_directory": str(directory), "use_sim_time": "true", **arguments}
    values |= {"real_time_factor": "0", "participants": ",".join((DIRECTOR, *participants))}
    if name in ("sim", "policy"):
        values.setdefault("inference_latency_s", "0.05")
    nodes = graph(name).nodes(values)
    simulated = values["use_sim_time"] == "true"
    return nodes, Path(directory) / LOCKSTEP_SOCKET if simulated else None


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
