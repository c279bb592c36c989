"""`armlet calibrate`: find an arm's calibration with your hands, check it, write it, read it."""

from __future__ import annotations

import argparse
import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from armlet.cli.terminal.arguments import output_file
from armlet.cli.terminal.output import FAILED, STOPPED, refuse
from armlet.cli.terminal.robot import (
    add_arm,
    add_model,
    add_robot,
    arm_of,
    kind_of,
    model_option,
    motors_of,
    port_of,
)
from armlet.files import FileError, OutputError, check_output_file

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

    from armlet.calibrate.calibrate import Calibrator, Stored
    from armlet.cli.arm.calibrate_screen import Page
    from armlet.cli.terminal.screen import Keyboard
    from armlet.motors.protocol import MotorBus, MotorModel
    from armlet.robots import Calibration
    from armlet.robots.robot_model import RobotModel

    _Handler = Callable[[int, FrameType | None], Any] | signal.Handlers

TIMEOUT_S = 0.1
"""A long timeout: nothing here is in a hurry, and a lost reply would raise doubts."""

POLL_S = 0.004
FRAME_S = 1 / 15

DESCRIPTION = """\
Calibrate an arm as LeRobot does, into LeRobot's file and the servos' EEPROM: torque goes off, you
put every joint at the middle of its range, then move each through its whole range. Joints that
cross the encoder's seam are handled. Nothing is written before the end, and on q or Ctrl-C nothing
has changed. A file that is replaced is kept as FILE.bak. Without FILE it is the file
that the robot file names for the arm.
"""
EPILOG = """\
exit status: 0 done, or file and servos agree; 1 failed, given up, or they differ; 2 not started
"""


class _Quit(Exception):
    """The person gave up."""


class _Refusal(Exception):
    """What was asked for cannot be started."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the `calibrate` command."""
    parser = subparsers.add_parser(
        "calibrate",
        help="calibrate an arm; check, write or read a calibration",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", help="serial port of the arm (default: of --arm)")
    add_arm(parser)
    add_robot(parser, "the arms' ports and calibrations")
    add_model(parser)
    what = parser.add_mutually_exclusive_group()
    file: Any = {"type": Path, "metavar": "FILE", "nargs": "?", "const": Path()}
    new: Any = {**file, "type": output_file}
    what.add_argument("--output", **new, help="calibrate by hand and write FILE")
    what.add_argument("--check", **file, help="compare FILE with the servos' EEPROM")
    what.add_argument(
        "--write",
        **file,
        help="write FILE (e.g. LeRobot's) to the servos' EEPROM; switches torque off",
    )
    what.add_argument("--read", **new, help="create FILE from the servos' EEPROM")
    parser.add_argument(
        "--joints",
        metavar="NAMES",
        help="only these joints, joined by commas (default: all of the model); "
        "FILE's other joints stay as they are",
    )
    parser.add_argument("--ids", help="their servo ids (default: the model's)")
    parser.add_argument(
        "--full-turn",
        metavar="NAMES",
        help="joints that turn all the way round and need no sweep "
        "(default: the model's; none: sweep them all)",
    )
    parser.add_argument("--baud", type=int, help="default: an arm's, 1000000")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Calibrates, checks, writes or reads."""
    from armlet.control import ArmError
    from armlet.motors.protocol import BusError
    from armlet.robots import CalibrationError

    name = next((name for name in _WORK if getattr(args, name) is not None), "output")
    work = _WORK[name]
    try:
        setattr(args, name, _file(args, getattr(args, name) or Path()))
        args.kind = kind_of(args)
        args.family, args.models = motors_of(args.kind)
        args.port = port_of(args)
        return work(args)
    except FileError as error:
        return refuse("calibrate", error)
    except _Refusal as refusal:
        return refuse("calibrate", refusal)
    except _Quit:
        return FAILED
    except (KeyboardInterrupt, EOFError):
        return STOPPED
    except (ArmError, BusError, CalibrationError, OSError) as error:
        return refuse("calibrate", error, FAILED)


# --- by hand


def _by_hand(args: argparse.Namespace) -> int:
    from armlet.calibrate.calibrate import Calibrator
    from armlet.cli.terminal.screen import console, is_interactive

    ids = _chosen_ids(args)
    full_turn = _full_turn(args, ids)
    others = _other_joints(args, args.output, ids)
    if not is_interactive():
        raise _Refusal(
            "calibrating takes a person at a terminal; in scripts use --check, --write or --read"
        )
    screen = console()
    with _open(args, ids) as bus:
        models = _models(args, ids)
        turned = args.kind.reversed
        calibrator = Calibrator(bus, ids, full_turn, models=models, reversed=turned)
        with _put_back(calibrator, screen):
            with _stage(screen, f"{args.port} at {bus.baudrate} baud") as stage:
                calibration = stage.calibrate(calibrator)
            kept = _save(_merged(others, calibration), args.output)
    _report(screen, args, calibrator, calibration, kept)
    return 0


class _Stage:
    """The live screen and the keyboard, and the person's part of the procedure on them."""

    def __init__(self, live: Live, keyboard: Keyboard, page: Page) -> None:
        self._live = live
        self._keyboard = keyboard
        self._page = page

    def calibrate(self, calibrator: Calibrator) -> Calibration:
        """All steps, up to the EEPROM. Raises _Quit."""
        from armlet.calibrate.calibrate import holding

        if on := holding(calibrator.bus, calibrator.ids, calibrator.models):
            self._await_enter(lambda: None, lambda: self._page.releasing(on))
        calibrator.prepare()
        self._middle_pose(calibrator)
        self._sweep(calibrator)
        self._live.update(self._page.storing(), refresh=True)
        return calibrator.write()

    def _middle_pose(self, calibrator: Calibrator) -> None:
        found: dict[str, int] = {}

        def draw() -> RenderableType:
            return self._page.middle(calibrator.ids, found, calibrator.silent())

        self._await_enter(lambda: found.update(calibrator.read()), draw)
        while calibrator.silent():
            self._await_enter(lambda: found.update(calibrator.read()), draw)
        calibrator.start_sweep()

    def _sweep(self, calibrator: Calibrator) -> None:
        finishing = False

        def draw() -> RenderableType:
            problems = calibrator.problems() if finishing else {}
            silent = calibrator.silent()
            return self._page.sweep(calibrator.ids, calibrator.sweeps, silent, problems)

        while True:
            if self._await_key("\nr", calibrator.follow, draw) == "r":
                calibrator.restart()
                finishing = False
            elif calibrator.problems():
                finishing = True
            else:
                return

    def _await_enter(self, act: Callable[[], object], draw: Callable[[], RenderableType]) -> None:
        self._await_key("\n", act, draw)

    def _await_key(
        self, keys: str, act: Callable[[], object], draw: Callable[[], RenderableType]
    ) -> str:
        """Acts and draws until one of the keys is pressed. Raises _Quit on q."""
        frame_s = 0.0
        while True:
            act()
            if time.monotonic() >= frame_s:
                self._live.update(draw(), refresh=True)
                frame_s = time.monotonic() + FRAME_S
            key = self._keyboard.poll(POLL_S)
            if key == "q":
                raise _Quit
            if key and key in keys:
                return key


@contextlib.contextmanager
def _stage(screen: Console, title: str) -> Iterator[_Stage]:
    from rich.live import Live

    from armlet.cli.arm.calibrate_screen import Page
    from armlet.cli.terminal.screen import Keyboard

    with Keyboard() as keyboard, Live(console=screen, auto_refresh=False, transient=True) as live:
        yield _Stage(live, keyboard, Page(screen, title))


@contextlib.contextmanager
def _put_back(calibrator: Calibrator, screen: Console) -> Iterator[None]:
    """On any way out but success, EEPROM gets its old values back, and the person reads so."""
    with _signals((signal.SIGTERM, signal.SIGHUP), signal.default_int_handler):
        try:
            yield
        except BaseException as error:
            with _signals((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), signal.SIG_IGN):
                changed = calibrator.restore()
            given_up = isinstance(error, _Quit | KeyboardInterrupt | EOFError)
            word = "Given up" if given_up else "Not calibrated"
            what = (
                "the servos have their previous values back" if changed else "nothing was written"
            )
            with contextlib.suppress(OSError):  # the terminal may be what is gone
                screen.print(f" {word}: {what}.", style="attention")
            raise


@contextlib.contextmanager
def _signals(numbers: tuple[signal.Signals, ...], handler: _Handler) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _report(
    screen: Console,
    args: argparse.Namespace,
    calibrator: Calibrator,
    calibration: Calibration,
    kept: Path | None,
) -> None:
    from armlet.cli.arm.calibrate_screen import summary

    screen.print(summary(calibration, calibrator.sweeps))
    values = calibrator.eeprom.changes
    screen.print()
    count = len(calibration)
    _say(screen, "servos", f"{count} hold it: {values} EEPROM values written and read back")
    _say(screen, "file", f"{args.output}{_kept(kept)}")


# --- without hands


def _check(args: argparse.Namespace) -> int:
    from armlet.calibrate.calibrate import expected, read_stored
    from armlet.cli.arm.calibrate_screen import comparison
    from armlet.cli.terminal.screen import console
    from armlet.control import ArmError

    calibration = _chosen_entries(args, args.check)
    ids = {joint: entry.id for joint, entry in calibration.items()}
    models = _models(args, ids)
    wanted = expected(calibration, models)
    found: dict[str, Stored] = {}
    with _open(args, ids) as bus:
        for joint, id in ids.items():
            with contextlib.suppress(ArmError):  # shown in the table as no answer
                found |= read_stored(bus, {joint: id}, models)
    screen = console()
    screen.print(comparison(ids, wanted, found))
    if found == wanted:
        _say(screen, "same", f"the servos hold {args.check}")
        return 0
    differing = [joint for joint in wanted if found.get(joint) != wanted[joint]]
    _say(screen, "different", ", ".join(differing), "bad")
    if len(found) < len(wanted):
        fix = "check power, cables, ids and baud rate of what does not answer"
    else:
        again = f"armlet calibrate --port {args.port} {model_option(args, args.kind)}--write"
        fix = (
            f"if {args.check} is this arm's file: {again} {args.check}; else calibrate again with "
            "--output"
        )
    _say(screen, "fix", fix, "name")
    return 1


def _write(args: argparse.Namespace) -> int:
    from armlet.calibrate.calibrate import Calibrator, release, verify_models, write_calibration
    from armlet.cli.terminal.screen import console

    calibration = _chosen_entries(args, args.write)
    ids = {joint: entry.id for joint, entry in calibration.items()}
    screen = console()
    with _open(args, ids) as bus:
        models = _models(args, ids)
        calibrator = Calibrator(bus, ids, models=models)
        with _put_back(calibrator, screen):
            verify_models(bus, ids, models)
            release(bus, ids, models)
            write_calibration(calibrator.eeprom, calibration)
    changes = calibrator.eeprom.changes
    _say(
        screen,
        "written",
        f"{args.write}: {changes} EEPROM values of {len(ids)} servos changed and read back, "
        "torque off",
    )
    return 0


def _read(args: argparse.Namespace) -> int:
    from armlet.calibrate.calibrate import read_calibration, verify_models
    from armlet.cli.terminal.screen import console

    ids = _chosen_ids(args)
    others = _other_joints(args, args.read, ids)
    with _open(args, ids) as bus:
        models = _models(args, ids)
        verify_models(bus, ids, models)
        calibration = read_calibration(bus, ids, models)
    kept = _save(_merged(others, calibration), args.read)
    _say(console(), "read", f"{len(ids)} servos into {args.read}{_kept(kept)}")
    return 0


_WORK = {"output": _by_hand, "check": _check, "write": _write, "read": _read}


def _say(screen: Console, word: str, text: str, style: str = "good") -> None:
    from rich.text import Text

    screen.print(Text.assemble(" ", (word.ljust(9), style), "  ", text), soft_wrap=True)


# --- files and options


def _file(args: argparse.Namespace, given: Path) -> Path:
    """The file that was named, or else the calibration of the robot file's arm.

    Raises FileError.
    """
    if given != Path():
        return given
    arm = arm_of(args) if args.port is None else None
    if arm is None:
        raise FileError(
            "name a FILE: --output, --check, --write or --read FILE; or give --arm NAME"
        )
    return Path(arm.calibration)


@contextlib.contextmanager
def _open(args: argparse.Namespace, ids: Mapping[str, int]) -> Iterator[MotorBus]:
    from armlet.motors.protocol import PortError

    baudrate = args.family.baudrate if args.baud is None else args.baud
    _require_family(args, baudrate, list(ids.values()))
    bus: MotorBus = args.family.make_bus(args.port, baudrate, TIMEOUT_S)
    try:
        bus.open()
    except PortError as error:
        raise _Refusal(str(error)) from error
    with bus:
        yield bus


def _require_family(args: argparse.Namespace, baudrate: int, ids: list[int]) -> None:
    """Raises _Refusal if nobody named a kind of arm, and the servos are not the usual kind's."""
    from armlet.motors import registry
    from armlet.motors.discovery import family_at
    from armlet.motors.protocol import PortError

    if args.model is not None or args.arm is not None:
        return
    others = [each for each in registry.families() if each.name != args.family.name]
    try:
        found = family_at(args.port, [args.family, *others], baudrate, ids)
    except PortError as error:
        raise _Refusal(str(error)) from error
    if found is not None and found is not args.family:
        raise _Refusal(
            f"{args.port}: expected servos of an {args.kind.title} ({args.family.name}), found "
            f"{found.name}; name the kind of arm, as in --model koch"
        )


def _models(args: argparse.Namespace, ids: Mapping[str, int]) -> dict[str, MotorModel]:
    """What each joint's servo is; a joint that the kind of arm lacks has its first one's."""
    models: dict[str, MotorModel] = args.models
    usual = next(iter(models.values()))
    return {joint: models.get(joint, usual) for joint in ids}


def _save(calibration: Calibration, path: Path) -> Path | None:
    from armlet.robots.calibration import keep_previous, save

    kept = keep_previous(path)
    save(calibration, path)
    return kept


def _kept(kept: Path | None) -> str:
    return f" (the one before is kept as {kept.name})" if kept else ""


def _merged(others: Calibration, found: Calibration) -> Calibration:
    return {**others, **found}


def _other_joints(args: argparse.Namespace, path: Path, ids: dict[str, int]) -> Calibration:
    """What FILE says already, if only some joints are asked for. Raises _Refusal."""
    from armlet.robots import CalibrationError
    from armlet.robots.calibration import load

    try:
        check_output_file(path)
    except OutputError as error:
        raise _Refusal(str(error)) from error
    if (args.joints is None and args.ids is None) or not path.exists():
        return {}
    try:
        others = load(path)
    except CalibrationError as error:
        raise _Refusal(str(error)) from error
    for joint, entry in others.items():
        if joint not in ids and entry.id in ids.values():
            raise _Refusal(f"{path}: id {entry.id} is {joint} already; check --joints and --ids")
    return others


def _chosen_entries(args: argparse.Namespace, path: Path) -> Calibration:
    """The file's joints, or those of them that --joints names. Raises _Refusal."""
    from armlet.robots import CalibrationError
    from armlet.robots.calibration import load

    if args.ids is not None:
        raise _Refusal(f"--ids: {path} says the ids; use --joints to choose")
    try:
        calibration = load(path)
    except CalibrationError as error:
        raise _Refusal(str(error)) from error
    joints = _names(args.joints) or list(calibration)
    if unknown := [joint for joint in joints if joint not in calibration]:
        raise _Refusal(f"--joints: {path} has {', '.join(calibration)}, not {', '.join(unknown)}")
    return {joint: calibration[joint] for joint in joints}


def _chosen_ids(args: argparse.Namespace) -> dict[str, int]:
    """Servo ids by joint. Raises _Refusal."""
    kind: RobotModel = args.kind
    standard = kind.ids
    joints, ids = _names(args.joints), _numbers(args.ids)
    if not joints and not ids:
        return standard
    if not joints:
        by_id = {number: joint for joint, number in standard.items()}
        joints = [by_id.get(id, "") for id in ids]
        if not all(joints):
            raise _Refusal(
                f"--ids {args.ids}: ids beyond the {kind.title}'s need names, give --joints as well"
            )
    if not ids:
        if unknown := [joint for joint in joints if joint not in standard]:
            raise _Refusal(
                f"--joints: not an {kind.title}'s: {', '.join(unknown)}; give --ids as well"
            )
        ids = [standard[joint] for joint in joints]
    if len(set(joints)) != len(joints) or len(set(ids)) != len(ids) or len(joints) != len(ids):
        raise _Refusal(
            f"--joints and --ids: expected as many ids as joints, none twice, found {joints} "
            f"and {ids}"
        )
    return dict(zip(joints, ids, strict=True))


def _full_turn(args: argparse.Namespace, ids: dict[str, int]) -> list[str]:
    if args.full_turn is None:
        turning = args.kind.full_turn
        return [joint for joint in ids if joint in turning]
    joints = [] if args.full_turn == "none" else _names(args.full_turn)
    if unknown := [joint for joint in joints if joint not in ids]:
        raise _Refusal(f"--full-turn: expected some of {', '.join(ids)}, found {unknown}")
    return joints


def _names(text: str | None) -> list[str]:
    names = [] if text is None else [name.strip() for name in text.split(",")]
    if not all(names):
        raise _Refusal(f"expected names joined by commas, found {text!r}")
    return names


def _numbers(text: str | None) -> list[int]:
    try:
        ids = [int(part) for part in _names(text)]
    except ValueError:
        raise _Refusal(f"--ids: expected numbers joined by commas, found {text!r}") from None
    if not all(0 <= id <= 252 for id in ids):
        raise _Refusal(f"--ids: expected 0..252, found {text!r}")
    return ids
