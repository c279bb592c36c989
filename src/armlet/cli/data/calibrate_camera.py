"""`armlet calibrate-camera`: a camera's intrinsics and mount, with a ChArUco board."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armlet.cli.terminal.arguments import namespace, output_file, output_path
from armlet.cli.terminal.output import FAILED, refuse, show
from armlet.cli.terminal.robot import add_robot, robot_of

from . import camera_mount

if TYPE_CHECKING:
    from armlet.camera.charuco import Collection, Measured
    from armlet.camera.source import Rgb
    from armlet.robots.robot_file import RobotFile

SQUARE_MM = 30
"""As charuco prints them; without loading numpy."""

_TIMEOUT_S = 1.0
_LARGEST = 64 << 20
_KEYS = ("width", "height")
_ENDINGS = (".jpg", ".jpeg", ".png")
_SIZE = 640, 480


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the `calibrate-camera` command."""
    parser = subparsers.add_parser(
        "calibrate-camera",
        help="measure a camera's intrinsics, or its mount, with a ChArUco board",
        description="Measure a camera's intrinsics. Print the board (--print), glue it on a flat "
        "plate, and hold it before the camera: at all places, near and far, tilted in all "
        "directions. Views that differ are taken by themselves. The result is a calibration YAML "
        "of ROS's camera_calibration; the robot file gets it as camera_info_file. With --mount: "
        "measure where the camera is fixed, at poses of the arm, with the board fixed beside it (a "
        "camera on the gripper) or in the gripper (a camera beside the arm); the robot file gets "
        "it as the camera's mount.",
        epilog="Exit status: 0 written, 1 no picture or pose, or a result that is not good enough "
        "(nothing is written), 2 wrong arguments.",
    )
    parser.add_argument("camera", nargs="?", help="camera of the robot file, e.g. front")
    parser.add_argument("--source", metavar="SRC", help="camera that is in no robot file")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="use the pictures in a folder")
    parser.add_argument(
        "--mount",
        metavar="LINK",
        help="measure where the camera is fixed to this link, e.g. gripper or base_link, beside a "
        "running graph, or with --pictures, whose folder has joints.csv",
    )
    parser.add_argument(
        "--square-mm",
        type=float,
        default=SQUARE_MM,
        metavar="MM",
        help="with --mount: side of the board's squares as printed (default: %(default)s)",
    )
    parser.add_argument(
        "--keep",
        type=output_path,
        metavar="DIR",
        help="with --mount: write pictures and joints.csv of the poses, as --pictures reads them",
    )
    parser.add_argument(
        "--namespace",
        type=namespace,
        default="",
        help="with --mount: namespace of the running graph",
    )
    parser.add_argument("--width", type=int, help="picture width, if the robot file has none")
    parser.add_argument("--height", type=int, help="picture height, if the robot file has none")
    parser.add_argument("--views", type=int, metavar="N", help="take this many views (default 20)")
    parser.add_argument(
        "--output",
        type=output_file,
        metavar="FILE",
        help="default: CAMERA.camera.yaml beside the robot file, or here",
    )
    parser.add_argument(
        "--print",
        dest="board",
        type=output_file,
        metavar="FILE",
        help="write the board as a picture (.png) for A4, and end",
    )
    add_robot(parser, "the camera")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Takes views, measures, writes; see the epilog for the exit status."""
    from armlet.camera import CameraError

    try:
        if args.board is not None:
            return _print_board(args.board)
        if args.mount is not None:
            return camera_mount.run(args)
        robot = robot_of(args)
        entry = _entry(args, robot)
        found = _measured(args, entry)
    except CameraError as error:
        return refuse("calibrate-camera", error, FAILED)
    except ValueError as error:
        return refuse("calibrate-camera", error)
    if found.doubt:
        return refuse("calibrate-camera", f"nothing is written: {found.doubt}", FAILED)
    return _write(args, robot, found)


def _entry(args: argparse.Namespace, robot: RobotFile | None) -> dict[str, Any]:
    """The camera's entry of the robot file, with what the options say. Raises ValueError."""
    if args.views is not None and args.views < 1:
        raise ValueError(f"--views: expected at least 1, found {args.views}")
    if args.keep is not None:
        raise ValueError("--keep is about poses of the arm: give --mount LINK, or leave it out")
    known = robot.cameras if robot else {}
    if args.camera is not None and args.camera not in known and not (args.source or args.pictures):
        here = ", ".join(known) or "none"
        raise ValueError(
            f"expected a camera of the robot file, found {args.camera!r}; cameras there: {here}. "
            "A camera that is in no robot file: --source SRC"
        )
    if args.camera is None and not (args.source or args.pictures):
        raise ValueError("name a camera of the robot file, or give --source SRC or --pictures DIR")
    given = {"source": args.source, "width": args.width, "height": args.height}
    own = dict(known.get(args.camera or "", {}))
    return own | {name: value for name, value in given.items() if value is not None}


def _measured(args: argparse.Namespace, entry: dict[str, Any]) -> Measured:
    """Raises CameraError."""
    from armlet.camera.charuco import VIEWS, Collection, gathered, measured

    collection = Collection(args.views or VIEWS)
    pictures = _in_folder(args.pictures) if args.pictures else _live(entry)
    for view in gathered(pictures, collection):
        _say_taken(collection, len(view.corners))
    return measured(collection.views, args.camera or "camera")


def _say_taken(collection: Collection, corners: int) -> None:
    show(f"view {len(collection.views)} of {collection.wanted}: {corners} corners")


def _in_folder(folder: Path) -> Iterator[Rgb]:
    """The pictures in a folder, by name. Raises CameraError where there are none."""
    from armlet.camera import CameraError
    from armlet.files import printable

    files = [p for p in sorted(folder.glob("*")) if p.suffix.lower() in _ENDINGS]
    if not files:
        raise CameraError(f"expected pictures (.jpg, .png) in {printable(folder)}, found none")
    for file in files:
        yield picture_in(file)


def picture_in(file: Path) -> Rgb:
    """A picture of a camera. Raises CameraError, OSError."""
    from armlet.camera import CameraError
    from armlet.datasets import DatasetError
    from armlet.datasets.format.pictures import decoded
    from armlet.files import printable, read_bytes

    try:
        return decoded(read_bytes(file, _LARGEST), printable(file))
    except DatasetError as error:
        raise CameraError(f"{error}; take it out of the folder") from error


def _live(entry: dict[str, Any]) -> Iterator[Rgb]:
    """Pictures as the camera gives them. Raises CameraError."""
    from armlet.camera import EndOfVideo, NoPicture, TornPicture, source_of

    width, height = (entry.get(key, usual) for key, usual in zip(_KEYS, _SIZE, strict=True))
    fps, fourcc = entry.get("fps", 30.0), entry.get("fourcc", "MJPG")
    show("Hold the board before the camera, at all places and tilts; Ctrl-C gives up.")
    with source_of(entry["source"], width, height, fps, fourcc) as source:
        while True:
            try:
                yield source.read(_TIMEOUT_S).as_rgb()
            except (NoPicture, TornPicture):
                continue
            except EndOfVideo:
                return


def _write(args: argparse.Namespace, robot: RobotFile | None, found: Measured) -> int:
    """The calibration, and its place in the robot file. Raises OSError, FileError."""
    from armlet.camera import intrinsics_text
    from armlet.files import keep_previous, replace_file
    from armlet.robots.robot_writer import RobotWriter

    known = robot is not None and args.camera in robot.cameras
    folder = robot.path.parent if robot is not None and known else Path()
    name = found.intrinsics.camera_name
    path = (args.output or folder / f"{name}.camera.yaml").absolute()
    kept = keep_previous(path)
    replace_file(path, intrinsics_text(found.intrinsics).encode())
    if kept is not None:
        show(f"{kept} is the calibration of before")
    k, (dx, dy, *_) = found.intrinsics.k, found.deviations_px
    show(
        f"{path}: {found.views} views, corners {found.error_px:.2f} px off; focal lengths "
        f"{k[0]:.1f} ± {dx:.1f} and {k[4]:.1f} ± {dy:.1f} px"
    )
    if robot is not None and known:
        RobotWriter(robot.path).set_camera(args.camera, {"camera_info_file": str(path)})
        show(f"{robot.path}: cameras.{args.camera}.camera_info_file")
    else:
        show(f"give it to the camera: camera_info_file: {path}")
    return 0


def _print_board(path: Path) -> int:
    """Raises CameraError, OSError."""
    import cv2

    from armlet.camera.charuco import COLUMNS, ROWS, SQUARE_MM, printed
    from armlet.files import replace_file

    done, data = cv2.imencode(".png", printed())
    assert done
    replace_file(path, data.tobytes())
    show(
        f"{path}: print it on A4, landscape, unscaled: {COLUMNS} x {ROWS} squares of {SQUARE_MM} mm"
    )
    return 0
