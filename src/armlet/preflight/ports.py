"""Checks of serial ports: there, permitted, free, quick to answer."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterator, Sequence
from pathlib import Path

from armlet.findings import Code, Finding
from armlet.motors.devices import SerialDevice, same_kind, users
from armlet.preflight.finding import error, note, ok, warning

_SYS = Path("/sys/class/tty")


def present(devices: Sequence[SerialDevice]) -> Iterator[Finding]:
    """Which ports there are, and whether their names last."""
    if not devices:
        fix = "plug the arm's USB cable in, then: armlet find-port"
        yield warning(Code.PORT_MISSING, "serial ports", "none", fix)
    for device in devices:
        facts = ", ".join(fact for fact in (device.usb, device.description) if fact)
        named = f"{device.path}" + (f" ({facts})" if facts else "")
        if device.stable_path is not None:
            yield ok(
                Code.PORT_NAME_UNSTABLE, "serial port", f"{named}, stable path {device.stable_path}"
            )
        elif len(same_kind(device, devices)) > 1:
            fix = "name each by its USB socket: ls -l /dev/serial/by-path"
            yield warning(
                Code.PORT_NAME_UNSTABLE,
                "serial port",
                f"{named}, no stable path, others of its kind",
                fix,
            )
        else:
            yield note(Code.PORT_NAME_UNSTABLE, "serial port", f"{named}, no stable path")


def usable(device: SerialDevice) -> Iterator[Finding]:
    """Permission, and whether another program has it."""
    subject = device.path
    if os.access(device.path, os.R_OK | os.W_OK):
        yield ok(Code.PORT_PERMISSION_DENIED, subject, "may be read and written")
    else:
        yield _permission(device)
    others = users(device.path)
    if others:
        pids = " ".join(str(user.pid) for user in others)
        found = f"in use by {', '.join(map(str, others))}; its servos are not examined"
        yield warning(
            Code.PORT_IN_USE, subject, found, f"stop it where it runs, or: kill -INT {pids}"
        )


def _permission(device: SerialDevice) -> Finding:
    status = Path(device.path).stat()
    try:
        group = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        group = str(status.st_gid)
    mode = oct(status.st_mode & 0o777)[2:]
    me = pwd.getpwuid(os.getuid()).pw_name
    found = f"{me} may not use it (owner {_owner(status.st_uid)}, group {group}, mode {mode})"
    if not status.st_mode & 0o060 or group == "root":
        rule = (
            f'echo \'SUBSYSTEM=="tty", ATTRS{{idVendor}}=="{device.vendor or 0:04x}", '
            'GROUP="dialout", MODE="0660"\' | sudo tee /etc/udev/rules.d/99-arm.rules'
        )
        return error(Code.PORT_PERMISSION_DENIED, device.path, found, rule)
    if me in grp.getgrgid(status.st_gid).gr_mem:
        return error(
            Code.PORT_PERMISSION_DENIED,
            device.path,
            found,
            f"log out and in again, or: newgrp {group}",
        )
    return error(
        Code.PORT_PERMISSION_DENIED,
        device.path,
        found,
        f"sudo usermod -aG {group} {me}, then log in again",
    )


def _owner(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def latency(device: SerialDevice) -> Iterator[Finding]:
    """FTDI adapters hold received bytes back for that long; others have no such timer."""
    timer = _SYS / Path(device.path).name / "device" / "latency_timer"
    if not timer.exists():
        return
    milliseconds = int(timer.read_text())
    if milliseconds > 1:
        found = f"latency timer {milliseconds} ms: each reply comes that late"
        yield warning(Code.PORT_LATENCY_HIGH, device.path, found, f"echo 1 | sudo tee {timer}")
    else:
        yield ok(Code.PORT_LATENCY_HIGH, device.path, f"latency timer {milliseconds} ms")
