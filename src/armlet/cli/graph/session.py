"""`armlet session`: a person at the keyboard beside a running record graph."""

from __future__ import annotations

import argparse
import contextlib
from functools import partial
from typing import TYPE_CHECKING

from armlet.cli.terminal.arguments import namespace
from armlet.cli.terminal.output import refuse

if TYPE_CHECKING:
    from armlet.cli.terminal.keyboard import KeyQueue
    from armlet.client.recording import RecordGraph

_REDRAW_S = 0.1

KEYS = {
    " ": "start or stop an episode",
    "d": "discard the episode",
    "r": "discard it and record again",
    "s": "the last episode succeeded",
    "f": "the last episode failed",
    "t": "hold the arm (torque on)",
    "x": "STOP: torque off at once",
    "e": "engage or disengage the leader",
    "q": "quit; the nodes keep running",
}
LEADER_KEY = {"m": "emulated bench: move the leader to the target"}
BENCH_KEY = {"n": "emulated bench: a new target; the leader goes home"}
ALL_KEYS = KEYS | LEADER_KEY | BENCH_KEY


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the `session` command."""
    parser = subparsers.add_parser(
        "session",
        help="record episodes by keyboard, beside a running graph",
        description="Live view and keys for a recording graph that was started in another terminal "
        "with `armlet up record` or ros2 launch.",
        epilog="keys: "
        + "; ".join(f"{key.strip() or 'space'} {does}" for key, does in ALL_KEYS.items()),
    )
    parser.add_argument(
        "--namespace", type=namespace, default="", help="namespace of the graph, as given to it"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 after q or Ctrl-C, 2 without a terminal."""
    from armlet.cli.terminal.keyboard import KeyQueue, is_interactive

    if not is_interactive():
        why = "needs a terminal; from scripts call the services of /recorder and /servo_bus"
        return refuse("session", why)
    # Keys are read before anything else is loaded: the stop key works from the first instant.
    with contextlib.suppress(KeyboardInterrupt, EOFError), KeyQueue() as keys:
        from armlet.client.recording import RecordGraph

        with RecordGraph(args.namespace) as graph:
            keys.serve(partial(_press, graph))
            _watch(graph, keys)
    return 0


def _press(graph: RecordGraph, key: str) -> bool:
    """What a key stands for, at once; only q is left to others."""
    if key in ALL_KEYS and key != "q":
        graph.press(key)
    return key != "q"


def _watch(graph: RecordGraph, keys: KeyQueue) -> None:
    """Until q, which counts before there is a screen, too."""
    if keys.key(0.0):
        return
    from armlet.cli.graph.session_screen import SessionScreen

    with SessionScreen() as screen:
        while not keys.key(_REDRAW_S):
            screen.show(graph.view(), _keys_of(graph))


def _keys_of(graph: RecordGraph) -> dict[str, str]:
    """The keys that do something in this graph."""
    bench = graph.has_bench
    return {
        **KEYS,
        **(LEADER_KEY if bench and graph.has_leader else {}),
        **(BENCH_KEY if bench else {}),
    }
