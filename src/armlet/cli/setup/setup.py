"""`armlet setup`: writes the robot file step by step, with what the other tools find."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from armlet.cli.terminal.output import FAILED, STOPPED, refuse
from armlet.cli.terminal.robot import add_robot
from armlet.robots.unit_modes import MODES

if TYPE_CHECKING:
    from armlet.cli.setup.dialogue import Dialogue, Given

Step = Callable[["Dialogue"], None]

STEPS = ("ports", "ids", "calibrate", "cameras", "units", "check")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the `setup` command."""
    parser = subparsers.add_parser(
        "setup",
        help="describe your robot, step by step, in its robot file",
        description="Describe your robot in its file, step by step: ports of the arms, ids of new "
        "servos, calibrations, cameras, joint units, and a check of it all. Each answer is saved "
        "at once; the file as it was before the first change is kept as FILE.bak. Entries "
        "that setup does not know are kept; comments in a section that changes are lost.",
        epilog="steps: ports, ids, calibrate, cameras, units, check; without one all, in this "
        "order. Exit status: 0 done, 1 a step failed, 2 not started, 130 stopped by Ctrl-C.",
    )
    parser.add_argument(
        "steps", nargs="*", metavar="STEP", help="steps to do (default: all of them)"
    )
    add_robot(parser, "what has been answered before; it is the one that is written")
    answers = parser.add_argument_group("answers, for scripts: what is given is not asked for")
    answers.add_argument(
        "--arms", metavar="NAMES", help="follower; follower,leader; or both with left_ and right_"
    )
    for name, value, what in (
        ("--model", "ARM=KIND", "an arm's kind: so101 (usual), koch, koch_leader, or a .yaml file"),
        ("--port", "ARM=PATH", "an arm's serial port"),
        ("--calibration", "ARM=FILE", "an arm's calibration, LeRobot's, say; it is copied"),
        ("--camera", "NAME=SRC", "a camera, by any source of a camera node"),
    ):
        answers.add_argument(name, action="append", default=[], metavar=value, help=what)
    answers.add_argument("--joint-units", choices=MODES, help="units of datasets")
    look = parser.add_argument_group("where to look")
    look.add_argument(
        "--among",
        action="append",
        metavar="GLOB",
        help="only serial ports that match; finds emulated ports too",
    )
    look.add_argument(
        "--also", action="append", default=[], metavar="SRC", help="look at this camera source too"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Does the steps; see the epilog for the exit status."""
    from armlet.cli.setup.dialogue import Dialogue, Given, SetupFailed
    from armlet.files import FileError, check_output, explained
    from armlet.suggestions import did_you_mean

    unknown = [step for step in args.steps if step not in STEPS]
    if unknown:
        meant = did_you_mean(unknown, STEPS)
        return refuse("setup", f"no step {unknown[0]!r}; {meant}there are {', '.join(STEPS)}")
    steps = [step for step in STEPS if step in (args.steps or STEPS)]
    try:
        path = _path(args.robot)
        check_output(path)
        given = Given(
            arms=tuple(args.arms.split(",")) if args.arms else (),
            models=_models(_pairs(args.model, "--model")),
            ports=_pairs(args.port, "--port"),
            calibrations=_calibrations(_pairs(args.calibration, "--calibration")),
            cameras=_pairs(args.camera, "--camera"),
            units=args.joint_units,
            among=args.among,
            also=tuple(args.also),
        )
        dialogue = Dialogue(path, given)
        _check_arms(given, dialogue.writer.robot.arms, steps)
    except (OSError, ValueError) as error:
        return refuse("setup", error)
    step = steps[0]
    try:
        for step in steps:
            _steps()[step](dialogue)
    except (SetupFailed, FileError, OSError) as error:
        why = explained(error) if isinstance(error, OSError) else str(error)
        return refuse("setup", f"{why}. {_go_on(args.robot, step, dialogue.writer.path)}", FAILED)
    except EOFError:
        return refuse(
            "setup",
            f"there is no terminal on which to answer {step}; run it in a terminal, or see --help",
        )
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return refuse(
            "setup", f"stopped. {_go_on(args.robot, step, dialogue.writer.path)}", STOPPED
        )
    return dialogue.status


def _steps() -> Mapping[str, Step]:
    from armlet.cli.setup import arms, cameras

    return {
        "ports": arms.ports,
        "ids": arms.ids,
        "calibrate": arms.calibrate,
        "cameras": cameras.cameras,
        "units": cameras.units,
        "check": cameras.check,
    }


def _path(given: str) -> Path:
    """The file to write. Raises ValueError for none."""
    from armlet.files import expanded
    from armlet.robots.robot_file import NO_FILE, default_path

    if given == NO_FILE:
        raise ValueError("--robot: expected the file to write, found none")
    return expanded(given, Path.cwd(), "--robot") if given else default_path()


def _pairs(entries: Sequence[str], option: str) -> dict[str, str]:
    pairs = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not (equals and name and value):
            raise ValueError(f"{option}: expected NAME=VALUE, found {entry!r}")
        pairs[name] = value
    return pairs


def _models(given: Mapping[str, str]) -> dict[str, str]:
    """The kinds of arms, files by their whole path. Raises ValueError for one that is none."""
    from armlet.cli.terminal.robot import motors_of
    from armlet.files import expanded
    from armlet.robots.robot_model import find, is_file

    models = {
        arm: str(expanded(kind, Path.cwd(), "--model")) if is_file(kind) else kind
        for arm, kind in given.items()
    }
    return _readable("--model", models, lambda kind: motors_of(find(kind)))


def _calibrations(given: Mapping[str, str]) -> dict[str, str]:
    """Raises ValueError for a file that is not one."""
    from armlet.files import expanded
    from armlet.robots.calibration import load

    files = {arm: str(expanded(file, Path(), "--calibration")) for arm, file in given.items()}
    return _readable("--calibration", files, lambda file: load(Path(file)))


def _readable(
    option: str, answers: dict[str, str], read: Callable[[str], object]
) -> dict[str, str]:
    """The answers, once each was read. Raises ValueError naming the option and the arm."""
    from armlet.files import FileError
    from armlet.robots.calibration import CalibrationError

    for arm, answer in answers.items():
        try:
            read(answer)
        except (FileError, CalibrationError) as error:
            raise ValueError(f"{option} {arm}: {error}") from error
    return answers


def _check_arms(given: Given, known: Iterable[str], steps: Sequence[str]) -> None:
    """Raise ValueError for an answer about an arm that is not set up, or of a step not done."""
    from armlet.cli.setup.arms import CHOICES
    from armlet.suggestions import did_you_mean

    stated = {*given.arms, *(() if given.arms else given.ports)}
    arms = stated | {*known}
    usual = {name for names in CHOICES.values() for name in names}
    for option, step, names in (
        ("--model", "ports", given.models),
        ("--port", "ports", given.ports),
        ("--calibration", "calibrate", given.calibrations),
    ):
        unknown = [name for name in names if name not in (arms or usual)]
        if unknown:
            meant = did_you_mean(unknown, sorted(arms or usual))
            raise ValueError(
                f"{option}: {meant}expected one of {', '.join(sorted(arms or usual))}, found "
                f"{unknown[0]!r}"
            )
        if names and step not in steps:
            raise ValueError(
                f"{option} is an answer of the step {step}, which is not among {' '.join(steps)}; "
                "add it"
            )


def _go_on(robot: str, step: str, path: Path) -> str:
    option = f" --robot {robot}" if robot else ""
    left = " ".join(STEPS[STEPS.index(step) :])
    kept = f"What was answered is in {path}. " if path.exists() else ""
    return f"{kept}Go on with: armlet setup {left}{option}"
