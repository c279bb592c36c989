"""`armlet find-cameras`: which cameras are there, what they offer and what they see."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armlet.cli.terminal.arguments import output_path
from armlet.cli.terminal.output import FAILED, refuse
from armlet.cli.terminal.robot import add_robot, robot_of

if TYPE_CHECKING:
    from rich.console import Console

    from armlet.camera import CameraSource, VideoNode
    from armlet.camera.source import Rgb
    from armlet.camera.v4l2 import Format

_SHEET = "contact-sheet.jpg"
_MADE_BY = b"armlet find-cameras"
# A comment right behind the picture's beginning, by which this command knows what it may replace.
_HEAD = b"\xff\xd8\xff\xfe" + (len(_MADE_BY) + 2).to_bytes(2, "big") + _MADE_BY
_NONE_FOUND = (
    "no cameras: this machine has no V4L2 capture device (/dev/video*). Plug one in; in a "
    "container pass it on (--device /dev/video0). To see what this command does without one: "
    "armlet find-cameras --also pattern --also file:clip.mp4"
)


@dataclass(frozen=True)
class Sighting:
    """One camera: what is known of it, and a picture or why there is none.

    mode: (width, height, fps, fourcc) for its snapshot; None where it has none.
    """

    device: str
    name: str
    stable_path: str = ""
    other_paths: tuple[str, ...] = ()
    formats: tuple[Format, ...] = ()
    mode: tuple[int, int, float, str] | None = None
    trouble: str = ""
    picture: Rgb | None = field(default=None, repr=False)
    file: Path | None = None

    @property
    def source(self) -> str:
        """What to give the camera node as source."""
        return self.stable_path or self.device

    @property
    def sources(self) -> tuple[str, ...]:
        """Every text that names it."""
        number = self.device.removeprefix("/dev/video")
        return tuple(filter(None, (self.device, self.stable_path, number, *self.other_paths)))

    @property
    def lines(self) -> tuple[str, ...]:
        """The label of its picture."""
        return tuple(dict.fromkeys((self.name, self.source)))


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the `find-cameras` command."""
    parser = subparsers.add_parser(
        "find-cameras",
        help="list cameras and save a picture of each",
        description="List the cameras of this machine: device, lasting path, name, formats. Save a "
        "labelled picture of each and a contact sheet of all, to see which is which. Write the "
        "lasting path (/dev/v4l/by-id/...) into launch arguments: /dev/video0 may be another "
        "camera tomorrow.",
        epilog="Exit status: 0 a picture of every camera was saved, 1 none found or one failed, 2 "
        "wrong arguments.",
    )
    parser.add_argument(
        "--output",
        type=output_path,
        default="cameras",
        metavar="DIR",
        help="default: %(default)s",
    )
    parser.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="SRC",
        help="look at this source too: pattern, file:clip.mp4; may be given several times",
    )
    add_robot(parser, "cameras to look at, by their names")
    parser.add_argument(
        "--width", type=int, default=640, help="width of pictures (default %(default)s)"
    )
    parser.add_argument(
        "--height", type=int, default=480, help="their height (default %(default)s)"
    )
    parser.add_argument(
        "--settle",
        type=float,
        default=1.0,
        metavar="S",
        help="let the exposure settle before the picture is taken (default %(default)s)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Finds, shows, saves; see the epilog for the exit status."""
    from armlet.cli.terminal.screen import console

    robot = robot_of(args)
    found = sightings(robot.cameras if robot else {}, args.also, (args.width, args.height))
    if not found:
        return refuse("find-cameras", _NONE_FOUND, FAILED)
    try:
        saved = photographed(found, args.settle, args.output)
    except OSError as error:
        return refuse("find-cameras", error)
    screen = console()
    show(screen, saved, args.output)
    _say_argument(screen, saved)
    return FAILED if any(each.trouble for each in saved) else 0


def sightings(
    named: Mapping[str, Mapping[str, Any]], also: Sequence[str], wanted: tuple[int, int]
) -> list[Sighting]:
    """The cameras of this computer, of `also` and of a robot file, the latter by their names."""
    from armlet.camera import video_nodes

    names = {str(camera["source"]): name for name, camera in named.items()}
    found = [seen for node in video_nodes() for seen in device(node, wanted)]
    there = {source for seen in found for source in seen.sources}
    others = dict.fromkeys([*also, *names])
    found += [other(source, wanted) for source in others if source not in there]
    return [_named(seen, names) for seen in found]


def photographed(found: Sequence[Sighting], settle_s: float, folder: Path) -> list[Sighting]:
    """The cameras with their pictures, which are saved in a folder. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    return save([photograph(each, settle_s) for each in found], folder)


def _named(seen: Sighting, names: Mapping[str, str]) -> Sighting:
    """With the name the robot file has for it."""
    own = [names[source] for source in seen.sources if source in names]
    return replace(seen, name=f"{own[0]}: {seen.name}") if own else seen


def device(node: VideoNode, wanted: tuple[int, int]) -> Iterator[Sighting]:
    """A video node as a camera; nothing for a node that gives no pictures."""
    from armlet.camera import CameraError, V4l2Device

    stable, *others = node.stable_paths or ("",)
    try:
        with V4l2Device(node.path) as camera:
            capability = camera.capability()
            formats = camera.formats() if capability.captures else ()
    except CameraError as error:
        yield Sighting(node.path, node.name, stable, tuple(others), trouble=str(error))
        return
    if not capability.captures:
        return
    mode = best_mode(formats, wanted)
    trouble = "" if mode else "it offers no picture format that is known"
    yield Sighting(node.path, node.name, stable, tuple(others), formats, mode, trouble)


def best_mode(
    formats: tuple[Format, ...], wanted: tuple[int, int]
) -> tuple[int, int, float, str] | None:
    """The mode nearest to the wanted size, MJPG before others, at its fastest rate up to 30."""
    modes = [
        (
            abs(size.width * size.height - wanted[0] * wanted[1]),
            offered.fourcc != "MJPG",
            size,
            offered,
        )
        for offered in formats
        for size in offered.sizes
        if size.rates
    ]
    if not modes:
        return None
    _, _, size, offered = min(modes, key=lambda mode: mode[:2])
    moderate = [rate for rate in size.rates if rate <= 30] or [min(size.rates)]
    return size.width, size.height, max(moderate), offered.fourcc


def other(source: str, wanted: tuple[int, int]) -> Sighting:
    """A source given by hand."""
    from armlet.camera import CameraError
    from armlet.camera.registry import file_source, opener, split

    scheme, address = split(source)
    if scheme == "pattern":
        return Sighting(source, "numbered test picture", mode=(*wanted, 30.0, ""))
    if scheme == "v4l2":
        return Sighting(source, source, mode=(*wanted, 30.0, "MJPG"))
    try:
        if scheme != "file":
            opener(scheme)
            return Sighting(source, source, mode=(*wanted, 30.0, ""))
        video = file_source(address)
    except CameraError as error:
        return Sighting(source, source, trouble=str(error))
    return Sighting(source, video.file.name, mode=(video.width, video.height, video.fps, ""))


def photograph(seen: Sighting, settle_s: float) -> Sighting:
    """With its picture, or with what kept it from being taken."""
    from armlet.camera import CameraError
    from armlet.camera.snapshot import snapshot

    if seen.trouble or seen.mode is None:
        return seen
    try:
        with open_at(seen.source, seen.mode) as source:
            return replace(seen, picture=snapshot(source, settle_s))
    except CameraError as error:
        return replace(seen, trouble=str(error))


def open_at(source: str, mode: tuple[int, int, float, str]) -> CameraSource:
    """The source in a mode, not yet opened."""
    from armlet.camera import source_of

    width, height, fps, fourcc = mode
    return source_of(source, width, height, fps, fourcc or "MJPG")


def save(seen: list[Sighting], folder: Path) -> list[Sighting]:
    """Writes the pictures, and the contact sheet if there are any. OSError.

    Nothing is written where a file stands already that this command did not make.
    """
    from armlet.camera.snapshot import contact_sheet, labelled

    contents: dict[Path, Rgb] = {}
    saved: list[Sighting] = []
    for number, each in enumerate(seen):
        if each.picture is not None:
            file = folder / f"{number}-{_slug(each.name)}.jpg"
            contents[file] = labelled(each.picture, each.lines)
            each = replace(each, file=file)
        saved.append(each)
    pictures = [(each.picture, each.lines) for each in saved if each.picture is not None]
    if pictures:
        contents[folder / _SHEET] = contact_sheet(pictures)
    for file in contents:
        _require_own(file)
    for file, picture in contents.items():
        _write(file, picture)
    return saved


def _require_own(file: Path) -> None:
    from armlet.files import FileError, OutputError, open_file, printable

    if not os.path.lexists(file):
        return
    try:
        with open_file(file) as there:
            own = not file.is_symlink() and there.read(len(_HEAD)) == _HEAD
    except (FileError, FileNotFoundError):
        own = False
    if not own:
        raise OutputError(
            f"{printable(file)} is there and was not made by this command; name another folder "
            "with --output"
        )


def _write(file: Path, picture: Rgb) -> None:
    from armlet.camera import jpeg
    from armlet.files import replace_file

    replace_file(file, _HEAD + jpeg.encode(picture)[2:], follow=False)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "camera"


def show(screen: Console, seen: list[Sighting], folder: Path) -> None:
    """The table, what failed, and the sheet of all pictures."""
    from armlet.cli.terminal.listing import Row, say, show_table

    rows: list[Row] = [
        (
            (each.device, each.name, each.stable_path or "-", _formats(each), _picture(each)),
            "bad" if each.trouble else "",
        )
        for each in seen
    ]
    show_table(screen, ("device", "name", "lasting path", "formats", "picture"), rows)
    for each in seen:
        if each.trouble:
            refuse("find-cameras", f"{each.device}: {each.trouble}", FAILED)
    if screen.is_terminal and any(each.picture is not None for each in seen):
        say(screen, f"All on one sheet: {folder / _SHEET}")


def _say_argument(screen: Console, seen: list[Sighting]) -> None:
    """The argument to launch with; `armlet setup` asks for names instead."""
    from armlet.cli.terminal.listing import say

    shown = [each for each in seen if each.picture is not None]
    if shown and screen.is_terminal:
        cameras = ",".join(f"camera{number}={each.source}" for number, each in enumerate(shown))
        say(screen, f"To use them, with names of your choice: cameras:={cameras}")


def _formats(seen: Sighting) -> str:
    if seen.formats:
        return "; ".join(str(each) for each in seen.formats)
    if seen.mode is None:
        return "-"
    width, height, fps, _ = seen.mode
    return f"{width}x{height} at {fps:g} fps"


def _picture(seen: Sighting) -> str:
    return "failed" if seen.file is None else str(seen.file)
