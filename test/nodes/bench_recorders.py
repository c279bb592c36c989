"""A graph without its recorder, and the recorders that tests start on it, one after the other."""

import dataclasses
import tempfile
from contextlib import contextmanager

from node_processes import SLOW_HZ, running, simulated_nodes


class Bench:
    """A running graph, and the recorders that are started on it."""

    def __init__(self, graph, spec):
        self.graph, self._spec = graph, spec

    @contextmanager
    def record(self, root, namespace="", **parameters):
        """A recorder into a root; yields the graph, with the recorder's process."""
        given = {**self._spec.parameters, "root": str(root), **parameters}
        spec = dataclasses.replace(self._spec, parameters=given, namespace=namespace)
        self.graph.seen.forget_diagnostics()
        with self.graph.start(spec) as process:
            self.graph.recorder = process
            yield self.graph


@contextmanager
def bench_without_recorder(name, **arguments):
    """A graph of some name but for its recorder, whose dataset is named when it is started."""
    with tempfile.TemporaryDirectory(prefix="armlet-bench-") as folder:
        given = {"width": "64", "height": "48", "root": "later", **arguments}
        nodes, lockstep = simulated_nodes(name, folder, (), "recorder", SLOW_HZ, **given)
        *rest, recorder = nodes
        with running(rest, lockstep) as graph:
            yield Bench(graph, recorder)
