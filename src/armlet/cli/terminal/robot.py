"""The robot file of a command: what it says stands for options that were not given."""

from __future__ import annotations

import argparse

from armlet.files import FileError
from armlet.motors import registry
from armlet.motors.protocol import MotorFamily, MotorModel
from armlet.robots.robot_file import DEFAULT, NO_FILE, ArmEntry, RobotFile, find
from armlet.robots.robot_model import DEFAULT_MODEL, RobotModel
from armlet.robots.robot_model import find as find_model
from armlet.suggestions import did_you_mean


def add_robot(parser: argparse._ActionsContainer, what: str) -> None:
    """Adds --robot. what: what the command takes from the file."""
    parser.add_argument(
        "--robot",
        default="",
        metavar="FILE",
        help=f"robot file with {what}; other options come before it (default: {DEFAULT} if that "
        "exists; `none`: no file)",
    )


def add_arm(parser: argparse._ActionsContainer) -> None:
    """Adds --arm."""
    parser.add_argument(
        "--arm",
        metavar="NAME",
        help="arm of the robot file, e.g. follower (default: its only one)",
    )


def add_model(parser: argparse._ActionsContainer) -> None:
    """Adds --model."""
    parser.add_argument(
        "--model",
        metavar="NAME",
        help=f"kind of arm, or its .yaml file (default: the arm's, without one {DEFAULT_MODEL})",
    )


def kind_of(args: argparse.Namespace) -> RobotModel:
    """The kind of arm: --model, or else the arm's. Raises FileError."""
    if args.model is not None:
        return find_model(args.model)
    arm = arm_of(args) if args.port is None else None
    return find_model(DEFAULT_MODEL) if arm is None else arm.kind


def model_option(args: argparse.Namespace, kind: RobotModel) -> str:
    """What has to be typed for that kind of arm, and a space; empty for the usual kind."""
    return "" if kind.name == DEFAULT_MODEL else f"--model {args.model or kind.name} "


def motors_of(kind: RobotModel) -> tuple[MotorFamily, dict[str, MotorModel]]:
    """The family of a kind of arm, and the model of each joint.

    Raises FileError, also for a joint that is reversed and whose servo cannot turn round.
    """
    joints = tuple(kind.joints)
    try:
        family, models = registry.choose(",".join(kind.servos), joints)
    except registry.MotorError as error:
        raise FileError(f"{kind.title}: {error}") from error
    found = dict(zip(joints, models, strict=True))
    if fixed := [joint for joint in kind.reversed if found[joint].drive_mode is None]:
        labels = ", ".join(dict.fromkeys(found[joint].label for joint in fixed))
        raise FileError(
            f"{kind.title}: {', '.join(fixed)}: reversed, and {labels} servos cannot be; leave "
            "reversed out"
        )
    return family, found


def families_of(args: argparse.Namespace) -> tuple[MotorFamily, ...]:
    """The family of the arm that --arm names; every one there is without. Raises FileError."""
    arm = arm_of(args) if args.port is None and args.arm is not None else None
    return registry.families() if arm is None else (motors_of(arm.kind)[0],)


def robot_of(args: argparse.Namespace) -> RobotFile | None:
    """The robot file, if there is one. Raises FileError."""
    try:
        return find(args.robot)
    except FileError as error:
        raise FileError(f"{error}; --robot none goes without the file") from error


def arm_of(args: argparse.Namespace) -> ArmEntry | None:
    """The arm that --arm names, or the file's only one; None without --arm if there are others.

    Raises FileError.
    """
    robot = robot_of(args)
    if args.arm is None:
        return next(iter(robot.arms.values())) if robot and len(robot.arms) == 1 else None
    if robot is None and args.robot == NO_FILE:
        raise FileError(
            f"--arm {args.arm} names an arm of a robot file, and --robot {NO_FILE} reads none; "
            "leave one of them out, and give --port PATH without a file"
        )
    if robot is None:
        raise FileError(f"--arm {args.arm}: there is no robot file; {_MAKE}")
    if args.arm not in robot.arms:
        meant = did_you_mean([args.arm], list(robot.arms))
        raise FileError(f"--arm: {meant}{robot.path} has {', '.join(robot.arms) or 'no arms'}")
    return robot.arms[args.arm]


def port_of(args: argparse.Namespace) -> str:
    """The port of --port, or else of the arm. Raises FileError if there is neither."""
    if args.port is not None:
        if args.arm is not None:
            raise FileError("--port and --arm: expected one of them, found both")
        return str(args.port)
    arm = arm_of(args)
    if arm is None:
        robot = robot_of(args)
        if robot is None or not robot.arms:
            raise FileError(f"give --port PATH; or {_MAKE}")
        raise FileError(f"give --arm NAME: {robot.path} has {', '.join(robot.arms)}; or --port")
    return arm.port


def calibration_of(args: argparse.Namespace) -> str | None:
    """The followers' calibration: --calibration, or else the robot file's. Raises FileError.

    Of several followers `left_=FILE,right_=FILE`, by the prefixes of their joints.
    """
    if args.calibration is not None:
        return str(args.calibration)
    robot = robot_of(args)
    return None if robot is None else robot.calibration


_MAKE = f"describe the robot in {DEFAULT}, armlet setup writes it"
