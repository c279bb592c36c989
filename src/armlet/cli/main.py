"""`armlet`: one command, a noun a file."""
# PYTHON_ARGCOMPLETE_OK: by this line argcomplete's global completion knows its programs.

from __future__ import annotations

import argparse
import os
import sys

from armlet import __version__
from armlet.files import FileError, OutputError, is_of_the_computer
from armlet.missing import how_to_install

from .arm import calibrate, emulate, find_port, registers, scan, setup_motors
from .data import calibrate_camera, dataset, find_cameras
from .graph import console, demo, doctor, evaluate, jog, replay, security, session, train, up
from .policy import policy
from .setup import setup
from .terminal import output
from .terminal.arguments import Parser

COMMANDS = (
    up,
    session,
    console,
    jog,
    demo,
    setup,
    doctor,
    find_port,
    scan,
    setup_motors,
    calibrate,
    registers,
    find_cameras,
    calibrate_camera,
    dataset,
    replay,
    train,
    evaluate,
    policy,
    security,
    emulate,
)

# Set by the shell while it asks for completions.
_COMPLETING = "_ARGCOMPLETE"


def make_parser() -> Parser:
    """The parser of the whole command line; the reference pages are made from it."""
    parser = Parser(prog="armlet", description="ROS 2 control and inference for small servo arms.")
    version = f"%(prog)s {__version__}"
    parser.add_argument(
        "--version", action="version", version=version, help="show the version and exit"
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its exit status.

    1 where a package it needs is missing or stdout cannot be written, 130 after Ctrl-C.
    """
    output.take_any_text()
    try:
        try:
            status = _run(arguments)
        except SystemExit:  # of --help, too
            output.flush()
            raise
        output.flush()
    except OSError as error:
        if isinstance(error, BrokenPipeError) or output.fails():
            return output.end(error)
        raise
    return status


def _run(arguments: list[str] | None) -> int:
    parser = make_parser()
    if _COMPLETING in os.environ:
        _complete(parser)
    parsed, rest = parser.parse_known_args(arguments)
    # argparse takes positionals in one run; ROS users put arg:=value behind options as well.
    if rest and (not hasattr(parsed, "arguments") or any(":=" not in word for word in rest)):
        parser.refuse(rest, _named(parsed))
    if rest:
        parsed.arguments += rest
    try:
        status: int = parsed.run(parsed)
    except KeyboardInterrupt:
        print(f"\narmlet {parsed.command}: stopped", file=sys.stderr)
        return 130
    except FileError as error:  # a robot file
        return output.refuse(_named(parsed), error)
    except OSError as error:
        # What the system says of a file is the person's to see to; the rest is a fault of ours.
        named = error.filename is not None or isinstance(error, OutputError)
        if not named and (output.fails() or not is_of_the_computer(error)):
            raise
        return output.refuse(_named(parsed), error)
    except ModuleNotFoundError as error:
        advice = how_to_install(error)
        if advice is None:
            raise
        return output.refuse(_named(parsed), advice, output.FAILED)
    return status


def _named(parsed: argparse.Namespace) -> str:
    """The command with its verb: policy check."""
    return " ".join(filter(None, (parsed.command, getattr(parsed, "verb", None))))


def _complete(parser: Parser) -> None:
    """Answer a shell's Tab key, and end; without argcomplete nothing is offered."""
    try:
        import argcomplete
    except ImportError:
        sys.exit(1)
    argcomplete.autocomplete(parser)


if __name__ == "__main__":
    sys.exit(main())
