"""`armlet registers`: read, set, save and restore what servos hold."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armlet.cli.terminal.robot import add_arm, add_robot, port_of

if TYPE_CHECKING:
    from rich.console import Console

    from armlet.motors.feetech import Bus, Register

FORMAT = "armlet registers 1"
JUMP_TICKS = 50
"""Switching torque on with the goal further away than that is refused: the joint would jump."""


class RegisterError(Exception):
    """What was asked for cannot be done; the message says why and what to do."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the `registers` command."""
    parser = subparsers.add_parser(
        "registers",
        help="read, set, save and restore servo registers",
        description="Read, set, save and restore what servos hold.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="get|set|dump|restore")
    verb = verbs.add_parser("get", help="print registers: value, unit, meaning")
    verb.add_argument("names", nargs="*", metavar="NAME", help="registers (default: all)")
    _add_bus(verb, ids_required=True)
    verb.set_defaults(run=run_get)
    verb = verbs.add_parser("set", help="set one register, and read it back")
    verb.add_argument("name", metavar="NAME", help="register")
    verb.add_argument("value", type=int, metavar="VALUE", help="whole number")
    _add_bus(verb, ids_required=True)
    verb.add_argument(
        "--eeprom", action="store_true", help="allow a register that outlives a power cycle"
    )
    verb.set_defaults(run=run_set)
    verb = verbs.add_parser("dump", help="save all registers as JSON")
    verb.add_argument("file", nargs="?", metavar="FILE", help="where to (default: stdout)")
    _add_bus(verb, ids_required=False)
    verb.set_defaults(run=run_dump)
    verb = verbs.add_parser("restore", help="write a dump's EEPROM registers back")
    verb.add_argument("file", type=Path, metavar="FILE", help="what dump wrote")
    _add_bus(verb, ids_required=False)
    verb.add_argument("--yes", action="store_true", help="write without asking")
    verb.set_defaults(run=run_restore)


def _add_bus(parser: argparse.ArgumentParser, ids_required: bool) -> None:
    parser.add_argument("--port", metavar="PATH", help="serial port (default: of --arm)")
    add_arm(parser)
    add_robot(parser, "the arms' ports")
    parser.add_argument(
        "--id",
        required=ids_required,
        metavar="N",
        help="servo, several as 1-6 or 1,2,9" + ("" if ids_required else " (default: all)"),
    )
    parser.add_argument(
        "--baud", default="1000000", metavar="B", help="speed of the servos (default %(default)s)"
    )


def _open(args: argparse.Namespace) -> Bus:
    """The bus, opened. Raises ValueError, RegisterError, BusError."""
    from armlet.cli.arm.scan import chosen_device, parse_bauds
    from armlet.motors.devices import users
    from armlet.motors.feetech import Bus

    bauds = parse_bauds(args.baud)
    if len(bauds) != 1:
        raise ValueError(f"--baud: expected one speed, found {args.baud!r}")
    chosen_device(args.port)
    others = users(args.port)
    if others:
        raise RegisterError(
            f"{args.port} is in use by {', '.join(map(str, others))}; stop it first"
        )
    bus = Bus(args.port, bauds[0])
    bus.open()
    return bus


def _guarded(args: argparse.Namespace, work: Any) -> int:
    """Runs the work with the bus; 2 with one line on stderr for whatever cannot be done."""
    from armlet.cli.arm.eeprom import WriteRefused
    from armlet.motors.feetech import BusError

    args.port = port_of(args)
    try:
        with _open(args) as bus:
            status: int = work(bus)
            return status
    except (ValueError, OSError, RegisterError, WriteRefused, BusError, EOFError) as error:
        text = " ".join(str(error).split())
        print(f"armlet registers {args.verb}: {text}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def find_register(name: str) -> Register:
    """The register of that name, however it is capitalised. Raises ValueError with suggestions."""
    from armlet.motors.feetech import REGISTERS

    known = {each.lower(): register for each, register in REGISTERS.items()}
    wanted = name.lower().replace("-", "_").replace(" ", "_")
    if wanted in known:
        return known[wanted]
    close = difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)
    containing = [each for each in known if wanted in each]
    near = [known[each].name for each in dict.fromkeys([*containing[:3], *close])]
    meant = f"did you mean {', '.join(near)}?" if near else "armlet registers get shows all names"
    raise ValueError(f"there is no register {name!r}; {meant}")


def run_get(args: argparse.Namespace) -> int:
    """Prints registers of one or several servos."""
    return _guarded(args, lambda bus: _get(bus, args))


def _get(bus: Bus, args: argparse.Namespace) -> int:
    from armlet.cli.arm.register_meanings import MEANINGS, physical
    from armlet.cli.arm.scan import parse_ids
    from armlet.cli.terminal.listing import show_table
    from armlet.cli.terminal.screen import console
    from armlet.motors.feetech import REGISTERS
    from armlet.motors.feetech.discovery import read_memory

    chosen = [find_register(name) for name in args.names] or list(REGISTERS.values())
    chosen = list(dict.fromkeys(chosen))
    rows = []
    for id in parse_ids(args.id, "--id") or []:
        values = read_memory(bus, id, chosen).values
        for register in chosen:
            value = values[register.name]
            cells = (
                str(id),
                str(register.address),
                register.name,
                str(value),
                physical(register, value),
                "read only" if register.access == "r" else register.area,
                MEANINGS[register.name],
            )
            rows.append((cells, ""))
    names = ("id>", "at>", "register", "value>", "is", "area", "meaning")
    show_table(console(), names, rows, {"register": 24, "is": 18})
    return 0


def run_set(args: argparse.Namespace) -> int:
    """Sets a register of one or several servos."""
    return _guarded(args, lambda bus: _set(bus, args))


def _set(bus: Bus, args: argparse.Namespace) -> int:
    from armlet.cli.arm.register_meanings import check_value
    from armlet.cli.arm.scan import parse_ids

    register = find_register(args.name)
    check_value(register, args.value)
    ids = parse_ids(args.id, "--id") or []
    if register.area != "ram" and not args.eeprom:
        raise RegisterError(
            f"{register.name} outlives a power cycle ({register.area}); if that is wanted, add "
            "--eeprom"
        )
    if register.name == "ID" and len(ids) > 1:
        raise RegisterError(f"--id: expected one servo to give an id to, found {args.id}")
    for id in ids:
        _set_one(bus, id, register, args.value)
    return 0


def _set_one(bus: Bus, id: int, register: Register, value: int) -> None:
    from armlet.cli.arm.eeprom import move_servo, put, require_torque_off, write_kept
    from armlet.cli.terminal.listing import say
    from armlet.cli.terminal.screen import console
    from armlet.motors.feetech.discovery import read_memory
    from armlet.motors.feetech.registers import BAUD_CODES

    before = read_memory(bus, id, [register]).values[register.name]
    if before == value:
        pass
    elif register.name in ("ID", "Baud_Rate"):
        require_torque_off(bus, id)
        speed = bus.baudrate
        new_id = value if register.name == "ID" else id
        move_servo(bus, id, new_id, BAUD_CODES[value] if register.name == "Baud_Rate" else speed)
        _back_to(bus, speed)
    elif register.area != "ram":
        write_kept(bus, id, {register.name: value})
    else:
        if register.name == "Torque_Enable" and value:
            _require_no_jump(bus, id)
        put(bus, id, register, value)
    what = f"{value}, as it was" if before == value else f"{before} -> {value}, read back"
    say(console(), f"servo {id}: {register.name} {what}")


def _back_to(bus: Bus, baudrate: int) -> None:
    """The speed of the servos that are still to be set."""
    if bus.baudrate != baudrate:
        bus.close()
        bus.baudrate = baudrate
        bus.open()


def _require_no_jump(bus: Bus, id: int) -> None:
    from armlet.motors.feetech import REGISTERS
    from armlet.motors.feetech.discovery import read_memory

    names = ("Goal_Position", "Present_Position")
    values = read_memory(bus, id, [REGISTERS[name] for name in names]).values
    goal, present = (values[name] for name in names)
    if abs(goal - present) > JUMP_TICKS:
        raise RegisterError(
            f"servo {id} stands at {present}, its goal is {goal}: with torque it would jump there; "
            f"first type: armlet registers set Goal_Position {present} --port {bus.port} --id {id}"
        )


def run_dump(args: argparse.Namespace) -> int:
    """Saves all registers of all servos."""
    return _guarded(args, lambda bus: _dump(bus, args))


def _dump(bus: Bus, args: argparse.Namespace) -> int:
    from armlet.cli.arm.scan import parse_ids
    from armlet.motors.feetech.discovery import read_memory

    ids = parse_ids(args.id, "--id") or _everybody(bus)
    servos = {}
    for id in ids:
        values = read_memory(bus, id).values
        servos[str(id)] = {
            "model": values["Model_Number"],
            "firmware": _firmware(values),
            "registers": values,
        }
    document = json.dumps({"format": FORMAT, "servos": servos}, indent=2)
    if args.file is None:
        print(document)
        return 0
    path = Path(args.file)
    new = path.with_name(path.name + ".new")
    new.write_text(document + "\n")
    new.replace(path)
    print(f"saved {len(servos)} servos ({', '.join(servos)}) in {path}")
    return 0


def _firmware(values: Mapping[str, int]) -> str:
    return f"{values['Firmware_Major_Version']}.{values['Firmware_Minor_Version']}"


def _everybody(bus: Bus) -> list[int]:
    """The ids that answer. Raises RegisterError if none does, or two share one."""
    from armlet.motors.feetech.discovery import probe

    bus.close()
    found = probe(bus.port, baudrates=(bus.baudrate,))
    if found.problem:
        raise RegisterError(f"{bus.port}: {found.problem}")
    shared = [servo.id for servo in found.servos if servo.shared]
    if shared or not found.servos:
        why = f"answers of id {shared} are garbled" if shared else "no servo answers"
        raise RegisterError(f"{why}; look closer: armlet scan --port {bus.port} --baud all")
    bus.open()
    return [servo.id for servo in found.servos]


_LAST_ID = 253


@dataclass(frozen=True)
class Saved:
    """A servo in a dump."""

    id: int
    model: int
    firmware: str
    registers: dict[str, int]


def load_dump(path: Path) -> list[Saved]:
    """The servos of a dump. Raises RegisterError naming the file and what is wrong with it."""
    from armlet.files import FileError, printable, read_json

    try:
        document = read_json(path)
    except FileNotFoundError as error:
        raise RegisterError(f"{path}: {error.strerror}; expected what dump wrote") from error
    except FileError as error:
        raise RegisterError(f"{error}; expected what dump wrote") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise RegisterError(f'{path}: expected "format": "{FORMAT}"; is it what dump wrote?')
    servos = document.get("servos")
    if not isinstance(servos, dict) or not servos:
        raise RegisterError(f"{path}: expected servos by id, found {printable(repr(servos), 80)}")
    return [_saved(path, id, entry) for id, entry in servos.items()]


def _saved(path: Path, id: str, entry: Any) -> Saved:
    from armlet.files import printable

    keys = {"model", "firmware", "registers"}
    name = printable(id, 20)
    if not (id.isascii() and id.isdecimal() and len(id) <= 3 and int(id) <= _LAST_ID):
        raise RegisterError(f"{path}: servo {name}: expected an id of 0 to {_LAST_ID}")
    if not isinstance(entry, dict) or set(entry) != keys:
        raise RegisterError(f"{path}: servo {name}: expected {sorted(keys)}")
    if type(entry["model"]) is not int or type(entry["firmware"]) is not str:
        raise RegisterError(f"{path}: servo {name}: expected a number as model, a text as firmware")
    registers = entry["registers"]
    if not isinstance(registers, dict):
        raise RegisterError(f"{path}: servo {id}: expected registers by name")
    for name, value in registers.items():
        if type(value) is not int or abs(value) > 0xFFFF or find_register(name).name != name:
            raise RegisterError(
                f"{path}: servo {id}: {printable(name, 40)}: expected a number of at most "
                f"16 bits, found {printable(repr(value), 40)}"
            )
    return Saved(int(id), entry["model"], entry["firmware"], registers)


def run_restore(args: argparse.Namespace) -> int:
    """Writes back what differs from a dump."""
    return _guarded(args, lambda bus: _restore(bus, args))


def _restore(bus: Bus, args: argparse.Namespace) -> int:
    from armlet.cli.arm.eeprom import require_torque_off, write_kept
    from armlet.cli.arm.scan import parse_ids
    from armlet.cli.terminal.listing import say
    from armlet.cli.terminal.screen import console, is_interactive

    saved = {servo.id: servo for servo in load_dump(args.file)}
    wanted = parse_ids(args.id, "--id") or list(saved)
    absent = [id for id in wanted if id not in saved]
    if absent:
        raise RegisterError(f"{args.file} holds servos {list(saved)}, not {absent}")
    changes = {id: differences(bus, saved[id]) for id in wanted}
    changes = {id: each for id, each in changes.items() if each}
    screen = console()
    if not changes:
        say(screen, f"nothing to write: servos {wanted} hold what {args.file} says")
        return 0
    for id in changes:
        require_torque_off(bus, id)
    _show_differences(screen, changes)
    if not args.yes:
        if not is_interactive():
            raise RegisterError("nothing was written: expected a yes; add --yes to write this")
        if not _agrees(screen, sum(map(len, changes.values()))):
            say(screen, "nothing was written")
            return 1
    for id, each in changes.items():
        write_kept(bus, id, {name: new for name, (_, new) in each.items()})
        say(screen, f"servo {id}: {', '.join(each)} written, read back")
    return 0


def differences(bus: Bus, saved: Saved) -> dict[str, tuple[int, int]]:
    """Writable registers that outlive a power cycle: name -> (value now, value saved).

    Without ID and Baud_Rate, by which the servo has just been found.

    Raises:
        RegisterError: another model, or a value that no such servo takes.
        BusError: it does not answer.
    """
    from armlet.cli.arm.register_meanings import check_value
    from armlet.motors.feetech import REGISTERS
    from armlet.motors.feetech.discovery import MODEL_NAMES, read_memory

    now = read_memory(bus, saved.id).values
    if now["Model_Number"] != saved.model:
        names = [MODEL_NAMES.get(m, "unknown") for m in (saved.model, now["Model_Number"])]
        raise RegisterError(
            f"servo {saved.id}: the file is of model {saved.model} ({names[0]}), this is model "
            f"{now['Model_Number']} ({names[1]}); registers of one do not fit the other"
        )
    changes = {}
    for name, value in saved.registers.items():
        register = REGISTERS[name]
        fixed = register.access == "r" or register.area == "ram" or name in ("ID", "Baud_Rate")
        if not fixed and now[name] != value:
            try:
                check_value(register, value)
            except ValueError as error:
                raise RegisterError(
                    f"servo {saved.id}: the file is not to be trusted: {error}"
                ) from error
            changes[name] = (now[name], value)
    return changes


def _show_differences(screen: Console, changes: Mapping[int, dict[str, tuple[int, int]]]) -> None:
    from armlet.cli.terminal.listing import show_table

    rows = [
        ((str(id), name, str(now), str(new)), "")
        for id, each in changes.items()
        for name, (now, new) in each.items()
    ]
    show_table(screen, ("id>", "register", "now>", "in the file>"), rows)


def _agrees(screen: Console, count: int) -> bool:
    from armlet.cli.terminal.enter_key import EnterKey

    screen.print(f"Write these {count} registers? Type yes: ", end="", style="key")
    return EnterKey().line() in ("yes", "y")
