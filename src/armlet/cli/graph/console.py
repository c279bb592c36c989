"""`armlet console`: a running graph in the browser."""

from __future__ import annotations

import argparse
import secrets
import signal
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from armlet.cli.terminal.arguments import namespace
from armlet.cli.terminal.output import refuse
from armlet.missing import require

if TYPE_CHECKING:
    from types import FrameType

_HOST, _PORT = "127.0.0.1", 8420
_TOKEN_BYTES = 24


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the `console` command."""
    parser = subparsers.add_parser(
        "console",
        help="see and stop a running graph in the browser",
        description="Serves one local web application beside a graph that was started in another "
        "terminal. Key x stops every arm of it, as in `armlet up` and `armlet session`.",
    )
    parser.add_argument(
        "--namespace", type=namespace, default="", help="namespace of the graph, as given to it"
    )
    parser.add_argument(
        "--host",
        default=_HOST,
        help="address to listen on (default: %(default)s, this computer only); any other demands "
        "a token, which is printed",
    )
    parser.add_argument("--port", type=int, default=_PORT, help="default: %(default)s")
    parser.add_argument(
        "--datasets",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="a dataset, or a folder in which datasets lie; may be given several times",
    )
    parser.add_argument(
        "--checkpoints",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="a checkpoint, or a folder in which checkpoints lie; may be given several times",
    )
    parser.add_argument(
        "--trials",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="an output folder of `armlet eval`, or a folder in which such lie, also new ones of "
        "trials by hand; may be given several times",
    )
    # console:=true of a graph names its dataset, which may not be there yet.
    parser.add_argument("--recorded", type=Path, help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 after Ctrl-C, 2 where it cannot listen."""
    require("rclpy", "nicegui")
    from armlet.console.access import Rules, is_loopback, own_names
    from armlet.console.page import Setting
    from armlet.console.server import ServerError, listening, serving

    local = is_loopback(args.host)
    token = "" if local else secrets.token_urlsafe(_TOKEN_BYTES)
    rules = Rules(token, frozenset() if local else own_names(), local)
    try:
        place = listening(args.host, args.port)
    except ServerError as error:
        return refuse("console", error)
    ending = threading.Event()
    _note_signals(ending)
    from armlet.client.watching import WatchedGraph

    setting = partial(
        Setting,
        datasets=tuple(args.datasets),
        checkpoints=tuple(args.checkpoints),
        recorded=args.recorded,
        trials=tuple(args.trials),
    )
    with place, WatchedGraph(args.namespace) as graph:
        try:
            with serving(setting(graph), rules, place):
                print(_said(args.host, place.getsockname()[1], token), flush=True)
                ending.wait()
        except ServerError as error:
            return refuse("console", error)
    return 0


def _note_signals(ending: threading.Event) -> None:
    def note(number: int, frame: FrameType | None) -> None:
        ending.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)


def _said(host: str, port: int, token: str) -> str:
    name = f"[{host}]" if ":" in host else host
    if not token:
        return f"armlet console: http://{name}:{port}/ (this computer only; Ctrl-C: end)"
    return (
        f"armlet console: http://{name}:{port}/?token={token}\n"
        "armlet console: whoever has this address sees the cameras and all that the graph says, "
        "can read and change the datasets given, can record, have a policy drive, hold the arm, "
        "have its leader move it, and can stop it; it is sent unencrypted, so use it in a network "
        "you trust, or leave --host out and use ssh -L"
    )
