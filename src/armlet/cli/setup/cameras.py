"""The steps of `armlet setup` about cameras and units, and the check at the end."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any

from armlet.robots.unit_modes import MODES

from .dialogue import Dialogue, SetupFailed

if TYPE_CHECKING:
    from armlet.cli.data.find_cameras import Sighting

_NAMES = ("front", "wrist", "side", "top")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_LEAVE_OUT = "-"
_WANTED = (640, 480)
_SETTLE_S = 1.0


def cameras(dialogue: Dialogue) -> None:
    """The cameras and their names, by paths that stay. Raises SetupFailed, EOFError."""
    from armlet.cli.data.find_cameras import other, photographed, show, sightings

    dialogue.heading(4, "Cameras")
    given = dialogue.given.cameras
    for name, source in given.items():
        _keep(dialogue, name, other(source, _WANTED))
    if given:
        return
    folder = dialogue.writer.path.parent / "cameras"
    known = dialogue.writer.robot.cameras
    found = sightings(known, dialogue.given.also, _WANTED)
    if not found:
        dialogue.say("   No camera is here. Plug it in, then: armlet setup cameras", "attention")
        return
    seen = photographed(found, _SETTLE_S, folder)
    show(dialogue.screen, seen, folder)
    dialogue.say(f"   A name for each, as in datasets; {_LEAVE_OUT} leaves one out.")
    names: list[str] = []
    for camera in seen:
        own = next((n for n, entry in known.items() if entry["source"] in camera.sources), "")
        free = [n for n in _NAMES if n not in names and n not in known]
        names.append(_name(dialogue, camera, own or (free or [f"camera{len(names)}"])[0], names))
        if names[-1] != _LEAVE_OUT:
            _keep(dialogue, names[-1], camera)
        if own and names[-1] != own:
            dialogue.writer.remove("cameras", own)


def _name(dialogue: Dialogue, camera: Sighting, usual: str, taken: list[str]) -> str:
    """A name that no other camera has. Raises EOFError."""
    if camera.trouble:
        dialogue.say(f"   {camera.device}: {camera.trouble}", "attention")
        usual = _LEAVE_OUT
    picture = f", picture {camera.file.name}" if camera.file else ""
    while True:
        name = dialogue.ask(f"   {camera.name} at {camera.source}{picture}", usual)
        if name == _LEAVE_OUT or (_NAME.fullmatch(name) and name not in taken):
            return name
        why = "another camera has it" if name in taken else "small letters, digits and _"
        dialogue.say(f"   A name of its own, please: {why}.", "attention")


def _keep(dialogue: Dialogue, name: str, camera: Sighting) -> None:
    """Raises SetupFailed for a source that gives no pictures."""
    if camera.trouble or camera.mode is None:
        raise SetupFailed(f"{name}: {camera.trouble or 'no picture format that is known'}")
    width, height, fps, fourcc = camera.mode
    entry: dict[str, Any] = {"source": camera.source, "width": width, "height": height, "fps": fps}
    entry["fps"] = int(fps) if fps == int(fps) else fps
    if fourcc and fourcc != "MJPG":
        entry["fourcc"] = fourcc
    dialogue.writer.set_camera(name, entry)
    dialogue.say(f"   {name}: {camera.source}, {width}x{height} at {fps:g} fps", "good")


def units(dialogue: Dialogue) -> None:
    """The units of datasets. Raises EOFError."""
    dialogue.heading(5, "Joint units of datasets")
    chosen = dialogue.given.units
    usual = dialogue.writer.robot.joint_units or MODES[0]
    if chosen is None:
        dialogue.say("   LeRobot records degrees; before 0.4.4 it recorded range_m100_100.")
    while chosen not in MODES:
        chosen = dialogue.ask(f"   {' or '.join(MODES)}", usual)
    dialogue.writer.set_units(chosen)
    dialogue.say(f"   joint_units: {chosen}", "good")


def check(dialogue: Dialogue) -> None:
    """`armlet doctor` with this file, and what to type next. Raises SetupFailed."""
    from armlet.cli.graph import doctor

    dialogue.heading(6, "Check")
    path = dialogue.writer.path
    if not path.exists():
        raise SetupFailed(f"there is no {path} yet")
    parser = argparse.ArgumentParser()
    doctor.add_parser(parser.add_subparsers())
    dialogue.status = doctor.run(parser.parse_args(["doctor", "--robot", str(path)]))
    kept = dialogue.writer.backup
    dialogue.say(f"\nWritten: {path}" + (f"; before: {kept}" if kept else ""), "name")
    if dialogue.status == 0:
        graph = "teleop" if len(dialogue.writer.robot.arms) > 1 else "follower"
        dialogue.say(f"Next: armlet up {graph}", "name")
