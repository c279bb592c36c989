"""`armlet replay`: an episode's actions on the arm, through the driver and its guard."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from armlet.cli.terminal.arguments import DATASET, namespace
from armlet.cli.terminal.output import FAILED, STOPPED, refuse, show
from armlet.cli.terminal.robot import add_robot, calibration_of
from armlet.client.motion import Motion, ReplayError
from armlet.files import FileError
from armlet.missing import require
from armlet.robots.unit_modes import MODES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from armlet.datasets import Dataset
    from armlet.robots.calibration import Calibration
    from armlet.robots.units import JointUnits

RAMP_HZ = 50
# The peak velocity of a smooth start and end is this much above the mean.
_PEAK = 1.5
_LEAST_RAMP_S = 0.5


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "replay",
        help="play an episode's actions on the arm",
        description="Play an episode's recorded actions on the arm of a running servo_bus: first "
        "slowly to the first position, then at the recorded speed. The driver keeps its"
        " limits of position, velocity and torque. Ctrl-C, Ctrl-Z or a closed terminal stops the "
        "arm where it is; a stop, a person's command or another program's ends the replay, and one "
        "that was killed leaves the arm its next 2 s.",
    )
    parser.add_argument("root", type=Path, metavar="ROOT", help=DATASET)
    parser.add_argument("--episode", type=int, required=True, metavar="N", help="which episode")
    parser.add_argument(
        "--calibration",
        metavar="FILE",
        help="LeRobot calibration JSON of the arm (default: the one its driver uses, or where that "
        "is on another computer the robot file's); two arms: left_=FILE,right_=FILE",
    )
    add_robot(parser, "the followers' sides and calibrations")
    parser.add_argument(
        "--joint-units",
        choices=MODES,
        help="units of a dataset that does not state them (LeRobot's own)",
    )
    parser.add_argument(
        "--other-arm",
        action="store_true",
        help="play an episode although it was recorded on another arm or with another calibration",
    )
    parser.add_argument(
        "--ramp-velocity",
        type=float,
        default=0.5,
        metavar="RAD_S",
        help="velocity at which the start is approached (default: 0.5 rad/s)",
    )
    parser.add_argument(
        "--namespace", type=namespace, default="", metavar="NS", help="namespace of the servo_bus"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Play; 0 when all of the episode was, 1 if not, 2 if it cannot begin, 130 after Ctrl-C."""
    from armlet.datasets import Dataset, DatasetError
    from armlet.datasets.hub import Part, locate

    try:
        if not 0.01 <= args.ramp_velocity <= 5.0:
            raise ReplayError(f"--ramp-velocity must be 0.01..5 rad/s, found {args.ramp_velocity}")
        dataset = Dataset(locate(args.root, Part.ROWS))
        if not 0 <= args.episode < len(dataset.episodes):
            raise ReplayError(
                f"{args.root} has episodes 0..{len(dataset.episodes) - 1}, not {args.episode}"
            )
        return _play(args, dataset)
    except (ReplayError, DatasetError) as error:
        return refuse("replay", error)


def _play(args: argparse.Namespace, dataset: Dataset) -> int:
    require("rclpy")
    from armlet.client.interrupts import Interrupts
    from armlet.client.replay import STAND_S, Client

    stated = None if args.calibration is None else _load(args.calibration)
    if stated is not None:
        motion_of(dataset, args.episode, stated, args.joint_units, args.other_arm)
    prefixes = _prefixes(args, _action_joints(dataset))
    begun = False
    # Who is suspended by Ctrl-Z stops nothing, and the arm has the next seconds already.
    suspended = (signal.SIGTSTP,)
    with (
        Interrupts(suspended) as interrupts,
        Client(args.namespace, interrupts, prefixes) as client,
    ):
        try:
            present = client.present()
            calibration = _driver_calibration(client.calibration_files(), stated, args)
            motion = motion_of(dataset, args.episode, calibration, args.joint_units, args.other_arm)
            _announce(args, dataset, motion, calibration)
            begun = True
            start = _ordered(present, motion.joints)
            way = ramp(start, motion.rows[0], args)
            client.go("to the start", motion.joints, way, RAMP_HZ, stand_s=STAND_S)
            client.settle(motion.joints, motion.rows[0])
            off = client.go("replay", motion.joints, motion.rows, motion.fps)
            show(f"played {motion.duration_s:.1f} s; the arm was {off} from the actions")
            return 0
        except KeyboardInterrupt:
            client.stop()
            show("\nstopped: the arm holds where it is", error=True)
            return STOPPED
        except ReplayError as error:
            client.stop()
            return refuse("replay", error, FAILED if begun else None)
        except BaseException:  # a closed terminal or pipe, say
            client.stop()
            raise


def _prefixes(args: argparse.Namespace, joints: Sequence[str]) -> list[str]:
    """Of the arms that an episode is of: by --calibration, the robot file, or its joints' names."""
    from armlet.robots.calibration import arm_files
    from armlet.robots.joints import arm_prefixes

    files = _stated_files(args)
    known = [prefix for prefix in arm_files(files) if prefix] if files else []
    own = [prefix for prefix in known if any(joint.startswith(prefix) for joint in joints)]
    return own or arm_prefixes(joints)


def _stated_files(args: argparse.Namespace) -> str | None:
    try:
        return calibration_of(args)
    except FileError as error:
        raise ReplayError(str(error)) from error


def _load(files: str) -> Calibration:
    from armlet.robots import CalibrationError
    from armlet.robots import calibration as calibrations

    try:
        return calibrations.load_arms(files)
    except CalibrationError as error:
        raise ReplayError(str(error)) from error


def _driver_calibration(
    files: Mapping[str, str], stated: Calibration | None, args: argparse.Namespace
) -> Calibration:
    """The calibration the drivers use, by prefix, which a stated one must be.

    Where a file of theirs is out of reach: the stated one, or the robot file's.
    """
    from armlet.robots.calibration import fingerprint

    file = ",".join(f"{prefix}={file}" if prefix else file for prefix, file in files.items())
    reachable = all(file and Path(file).is_file() for file in files.values())
    if not reachable:
        if stated is None:
            stated = _robots_calibration(args, file)
        return stated
    own = _load(file)
    if stated is not None and fingerprint(stated) != fingerprint(own):
        raise ReplayError(
            f"the driver uses the calibration {file}, not the one that was given; "
            "give that one, or leave --calibration out"
        )
    return own


def _robots_calibration(args: argparse.Namespace, file: str) -> Calibration:
    own = _stated_files(args)
    if own is None:
        raise ReplayError(
            f"the driver's calibration file {file or '(unknown)'} is not on this machine; "
            "give --calibration FILE"
        )
    return _load(own)


def motion_of(
    dataset: Dataset,
    episode: int,
    calibration: Calibration,
    units: str | None,
    other_arm: bool = False,
) -> Motion:
    """An episode's actions in radians of an arm with this calibration.

    Raises ReplayError where units are unknown or others than said, the calibration is not the one
    the episode was recorded with (unless other_arm), or the joints are not the arm's.
    """
    import numpy as np

    from armlet.robots.units import converter, unit_of

    mode = _units(dataset, units)
    _check_calibration(dataset, calibration, other_arm)
    joints = tuple(calibration)
    names = _action_joints(dataset)
    if set(names) != set(joints) or len(names) != len(joints):
        raise ReplayError(
            f"actions are of joints {names}, the arm has {list(joints)}; an episode of several "
            "arms needs a robot file that has them, or --calibration left_=FILE,right_=FILE"
        )
    contract = dataset.contract
    for name, unit in ({} if contract is None else contract.units_by_name()).items():
        if unit != unit_of(name, mode):
            raise ReplayError(
                f"{name} was recorded in {unit}, and is played in {unit_of(name, mode)}"
            )
    actions = dataset.episode(episode).action.astype(np.float64)
    order = [names.index(joint) for joint in joints]
    rows = converter(joints, calibration).dataset_to_radians(actions[:, order], mode)
    if not np.isfinite(rows).all():
        raise ReplayError(f"episode {episode} has actions that are not finite")
    return Motion(joints, rows, dataset.info.fps)


def _units(dataset: Dataset, given: str | None) -> JointUnits:
    from armlet.robots.units import joint_units

    contract = dataset.contract
    stated = None if contract is None else contract.joint_units
    if stated is None and given is None:
        raise ReplayError(
            f"{dataset.root} does not state its joint units; give --joint-units (LeRobot before "
            "0.4.4 recorded range_m100_100)"
        )
    if stated is not None and given is not None and stated != given:
        raise ReplayError(f"the dataset is in {stated}, not {given}; leave --joint-units out")
    return joint_units(str(stated or given))


def _check_calibration(dataset: Dataset, calibration: Calibration, other_arm: bool) -> None:
    from armlet.robots.calibration import fingerprint

    contract = dataset.contract
    recorded = None if contract is None else contract.calibration
    own = fingerprint(calibration)
    if other_arm or recorded == own:
        return
    if recorded is None:
        raise ReplayError(
            f"{dataset.root} does not state the calibration it was recorded with, so its values "
            "may mean other poses on this arm; --other-arm plays it anyway"
        )
    raise ReplayError(
        f"recorded with calibration {recorded[:12]}, this arm has {own[:12]}: the same values mean "
        "other poses; --other-arm plays it anyway"
    )


def _action_joints(dataset: Dataset) -> list[str]:
    from armlet.datasets.format.layout import ACTION

    feature = dataset.info.features.get(ACTION)
    if feature is None or not feature.names:
        raise ReplayError(f"{dataset.root} does not name the joints of its actions")
    return [name.removesuffix(".pos") for name in feature.names]


def _ordered(present: dict[str, float], joints: Sequence[str]) -> NDArray[np.float64]:
    import numpy as np

    missing = [joint for joint in joints if joint not in present]
    if missing:
        raise ReplayError(f"joint_states lacks {missing}; it names {sorted(present)}")
    return np.array([present[joint] for joint in joints], np.float64)


def ramp(
    start: NDArray[np.float64], goal: NDArray[np.float64], args: argparse.Namespace
) -> NDArray[np.float64]:
    """Rows (k, n) at RAMP_HZ from start to goal, slow at both ends, no joint above the velocity."""
    import numpy as np

    furthest = float(np.abs(goal - start).max())
    duration_s = max(_LEAST_RAMP_S, _PEAK * furthest / args.ramp_velocity)
    shares = np.linspace(0.0, 1.0, max(2, round(duration_s * RAMP_HZ) + 1))
    weights = (shares * shares * (3 - 2 * shares))[:, None]
    rows: NDArray[np.float64] = (1 - weights) * start + weights * goal
    return rows


def _announce(
    args: argparse.Namespace, dataset: Dataset, motion: Motion, calibration: Calibration
) -> None:
    from armlet.robots.units import limits_radians

    task = ", ".join(dataset.episodes[args.episode].tasks)
    show(f"episode {args.episode}: {task}, {motion.duration_s:.1f} s at {motion.fps} Hz")
    low, high = limits_radians(calibration)
    beyond = (motion.rows < low - 1e-6) | (motion.rows > high + 1e-6)
    for column, joint in enumerate(motion.joints):
        if beyond[:, column].any():
            show(f"{joint} goes beyond its calibrated range; the driver will not", error=True)
