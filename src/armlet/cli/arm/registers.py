"""`armlet registers`: read, set, save and restore what servos hold."""

from __future__ import annotations

import argparse
import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armlet.cli.terminal.arguments import output_file
from armlet.cli.terminal.output import FAILED, STOPPED, refuse
from armlet.cli.terminal.robot import add_arm, add_robot, families_of, port_of

if TYPE_CHECKING:
    from rich.console import Console

    from armlet.motors.protocol import MotorBus, MotorFamily, MotorModel, Register

FORMAT = "armlet registers 1"
JUMP_TICKS = 50
"""Switching torque on with the goal further away than that is refused: the joint would jump."""


class RegisterError(Exception):
    """What was asked for cannot be done; the message says why and what to do."""


@dataclass(frozen=True)
class Line:
    """The open bus, whose protocol is spoken on it, and the servos that a command is about."""

    bus: MotorBus
    family: MotorFamily
    ids: Sequence[int]

    def model(self, id: int) -> MotorModel:
        """What a servo is. Raises BusError."""
        from armlet.motors.discovery import model_at

        return model_at(self.bus, self.family, id)


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
    verb.add_argument(
        "file",
        nargs="?",
        type=output_file,
        metavar="FILE",
        help="where to (default: stdout)",
    )
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


def _open(args: argparse.Namespace, ids: Sequence[int]) -> Line:
    """The bus, opened, in the protocol in which one of the servos answers.

    ids: the servos; none: all that answer. Raises ValueError, RegisterError, BusError.
    """
    from armlet.cli.arm.scan import chosen_device, parse_bauds
    from armlet.motors.devices import users
    from armlet.motors.discovery import family_at

    bauds = parse_bauds(args.baud)
    if len(bauds) != 1:
        raise ValueError(f"--baud: expected one speed, found {args.baud!r}")
    chosen_device(args.port)
    others = users(args.port)
    if others:
        raise RegisterError(
            f"{args.port} is in use by {', '.join(map(str, others))}; stop it first"
        )
    (baud,) = bauds
    families = [each for each in families_of(args) if baud in each.baudrates]
    if not families:
        raise RegisterError(f"--baud: servos of --arm {args.arm} cannot be set to {baud} baud")
    found = families[0]
    if not ids:
        found, ids = _everybody(args.port, families, baud)
    elif len(families) > 1:
        found = family_at(args.port, families, baud, ids) or found
    bus = found.make_bus(args.port, baud)
    bus.open()
    return Line(bus, found, ids)


def _everybody(
    port: str, families: Sequence[MotorFamily], baudrate: int
) -> tuple[MotorFamily, list[int]]:
    """The ids that answer, and in whose protocol.

    Raises RegisterError if none does, or two share one.
    """
    from armlet.motors.discovery import probe_each

    found = probe_each(port, families, baudrates=lambda _: (baudrate,))
    if found.problem:
        raise RegisterError(f"{port}: {found.problem}")
    shared = [servo.id for servo in found.servos if servo.shared]
    if shared or not found.servos:
        why = f"answers of id {shared} are garbled" if shared else "no servo answers"
        raise RegisterError(f"{why}; look closer: armlet scan --port {port} --baud all")
    return found.servos[0].family, [servo.id for servo in found.servos]


def _guarded(
    args: argparse.Namespace, work: Callable[[Line], int], ids: Callable[[], Sequence[int]]
) -> int:
    """Runs the work with the line; 2 for what cannot be started, 1 where servos fail at it.

    ids: the servos it is about; none: all that answer.
    """
    from armlet.cli.arm.eeprom import WriteRefused
    from armlet.motors.protocol import BusError

    args.port = port_of(args)
    opened = False
    try:
        line = _open(args, ids())
        opened = True
        with line.bus:
            return work(line)
    except (ValueError, OSError, RegisterError, WriteRefused, EOFError) as error:
        return refuse(f"registers {args.verb}", error)
    except BusError as error:
        return refuse(f"registers {args.verb}", error, FAILED if opened else None)
    except KeyboardInterrupt:
        return STOPPED


def find_register(known: Mapping[str, Register], name: str) -> Register:
    """The register of that name, however it is capitalised. Raises ValueError with suggestions."""
    lower = {each.lower(): register for each, register in known.items()}
    wanted = name.lower().replace("-", "_").replace(" ", "_")
    if wanted in lower:
        return lower[wanted]
    close = difflib.get_close_matches(wanted, lower, n=3, cutoff=0.5)
    containing = [each for each in lower if wanted in each]
    near = [lower[each].name for each in dict.fromkeys([*containing[:3], *close])]
    meant = f"did you mean {', '.join(near)}?" if near else "armlet registers get shows all names"
    raise ValueError(f"there is no register {name!r}; {meant}")


def _asked(args: argparse.Namespace) -> list[int]:
    """The servos of --id; none: all. Raises ValueError."""
    from armlet.cli.arm.scan import parse_ids

    return parse_ids(args.id, "--id") or []


def run_get(args: argparse.Namespace) -> int:
    """Prints registers of one or several servos."""
    return _guarded(args, lambda line: _get(line, args), lambda: _asked(args))


def _get(line: Line, args: argparse.Namespace) -> int:
    from armlet.cli.arm.register_meanings import physical
    from armlet.cli.terminal.listing import show_table
    from armlet.cli.terminal.screen import console
    from armlet.motors.discovery import read_memory

    rows = []
    for id in line.ids:
        model = line.model(id)
        known = model.registers
        chosen = [find_register(known, name) for name in args.names] or list(known.values())
        chosen = list(dict.fromkeys(chosen))
        values = read_memory(line.bus, model, id, chosen).values
        for register in chosen:
            value = values[register.name]
            cells = (
                str(id),
                str(register.address),
                register.name,
                str(value),
                physical(model, register, value),
                "read only" if register.access == "r" else register.area,
                model.note(register).meaning,
            )
            rows.append((cells, ""))
    names = ("id>", "at>", "register", "value>", "is", "area", "meaning")
    show_table(console(), names, rows, {"register": 24, "is": 18})
    return 0


def run_set(args: argparse.Namespace) -> int:
    """Sets a register of one or several servos."""
    return _guarded(args, lambda line: _set(line, args), lambda: _asked(args))


def _set(line: Line, args: argparse.Namespace) -> int:
    from armlet.cli.arm.register_meanings import check_value

    models = {id: line.model(id) for id in line.ids}
    registers = {id: find_register(model.registers, args.name) for id, model in models.items()}
    for id, register in registers.items():
        check_value(models[id], register, args.value)
        if register.area != "ram" and not args.eeprom:
            raise RegisterError(
                f"{register.name} outlives a power cycle ({register.area}); if that is wanted, add "
                "--eeprom"
            )
        if register == models[id].servo_id and len(line.ids) > 1:
            raise RegisterError(f"--id: expected one servo to give an id to, found {args.id}")
    for id, register in registers.items():
        _set_one(line.bus, models[id], id, register, args.value)
    return 0


def _set_one(bus: MotorBus, model: MotorModel, id: int, register: Register, value: int) -> None:
    from armlet.cli.arm.eeprom import move_servo, put, require_torque_off, write_kept
    from armlet.cli.terminal.listing import say
    from armlet.cli.terminal.screen import console
    from armlet.motors.discovery import read_memory

    before = read_memory(bus, model, id, [register]).values[register.name]
    if before == value:
        pass
    elif register in (model.servo_id, model.baud_rate):
        require_torque_off(bus, model, id)
        speed = bus.baudrate
        if register == model.servo_id:
            move_servo(bus, model, id, value, speed)
        else:
            move_servo(bus, model, id, id, model.baud_codes[value])
        _back_to(bus, speed)
    elif register.area != "ram":
        write_kept(bus, model, id, {register.name: value})
    else:
        if register == model.torque_enable and value:
            _require_no_jump(bus, model, id)
        put(bus, model, id, register, value)
    what = f"{value}, as it was" if before == value else f"{before} -> {value}, read back"
    say(console(), f"servo {id}: {register.name} {what}")


def _back_to(bus: MotorBus, baudrate: int) -> None:
    """The speed of the servos that are still to be set."""
    if bus.baudrate != baudrate:
        bus.close()
        bus.baudrate = baudrate
        bus.open()


def _require_no_jump(bus: MotorBus, model: MotorModel, id: int) -> None:
    from armlet.motors.discovery import read_memory
    from armlet.motors.protocol import Quantity

    position = model.measures[Quantity.POSITION].register
    values = read_memory(bus, model, id, [model.goal_position, position]).values
    goal, present = values[model.goal_position.name], values[position.name]
    if abs(goal - present) > JUMP_TICKS:
        raise RegisterError(
            f"servo {id} stands at {present}, its goal is {goal}: with torque it would jump there; "
            f"first type: armlet registers set {model.goal_position.name} {present} "
            f"--port {bus.port} --id {id}"
        )


def run_dump(args: argparse.Namespace) -> int:
    """Saves all registers of all servos."""
    return _guarded(args, lambda line: _dump(line, args), lambda: _asked(args))


def _dump(line: Line, args: argparse.Namespace) -> int:
    from armlet.files import keep_previous, replace_file
    from armlet.motors.discovery import read_memory

    servos = {}
    for id in line.ids:
        model = line.model(id)
        values = read_memory(line.bus, model, id).values
        servos[str(id)] = {
            "model": values[model.model_number.name],
            "firmware": model.firmware_of(values),
            "registers": values,
        }
    document = json.dumps({"format": FORMAT, "servos": servos}, indent=2)
    if args.file is None:
        print(document)
        return 0
    kept = keep_previous(args.file)
    replace_file(args.file, f"{document}\n".encode())
    before = "" if kept is None else f"; what was there is in {kept}"
    print(f"saved {len(servos)} servos ({', '.join(servos)}) in {args.file}{before}")
    return 0


_LAST_ID = 253
_LARGEST = 0xFFFFFFFF


@dataclass(frozen=True)
class Saved:
    """A servo in a dump."""

    id: int
    model: int
    firmware: str
    registers: dict[str, int]


def load_dump(path: Path) -> list[Saved]:
    """The servos of a dump. Raises RegisterError naming the file and what is wrong with it."""
    from armlet.files import FileError, advised, printable, read_json

    try:
        document = read_json(path)
    except FileNotFoundError as error:
        raise RegisterError(f"{path}: {error.strerror}; name what dump wrote") from error
    except FileError as error:
        raise RegisterError(advised(error, "name what dump wrote")) from error
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
        if type(value) is not int or abs(value) > _LARGEST:
            raise RegisterError(
                f"{path}: servo {id}: {printable(name, 40)}: expected a number of at most "
                f"32 bits, found {printable(repr(value), 40)}"
            )
    return Saved(int(id), entry["model"], entry["firmware"], registers)


def run_restore(args: argparse.Namespace) -> int:
    """Writes back what differs from a dump."""
    saved: dict[int, Saved] = {}

    def wanted() -> list[int]:
        saved.update({servo.id: servo for servo in load_dump(args.file)})
        ids = _asked(args) or list(saved)
        absent = [id for id in ids if id not in saved]
        if absent:
            raise RegisterError(f"{args.file} holds servos {list(saved)}, not {absent}")
        return ids

    return _guarded(args, lambda line: _restore(line, saved, args), wanted)


def _restore(line: Line, saved: Mapping[int, Saved], args: argparse.Namespace) -> int:
    from armlet.cli.arm.eeprom import require_torque_off, write_kept
    from armlet.cli.terminal.listing import say
    from armlet.cli.terminal.screen import console, is_interactive

    models = {id: line.model(id) for id in line.ids}
    changes = {id: differences(line, models[id], saved[id]) for id in line.ids}
    changes = {id: each for id, each in changes.items() if each}
    screen = console()
    if not changes:
        say(screen, f"nothing to write: servos {line.ids} hold what {args.file} says")
        return 0
    for id in changes:
        require_torque_off(line.bus, models[id], id)
    _show_differences(screen, changes)
    if not args.yes:
        if not is_interactive():
            raise RegisterError("nothing was written: expected a yes; add --yes to write this")
        if not _agrees(screen, sum(map(len, changes.values()))):
            say(screen, "nothing was written")
            return 1
    for id, each in changes.items():
        write_kept(line.bus, models[id], id, {name: new for name, (_, new) in each.items()})
        say(screen, f"servo {id}: {', '.join(each)} written, read back")
    return 0


def differences(line: Line, model: MotorModel, saved: Saved) -> dict[str, tuple[int, int]]:
    """Writable registers that outlive a power cycle: name -> (value now, value saved).

    Without its id and speed, by which the servo has just been found.

    Raises:
        RegisterError: another model, or a value that no such servo takes.
        BusError: it does not answer.
    """
    from armlet.cli.arm.register_meanings import check_value
    from armlet.files import printable
    from armlet.motors.discovery import read_memory

    now = read_memory(line.bus, model, saved.id).values
    number = now[model.model_number.name]
    if number != saved.model:
        names = [line.family.label_of(each) for each in (saved.model, number)]
        raise RegisterError(
            f"servo {saved.id}: the file is of model {saved.model} ({names[0]}), this is model "
            f"{number} ({names[1]}); registers of one do not fit the other"
        )
    changes = {}
    for name, value in saved.registers.items():
        try:
            if name not in model.registers:
                raise ValueError(f"there is no register {printable(repr(name), 40)}")
            register = model.registers[name]
            found_by = register in (model.servo_id, model.baud_rate)
            fixed = register.access == "r" or register.area == "ram" or found_by
            if not fixed and now[name] != value:
                check_value(model, register, value)
                changes[name] = (now[name], value)
        except ValueError as error:
            raise RegisterError(
                f"servo {saved.id}: the file is not to be trusted: {error}"
            ) from error
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
