"""`armlet up`: a graph of bringup as supervised processes, where only pip is at hand."""

from __future__ import annotations

import argparse
import contextlib
import os
import threading
from typing import TYPE_CHECKING

from armlet.cli.terminal.output import refuse
from armlet.missing import require

if TYPE_CHECKING:
    from armlet.bringup import Graph, NodeSpec


# What argcomplete asks for the words that may stand here.
_COMPLETER = "completer"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "up",
        help="start a node graph",
        description="Start a node graph and stop it cleanly on SIGINT or SIGTERM. "
        "The same graphs and arguments as `ros2 launch armlet NAME.launch.py`.",
    )
    name = parser.add_argument("name", nargs="?", help="graph to start; see --list")
    setattr(name, _COMPLETER, _graphs)
    arguments = parser.add_argument(
        "arguments",
        nargs="*",
        metavar="arg:=value",
        help="arguments of the graph, e.g. checkpoint:=hub:owner/name@revision strategy:=rtc "
        "device:=cuda; NAME --show-args lists them",
    )
    setattr(arguments, _COMPLETER, _arguments)
    parser.add_argument("--duration", type=float, metavar="S", help="stop after S seconds")
    parser.add_argument("--list", action="store_true", help="list the graphs")
    parser.add_argument("--show-args", action="store_true", help="list a graph's arguments")
    parser.set_defaults(run=run)


def _graphs(**_: object) -> list[str]:
    from armlet.bringup import GRAPHS

    return list(GRAPHS)


def _arguments(parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """Arguments of the graph that is named already, with their choices where there are any."""
    from armlet.bringup import GRAPHS

    graph = GRAPHS.get(parsed_args.name or "")
    if graph is None:
        return []
    return [
        f"{argument.name}:={choice}"
        for argument in graph.arguments
        for choice in (argument.choices or ("",))
    ]


def run(args: argparse.Namespace) -> int:
    from armlet.bringup import BringupError, graph

    if args.list:
        print(_list())
        return 0
    if args.name is None:
        return refuse("up", f"name a graph, as in `armlet up sim`:\n{_list()}", lines=True)
    try:
        chosen = graph(args.name)
        if args.show_args:
            _show_arguments(chosen)
            return 0
        return _up(chosen, parse_arguments(args.arguments), args.duration)
    except BringupError as error:
        return refuse("up", error)


def _up(chosen: Graph, given: dict[str, str], duration_s: float | None) -> int:
    """Raises BringupError."""
    from armlet import one_graph
    from armlet.bringup import SELECTION
    from armlet.start_check import check
    from armlet.supervisor import noted_signals

    ending = threading.Event()
    with noted_signals(ending):
        nodes = chosen.nodes(given)
        check(nodes)
        is_part = any(given.get(name) for name in SELECTION)
        # `x` stops every follower, wherever the part of the graph runs that drives it.
        others = {name: value for name, value in given.items() if name not in SELECTION}
        whole = chosen.nodes(others) if is_part else nodes
        require("rclpy")
        if any(spec.executable == "policy" for spec in nodes):
            require("torch")
        namespace = given.get("namespace", "")
        try:
            marks = _marked(chosen.marks(namespace, nodes), nodes, not is_part)
        except one_graph.MarkError as error:
            return refuse("up", error)
        with marks:
            if ending.is_set():
                raise KeyboardInterrupt
            return _run(nodes, _followers(whole), namespace, duration_s, ending)


def _marked(names: list[str], nodes: list[NodeSpec], whole: bool) -> contextlib.ExitStack:
    """The graph's marks, until what is returned is closed. Raises one_graph.MarkError."""
    from armlet import one_graph
    from armlet.bringup import sole_names

    labels = [spec.label for spec in nodes]
    with contextlib.ExitStack() as marks:
        for number, name in enumerate(names):
            own = () if number else labels  # each node is marked once
            mark = one_graph.mark(name, os.environ, sole_names(nodes), own, whole)
            marks.enter_context(mark)
        return marks.pop_all()


def _followers(nodes: list[NodeSpec]) -> list[str]:
    return [
        spec.label
        for spec in nodes
        if spec.executable == "servo_bus" and spec.parameters.get("mode", "follower") == "follower"
    ]


def _run(
    nodes: list[NodeSpec],
    followers: list[str],
    namespace: str,
    duration_s: float | None,
    ending: threading.Event,
) -> int:
    from armlet import enclaves
    from armlet.cli.graph.up_screen import is_watched, status_line
    from armlet.supervisor import Supervisor

    if said := _choose_discovery(nodes):
        print(said, flush=True)
    if said := enclaves.warning(os.environ):
        print(said, flush=True)
    if not is_watched():
        return Supervisor(nodes, ending=ending).run(duration_s)
    with status_line(namespace, followers) as output:
        return Supervisor(nodes, output, ending=ending).run(duration_s)


def _choose_discovery(nodes: list[NodeSpec]) -> str:
    """Who finds the nodes from now on, as a line to print; empty where the environment says it."""
    from armlet.bringup import DISCOVERY_VARIABLE, discovery

    chosen = {spec.environment.get(DISCOVERY_VARIABLE, "") for spec in nodes} - {""}
    wanted = {DISCOVERY_VARIABLE: chosen.pop()} if chosen else discovery(os.environ)
    os.environ.update(wanted)
    reach = wanted.get(DISCOVERY_VARIABLE, "")
    if reach == "SUBNET":
        return (
            "armlet up: all computers of this network find the nodes, and whoever is there can "
            f"command the arm; other terminals need: export {DISCOVERY_VARIABLE}=SUBNET"
        )
    if reach:
        return (
            "armlet up: the nodes are reachable from this computer only; for the whole network, "
            f"export {DISCOVERY_VARIABLE}=SUBNET"
        )
    return ""


def _list() -> str:
    from armlet.bringup import GRAPHS

    return "\n".join(f"{each.name:10} {each.description}" for each in GRAPHS.values())


def parse_arguments(arguments: list[str]) -> dict[str, str]:
    """`name:=value` pairs. Raises BringupError on anything else."""
    from armlet.bringup import BringupError

    wrong = [argument for argument in arguments if ":=" not in argument]
    if wrong:
        raise BringupError(f"arguments are name:=value, found {' '.join(wrong)}")
    return dict(argument.split(":=", 1) for argument in arguments)


def _show_arguments(chosen: Graph) -> None:
    for argument in chosen.arguments:
        named = [choice for choice in argument.choices if choice]
        choices = f" {'|'.join(named)}" if named else ""
        print(f"{argument.name}:={argument.default}{choices}\n    {argument.description}")
