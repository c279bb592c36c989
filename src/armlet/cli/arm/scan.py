"""`armlet scan`: every servo that answers, and how it is."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from armlet.cli.terminal.output import FAILED, refuse
from armlet.cli.terminal.robot import add_robot, families_of, port_of

if TYPE_CHECKING:
    from rich.console import Console

    from armlet.motors.devices import SerialDevice
    from armlet.motors.discovery import FoundServo, Probe
    from armlet.motors.protocol import MotorFamily

COLUMNS = (
    "id>",
    "model",
    "firmware",
    "baud>",
    "voltage>",
    "temp>",
    "position>",
    "offset>",
    "torque",
    "errors",
)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the `scan` command."""
    parser = subparsers.add_parser(
        "scan",
        help="list the servos that answer",
        description="List every servo that answers, with its readings. Writes nothing.",
        epilog="Exit status: 0 servos found, 1 none found, two with one id, or "
        "a port that could not be asked, 2 wrong arguments.",
    )
    add_port_choice(parser).add_argument(
        "--arm", metavar="NAME", help="arm of the robot file, e.g. follower: its port"
    )
    add_robot(parser, "the arms' ports")
    parser.add_argument(
        "--baud",
        default="1000000",
        metavar="B",
        help="baud rate of the servos, several joined by commas, or all (default %(default)s)",
    )
    parser.add_argument("--ids", metavar="IDS", help="ids to ask: 1-6 or 1,2,9 (default: all ids)")
    add_timeout(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def add_port_choice(parser: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    """Adds --port and --among."""
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--port", metavar="PATH", help="serial port (default: all)")
    choice.add_argument(
        "--among",
        action="append",
        metavar="GLOB",
        help="only serial ports that match; finds emulated ports too; may be repeated",
    )
    return choice


def add_timeout(parser: argparse.ArgumentParser) -> None:
    """Adds --timeout, which was called `--patience`."""
    parser.add_argument(
        "--timeout",
        "--patience",
        type=float,
        default=0.8,
        metavar="S",
        help="seconds to wait for answers when all servos are called (default %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Prints what answers; see the epilog for the exit status."""
    from armlet.cli.terminal.screen import console

    families = families_of(args)
    if args.arm is not None:
        args.port = port_of(args)
    try:
        bauds, ids = parse_bauds(args.baud), parse_ids(args.ids)
        devices = chosen_devices(args.port, args.among)
    except ValueError as error:
        return refuse("scan", error)
    surveys = survey(devices, families, ids, bauds, args.timeout, console(sys.stderr))
    if args.json:
        print(json.dumps({"ports": [each.to_json() for each in surveys]}, indent=2))
    else:
        show(console(), surveys)
    fine = any(each.servos for each in surveys) and not any(
        each.probe.problem or any(servo.found.shared for servo in each.servos) for each in surveys
    )
    return 0 if fine else FAILED


_FOUND = ("id", "baudrate", "model", "firmware", "shared")
"""What JSON has of a servo besides its readings."""


@dataclass(frozen=True)
class Servo:
    """A servo and its readings; None where they are unreadable."""

    found: FoundServo
    voltage: float | None = None
    temperature: int | None = None
    position: int | None = None
    offset: int | None = None
    torque: bool | None = None
    errors: str | None = None

    def cells(self) -> list[str]:
        """One cell a column of the table."""
        found = self.found
        texts = (
            str(found.id),
            found.model_name,
            found.firmware or "?",
            str(found.baudrate),
            "?" if self.voltage is None else f"{self.voltage:.1f} V",
            "?" if self.temperature is None else f"{self.temperature} °C",
            "?" if self.position is None else str(self.position),
            "?" if self.offset is None else str(self.offset),
            "?" if self.torque is None else ("on" if self.torque else "off"),
        )
        return [*texts, self.trouble() or "none"]

    def trouble(self) -> str:
        """What is wrong with it in words, empty if nothing."""
        if self.found.shared:
            return "two servos?"
        return "no readable answer" if self.errors is None else self.errors

    def to_json(self) -> dict[str, Any]:
        """For JSON."""
        readings = {each.name: getattr(self, each.name) for each in fields(self)[1:]}
        found = {name: getattr(self.found, name) for name in _FOUND}
        family = self.found.family.name
        return {
            **found,
            "model_name": self.found.model_name,
            "family": family,
            **readings,
            "trouble": self.trouble(),
        }


@dataclass(frozen=True)
class Survey:
    """A port, what asking it brought, and the servos' readings."""

    device: SerialDevice
    probe: Probe
    servos: tuple[Servo, ...]

    def to_json(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "path": self.device.path,
            "stable_path": self.device.stable_path,
            "usb": self.device.usb,
            "description": self.device.description,
            "in_use": self.probe.in_use,
            "problem": self.probe.problem,
            "servos": [servo.to_json() for servo in self.servos],
        }


def survey(
    devices: list[SerialDevice],
    families: Sequence[MotorFamily],
    ids: list[int] | None,
    bauds: tuple[int, ...],
    timeout_s: float,
    progress: Console,
) -> list[Survey]:
    """Asks every device in each family's protocol, saying in a terminal where it is."""
    from rich.markup import escape

    from armlet.motors.discovery import probe_each

    def speeds(family: MotorFamily) -> list[int]:
        return [baud for baud in family.baudrates if baud in bauds]

    surveys = []
    with progress.status("") as status:
        for device in devices:

            def watch(baud: int, at: str = device.address) -> None:
                status.update(f"asking {escape(at)} at {baud} baud")

            answer = probe_each(
                device.path, families, ids, speeds, timeout_s=timeout_s, watch=watch
            )
            servos = tuple(read_servo(device.path, found) for found in answer.servos)
            surveys.append(Survey(device, answer, servos))
    return surveys


def read_servo(path: str, found: FoundServo) -> Servo:
    """The servo's readings."""
    from armlet.motors.discovery import read_memory
    from armlet.motors.protocol import BusError, Quantity, describe

    if found.shared:
        return Servo(found)
    wanted = (
        Quantity.POSITION,
        Quantity.VOLTAGE,
        Quantity.TEMPERATURE,
        Quantity.STATUS,
        Quantity.TORQUE_ENABLED,
    )
    try:
        with found.family.make_bus(path, found.baudrate) as bus:
            model = found.known or bus.usual_model
            registers = [model.measures[each].register for each in wanted]
            memory = read_memory(bus, model, found.id, [model.homing_offset, *registers])
    except BusError:
        return Servo(found)  # its row says that it is unreadable
    return Servo(
        found,
        voltage=memory.quantity(Quantity.VOLTAGE),
        temperature=round(memory.quantity(Quantity.TEMPERATURE)),
        position=round(memory.quantity(Quantity.POSITION)),
        offset=memory.values[model.homing_offset.name],
        torque=memory.quantity(Quantity.TORQUE_ENABLED) != 0,
        errors="" if not memory.errors else describe(memory.errors),
    )


def show(screen: Console, surveys: list[Survey]) -> None:
    """A heading and a table a port; without a terminal one table, the port in each line."""
    from armlet.cli.terminal.listing import say, show_table

    if not screen.is_terminal:
        rows = [([each.device.address, *s.cells()], "") for each in surveys for s in each.servos]
        show_table(screen, ("port", *COLUMNS), rows)
        for each in surveys:
            if each.probe.problem:
                refuse("scan", f"{each.device.address}: {each.probe.problem}", FAILED)
        if not rows:
            asked = ", ".join(each.device.address for each in surveys)
            about = f"asked {asked}. " if asked else ""
            refuse("scan", f"{about}{summary(surveys)}", FAILED)
        return
    for each in surveys:
        say(screen, heading(each.device), "name")
        if each.servos:
            rows = [(servo.cells(), "bad" if servo.trouble() else "") for servo in each.servos]
            show_table(screen, COLUMNS, rows)
        if each.probe.problem:
            say(screen, f"  {each.probe.problem}", "attention")
        elif not each.servos:
            say(screen, "  no servo answers", "quiet")
    say(screen, summary(surveys))


def heading(device: SerialDevice) -> str:
    """The port in one line."""
    facts = [device.path] if device.stable_path else []
    facts += [fact for fact in (device.usb, device.description) if fact]
    return f"{device.address}  ({', '.join(facts)})" if facts else device.address


def summary(surveys: list[Survey]) -> str:
    """The last line: how many, and what to do if there are none."""
    servos = [servo for each in surveys for servo in each.servos]
    if not surveys:
        return "No serial port found. Plug the arm's USB cable in; armlet find-port watches."
    if not servos:
        return "No servo answers. Check power and cable, then try other speeds: --baud all"
    ports = sum(bool(each.servos) for each in surveys)
    shared = sorted({servo.found.id for servo in servos if servo.found.shared})
    if shared:
        return (
            f"Answers of id {', '.join(map(str, shared))} are garbled. If two servos have the "
            "same id, give each its own: armlet setup-motors. Else look for a loose plug."
        )
    firmwares = sorted({servo.found.firmware or "?" for servo in servos})
    same = "firmware" if len(firmwares) == 1 else "firmwares that differ:"
    return (
        f"{_count(len(servos), 'servo')} on {_count(ports, 'port')}, {same} {', '.join(firmwares)}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def chosen_devices(port: str | None, among: list[str] | None) -> list[SerialDevice]:
    """The devices that --port and --among name, all if neither does.

    Raises ValueError if the port is not there, or nothing matches.
    """
    from armlet.motors.devices import serial_devices

    if port is not None:
        return [chosen_device(port)]
    found = serial_devices(among)
    if not found and among is not None:
        raise ValueError(f"no serial port matches --among {' '.join(among)}")
    return found


def chosen_device(port: str) -> SerialDevice:
    """The device that --port names. Raises ValueError if it is none."""
    from pathlib import Path

    from armlet.motors.devices import serial_device, serial_devices

    if not Path(port).is_char_device():
        here = ", ".join(device.address for device in serial_devices()) or "none"
        what = "is no serial device" if Path(port).exists() else "does not exist"
        raise ValueError(f"--port {port} {what}; serial ports here: {here}. See armlet find-port")
    return serial_device(port)


def parse_bauds(text: str) -> tuple[int, ...]:
    """Raises ValueError naming the speeds there are, of every family."""
    from armlet.motors import registry

    speeds = tuple(dict.fromkeys(b for family in registry.families() for b in family.baudrates))
    if text == "all":
        return speeds
    try:
        bauds = tuple(int(part) for part in text.split(","))
    except ValueError:
        bauds = ()
    if not bauds or set(bauds) - set(speeds):
        known = ", ".join(map(str, speeds))
        raise ValueError(f"--baud: expected all or some of {known}, found {text!r}")
    return bauds


def parse_ids(text: str | None, option: str = "--ids") -> list[int] | None:
    """Numbers and ranges: "1-6,9". Raises ValueError."""
    if text is None:
        return None
    ids: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"{option}: expected ids like 1-6 or 1,2,9, found {text!r}")
        ids += range(int(first), int(last or first) + 1)
    if not ids or max(ids) > 252 or len(set(ids)) != len(ids):
        raise ValueError(f"{option}: expected different ids 0..252, found {text!r}")
    return ids
