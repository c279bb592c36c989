"""`armlet emulate`: an emulated chain of servos behind a serial port."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from armlet.feetech import EmulatedBus


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the `emulate` command."""
    parser = subparsers.add_parser(
        "emulate",
        help="serve emulated servos on a pseudo-terminal",
        description="Serve emulated STS3215 servos on a pseudo-terminal until SIGINT or SIGTERM.",
    )
    parser.add_argument("--link", required=True, metavar="PATH", help="symbolic link to the port")
    parser.add_argument("--ids", default="1,2,3,4,5,6", help="servo ids (default %(default)s)")
    parser.add_argument("--baud", default="1000000", help="line speed (default %(default)s)")
    parser.add_argument("--paced", action="store_true", help="bytes take their time on the wire")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serves until told to stop; 0, or 2 with one line on stderr for what cannot be served."""
    from armlet.feetech.emulator import EmulatedBus

    try:
        ids, baud = _parse_ids(args.ids), _parse_baud(args.baud)
        bus = EmulatedBus(ids, link=args.link, baudrate=baud, paced=args.paced)
        bus.plug()
    except ValueError as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"--link {args.link}: {error.strerror or error}")
    try:
        _serve(bus, f"{','.join(map(str, ids))} on {bus.port} at {baud} baud", args.paced)
    finally:
        bus.close()
    return 0


def _serve(bus: EmulatedBus, what: str, paced: bool) -> None:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    print(f"serving servos {what}{', wire-paced' if paced else ''}", flush=True)
    while not stop.wait(1.0):
        bus.check()


def _refuse(why: str) -> int:
    print(f"armlet emulate: {why}", file=sys.stderr)
    return 2


def _parse_baud(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"--baud: expected a number, found {text!r}") from None


def _parse_ids(text: str) -> list[int]:
    try:
        ids = [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--ids: expected numbers joined by commas, found {text!r}") from None
    if len(set(ids)) != len(ids) or not all(0 <= id <= 252 for id in ids):
        raise ValueError(f"--ids: expected different ids 0..252, found {text!r}")
    return ids
