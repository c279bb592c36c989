"""`armlet emulate`: an emulated chain of servos behind a serial port."""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from armlet.cli.terminal.output import refuse
from armlet.files import OutputError, check_output, explained
from armlet.priority import Role, raise_process, raise_thread

if TYPE_CHECKING:
    from armlet.motors.emulation import EmulatedBus

_IDS = "1,2,3,4,5,6"
_DESCRIPTION = """\
Serve emulated servos on a pseudo-terminal until SIGINT or SIGTERM. Every tool that opens a
servo bus can be tried on it:

  an arm that is set up       armlet emulate --link /tmp/arm --calibration my_arm.json
  an arm to calibrate         armlet emulate --link /tmp/arm --horn-offsets 1 --hand sweep
  new servos, to be given ids armlet emulate --link /tmp/arm --factory
"""
_TIMEOUT_S = 1.0


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the `emulate` command."""
    parser = subparsers.add_parser(
        "emulate",
        help="serve emulated servos on a pseudo-terminal",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--link", required=True, metavar="PATH", help="symbolic link to the port")
    parser.add_argument("--ids", help=f"servo ids (default {_IDS}, or those of --calibration)")
    parser.add_argument(
        "--motors",
        default="sts3215",
        metavar="MODEL",
        help="their model: sts3215, xl330-m077, xl330-m288 or xl430-w250; or one for each servo, "
        "joined by commas (default %(default)s)",
    )
    parser.add_argument("--baud", default="1000000", help="line speed (default %(default)s)")
    parser.add_argument("--paced", action="store_true", help="send bytes at the speed of the wire")
    arm = parser.add_argument_group("the arm").add_mutually_exclusive_group()
    arm.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE",
        help="LeRobot calibration JSON whose EEPROM values and mechanical ranges the servos have",
    )
    arm.add_argument(
        "--horn-offsets",
        type=int,
        metavar="SEED",
        help="mount the horns at random angles, so that the arm has to be calibrated",
    )
    arm.add_argument(
        "--factory",
        action="store_true",
        help="new servos, all with id 1, on the line one at a time: Enter here, or SIGUSR1, puts "
        "the next in its place, and after the last one all together",
    )
    parser.add_argument(
        "--hand",
        choices=("sweep",),
        help="a hand holds each joint in the middle while its torque is off; Enter here, or "
        "SIGUSR1, starts and ends a movement from stop to stop",
    )
    parser.add_argument(
        "--voltage",
        type=float,
        metavar="V",
        help="supply voltage (default: what the servos are made for)",
    )
    parser.add_argument(
        "--loss",
        type=float,
        default=0.0,
        metavar="PROBABILITY",
        help="share of packets lost in each direction (default %(default)s)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serves until asked to stop; 0, or 2 with one line on stderr for what cannot be served."""
    try:
        bus, what = _make_bus(args)
        _check_link(Path(args.link))
        # Servos answer whatever the computer does: what stands in for them goes before its load.
        raise_process(Role.EMULATOR.value.nice)
        raise_thread(Role.EMULATOR.value.realtime, inherited=True)
        bus.plug()
    except ValueError as error:
        return refuse("emulate", error)
    except OutputError as error:
        return refuse("emulate", f"--link: {error}")
    except OSError as error:
        # Only what is said of a path is the link's; the rest is of the pseudo terminal behind it.
        what = "pseudo terminal" if error.filename is None else "--link"
        return refuse("emulate", f"{what}: {explained(error)}")
    paced = ", wire-paced" if args.paced else ""
    try:
        if args.factory:
            line = _OneByOne(bus)
            print(f"{what} on {bus.port} at {args.baud} baud{paced}; {line.shown}", flush=True)
            _serve(bus, line.exchange, watch=True)
        elif args.hand:
            hand = _Hand(bus)
            print(f"{what} on {bus.port} at {args.baud} baud{paced}; {hand.shown}", flush=True)
            _serve(bus, hand.turn, watch=True)
        else:
            print(f"{what} on {bus.port} at {args.baud} baud{paced}", flush=True)
            _serve(bus, lambda: None, watch=False)
    finally:
        bus.close()
    return 0


def _make_bus(args: argparse.Namespace) -> tuple[EmulatedBus, str]:
    """The bus, and words for it. Raises ValueError for options that make no sense."""
    from armlet.motors.emulation.arm import SweepingHand, mount, mount_at_random, span_of
    from armlet.motors.emulation.emulator import EmulatedBus
    from armlet.robots import calibration

    joints = calibration.load(args.calibration) if args.calibration else {}
    by_id = {joint.id: joint for joint in joints.values()}
    ids = _parse_ids(",".join(map(str, by_id)) or _IDS if args.ids is None else args.ids)
    if by_id and set(ids) != set(by_id):
        raise ValueError(f"--ids: {args.calibration} is of the servos {sorted(by_id)}, found {ids}")
    _check(args)
    motors = _motors(args.motors, ids)
    bus = EmulatedBus(
        [1] * len(ids) if args.factory else ids,
        link=args.link,
        baudrate=_parse_baud(args.baud),
        paced=args.paced,
        volts=args.voltage,
        motors=motors,
    )
    bus.faults.drop_probability = bus.faults.request_drop_probability = args.loss
    for id, joint in by_id.items():
        servo = bus.servos[id]
        bus.calibrate(id, joint.homing_offset, joint.range_min, joint.range_max, joint.drive_mode)
        span = None if span_of(id) is None else joint.range_max - joint.range_min
        mount(servo, servo.actual_at((joint.range_min + joint.range_max) / 2), span)
        servo.power_cycle()
    if args.horn_offsets is not None:
        mount_at_random(bus.chain, args.horn_offsets)
    if args.hand:
        for servo in bus.chain:
            if servo.stops is None and not by_id:
                mount(servo, servo.actual, span_of(servo.id))
            servo.hand = SweepingHand(servo)
    if args.factory:
        return bus, f"serving {len(ids)} factory-fresh servos"
    return bus, f"serving servos {','.join(map(str, ids))}"


def _motors(text: str, ids: list[int]) -> list[str]:
    """The model of each servo. Raises ValueError."""
    from armlet.motors.emulation.kinds import KINDS

    names = text.split(",")
    if unknown := [name for name in names if name not in KINDS]:
        raise ValueError(f"--motors: expected {', '.join(KINDS)}, found {', '.join(unknown)}")
    if len(names) == 1:
        return names * len(ids)
    if len(names) != len(ids):
        raise ValueError(f"--motors: expected one, or {len(ids)} for {ids}, found {len(names)}")
    if len({KINDS[name].framing for name in names}) > 1:
        raise ValueError(f"--motors: servos of two families cannot share a line, found {text}")
    return names


class _OneByOne:
    """The servos of a bus on its line one at a time; after the last one, all."""

    def __init__(self, bus: EmulatedBus) -> None:
        self._bus = bus
        self._servos = bus.chain
        self._turn = 0
        bus.connect(self._servos[:1])

    @property
    def shown(self) -> str:
        """What is on the line now."""
        count = len(self._servos)
        if self._turn == count:
            return f"all {count} servos are on the line"
        return f"servo {self._turn + 1} of {count} alone is on the line, Enter for the next"

    def exchange(self) -> None:
        """Puts the next one on the line and says so."""
        count = len(self._servos)
        self._turn = (self._turn + 1) % (count + 1)
        alone = self._servos[self._turn : self._turn + 1]
        self._bus.connect(alone or self._servos)
        print(self.shown, flush=True)


class _Hand:
    """The hands on all joints: they hold the middle, or sweep."""

    def __init__(self, bus: EmulatedBus) -> None:
        from armlet.motors.emulation.arm import SweepingHand

        self._hands = [each.hand for each in bus.chain if isinstance(each.hand, SweepingHand)]

    @property
    def shown(self) -> str:
        """What it does now."""
        if self._hands[0].sweeping:
            return "the hand moves the joints, Enter to hold the middle"
        return "the hand holds the middle, Enter to move the joints"

    def turn(self) -> None:
        """Does the other thing and says so."""
        for hand in self._hands:
            hand.sweeping = not hand.sweeping
        print(self.shown, flush=True)


# A closed terminal, too: a link that stays would lead to the next terminal of that number.
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _serve(bus: EmulatedBus, exchange: Callable[[], None], watch: bool) -> None:
    """Until a signal of `_ENDING`; Enter and SIGUSR1 exchange servos, or turn the hand."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (*_ENDING, *([signal.SIGUSR1] if watch else [])):
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    watched = [woken, sys.stdin.fileno()] if watch else [woken]
    try:
        while True:
            ready, _, _ = select.select(watched, [], [], _TIMEOUT_S)
            bus.check()
            came = [fd for fd in ready if fd != woken]
            numbers = os.read(woken, 100) if woken in ready else b""
            if any(number in numbers for number in _ENDING):
                return
            turns = numbers.count(signal.SIGUSR1)
            for fd in came:
                typed = os.read(fd, 1000)
                turns += typed.count(b"\n")
                if not typed:
                    watched.remove(fd)
            for _ in range(turns):
                exchange()
    finally:
        signal.set_wakeup_fd(-1)
        os.close(woken)
        os.close(wake)


def _check_link(link: Path) -> None:
    """Raises OutputError if it cannot be made."""
    from armlet.motors.emulation.line import check_link

    check_output(link)
    if not link.absolute().parent.is_dir():
        raise OutputError(f"there is no folder {link.parent}; make it first")
    try:
        check_link(link)
    except FileExistsError as error:
        raise OutputError(str(error)) from error


def _check(args: argparse.Namespace) -> None:
    if args.voltage is not None and not 0 < args.voltage <= 25.5:
        raise ValueError(f"--voltage: expected volts above 0, 25.5 at most, found {args.voltage:g}")
    if not 0 <= args.loss <= 1:
        raise ValueError(f"--loss: expected a probability, 0..1, found {args.loss:g}")


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
