"""Starts a graph from a program, and stops it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from armlet import one_graph
from armlet.bringup import NodeSpec, discovery, graph, sole_names
from armlet.files import scratch_folder
from armlet.start_check import check
from armlet.supervisor import Supervisor

from .graph import CLIENT, Director, GraphError


def _unchanged(nodes: list[NodeSpec]) -> list[NodeSpec]:
    return nodes


@contextlib.contextmanager
def start(name: str, log: Path | None = None, **arguments: str) -> Iterator[Director]:
    """Start a graph as `armlet up` does; yields a `Director` of it, and stops it at the end.

    name and arguments are those of `armlet up NAME argument:=value`. An emulated graph lives in
    simulated time, which goes on only while the director waits; real_time_factor="0" makes it as
    fast as the computer can. log: the file for what the nodes say; None: standard error.

    Raises BringupError for arguments that do not fit, GraphError where a graph of this user runs in
    the ROS domain and namespace, and when a node ends or does not answer.
    """
    with start_adjusted(name, arguments, log) as director:
        yield director


@contextlib.contextmanager
def start_adjusted(
    name: str,
    arguments: Mapping[str, str],
    log: Path | None = None,
    adjust: Callable[[list[NodeSpec]], list[NodeSpec]] = _unchanged,
    popen: Any = subprocess.Popen,
) -> Iterator[Director]:
    """As `start`.

    adjust: gives the graph's nodes as they are to be started. popen: starts a process, see
    `Preloaded.popen`.
    """
    given = dict(arguments)
    os.environ.update(discovery(os.environ))
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(scratch_folder())
        output = stack.enter_context(log.open("a")) if log is not None else sys.stderr
        participants = ",".join(filter(None, (CLIENT, given.pop("participants", ""))))
        values = {"bench_directory": str(folder), "participants": participants, **given}
        nodes = [_required(spec) for spec in adjust(graph(name).nodes(values))]
        check(nodes)
        namespace = given.get("namespace", "")
        try:
            labels = [spec.label for spec in nodes]
            mark = one_graph.mark(namespace, os.environ, sole_names(nodes), labels)
            stack.enter_context(mark)
        except one_graph.MarkError as error:
            raise GraphError(str(error)) from error
        supervisor = Supervisor(nodes, output, popen)
        director = None
        try:
            supervisor.start(folder)
            director = Director(lockstep=_lockstep(nodes), trouble=supervisor.trouble)
            yield director
        except GraphError as error:
            if director is None:
                raise
            raise type(error)(director.computer.before(str(error))) from error
        finally:
            # First the nodes: without the director simulated time would run on meanwhile, as fast
            # as the computer can.
            supervisor.stop()
            if director is not None:
                director.close()


def _required(spec: NodeSpec) -> NodeSpec:
    """Simulated time waits for every node that takes part; for one that has ended, for ever."""
    takes_part = bool(spec.parameters.get("lockstep"))
    return dataclasses.replace(spec, required=spec.required or takes_part)


def _lockstep(nodes: Sequence[NodeSpec]) -> Path | None:
    """The socket of the bench that owns the nodes' time; None where none does."""
    sockets = (spec.parameters.get("lockstep") for spec in nodes)
    return next((Path(socket) for socket in sockets if socket), None)
