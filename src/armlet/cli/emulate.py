"""`armlet emulate`: an emulated chain of servos behind a serial port."""

from __future__ import annotations

import argparse
import signal
import threading


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the `emulate` command."""
    parser = subparsers.add_parser(
        "emulate",
        help="serve emulated servos on a pseudo-terminal",
        description="Serve emulated STS3215 servos on a pseudo-terminal until SIGINT or SIGTERM.",
    )
    parser.add_argument("--link", required=True, metavar="PATH", help="symbolic link to the port")
    parser.add_argument(
        "--ids", type=_parse_ids, default="1,2,3,4,5,6", help="servo ids (default %(default)s)"
    )
    parser.add_argument(
        "--baud", type=int, default=1_000_000, help="line speed (default %(default)s)"
    )
    parser.add_argument("--paced", action="store_true", help="bytes take their time on the wire")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serves until told to stop; 0."""
    from armlet.feetech.emulator import EmulatedBus

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with EmulatedBus(args.ids, link=args.link, baudrate=args.baud, paced=args.paced) as bus:
        pace = ", wire-paced" if args.paced else ""
        ids = ",".join(map(str, args.ids))
        print(f"serving servos {ids} on {bus.port} at {args.baud} baud{pace}", flush=True)
        while not stop.wait(1.0):
            bus.check()
    return 0


def _parse_ids(text: str) -> list[int]:
    try:
        ids = [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected numbers joined by commas, found {text!r}"
        ) from None
    if len(set(ids)) != len(ids) or not all(0 <= id <= 252 for id in ids):
        raise argparse.ArgumentTypeError(f"expected different ids 0..252, found {text!r}")
    return ids
