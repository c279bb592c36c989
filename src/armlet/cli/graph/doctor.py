"""`armlet doctor`: what is wrong with this computer, arm and cameras, and what to type."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from armlet.findings import Finding
    from armlet.motors.feetech.discovery import SerialDevice
    from armlet.preflight import Check
    from armlet.preflight.servos import Chain
    from armlet.robots.calibration import Calibration

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
        "--port", metavar="PATH", help="serial port of the arm (default: all ports)"
    )
    parser.add_argument(
        "--among",
        action="append",
        metavar="GLOB",
        help="only serial ports that match; finds emulated ports too",
    )
    parser.add_argument("--ids", default="1-6", help="servo ids to expect (default %(default)s)")
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
    from armlet.cli.arm import scan
    from armlet.cli.terminal.screen import console
    from armlet.findings import exit_status
    from armlet.preflight import examine

    try:
        ids = scan.parse_ids(args.ids) or []
        devices = scan.chosen_devices(args.port, args.among)
        if args.calibration is not None and len(devices) > 1:
            raise ValueError("--calibration is one arm's: say which with --port")
    except ValueError as error:
        print(f"armlet doctor: {error}", file=sys.stderr)
        return 2
    checks = list(all_checks(args, devices, tuple(ids)))
    screen = console()
    report: Report = []
    if args.json:
        report += examine(checks)
        print(json.dumps([_document(check, each) for check, each in report], indent=2))
    else:
        report += show(screen, examine(checks))
    return exit_status((finding for _, finding in report), args.strict)


def all_checks(
    args: argparse.Namespace, devices: list[SerialDevice], ids: tuple[int, ...]
) -> Iterator[Check]:
    """Every check, in the order of the report."""
    from armlet.preflight import Check, cameras, machine, ports, ros

    yield Check("Computer", "Python", machine.python)
    yield Check("Computer", "packages", machine.packages)
    yield Check("Computer", "disk", partial(machine.disk, args.root))
    yield Check("Computer", "clock", machine.clock)
    yield Check("Computer", "priority", machine.priority)
    yield Check("Computer", "programs", machine.meddlers)
    yield Check("Serial ports", "serial ports", partial(ports.present, devices))
    for device in devices:
        yield Check("Serial ports", device.address, partial(ports.usable, device))
        yield Check("Serial ports", device.address, partial(ports.latency, device))
    yield from servo_checks(args, devices, ids)
    yield Check("Cameras", "cameras", partial(cameras.chosen, args.camera))
    yield Check("ROS", "rclpy", ros.client)
    yield Check("ROS", "discovery", partial(ros.discovery, os.environ))
    yield Check("ROS", "packages", partial(ros.packages, os.environ))
    yield Check("ROS", "shared memory", ros.shared_memory)


def servo_checks(
    args: argparse.Namespace, devices: list[SerialDevice], ids: tuple[int, ...]
) -> Iterator[Check]:
    """What is asked of the servos of each port that is free."""
    from armlet.motors.feetech.discovery import users
    from armlet.preflight import Check, servos
    from armlet.robots.calibration import CalibrationError, load

    calibration: Calibration | None = None
    if args.calibration is not None:
        file = partial(servos.calibration_file, args.calibration)
        yield Check("Servos", "calibration file", file)
        try:
            calibration = load(args.calibration)
        except CalibrationError:
            calibration = None  # the check above says so
    for device in devices:
        if users(device.path) or not os.access(device.path, os.R_OK | os.W_OK):
            continue  # said among the ports
        group = "Servos" if len(devices) == 1 else f"Servos on {device.address}"
        chain = cache(partial(servos.read_chain, device.address, ids))
        expected = len(devices) == 1 or args.port is not None
        for question in servos.QUESTIONS:
            asked = partial(_ask, chain, question, expected)
            yield Check(group, question.__name__, asked)
        if calibration is None:
            yield Check(group, "position", partial(_ask, chain, servos.limits, expected))
        else:
            compare = partial(servos.calibrated, calibration=calibration, path=args.calibration)
            yield Check(group, "calibration", partial(_ask, chain, compare, expected))


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
        yield Finding(Code.SERVO_BUS_SILENT, Severity.NOTE, "servos", found=silent)


def show(
    screen: Console, findings: Iterable[tuple[Check, Finding]]
) -> Iterator[tuple[Check, Finding]]:
    """Prints findings as they come, and passes them on."""
    from armlet.cli.terminal.listing import say

    severities: Counter[str] = Counter()
    group = ""
    if not screen.is_terminal:
        print("level\tgroup\tsubject\tfound\tfix\tcode", file=screen.file)
    for check, finding in findings:
        severities[finding.severity] += 1
        if not screen.is_terminal:
            print("\t".join([*_document(check, finding).values()]), file=screen.file)
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
    total = sum(severities.values())
    if errors or warnings:
        style = "bad" if errors else "attention"
        say(screen, f"\n{total} findings: {errors} errors, {warnings} warnings", style)
    else:
        say(screen, f"\n{total} findings: nothing wrong", "good")


def _document(check: Check, finding: Finding) -> dict[str, str]:
    return {
        "level": str(finding.severity),
        "group": check.group,
        "subject": finding.subject,
        "found": str(finding.found),
        "fix": finding.fix,
        "code": str(finding.code),
    }
