"""Graphs and single nodes as real processes, with a director to act on them."""

import tempfile
from contextlib import contextmanager
from pathlib import Path

from armlet.bringup import NodeSpec, graph, share_directory
from armlet.demo.director import Director
from armlet.supervisor import Supervisor

CALIBRATION = share_directory() / "config" / "calibration"


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
        try:
            self.director.wait_for(what, ready, timeout_s)
        except Exception as error:
            raise AssertionError(f"{error}; the nodes said:\n{self.said()}") from error

    def wait_for_status(self, name, text, timeout_s=60.0):
        """Wait until a diagnostics status of some name says something."""
        self.wait(
            f"{name!r} saying {text!r}",
            lambda: any(
                name in status and text in said for status, said in self.seen.messages().items()
            ),
            timeout_s,
        )

    def said(self):
        return self._log.read_text()


@contextmanager
def running(nodes):
    with tempfile.TemporaryDirectory(prefix="armlet-test-") as name:
        directory = Path(name)
        log = directory / "nodes.log"
        with log.open("w") as output:
            supervisor = Supervisor(nodes, output)
            director = Director()
            try:
                supervisor.start(directory)
                yield Running(supervisor, director, log)
            finally:
                director.close()
                supervisor.stop()


@contextmanager
def running_graph(name, **arguments):
    with tempfile.TemporaryDirectory(prefix="armlet-bench-") as directory:
        nodes = graph(name).nodes({"bench_directory": directory, **arguments})
        with running(nodes) as started:
            yield started


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
