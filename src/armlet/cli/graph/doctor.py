"""`armlet doctor`: what is wrong with this computer, arm and cameras, and what to type."""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from armlet.cli.terminal.output import refuse
from armlet.cli.terminal.robot import add_model, add_robot, robot_of
from armlet.files import FileError

if TYPE_CHECKING:
    from rich.console import Console

    from armlet.findings import Finding
    from armlet.motors.devices import SerialDevice
    from armlet.preflight import Check
    from armlet.preflight.servos import Chain
    from armlet.robots.calibration import Calibration
    from armlet.robots.robot_file import RobotFile
    from armlet.robots.robot_model import RobotModel

Report = list[tuple["Check", "Finding"]]

_MARKS = {"ok": ("✓", "good"), "note": ("·", "quiet"), "warning": ("!", "attention")}
_ERROR_MARK = ("✗", "bad")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the `doctor` command."""
    parser = subparsers.add_parser(
        "doctor",
        help="check computer, ports, servos, cameras and ROS",
        description="Check computer, serial ports, servos, cameras and the ROS environment. Prints "
        "one line for each check and, where something is wrong, the command that fixes "
        "it. Only reads.",
        epilog="Exit status: 0 no error, 1 an error (with --strict: or a warning), 2 wrong "
        "arguments.",
    )
    parser.add_argument(
        "--port",
        metavar="PATH",
        help="serial port of the arm (default: those of the robot file's arms, or all ports)",
    )
    add_robot(parser, "the arms, their calibrations and the cameras to expect")
    add_model(parser)
    parser.add_argument(
        "--among",
        action="append",
        metavar="GLOB",
        help="only serial ports that match; finds emulated ports too",
    )
    parser.add_argument(
        "--ids", help="servo ids to expect (default: the calibration's, or the model's)"
    )
    parser.add_argument(
        "--calibration", type=Path, metavar="FILE", help="calibration file of the arm"
    )
    parser.add_argument(
        "--camera",
        action="append",
        default=[],
        metavar="SRC",
        help="camera to expect: 0, /dev/video0, a video file; may be given several times",
    )
    parser.add_argument(
        "--root", type=Path, default=Path(), metavar="DIR", help="where datasets go (default: here)"
    )
    parser.add_argument("--strict", action="store_true", help="exit with status 1 for warnings too")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs all checks; see the epilog for the exit status."""
    from armlet.cli.terminal.screen import console
    from armlet.findings import exit_status
    from armlet.preflight import examine

    try:
        checks = list(all_checks(args))
    except ValueError as error:
        return refuse("doctor", error)
    screen = console()
    report: Report = []
    if args.json:
        report += examine(checks)
        print(json.dumps([_as_json(check, each) for check, each in report], indent=2))
    else:
        report += show(screen, examine(checks))
    return exit_status((finding for _, finding in report), args.strict)


@dataclass(frozen=True)
class Expected:
    """An arm to look at.

    group: where its findings stand. ids: None: those of the calibration. expected: that no servo
    answers is an error. others: calibration files of the robot's other arms, by name. follows: it
    is a follower, of which its kind's URDF is.
    """

    group: str
    device: SerialDevice
    ids: tuple[int, ...] | None
    calibration: Path | None
    expected: bool
    kind: RobotModel
    others: Mapping[str, Path] = field(default_factory=dict)
    follows: bool = False


def all_checks(args: argparse.Namespace) -> Iterator[Check]:
    """Every check, in the order of the report. Raises ValueError for options that make no sense."""
    from armlet.preflight import Check, cameras, machine, ports, ros

    robot, trouble = _robot(args)
    arms = list(_arms(args, robot))
    sources = args.camera or [str(camera["source"]) for camera in robot.cameras.values()]
    yield Check("Computer", "Python", machine.python)
    yield Check("Computer", "packages", machine.packages)
    yield Check("Computer", "disk", partial(machine.disk, args.root))
    yield Check("Computer", "clock", machine.clock)
    yield Check("Computer", "priority", machine.priority)
    yield Check("Computer", "programs", machine.meddlers)
    if robot.arms or robot.cameras or trouble:
        yield Check("Robot", "robot file", partial(_robot_file, robot, trouble))
    for name in _absent(args, robot):
        yield Check("Robot", name, partial(_absent_arm, robot, name))
    devices = [arm.device for arm in arms]
    yield Check("Serial ports", "serial ports", partial(ports.present, devices))
    for device in devices:
        yield Check("Serial ports", device.address, partial(ports.usable, device))
        yield Check("Serial ports", device.address, partial(ports.latency, device))
    for arm in arms:
        yield from servo_checks(arm)
    yield Check("Cameras", "cameras", partial(cameras.chosen, sources))
    yield Check("ROS", "rclpy", ros.client)
    yield Check("ROS", "discovery", partial(ros.discovery, os.environ))
    yield Check("ROS", "packages", partial(ros.packages, os.environ))
    yield Check("ROS", "shared memory", ros.shared_memory)


def _robot(args: argparse.Namespace) -> tuple[RobotFile, str]:
    """The robot file, an empty one where there is none, and why it cannot be read."""
    from armlet.robots.robot_file import DEFAULT, RobotFile

    try:
        return robot_of(args) or RobotFile(DEFAULT), ""
    except FileError as error:
        return RobotFile(DEFAULT), str(error)


def _robot_file(robot: RobotFile, trouble: str) -> Iterator[Finding]:
    from armlet.findings import Code, Finding, Severity

    if trouble:
        fix = "correct the file, or write it again: armlet setup"
        yield Finding(Code.ROBOT_FILE, Severity.ERROR, "robot file", found=trouble, fix=fix)
        return
    arms, cameras = ", ".join(robot.arms) or "none", ", ".join(robot.cameras) or "none"
    said = f"{robot.path}: arms {arms}; cameras {cameras}"
    yield Finding(Code.ROBOT_FILE, Severity.OK, "robot file", found=said)


def _absent(args: argparse.Namespace, robot: RobotFile) -> list[str]:
    """Arms of the robot file whose port is not there."""
    if args.port is not None or args.among is not None:
        return []
    return [name for name, arm in robot.arms.items() if not Path(arm.port).is_char_device()]


def _absent_arm(robot: RobotFile, name: str) -> Iterator[Finding]:
    from armlet.findings import Code, Finding, Severity

    fix = "plug its USB cable in and switch it on; if it has another port: armlet setup ports"
    absent = f"its port {robot.arms[name].port} is not there"
    yield Finding(Code.PORT_MISSING, Severity.ERROR, name, found=absent, fix=fix)


def _arms(args: argparse.Namespace, robot: RobotFile) -> Iterator[Expected]:
    """The arms of --port, of the robot file, or whatever is there. Raises ValueError."""
    from armlet.cli.arm import scan
    from armlet.motors.devices import serial_device
    from armlet.robots.robot_model import DEFAULT_MODEL, find

    kind = find(args.model or DEFAULT_MODEL)
    ids = scan.parse_ids(args.ids)
    chosen = None if ids is None else tuple(ids)
    if args.port is None and args.among is None and robot.arms:
        if args.calibration is not None:
            raise ValueError("--calibration is one arm's: say which with --port")
        absent = _absent(args, robot)
        files = {name: Path(entry.calibration) for name, entry in robot.arms.items()}
        for name, entry in robot.arms.items():
            if name not in absent:
                device, file = serial_device(entry.port), Path(entry.calibration)
                group, others = f"Servos of {name}", {**files}
                del others[name]
                follows = not entry.teleoperates
                yield Expected(group, device, chosen, file, True, entry.kind, others, follows)
        return
    devices = scan.chosen_devices(args.port, args.among)
    if args.calibration is not None and len(devices) > 1:
        raise ValueError("--calibration is one arm's: say which with --port")
    for device in devices:
        alone = len(devices) == 1
        group = "Servos" if alone else f"Servos on {device.address}"
        # A computer's own /dev/ttyS0 is there whether or not an arm is.
        mere = args.among is None and device.vendor is None
        asked = args.port is not None or (alone and not mere)
        yield Expected(group, device, chosen, args.calibration, asked, kind)


def servo_checks(arm: Expected) -> Iterator[Check]:
    """What is asked of the servos of a port that is free."""
    from armlet.motors.devices import users
    from armlet.preflight import Check, servos
    from armlet.robots.calibration import CalibrationError, load

    calibration: Calibration | None = None
    if arm.calibration is not None:
        file = partial(servos.calibration_file, arm.calibration, arm.kind)
        yield Check(arm.group, "calibration file", file)
        if arm.follows:
            described = partial(servos.like_model, arm.calibration, arm.kind)
            yield Check(arm.group, "range", described)
        try:
            calibration = load(arm.calibration)
        except CalibrationError:
            calibration = None  # the check above says so
    device = arm.device
    if users(device.path) or not os.access(device.path, os.R_OK | os.W_OK):
        return  # said among the ports
    ids = arm.ids
    if ids is None and calibration is not None:
        ids = tuple(entry.id for entry in calibration.values())
    asked_ids = ids or tuple(arm.kind.ids.values())
    chain = cache(partial(servos.read_chain, device.address, asked_ids, arm.kind))
    for question in servos.QUESTIONS:
        asked = partial(_ask, chain, question, arm.expected)
        yield Check(arm.group, question.__name__, asked)
    if calibration is None or arm.calibration is None:
        yield Check(arm.group, "position", partial(_ask, chain, servos.limits, arm.expected))
    else:
        compare = partial(
            servos.calibrated,
            calibration=calibration,
            path=arm.calibration,
            others=arm.others,
        )
        yield Check(arm.group, "calibration", partial(_ask, chain, compare, arm.expected))


def _ask(
    chain: Callable[[], Chain],
    question: Callable[[Chain], Iterable[Finding]],
    expected: bool,
) -> Iterator[Finding]:
    """A port where nothing answers gets one line; it is an error if the arm should be there."""
    from armlet.findings import Code, Finding, Severity
    from armlet.preflight import servos

    there = chain()
    if there.servos or (question is servos.answering and (there.shared or expected)):
        yield from question(there)
    elif question is servos.answering:
        silent = "none answers: no arm here, or no power"
        fix = "if an arm should be here, check its power and cable, then: armlet find-port"
        yield Finding(Code.SERVO_BUS_SILENT, Severity.NOTE, "servos", found=silent, fix=fix)


def show(
    screen: Console, findings: Iterable[tuple[Check, Finding]]
) -> Iterator[tuple[Check, Finding]]:
    """Prints findings as they come, and passes them on."""
    from armlet.cli.terminal.listing import say
    from armlet.findings import Severity

    severities: Counter[str] = Counter()
    group = ""
    if not screen.is_terminal:
        print("level\tgroup\tsubject\tfound\tfix\tcode", file=screen.file)
    for check, finding in findings:
        severities[finding.severity] += 1
        if not screen.is_terminal:
            cells = _as_json(check, finding)
            if finding.severity is Severity.OK:
                # As in a terminal: "computer.package-missing" beside ok reads like a fault.
                cells["code"] = ""
            print("\t".join(cells.values()), file=screen.file)
        else:
            if check.group != group:
                group = check.group
                say(screen, group, "name")
            _draw(screen, finding)
        yield check, finding
    if screen.is_terminal:
        _sum_up(screen, severities)


def _draw(screen: Console, finding: Finding) -> None:
    from rich.table import Table
    from rich.text import Text

    from armlet.findings import Severity

    mark, style = _MARKS.get(finding.severity, _ERROR_MARK)
    line = Table.grid(padding=(0, 1))
    line.add_column(width=2, justify="right", no_wrap=True)
    line.add_column(width=16)
    line.add_column(ratio=1)
    found = Text(str(finding.found))
    if finding.severity is not Severity.OK:
        found.append(f" [{finding.code}]", "quiet")
    line.add_row(Text(mark, style), Text(finding.subject), found)
    screen.print(line)
    if finding.fix:
        # Not broken into lines, so that it can be copied as it is.
        screen.print(Text(f"     → {finding.fix}", "key"), soft_wrap=True)


def _sum_up(screen: Console, severities: Counter[str]) -> None:
    from armlet.cli.terminal.listing import say

    errors, warnings = severities["error"], severities["warning"]
    if errors or warnings:
        style = "bad" if errors else "attention"
        counts = (_count(errors, "error"), _count(warnings, "warning"))
        say(screen, f"\n{', '.join(filter(None, counts))}; each has its fix above", style)
    else:
        say(screen, f"\nNothing wrong in {sum(severities.values())} checks", "good")


def _count(number: int, noun: str) -> str:
    """Empty for none."""
    return f"{number} {noun}{'' if number == 1 else 's'}" if number else ""


def _as_json(check: Check, finding: Finding) -> dict[str, str]:
    return {
        "level": str(finding.severity),
        "group": check.group,
        "subject": finding.subject,
        "found": str(finding.found),
        "fix": finding.fix,
        "code": str(finding.code),
    }
