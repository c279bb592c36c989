"""`armlet setup-motors`: gives the servos of a new arm their ids, one at a time."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from armlet.cli.terminal.output import FAILED, STOPPED, refuse
from armlet.cli.terminal.robot import (
    add_arm,
    add_model,
    add_robot,
    kind_of,
    model_option,
    motors_of,
    port_of,
)

if TYPE_CHECKING:
    from rich.console import Console

    from armlet.cli.terminal.enter_key import EnterKey
    from armlet.motors.discovery import FoundServo
    from armlet.robots.robot_model import RobotModel

# A computer that is busy may miss an answer.
_SEARCHES = 3

_COUNTS = {4: "four", 5: "five", 6: "six", 7: "seven"}


def order(kind: RobotModel) -> tuple[str, ...]:
    """LeRobot's order: from the gripper down, so that the chain grows towards the controller."""
    return tuple(reversed(tuple(kind.joints)))


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the `setup-motors` command."""
    from armlet.cli.arm.scan import add_timeout

    parser = subparsers.add_parser(
        "setup-motors",
        help="give new servos their ids",
        description="Give the servos of a new arm their ids and speed, in LeRobot's order (gripper "
        "first). Connect one servo at a time when asked to; nothing is written while "
        "several answer.",
        epilog="Exit status: 0 all set, 1 a servo failed, 2 not started, 130 stopped by Ctrl-C. To "
        "go on later: --from JOINT.",
    )
    parser.add_argument("--port", metavar="PATH", help="serial port (default: of --arm)")
    add_arm(parser)
    add_robot(parser, "the arms' ports")
    parser.add_argument(
        "--from",
        dest="first",
        metavar="JOINT",
        help="joint to begin with, where an earlier run ended (default: gripper)",
    )
    add_model(parser)
    add_timeout(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Walks through the joints; see the epilog for the exit status."""
    from armlet.cli.arm.eeprom import WriteRefused
    from armlet.cli.arm.scan import chosen_device
    from armlet.cli.terminal.screen import console
    from armlet.motors.protocol import BusError

    kind = kind_of(args)
    args.port = port_of(args)
    option = model_option(args, kind)
    joints = order(kind)
    joint = args.first or joints[0]
    try:
        if joint not in joints:
            raise ValueError(f"--from: expected one of {', '.join(joints)}, found {joint!r}")
        chosen_device(args.port)
        done, left = joints[: joints.index(joint)], joints[joints.index(joint) :]
        walk = Walk(console(), args.port, args.timeout, kind, option, done)
        for joint in left:
            walk.set_up(joint)
        walk.verify()
    except (ValueError, PortUnusable) as error:
        return refuse("setup-motors", error)
    except (BusError, WriteRefused) as error:
        return refuse("setup-motors", error, FAILED)
    except EOFError:
        why = "expected the Enter key, found the end of the input; run it in a terminal"
        return refuse("setup-motors", why)
    except KeyboardInterrupt:
        print(
            f"\nStopped; each servo is either set up or unchanged. Go on with: armlet "
            f"setup-motors --port {args.port} "
            f"{option}--from {joint}",
            file=sys.stderr,
        )
        return STOPPED
    return 0


class PortUnusable(Exception):
    """The port cannot be asked."""


class Walk:
    """The dialogue, and what it has done so far.

    Args:
        screen: where to talk.
        port: serial port.
        timeout_s: how long to wait for answers when all servos are called.
        kind: whose joints.
        option: what has to be typed for that kind, and a space.
        done: joints that an earlier run has set up.
    """

    def __init__(
        self,
        screen: Console,
        port: str,
        timeout_s: float,
        kind: RobotModel,
        option: str = "",
        done: tuple[str, ...] = (),
    ) -> None:
        from armlet.cli.terminal.enter_key import EnterKey

        self._screen = screen
        self._port = port
        self._timeout_s = timeout_s
        self._key: EnterKey = EnterKey()
        self._kind = kind
        self._option = option
        self._family, self._models = motors_of(kind)
        self._ids = kind.ids
        self._given = {self._ids[joint]: joint for joint in done}

    def set_up(self, joint: str) -> None:
        """Until the joint's servo is set: asks for it, finds it, gives it its id.

        Raises PortUnusable, WriteRefused, BusError, EOFError.
        """
        id = self._ids[joint]
        joints = order(self._kind)
        step = f"{joints.index(joint) + 1}/{len(joints)}"
        self._say(f"\n{step}  Connect the {joint}'s motor ALONE to the board, with power.", "name")
        while True:
            self._ask("     Press Enter when it is connected.")
            found = self._search()
            objection = self._objection(joint, found)
            if objection is None:
                break
            self._say(f"     {objection}", "attention")
        (servo,) = found
        self._give(servo, id, joint)
        self._given[id] = joint

    def verify(self) -> None:
        """Until all answer on one chain. Raises PortUnusable, EOFError."""
        joints = tuple(self._ids)
        count = _COUNTS.get(len(joints), str(len(joints)))
        ends = f"board - {joints[0]} ... {joints[-1]}"
        self._say(f"\nNow connect all {count} in a chain, {ends}.", "name")
        ids = list(self._ids.values())
        while True:
            self._ask("     Press Enter when they are connected.")
            found = {servo.id: servo for servo in self._search(ids, (self._family.baudrate,))}
            self._show(found)
            absent = [joint for joint in joints if self._ids[joint] not in found]
            shared = [servo.id for servo in found.values() if servo.shared]
            if not absent and not shared:
                break
            trouble = f"{', '.join(absent)} missing: check the cable before the first of them"
            if shared:
                trouble = f"answers of id {shared} are garbled: two servos have it, or a loose plug"
            self._say(f"     {trouble}", "attention")
        next_step = f"armlet calibrate --port {self._port} {self._option}--output FILE"
        self._say(f"     All {count} answer. Next: {next_step}", "good")

    def _objection(self, joint: str, found: tuple[FoundServo, ...]) -> str | None:
        """Why nothing may be written, and what to do; None if it may."""
        if not found:
            return (
                "No motor answers, at any speed. Check the power supply and the cable, and that "
                "the plug sits firmly."
            )
        if len(found) > 1:
            ids = ", ".join(f"{servo.id}" for servo in found)
            return f"{len(found)} motors answer (ids {ids}). Leave the {joint}'s only."
        (servo,) = found
        if servo.shared:
            return (
                f"Answers of id {servo.id} are garbled: two motors are connected, or a plug is "
                f"loose. Leave the {joint}'s only."
            )
        wanted = self._models[joint]
        if servo.model != wanted.number:
            return (
                f"This is a {servo.model_name}, expected an {wanted.label}. Connect the right "
                "motor."
            )
        if servo.id in self._given:
            return (
                f"This is the {self._given[servo.id]}'s motor, it has id {servo.id} already. "
                f"Disconnect it and connect the {joint}'s."
            )
        return None

    def _give(self, servo: FoundServo, id: int, joint: str) -> None:
        from armlet.cli.arm.eeprom import move_servo

        baudrate = self._family.baudrate
        if (servo.id, servo.baudrate) == (id, baudrate):
            self._say(f"     {joint}: has id {id} at {baudrate} baud already", "good")
            return
        with self._family.make_bus(self._port, servo.baudrate) as bus:
            move_servo(bus, self._models[joint], servo.id, id, baudrate)
        self._say(
            f"     {joint}: id {servo.id} at {servo.baudrate} baud -> id {id} at "
            f"{baudrate} baud, read back",
            "good",
        )

    def _search(
        self, ids: list[int] | None = None, baudrates: tuple[int, ...] | None = None
    ) -> tuple[FoundServo, ...]:
        """Whoever answers. Raises PortUnusable."""
        from armlet.motors.discovery import probe

        with self._screen.status("") as status:

            def watch(baud: int) -> None:
                status.update(f"looking for motors at {baud} baud")

            for _ in range(_SEARCHES):
                answer = probe(
                    self._port,
                    self._family,
                    ids,
                    baudrates or self._family.baudrates,
                    timeout_s=self._timeout_s,
                    watch=watch if self._screen.is_terminal else None,
                )
                if answer.servos or answer.problem:
                    break
        if answer.problem:
            raise PortUnusable(f"{self._port}: {answer.problem}; stop what uses it, or replug it")
        return answer.servos

    def _show(self, found: dict[int, FoundServo]) -> None:
        from armlet.cli.terminal.listing import show_table

        rows = []
        for joint, id in self._ids.items():
            servo = found.get(id)
            cells = (joint, str(id), "missing", "")
            if servo is not None:
                cells = (joint, str(id), servo.model_name, servo.firmware or "?")
            rows.append((cells, "bad" if servo is None else ""))
        show_table(self._screen, ("joint", "id>", "model", "firmware"), rows)

    def _ask(self, text: str) -> None:
        self._say(text, "key")
        self._key.line()

    def _say(self, text: str, style: str) -> None:
        from armlet.cli.terminal.listing import say

        say(self._screen, text, style)
