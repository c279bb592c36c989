"""`armlet find-port`: which serial port is the arm's."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from armlet.cli.terminal.output import FAILED, STOPPED, refuse

if TYPE_CHECKING:
    from rich.console import Console

    from armlet.cli.arm.scan import Survey
    from armlet.cli.terminal.enter_key import EnterKey
    from armlet.motors.devices import SerialDevice

_LOOK_EVERY_S = 0.2
_LINK_TIMEOUT_S = 2.0
"""udev makes the links of a device a moment after the device."""

List = Callable[[], list["SerialDevice"]]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the `find-port` command."""
    from armlet.cli.arm.scan import add_timeout

    parser = subparsers.add_parser(
        "find-port",
        help="find the arm's serial port",
        description="Find the arm's serial port: by unplugging its USB cable and plugging it in "
        "again, or with --probe by asking every port which servos answer. Write the stable path "
        "(/dev/serial/by-id/...) into launch arguments: /dev/ttyACM0 may be another arm tomorrow.",
        epilog="Exit status: 0 found, 1 not found, 2 wrong arguments or nobody there to ask.",
    )
    parser.add_argument(
        "--probe",
        action="store_true",
        help="ask every port which servos answer, instead of unplugging the cable",
    )
    parser.add_argument(
        "--among",
        action="append",
        metavar="GLOB",
        help="only serial ports that match; finds emulated ports too; may be repeated",
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=60.0,
        metavar="S",
        help="how long to wait for the port to come back (default %(default)s)",
    )
    add_timeout(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Finds the port; see the epilog for the exit status."""
    from armlet.cli.terminal.screen import console
    from armlet.motors.devices import serial_devices

    if args.probe:
        return _probe(args.among, args.timeout)
    try:
        return _watch(console(), lambda: serial_devices(args.among), args.wait)
    except EOFError:
        why = "expected the Enter key, found the end of the input. Without anybody to unplug a "
        return refuse("find-port", why + "cable use --probe")
    except KeyboardInterrupt:
        return STOPPED


def _probe(among: list[str] | None, timeout_s: float) -> int:
    from armlet.cli.arm import scan
    from armlet.cli.terminal.listing import say, show_table
    from armlet.cli.terminal.screen import console
    from armlet.motors import registry

    try:
        devices = scan.chosen_devices(None, among)
    except ValueError as error:
        return refuse("find-port", error)
    families = registry.families()
    bauds = tuple({family.baudrate for family in families})
    surveys = scan.survey(devices, families, None, bauds, timeout_s, console(sys.stderr))
    rows = [(_cells(each), "" if each.servos else "quiet") for each in surveys]
    screen = console()
    show_table(screen, ("port", "stable path", "servos", "model", "voltage>"), rows)
    found = [each for each in surveys if each.servos]
    if screen.is_terminal:
        for each in found:
            _tell(screen, each.device)
        if not found:
            say(screen, scan.summary(surveys), "attention")
    elif not found:
        refuse("find-port", scan.summary(surveys), FAILED)
    return 0 if found else FAILED


def _cells(survey: Survey) -> list[str]:
    device, servos = survey.device, survey.servos
    volts = [servo.voltage for servo in servos if servo.voltage is not None]
    ids = ", ".join(str(servo.found.id) for servo in servos)
    models = ", ".join(sorted({servo.found.model_name for servo in servos}))
    return [
        device.path,
        device.stable_path or "none",
        ids or survey.probe.problem or "none",
        models,
        f"{min(volts):.1f} V" if volts else "",
    ]


def _watch(screen: Console, look: List, wait_s: float) -> int:
    from armlet.cli.terminal.enter_key import EnterKey
    from armlet.cli.terminal.listing import say

    back = unplug_and_plug(screen, EnterKey(), look, wait_s)
    say(screen, "")
    for device in back:
        _tell(screen, device)
    return 0 if back else 1


def unplug_and_plug(
    screen: Console, key: EnterKey, look: List, wait_s: float, arm: str = "arm"
) -> list[SerialDevice]:
    """The ports that appear as the person plugs the arm in again; none, said, if none does.

    Raises EOFError if nobody can press Enter.
    """
    from armlet.cli.terminal.listing import say

    before = look()
    say(screen, f"Serial ports now: {_names(before)}")
    say(screen, f"\n1. Unplug the {arm}'s USB cable, then press Enter.", "key")
    left = _await_enter(screen, key, look, before)
    gone = _missing(before, left)
    if not gone:
        say(screen, f"   No port went away; was the {arm} not plugged in?", "attention")
    say(screen, "\n2. Plug it in again.", "key")
    back = _await_new(key, look, left, wait_s)
    if not back:
        say(screen, f"   No port appeared within {wait_s:g} s.", "bad")
        say(screen, "   " + _why_not(gone))
    return back


def _await_enter(
    screen: Console, key: EnterKey, look: List, before: list[SerialDevice]
) -> list[SerialDevice]:
    """Says what goes and comes until Enter is pressed; the ports there then."""
    from armlet.cli.terminal.listing import say

    known = before
    while key.line(_LOOK_EVERY_S) is None:
        now = look()
        for device in _missing(known, now):
            say(screen, f"   {device.address} went away", "good")
        for device in _missing(now, known):
            say(screen, f"   {device.address} came", "attention")
        known = now
    return look()


def _await_new(
    key: EnterKey, look: List, left: list[SerialDevice], wait_s: float
) -> list[SerialDevice]:
    """The ports that appear, once their links are there too; none if it takes too long.

    The keyboard is what it sleeps on; a key pressed meanwhile, or no keyboard any more, is no harm.
    """
    deadline = time.monotonic() + wait_s
    since = None
    while (now_s := time.monotonic()) < deadline:
        new = _missing(look(), left)
        since = (since or now_s) if new else None
        linked = all(device.stable_path is not None for device in new)
        if since is not None and (linked or now_s - since > _LINK_TIMEOUT_S):
            return new
        try:
            key.line(_LOOK_EVERY_S)
        except EOFError:
            time.sleep(_LOOK_EVERY_S)
    return []


def _missing(from_these: list[SerialDevice], in_these: list[SerialDevice]) -> list[SerialDevice]:
    there = {device.path for device in in_these}
    return [device for device in from_these if device.path not in there]


def _names(devices: list[SerialDevice]) -> str:
    return ", ".join(device.address for device in devices) or "none"


def _why_not(gone: list[SerialDevice]) -> str:
    if gone:
        return "It went away but did not return: try another cable or USB port, then start again."
    return (
        "The computer does not see the adapter at all: try another cable (some only charge) and "
        "another USB port; dmesg --follow shows what the kernel sees."
    )


def _tell(screen: Console, device: SerialDevice) -> None:
    """The result, and what to do with it."""
    from armlet.cli.terminal.listing import say

    facts = ", ".join(fact for fact in (device.usb, device.description) if fact)
    say(screen, f"Found: {device.path}" + (f"  ({facts})" if facts else ""), "good")
    if device.stable_path is None:
        say(screen, "It has no stable path: its name may change with the order of plugging.")
        return
    say(screen, f"Stable path: {device.stable_path}", "name")
    say(
        screen,
        "Write the stable path into launch arguments, follower_port:=... or leader_port:=...",
        "quiet",
    )
