"""Checks of cameras: there, permitted, free, their formats, their share of the USB bus."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from armlet.camera.errors import SchemeError
from armlet.camera.registry import opener, split
from armlet.findings import Code, Finding
from armlet.motors.devices import users
from armlet.preflight import v4l2
from armlet.preflight.finding import error, note, ok, warning

_DEV = Path("/dev")
_SYS = Path("/sys/class/video4linux")
_FORMATS_SHOWN = 3
_SIZES_SHOWN = 3


def devices() -> list[Path]:
    """The video devices, in order of their numbers."""
    found = [path for path in _DEV.glob("video*") if re.fullmatch(r"video\d+", path.name)]
    return sorted(found, key=lambda path: int(path.name[5:]))


def present() -> Iterator[Finding]:
    """Every device that gives pictures, and what it offers."""
    cameras = 0
    for path in devices():
        for finding in _device(path):
            cameras += 1
            yield finding
    if not cameras:
        yield note(
            Code.CAMERA_MISSING,
            "cameras",
            "no /dev/video*; plug a camera in, or pass it to this container",
        )


def named(source: str) -> Iterator[Finding]:
    """A camera as the camera node names it: 0, /dev/video0, a video file, pattern, a plug-in's."""
    scheme, address = split(source)
    if scheme == "pattern":
        yield ok(Code.CAMERA_MISSING, source, "the numbered test picture")
    elif scheme == "v4l2":
        path = _DEV / f"video{address}" if address.isdecimal() else Path(address)
        if not path.exists():
            here = ", ".join(map(str, devices())) or "none"
            fix = "plug it in; ls -l /dev/v4l/by-id shows names that stay"
            yield error(
                Code.CAMERA_MISSING, source, f"{path} is not there; video devices: {here}", fix
            )
            return
        findings = list(_device(path))
        yield from findings
        if not findings:
            fix = "name the camera's first device: ls -l /dev/v4l/by-id"
            yield error(
                Code.CAMERA_DEVICE_WITHOUT_IMAGES,
                source,
                f"{path} gives no pictures (metadata or output device)",
                fix,
            )
    elif scheme == "file":
        yield _file(Path(address.removeprefix("file:").partition("?")[0]))
    else:
        yield _plugged_in(source, scheme)


def _plugged_in(source: str, scheme: str) -> Finding:
    try:
        opener(scheme)
    except SchemeError as trouble:
        fix = "install the package that has it, or name another source"
        return error(Code.CAMERA_OPEN_FAILED, source, str(trouble), fix)
    return ok(Code.CAMERA_MISSING, source, f"a camera of the plug-in {scheme}")


def _file(path: Path) -> Finding:
    if not path.is_file():
        return error(
            Code.CAMERA_MISSING,
            str(path),
            "no such video file",
            "name a file, /dev/video0, 0 or pattern",
        )
    return ok(Code.CAMERA_MISSING, str(path), f"video file, {path.stat().st_size / 1e6:.1f} MB")


def _device(path: Path) -> Iterator[Finding]:
    """Nothing for a device that gives no pictures."""
    subject = str(path)
    try:
        device = v4l2.query(path)
    except OSError as trouble:
        yield _unopened(subject, trouble)
        return
    except ImportError as trouble:
        fix = "pip install --force-reinstall opencv-python-headless"
        yield error(Code.CAMERA_OPENCV_MISSING, subject, f"OpenCV does not load: {trouble}", fix)
        return
    if not device.captures:
        return
    if not device.formats:
        yield warning(
            Code.CAMERA_NO_FORMAT,
            subject,
            f"{device.card}: offers no format",
            "unplug it and plug it in again",
        )
        return
    others = users(subject)
    if others:
        taken = f"{device.card}: in use by {', '.join(map(str, others))}"
        yield note(Code.CAMERA_IN_USE, subject, taken, "stop it before the camera node starts")
    formats = "; ".join(_summary(each) for each in device.formats[:_FORMATS_SHOWN])
    yield ok(Code.CAMERA_MISSING, subject, f"{device.card}: {formats}")


def _unopened(subject: str, trouble: OSError) -> Finding:
    reason = os.strerror(trouble.errno) if trouble.errno else str(trouble)
    if trouble.errno in (errno.EACCES, errno.EPERM):
        return error(
            Code.CAMERA_PERMISSION_DENIED,
            subject,
            f"may not be opened: {reason}",
            "sudo usermod -aG video $USER",
        )
    if trouble.errno == errno.EBUSY:
        who = ", ".join(map(str, users(subject))) or "another program"
        return warning(Code.CAMERA_IN_USE, subject, f"in use by {who}", "stop it")
    if trouble.errno == errno.ENOTTY:
        return error(
            Code.CAMERA_DEVICE_WITHOUT_IMAGES,
            subject,
            "is not a video device",
            "ls -l /dev/v4l/by-id",
        )
    return error(Code.CAMERA_OPEN_FAILED, subject, reason, "unplug it and plug it in again")


def _summary(offered: v4l2.Format) -> str:
    sizes = ", ".join(map(str, offered.sizes[:_SIZES_SHOWN]))
    more = len(offered.sizes) - _SIZES_SHOWN
    return f"{offered.fourcc} {sizes}" + (f" and {more} smaller" if more > 0 else "")


def bandwidth() -> Iterator[Finding]:
    """Cameras that share a USB 2 hub share 480 Mbit/s: one raw 640x480 stream takes 150."""
    hubs: dict[Path, list[str]] = {}
    for path in devices():
        hub = usb_hub(path.name)
        if hub is not None and _captures(path):
            hubs.setdefault(hub, []).append(str(path))
    for hub, paths in hubs.items():
        if len(paths) > 1 and _speed(hub) <= 480:
            found = f"{', '.join(paths)} share USB 2 hub {hub.name}"
            yield note(
                Code.CAMERA_USB_BANDWIDTH_SHARED,
                "USB",
                found,
                "use MJPG for each, or put one on another USB controller",
            )


def usb_hub(name: str) -> Path | None:
    """The hub a video device's camera is plugged into; None if it is not on USB."""
    interface = (_SYS / name / "device").resolve()
    camera = interface.parent
    return camera.parent if (camera / "idVendor").exists() else None


def _speed(hub: Path) -> float:
    """Mbit/s."""
    try:
        return float((hub / "speed").read_text())
    except (OSError, ValueError):
        return 480.0


def _captures(path: Path) -> bool:
    try:
        return v4l2.query(path).captures
    except (OSError, ImportError):
        return False


def chosen(sources: Sequence[str]) -> Iterator[Finding]:
    """The cameras asked for, all that are there if none is."""
    for source in sources:
        yield from named(source)
    if not sources:
        yield from present()
    yield from bandwidth()
