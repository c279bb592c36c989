"""The steps of `armlet setup` about arms: their ports, their servos' ids, their calibrations."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .dialogue import Dialogue, SetupFailed

if TYPE_CHECKING:
    from armlet.motors.devices import SerialDevice
    from armlet.robots.robot_file import ArmEntry

CHOICES = {
    "1": ("follower",),
    "2": ("follower", "leader"),
    "4": ("left_follower", "left_leader", "right_follower", "right_leader"),
}
_LED_BY = {"leader": "follower"}
_WAIT_S = 120.0
_TIMEOUT_S = 0.8


def ports(dialogue: Dialogue) -> None:
    """Which arms there are, and the serial port of each. Raises SetupFailed, EOFError."""
    dialogue.heading(1, "Ports")
    for name in _names(dialogue):
        port = dialogue.given.ports.get(name) or _found(dialogue, name)
        entry: dict[str, Any] = {"port": port}
        if name in dialogue.given.models:
            entry["model"] = dialogue.given.models[name]
        known = dialogue.writer.robot.arms
        if name not in known:
            entry["calibration"] = f"{name}.json"
            if leads := _leads(name):
                entry["teleoperates"] = leads
        dialogue.writer.set_arm(name, entry)
        dialogue.say(f"   {name}: {port}", "good")


def ids(dialogue: Dialogue) -> None:
    """New servos get their ids. Raises SetupFailed, EOFError."""
    from armlet.cli.arm import setup_motors

    dialogue.heading(2, "Servo ids")
    for name, arm in dialogue.writer.robot.arms.items():
        there = _answering(arm)
        wanted = list(arm.kind.ids.values())
        if sorted(there) == sorted(wanted):
            dialogue.say(f"   {name}: servos {_list(there)} answer", "good")
            continue
        dialogue.say(f"   {name}: of servos {_list(wanted)}, {_list(there)} answer", "attention")
        if dialogue.agrees("   Are these new servos? Shall they get their ids now?", not there):
            _run(setup_motors, f"ids of the {name}", port=arm.port, model=arm.model)
        else:
            raise SetupFailed(
                f"{name}: expected servos {_list(wanted)}, found {_list(there)}; check its power "
                f"and cables: armlet scan --port {arm.port} --baud all"
            )


def calibrate(dialogue: Dialogue) -> None:
    """Every arm's calibration: kept, copied or made by hand. Raises SetupFailed, EOFError."""
    from armlet.files import expanded
    from armlet.robots.calibration import CalibrationError, load

    dialogue.heading(3, "Calibration")
    for name, arm in dialogue.writer.robot.arms.items():
        file = Path(arm.calibration)
        given = dialogue.given.calibrations.get(name)
        if given is None and file.exists():
            with contextlib.suppress(CalibrationError):
                load(file)
                if not dialogue.agrees(f"   {name}: {file} is there. Calibrate again?", False):
                    given = str(file)
        if given is None:
            given = dialogue.ask(
                f"   {name}: Enter to calibrate by hand; or the path of a LeRobot calibration of it"
            )
        file.parent.mkdir(parents=True, exist_ok=True)
        if given:
            _take(dialogue, name, arm, expanded(given, Path(), "calibration"))
        else:
            _calibrate(f"calibration of the {name}", arm, output=file)


def _names(dialogue: Dialogue) -> tuple[str, ...]:
    given, known = dialogue.given, tuple(dialogue.writer.robot.arms)
    if given.arms or (given.ports and not known):
        return _checked(given.arms or tuple(given.ports))
    if known:
        if given.ports:
            return tuple(name for name in (*known, *given.ports) if name in given.ports)
        dialogue.say(f"   The file has {', '.join(known)}.")
        if not dialogue.agrees("   Find their ports again?", False):
            return ()
        return known
    dialogue.say("   1: a follower alone; 2: a follower and its leader; 4: two of both")
    while (choice := dialogue.ask("   How many arms?", "2")) not in CHOICES:
        dialogue.say(f"   One of {', '.join(CHOICES)}, please.", "attention")
    return CHOICES[choice]


def _checked(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        leads = _leads(name)
        if leads and leads not in names:
            raise SetupFailed(f"{name} leads {leads}, which is not among {', '.join(names)}")
    return names


def _leads(name: str) -> str | None:
    """Whom an arm of this name leads: left_leader the left_follower."""
    for leader, follower in _LED_BY.items():
        if name.endswith(leader):
            return name.removesuffix(leader) + follower
    return None


def _found(dialogue: Dialogue, name: str) -> str:
    """The port the person plugs in again. Raises SetupFailed, EOFError."""
    from armlet.cli.arm.find_port import unplug_and_plug
    from armlet.motors.devices import serial_devices

    def look() -> list[SerialDevice]:
        return serial_devices(dialogue.given.among)

    while True:
        dialogue.say(f"\n   The {name}'s port.", "name")
        found = unplug_and_plug(dialogue.screen, dialogue.key, look, _WAIT_S, name)
        taken = {arm.port: other for other, arm in dialogue.writer.robot.arms.items()}
        owner = taken.get(found[0].address, name) if found else name
        if len(found) == 1 and owner == name:
            return str(found[0].address)
        if len(found) == 1:
            dialogue.say(f"   {found[0].address} is the {owner}'s.", "attention")
        elif found:
            dialogue.say(f"   {len(found)} ports appeared; plug one in at a time.", "attention")
        if not dialogue.agrees("   Try again?", True):
            raise SetupFailed(f"the {name}'s port was not found")


def _answering(arm: ArmEntry) -> list[int]:
    """Ids that answer at the arm's speed. Raises SetupFailed, FileError."""
    from armlet.cli.terminal.robot import motors_of
    from armlet.motors.discovery import probe

    port = arm.port
    if not Path(port).is_char_device():
        raise SetupFailed(f"{port} is not there; plug the arm in, or find it: armlet setup ports")
    answer = probe(port, motors_of(arm.kind)[0], timeout_s=_TIMEOUT_S)
    if answer.problem:
        raise SetupFailed(f"{port}: {answer.problem}; stop what uses it, or replug it")
    shared = [servo.id for servo in answer.servos if servo.shared]
    return [] if shared else [servo.id for servo in answer.servos]


def _take(dialogue: Dialogue, name: str, arm: ArmEntry, source: Path) -> None:
    """A calibration that exists: copied to its place, and in the servos. Raises SetupFailed."""
    from armlet.files import keep_previous
    from armlet.robots.calibration import CalibrationError, load, save

    file = Path(arm.calibration)
    try:
        found = load(source)
    except CalibrationError as error:
        raise SetupFailed(str(error)) from error
    _refuse_another_arms(dialogue, name, arm, source)
    if source.absolute() != file.absolute():
        keep_previous(file)
        save(found, file)
        dialogue.say(f"   {name}: {source} copied to {file}", "good")
    if _calibrate("", arm, check=file) == 0:
        return
    question = f"   Write {file.name} into the {name}'s servos? Its torque goes off."
    if name in dialogue.given.calibrations or dialogue.agrees(question, False):
        _calibrate(f"calibration of the {name}", arm, write=file)
    else:
        dialogue.say("   Left as they are; armlet doctor will say so.", "attention")


def _refuse_another_arms(dialogue: Dialogue, name: str, arm: ArmEntry, source: Path) -> None:
    """A file that is not this arm's, as far as its servos tell. Raises SetupFailed, EOFError."""
    from armlet.files import expanded
    from armlet.motors.protocol import BusError
    from armlet.preflight.servos import held, read_chain
    from armlet.robots.whose import owner

    try:
        stored = held(read_chain(arm.port, tuple(arm.kind.ids.values()), arm.kind))
    except BusError:
        return  # the check that follows says it
    arms = {other: Path(each.calibration) for other, each in dialogue.writer.robot.arms.items()}
    given = {
        other: expanded(path, Path(), "calibration")
        for other, path in dialogue.given.calibrations.items()
    }
    others = {other: path for other, path in {**arms, **given}.items() if other != name}
    whose = owner(stored, source, others)
    if whose is None:
        return
    if whose.name:
        raise SetupFailed(f"{name}: {source} is not its calibration: {whose}")
    dialogue.say(f"   {name}: {whose}", "attention")


def _calibrate(what: str, arm: ArmEntry, **answers: Any) -> int:
    """`armlet calibrate`. what: of a step that must succeed. Raises SetupFailed."""
    from armlet.cli.arm import calibrate

    choices = dict.fromkeys(("output", "check", "write", "read"))
    return _run(calibrate, what, port=arm.port, model=arm.model, **{**choices, **answers})


def _run(command: Any, what: str, **answers: Any) -> int:
    """Another command, as if typed. Raises KeyboardInterrupt, SetupFailed."""
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    defaults = vars(parser.parse_args([command.__name__.rpartition(".")[2].replace("_", "-")]))
    status: int = command.run(argparse.Namespace(**{**defaults, **answers, **_NO_ROBOT}))
    if status == 130:
        raise KeyboardInterrupt
    if status and what:
        raise SetupFailed(f"{what} did not succeed")
    return status


_NO_ROBOT: Mapping[str, Any] = {"arm": None, "robot": "none"}


def _list(ids: list[int]) -> str:
    return ", ".join(map(str, sorted(ids))) or "none"
