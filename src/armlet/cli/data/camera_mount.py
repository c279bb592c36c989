"""`armlet calibrate-camera CAMERA --mount LINK`: where a camera is fixed."""

from __future__ import annotations

import argparse
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from armlet.cli.terminal.output import FAILED, refuse, show
from armlet.cli.terminal.robot import robot_of

if TYPE_CHECKING:
    from armlet.calibrate.camera_mount import Carrier
    from armlet.camera import Intrinsics
    from armlet.camera.charuco import View
    from armlet.camera.hand_eye import Mounted, Station
    from armlet.camera.hand_eye_fit import Pose
    from armlet.camera.source import Rgb
    from armlet.nodes.frames import LiveFrame
    from armlet.robots.robot_file import Pair, RobotFile

_COMMAND = "calibrate-camera"
_OTHERS = ("source", "width", "height", "output")
_MOST_SQUARE_MM = 500
_FIRST_FRAME_S = 15.0
# Begins the names of pictures that are kept.
_POSE = "pose_"


@dataclass(frozen=True, eq=False)
class _Arm:
    """An arm whose link carries the camera. limits: of its joints, rad, by name."""

    pair: Pair
    link: str
    carrier: Carrier
    limits: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, eq=False)
class _Shot:
    """The board in a picture of a size, if it is there, and how the arm stood, rad by joint."""

    name: str
    angles: Mapping[str, float]
    size: tuple[int, int]
    view: View | None


def run(args: argparse.Namespace) -> int:
    """Takes poses, measures, writes the mount; see calibrate-camera's epilog for the status."""
    from armlet.camera import CameraError
    from armlet.camera.hand_eye import mounted

    try:
        robot = _robot(args)
        arm = _arm(robot, args.mount)
        if args.pictures is None:
            show(f"The board is to be {arm.carrier.board}, the camera on {args.mount}.")
        shots = _in_folder(args, arm) if args.pictures else _live(args, arm)
        with closing(shots):
            stations, intrinsics = _stations(args, robot, arm, shots)
        found = mounted(stations, intrinsics, args.square_mm / 1000)
    except CameraError as error:
        return refuse(_COMMAND, error, FAILED)
    except ValueError as error:
        return refuse(_COMMAND, error)
    _say(args.camera, found)
    if found.doubt:
        return refuse(_COMMAND, f"nothing is written: {found.doubt}", FAILED)
    return _write(args, robot, found)


def _robot(args: argparse.Namespace) -> RobotFile:
    """The robot file, which has the camera. Raises ValueError."""
    for name in _OTHERS:
        if getattr(args, name) is not None:
            raise ValueError(f"--mount is about a camera of the robot file: leave out --{name}")
    if args.views is not None and args.views < 1:
        raise ValueError(f"--views: expected at least 1, found {args.views}")
    if args.keep is not None and args.pictures is not None:
        raise ValueError("--keep is about a running graph: leave out --keep or --pictures")
    if not 0 < args.square_mm <= _MOST_SQUARE_MM:
        raise ValueError(
            f"--square-mm: expected more than 0, up to {_MOST_SQUARE_MM}, found {args.square_mm:g}"
        )
    robot = robot_of(args)
    if robot is None or args.camera not in robot.cameras:
        here = ", ".join(robot.cameras if robot else ()) or "none"
        raise ValueError(
            f"--mount: expected a camera of the robot file, found {args.camera or 'none'}; cameras "
            f"there: {here}. `armlet setup cameras` adds one"
        )
    if not robot.cameras[args.camera].get("camera_info_file"):
        raise ValueError(
            f"{args.camera} has no intrinsics (camera_info_file); measure them first: armlet "
            f"{_COMMAND} {args.camera}"
        )
    return robot


def _arm(robot: RobotFile, link: str) -> _Arm:
    """The arm that has the link, with its side before it where there are two. Raises ValueError."""
    from armlet.bringup import turned_joints
    from armlet.calibrate.camera_mount import Carrier
    from armlet.robots import calibration as calibrations
    from armlet.robots.description import describe, links
    from armlet.robots.units import own_converter

    described = [pair for pair in robot.pairs if pair.follower.kind.urdf]
    owners = {f"{p.prefix}{own}": (p, own) for p in described for own in links(p.follower.kind)}
    if link not in owners:
        known = ", ".join(owners) or "none, as no follower's model has a URDF"
        raise ValueError(f"--mount: expected a link of the robot's model, found {link}: {known}")
    pair, own = owners[link]
    kind = pair.follower.kind
    calibration = calibrations.load(Path(pair.follower.calibration))
    urdf = describe(kind, calibration, turned=turned_joints(kind, calibration))
    carrier = Carrier(urdf, own)
    low, high = own_converter(calibration).limits_radians()
    ranges = {name: (low[at], high[at]) for at, name in enumerate(calibration)}
    if lacking := [joint for joint in carrier.joints if joint not in ranges]:
        raise ValueError(f"the arm's calibration lacks {', '.join(lacking)}: calibrate it again")
    return _Arm(pair, link, carrier, {joint: ranges[joint] for joint in carrier.joints})


def _stations(
    args: argparse.Namespace, robot: RobotFile, arm: _Arm, shots: Iterable[_Shot]
) -> tuple[list[Station], Intrinsics]:
    """The poses in whose pictures the board is, and the intrinsics. Raises CameraError."""
    from armlet.camera import CameraError, read_intrinsics
    from armlet.files import expanded

    file = str(robot.cameras[args.camera]["camera_info_file"])
    path = expanded(file, robot.path.parent, f"cameras.{args.camera}.camera_info_file")
    stations, without, intrinsics = [], [], None
    for shot in shots:
        if intrinsics is None or shot.size != (intrinsics.width, intrinsics.height):
            intrinsics = read_intrinsics(path, *shot.size)
        if shot.view is None:
            without.append(shot.name)
        else:
            stations.append(arm.carrier.station(shot.name, shot.angles, shot.view))
    if without:
        show(f"no board in {', '.join(without)}")
    if intrinsics is None or not stations:
        raise CameraError("expected pictures of the board, found none: see that the camera has it")
    return stations, intrinsics


def _in_folder(args: argparse.Namespace, arm: _Arm) -> Generator[_Shot]:
    """The pictures of a folder's table of joints. Raises CameraError, ValueError."""
    from armlet.camera.charuco import Detector
    from armlet.files import inside
    from armlet.robots.joint_table import NAME, read_joint_table

    from .calibrate_camera import picture_in

    table, detector = read_joint_table(args.pictures / NAME, arm.limits), Detector()
    for name, angles in table.items():
        rgb = picture_in(inside(args.pictures, Path(name)))
        yield _Shot(name, angles, (rgb.shape[1], rgb.shape[0]), detector.find(rgb))


def _live(args: argparse.Namespace, arm: _Arm) -> Generator[_Shot]:
    """As many poses of the running graph as wanted. Raises CameraError, ValueError, OSError."""
    from armlet.camera import CameraError
    from armlet.camera.hand_eye import POSES
    from armlet.client.newest_frames import newest_frames

    if args.keep is not None:
        _require_no_poses(args.keep)
    show("Bring the arm to other poses, and let it stand still at each; Ctrl-C gives up.")
    wanted, kept = args.views or POSES, dict[str, Mapping[str, float]]()
    with closing(newest_frames("calibrate_camera", args.namespace, _FIRST_FRAME_S)) as frames:
        for angles, rgb, view in _standstills(frames, arm, args.camera):
            name = f"{_POSE}{len(kept) + 1:02}.png"
            kept[name] = angles
            show(f"pose {len(kept)} of {wanted}: {len(view.corners)} corners")
            if args.keep is not None:
                _keep(args.keep, name, rgb, kept)
            yield _Shot(name, angles, view.size, view)
            if len(kept) >= wanted:
                return
    if kept:
        raise CameraError(
            f"the frames of the running graph ended after {len(kept)} of {wanted} poses: start it "
            "again; with --keep the poses are kept for --pictures"
        )
    raise CameraError(
        f"expected frames of a running graph within {_FIRST_FRAME_S:.0f} s, found none: start one "
        "that has cameras, e.g. armlet up robot, or name its --namespace"
    )


def _standstills(
    frames: Iterable[LiveFrame], arm: _Arm, camera: str
) -> Iterator[tuple[Mapping[str, float], Rgb, View]]:
    """Wherever the arm stands still at another pose, and the board is seen. Raises CameraError."""
    from armlet.calibrate.camera_mount import Stillness
    from armlet.camera import CameraError
    from armlet.camera.charuco import Detector
    from armlet.camera.hand_eye import differs
    from armlet.nodes.messages import MessageError

    detector, still = Detector(), Stillness()
    poses: list[Pose] = []
    unseen = False
    for frame in frames:
        _require_same_robot(frame, arm, camera)
        try:
            angles = _angles(frame, arm)
            if not still.add(frame.stamp_ns, [*angles.values()]):
                unseen = False
                continue
            pose = arm.carrier.moving(angles)
            if not differs(pose, poses):
                continue
            rgb = frame.image(camera)
        except (CameraError, MessageError):
            continue  # a broken picture or message: there are others
        view = detector.find(rgb)
        if view is not None:
            poses.append(pose)
            yield angles, rgb, view
        elif not unseen:
            show("the arm stands still, and the board is not in the picture")
        unseen = view is None


def _require_same_robot(frame: LiveFrame, arm: _Arm, camera: str) -> None:
    """Raises CameraError where the frames have not the arm's joints, or not the camera."""
    from armlet.camera import CameraError
    from armlet.robots.joints import joint_names

    joints = joint_names(frame.contract.state_names)
    cameras = [each.name for each in frame.contract.cameras]
    wanted = [f"{arm.pair.prefix}{joint}" for joint in arm.limits]
    for what, lacking, there in (
        ("joints", [joint for joint in wanted if joint not in joints], joints),
        ("camera", [camera] if camera not in cameras else [], cameras),
    ):
        if lacking:
            raise CameraError(
                f"the running graph has no {what} {', '.join(lacking)}, it has "
                f"{', '.join(there) or 'none'}: start it with the same robot file"
            )


def _angles(frame: LiveFrame, arm: _Arm) -> dict[str, float]:
    """Of the arm's joints, rad. Raises MessageError."""
    from armlet.robots.joints import joint_names

    state = dict(zip(joint_names(frame.contract.state_names), frame.state(), strict=True))
    return {joint: float(state[f"{arm.pair.prefix}{joint}"]) for joint in arm.limits}


def _require_no_poses(folder: Path) -> None:
    """Raises ValueError where what is kept there would replace a file, or can lie in no folder."""
    from armlet.files import printable
    from armlet.robots.joint_table import NAME

    there = [folder] if folder.exists() and not folder.is_dir() else []
    there += [*folder.glob(NAME), *sorted(folder.glob(f"{_POSE}*"))]
    if there:
        raise ValueError(
            f"--keep: expected a folder of no other poses, found {printable(there[0])}"
        )


def _keep(folder: Path, name: str, rgb: Rgb, rows: Mapping[str, Mapping[str, float]]) -> None:
    """Write a picture and the table so far, as --pictures reads them. Raises OSError."""
    import cv2

    from armlet.files import replace_file
    from armlet.robots.joint_table import NAME, joint_table

    folder.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    assert done
    replace_file(folder / name, data.tobytes())
    replace_file(folder / NAME, joint_table(rows).encode())


def _say(camera: str, found: Mounted) -> None:
    for name, off in found.left_out:
        show(f"{name} is left out: it is off by {off}")
    show(
        f"{camera}: {found.poses} poses; joints {found.joints_deg:.2f}° from what was read, then "
        f"corners {found.corners_px:.2f} px off"
    )
    show(
        f"poses held out are off by {found.held_out}; the mount is known to ± "
        f"{found.deviation_mm:.1f} mm and ± {found.deviation_deg:.2f}°"
    )


def _write(args: argparse.Namespace, robot: RobotFile, found: Mounted) -> int:
    """The mount into the robot file. Raises OSError, FileError."""
    from armlet.robots.description import mount_of
    from armlet.robots.robot_writer import RobotWriter

    mount = mount_of(args.mount, found.camera)
    entry = {"link": mount.link, "xyz": [*mount.xyz], "rpy": [*mount.rpy]}
    writer = RobotWriter(robot.path)
    writer.set_camera(args.camera, {"mount": entry})
    show(f"{robot.path}: cameras.{args.camera}.mount: {entry}")
    if writer.backup is not None:
        show(f"{writer.backup} is the file as it was")
    return 0
